"""Masquerade: mappings, ICMP with its quotes, GRE of both versions, and the PPTP helper, against what Linux does."""

import asyncio
from ipaddress import IPv4Address

import pytest
from simulated_support import Ends, enhanced_gre, ignore, plain_gre, simulate, udp_packet

from vpnprobe.transports.simulated.nat import Masquerade
from vpnprobe.transports.stack import ConnectError, Datagram, Endpoint, Packet, TcpStream
from vpnprobe.transports.topology import SERVER, Filtering, Mapping, Nat, Service, Timeouts, Topology
from vpnprobe.wire.icmp import DestinationUnreachable, EchoReply, EchoRequest, TimeExceeded, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpSegment, UdpDatagram, checksum_fits

OUTSIDE = IPv4Address("10.78.1.1")
BEHIND_NAT = Topology(nats=(Nat("r1"),))
BEHIND_HELPER = Topology(nats=(Nat("r1", pptp_helper=True),))


def test_udp_and_tcp_leave_from_the_outside_and_come_back() -> None:
    async def story(ends: Ends) -> tuple[list[Datagram], list[Datagram], Endpoint, Endpoint, bytes]:
        at_server: list[Datagram] = []
        at_client: list[Datagram] = []
        accepted: asyncio.Queue[TcpStream] = asyncio.Queue()

        def answer(datagram: Datagram) -> None:
            at_server.append(datagram)
            server.send(b"back", datagram.source)

        server = await ends.server.udp(answer, port=500)
        client = await ends.client.udp(at_client.append)
        client.send(b"there", ends.at_server(500))
        await ends.server.listen(accepted.put_nowait, port=1723)
        stream = await ends.client.connect(ends.at_server(1723), deadline_s=3)
        other = await accepted.get()
        await other.send(b"hello")
        return at_server, at_client, client.local, other.remote, await stream.receive()

    at_server, at_client, local, remote, data = simulate(BEHIND_NAT, story)
    assert at_server[0].source == Endpoint(OUTSIDE, local.port)
    assert at_client[0].source == Endpoint(IPv4Address("10.78.3.2"), 500)
    assert (remote.address, data) == (OUTSIDE, b"hello")


def test_a_nat_that_gives_new_ports_keeps_none_and_brings_back_what_is_answered() -> None:
    async def story(ends: Ends) -> tuple[list[tuple[int, int]], bytes, Endpoint, Endpoint]:
        ports: list[tuple[int, int]] = []
        accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
        for number in (500, 501):
            at_server: list[Datagram] = []
            await ends.server.udp(at_server.append, port=number)
            client = await ends.client.udp(ignore)
            client.send(b"there", ends.at_server(number))
            await asyncio.sleep(1)
            ports.append((client.local.port, at_server[0].source.port))
        await ends.server.listen(accepted.put_nowait, port=1723)
        stream = await ends.client.connect(ends.at_server(1723), deadline_s=3)
        other = await accepted.get()
        await other.send(b"hello")
        return ports, await stream.receive(), stream.local, other.remote

    ports, data, local, remote = simulate(Topology(nats=(Nat("r1", new_ports=True),)), story)
    assert all(inside != outside for inside, outside in ports)
    assert (data, remote.address) == (b"hello", OUTSIDE)
    assert local.port != remote.port


def test_icmp_errors_come_back_with_the_inside_in_their_quote() -> None:
    async def story(ends: Ends) -> Ends:
        for ttl in (1, 2, 3, 4):
            ends.client.send_packet(udp_packet(ends, ttl=ttl, identification=100 + ttl))
        await asyncio.sleep(1)
        return ends

    ends = simulate(BEHIND_NAT, story)
    assert [str(source) for source, _ in ends.client_icmp] == ["10.78.0.2", "10.78.1.2", "10.78.2.2", "10.78.3.2"]
    for ttl, (_, message) in enumerate(ends.client_icmp, start=1):
        assert isinstance(message, TimeExceeded if ttl < 4 else DestinationUnreachable)
        assert isinstance(message, TimeExceeded | DestinationUnreachable)
        quote = message.quote
        assert (quote.source, quote.destination, quote.ports) == (ends.client_address, ends.server_address, (40000, 500))
        assert quote.identification == 100 + ttl
        assert checksum_fits(ends.client_address, ends.server_address, IpProtocol.UDP, quote.first_bytes)


def test_errors_from_the_inside_hide_the_inside() -> None:
    async def story(ends: Ends) -> Ends:
        client = await ends.client.udp(ignore)
        server = await ends.server.udp(lambda datagram: server.send(b"stepped", datagram.source, ttl=3), port=500)
        client.send(b"x", ends.at_server(500))
        await asyncio.sleep(1)
        return ends

    ends = simulate(Topology(nats=(Nat("r2"),)), story)
    ((source, message),) = ends.server_icmp
    assert source == IPv4Address("10.78.2.1")
    assert isinstance(message, TimeExceeded)
    assert message.quote.destination == IPv4Address("10.78.2.1")


def test_echo_passes_both_ways() -> None:
    async def story(ends: Ends) -> Ends:
        ends.client.raw(IpProtocol.ICMP, ignore).send(EchoRequest(77, 1).encode(), ends.server_address)
        await asyncio.sleep(1)
        return ends

    ends = simulate(BEHIND_NAT, story)
    assert ends.client_icmp == [(ends.server_address, EchoReply(77, 1))]
    assert ends.server_icmp == [(OUTSIDE, EchoRequest(77, 1))]


async def exchange(ends: Ends, protocol: int, outgoing: bytes, answer: bytes) -> tuple[list[bytes], list[bytes]]:
    """The client sends, the server answers to where it came from; what each got."""
    at_client: list[bytes] = []
    at_server: list[bytes] = []

    def on_server(datagram: Datagram) -> None:
        at_server.append(datagram.data)
        server.send(answer, datagram.source.address)

    client = ends.client.raw(protocol, lambda datagram: at_client.append(datagram.data))
    server = ends.server.raw(protocol, on_server)
    client.send(outgoing, ends.server_address)
    await asyncio.sleep(1)
    return at_client, at_server


@pytest.mark.parametrize(
    ("protocol", "outgoing", "answer"),
    [
        (IpProtocol.GRE, plain_gre(), plain_gre(b"backback")),
        (IpProtocol.ESP, b"\0\0\x10\0\0\0\0\1data", b"\0\0\x20\0\0\0\0\1data"),
        (IpProtocol.GRE, enhanced_gre(0), enhanced_gre(0)),
    ],
)
def test_what_is_tracked_by_addresses_comes_back(protocol: int, outgoing: bytes, answer: bytes) -> None:
    async def story(ends: Ends) -> tuple[list[bytes], list[bytes]]:
        return await exchange(ends, protocol, outgoing, answer)

    assert simulate(BEHIND_NAT, story) == ([answer], [outgoing])


def test_enhanced_gre_of_the_server_is_refused_by_the_nat_without_a_helper() -> None:
    async def story(ends: Ends) -> tuple[list[bytes], list[bytes], Ends]:
        return *await exchange(ends, IpProtocol.GRE, enhanced_gre(0x1111), enhanced_gre(0x2222)), ends

    at_client, at_server, ends = simulate(BEHIND_NAT, story)
    assert (at_client, at_server) == ([], [enhanced_gre(0x1111)])
    ((source, message),) = ends.server_icmp
    assert source == OUTSIDE
    assert isinstance(message, DestinationUnreachable)
    assert (message.code, message.quote.first_bytes[6:8]) == (Unreachable.PROTOCOL, b"\x22\x22")


def test_the_server_cannot_open_a_plain_flow_to_the_outside_address() -> None:
    async def story(ends: Ends) -> tuple[int, Ends]:
        at_client: list[Datagram] = []
        ends.client.raw(IpProtocol.GRE, at_client.append)
        ends.server.raw(IpProtocol.GRE, ignore).send(plain_gre(), OUTSIDE)
        await asyncio.sleep(1)
        return len(at_client), ends

    got, ends = simulate(BEHIND_NAT, story)
    assert got == 0
    assert [source for source, _ in ends.server_icmp] == [OUTSIDE]


def test_what_comes_in_by_the_real_address_is_answered_from_it() -> None:
    async def story(ends: Ends) -> list[Datagram]:
        got: list[Datagram] = []
        client = await ends.client.udp(lambda datagram: client.send(b"back", datagram.source), port=4500)
        server = await ends.server.udp(got.append)
        server.send(b"there", Endpoint(ends.client_address, 4500))
        await asyncio.sleep(1)
        return got

    (answer,) = simulate(BEHIND_NAT, story)
    assert answer.source.address == Topology().client_address


@pytest.mark.parametrize(("idle_s", "answers"), [(25.0, 1), (31.0, 0)])
def test_an_unanswered_udp_mapping_lasts_thirty_seconds(idle_s: float, answers: int) -> None:
    async def story(ends: Ends) -> int:
        seen: list[Datagram] = []
        at_client: list[Datagram] = []
        server = await ends.server.udp(seen.append, port=500)
        client = await ends.client.udp(at_client.append)
        client.send(b"x", ends.at_server(500))
        await asyncio.sleep(idle_s)
        server.send(b"late", seen[0].source)
        await asyncio.sleep(1)
        return len(at_client)

    assert simulate(BEHIND_NAT, story) == answers


def test_a_port_that_is_taken_outside_is_replaced() -> None:
    server = IPv4Address("198.51.100.7")
    nat = Masquerade(Nat("r1"), OUTSIDE, Topology().client_address, lambda: 0.0)

    def sent(inside: str) -> IPv4Packet:
        source = IPv4Address(inside)
        return IPv4Packet(source, server, IpProtocol.UDP, payload=UdpDatagram(1701, 1701, b"sccrq").encode(source, server))

    first, second = nat.outbound(sent("10.0.0.1")), nat.outbound(sent("10.0.0.2"))
    assert UdpDatagram.decode(first.payload).source_port == 1701
    port = UdpDatagram.decode(second.payload).source_port
    assert port != 1701
    assert checksum_fits(OUTSIDE, server, IpProtocol.UDP, second.payload)
    back = IPv4Packet(server, OUTSIDE, IpProtocol.UDP, payload=UdpDatagram(1701, port, b"sccrp").encode(server, OUTSIDE))
    inner = nat.inbound(back)
    assert inner.destination == IPv4Address("10.0.0.2")
    assert UdpDatagram.decode(inner.payload) == UdpDatagram(1701, 1701, b"sccrp")
    assert checksum_fits(server, inner.destination, IpProtocol.UDP, inner.payload)


def pptp(kind: int, *words: int, size: int) -> bytes:
    """A PPTP control message with its first 16-bit words after the reserved field; the rest is zero."""
    body = b"".join(word.to_bytes(2, "big") for word in words)
    head = size.to_bytes(2, "big") + b"\0\1\x1a\x2b\x3c\x4d" + kind.to_bytes(2, "big") + b"\0\0"
    return (head + body).ljust(size, b"\0")


CLIENT_CALL_ID = 1234
SERVER_CALL_ID = 0x0080


async def call(ends: Ends) -> tuple[TcpStream, TcpStream, bytes, bytes]:
    """An outgoing call over tcp/1723: both streams, OCRQ as the server got it and OCRP as the client got it."""
    accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
    await ends.server.listen(accepted.put_nowait, port=1723)
    client = await ends.client.connect(ends.at_server(1723), deadline_s=3)
    server = await accepted.get()
    await client.send(pptp(7, CLIENT_CALL_ID, 1, size=168))
    request = await server.receive()
    theirs = int.from_bytes(request[12:14], "big")
    await server.send(pptp(8, SERVER_CALL_ID, theirs, 0x0100, size=32))
    return client, server, request, await client.receive()


def test_the_helper_rewrites_call_ids_and_lets_the_call_through() -> None:
    async def story(ends: Ends) -> tuple[bytes, bytes, int, list[bytes], list[bytes]]:
        client, _, request, reply = await call(ends)
        theirs = int.from_bytes(request[12:14], "big")
        at_client, at_server = await exchange(ends, IpProtocol.GRE, enhanced_gre(SERVER_CALL_ID), enhanced_gre(theirs))
        return request, reply, client.local.port, at_client, at_server

    request, reply, port, at_client, at_server = simulate(BEHIND_HELPER, story)
    assert int.from_bytes(request[12:14], "big") == port != CLIENT_CALL_ID
    assert reply == pptp(8, SERVER_CALL_ID, CLIENT_CALL_ID, 0x0100, size=32)
    assert at_server == [enhanced_gre(SERVER_CALL_ID)]
    assert at_client == [enhanced_gre(CLIENT_CALL_ID)]


def test_the_server_may_speak_first_once_the_call_is_up() -> None:
    async def story(ends: Ends) -> list[bytes]:
        got: list[bytes] = []
        _, server, request, _ = await call(ends)
        ends.client.raw(IpProtocol.GRE, lambda datagram: got.append(datagram.data))
        ends.server.raw(IpProtocol.GRE, ignore).send(enhanced_gre(int.from_bytes(request[12:14], "big")), server.remote.address)
        await asyncio.sleep(1)
        return got

    assert simulate(BEHIND_HELPER, story) == [enhanced_gre(CLIENT_CALL_ID)]


def test_a_quote_of_the_call_shows_the_inside() -> None:
    async def story(ends: Ends) -> Ends:
        await call(ends)
        ends.client.raw(IpProtocol.GRE, ignore).send(enhanced_gre(SERVER_CALL_ID), ends.server_address, ttl=2)
        await asyncio.sleep(1)
        return ends

    ends = simulate(BEHIND_HELPER, story)
    ((_, message),) = ends.client_icmp
    assert isinstance(message, TimeExceeded)
    assert (message.quote.source, message.quote.first_bytes) == (ends.client_address, enhanced_gre(SERVER_CALL_ID))


def test_call_clear_and_set_link_info_are_rewritten_too() -> None:
    async def story(ends: Ends) -> tuple[bytes, bytes, int]:
        client, server, request, _ = await call(ends)
        theirs = int.from_bytes(request[12:14], "big")
        await server.send(pptp(15, theirs, size=24))
        link = await client.receive()
        await client.send(pptp(12, CLIENT_CALL_ID, size=16))
        return link, await server.receive(), theirs

    link, clear, theirs = simulate(BEHIND_HELPER, story)
    assert link == pptp(15, CLIENT_CALL_ID, size=24)
    assert clear == pptp(12, theirs, size=16)


def test_without_the_helper_call_ids_stay() -> None:
    async def story(ends: Ends) -> tuple[bytes, bytes]:
        _, _, request, reply = await call(ends)
        return request, reply

    assert simulate(BEHIND_NAT, story) == (pptp(7, CLIENT_CALL_ID, 1, size=168), pptp(8, SERVER_CALL_ID, CLIENT_CALL_ID, 0x0100, size=32))


def test_checksums_on_the_far_wire_are_right() -> None:
    async def story(ends: Ends) -> list[Packet]:
        seen: list[Packet] = []
        ends.server.capture(OUTSIDE, seen.append)
        await call(ends)
        return seen

    packets = [IPv4Packet.decode(packet.data) for packet in simulate(BEHIND_HELPER, story)]
    assert any(b"\x1a\x2b\x3c\x4d" in TcpSegment.decode(packet.payload).payload for packet in packets)
    assert all(checksum_fits(packet.source, packet.destination, packet.protocol, packet.payload) for packet in packets)


SERVED = Nat("r3", inside=SERVER, forwards=(Service(6, (7117,)), Service(17, (500,)), Service(47)))


async def reached(ends: Ends, *, port: int = 500) -> tuple[list[Endpoint], list[tuple[Endpoint, bytes]]]:
    """Who asked a server behind NATs by its public address, as it sees them, and who answered, as the client sees it."""
    asked: list[Endpoint] = []
    answered: list[tuple[Endpoint, bytes]] = []

    def answer(datagram: Datagram) -> None:
        asked.append(datagram.source)
        server.send(datagram.data, datagram.source)

    server = await ends.server.udp(answer, port=port)
    client = await ends.client.udp(lambda datagram: answered.append((datagram.source, datagram.data)))
    for data in (b"one", b"two"):
        client.send(data, Endpoint(ends.topology.public_address(SERVER), port))
        await asyncio.sleep(1)
    return asked, answered


@pytest.mark.parametrize("behind", [(), (Nat("r1"),), (Nat("r2", inside=SERVER, forwards=(Service(),)),)], ids=["alone", "both", "double"])
def test_a_port_forward_leads_to_the_server_and_its_answers_come_from_outside(behind: tuple[Nat, ...]) -> None:
    topology = Topology(nats=(*behind, SERVED))
    asked, answered = simulate(topology, reached)
    assert [str(source.address) for source in asked] == [str(topology.public_address("client"))] * 2
    there = Endpoint(topology.public_address(SERVER), 500)
    assert answered == [(there, b"one"), (there, b"two")]


def test_what_is_not_forwarded_is_for_the_nat_itself() -> None:
    async def story(ends: Ends) -> tuple[int, list[str], Ends]:
        asked, answered = await reached(ends, port=4500)
        await ends.server.listen(ignore, port=443)
        with pytest.raises(ConnectError) as caught:
            await ends.client.connect(Endpoint(ends.topology.public_address(SERVER), 443), deadline_s=3)
        return len(asked) + len(answered), [caught.value.failure.value], ends

    nothing, failure, ends = simulate(Topology(nats=(SERVED,)), story)
    assert (nothing, failure) == (0, ["refused"])
    assert {str(source) for source, _ in ends.client_icmp} == {"10.78.2.2"}


def test_tcp_through_a_port_forward() -> None:
    async def story(ends: Ends) -> tuple[bytes, bytes]:
        accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
        await ends.server.listen(accepted.put_nowait, port=7117)
        client = await ends.client.connect(Endpoint(ends.topology.public_address(SERVER), 7117), deadline_s=3)
        server = await accepted.get()
        await client.send(b"there" * 1000)
        await server.send(b"back" * 1000)
        await asyncio.sleep(2)
        return await server.receive(), await client.receive()

    assert simulate(Topology(nats=(SERVED, Nat("r1"))), story) == (b"there" * 1000, b"back" * 1000)


def test_a_call_crosses_a_servers_nat_without_a_helper() -> None:
    """The server's enhanced GRE opens a flow of its own and is masqueraded."""

    async def story(ends: Ends) -> tuple[list[bytes], list[bytes], list[str]]:
        sources: list[str] = []
        got: list[bytes] = []
        server = ends.server.raw(IpProtocol.GRE, lambda datagram: got.append(datagram.data))
        back: list[bytes] = []

        def at_client(datagram: Datagram) -> None:
            sources.append(str(datagram.source.address))
            back.append(datagram.data)

        client = ends.client.raw(IpProtocol.GRE, at_client)
        client.send(enhanced_gre(0x1111), ends.topology.public_address(SERVER))
        server.send(enhanced_gre(0x2222), ends.client_address)
        await asyncio.sleep(1)
        return got, back, sources

    assert simulate(Topology(nats=(SERVED,)), story) == ([enhanced_gre(0x1111)], [enhanced_gre(0x2222)], ["10.78.2.2"])


def test_errors_about_what_was_forwarded_show_the_outside_alone() -> None:
    async def story(ends: Ends) -> Ends:
        client = await ends.client.udp(ignore)
        server = await ends.server.udp(lambda datagram: server.send(b"stepped", datagram.source, ttl=2), port=500)
        client.send(b"x", Endpoint(ends.topology.public_address(SERVER), 500), ttl=4)
        client.send(b"x", Endpoint(ends.topology.public_address(SERVER), 500))
        await asyncio.sleep(1)
        return ends

    topology = Topology(routers=4, nats=(Nat("r3", inside=SERVER, forwards=(Service(17),)),))
    ends = simulate(topology, story)
    ((asker, expired),) = ends.client_icmp
    assert isinstance(expired, TimeExceeded)
    assert (str(asker), str(expired.quote.destination)) == ("10.78.2.2", "10.78.2.2")
    ((there, stepped),) = ends.server_icmp
    assert isinstance(stepped, TimeExceeded)
    assert (str(there), stepped.quote.source) == ("10.78.3.1", ends.server_address)


def outside_ports(nat: Nat) -> list[int]:
    """Of two flows of one inside port to two ports, and of a flow of another."""

    async def story(ends: Ends) -> list[int]:
        ports: list[int] = []
        for number in (500, 501):
            await ends.server.udp(lambda datagram: ports.append(datagram.source.port), port=number)
        first, second = await ends.client.udp(ignore, port=4500), await ends.client.udp(ignore, port=4501)
        for port, number in ((first, 500), (first, 501), (second, 500)):
            port.send(b"x", ends.at_server(number))
        await asyncio.sleep(1)
        return ports

    return simulate(Topology(nats=(nat,)), story)


def test_mappings() -> None:
    assert outside_ports(Nat("r1")) == [4500, 4500, 4501]
    symmetric = outside_ports(Nat("r1", new_ports=True))
    assert len({symmetric[0], symmetric[2]}) == 2
    assert 4500 not in symmetric
    first, again, other = outside_ports(Nat("r1", new_ports=True, mapping=Mapping.ENDPOINT))
    assert first == again != other
    assert 4500 not in (first, again)


@pytest.mark.parametrize(
    ("filtering", "let_in"),
    [(Filtering.FLOW, [b"same"]), (Filtering.ADDRESS, [b"same", b"port"]), (Filtering.ENDPOINT, [b"same", b"port"])],
)
@pytest.mark.parametrize("mapping", Mapping)
def test_filtering(filtering: Filtering, mapping: Mapping, let_in: list[bytes]) -> None:
    async def story(ends: Ends) -> list[bytes]:
        got: list[bytes] = []
        seen: list[Endpoint] = []
        server = await ends.server.udp(lambda datagram: seen.append(datagram.source), port=500)
        other = await ends.server.udp(ignore, port=501)
        client = await ends.client.udp(lambda datagram: got.append(datagram.data), port=4500)
        client.send(b"x", ends.at_server(500))
        await asyncio.sleep(1)
        server.send(b"same", seen[0])
        other.send(b"port", seen[0])
        await asyncio.sleep(200)
        other.send(b"late", seen[0])
        await asyncio.sleep(1)
        return got

    nat = Nat("r1", new_ports=True, filtering=filtering, mapping=mapping)
    assert simulate(Topology(nats=(nat,)), story) == let_in


def test_who_was_never_sent_to_is_let_in_by_endpoint_alone() -> None:
    def came_in(filtering: Filtering) -> bool:
        nat = Masquerade(Nat("r1", filtering=filtering), OUTSIDE, Topology().client_address, lambda: 0.0)
        inside, known, stranger = (IPv4Address(text) for text in ("10.0.0.1", "198.51.100.7", "203.0.113.9"))
        out = IPv4Packet(inside, known, IpProtocol.UDP, payload=UdpDatagram(4500, 500, b"x").encode(inside, known))
        nat.outbound(out)
        back = IPv4Packet(stranger, OUTSIDE, IpProtocol.UDP, payload=UdpDatagram(9, 4500, b"x").encode(stranger, OUTSIDE))
        return nat.inbound(back).destination == inside

    assert [came_in(filtering) for filtering in Filtering] == [False, False, True]


@pytest.mark.parametrize(("idle_s", "answers"), [(8.0, 1), (11.0, 0)])
def test_a_mapping_may_be_short_even_where_it_was_answered(idle_s: float, answers: int) -> None:
    async def story(ends: Ends) -> int:
        at_client: list[Datagram] = []
        seen: list[Datagram] = []

        def answer(datagram: Datagram) -> None:
            seen.append(datagram)
            server.send(b"soon", datagram.source)

        server = await ends.server.udp(answer, port=500)
        client = await ends.client.udp(at_client.append)
        client.send(b"x", ends.at_server(500))
        await asyncio.sleep(idle_s)
        server.send(b"late", seen[0].source)
        await asyncio.sleep(1)
        return len(at_client) - 1

    assert simulate(Topology(nats=(Nat("r1", timeouts=Timeouts(udp_s=10)),)), story) == answers
