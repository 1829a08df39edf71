"""The stateful firewall: the client's side opens, the server's side may answer."""

import asyncio

import pytest
from simulated_support import Ends, enhanced_gre, expired_at, ignore, plain_gre, simulate, udp_packet

from vpnprobe.transports.stack import ConnectError, ConnectFailure, Datagram, Endpoint
from vpnprobe.transports.topology import CLIENT, SERVER, Service, StatefulFirewall, Timeouts, Topology
from vpnprobe.wire.icmp import EchoRequest
from vpnprobe.wire.ip import IpProtocol

WALLED = Topology(firewalls=(StatefulFirewall("r2"),))


def test_udp_from_outside_passes_only_as_an_answer() -> None:
    async def story(ends: Ends) -> list[bytes]:
        got: list[bytes] = []
        client = await ends.client.udp(lambda datagram: got.append(datagram.data), port=4500)
        server = await ends.server.udp(ignore, port=4500)
        other = await ends.server.udp(ignore, port=500)
        server.send(b"unasked", Endpoint(ends.client_address, 4500))
        await asyncio.sleep(1)
        client.send(b"open", ends.at_server(4500))
        await asyncio.sleep(1)
        server.send(b"answer", Endpoint(ends.client_address, 4500))
        other.send(b"other port", Endpoint(ends.client_address, 4500))
        await asyncio.sleep(1)
        return got

    assert simulate(WALLED, story) == [b"answer"]


def test_tcp_connects_from_inside_only() -> None:
    async def story(ends: Ends) -> ConnectFailure:
        await ends.server.listen(ignore, port=1723)
        await ends.client.listen(ignore, port=1723)
        (await ends.client.connect(ends.at_server(1723), deadline_s=3)).abort()
        with pytest.raises(ConnectError) as caught:
            await ends.server.connect(Endpoint(ends.client_address, 1723), deadline_s=3)
        return caught.value.failure

    assert simulate(WALLED, story) is ConnectFailure.TIMED_OUT


@pytest.mark.parametrize(
    ("protocol", "outgoing", "answer"),
    [
        (IpProtocol.GRE, plain_gre(), plain_gre(b"backback")),
        (IpProtocol.GRE, enhanced_gre(0), enhanced_gre(0)),
        (IpProtocol.ESP, b"\0\0\x10\0\0\0\0\1", b"\0\0\x20\0\0\0\0\1"),
    ],
)
def test_gre_and_esp_go_by_addresses(protocol: int, outgoing: bytes, answer: bytes) -> None:
    async def story(ends: Ends) -> tuple[list[Datagram], list[Datagram]]:
        got: list[Datagram] = []
        client, server = ends.client.raw(protocol, got.append), ends.server.raw(protocol, ignore)
        server.send(answer, ends.client_address)
        await asyncio.sleep(1)
        before = list(got)
        client.send(outgoing, ends.server_address)
        await asyncio.sleep(1)
        server.send(answer, ends.client_address)
        await asyncio.sleep(1)
        return before, got

    before, after = simulate(WALLED, story)
    assert before == []
    assert [datagram.data for datagram in after] == [answer]


def test_enhanced_gre_of_the_server_never_passes() -> None:
    """As nf_conntrack without a PPTP helper: the server's Call ID opens with no packet of the client's."""

    async def story(ends: Ends) -> list[Datagram]:
        got: list[Datagram] = []
        client, server = ends.client.raw(IpProtocol.GRE, got.append), ends.server.raw(IpProtocol.GRE, ignore)
        client.send(enhanced_gre(1), ends.server_address)
        await asyncio.sleep(1)
        server.send(enhanced_gre(2), ends.client_address)
        await asyncio.sleep(1)
        return got

    assert simulate(WALLED, story) == []


def test_icmp_errors_pass_where_they_are_about_a_known_flow() -> None:
    async def story(ends: Ends) -> Ends:
        for ttl in (1, 2, 3, 4):
            ends.client.send_packet(udp_packet(ends, ttl=ttl))
        await asyncio.sleep(1)
        return ends

    ends = simulate(WALLED, story)
    assert expired_at(ends.client_icmp) == ["10.78.0.2", "10.78.1.2", "10.78.2.2"]
    assert len(ends.client_icmp) == 4


async def both_ways(ends: Ends) -> tuple[list[bytes], list[bytes]]:
    """What comes through of datagrams to udp/500 and udp/4500, from the client first, then from the server, then from the client again."""
    at_client: list[bytes] = []
    at_server: list[bytes] = []
    clients = {port: await ends.client.udp(lambda datagram: at_client.append(datagram.data), port=port) for port in (500, 4500)}
    servers = {port: await ends.server.udp(lambda datagram: at_server.append(datagram.data), port=port) for port in (500, 4500)}
    for data, sockets, to in (
        (b"c", clients, ends.server_address),
        (b"s", servers, ends.client_address),
        (b"again", clients, ends.server_address),
    ):
        for port, socket in sockets.items():
            socket.send(data + b" %d" % port, Endpoint(to, port))
        await asyncio.sleep(1)
    return at_client, at_server


@pytest.mark.parametrize("at", ["r2", SERVER])
def test_one_that_protects_the_server_lets_in_what_it_allows_and_what_the_server_opened(at: str) -> None:
    walled = Topology(firewalls=(StatefulFirewall(at, SERVER, allows=(Service(17, (500,)),)),))
    assert simulate(walled, both_ways) == ([b"s 500", b"s 4500"], [b"c 500", b"again 500", b"again 4500"])


@pytest.mark.parametrize("at", ["r2", CLIENT])
def test_one_that_protects_the_client(at: str) -> None:
    everything = [b"c 500", b"c 4500", b"again 500", b"again 4500"]
    assert simulate(Topology(firewalls=(StatefulFirewall(at, CLIENT),)), both_ways) == ([b"s 500", b"s 4500"], everything)


def test_any_service_allows_all_but_icmp() -> None:
    async def story(ends: Ends) -> tuple[list[Datagram], Ends]:
        got: list[Datagram] = []
        ends.server.raw(IpProtocol.ESP, got.append)
        ends.client.raw(IpProtocol.ESP, ignore).send(b"\0\0\x10\0", ends.server_address)
        ends.client.raw(IpProtocol.ICMP, ignore).send(EchoRequest(1, 1).encode(), ends.server_address)
        await asyncio.sleep(1)
        return got, ends

    got, ends = simulate(Topology(firewalls=(StatefulFirewall(SERVER, SERVER, allows=(Service(),)),)), story)
    assert (len(got), ends.client_icmp) == (1, [])


@pytest.mark.parametrize(("idle_s", "come"), [(4.0, 1), (6.0, 0)])
def test_it_forgets(idle_s: float, come: int) -> None:
    async def story(ends: Ends) -> int:
        got: list[Datagram] = []
        client = await ends.client.udp(got.append, port=500)
        server = await ends.server.udp(ignore, port=500)
        client.send(b"x", ends.at_server(500))
        await asyncio.sleep(idle_s)
        server.send(b"x", Endpoint(ends.client_address, 500))
        await asyncio.sleep(1)
        return len(got)

    assert simulate(Topology(firewalls=(StatefulFirewall("r2", timeouts=Timeouts(udp_s=5)),)), story) == come
