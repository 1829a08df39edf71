"""The network stack of a simulated host: sockets, raw IP, captures, capabilities, clock and entropy."""

import asyncio
import time
from ipaddress import IPv4Address, IPv6Address

import pytest
from simulated_support import Ends, ignore, plain_gre, simulate, udp_packet

from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.transports.simulated import SimulatedNetwork, SimulatedStack, run_virtual
from vpnprobe.transports.stack import Capability, ConnectError, ConnectFailure, Datagram, Endpoint, NetworkStack, Packet, PortUnavailable
from vpnprobe.transports.topology import CLIENT, SERVER, Topology
from vpnprobe.wire.icmp import DestinationUnreachable, EchoReply, EchoRequest, TimeExceeded, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet


def test_it_is_a_stack() -> None:
    stack: NetworkStack = SimulatedNetwork(Topology(), seed=1).stack(CLIENT)
    assert isinstance(stack, SimulatedStack)


def test_clock_and_entropy_repeat() -> None:
    async def story(ends: Ends) -> tuple[float, float, bytes, bytes]:
        before = ends.client.unix_time()
        await asyncio.sleep(2.5)
        assert ends.client.now() == pytest.approx(2.5)
        return before, ends.client.unix_time() - before, ends.client.entropy(8), ends.server.entropy(8)

    first = simulate(Topology(), story)
    assert first[0] == 1767225600.0
    assert first[1] == pytest.approx(2.5)
    assert first[2] != first[3]
    assert simulate(Topology(), story) == first
    assert simulate(Topology(), story, seed=2)[2] != first[2]


def test_an_unbound_udp_port_refuses() -> None:
    async def story(ends: Ends) -> tuple[list[Endpoint], Ends]:
        refused: list[Endpoint] = []
        client = await ends.client.udp(ignore, on_refused=refused.append)
        bystander = await ends.client.udp(ignore, on_refused=lambda _: pytest.fail("not about this socket"))
        client.send(b"x", ends.at_server(500))
        await asyncio.sleep(1)
        bystander.close()
        return refused, ends

    refused, ends = simulate(Topology(), story)
    assert refused == [ends.at_server(500)]
    ((source, message),) = ends.client_icmp
    assert source == ends.server_address
    assert isinstance(message, DestinationUnreachable)
    assert message.code == Unreachable.PORT


def test_a_protocol_without_a_raw_socket_is_refused() -> None:
    async def story(ends: Ends) -> tuple[int, int]:
        got: list[Datagram] = []
        client = ends.client.raw(IpProtocol.GRE, ignore)
        client.send(plain_gre(), ends.server_address)
        await asyncio.sleep(1)
        refusals = len(ends.client_icmp)
        first, second = (ends.server.raw(IpProtocol.GRE, got.append) for _ in range(2))
        client.send(plain_gre(), ends.server_address, ttl=10)
        await asyncio.sleep(1)
        assert {(datagram.data, datagram.source, datagram.ttl) for datagram in got} == {(plain_gre(), Endpoint(ends.client_address, 0), 7)}
        first.close()
        second.close()
        client.send(plain_gre(), ends.server_address)
        await asyncio.sleep(1)
        codes = {message.code for _, message in ends.client_icmp if isinstance(message, DestinationUnreachable)}
        assert codes == {Unreachable.PROTOCOL}
        assert len(ends.client_icmp) == 2
        return refusals, len(got)

    assert simulate(Topology(), story) == (1, 2)


def test_raw_icmp_gets_every_message_and_echo_is_still_answered() -> None:
    async def story(ends: Ends) -> Ends:
        ends.client.raw(IpProtocol.ICMP, ignore).send(EchoRequest(1, 2, b"x").encode(), ends.server_address)
        await asyncio.sleep(1)
        return ends

    ends = simulate(Topology(), story)
    assert ends.server_icmp == [(ends.client_address, EchoRequest(1, 2, b"x"))]
    assert ends.client_icmp == [(ends.server_address, EchoReply(1, 2, b"x"))]


def test_a_capture_sees_both_directions_stepped_copies_and_icmp_of_anyone() -> None:
    async def story(ends: Ends) -> tuple[list[Packet], list[Packet]]:
        at_client: list[Packet] = []
        at_server: list[Packet] = []
        capture = ends.client.capture(ends.server_address, at_client.append)
        ends.server.capture(ends.client_address, at_server.append)
        await ends.server.udp(ignore, port=500)
        stranger = await ends.client.udp(ignore)
        ends.client.send_packet(udp_packet(ends, ttl=2, identification=21))
        ends.client.send_packet(udp_packet(ends, ttl=20, identification=22))
        stranger.send(b"to a router, not to the peer", Endpoint(IPv4Address("10.78.0.2"), 500))
        await asyncio.sleep(1)
        capture.close()
        capture.close()
        stranger.send(b"after", ends.at_server(500))
        await asyncio.sleep(1)
        return at_client, at_server

    at_client, at_server = simulate(Topology(), story)
    packets = [(packet.outgoing, IPv4Packet.decode(packet.data)) for packet in at_client]
    assert [(outgoing, packet.protocol, packet.identification if outgoing else 0) for outgoing, packet in packets] == [
        (True, 17, 21), (True, 17, 22), (False, 1, 0), (False, 1, 0),
    ]  # fmt: skip
    assert packets[0][1].ttl == 2
    assert all(packet.at >= 1767225600.0 for packet in at_client)
    arrived = [IPv4Packet.decode(packet.data) for packet in at_server]
    assert (arrived[0].identification, arrived[0].ttl) == (22, 17)
    assert at_server[0].at > at_client[1].at


def test_send_packet_fills_in_what_the_kernel_fills_in() -> None:
    async def story(ends: Ends) -> IPv4Packet:
        seen: list[Packet] = []
        ends.server.capture(ends.client_address, seen.append)
        packet = IPv4Packet(IPv4Address("0.0.0.0"), ends.server_address, 50, payload=b"12345678")
        ends.client.send_packet(packet.encode()[:10] + b"\0\0" + packet.encode()[12:])
        await asyncio.sleep(1)
        with pytest.raises(DecodeError):
            ends.client.send_packet(b"not a packet")
        return IPv4Packet.decode(seen[0].data)

    packet = simulate(Topology(), story)
    assert packet.source == Topology().client_address
    assert packet.identification != 0


def test_ports_are_taken_once_and_free_after_close() -> None:
    async def story(ends: Ends) -> None:
        port = await ends.server.udp(ignore, port=500)
        with pytest.raises(PortUnavailable) as caught:
            await ends.server.udp(ignore, port=500)
        assert caught.value.in_use
        port.close()
        again = await ends.server.udp(ignore, port=500, address=ends.server_address)
        port.close()
        assert again.local == ends.at_server(500)
        with pytest.raises(PortUnavailable):
            await ends.server.udp(ignore, port=500)
        listener = await ends.server.listen(ignore, port=1723)
        with pytest.raises(PortUnavailable):
            await ends.server.listen(ignore, port=1723)
        listener.close()
        listener.close()
        await ends.server.listen(ignore, port=1723)
        with pytest.raises(PortUnavailable) as foreign:
            await ends.server.udp(ignore, port=4500, address=ends.client_address)
        assert not foreign.value.in_use

    simulate(Topology(), story)


def test_nothing_leaves_by_what_is_closed() -> None:
    async def story(ends: Ends) -> int:
        got: list[Packet] = []
        ends.server.capture(ends.client_address, got.append)
        udp, raw = await ends.client.udp(ignore), ends.client.raw(47, ignore)
        udp.close()
        raw.close()
        udp.send(b"x", ends.at_server(500))
        raw.send(plain_gre(), ends.server_address)
        await asyncio.sleep(1)
        return len(got)

    assert simulate(Topology(), story) == 0


def test_an_end_without_privileges() -> None:
    async def story() -> None:
        network = SimulatedNetwork(Topology(), seed=1, capabilities={SERVER: frozenset({Capability.CAPTURE}), CLIENT: frozenset()})
        client, server = network.stack(CLIENT), network.stack(SERVER)
        assert client.capabilities == frozenset()
        for attempt in (
            lambda: client.raw(47, ignore),
            lambda: client.send_packet(b""),
            lambda: client.capture(Topology().server_address, ignore),
            lambda: server.raw(50, ignore),
        ):
            with pytest.raises(CannotRun) as caught:
                attempt()
            assert caught.value.status is ExitStatus.MISSING
        server.capture(Topology().client_address, ignore)
        with pytest.raises(PortUnavailable) as low:
            await server.listen(ignore, port=443)
        assert not low.value.in_use
        with pytest.raises(PortUnavailable):
            await server.udp(ignore, port=500)
        assert (await server.udp(ignore, port=1194)).local.port == 1194

    run_virtual(story())


def test_an_end_that_is_not_named_has_every_capability() -> None:
    network = SimulatedNetwork(Topology(), seed=1, capabilities={SERVER: frozenset()})
    assert network.stack(CLIENT).capabilities == frozenset(Capability)


def test_ipv6_has_no_route() -> None:
    async def story(ends: Ends) -> ConnectFailure:
        remote = Endpoint(IPv6Address("2001:db8::1"), 443)
        (await ends.client.udp(ignore)).send(b"x", remote)
        ends.client.raw(47, ignore, version=6).send(b"x", remote.address)
        with pytest.raises(ConnectError) as caught:
            await ends.client.connect(remote, deadline_s=1)
        return caught.value.failure

    assert simulate(Topology(), story) is ConnectFailure.UNREACHABLE


def test_source_address_is_the_hosts_own() -> None:
    network = SimulatedNetwork(Topology(routers=2), seed=1)
    assert str(network.stack(SERVER).source_address(IPv4Address("10.78.0.1"))) == "10.78.2.2"


def test_a_datagram_with_a_wrong_checksum_is_not_delivered() -> None:
    async def story(ends: Ends) -> int:
        got: list[Datagram] = []
        await ends.server.udp(got.append, port=500)
        packet = bytearray(udp_packet(ends))
        packet[-1] ^= 1
        ends.client.send_packet(bytes(packet))
        await asyncio.sleep(1)
        return len(got)

    assert simulate(Topology(), story) == 0


def test_time_exceeded_is_told_to_raw_sockets_only() -> None:
    async def story(ends: Ends) -> tuple[list[Endpoint], Ends]:
        refused: list[Endpoint] = []
        client = await ends.client.udp(ignore, on_refused=refused.append)
        client.send(b"x", ends.at_server(500), ttl=1)
        await asyncio.sleep(1)
        return refused, ends

    refused, ends = simulate(Topology(), story)
    assert refused == []
    assert [type(message) for _, message in ends.client_icmp] == [TimeExceeded]


def test_three_thousand_packets_over_four_links_take_well_under_two_seconds() -> None:
    async def story(ends: Ends) -> int:
        got: list[Datagram] = []
        await ends.server.udp(got.append, port=500)
        ends.server.capture(ends.client_address, ignore)
        client = await ends.client.udp(ignore)
        for _ in range(300):
            for _ in range(10):
                client.send(b"x" * 200, ends.at_server(500))
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        return len(got)

    began = time.process_time()
    assert simulate(Topology(), story) == 3000
    assert time.process_time() - began < 2
