"""TCP reassembly: order, repetition, overlap, holes, and the end of the sequence space."""

import random

from capture_packets import frames, tcp
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.followers.base import ends_of
from vpnprobe.capture.streams import HELD_SEGMENTS, Chunk, Connection, ahead
from vpnprobe.wire.ip import TcpFlag


def chunks(packets: list[bytes]) -> list[Chunk]:
    found = frames(packets)
    connection = Connection(found[0])
    return [chunk for frame in found for chunk in connection.take(frame)]


def data_of(packets: list[bytes]) -> bytes:
    return b"".join(chunk.data for chunk in chunks(packets))


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(0, 2**32 - 1), st.randoms())
def test_segments_in_any_order_and_several_times_give_the_stream(data: bytes, sizes: list[int], first: int, chance: random.Random) -> None:
    segments, at = [], 0
    while at < len(data):
        size = sizes[len(segments) % len(sizes)]
        segments.append((at, data[at : at + size + chance.randrange(5)]))  # with overlaps
        at += size
    shuffled = segments + chance.choices(segments, k=3)
    chance.shuffle(shuffled)
    packets = [tcp(sequence=(first + 1 + at) % 2**32, payload=payload) for at, payload in shuffled]
    syn = tcp(sequence=first, flags=TcpFlag.SYN)
    assert data_of([syn, *packets]) == data


def test_a_hole_that_the_other_end_has_acknowledged_is_the_captures() -> None:
    found = chunks(
        [
            tcp(sequence=0, flags=TcpFlag.SYN),
            tcp(sequence=1, payload=b"one"),
            tcp(sequence=8, payload=b"three"),
            tcp(sequence=1, acknowledgment=13, back=True),
        ]
    )
    assert [(chunk.data, chunk.after_gap) for chunk in found] == [(b"one", False), (b"three", True)]


def test_too_much_that_waits_is_taken_without_what_it_waits_for() -> None:
    late = [tcp(sequence=100 + number, payload=b"x") for number in range(HELD_SEGMENTS + 1)]
    found = chunks([tcp(sequence=0, flags=TcpFlag.SYN), *late])
    assert found[0].after_gap
    assert sum(len(chunk.data) for chunk in found) == HELD_SEGMENTS + 1


def test_a_capture_that_begins_in_the_middle() -> None:
    assert data_of([tcp(sequence=7777, payload=b"mid"), tcp(sequence=7780, payload=b"stream")]) == b"midstream"


def test_the_opener_is_known_from_a_syn_ack_alone() -> None:
    found = frames([tcp(sequence=9, acknowledgment=2, flags=TcpFlag.SYN | TcpFlag.ACK, back=True)])
    connection = Connection(found[0])
    connection.take(found[0])
    assert connection.opener == ends_of(found[0])[1]


def test_distances_are_modulo_the_sequence_space() -> None:
    assert ahead(5, 2**32 - 5) == 10
    assert ahead(2**32 - 5, 5) == -10


HEADERS = 40
"""Bytes of the IP and TCP headers of these packets."""


def cut(packet: bytes, kept: int) -> bytes:
    """As a capture with a short snapshot length holds it: `kept` bytes of payload."""
    return packet[: HEADERS + kept]


def told(found: list[Chunk]) -> list[tuple[bytes, int, bool]]:
    return [(chunk.data, chunk.missing, chunk.after_gap) for chunk in found]


def test_what_the_capture_cut_off_a_segment_is_counted() -> None:
    one, two = tcp(sequence=1, payload=b"0123456789"), tcp(sequence=11, payload=b"next")
    assert told(chunks([one, two])) == [(b"0123456789", 0, False), (b"next", 0, False)]
    assert told(chunks([cut(one, 4), two])) == [(b"0123", 6, False), (b"next", 0, True)]


def test_every_segment_cut_says_so_by_itself() -> None:
    packets = [cut(tcp(sequence=1 + 10 * number, payload=bytes([number]) * 10), 2) for number in range(3)]
    assert told(chunks(packets)) == [(b"\0\0", 8, False), (b"\1\1", 8, True), (b"\2\2", 8, True)]


def test_a_whole_repetition_that_comes_in_time_replaces_a_cut_segment() -> None:
    late, first = tcp(sequence=5, payload=b"5678"), tcp(sequence=1, payload=b"1234")
    syn = tcp(sequence=0, flags=TcpFlag.SYN)
    assert told(chunks([syn, cut(late, 1), late, first])) == [(b"1234", 0, False), (b"5678", 0, False)]
    assert told(chunks([syn, late, cut(late, 1), first])) == [(b"1234", 0, False), (b"5678", 0, False)]


def test_a_repetition_that_comes_late_gives_nothing_twice() -> None:
    segment = tcp(sequence=1, payload=b"0123456789")
    assert told(chunks([cut(segment, 4), segment, tcp(sequence=11, payload=b"next")])) == [(b"0123", 6, False), (b"next", 0, True)]


def test_an_overlap_that_ends_in_what_was_cut() -> None:
    """Of the second segment the stream already has six bytes, and the capture has five."""
    first, second = tcp(sequence=1, payload=b"abcdef"), tcp(sequence=1, payload=b"abcdefghij")
    found = chunks([first, cut(second, 5), tcp(sequence=11, payload=b"next")])
    assert told(found) == [(b"abcdef", 0, False), (b"next", 0, True)]


def test_only_what_the_capture_holds_counts_as_given_out() -> None:
    packets = frames([cut(tcp(sequence=1, payload=b"0123456789"), 4)])
    connection = Connection(packets[0])
    connection.take(packets[0])
    assert [direction.payload_bytes for direction in connection.directions.values()] == [4, 0]


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.integers(0, 20)), min_size=1, max_size=8))
def test_what_is_given_and_what_is_missing_make_up_the_stream(segments: list[tuple[bytes, int]]) -> None:
    packets, at = [tcp(sequence=0, flags=TcpFlag.SYN)], 1
    for data, kept in segments:
        packets.append(cut(tcp(sequence=at, payload=data), kept))
        at += len(data)
    expected = b"".join(data[:kept] + bytes(max(0, len(data) - kept)) for data, kept in segments if kept)
    assert b"".join(chunk.data + bytes(chunk.missing) for chunk in chunks(packets)) == expected
