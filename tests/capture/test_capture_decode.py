"""Packets to packet records: keys, directions, stepped copies, refusals, and which end is which."""

from ipaddress import IPv4Address

import pytest
from capture_packets import CLIENT, ROUTER, SERVER, connection, decoded, frames, ip, tcp, udp

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.ends import Ends
from vpnprobe.capture.placing import traces_of
from vpnprobe.evidence.checks import ESP, ESP_IN_UDP, GRE_BARE, GRE_IN_CALL, L2TP_CONTROL, PPTP_CONTROL, PPTP_LCP, tcp_reach, udp_reach
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord, RefusalKind
from vpnprobe.observations.schema import Direction
from vpnprobe.wire import l2tp
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import PROTOCOL_EXPERIMENTAL, EnhancedGre, Gre
from vpnprobe.wire.icmp import DestinationUnreachable, Quote, TimeExceeded, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag
from vpnprobe.wire.nonce import PURPOSE_SHIFT, NoncePayload, Purpose
from vpnprobe.wire.ppp import ConfigureRequest, MagicNumber, lcp_frame
from vpnprobe.wire.pptp import StartControlConnectionReply, StartControlConnectionRequest

ENDS = Ends(str(CLIENT), str(SERVER))


def nonce(number: int) -> NoncePayload:
    return NoncePayload(0xABCD, number, 32)


def in_call(magic: int, sequence: int) -> bytes:
    return EnhancedGre(9, sequence, None, lcp_frame(ConfigureRequest(1, (MagicNumber(magic),)))).encode()


def seen(packets: list[bytes], vantage: Vantage = Vantage.CLIENT) -> list[PacketRecord]:
    return list(decoded(packets).record(ENDS, vantage).packet_records)


def rows(packets: list[bytes], vantage: Vantage = Vantage.CLIENT) -> list[tuple[Check, Movement, str, str]]:
    return [(s.check, s.movement, s.key, s.message) for s in seen(packets, vantage)]


def test_our_payloads_over_udp_both_ways_at_both_ends() -> None:
    packets = [udp(nonce(1).encode(), 5000, 443), udp(nonce(1).answer().encode(), 443, 5000, back=True)]
    asked, answered = nonce(1).key, nonce(1).answer().key
    sent, received = Movement.SENT, Movement.RECEIVED
    assert rows(packets) == [(udp_reach(443), sent, asked, ""), (udp_reach(443), received, answered, "")]
    assert rows(packets, Vantage.SERVER) == [(udp_reach(443), received, asked, ""), (udp_reach(443), sent, answered, "")]
    assert [s.direction for s in seen(packets, Vantage.SERVER)] == [Direction.C2S, Direction.S2C]
    assert seen(packets)[0].peer == (str(SERVER), 443)


def test_gre_esp_and_esp_in_udp() -> None:
    packets = [
        ip(Gre(PROTOCOL_EXPERIMENTAL, nonce(2).encode()).encode(), IpProtocol.GRE),
        ip(EspPacket(0x1234, 1, nonce(3).encode()).encode(), IpProtocol.ESP),
        udp(EspPacket(0x123456, 1, nonce(4).encode()).encode(), 5000, 4500),
        udp(nonce(5).encode(), 5000, 4500),
    ]
    assert [row[::2] for row in rows(packets)] == [
        (GRE_BARE, nonce(2).key),
        (ESP, "0000123400000001"),
        (ESP_IN_UDP, "0012345600000001"),
        (udp_reach(4500), nonce(5).key),
    ]


def test_what_our_payload_is_for_stands_in_its_record() -> None:
    """At the receiving end too, where a copy for a trace has whatever TTL was left."""
    payload = NoncePayload(0xABCD, Purpose.TRACE << PURPOSE_SHIFT | 7, 32).encode()
    packets = [
        ip(Gre(PROTOCOL_EXPERIMENTAL, payload).encode(), IpProtocol.GRE),
        ip(EspPacket(0x1234, 1, payload).encode(), IpProtocol.ESP),
        udp(EspPacket(0x123456, 1, payload).encode(), 5000, 4500),
        udp(payload, 5000, 443),
    ]
    assert [s.purpose for s in seen(packets, Vantage.SERVER)] == [Purpose.TRACE] * 4
    assert [s.purpose for s in seen([udp(nonce(1).encode(), 5000, 443)])] == [Purpose.REACH]


def test_lcp_in_a_call_is_known_by_magic_number_in_our_own_captures_and_by_sequence_number_too_in_others() -> None:
    call = [ip(in_call(0x1588C35D, number), IpProtocol.GRE) for number in (1, 2)]
    foreign = [row[::2] for row in rows(call)]
    assert foreign == [(check, f"1588c35d-0000000{number}") for number in (1, 2) for check in (GRE_IN_CALL, PPTP_LCP)]
    own = rows([*call, udp(nonce(1).encode(), 5000, 443)])
    assert {row[2] for row in own if row[0] == GRE_IN_CALL} == {"1588c35d"}
    assert {row[3] for row in own if row[0] == PPTP_LCP} == {"Configure-Request"}


def test_lcp_that_a_capture_has_cut_still_has_its_name() -> None:
    whole = ip(in_call(7, 1), IpProtocol.GRE)
    assert [row[::3] for row in rows([whole[:-6]])] == [(GRE_IN_CALL, "Configure-Request"), (PPTP_LCP, "Configure-Request")]


def test_pptp_and_l2tp_messages_have_the_key_of_their_conversation() -> None:
    control = connection(
        [(False, StartControlConnectionRequest(host_name=b"vpnprobe-00ff").encode()), (True, StartControlConnectionReply().encode())]
    )
    assert [row[1:] for row in rows(control) if row[0] == PPTP_CONTROL] == [
        (Movement.SENT, "00ff", "SCCRQ"),
        (Movement.RECEIVED, "00ff", "SCCRP"),
    ]
    request = l2tp.StartControlConnectionRequest(0, 0, 0, 0, l2tp.tunnel_avps(host_name=b"vpnprobe-00ee", assigned_tunnel_id=5)).encode()
    assert rows([udp(request, 5000, 1701)]) == [(L2TP_CONTROL, Movement.SENT, "00ee", "SCCRQ")]


def test_a_handshake_and_a_reset() -> None:
    packets = [
        tcp(sequence=1000, flags=TcpFlag.SYN, server_port=443),
        tcp(sequence=5000, acknowledgment=1001, flags=TcpFlag.SYN | TcpFlag.ACK, server_port=443, back=True),
        tcp(sequence=2000, flags=TcpFlag.SYN, port=40001, server_port=53),
        tcp(sequence=0, acknowledgment=2001, flags=TcpFlag.RST | TcpFlag.ACK, port=40001, server_port=53, back=True),
    ]
    record = decoded(packets).record(ENDS, Vantage.CLIENT)
    assert [(s.check, s.key, s.message) for s in record.packet_records] == [
        (tcp_reach(443), "000003e8", "SYN"),
        (tcp_reach(443), "000003e8", "SYN-ACK"),
        (tcp_reach(53), "000007d0", "SYN"),
    ]
    (refusal,) = record.refusals
    assert (refusal.check, refusal.kind, refusal.key, refusal.by) == (tcp_reach(53), RefusalKind.RST, "000007d0", str(SERVER))


@pytest.mark.parametrize(
    ("code", "kind"), [(Unreachable.PROTOCOL, RefusalKind.PROTOCOL_UNREACHABLE), (13, RefusalKind.PROHIBITED), (1, RefusalKind.UNREACHABLE)]
)
def test_an_icmp_error_is_tied_to_the_packet_that_it_quotes(code: int, kind: RefusalKind) -> None:
    first, second = (ip(Gre(PROTOCOL_EXPERIMENTAL, nonce(n).encode()).encode(), IpProtocol.GRE, identification=n) for n in (21, 22))
    error = DestinationUnreachable(code, Quote(IPv4Packet.decode(first[:28]))).encode()
    packets = [first, second, ip(error, IpProtocol.ICMP, source=ROUTER, destination=CLIENT)]
    (refusal,) = decoded(packets).record(ENDS, Vantage.CLIENT).refusals
    assert (refusal.check, refusal.key, refusal.kind, refusal.by, refusal.direction) == (
        GRE_BARE,
        nonce(21).key,
        kind,
        str(ROUTER),
        Direction.C2S,
    )
    assert decoded(packets).record(ENDS, Vantage.SERVER).refusals == ()


def test_stepped_copies_are_marked_and_make_a_trace() -> None:
    whole = udp(nonce(1).encode(), 5000, 443, identification=1)
    copies = [udp(nonce(10 + ttl).encode(), 5000, 443, ttl=ttl, identification=100 + ttl) for ttl in (1, 2, 3)]
    answers = [
        ip(TimeExceeded(Quote(IPv4Packet.decode(copies[ttl - 1][:28])), 0).encode(), IpProtocol.ICMP, source=hop, destination=CLIENT)
        for ttl, hop in ((1, IPv4Address("10.0.0.1")), (2, IPv4Address("10.0.0.2")))
    ]
    decoder = decoded([whole, *copies, *answers])
    assert [s.ttl_limited for s in decoder.record(ENDS, Vantage.CLIENT).packet_records] == [False, True, True, True]
    arrived = decoded([udp(nonce(13).encode(), 5000, 443, ttl=1), udp(nonce(1).encode(), 5000, 443, ttl=60)]).record(ENDS, Vantage.SERVER)
    (trace,) = traces_of([decoder], ENDS, Vantage.CLIENT, arrived)
    assert (trace.check, trace.direction, dict(trace.hops)) == (udp_reach(443), Direction.C2S, {1: "10.0.0.1", 2: "10.0.0.2", 3: None})
    assert trace.reached == 3
    assert next(iter(traces_of([decoder], ENDS, Vantage.CLIENT, EndRecord()))).reached is None


def test_a_sender_whose_packets_all_have_small_ttls_steps_none() -> None:
    assert [s.ttl_limited for s in seen([udp(nonce(1).encode(), 5000, 443, ttl=20)])] == [False]


def test_packets_of_other_hosts_are_no_part_of_the_record() -> None:
    other = IPv4Address("192.0.2.99")
    stray = ip(udp(nonce(9).encode(), 5000, 443)[20:], IpProtocol.UDP, source=other)
    decoder = decoded([udp(nonce(number).encode(), 5000, 443) for number in range(3)] + [stray])
    assert decoder.ends() == ENDS
    assert len(decoder.record(ENDS, Vantage.CLIENT).packet_records) == 3


def test_the_capturing_end_by_ttl() -> None:
    at_client = [udp(nonce(1).encode(), 5000, 443), udp(nonce(1).answer().encode(), 443, 5000, back=True)]
    at_server = [udp(nonce(1).encode(), 5000, 443, ttl=57), udp(nonce(1).answer().encode(), 443, 5000, back=True, ttl=128)]
    between = [udp(nonce(1).encode(), 5000, 443, ttl=62), udp(nonce(1).answer().encode(), 443, 5000, back=True, ttl=61)]
    found = [decoder.finder.vantage(ENDS) for decoder in map(decoded, (at_client, at_server, between))]
    assert found == [Vantage.CLIENT, Vantage.SERVER, None]


@pytest.mark.parametrize(
    ("delays", "vantage"),
    [
        ((0.02, 0.0001), Vantage.CLIENT),
        ((0.0001, 0.02), Vantage.SERVER),
        ((0.001, 0.001), None),
        ((0.08, 0.01), None),
        ((0.01, 0.08), None),
    ],
    ids=["at-the-client", "at-the-server", "alike", "nearer-the-client", "nearer-the-server"],
)
def test_the_capturing_end_by_turnaround(delays: tuple[float, float], vantage: Vantage | None) -> None:
    """Delays: from SYN to SYN-ACK, and from that to the client's ACK."""
    decoder, at = Decoder(), 0.0
    same_ttl = [packet[:8] + b"\x40" + packet[9:] for packet in connection([])]
    for frame, delay in zip(frames(same_ttl), (0.0, *delays), strict=True):
        at += delay
        object.__setattr__(frame, "at", at)
        decoder.take(frame)
    assert decoder.finder.vantage(ENDS) is vantage
