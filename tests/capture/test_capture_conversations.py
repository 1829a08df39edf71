"""Conversations in captures: what each protocol's packets come to, and what must not be taken for a VPN."""

import os
from ipaddress import IPv4Address

import pytest
from capture_packets import CLIENT, SERVER, connection, decoded, ip, tcp, udp

from vpnprobe.conversations import ikev2, openvpn, pptp
from vpnprobe.evidence.checks import openvpn_reset
from vpnprobe.observations.schema import Transport
from vpnprobe.wire import l2tp, ppp
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ip import IpProtocol, TcpFlag
from vpnprobe.wire.openvpn import DataV2, HardResetClientV2, HardResetServerV2, Reliable, frame
from vpnprobe.wire.pptp import OutgoingCallReply, OutgoingCallRequest, StartControlConnectionReply, StartControlConnectionRequest


def stages(packets: list[bytes]) -> list[tuple[str, str]]:
    return [(summary.protocol, summary.stage) for summary in decoded(packets).conversations()]


def test_a_pptp_call_and_its_gre() -> None:
    call = connection(
        [
            (False, StartControlConnectionRequest().encode()),
            (True, StartControlConnectionReply().encode()),
            (False, OutgoingCallRequest(call_id=7).encode()),
            (True, OutgoingCallReply(call_id=9, peer_call_id=7).encode()),
        ]
    )
    gre = [ip(EnhancedGre(9, number, None, b"\xff\x03\xc0\x21\x09").encode(), IpProtocol.GRE) for number in range(3)]
    control, data = decoded(call + gre).conversations()
    assert (control.protocol, control.stage, control.frames_c2s, control.frames_s2c) == ("pptp", "call-up", 4, 3)
    assert (control.client.address, control.client.port, control.server.port) == (str(CLIENT), 40000, 1723)
    assert control.detail["server_call_id"] == 9
    assert (data.protocol, data.stage, data.frames_c2s, data.frames_s2c) == ("gre", "one-way", 3, 0)
    assert data.detail["gre_version"] == 1
    assert data.detail["client_known"] is True
    assert data.detail["pptp"] == f"{CLIENT}:40000"


def test_a_call_id_that_a_nat_rewrote_shows() -> None:
    call = [(False, OutgoingCallRequest(call_id=7).encode()), (True, OutgoingCallReply(call_id=9, peer_call_id=54944).encode())]
    (control,) = decoded(connection(call)).conversations()
    assert (control.detail["call_id"], control.detail["call_id_seen_by_server"]) == (7, 54944)
    assert control.stage == pptp.State.MIDSTREAM.value


def test_a_refused_call_and_an_unanswered_request() -> None:
    refused = connection(
        [(False, StartControlConnectionRequest().encode()), (True, StartControlConnectionReply(result_code=2).encode())], port=40001
    )
    silent = connection([(False, StartControlConnectionRequest().encode())], port=40002)
    assert stages(refused + silent) == [("pptp", "control-rejected"), ("pptp", "sccrq-unanswered")]


def test_a_connection_on_1723_whose_beginning_is_not_there() -> None:
    keepalive = [tcp(sequence=348, acknowledgment=189), tcp(sequence=189, acknowledgment=349, back=True)]
    assert stages(keepalive) == [("pptp", "midstream-control")]
    assert stages(connection([])) == []


def test_openvpn_over_udp_and_tcp() -> None:
    client, server = os.urandom(8), os.urandom(8)
    reset = HardResetClientV2.plain(client, Reliable()).encode()
    answer = HardResetServerV2.plain(server, Reliable((0,), client)).encode()
    data = DataV2(0, os.urandom(60)).encode()
    over_udp = [udp(reset, 5000, 443), udp(answer, 443, 5000, back=True), udp(data, 5000, 443)]
    assert stages(over_udp) == [("openvpn-udp", "data-one-way")]
    over_tcp = connection([(False, frame(reset)), (True, frame(answer))], server_port=443)
    assert stages(over_tcp) == [("openvpn-tcp", "server-reset")]
    captured_messages = [
        captured for captured in decoded(over_udp).captured_messages if captured.check_of(443) == openvpn_reset(Transport.UDP, 443)
    ]
    assert [(captured.key, captured.message) for captured in captured_messages[:2]] == [
        (client.hex(), "P_CONTROL_HARD_RESET_CLIENT_V2"),
        (client.hex(), "P_CONTROL_HARD_RESET_SERVER_V2"),
    ]


def test_a_server_that_closes_after_a_reset_has_refused_it() -> None:
    packets = connection([(False, frame(HardResetClientV2.plain(os.urandom(8), Reliable()).encode()))], server_port=1194)
    packets.append(tcp(sequence=5001, acknowledgment=1017, flags=TcpFlag.FIN | TcpFlag.ACK, server_port=1194, back=True))
    assert openvpn.StreamClosed.name in [captured.message for captured in decoded(packets).captured_messages]


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(bytes([0x38]) + b"\x07" * 13, id="size and opcode of a plain reset, packet ID not zero"),
        pytest.param(bytes([0x38]) + b"\x07" * 41, id="size and opcode of a tls-auth reset"),
        pytest.param(bytes([0x3A]) + bytes(13), id="a key ID that no reset has"),
        pytest.param(bytes([0x50]) + b"\x07" * 300, id="a V3 reset without a wrapped key"),
        pytest.param(bytes([0x40]) + b"\x07" * 25, id="a server reset alone, or a QUIC packet"),
        pytest.param(b"\x12\x34\x01\x00\x00\x01" + bytes(6), id="a DNS query"),
    ],
)
def test_what_only_begins_like_openvpn_is_none(packet: bytes) -> None:
    assert stages([udp(packet, 5000, 443), udp(packet, 443, 5000, back=True)]) == []


def test_l2tp_stages_and_version_3() -> None:
    request = l2tp.StartControlConnectionRequest(0, 0, 0, 0, l2tp.tunnel_avps(host_name=b"x", assigned_tunnel_id=5)).encode()
    assert stages([udp(request, 5000, 1701)]) == [("l2tp", "sccrq-unanswered")]
    assert stages([udp(l2tp.ZeroLengthBody(1, 0, 0, 0).encode(), 5000, 1701)]) == [("l2tp", "midstream-control")]
    assert stages([udp(l2tp.DataMessage(1, 1, b"\xff\x03\x00\x21").encode(), 5000, 1701)]) == [("l2tp", "midstream-data")]
    version_3 = b"\xc8\x03" + request[2:]
    assert stages([udp(version_3, 5000, 1701)]) == [("l2tpv3", "other")]


def test_the_one_that_sends_the_sccrq_is_the_client_whatever_its_port() -> None:
    request = l2tp.StartControlConnectionRequest(0, 0, 0, 0, l2tp.tunnel_avps(host_name=b"x", assigned_tunnel_id=5)).encode()
    (tunnel,) = decoded([udp(request, 1701, 1701, back=True)]).conversations()
    assert (tunnel.client.address, tunnel.frames_c2s) == (str(SERVER), 1)


def test_ike_on_500_and_behind_the_marker_on_4500() -> None:
    entropy = os.urandom(ikev2.ENTROPY_BYTES)
    initiator = ikev2.Initiator(entropy=entropy)
    initiator.start(0.0)
    (request,) = initiator.data_to_send(0.0)
    responder = ikev2.Responder(entropy=os.urandom(ikev2.ENTROPY_BYTES))
    responder.receive(request, 0.1)
    (answer,) = responder.data_to_send(0.1)
    assert stages([udp(request, 500, 500), udp(answer, 500, 500, back=True)]) == [("ikev2", "sa_init-answered")]
    (alone,) = decoded([udp(bytes(4) + request, 4500, 4500)]).conversations()
    assert (alone.stage, alone.detail["initiator_spi"], alone.detail["udp_4500"]) == ("sa_init-unanswered", entropy[:8].hex(), True)


def test_esp_ah_and_esp_in_udp() -> None:
    esp = b"\x12\x34\x56\x78\x00\x00\x00\x01" + os.urandom(24)
    ah = bytes((17, 4, 0, 0)) + esp
    packets = [ip(esp, IpProtocol.ESP), ip(esp, IpProtocol.ESP, source=SERVER, destination=CLIENT), ip(ah, IpProtocol.AH)]
    packets += [udp(esp, 4500, 4500), udp(b"\xff", 4500, 4500)]
    assert sorted(stages(packets)) == [("ah", "one-way"), ("esp", "both-ways"), ("esp-udp", "one-way")]


def lcp(packet: ppp.LcpPacket, call_id: int, number: int, *, back: bool = False) -> bytes:
    ends = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    return ip(EnhancedGre(call_id, number, None, ppp.lcp_frame(packet)).encode(), IpProtocol.GRE, source=ends[0], destination=ends[1])


REQUEST, ACK = ppp.ConfigureRequest(1, (ppp.MagicNumber(5),)), ppp.ConfigureAck(1, (ppp.MagicNumber(5),))


@pytest.mark.parametrize(
    ("packets", "state"),
    [
        ([lcp(REQUEST, 9, 1)], "req-sent"),
        ([lcp(REQUEST, 9, 1), lcp(ACK, 7, 1, back=True)], "ack-rcvd"),
        ([lcp(REQUEST, 7, 1, back=True), lcp(ACK, 9, 1)], "ack-sent"),
        ([lcp(REQUEST, 9, 1), lcp(ACK, 7, 1, back=True), lcp(REQUEST, 7, 2, back=True), lcp(ACK, 9, 2)], "opened"),
        # A second call, which comes less far; and one whose answers are to the first.
        ([lcp(REQUEST, 9, 1), lcp(ACK, 7, 1, back=True), lcp(REQUEST, 10, 1)], "ack-rcvd"),
        ([lcp(REQUEST, 9, 1), lcp(ppp.EchoRequest(2), 10, 1), lcp(ppp.ConfigureAck(2), 8, 1, back=True)], "req-sent"),
        ([lcp(REQUEST, 9, 1)[:-9]], None),
    ],
)
def test_how_far_the_lcp_of_a_call_came_seen_from_its_client(packets: list[bytes], state: str | None) -> None:
    call = connection([(False, StartControlConnectionRequest().encode())])
    _, found = decoded(call + packets).conversations()
    assert (found.protocol, found.detail.get("lcp")) == ("gre", state)


def test_lcp_packets_are_named_even_where_they_are_cut() -> None:
    captured = decoded([lcp(REQUEST, 9, 1)[:-9], lcp(ppp.TerminateRequest(3), 9, 2)]).captured_messages
    assert [message.message for message in captured] == ["Configure-Request"] * 2 + ["Terminate-Request"] * 2
    assert [message.recurs for message in captured] == [True] * 4


def test_a_control_connection_that_begins_in_the_middle_of_a_message() -> None:
    messages = StartControlConnectionReply().encode(), OutgoingCallReply(call_id=9, peer_call_id=7).encode()
    packets = [tcp(sequence=1, payload=messages[0][60:], back=True), tcp(sequence=97, payload=messages[1], back=True)]
    (control,) = decoded(packets).conversations()
    assert (control.stage, control.detail["messages"]) == ("midstream-control", ["OCRP"])


def test_a_control_connection_of_cut_segments() -> None:
    call = connection(
        [
            (False, StartControlConnectionRequest().encode()),
            (True, StartControlConnectionReply().encode()),
            (False, OutgoingCallRequest(call_id=7).encode()),
            (True, OutgoingCallReply(call_id=9, peer_call_id=7).encode()),
        ]
    )
    (control,) = decoded([packet[:80] for packet in call]).conversations()
    assert (control.stage, control.detail["server_call_id"]) == ("call-up", 9)
    assert control.findings == ("The capture cut 3 of its 7 packets short: it came at least as far as their beginnings show.",)


def test_what_stands_behind_an_authentication_header_is_a_conversation_too() -> None:
    """RFC 4302: it is signed and not hidden. In tunnel mode it is a whole IP packet with addresses of its own."""

    def authenticated(following: int, payload: bytes) -> bytes:
        return bytes((following, 4, 0, 0)) + bytes.fromhex("00001001 00000001") + bytes(12) + payload

    esp = EspPacket(0x2002, 1, bytes(40)).encode()
    transport = [
        ip(authenticated(IpProtocol.ESP, esp), IpProtocol.AH),
        ip(authenticated(IpProtocol.ESP, esp), IpProtocol.AH, source=SERVER, destination=CLIENT),
    ]
    assert stages(transport) == [("ah", "both-ways"), ("esp", "both-ways")]
    inner = ip(esp, IpProtocol.ESP, source=IPv4Address("10.0.0.1"), destination=IPv4Address("10.0.0.2"))
    ah, tunnelled = decoded([ip(authenticated(4, inner), IpProtocol.AH)]).conversations()
    assert (ah.client.address, tunnelled.protocol, tunnelled.client.address) == (str(CLIENT), "esp", "10.0.0.1")
    header = authenticated(IpProtocol.ESP, b"")
    for cut in (header, header[:11], bytes((IpProtocol.ESP, 255)) + header[2:]):
        assert len(stages([ip(cut, IpProtocol.AH)])) <= 1
    nested = authenticated(IpProtocol.AH, authenticated(IpProtocol.AH, authenticated(IpProtocol.AH, authenticated(IpProtocol.AH, esp))))
    assert stages([ip(nested, IpProtocol.AH)]) == [("ah", "one-way")]
