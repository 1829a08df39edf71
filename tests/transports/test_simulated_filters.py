"""Filters: what fits, where they stand, what they answer, and what captures see of them."""

import asyncio
from ipaddress import IPv4Address

import pytest
from simulated_support import Ends, expired_at, ignore, simulate, udp_packet

from vpnprobe.transports.simulated.filters import FilterChain, fits
from vpnprobe.transports.stack import ConnectError, ConnectFailure, Datagram, Packet
from vpnprobe.transports.topology import CLIENT, SERVER, Action, Filter, Hook, Topology
from vpnprobe.wire.icmp import DestinationUnreachable, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpSegment, UdpDatagram, mss_option

A = IPv4Address("192.0.2.1")
B = IPv4Address("198.51.100.7")
UDP = IPv4Packet(A, B, IpProtocol.UDP, payload=UdpDatagram(40000, 1194, b"\x38ABCD").encode(A, B))
TCP = IPv4Packet(A, B, IpProtocol.TCP, payload=TcpSegment(1723, 50000, 1, options=mss_option(1000), payload=b"\0\0\x1a\x2b").encode(A, B))
GRE = IPv4Packet(A, B, IpProtocol.GRE, payload=b"\x38" * 60)


@pytest.mark.parametrize(
    ("rule", "packet", "expected"),
    [
        (Filter("r1"), UDP, True),
        (Filter("r1", protocol=47), GRE, True),
        (Filter("r1", protocol=47), UDP, False),
        (Filter("r1", except_protocols=(6, 17)), GRE, True),
        (Filter("r1", except_protocols=(6, 17)), TCP, False),
        (Filter("r1", direction="c2s"), UDP, True),
        (Filter("r1", direction="s2c"), UDP, False),
        (Filter("r1", ports=(500, 1194)), UDP, True),
        (Filter("r1", ports=(1723,)), TCP, True),
        (Filter("r1", ports=(500,)), UDP, False),
        (Filter("r1", ports=(500,)), GRE, False),
        (Filter("r1", except_ports=(443,)), UDP, True),
        (Filter("r1", except_ports=(1194,)), UDP, False),
        (Filter("r1", except_ports=(1194,)), GRE, True),
        (Filter("r1", longer_than=33), UDP, False),
        (Filter("r1", longer_than=32), UDP, True),
        (Filter("r1", payload=b"\x38"), UDP, True),
        (Filter("r1", payload=b"\x3f", payload_mask=b"\xf8"), UDP, True),
        (Filter("r1", payload=b"\x3f"), UDP, False),
        (Filter("r1", payload=b"\x38"), GRE, False),
        (Filter("r1", payload_offset=2, payload=b"\x1a\x2b"), TCP, True),
        (Filter("r1", payload_offset=3, payload=b"CD"), UDP, True),
        (Filter("r1", payload_offset=4, payload=b"DE"), UDP, False),
    ],
)
def test_what_fits(rule: Filter, packet: IPv4Packet, expected: bool) -> None:
    assert fits(rule, packet, "c2s") is expected


def test_an_unreadable_header_has_no_ports() -> None:
    assert not fits(Filter("r1", ports=(500,)), IPv4Packet(A, B, IpProtocol.UDP, payload=b"\1"), "c2s")


@pytest.mark.parametrize(("hook", "answers"), [(Hook.FORWARD, ["10.78.0.2", "10.78.1.2"]), (Hook.PREROUTING, ["10.78.0.2"])])
def test_a_forward_drop_answers_ttl_first_and_a_prerouting_drop_does_not(hook: Hook, answers: list[str]) -> None:
    async def story(ends: Ends) -> Ends:
        for ttl in (1, 2, 3, 4):
            ends.client.send_packet(udp_packet(ends, ttl=ttl))
        await asyncio.sleep(1)
        return ends

    assert expired_at(simulate(Topology(filters=(Filter("r2", hook=hook, protocol=17),)), story).client_icmp) == answers


def test_direction_and_protocol_of_a_drop() -> None:
    async def story(ends: Ends) -> tuple[int, int]:
        at_client: list[Datagram] = []
        at_server: list[Datagram] = []
        client, server = ends.client.raw(47, at_client.append), ends.server.raw(47, at_server.append)
        client.send(b"\0\0\x08\0", ends.server_address)
        server.send(b"\0\0\x08\0", ends.client_address)
        await asyncio.sleep(1)
        return len(at_client), len(at_server)

    assert simulate(Topology(filters=(Filter("r3", protocol=47, direction="s2c"),)), story) == (0, 1)


CODES = [
    (Action.REJECT_ADMIN, Unreachable.ADMINISTRATIVELY_PROHIBITED),
    (Action.REJECT_HOST, Unreachable.HOST_PROHIBITED),
    (Action.REJECT_PORT, Unreachable.PORT),
]


@pytest.mark.parametrize(("action", "code"), CODES)
def test_an_icmp_error_comes_from_the_router(action: Action, code: Unreachable) -> None:
    async def story(ends: Ends) -> Ends:
        ends.client.send_packet(udp_packet(ends, port=500))
        await asyncio.sleep(1)
        return ends

    ends = simulate(Topology(filters=(Filter("r2", action, ports=(500,)),)), story)
    ((source, message),) = ends.client_icmp
    assert source == IPv4Address("10.78.1.2")
    assert isinstance(message, DestinationUnreachable)
    assert (message.code, message.quote.ports) == (code, (40000, 500))


@pytest.mark.parametrize(("at", "hook", "source"), [("r2", Hook.FORWARD, "10.78.1.2"), (SERVER, Hook.INPUT, "10.78.3.2")])
def test_port_unreachable_answers_protocols_without_ports_too(at: str, hook: Hook, source: str) -> None:
    async def story(ends: Ends) -> Ends:
        ends.client.raw(47, ignore).send(b"\0\0\x08\0", ends.server_address)
        await asyncio.sleep(1)
        return ends

    ends = simulate(Topology(filters=(Filter(at, Action.REJECT_PORT, hook, protocol=47),)), story)
    ((sender, message),) = ends.client_icmp
    assert sender == IPv4Address(source)
    assert isinstance(message, DestinationUnreachable)
    assert (message.code, message.quote.protocol) == (Unreachable.PORT, 47)


@pytest.mark.parametrize(
    ("action", "failure"),
    [
        (Action.DROP, ConnectFailure.TIMED_OUT),
        (Action.REJECT_RST, ConnectFailure.REFUSED),
        (Action.REJECT_ADMIN, ConnectFailure.UNREACHABLE),
        (Action.REJECT_HOST, ConnectFailure.UNREACHABLE),
        (Action.REJECT_PORT, ConnectFailure.UNREACHABLE),
    ],
)
@pytest.mark.parametrize("hook", [Hook.FORWARD, Hook.PREROUTING])
def test_tcp_meets_each_action(action: Action, failure: ConnectFailure, hook: Hook) -> None:
    async def story(ends: Ends) -> tuple[ConnectFailure, float]:
        await ends.server.listen(ignore, port=1723)
        with pytest.raises(ConnectError) as caught:
            await ends.client.connect(ends.at_server(1723), deadline_s=8)
        return caught.value.failure, ends.client.now()

    got, at = simulate(Topology(filters=(Filter("r2", action, hook, ports=(1723,)),)), story)
    assert got is failure
    assert at == pytest.approx(8.0) if failure is ConnectFailure.TIMED_OUT else at < 0.1


def test_a_payload_filter_that_resets_kills_an_open_connection() -> None:
    async def story(ends: Ends) -> ConnectFailure:
        await ends.server.listen(ignore, port=443)
        stream = await ends.client.connect(ends.at_server(443), deadline_s=8)
        await stream.send(b"\0\x0e\x38rest")
        with pytest.raises(ConnectError) as caught:
            await stream.receive()
        return caught.value.failure

    rule = Filter("r2", Action.REJECT_RST, payload_offset=2, payload=b"\x38", payload_mask=b"\xf8")
    assert simulate(Topology(filters=(rule,)), story) is ConnectFailure.RESET


def test_probability_is_a_share() -> None:
    async def story(ends: Ends) -> int:
        got: list[Datagram] = []
        await ends.server.udp(got.append, port=500)
        for _ in range(1000):
            ends.client.send_packet(udp_packet(ends))
        await asyncio.sleep(1)
        return len(got)

    assert 640 < simulate(Topology(filters=(Filter("r1", probability=0.3),)), story) < 760


def test_a_host_firewall_drops_behind_the_capture_on_the_way_in_and_before_it_on_the_way_out() -> None:
    async def story(ends: Ends) -> tuple[int, list[bool], list[bool]]:
        at_server: list[Datagram] = []
        client_wire: list[Packet] = []
        server_wire: list[Packet] = []
        await ends.server.udp(at_server.append, port=500)
        ends.server.raw(17, at_server.append)
        ends.client.capture(ends.server_address, client_wire.append)
        ends.server.capture(ends.client_address, server_wire.append)
        client = await ends.client.udp(ignore)
        client.send(b"dropped at the server", ends.at_server(500))
        client.send(b"never leaves", ends.at_server(4500))
        await asyncio.sleep(1)
        return len(at_server), [packet.outgoing for packet in client_wire], [packet.outgoing for packet in server_wire]

    filters = (Filter(SERVER, hook=Hook.INPUT, ports=(500,)), Filter(CLIENT, hook=Hook.OUTPUT, ports=(4500,)))
    assert simulate(Topology(filters=filters), story) == (0, [True], [False])


@pytest.mark.parametrize(("action", "code"), CODES)
def test_a_host_firewall_that_rejects_answers_in_its_own_name(action: Action, code: Unreachable) -> None:
    async def story(ends: Ends) -> Ends:
        ends.client.send_packet(udp_packet(ends, port=500))
        await asyncio.sleep(1)
        return ends

    ends = simulate(Topology(filters=(Filter(SERVER, action, Hook.INPUT, ports=(500,)),)), story)
    ((source, message),) = ends.client_icmp
    assert source == ends.server_address
    assert isinstance(message, DestinationUnreachable)
    assert message.code == code


def test_an_output_filter_that_rejects_tells_the_sender_at_once() -> None:
    async def story(ends: Ends) -> tuple[ConnectFailure, float]:
        with pytest.raises(ConnectError) as caught:
            await ends.client.connect(ends.at_server(1723), deadline_s=8)
        return caught.value.failure, ends.client.now()

    rule = Filter(CLIENT, Action.REJECT_RST, Hook.OUTPUT, ports=(1723,))
    assert simulate(Topology(filters=(rule,)), story) == (ConnectFailure.REFUSED, 0.0)


def flow(client: int = 40000, server: int = 1194, *, back: bool = False, protocol: int = IpProtocol.UDP) -> IPv4Packet:
    ends, ports = ((B, A), (server, client)) if back else ((A, B), (client, server))
    if protocol == IpProtocol.UDP:
        return IPv4Packet(*ends, protocol, payload=UdpDatagram(*ports, b"data").encode(*ends))
    if protocol == IpProtocol.TCP:
        return IPv4Packet(*ends, protocol, payload=TcpSegment(*ports, 1, payload=b"data").encode(*ends))
    return IPv4Packet(*ends, protocol, payload=b"data")


def acted(chain: FilterChain, packets: list[IPv4Packet]) -> list[bool]:
    return [chain.verdict(Hook.FORWARD, packet, "c2s" if packet.source == A else "s2c") is not None for packet in packets]


class TestAtTimes:
    """Filters that come and go, and policers."""

    def chain(self, rule: Filter, clock: list[float]) -> FilterChain:
        return FilterChain("r1", (rule,), seed=1, now=lambda: clock[0])

    @pytest.mark.parametrize(("at", "acts"), [(0.0, False), (0.99, False), (1.0, True), (2.4, True), (2.5, False), (9.0, False)])
    def test_from_one_time_to_another(self, at: float, acts: bool) -> None:
        assert acted(self.chain(Filter("r1", from_s=1, to_s=2.5), [at]), [flow()]) == [acts]

    def test_to_the_end(self) -> None:
        assert acted(self.chain(Filter("r1", from_s=1), [1e6]), [flow()]) == [True]

    def test_a_policer_spares_a_burst_and_then_its_rate(self) -> None:
        clock = [0.0]
        chain = self.chain(Filter("r1", protocol=17, packets_per_s=10, burst_packets=3), clock)
        assert acted(chain, [flow()] * 5) == [False, False, False, True, True]
        assert acted(chain, [flow(protocol=IpProtocol.GRE)]) == [False]
        clock[0] = 0.21
        assert acted(chain, [flow()] * 3) == [False, False, True]
        clock[0] = 60.0
        assert acted(chain, [flow()] * 4) == [False, False, False, True]

    def test_in_a_network_times_count_from_its_beginning(self) -> None:
        async def story(ends: Ends) -> list[str]:
            got: list[str] = []
            await ends.server.udp(lambda datagram: got.append(datagram.data.decode()), port=1194)
            client = await ends.client.udp(ignore)
            for name in ("one", "two", "three"):
                client.send(name.encode(), ends.at_server(1194))
                await asyncio.sleep(1)
            return got

        assert simulate(Topology(filters=(Filter("r1", from_s=0.5, to_s=1.5),)), story) == ["one", "three"]


class TestAfterPackets:
    """A filter that spares the first packets of each flow."""

    @pytest.mark.parametrize("spared", [0, 1, 3])
    @pytest.mark.parametrize("protocol", [IpProtocol.UDP, IpProtocol.TCP, IpProtocol.GRE])
    def test_so_many_are_spared(self, spared: int, protocol: int) -> None:
        chain = FilterChain("r1", (Filter("r1", after_packets=spared),), seed=1)
        assert acted(chain, [flow(protocol=protocol)] * 5) == [number >= spared for number in range(5)]

    def test_both_directions_count_together(self) -> None:
        chain = FilterChain("r1", (Filter("r1", direction="c2s", after_packets=4),), seed=1)
        packets = [flow(), flow(back=True)] * 3
        assert acted(chain, packets) == [False, False, False, False, True, False]

    def test_each_flow_counts_by_itself(self) -> None:
        chain = FilterChain("r1", (Filter("r1", after_packets=2),), seed=1)
        assert acted(chain, [flow(), flow(), flow(40001), flow(server=443), flow(protocol=IpProtocol.TCP), flow()]) == [False] * 5 + [True]

    def test_packets_that_do_not_fit_count_too(self) -> None:
        """As connection tracking counts them: a handshake may use the spared ones up."""
        chain = FilterChain("r1", (Filter("r1", longer_than=100, after_packets=2),), seed=1)
        long = IPv4Packet(A, B, IpProtocol.UDP, payload=UdpDatagram(40000, 1194, bytes(200)).encode(A, B))
        assert acted(chain, [flow(), flow(), long, flow()]) == [False, False, True, False]

    def test_a_packet_counts_once_whatever_filters_there_are(self) -> None:
        filters = (Filter("r1", after_packets=3), Filter("r1", after_packets=1, direction="s2c"), Filter("r2", after_packets=0))
        assert acted(FilterChain("r1", filters, seed=1), [flow(), flow(), flow(), flow()]) == [False, False, False, True]
        assert acted(FilterChain("r1", filters, seed=1), [flow(), flow(back=True)]) == [False, True]

    def test_in_a_network(self) -> None:
        async def story(ends: Ends) -> list[str]:
            got: list[str] = []
            await ends.server.udp(lambda datagram: got.append(datagram.data.decode()), port=1194)
            for name in ("one", "two"):
                client = await ends.client.udp(ignore)
                for number in range(4):
                    client.send(f"{name} {number}".encode(), ends.at_server(1194))
            await asyncio.sleep(1)
            return got

        filters = (Filter("r2", protocol=17, after_packets=2),)
        assert simulate(Topology(filters=filters), story) == ["one 0", "one 1", "two 0", "two 1"]


class TestFlowShare:
    """One of two paths that flows are balanced over."""

    rule = Filter("r1", flow_share=0.5)

    def test_a_share_of_flows_and_all_packets_of_each(self) -> None:
        hit = [fits(self.rule, flow(40000 + number), "c2s") for number in range(1000)]
        assert 420 < sum(hit) < 580
        assert hit == [fits(self.rule, flow(40000 + number), "c2s") for number in range(1000)]

    def test_each_direction_has_a_path_of_its_own(self) -> None:
        there = [fits(self.rule, flow(40000 + number), "c2s") for number in range(1000)]
        back = [fits(self.rule, flow(40000 + number, back=True), "s2c") for number in range(1000)]
        assert 380 < sum(one == other for one, other in zip(there, back, strict=True)) < 620

    def test_protocols_without_ports_are_one_flow(self) -> None:
        assert len({fits(self.rule, flow(number, protocol=IpProtocol.GRE), "c2s") for number in range(100)}) == 1

    def test_whatever_the_share(self) -> None:
        planted = [Filter("r1", flow_share=share) for share in (0, 0.1, 0.9, 1)]
        shares = [sum(fits(rule, flow(number), "c2s") for number in range(1, 2001)) / 2000 for rule in planted]
        assert shares == pytest.approx([0, 0.1, 0.9, 1], abs=0.03)
