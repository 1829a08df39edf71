"""Fragments: cut by routers and senders, put together by hosts and wherever connections are tracked, and what filters see of them."""

import asyncio
import random
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise

import pytest
from simulated_support import Ends, expired_at, ignore, simulate, udp_packet

from vpnprobe.transports.fragments import PATIENCE_S, Reassembly, fragmented, is_fragment
from vpnprobe.transports.stack import Datagram, Packet
from vpnprobe.transports.topology import SERVER, Filter, Hook, Link, Nat, Service, StatefulFirewall, Topology
from vpnprobe.wire.icmp import DestinationUnreachable
from vpnprobe.wire.ip import IPv4Packet

A, B = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.7")
LONG = IPv4Packet(A, B, 17, identification=7, payload=bytes(range(256)) * 10)
OPEN = StatefulFirewall(SERVER, SERVER, allows=(Service(17),))
NARROW = Topology(links=(Link(), Link(mtu=1000), Link(), Link()))


class Table:
    """A reassembly with a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reassembly = Reassembly(lambda: self.now)

    def whole(self, pieces: list[IPv4Packet]) -> IPv4Packet | None:
        found = [self.reassembly.take(piece) for piece in pieces]
        assert found[:-1] == [None] * (len(pieces) - 1)
        return found[-1].packet if found[-1] else None


def test_pieces_fit_and_line_up() -> None:
    pieces = fragmented(LONG, 1000)
    assert all(piece.total_length <= 1000 for piece in pieces)
    assert [piece.more_fragments for piece in pieces] == [True, True, False]
    assert all(later.fragment_offset * 8 == earlier.fragment_offset * 8 + len(earlier.payload) for earlier, later in pairwise(pieces))
    assert fragmented(replace(LONG, payload=b"short"), 1000) == [replace(LONG, payload=b"short")]


def test_pieces_of_pieces_line_up_too() -> None:
    pieces = [smaller for piece in fragmented(LONG, 1400) for smaller in fragmented(piece, 600)]
    assert Table().whole(pieces) == LONG
    assert sum(not piece.more_fragments for piece in pieces) == 1


def test_in_any_order_and_more_than_once() -> None:
    pieces = fragmented(LONG, 500)
    for seed in range(5):
        random.Random(seed).shuffle(pieces)
        assert Table().whole([*pieces[:-1], pieces[0], pieces[-1]]) == LONG


def test_the_longest_piece_is_told() -> None:
    reassembly = Reassembly(lambda: 0.0)
    found = [reassembly.take(piece) for piece in fragmented(LONG, 1000)][-1]
    assert found is not None
    assert found.largest == 996


def test_what_overlaps_or_lacks_a_piece_is_no_packet() -> None:
    first, second, third = fragmented(LONG, 1000)
    assert Table().whole([first, third]) is None
    moved = replace(second, fragment_offset=second.fragment_offset - 1)
    assert Table().whole([first, moved, third]) is None


def test_pieces_are_forgotten() -> None:
    first, second, third = fragmented(LONG, 1000)
    table = Table()
    assert table.whole([first]) is None
    table.now = PATIENCE_S + 0.1
    assert table.whole([second, third]) is None
    assert table.whole([first]) == LONG


def test_the_oldest_gives_way_to_many() -> None:
    table = Table()
    pieces = [fragmented(replace(LONG, identification=number), 2000) for number in range(257)]
    assert all(table.whole([first]) is None for first, _ in pieces)
    assert table.whole([pieces[0][1]]) is None
    assert table.whole([pieces[256][1]]) is not None


def sent(topology: Topology, size: int, *, dont_fragment: bool = False) -> tuple[list[int], list[int], Ends]:
    """Lengths of what a socket got of a packet of `size` bytes, and of what came over the wire there."""

    async def story(ends: Ends) -> tuple[list[int], list[int], Ends]:
        got: list[Datagram] = []
        wire: list[Packet] = []
        await ends.server.udp(got.append, port=500)
        ends.server.capture(topology.public_address("client"), wire.append)
        ends.client.send_packet(udp_packet(ends, size=size - 28, dont_fragment=dont_fragment))
        await asyncio.sleep(1)
        return [len(datagram.data) + 28 for datagram in got], [len(packet.data) for packet in wire], ends

    return simulate(topology, story)


@pytest.mark.parametrize("boxes", [{}, {"nats": (Nat("r1"),)}, {"firewalls": (StatefulFirewall("r3"),)}, {"nats": (Nat("r3"),)}])
def test_a_router_cuts_and_the_host_puts_together(boxes: dict[str, tuple[object, ...]]) -> None:
    """A router that tracks connections puts together too, and cuts again into pieces that are no longer."""
    got, wire, _ = sent(replace(NARROW, **boxes), 1400)
    assert (got, wire) == ([1400], [996, 424])


def test_with_df_it_tells_and_does_not_cut() -> None:
    got, _, ends = sent(NARROW, 1400, dont_fragment=True)
    assert got == []
    assert [(message.code, message.next_hop_mtu) for _, message in ends.client_icmp if isinstance(message, DestinationUnreachable)] == [
        (4, 1000)
    ]


def test_a_black_hole_tells_nothing_of_that_and_everything_else() -> None:
    hole = replace(NARROW, black_holes=("r1",))
    got, _, ends = sent(hole, 1400, dont_fragment=True)
    assert (got, ends.client_icmp) == ([], [])

    async def trace(ends: Ends) -> list[str]:
        ends.client.send_packet(udp_packet(ends, ttl=1))
        await asyncio.sleep(1)
        return expired_at(ends.client_icmp)

    assert simulate(hole, trace) == ["10.78.0.2"]


@pytest.mark.parametrize(
    ("boxes", "got"),
    [
        ({"filters": (Filter("r2", ports=(9,)),)}, [1400]),
        ({"filters": (Filter("r2", ports=(500,)),)}, []),
        ({"filters": (Filter("r2", except_ports=(500,)),)}, []),
        ({"filters": (Filter("r2", fragments=True),)}, []),
        ({"filters": (Filter("r2", fragments=True),), "firewalls": (StatefulFirewall("r2"),)}, [1400]),
        ({"filters": (Filter("r2", except_ports=(500,)),), "firewalls": (StatefulFirewall("r2"),)}, [1400]),
        ({"filters": (Filter("r2", longer_than=1000),)}, [1400]),
        ({"filters": (Filter("r2", longer_than=1000),), "firewalls": (StatefulFirewall("r2"),)}, []),
        ({"filters": (Filter(SERVER, hook=Hook.INPUT, fragments=True),)}, [1400]),
        ({"filters": (Filter(SERVER, hook=Hook.PREROUTING, fragments=True),)}, []),
        ({"filters": (Filter(SERVER, hook=Hook.PREROUTING, fragments=True),), "firewalls": (OPEN,)}, [1400]),
        ({"filters": (Filter(SERVER, hook=Hook.INPUT, longer_than=1000),)}, []),
    ],
)
def test_what_filters_see(boxes: dict[str, tuple[object, ...]], got: list[int]) -> None:
    """Ports stand in the first fragment alone; where connections are tracked, and at a host's INPUT, whole packets are seen."""
    assert sent(replace(NARROW, **boxes), 1400)[0] == got


def test_a_host_learns_the_mtu_of_a_path_and_sends_fragments() -> None:
    async def story(ends: Ends) -> tuple[list[int], list[tuple[int, bool]]]:
        got: list[int] = []
        wire: list[Packet] = []
        ends.client.capture(ends.server_address, wire.append)
        await ends.server.udp(lambda datagram: got.append(len(datagram.data)), port=500)
        client = await ends.client.udp(ignore)
        for _ in range(2):
            client.send(bytes(1200), ends.at_server(500))
            await asyncio.sleep(1)
        sent_packets = [IPv4Packet.decode(packet.data) for packet in wire if packet.outgoing]
        return got, [(packet.total_length, packet.dont_fragment) for packet in sent_packets]

    got, wire = simulate(NARROW, story)
    assert got == [1200]
    assert wire == [(1228, True), (996, False), (252, False)]


def test_a_host_sends_what_its_own_link_cannot_carry_as_fragments() -> None:
    async def story(ends: Ends) -> tuple[list[int], list[int]]:
        got: list[int] = []
        wire: list[Packet] = []
        ends.client.capture(ends.server_address, wire.append)
        await ends.server.udp(lambda datagram: got.append(len(datagram.data)), port=500)
        (await ends.client.udp(ignore)).send(bytes(2000), ends.at_server(500))
        ends.client.send_packet(udp_packet(ends, size=2000))
        await asyncio.sleep(1)
        return got, [len(packet.data) for packet in wire]

    assert simulate(Topology(), story) == ([2000], [1500, 548])


def test_an_mtu_is_believed_of_what_was_sent_alone() -> None:
    """And not below the least that hosts use."""

    async def story(ends: Ends) -> list[int]:
        wire: list[Packet] = []
        ends.client.send_packet(udp_packet(ends, size=1300, dont_fragment=True))
        await asyncio.sleep(1)
        ends.client.capture(ends.server_address, wire.append)
        client = await ends.client.udp(ignore)
        for _ in range(2):
            client.send(bytes(1000), ends.at_server(500))
            await asyncio.sleep(1)
        return [len(packet.data) for packet in wire if packet.outgoing]

    assert simulate(Topology(links=(Link(), Link(mtu=300), Link(), Link())), story) == [1028, 548, 500]


def test_is_fragment() -> None:
    assert [is_fragment(piece) for piece in fragmented(LONG, 1000)] == [True, True, True]
    assert not is_fragment(LONG)
