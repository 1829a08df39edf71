"""TCP streams that a router cuts anew: every byte arrives, in segments of other sizes."""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from simulated_support import Ends, simulate

from vpnprobe.transports.simulated.clock import EventQueue, run_virtual
from vpnprobe.transports.simulated.recutting import Recutter
from vpnprobe.transports.stack import Packet, TcpStream
from vpnprobe.transports.topology import Link, Recutting, Topology
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment

A, B = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.7")


def sizes(recutting: Recutting, *, loss: float = 0.0) -> tuple[bool, list[int]]:
    """Whether 20,000 bytes arrived as they were sent, and the payloads of the segments that the server's wire shows."""

    async def story(ends: Ends) -> tuple[bool, list[int]]:
        wire: list[Packet] = []
        accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
        await ends.server.listen(accepted.put_nowait, port=443)
        ends.server.capture(ends.client_address, wire.append)
        stream = await ends.client.connect(ends.at_server(443), deadline_s=30)
        data = ends.client.entropy(20_000)
        await stream.send(data)
        got, there = b"", await accepted.get()
        while len(got) < len(data):
            got += await there.receive()
        segments = [TcpSegment.decode(IPv4Packet.decode(packet.data).payload) for packet in wire if not packet.outgoing]
        return got == data, [len(segment.payload) for segment in segments if segment.payload]

    return simulate(Topology(recuttings=(recutting,), links=(Link(), Link(loss=loss), Link(), Link())), story, seed=2)


def test_long_segments_are_split() -> None:
    whole, found = sizes(Recutting("r2", most_bytes=300))
    assert whole
    assert set(found) <= {300, 1460 % 300, 20_000 % 1460 % 300}
    assert max(found) == 300


def test_segments_that_follow_each_other_are_joined() -> None:
    whole, found = sizes(Recutting("r2", merge_s=0.001))
    assert whole
    assert max(found) == 1460
    small, joined = sizes(Recutting("r2", most_bytes=1200, merge_s=0.001))
    assert small
    assert sum(joined) == 20_000


@pytest.mark.parametrize("recutting", [Recutting("r2", most_bytes=300), Recutting("r2", merge_s=0.002), Recutting("r2", 100, 0.002)])
def test_under_loss_too(recutting: Recutting) -> None:
    assert sizes(recutting, loss=0.1)[0]


def segment(sequence: int, payload: bytes, flags: int = TcpFlag.ACK.value) -> IPv4Packet:
    return IPv4Packet(A, B, IpProtocol.TCP, payload=TcpSegment(1, 2, sequence, 9, flags, payload=payload).encode(A, B))


def cut(recutting: Recutting, packets: list[IPv4Packet], *, mtu: int = 1500) -> list[tuple[int, bytes, int]]:
    """Sequence number, payload and flags of what leaves, all within the time that segments are held."""

    async def main() -> list[IPv4Packet]:
        left: list[IPv4Packet] = []
        recutter = Recutter(recutting, EventQueue())
        for packet in packets:
            recutter.send(packet, left.append, mtu=mtu)
        await asyncio.sleep(1)
        return left

    found = [TcpSegment.decode(packet.payload) for packet in run_virtual(main())]
    return [(one.sequence, one.payload, one.flags) for one in found]


ACK, PSH_ACK, FIN_ACK = TcpFlag.ACK.value, TcpFlag.PSH.value | TcpFlag.ACK.value, TcpFlag.FIN.value | TcpFlag.ACK.value


def test_small_segments_become_one_with_the_flags_of_the_last() -> None:
    assert cut(Recutting("r1", merge_s=0.01), [segment(10, b"abc"), segment(13, b"de", PSH_ACK)]) == [(10, b"abcde", PSH_ACK)]


def test_sequence_numbers_go_round() -> None:
    found = cut(Recutting("r1", merge_s=0.01), [segment(0xFFFFFFFE, b"abc"), segment(1, b"de")])
    assert found == [(0xFFFFFFFE, b"abcde", ACK)]
    assert cut(Recutting("r1", 2), [segment(0xFFFFFFFF, b"abc")]) == [(0xFFFFFFFF, b"ab", ACK), (1, b"c", ACK)]


def test_the_last_piece_alone_ends() -> None:
    assert cut(Recutting("r1", 2), [segment(10, b"abc", FIN_ACK)]) == [(10, b"ab", ACK), (12, b"c", FIN_ACK)]


def test_what_does_not_follow_goes_behind_what_was_held() -> None:
    merged = Recutting("r1", merge_s=0.01)
    assert cut(merged, [segment(10, b"abc"), segment(20, b"de")]) == [(10, b"abc", ACK), (20, b"de", ACK)]
    assert cut(merged, [segment(10, b"abc"), segment(13, b"", FIN_ACK)]) == [(10, b"abc", ACK), (13, b"", FIN_ACK)]
    assert cut(merged, [segment(10, b"abc"), segment(13, b"d")], mtu=43) == [(10, b"abc", ACK), (13, b"d", ACK)]


def test_other_protocols_and_broken_segments_pass() -> None:
    async def main() -> list[IPv4Packet]:
        left: list[IPv4Packet] = []
        recutter = Recutter(Recutting("r1", 2), EventQueue())
        for packet in strange:
            recutter.send(packet, left.append, mtu=1500)
        return left

    broken = IPv4Packet(A, B, IpProtocol.TCP, payload=b"\0\1")
    strange = [broken, IPv4Packet(A, B, IpProtocol.UDP, payload=bytes(2000)), replace(segment(1, b"abc"), more_fragments=True)]
    assert run_virtual(main()) == strange
