"""Packets along the chain: time, TTL, loss, MTU, rate, ICMP of routers and hosts, and that a seed repeats a run."""

import asyncio
from ipaddress import IPv4Address
from itertools import pairwise

import pytest
from simulated_support import Ends, expired_at, ignore, simulate, trace_of, udp_packet

from vpnprobe.errors import UsageError
from vpnprobe.transports.simulated import SimulatedNetwork
from vpnprobe.transports.simulated.host import EPOCH
from vpnprobe.transports.stack import Datagram, Endpoint, Packet
from vpnprobe.transports.topology import SERVER, Clock, Filter, Link, Nat, Topology, WayBack
from vpnprobe.wire.icmp import DestinationUnreachable, EchoReply, EchoRequest, Quote, TimeExceeded, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet


def test_delay_and_ttl_add_up_over_the_links() -> None:
    async def story(ends: Ends) -> list[Datagram]:
        got: list[Datagram] = []
        await ends.server.udp(got.append, port=500)
        port = await ends.client.udp(ignore)
        port.send(b"hello", ends.at_server(500))
        port.send(b"low", ends.at_server(500), ttl=9)
        await asyncio.sleep(1)
        assert port.local == got[0].source
        return got

    links = (Link(delay_s=0.010), Link(delay_s=0.020), Link(delay_s=0.005), Link(delay_s=0.001))
    first, second = simulate(Topology(links=links), story)
    assert (first.data, first.ttl) == (b"hello", 61)
    assert first.at == pytest.approx(0.036)
    assert (second.data, second.ttl) == (b"low", 6)


def test_order_is_kept_and_answers_come_back() -> None:
    async def story(ends: Ends) -> list[bytes]:
        got: list[bytes] = []
        server = await ends.server.udp(lambda datagram: server.send(datagram.data, datagram.source), port=500)
        client = await ends.client.udp(lambda datagram: got.append(datagram.data))
        for number in range(100):
            client.send(b"%d" % number, ends.at_server(500))
        await asyncio.sleep(1)
        return got

    assert simulate(Topology(), story) == [b"%d" % number for number in range(100)]


@pytest.mark.parametrize("mtu", [1500, 600])
def test_routers_that_only_forward_are_passed_at_once_and_nothing_else_changes(mtu: int) -> None:
    """The same packets, times and errors as where each router has a filter, which fits none of them; order within one instant aside."""

    async def story(ends: Ends) -> list[tuple[float, bool, bytes]]:
        seen: list[Packet] = []
        taps = [end.capture(peer, seen.append) for end, peer in ((ends.client, ends.server_address), (ends.server, ends.client_address))]
        server = await ends.server.udp(lambda datagram: server.send(datagram.data, datagram.source), port=500)
        client = await ends.client.udp(ignore)
        for ttl in (1, 2, 3, 4, 64):
            for size in (20, 1000):
                client.send(b"x" * size, ends.at_server(500), ttl=ttl)
                client.send(b"x" * size, ends.at_server(501), ttl=ttl)
        client.send(b"nobody", Endpoint(IPv4Address("10.78.2.2"), 500))
        client.send(b"nowhere", Endpoint(IPv4Address("192.0.2.77"), 500))
        await asyncio.sleep(1)
        assert len(taps) == 2
        return sorted((round(packet.at, 6), packet.outgoing, packet.data) for packet in seen)

    links = (Link(), Link(delay_s=0.02), Link(mtu=mtu), Link())
    asked = tuple(Filter(f"r{number}", protocol=253) for number in (1, 2, 3))
    at_once = simulate(Topology(links=links), story)
    assert at_once == simulate(Topology(links=links, filters=asked), story)
    assert len(at_once) > 40


@pytest.mark.parametrize("ttl", [1, 2, 3])
def test_each_router_answers_for_its_ttl_with_a_quote(ttl: int) -> None:
    async def story(ends: Ends) -> Ends:
        ends.client.send_packet(udp_packet(ends, ttl=ttl, size=1000, identification=4711))
        await asyncio.sleep(1)
        return ends

    ends = simulate(Topology(), story)
    ((source, message),) = ends.client_icmp
    assert source == IPv4Address(f"10.78.{ttl - 1}.2")
    assert isinstance(message, TimeExceeded)
    quote = message.quote
    assert (quote.source, quote.destination, quote.identification, quote.ports) == (
        ends.client_address, ends.server_address, 4711, (40000, 500),
    )  # fmt: skip
    assert isinstance(quote.packet, IPv4Packet)
    assert (len(quote.first_bytes), quote.packet.total_length, quote.packet.ttl) == (528, 1028, 1)


def test_routers_answer_the_server_from_their_other_side() -> None:
    async def story(ends: Ends) -> Ends:
        raw = ends.server.raw(IpProtocol.ESP, ignore)
        for ttl in (1, 2, 3):
            raw.send(b"esp-esp-", ends.client_address, ttl=ttl)
        await asyncio.sleep(1)
        return ends

    assert expired_at(simulate(Topology(), story).server_icmp) == ["10.78.3.1", "10.78.2.1", "10.78.1.1"]


@pytest.mark.parametrize(("rate", "answers"), [(1.0, 6), (0.0, 20)])
def test_icmp_errors_are_limited_per_router_and_asker(rate: float, answers: int) -> None:
    async def story(ends: Ends) -> tuple[int, int, int]:
        for _ in range(20):
            ends.client.send_packet(udp_packet(ends, ttl=2))
        await asyncio.sleep(0.5)
        burst = len(ends.client_icmp)
        ends.client.send_packet(udp_packet(ends, ttl=1))
        await asyncio.sleep(0.1)
        other_router = len(ends.client_icmp) - burst
        await asyncio.sleep(2.5)
        for _ in range(20):
            ends.client.send_packet(udp_packet(ends, ttl=2))
        await asyncio.sleep(0.1)
        return burst, other_router, len(ends.client_icmp) - burst - other_router

    later = 3 if rate else 20
    assert simulate(Topology(icmp_errors_per_s=rate), story) == (answers, 1, later)


def test_a_silent_router_forwards_and_says_nothing() -> None:
    async def story(ends: Ends) -> Ends:
        for ttl in (1, 2, 3, 4):
            ends.client.send_packet(udp_packet(ends, ttl=ttl))
        await asyncio.sleep(1)
        return ends

    ends = simulate(Topology(silent_routers=("r2",)), story)
    assert expired_at(ends.client_icmp) == ["10.78.0.2", "10.78.2.2"]
    assert isinstance(ends.client_icmp[-1][1], DestinationUnreachable)


def test_loss_is_as_planted_in_each_direction() -> None:
    async def story(ends: Ends) -> tuple[int, int]:
        counts = [0, 0]

        def at_server(datagram: Datagram) -> None:
            counts[0] += 1
            server.send(datagram.data, datagram.source)

        def at_client(datagram: Datagram) -> None:
            counts[1] += 1

        server = await ends.server.udp(at_server, port=500)
        client = await ends.client.udp(at_client)
        for _ in range(2000):
            client.send(b"x", ends.at_server(500))
        await asyncio.sleep(5)
        return counts[0], counts[1]

    lossy = Topology(routers=1, links=(Link(loss=0.2), Link()))
    forward, back = simulate(lossy, story, seed=7)
    assert 0.77 < forward / 2000 < 0.83
    assert 0.77 < back / forward < 0.83
    assert simulate(lossy, story, seed=8) != (forward, back)


def test_the_same_seed_repeats_every_packet_and_another_does_not() -> None:
    async def story(ends: Ends) -> list[tuple[float, bool, bytes]]:
        seen: list[Packet] = []
        ends.client.capture(ends.server_address, seen.append)
        ends.server.capture(ends.client_address, seen.append)
        await ends.server.listen(ignore, port=1723)
        stream = await ends.client.connect(ends.at_server(1723), deadline_s=60)
        await stream.send(ends.client.entropy(20000))
        await asyncio.sleep(30)
        return trace_of(seen)

    lossy = Topology(links=tuple(Link(delay_s=0.01, loss=0.05) for _ in range(4)))
    first = simulate(lossy, story, seed=5)
    assert len(first) > 60
    assert simulate(lossy, story, seed=5) == first
    assert simulate(lossy, story, seed=6) != first


def test_a_packet_over_the_mtu_is_dropped_and_told_where_df_is_set() -> None:
    async def story(ends: Ends) -> tuple[int, Ends]:
        got: list[Datagram] = []
        await ends.server.udp(got.append, port=500)
        for size in (1300, 1301):
            ends.client.send_packet(udp_packet(ends, size=size - 28, dont_fragment=True))
        await asyncio.sleep(1)
        return len(got), ends

    got, ends = simulate(Topology(links=(Link(), Link(), Link(mtu=1300), Link())), story)
    assert got == 1
    ((source, message),) = ends.client_icmp
    assert source == IPv4Address("10.78.1.2")
    assert isinstance(message, DestinationUnreachable)
    assert (message.code, message.next_hop_mtu) == (Unreachable.FRAGMENTATION_NEEDED, 1300)


def test_a_rate_spaces_packets_and_drops_what_waits_too_long() -> None:
    async def story(ends: Ends) -> list[float]:
        arrivals: list[float] = []
        await ends.server.udp(lambda datagram: arrivals.append(datagram.at), port=500)
        client = await ends.client.udp(ignore)
        for _ in range(50):
            client.send(b"x" * 972, ends.at_server(500))
        await asyncio.sleep(5)
        return arrivals

    arrivals = simulate(Topology(routers=1, links=(Link(rate_bit_s=800_000), Link())), story)
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert gaps == pytest.approx([0.010] * len(gaps))
    assert len(arrivals) == 11


def test_hosts_and_routers_answer_echo() -> None:
    async def story(ends: Ends) -> Ends:
        raw = ends.client.raw(IpProtocol.ICMP, ignore)
        for target in ("10.78.0.2", "10.78.1.1", "10.78.2.2", "10.78.3.2"):
            raw.send(EchoRequest(7, 1, b"ping").encode(), IPv4Address(target))
        await asyncio.sleep(1)
        return ends

    kept = simulate(Topology(), story).client_icmp
    answers = {str(source) for source, message in kept if message == EchoReply(7, 1, b"ping")}
    assert answers == {"10.78.0.2", "10.78.1.1", "10.78.2.2", "10.78.3.2"}


def test_an_address_of_nobody_is_unreachable_from_the_first_router() -> None:
    async def story(ends: Ends) -> Ends:
        port = await ends.client.udp(ignore)
        port.send(b"x", Endpoint(IPv4Address("203.0.113.9"), 500))
        await asyncio.sleep(1)
        return ends

    ((source, message),) = simulate(Topology(), story).client_icmp
    assert source == IPv4Address("10.78.0.2")
    assert isinstance(message, DestinationUnreachable)
    assert message.code == Unreachable.NET


def test_no_error_answers_an_error() -> None:
    async def story(ends: Ends) -> Ends:
        quote = IPv4Packet.decode(udp_packet(ends))
        error = TimeExceeded(Quote(quote)).encode()
        ends.client.send_packet(IPv4Packet(ends.client_address, ends.server_address, IpProtocol.ICMP, 2, payload=error).encode())
        await asyncio.sleep(1)
        return ends

    assert simulate(Topology(), story).client_icmp == []


def test_routers_refuse_what_is_meant_for_them() -> None:
    async def story(ends: Ends) -> Ends:
        gre = ends.client.raw(IpProtocol.GRE, ignore)
        gre.send(b"\0\0\x08\0data", IPv4Address("10.78.1.2"))
        port = await ends.client.udp(ignore)
        port.send(b"x", Endpoint(IPv4Address("10.78.1.2"), 500))
        await asyncio.sleep(1)
        return ends

    codes = [
        (str(source), message.code)
        for source, message in simulate(Topology(), story).client_icmp
        if isinstance(message, DestinationUnreachable)
    ]
    assert codes == [("10.78.1.2", Unreachable.PROTOCOL), ("10.78.1.2", Unreachable.PORT)]


def test_an_end_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="r1"):
        SimulatedNetwork(Topology(), seed=1).stack("r1")


class TestWayBack:
    """What the server sends goes another way between two routers."""

    ROUND = Topology(routers=4, way_back=WayBack(leaves="r4", joins="r1", routers=2))

    @staticmethod
    def traces(topology: Topology) -> tuple[list[str], list[str]]:
        """Who answers for steps from the client, and from the server."""

        async def story(ends: Ends) -> tuple[list[str], list[str]]:
            client, server = ends.client.raw(IpProtocol.ESP, ignore), ends.server.raw(IpProtocol.ESP, ignore)
            for ttl in range(1, 7):
                client.send(b"esp-esp-", ends.server_address, ttl=ttl)
                server.send(b"esp-esp-", ends.client_address, ttl=ttl)
                await asyncio.sleep(0.01)
            await asyncio.sleep(1)
            return expired_at(ends.client_icmp), expired_at(ends.server_icmp)

        return simulate(topology, story)

    def test_each_direction_meets_its_own_routers(self) -> None:
        """The router where the way parts answers the client from the address by which its answer leaves."""
        there, back = self.traces(self.ROUND)
        assert there == ["10.78.0.2", "10.78.1.2", "10.78.2.2", "10.79.0.2"]
        assert back == ["10.78.4.1", "10.79.0.1", "10.79.1.1", "10.78.1.1"]

    def test_between_neighbours(self) -> None:
        topology = Topology(routers=3, way_back=WayBack(leaves="r2", joins="r1"))
        there, back = self.traces(topology)
        assert there == ["10.78.0.2", "10.79.0.2", "10.78.2.2"]
        assert back == ["10.78.3.1", "10.78.2.1", "10.79.0.1", "10.78.1.1"]

    def test_a_filter_in_the_chain_meets_one_direction_alone_and_one_beside_it_the_other(self) -> None:
        for at, passes in (("r2", ([], [b"back"])), ("b1", ([b"there"], []))):

            async def story(ends: Ends) -> tuple[list[bytes], list[bytes]]:
                at_client: list[bytes] = []
                at_server: list[bytes] = []
                client = await ends.client.udp(lambda datagram: at_client.append(datagram.data), port=500)
                server = await ends.server.udp(lambda datagram: at_server.append(datagram.data), port=500)
                client.send(b"there", ends.at_server(500))
                server.send(b"back", Endpoint(ends.client_address, 500))
                await asyncio.sleep(1)
                return at_server, at_client

            assert simulate(Topology(routers=4, way_back=self.ROUND.way_back, filters=(Filter(at, protocol=17),)), story) == passes

    def test_all_addresses_can_be_reached_from_both_ends(self) -> None:
        addresses = [address for pair in (*self.ROUND.addresses(), *self.ROUND.back_addresses()) for address in pair]

        async def story(ends: Ends) -> tuple[set[IPv4Address], set[IPv4Address]]:
            for stack in (ends.client, ends.server):
                raw = stack.raw(IpProtocol.ICMP, ignore)
                for address in addresses:
                    raw.send(EchoRequest(7, 1, b"ping").encode(), address)
            await asyncio.sleep(1)
            found = [
                {source for source, message in kept if message == EchoReply(7, 1, b"ping")} for kept in (ends.client_icmp, ends.server_icmp)
            ]
            return found[0], found[1]

        assert simulate(self.ROUND, story) == (set(addresses), set(addresses))

    def test_a_nat_where_it_joins_knows_what_comes_back(self) -> None:
        async def story(ends: Ends) -> list[Endpoint]:
            got: list[Endpoint] = []
            server = await ends.server.udp(lambda datagram: server.send(datagram.data, datagram.source), port=500)
            client = await ends.client.udp(lambda datagram: got.append(datagram.source))
            client.send(b"x", ends.at_server(500))
            await asyncio.sleep(1)
            return got

        topology = Topology(routers=4, way_back=self.ROUND.way_back, nats=(Nat("r1"),))
        assert simulate(topology, story) == [Endpoint(topology.server_address, 500)]


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (Clock(SERVER), (0.0, 10.0)),
        (Clock(SERVER, offset_s=3.5), (3.5, 13.5)),
        (Clock(SERVER, offset_s=-3600), (-3600.0, -3590.0)),
        (Clock(SERVER, drift=0.01), (0.0, 10.1)),
        (Clock(SERVER, jump_s=-2, jump_at_s=5), (0.0, 8.0)),
    ],
)
def test_a_clock_goes_as_it_goes(clock: Clock, expected: tuple[float, float]) -> None:
    async def story(ends: Ends) -> tuple[float, float, float, float]:
        wire: list[Packet] = []
        ends.server.capture(ends.client_address, wire.append)
        began, apart = ends.server.unix_time(), ends.server.now() - ends.client.now()
        await asyncio.sleep(10)
        ends.client.raw(IpProtocol.ESP, ignore).send(b"esp-esp-", ends.server_address)
        await asyncio.sleep(0.001)
        assert ends.client.unix_time() == pytest.approx(EPOCH + 10.001)
        return began - EPOCH, ends.server.unix_time() - EPOCH, wire[0].at - EPOCH, apart

    began, ended, captured, apart = simulate(Topology(clocks=(clock,)), story)
    assert (began, ended) == pytest.approx(expected, abs=0.01)
    assert captured == pytest.approx(ended, abs=0.001)
    assert apart == 0.0
