"""One example of every shape, byte by byte from the standards, so that what the properties try by chance is also tried every time."""

from ipaddress import IPv4Address

import pytest

from vpnprobe.errors import DecodeError
from vpnprobe.wire import gre, icmp, ip, l2tp, ppp
from vpnprobe.wire.isakmp import Attribute
from vpnprobe.wire.nonce import SHORTEST, NoncePayload

A, B = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.7")


@pytest.mark.parametrize(
    ("packet", "written"),
    [
        (gre.Gre(0x0800, b"\x45"), "0000 0800 45"),
        (gre.Gre(0x0800, b"\x45", checksum=0x1234), "8000 0800 1234 0000 45"),
        (gre.Gre(0x0800, b"\x45", key=7), "2000 0800 00000007 45"),
        (gre.Gre(0x0800, b"\x45", sequence_number=9), "1000 0800 00000009 45"),
        (gre.Gre(0x0800, b"\x45", 0x1234, 7, 9), "b000 0800 1234 0000 00000007 00000009 45"),
    ],
)
def test_gre_of_rfc_2784_and_2890(packet: gre.Gre, written: str) -> None:
    assert packet.encode() == bytes.fromhex(written)
    assert gre.decode_gre(bytes.fromhex(written)) == packet


def test_source_routed_gre_is_not_read() -> None:
    with pytest.raises(DecodeError, match="source routing"):
        gre.Gre.decode(bytes.fromhex("4000 0800 0000 0000"))


def test_the_checksum_of_gre_makes_the_whole_sum_to_zero() -> None:
    assert ip.internet_checksum(gre.Gre(0x0800, b"\x45\x00").with_checksum().encode()) == 0


@pytest.mark.parametrize(
    ("message", "written"),
    [
        (icmp.EchoRequest(1, 2, b"hi"), "0800 8f93 0001 0002 6869"),
        (icmp.EchoReply(1, 2, b"hi"), "0000 9793 0001 0002 6869"),
        (icmp.OtherIcmp(13, 0, bytes(4)), "0d00 f2ff 0000 0000"),
    ],
)
def test_icmp_of_rfc_792(message: icmp.Icmp, written: str) -> None:
    assert message.encode() == bytes.fromhex(written)
    decoded = icmp.decode_icmp(bytes.fromhex(written))
    assert decoded == message


@pytest.mark.parametrize("error", [icmp.TimeExceeded, lambda quote: icmp.DestinationUnreachable(3, quote)], ids=["time", "unreachable"])
def test_an_icmp_error_returns_the_packet_that_it_quotes(error: type[icmp.TimeExceeded]) -> None:
    quote = icmp.Quote(ip.IPv4Packet(A, B, 47, 64, 1, bytes(8)))
    assert icmp.decode_icmp(error(quote).encode()) == error(quote)


def test_an_icmp_error_whose_quote_is_no_packet_is_refused() -> None:
    with pytest.raises(DecodeError, match="quoted"):
        icmp.decode_icmp(bytes((11, 0, 0, 0, 0, 0, 0, 0, 0xFF)))


@pytest.mark.parametrize(("kind", "size"), [(13, 3), (8, 7)])
def test_an_icmp_message_shorter_than_its_header_is_refused(kind: int, size: int) -> None:
    with pytest.raises(DecodeError, match="ICMP header"):
        icmp.decode_icmp(bytes((kind,)).ljust(size, b"\0"))


def test_an_icmpv6_message_shorter_than_its_header_is_refused() -> None:
    with pytest.raises(DecodeError, match="ICMPv6 header"):
        icmp.decode_icmpv6(bytes((1, 0, 0, 0, 0, 0, 0)))


@pytest.mark.parametrize("length", [1, 7])
def test_a_udp_length_below_its_header_is_refused(length: int) -> None:
    with pytest.raises(DecodeError, match="less than 8"):
        ip.UdpDatagram.decode(bytes((0, 1, 0, 2, 0, length, 0, 0)))


def test_a_short_udp_header_is_refused() -> None:
    with pytest.raises(DecodeError, match="needs 8 bytes"):
        ip.UdpDatagram.decode(bytes(7))


def test_a_short_tcp_header_is_refused() -> None:
    with pytest.raises(DecodeError, match="needs 20 bytes"):
        ip.TcpSegment.decode(bytes(19))


def test_a_data_offset_below_the_tcp_header_is_refused() -> None:
    with pytest.raises(DecodeError, match="less than 20"):
        ip.TcpSegment.decode(bytes(20))


@pytest.mark.parametrize(
    ("options", "size"),
    [("01010204 05b40000", 1460), ("0402 020405b4 0000", 1460)] + [(nothing, None) for nothing in ("", "0303", "00020405", "0200", "0400")],
)
def test_the_maximum_segment_size_among_the_options(options: str, size: int | None) -> None:
    assert ip.TcpSegment(1, 2, 3, options=bytes.fromhex(options)).maximum_segment_size == size


@pytest.mark.parametrize(("attribute", "written"), [(Attribute(1, 7), "8001 0007"), (Attribute(12, b"\0\0\x70\x80"), "000c 0004 00007080")])
def test_an_attribute_of_isakmp_in_either_format(attribute: Attribute, written: str) -> None:
    assert attribute.encode() == bytes.fromhex(written)


@pytest.mark.parametrize(
    ("message", "written"),
    [
        (l2tp.DataMessage(1, 2, b"\xff"), "0002 0001 0002 ff"),
        (l2tp.DataMessage(1, 2, b"\xff", (3, 4)), "0802 0001 0002 0003 0004 ff"),
        (l2tp.DataMessage(1, 2, b"\xff", None, b"\0\0"), "0202 0001 0002 0002 0000 ff"),
        (l2tp.DataMessage(1, 2, b"\xff", None, None, True, True), "4102 0009 0001 0002 ff"),
    ],
)
def test_data_messages_of_l2tp(message: l2tp.DataMessage, written: str) -> None:
    assert message.encode() == bytes.fromhex(written)
    assert l2tp.decode_l2tp(bytes.fromhex(written)) == message


def test_our_own_payload_and_its_answer() -> None:
    payload = NoncePayload(7, 9, 100)
    answer = payload.answer()
    assert (payload.key, answer.key) == ("000000070000000000000009", "000000078000000000000009")
    assert (payload.is_answer, answer.is_answer) == (False, True)
    assert NoncePayload.decode(answer.encode()) == answer


def test_padding_that_does_not_follow_from_the_nonce_is_refused() -> None:
    with pytest.raises(DecodeError, match="magic"):
        NoncePayload.decode(b"pv" + bytes(SHORTEST - 2))
    with pytest.raises(DecodeError, match="padding"):
        NoncePayload.decode(NoncePayload(7, 9, SHORTEST).encode() + b"\0")


@pytest.mark.parametrize("length", [3, 9])
def test_a_length_of_lcp_outside_the_packet_is_refused(length: int) -> None:
    with pytest.raises(DecodeError, match="outside 4 to 8"):
        ppp.decode_lcp(bytes((1, 1, 0, length, 0, 0, 0, 0)))


@pytest.mark.parametrize("code", [7, 8, 200])
def test_a_code_of_lcp_that_has_no_name_is_kept(code: int) -> None:
    written = bytes((code, 3, 0, 6, 1, 2))
    packet = ppp.decode_lcp(written)
    assert packet == ppp.RawLcp(code, 3, b"\1\2")
    assert packet.encode() == written
