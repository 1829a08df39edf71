"""What no NAT changes: the same packet has the same fingerprint on both sides of one, and another packet has another."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.wire import fingerprint
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.fingerprint import DIGEST_BYTES, TcpFingerprint
from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram

INSIDE, OUTSIDE, SERVER = IPv4Address("192.168.0.2"), IPv4Address("192.0.2.1"), IPv4Address("198.51.100.2")


def packet(source: IPv4Address, protocol: int, payload: bytes, *, ttl: int) -> bytes:
    return IPv4Packet(source, SERVER, protocol, ttl, 7, payload).encode()


def test_an_attempt_is_known_by_its_initial_sequence_number_on_both_sides_of_a_nat() -> None:
    inside = TcpSegment(40000, 1723, 0xFFFFFFFF, flags=TcpFlag.SYN)
    outside = TcpSegment(1024, 1723, 0xFFFFFFFF, flags=TcpFlag.SYN)
    answer = TcpSegment(1723, 1024, 5, 0, flags=TcpFlag.SYN | TcpFlag.ACK)
    assert {fingerprint.initial_sequence(segment) for segment in (inside, outside, answer)} == {0xFFFFFFFF}
    assert fingerprint.attempt(0xFFFFFFFF) == "ffffffff"
    assert fingerprint.attempt(1) == "00000001"


@pytest.mark.parametrize("flags", [TcpFlag.ACK, TcpFlag.RST, TcpFlag.FIN | TcpFlag.ACK])
def test_what_begins_no_connection_is_no_attempt(flags: TcpFlag) -> None:
    assert fingerprint.initial_sequence(TcpSegment(1, 2, 3, 4, flags=flags)) is None


def test_segments_are_told_apart_by_all_that_stays() -> None:
    segment = TcpSegment(40000, 443, 9, flags=TcpFlag.ACK)
    translated = TcpSegment(1024, 443, 9, flags=TcpFlag.ACK)
    one = TcpFingerprint.of(segment, length=3, identification=1)
    assert one == TcpFingerprint.of(translated, length=3, identification=1)
    others = [TcpFingerprint.of(segment, length=4, identification=1), TcpFingerprint.of(segment, length=3, identification=2)]
    assert len({one, *others, TcpFingerprint.of(TcpSegment(40000, 443, 10), length=3, identification=1)}) == 4


def test_the_payload_is_what_a_nat_leaves_of_udp_and_tcp() -> None:
    udp = [UdpDatagram(port, 53, b"payload").encode(source, SERVER) for source, port in ((INSIDE, 4000), (OUTSIDE, 1024))]
    tcp = [TcpSegment(port, 53, 9, options=bytes(4), payload=b"payload").encode(INSIDE, SERVER) for port in (4000, 1024)]
    for protocol, datagrams in ((IpProtocol.UDP, udp), (IpProtocol.TCP, tcp)):
        heads, payloads = zip(
            *(
                fingerprint.split(packet(source, protocol, data, ttl=ttl))
                for source, ttl, data in zip((INSIDE, OUTSIDE), (64, 60), datagrams, strict=True)
            ),
            strict=True,
        )
        assert payloads == (b"payload", b"payload")
        assert heads[0] != heads[1]


def test_the_heads_of_other_protocols_end_with_the_ip_header() -> None:
    assert fingerprint.split(packet(INSIDE, 47, b"gre", ttl=64))[1] == b"gre"
    assert fingerprint.split(b"") == (b"", b"")
    assert fingerprint.split(b"\x60" + bytes(50)) == (b"", b"\x60" + bytes(50))


@given(st.binary(max_size=80))
def test_any_bytes_are_split_without_loss(data: bytes) -> None:
    head, rest = fingerprint.split(data)
    assert head + rest == data


@pytest.mark.parametrize("length", range(34))
def test_a_packet_that_is_cut_anywhere_is_split_without_loss(length: int) -> None:
    whole = packet(INSIDE, IpProtocol.TCP, TcpSegment(1, 2, 3, payload=b"x").encode(INSIDE, SERVER), ttl=64)
    head, rest = fingerprint.split(whole[:length])
    assert head + rest == whole[:length]


@given(st.binary(max_size=100))
def test_a_digest_has_its_length(payload: bytes) -> None:
    assert len(fingerprint.digest(payload)) == DIGEST_BYTES
    assert fingerprint.digest(payload) != fingerprint.digest(payload + b"x")


def test_esp_is_known_by_spi_and_sequence_number() -> None:
    assert fingerprint.of_esp(EspPacket(0x1000, 3, b"x")) == "0000100000000003"


def test_enhanced_gre_is_known_without_its_call_id() -> None:
    inside, outside = EnhancedGre(7, 9, None, b"ppp"), EnhancedGre(1024, 9, 4, b"ppp")
    assert fingerprint.of_enhanced_gre(inside) == fingerprint.of_enhanced_gre(outside)
    assert fingerprint.of_enhanced_gre(inside).startswith("00000009")
    assert len({fingerprint.of_enhanced_gre(EnhancedGre(7, number, None, data)) for number in (None, 9) for data in (b"a", b"b")}) == 4
