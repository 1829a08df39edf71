"""Handing a capture over: the same packets come out, what the client has is not sent again, and whatever a broken peer says is an error."""

import random
import zlib
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.agents.handover import (
    INLINE,
    MOST_AT_A_TIME,
    MOST_PACKETS,
    SHORT_DIGEST,
    encode_payloads,
    known_payloads,
    missing,
    read_payloads,
    read_summary,
    restored,
    summary,
)
from vpnprobe.errors import DecodeError
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.fingerprint import digest, split
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpSegment, UdpDatagram

MOST = 1 << 24
UDP = bytes.fromhex("4500 001c 0001 0000 4011 0000 c0000201 c6336407 04aa 04aa 0008 0000")
TCP = bytes.fromhex("4500 0034 0001 0000 4006 0000 c0000201 c6336407 04aa 01bb 00000001 00000002 8010 ffff 0000 0000" + "01" * 12)
GRE = bytes.fromhex("4500 0018 0001 0000 402f 0000 c0000201 c6336407 0000 0800")
TIMES = st.integers(0, 2 * 10**15).map(lambda microseconds: microseconds * 1e-6)
HEADS = st.sampled_from([UDP, TCP, GRE, UDP[:22], b""]).flatmap(lambda head: st.binary(max_size=100).map(lambda rest: head + rest))
PACKETS = st.builds(Packet, st.binary(max_size=200) | HEADS, TIMES, st.booleans(), st.integers(0, 3))


def handed_over(server: list[Packet], client: list[Packet]) -> tuple[list[Packet], int]:
    """What the client ends up with, and how many payloads had to be sent."""
    data, payloads = summary(server)
    entries, known = read_summary(data, most_bytes=MOST), known_payloads(client)
    asked = missing(entries, known)
    for part in asked:
        known |= read_payloads(encode_payloads(b"".join(part), payloads), part)
    return restored(entries, known), sum(len(part) for part in asked)


@given(st.lists(PACKETS, max_size=20), st.lists(PACKETS, max_size=5))
def test_the_same_packets_come_out_whatever_the_client_has(server: list[Packet], client: list[Packet]) -> None:
    found = handed_over(server, client)[0]
    assert [replace(packet, at=0.0) for packet in found] == [replace(packet, at=0.0) for packet in server]
    assert [packet.at for packet in found] == pytest.approx([packet.at for packet in server], abs=1e-6)


def test_only_what_the_client_lacks_is_sent() -> None:
    seen = [Packet(UDP + bytes([number]) * 400, 1.0, False) for number in range(9)]
    lost = [Packet(UDP + bytes([number]) * 400, 1.0, True) for number in range(100, 103)]
    repeated = [*lost, lost[0]]
    found, sent = handed_over([*seen, *repeated], seen)
    assert found == [*seen, *repeated]
    assert sent == 3


def test_heads_that_a_nat_changes_make_no_difference() -> None:
    behind = UDP.replace(bytes.fromhex("c0000201"), bytes.fromhex("0a000001")) + b"x" * 100
    found, sent = handed_over([Packet(UDP + b"x" * 100, 1.0, False)], [Packet(behind, 0.5, True)])
    assert sent == 0
    assert found[0].data == UDP + b"x" * 100


@pytest.mark.parametrize(("head", "size"), [(UDP, 28), (TCP, 52), (GRE, 20), (b"", 0), (b"\x60" + bytes(60), 0), (TCP[:25], 20)])
def test_where_the_payload_begins(head: bytes, size: int) -> None:
    assert split(head + b"payload")[0] == (head + b"payload")[:size]


def test_payloads_are_asked_for_in_parts_that_fit() -> None:
    packets = [Packet(UDP + number.to_bytes(2, "big") * 700, 1.0, True) for number in range(40)]
    entries = read_summary(summary(packets)[0], most_bytes=MOST)
    parts = missing(entries, {})
    assert sum(len(part) for part in parts) == 40
    assert all(1400 * len(part) <= MOST_AT_A_TIME for part in parts)


def test_small_payloads_stand_in_the_summary() -> None:
    data, payloads = summary([Packet(UDP + bytes(INLINE), 1.0, True)])
    assert payloads == {}
    assert not read_summary(data, most_bytes=MOST)[0].is_digest


@pytest.mark.parametrize("data", [b"", b"garbage", zlib.compress(b"x"), zlib.compress(bytes(15)), zlib.compress(b"a" * 100)[:-6]])
def test_a_summary_that_is_none(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_summary(data, most_bytes=MOST)


@pytest.mark.parametrize(("at", "cut"), [(-1.0, 0), (5e9, 0), (1.0, 0xFFFFFFFF)])
def test_a_packet_that_no_capture_file_has_room_for(at: float, cut: int) -> None:
    with pytest.raises(DecodeError, match="no capture holds"):
        read_summary(summary([Packet(b"", at, False, cut)])[0], most_bytes=MOST)


def a_call(number: int) -> list[Packet]:
    """A datagram and a segment as an end's own wire shows them, with the checksums that belong to them."""
    source, destination = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.7")
    datagram = UdpDatagram(1194, 1194, bytes([number]) * 400).encode(source, destination)
    segment = TcpSegment(1194, 443, sequence=number, payload=bytes([number]) * 40).encode(source, destination)
    packets = [(IpProtocol.UDP, datagram), (IpProtocol.TCP, segment)]
    return [
        Packet(IPv4Packet(source, destination, kind, identification=number, payload=one).encode(), 1.0 + number, True)
        for kind, one in packets
    ]


def test_checksums_that_follow_from_the_rest_take_no_room() -> None:
    calls = [packet for number in range(100) for packet in a_call(number)]
    wrong = [
        replace(packet, data=packet.data[:26] + bytes(random.Random(number).randbytes(2)) + packet.data[28:])
        for number, packet in enumerate(calls)
    ]
    assert handed_over(calls, calls) == (calls, 0)
    assert handed_over(wrong, calls) == (wrong, 0)
    assert len(summary(calls)[0]) < len(summary(wrong)[0]) - 2 * len(calls) // 2


@given(st.binary(max_size=200))
def test_any_summary_is_read_or_an_error(data: bytes) -> None:
    try:
        entries = read_summary(zlib.compress(data), most_bytes=MOST)
    except DecodeError:
        return
    assert sum(len(entry.head) + len(entry.payload) for entry in entries) <= len(data)


def test_a_bomb_is_refused() -> None:
    with pytest.raises(DecodeError, match="too much"):
        read_summary(zlib.compress(bytes(1 << 20)), most_bytes=1 << 16)


@pytest.mark.parametrize("payload", [b"another", b""])
def test_a_payload_that_is_not_the_one_asked_for(payload: bytes) -> None:
    wanted = digest(b"the one")[:SHORT_DIGEST]
    with pytest.raises(DecodeError, match="asked for"):
        read_payloads(encode_payloads(wanted, {wanted: payload}), {wanted: 7})


def test_a_payload_of_another_size_than_was_told() -> None:
    wanted = digest(b"the one")[:SHORT_DIGEST]
    with pytest.raises(DecodeError):
        read_payloads(encode_payloads(wanted, {wanted: b"the one"}), {wanted: 6})


def columns(count: int, *, head: int = 0, size: int = 0) -> bytes:
    """A summary of packets that are all alike, with nothing behind their columns."""
    of_one = bytes(8), bytes(1), bytes(4), bytes([head]), size.to_bytes(2, "big")
    planes = b"".join(bytes([value]) * count for column in of_one for value in column)
    return zlib.compress(count.to_bytes(4, "big") + planes)


@pytest.mark.parametrize("data", [columns(MOST_PACKETS + 1), columns(4000, size=65535), columns(MOST_PACKETS, head=255)])
def test_a_capture_that_no_run_makes(data: bytes) -> None:
    """Few bytes may stand for very many: they are refused before they are made."""
    assert len(data) < 40_000
    with pytest.raises(DecodeError, match="more than"):
        read_summary(data, most_bytes=MOST)


def test_a_payload_that_never_came() -> None:
    data, _ = summary([Packet(UDP + b"x" * 100, 1.0, True)])
    with pytest.raises(DecodeError, match="not handed over"):
        restored(read_summary(data, most_bytes=MOST), {})
