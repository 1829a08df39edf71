"""What the server's wire shows of another program's ports: our conversations, both directions, and nothing of anybody else's."""

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations import ikev1, ikev2, l2tp_ends, openvpn_reset, pptp_ends
from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.endpoint.passive_observer import PassiveObserver
from vpnprobe.endpoint.recorder import Departures, Recorder
from vpnprobe.endpoint.sending import esp
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Check, Movement, Vantage
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import NetworkStack, Packet
from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.nonce import NoncePayload
from vpnprobe.wire.ppp import ConfigureRequest, MagicNumber, lcp_frame

CLIENT, SERVER = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.2")
CLIENT_PORT = 40001
UDP, TCP = Transport.UDP, Transport.TCP
ANOTHERS = {(UDP, port): PortState.DAEMON for port in (500, 1194, 1701, 4500)} | {(TCP, port): PortState.DAEMON for port in (1194, 1723)}


class Clock:
    """All that a recorder asks of a network stack."""

    def now(self) -> float:
        return 0.0


class Wire:
    """An observer, and packets for it."""

    def __init__(self, ports: dict[tuple[Transport, int], PortState] | None = None) -> None:
        self.recorder = Recorder(cast("NetworkStack", Clock()), Vantage.SERVER)
        self.recorded = PassiveObserver(self.recorder, ANOTHERS if ports is None else ports)
        self.sequence = {Sender.INITIATOR: 1000, Sender.RESPONDER: 2000}

    def ip(self, sender: Sender, protocol: int, payload: bytes, *, ttl: int = 61) -> None:
        ends = (CLIENT, SERVER) if sender is Sender.INITIATOR else (SERVER, CLIENT)
        self.recorded(Packet(IPv4Packet(*ends, protocol, ttl, 7, payload).encode(), 0.0, sender is Sender.RESPONDER))

    def udp(self, sender: Sender, port: int, payload: bytes, *, client_port: int = CLIENT_PORT, ttl: int = 61) -> None:
        ports = (client_port, port) if sender is Sender.INITIATOR else (port, client_port)
        self.ip(sender, IpProtocol.UDP, UdpDatagram(*ports, payload).encode(CLIENT, SERVER), ttl=ttl)

    def segment(self, sender: Sender, port: int, payload: bytes = b"", flags: TcpFlag = TcpFlag.ACK) -> None:
        ports = (CLIENT_PORT, port) if sender is Sender.INITIATOR else (port, CLIENT_PORT)
        segment = TcpSegment(*ports, self.sequence[sender] % (1 << 32), 0, flags, payload=payload)
        self.ip(sender, IpProtocol.TCP, segment.encode(CLIENT, SERVER))
        self.sequence[sender] += len(payload) + int(TcpFlag.SYN in flags)

    def handshake(self, port: int) -> None:
        self.segment(Sender.INITIATOR, port, flags=TcpFlag.SYN)
        self.segment(Sender.RESPONDER, port, flags=TcpFlag.SYN | TcpFlag.ACK)

    def seen(self, check: Check, movement: Movement, key: str) -> set[str]:
        """Names of the messages with that key."""
        rows = (row for row in self.recorder.packet_records if row.check == check and row.movement is movement)
        return {row.message for row in rows if row.key == key}


def conversed(wire: Wire, port: int, client: Conversation, server: Conversation) -> None:
    """The two speak over UDP until neither has anything to say."""
    client.start(0.0)
    for _ in range(10):
        for sender, one, other in ((Sender.INITIATOR, client, server), (Sender.RESPONDER, server, client)):
            for datagram in one.data_to_send(0.0):
                wire.udp(sender, port, datagram)
                other.receive(datagram, 0.0)


def pairs() -> Iterable[tuple[int, Check, Conversation, Conversation]]:
    spi = bytes(range(1, 201))
    for port in (500, 4500):
        marker = port == 4500
        one = ikev1.Initiator(entropy=spi[: ikev1.ENTROPY_BYTES], non_esp_marker=marker)
        yield port, checks.ikev1_main(port), one, ikev1.Responder(entropy=spi[-ikev1.ENTROPY_BYTES :], non_esp_marker=marker)
        entropy = bytes(range(7, 7 + 200)) * 3
        two = ikev2.Initiator(entropy=entropy[: ikev2.ENTROPY_BYTES], non_esp_marker=marker)
        other = ikev2.Responder(entropy=entropy[-ikev2.ENTROPY_BYTES :], non_esp_marker=marker)
        yield port, checks.ikev2_init(port), two, other
    lac = l2tp_ends.Initiator(nonce="0123456789abcdef", tunnel_id=5, session_id=6, retransmit_after_s=1.0, entropy=bytes)
    yield 1701, checks.L2TP_CONTROL, lac, l2tp_ends.Responder(tunnel_id=7, session_id=8, retransmit_after_s=1.0, entropy=bytes, requests=0)
    client = openvpn_reset.Initiator(session_id=b"client__", stream=False)
    yield 1194, checks.openvpn_reset(UDP, 1194), client, openvpn_reset.Responder(session_id=b"server__", stream=False)


@pytest.mark.parametrize(("port", "check", "client", "server"), list(pairs()))
def test_each_message_of_a_conversation_is_seen_to_come_or_to_leave(
    port: int, check: Check, client: Conversation, server: Conversation
) -> None:
    wire = Wire()
    conversed(wire, port, client, server)
    told = Recorder(cast("NetworkStack", Clock()), Vantage.CLIENT)
    told.steps(client, check, Sender.INITIATOR, Departures(0.0, (), ()))
    for ours, theirs in ((Movement.SENT, Movement.RECEIVED), (Movement.RECEIVED, Movement.SENT)):
        expected = {row.message for row in told.packet_records if row.movement is ours}
        assert expected
        assert wire.seen(check, theirs, client.key) == expected


def placed_call(wire: Wire, *, name: str = "vpnprobe-0123456789abcdef", drip: int = 4096) -> pptp_ends.Initiator:
    client, server = pptp_ends.Initiator("vpnprobe-0123456789abcdef", 4242), pptp_ends.Responder(77)
    wire.handshake(1723)
    client.start(0.0)
    for _ in range(4):
        for sender, one, other in ((Sender.INITIATOR, client, server), (Sender.RESPONDER, server, client)):
            for chunk in one.data_to_send(0.0):
                other.receive(chunk, 0.0)
                told = chunk.replace(b"vpnprobe-0123456789abcdef", name.encode().ljust(25, b"\0"))
                for at in range(0, len(told), drip):
                    wire.segment(sender, 1723, told[at : at + drip])
    return client


@pytest.mark.parametrize("drip", [1, 7, 4096])
def test_a_pptp_call_is_followed_through_whatever_segments(drip: int) -> None:
    wire = Wire()
    key = placed_call(wire, drip=drip).key
    assert wire.seen(checks.PPTP_CONTROL, Movement.RECEIVED, key) == {"SCCRQ", "OCRQ", "SLI"}
    assert wire.seen(checks.PPTP_CONTROL, Movement.SENT, key) == {"SCCRP", "OCRP"}
    assert wire.recorded.calls == [(77, 4242)]
    assert wire.recorded.call_ids == {77, 4242}


def lcp(call_id: int, magic: int) -> bytes:
    return EnhancedGre(call_id, 0, None, lcp_frame(ConfigureRequest(1, (MagicNumber(magic),)))).encode()


def test_gre_of_our_call_is_seen_to_leave_and_known_when_it_comes() -> None:
    wire = Wire()
    placed_call(wire)
    wire.ip(Sender.RESPONDER, IpProtocol.GRE, lcp(4242, 0xAAAA), ttl=64)
    wire.ip(Sender.RESPONDER, IpProtocol.GRE, lcp(4243, 0xBBBB), ttl=64)
    wire.ip(Sender.RESPONDER, IpProtocol.GRE, lcp(4242, 0xCCCC), ttl=3)
    assert [row.key for row in wire.recorder.packet_records if row.check == checks.PPTP_LCP] == ["0000aaaa"]
    assert wire.recorded.in_call(lcp(77, 0xDDDD), Sender.INITIATOR)[0].key == "0000dddd"
    assert wire.recorded.in_call(lcp(4242, 0xDDDD), Sender.INITIATOR) == ()
    assert wire.recorded.in_call(b"\x30", Sender.INITIATOR) == ()


def test_gre_that_comes_on_the_wire_alone_counts_for_nothing() -> None:
    """The host's own firewall may still drop it: a raw socket is what tells."""
    wire = Wire()
    placed_call(wire)
    wire.ip(Sender.INITIATOR, IpProtocol.GRE, lcp(77, 0xAAAA))
    assert not [row for row in wire.recorder.packet_records if row.check.transport is Transport.GRE]


def test_another_user_s_call_is_none_of_ours() -> None:
    wire = Wire()
    placed_call(wire, name="somebody")
    assert not [row for row in wire.recorder.packet_records if row.check == checks.PPTP_CONTROL]
    assert wire.recorded.calls == []


@pytest.mark.parametrize("first_sequence", [7, (1 << 32) - 80])
def test_segments_out_of_order_and_twice_are_read_once(first_sequence: int) -> None:
    wire = Wire()
    wire.sequence[Sender.INITIATOR] = first_sequence
    wire.handshake(1723)
    client = pptp_ends.Initiator("vpnprobe-0123456789abcdef", 4242)
    client.start(0.0)
    data = b"".join(client.data_to_send(0.0))
    start = wire.sequence[Sender.INITIATOR]
    for first, last in ((100, 156), (0, 60), (0, 60), (40, 120), (100, 156)):
        wire.sequence[Sender.INITIATOR] = start + first
        wire.segment(Sender.INITIATOR, 1723, data[first:last])
    assert wire.seen(checks.PPTP_CONTROL, Movement.RECEIVED, client.key) == {"SCCRQ"}


def test_a_later_connection_from_the_same_port_is_read_by_itself() -> None:
    """The first broke off in the middle of a message."""
    wire = Wire()
    clients = [pptp_ends.Initiator(f"vpnprobe-{number}123456789abcdef", 4242) for number in (0, 1)]
    for client, part in zip(clients, (60, 156), strict=True):
        wire.handshake(1723)
        client.start(0.0)
        wire.segment(Sender.INITIATOR, 1723, b"".join(client.data_to_send(0.0))[:part])
        wire.sequence[Sender.INITIATOR] += 1000
    assert wire.seen(checks.PPTP_CONTROL, Movement.RECEIVED, clients[1].key) == {"SCCRQ"}


@pytest.mark.parametrize("answered", [False, True])
def test_a_server_that_closes_without_a_byte_refuses_the_reset(answered: bool) -> None:
    wire, check = Wire(), checks.openvpn_reset(TCP, 1194)
    client = openvpn_reset.Initiator(session_id=b"client__", stream=True)
    server = openvpn_reset.Responder(session_id=b"server__", stream=True)
    wire.handshake(1194)
    client.start(0.0)
    for chunk in client.data_to_send(0.0):
        server.receive(chunk, 0.0)
        wire.segment(Sender.INITIATOR, 1194, chunk)
    if answered:
        for chunk in server.data_to_send(0.0):
            wire.segment(Sender.RESPONDER, 1194, chunk)
    wire.segment(Sender.RESPONDER, 1194, flags=TcpFlag.FIN | TcpFlag.ACK)
    assert wire.seen(check, Movement.RECEIVED, client.key) == {"P_CONTROL_HARD_RESET_CLIENT_V2"}
    assert wire.seen(check, Movement.SENT, client.key) == ({"P_CONTROL_HARD_RESET_SERVER_V2"} if answered else {"FIN"})


def test_our_own_payloads_are_seen_to_come_and_where_from() -> None:
    wire = Wire()
    payload = NoncePayload(0x11223344, 5, 40)
    wire.udp(Sender.INITIATOR, 500, payload.encode())
    wire.udp(Sender.INITIATOR, 4500, esp(payload, 0x1000, checks.ESP_IN_UDP).payload, client_port=40002)
    wire.udp(Sender.INITIATOR, 4500, b"\x00\x00\x10\x00" + bytes(30))
    assert [row.check for row in wire.recorder.packet_records] == [checks.udp_reach(500), checks.ESP_IN_UDP]
    assert {check: end.port for check, end in wire.recorded.endpoints.items()} == {
        checks.udp_reach(500): CLIENT_PORT,
        checks.ESP_IN_UDP: 40002,
    }


def test_conversations_at_ports_of_our_own_are_left_to_their_sockets() -> None:
    wire = Wire({(UDP, 1194): PortState.OURS, (TCP, 1723): PortState.OURS})
    client = openvpn_reset.Initiator(session_id=b"client__", stream=False)
    server = openvpn_reset.Responder(session_id=b"server__", stream=False)
    conversed(wire, 1194, client, server)
    placed_call(wire)
    assert {row.check.name for row in wire.recorder.packet_records} <= {"reach"}


@given(data=st.binary(max_size=200), protocol=st.sampled_from([6, 17, 47, 50, 1]), outgoing=st.booleans())
def test_any_bytes_are_taken(data: bytes, protocol: int, outgoing: bool) -> None:
    wire = Wire()
    placed_call(wire)
    wire.ip(Sender.RESPONDER if outgoing else Sender.INITIATOR, protocol, data)
    wire.recorded(Packet(data, 0.0, outgoing))


@given(data=st.binary(min_size=1, max_size=200), port=st.sampled_from([500, 4500, 1701, 1194]), outgoing=st.booleans())
def test_any_datagram_is_taken(data: bytes, port: int, outgoing: bool) -> None:
    wire = Wire()
    wire.udp(Sender.RESPONDER if outgoing else Sender.INITIATOR, port, data)


def test_flows_are_bounded() -> None:
    from vpnprobe.endpoint.passive_observer import MOST_FLOWS

    wire = Wire()
    reset = openvpn_reset.Initiator(session_id=b"client__", stream=True)
    reset.start(0.0)
    for port in range(20_000, 20_000 + 2 * MOST_FLOWS):
        segment = TcpSegment(port, 1194, 1, 0, TcpFlag.SYN)
        wire.ip(Sender.INITIATOR, IpProtocol.TCP, segment.encode(CLIENT, SERVER))
    assert len(wire.recorded._connections) == MOST_FLOWS
