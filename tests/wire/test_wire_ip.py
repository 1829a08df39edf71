"""IPv4, IPv6, TCP and UDP headers: round trips, totality, cut captures, and scapy as second opinion."""

import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.ip import (
    IpProtocol,
    IPv4Packet,
    IPv6Packet,
    TcpFlag,
    TcpSegment,
    UdpDatagram,
    checksum_fits,
    checksum_fits_or_is_left,
    decode_ip,
    internet_checksum,
    mss_option,
    tcp_flags,
)

A = IPv4Address("192.0.2.1")
B = IPv4Address("198.51.100.7")

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
u8 = st.integers(0, 255)
u16 = st.integers(0, 65535)
u32 = st.integers(0, 2**32 - 1)
four_byte_options = st.integers(0, 10).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words))
packets = st.builds(
    IPv4Packet,
    source=addresses,
    destination=addresses,
    protocol=u8,
    ttl=u8,
    identification=u16,
    payload=st.binary(max_size=200),
    dont_fragment=st.booleans(),
    tos=u8,
    more_fragments=st.booleans(),
    fragment_offset=st.integers(0, 8191),
    options=four_byte_options,
    missing=st.integers(0, 1000),
)
segments = st.builds(TcpSegment, u16, u16, u32, u32, st.integers(0, 0x0FFF), u16, four_byte_options, st.binary(max_size=200), u16)
datagrams = st.builds(UdpDatagram, u16, u16, st.binary(max_size=200), st.integers(0, 1000))


@given(packets)
def test_ipv4_round_trip(packet: IPv4Packet) -> None:
    encoded = packet.encode()
    assert IPv4Packet.decode(encoded) == packet
    assert internet_checksum(encoded[: packet.header_length]) == 0


@given(segments)
def test_tcp_round_trip_and_checksum(segment: TcpSegment) -> None:
    encoded = segment.encode(A, B)
    assert TcpSegment.decode(encoded) == segment
    assert checksum_fits(A, B, IpProtocol.TCP, encoded)
    assert not checksum_fits(A, IPv4Address("198.51.100.8"), IpProtocol.TCP, encoded)


@given(datagrams)
def test_udp_round_trip(datagram: UdpDatagram) -> None:
    encoded = datagram.encode(A, B)
    assert UdpDatagram.decode(encoded) == datagram
    assert encoded[6:8] != b"\0\0"


@given(st.binary(max_size=120))
def test_decoders_are_total(data: bytes) -> None:
    for decode in (decode_ip, IPv4Packet.decode, IPv6Packet.decode, TcpSegment.decode, UdpDatagram.decode):
        with suppress(DecodeError):
            assert decode(data) is not None


@given(st.binary(max_size=80))
def test_mss_search_ends_on_any_options(options: bytes) -> None:
    found = TcpSegment(1, 2, 3, options=options).maximum_segment_size
    assert found is None or 0 <= found <= 65535


def test_mss_behind_other_options() -> None:
    assert TcpSegment(1, 2, 3, options=b"\x01\x03\x03\x07" + mss_option(1234)).maximum_segment_size == 1234
    assert TcpSegment(1, 2, 3, options=b"\x00\x02\x04\x05").maximum_segment_size is None


@given(st.binary(max_size=80))
def test_so_does_that_for_what_came_again(options: bytes) -> None:
    found = TcpSegment(1, 2, 3, options=options).came_again
    assert found is None or max(found) < 1 << 32


def test_what_came_again_is_the_first_block_below_the_acknowledgment() -> None:
    """RFC 2883 section 4: any other is of what came before its turn (RFC 2018)."""

    def told(first: int, end: int, *, acknowledgment: int) -> tuple[int, int] | None:
        options = b"\x01\x01\x08\x0a" + bytes(8) + b"\x01\x01\x05\x0a" + struct.pack("!II", first, end)
        return TcpSegment(1, 2, 3, acknowledgment, options=options).came_again

    assert told(100, 200, acknowledgment=200) == (100, 200)
    assert told(300, 400, acknowledgment=200) is None
    assert told(0xFFFFFF00, 0xFFFFFFF0, acknowledgment=200) == (0xFFFFFF00, 0xFFFFFFF0), "numbers begin again at zero"
    assert TcpSegment(1, 2, 3, options=b"\x05\x0a\0\0").came_again is None, "it is cut"


@given(st.binary())
def test_checksum_is_the_folded_sum(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[i : i + 2], "big") for i in range(0, len(padded), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert internet_checksum(data) == ~total & 0xFFFF


def test_every_cut_of_a_packet_decodes_as_far_as_its_header_goes() -> None:
    whole = IPv4Packet(A, B, IpProtocol.TCP, payload=TcpSegment(1723, 40000, 7, payload=b"x" * 50, options=mss_option(1000)).encode(A, B))
    encoded = whole.encode()
    for length in range(20, len(encoded)):
        cut = IPv4Packet.decode(encoded[:length])
        assert (cut.source, cut.destination, cut.protocol, cut.total_length) == (A, B, 6, len(encoded))
        assert cut.missing == len(encoded) - length
        assert cut.truncated
        if length >= 40:
            segment = TcpSegment.decode(cut.payload)
            assert (segment.source_port, segment.sequence) == (1723, 7)
            assert segment.truncated == (length < 44)
    for length in range(20):
        with pytest.raises(DecodeError):
            IPv4Packet.decode(encoded[:length])


def test_cut_udp_says_how_much_is_missing() -> None:
    cut = UdpDatagram.decode(UdpDatagram(500, 500, b"x" * 100).encode(A, B)[:30])
    assert (cut.payload, cut.missing) == (b"x" * 22, 78)


def test_link_padding_is_left_out_and_total_length_zero_is_all() -> None:
    packet = IPv4Packet(A, B, 47, payload=b"abcd")
    assert IPv4Packet.decode(packet.encode() + b"\0" * 22) == packet
    offloaded = packet.encode()[:2] + b"\0\0" + packet.encode()[4:]
    assert IPv4Packet.decode(offloaded).payload == b"abcd"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"\x65" + bytes(19), "version"),
        (b"\x44" + bytes(19), "IHL"),
        (b"\x46" + bytes(19), "options"),
        (b"\x45", "IPv4 header"),
    ],
)
def test_a_bad_header_names_its_field(data: bytes, field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        IPv4Packet.decode(data)
    assert caught.value.field == field


def test_bad_transport_headers_name_their_field() -> None:
    with pytest.raises(DecodeError, match="data offset"):
        TcpSegment.decode(bytes(20))
    with pytest.raises(DecodeError, match="length"):
        UdpDatagram.decode(b"\0\1\0\2\0\3\0\0")
    with pytest.raises(DecodeError, match="version"):
        decode_ip(b"")


def ipv6(next_header: int, payload: bytes, length: int | None = None) -> bytes:
    head = b"\x60\0\0\0" + (len(payload) if length is None else length).to_bytes(2, "big") + bytes((next_header, 61))
    return head + IPv6Address("2001:db8::1").packed + IPv6Address("2001:db8::2").packed + payload


def test_ipv6_walks_over_extension_headers() -> None:
    hop_by_hop = bytes((44, 0)) + bytes(6)
    fragment = bytes((60, 0, 0, 0)) + bytes(4)
    destination_options = bytes((47, 1)) + bytes(14)
    packet = decode_ip(ipv6(0, hop_by_hop + fragment + destination_options + b"gre"))
    assert isinstance(packet, IPv6Packet)
    assert (packet.protocol, packet.payload, packet.ttl, packet.missing) == (47, b"gre", 61, 0)
    assert packet.first_fragment


def test_ipv6_later_fragment_ends_the_walk() -> None:
    packet = IPv6Packet.decode(ipv6(44, bytes((60, 0, 0x00, 0x08)) + bytes(4) + b"not a header"))
    assert (packet.protocol, packet.fragment_offset, packet.payload) == (60, 1, b"not a header")


def test_ipv6_cut_and_padded() -> None:
    assert IPv6Packet.decode(ipv6(50, b"abcd", length=10)).missing == 6
    assert IPv6Packet.decode(ipv6(50, b"abcdPAD", length=4)).payload == b"abcd"
    with pytest.raises(DecodeError, match="version"):
        IPv6Packet.decode(b"\x40" + bytes(39))


def test_scapy_reads_what_we_write_and_the_reverse() -> None:
    inet = pytest.importorskip("scapy.layers.inet")
    ours = IPv4Packet(
        A, B, 6, 17, 4711, TcpSegment(1723, 40000, 99, 98, TcpFlag.SYN | TcpFlag.ACK, 500, mss_option(1400), b"hi").encode(A, B), True, 3
    )
    theirs = inet.IP(ours.encode())
    assert (theirs.src, theirs.dst, theirs.ttl, theirs.id, theirs.tos, str(theirs.flags)) == (str(A), str(B), 17, 4711, 3, "DF")
    tcp = theirs[inet.TCP]
    assert (tcp.sport, tcp.dport, tcp.seq, tcp.ack, str(tcp.flags), tcp.window, tcp.options) == (
        1723, 40000, 99, 98, "SA", 500, [("MSS", 1400)],
    )  # fmt: skip
    rebuilt = theirs.copy()
    del rebuilt.chksum
    del rebuilt[inet.TCP].chksum
    assert bytes(rebuilt) == ours.encode()
    udp = inet.IP(src=str(A), dst=str(B), ttl=9, id=5) / inet.UDP(sport=500, dport=4500) / b"payload"
    packet = IPv4Packet.decode(bytes(udp))
    assert packet == IPv4Packet(A, B, 17, 9, 5, UdpDatagram(500, 4500, b"payload").encode(A, B))


def test_ipv6_pseudo_header_and_udp_without_a_checksum() -> None:
    source, destination = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
    encoded = UdpDatagram(500, 500, b"isakmp").encode(source, destination)
    assert checksum_fits(source, destination, IpProtocol.UDP, encoded)
    assert not checksum_fits(source, IPv6Address("2001:db8::3"), IpProtocol.UDP, encoded)
    assert checksum_fits(A, B, IpProtocol.UDP, encoded[:6] + b"\0\0" + encoded[8:])


def test_ipv6_payload_length_zero_is_all_that_is_there() -> None:
    packet = IPv6Packet.decode(ipv6(47, b"gre", length=0))
    assert (packet.payload, packet.missing, packet.truncated) == (b"gre", 0, False)


def test_flags_and_truncation_of_what_is_whole() -> None:
    segment = TcpSegment(1, 2, 3, flags=TcpFlag.SYN | TcpFlag.ACK)
    assert (segment.has(TcpFlag.SYN), segment.has(TcpFlag.FIN), segment.truncated) == (True, False, False)
    assert not UdpDatagram(1, 2).truncated
    assert not IPv4Packet(A, B, 47).truncated
    assert IPv4Packet(A, B, 47, fragment_offset=3).first_fragment is False


@given(st.integers(0, 255), st.sampled_from([b"", bytes(4)]))
def test_flags_are_read_where_they_stand(flags: int, options: bytes) -> None:
    source, destination = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
    segment = TcpSegment(1, 2, 3, 4, flags).encode(source, destination)
    packet = IPv4Packet(source, destination, IpProtocol.TCP, 64, 1, segment, options=options).encode()
    assert tcp_flags(packet) == flags
    assert tcp_flags(packet[: 20 + len(options) + 13]) is None
    assert tcp_flags(IPv4Packet(source, destination, IpProtocol.UDP, 64, 1, segment).encode()) == 0
    assert [tcp_flags(data) for data in (b"", b"\x45", bytes([0x60]) + bytes(60))] == [None] * 3


@pytest.mark.parametrize(
    ("protocol", "encoded", "at"),
    [
        (IpProtocol.UDP, UdpDatagram(1194, 40000, b"data").encode(A, B), 6),
        (IpProtocol.TCP, TcpSegment(443, 40000, 7, 9, TcpFlag.ACK, payload=b"data").encode(A, B), 16),
    ],
)
def test_a_checksum_that_is_left_to_the_network_card_is_the_sum_of_the_pseudo_header(protocol: IpProtocol, encoded: bytes, at: int) -> None:
    """Captured so between virtual machines: the card adds up the rest, from the field that holds the beginning of the sum."""
    pseudo_header = A.packed + B.packed + bytes([0, protocol]) + len(encoded).to_bytes(2, "big")
    begun = (0xFFFF - internet_checksum(pseudo_header)).to_bytes(2, "big")
    assert checksum_fits_or_is_left(A, B, protocol, encoded)
    assert checksum_fits_or_is_left(A, B, protocol, encoded[:at] + begun + encoded[at + 2 :])
    assert not checksum_fits_or_is_left(A, B, protocol, encoded[:at] + bytes([begun[0] ^ 1, begun[1]]) + encoded[at + 2 :])
