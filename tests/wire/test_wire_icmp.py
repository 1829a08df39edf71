"""ICMP messages: round trips, totality, quotes cut anywhere, and scapy as second opinion."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.icmp import (
    DestinationUnreachable,
    EchoReply,
    EchoRequest,
    Icmp,
    OtherIcmp,
    Quote,
    TimeExceeded,
    Unreachable,
    decode_icmp,
    decode_icmpv6,
)
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, IPv6Packet, TcpSegment, UdpDatagram, internet_checksum

A = IPv4Address("192.0.2.1")
B = IPv4Address("198.51.100.7")
u8 = st.integers(0, 255)
u16 = st.integers(0, 65535)
quotes = st.builds(
    lambda protocol, identification, payload, missing: Quote(IPv4Packet(A, B, protocol, 1, identification, payload, missing=missing)),
    u8,
    u16,
    st.binary(min_size=8, max_size=100),
    st.integers(0, 1400),
)
messages = st.one_of(
    st.builds(EchoRequest, u16, u16, st.binary(max_size=60)),
    st.builds(EchoReply, u16, u16, st.binary(max_size=60)),
    st.builds(TimeExceeded, quotes, u8),
    st.builds(DestinationUnreachable, u8.filter(lambda code: code != 4), quotes),
    st.builds(DestinationUnreachable, st.just(4), quotes, u16),
    st.builds(OtherIcmp, st.sampled_from([4, 5, 9, 12, 13, 200]), u8, st.binary(max_size=60)),
)


@given(messages)
def test_round_trip(message: Icmp) -> None:
    encoded = message.encode()
    assert decode_icmp(encoded) == message
    assert internet_checksum(encoded) == 0


@given(st.binary(max_size=120))
def test_decoders_are_total(data: bytes) -> None:
    for decode in (decode_icmp, decode_icmpv6):
        with suppress(DecodeError):
            assert decode(data) is not None


@given(st.sampled_from([1, 2, 3, 4]), st.integers(0, 6), st.binary(max_size=90))
def test_errors_with_any_quote_are_total(kind: int, code: int, rest: bytes) -> None:
    for decode in (decode_icmp, decode_icmpv6):
        with suppress(DecodeError):
            assert decode(bytes((kind, code, 0, 0, 0, 0, 0, 0, 0x45)) + rest) is not None


def test_the_quote_ties_the_error_to_the_packet() -> None:
    sent = IPv4Packet(A, B, IpProtocol.UDP, 1, 4711, UdpDatagram(40000, 500, b"x" * 100).encode(A, B))
    error = decode_icmp(bytes((11, 0, 0, 0, 0, 0, 0, 0)) + sent.encode()[:28])
    assert isinstance(error, TimeExceeded)
    quote = error.quote
    assert (quote.source, quote.destination, quote.protocol, quote.identification) == (A, B, 17, 4711)
    assert (quote.ports, len(quote.first_bytes), quote.packet.missing) == ((40000, 500), 8, 100)


def test_ports_only_of_what_has_them() -> None:
    assert Quote(IPv4Packet(A, B, IpProtocol.GRE, payload=bytes(8))).ports is None
    assert Quote(IPv4Packet(A, B, IpProtocol.UDP, payload=bytes(3))).ports is None
    assert Quote(IPv4Packet(A, B, IpProtocol.UDP, payload=bytes(8), fragment_offset=5)).ports is None


def test_a_cut_quote_names_its_place() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_icmp(bytes((3, 3, 0, 0, 0, 0, 0, 0, 0x45, 0)))
    assert (caught.value.field, caught.value.offset) == ("quoted IPv4 header", 10)


@pytest.mark.parametrize("data", [b"", b"\x03\x01\0", b"\x08\0\0\0\0\0"])
def test_less_than_a_header(data: bytes) -> None:
    with pytest.raises(DecodeError, match="ICMP header"):
        decode_icmp(data)


def test_extensions_after_the_quote_are_left_out() -> None:
    """RFC 4884: the length attribute says where the quoted datagram ends and MPLS labels begin."""
    quoted = IPv4Packet(A, B, IpProtocol.GRE, 1, 9, b"y" * 12, missing=500).encode()
    padded = quoted + bytes(128 - len(quoted))
    error = decode_icmp(bytes((11, 0, 0, 0, 0, 32, 0, 0)) + padded + b"\x20\0\0\0MPLS")
    assert isinstance(error, TimeExceeded)
    assert len(error.quote.first_bytes) == 108
    assert error.quote.first_bytes.startswith(b"y" * 12)


def test_scapy_agrees_on_fragmentation_needed() -> None:
    inet = pytest.importorskip("scapy.layers.inet")
    sent = IPv4Packet(A, B, IpProtocol.TCP, 60, 77, TcpSegment(40000, 1723, 5).encode(A, B), dont_fragment=True)
    theirs = inet.ICMP(DestinationUnreachable(Unreachable.FRAGMENTATION_NEEDED, Quote(sent), 1300).encode())
    assert (theirs.type, theirs.code, theirs.nexthopmtu) == (3, 4, 1300)
    assert (theirs[inet.IPerror].id, theirs[inet.TCPerror].dport) == (77, 1723)
    ours = decode_icmp(bytes(inet.ICMP(type=3, code=2) / inet.IP(sent.encode())))
    assert ours == DestinationUnreachable(Unreachable.PROTOCOL, Quote(sent))


SIX = (
    b"\x60\0\0\0"
    + (100).to_bytes(2, "big")
    + bytes((IpProtocol.UDP, 3))
    + IPv6Address("2001:db8::1").packed
    + IPv6Address("2001:db8::2").packed
    + bytes((0x9C, 0x40, 0x01, 0xF4, 0, 100, 0, 0))
)


@pytest.mark.parametrize(
    ("head", "code", "mtu"),
    [
        (bytes((1, 4, 0, 0, 0, 0, 0, 0)), Unreachable.PORT, 0),
        (bytes((1, 1, 0, 0, 0, 0, 0, 0)), Unreachable.ADMINISTRATIVELY_PROHIBITED, 0),
        (bytes((1, 200, 0, 0, 0, 0, 0, 0)), Unreachable.HOST, 0),
        (bytes((2, 0, 0, 0, 0, 0, 0x05, 0x14)), Unreachable.FRAGMENTATION_NEEDED, 1300),
        (bytes((4, 1, 0, 0, 0, 0, 0, 6)), Unreachable.PROTOCOL, 0),
    ],
)
def test_icmpv6_errors_in_the_terms_of_icmpv4(head: bytes, code: Unreachable, mtu: int) -> None:
    error = decode_icmpv6(head + SIX)
    assert isinstance(error, DestinationUnreachable)
    assert (error.code, error.next_hop_mtu) == (code, mtu)
    assert (error.quote.ports, error.quote.identification) == ((40000, 500), None)
    assert isinstance(error.quote.packet, IPv6Packet)
    with pytest.raises(TypeError):
        error.encode()


def test_other_icmpv6_messages() -> None:
    assert isinstance(decode_icmpv6(bytes((3, 0, 0, 0, 0, 0, 0, 0)) + SIX), TimeExceeded)
    assert decode_icmpv6(bytes((128, 0, 0, 0, 0, 1, 0, 2)) + b"z") == EchoRequest(1, 2, b"z")
    assert decode_icmpv6(bytes((129, 0, 0, 0, 0, 1, 0, 2))) == EchoReply(1, 2)
    assert decode_icmpv6(bytes((135, 0, 0, 0, 0, 1, 0, 2))) == OtherIcmp(135, 0, b"\0\1\0\2")
