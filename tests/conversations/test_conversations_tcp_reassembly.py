"""TCP reassembly: order, repetition, overlap, gaps, cut segments, and the end of the sequence space."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.tcp_reassembly import (
    HELD_BYTES,
    HELD_SEGMENTS,
    MOST_UNSEEN_BYTES,
    UNKNOWN_GAP,
    UNSEEN_RANGES,
    Chunk,
    TcpReassembly,
    ahead,
)
from vpnprobe.wire.ip import TcpFlag

SYN, FIN, RST, ACK = int(TcpFlag.SYN), int(TcpFlag.FIN), int(TcpFlag.RST), int(TcpFlag.ACK)
CLIENT, SERVER = "client", "server"


class Watcher:
    """A reassembly, and what it gave."""

    def __init__(self, **limits: int) -> None:
        self.connection: TcpReassembly[str] = TcpReassembly(CLIENT, SERVER, **limits)
        self.chunks: list[Chunk[str]] = []

    def saw(
        self,
        sequence: int,
        payload: bytes = b"",
        *,
        flags: int = ACK,
        acknowledgment: int = 0,
        sender: str = CLIENT,
        length: int | None = None,
    ) -> "Watcher":
        self.chunks += self.connection.take(
            sender,
            sequence=sequence % 2**32,
            acknowledgment=acknowledgment % 2**32,
            flags=flags,
            payload=payload,
            length=len(payload) if length is None else length,
            at=float(len(self.chunks)),
        )
        return self

    @property
    def told(self) -> list[tuple[bytes, int, int]]:
        return [(chunk.data, chunk.gap, chunk.missing) for chunk in self.chunks]

    @property
    def data(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)


def answered(acknowledgment: int, watcher: Watcher) -> Watcher:
    return watcher.saw(1, acknowledgment=acknowledgment, sender=SERVER)


def watched() -> Watcher:
    """A connection whose first 100 bytes were seen and acknowledged, and then not the next 50, but 10 behind them."""
    return answered(101, Watcher().saw(0, flags=SYN).saw(1, bytes(100))).saw(151, bytes(10))


@pytest.mark.parametrize(
    ("late", "unseen"),
    [
        ((), 50),
        (((101, 50),), 0),
        (((101, 20),), 30),
        (((131, 20),), 30),
        (((111, 10),), 40),
        (((90, 11),), 50),
        (((151, 10),), 50),
        (((101, 10), (141, 10), (111, 30)), 0),
    ],
    ids=["never", "whole", "its-head", "its-tail", "its-middle", "before-it", "behind-it", "in-parts"],
)
def test_what_was_acknowledged_and_never_seen_is_counted(late: tuple[tuple[int, int], ...], unseen: int) -> None:
    watcher = answered(161, watched())
    for sequence, length in late:
        watcher.saw(sequence, bytes(length))
    assert watcher.connection.directions[CLIENT].unseen_bytes == unseen


def test_what_is_not_acknowledged_may_still_come() -> None:
    assert answered(101, watched()).connection.directions[CLIENT].unseen_bytes == 0


def test_what_was_acknowledged_when_watching_began_went_by_before() -> None:
    watcher = answered(161, Watcher().saw(0, flags=SYN).saw(1, bytes(100)).saw(151, bytes(10)))
    assert watcher.connection.directions[CLIENT].unseen_bytes == 0


def test_another_numbering_is_no_gap() -> None:
    far = 101 + MOST_UNSEEN_BYTES + 1
    watcher = answered(far + 10, answered(101, Watcher().saw(0, flags=SYN).saw(1, bytes(100))).saw(far, bytes(10)))
    assert watcher.connection.directions[CLIENT].unseen_bytes == 0


def test_so_many_gaps_are_remembered() -> None:
    watcher = answered(1, Watcher().saw(0, flags=SYN))
    for number in range(UNSEEN_RANGES + 3):
        answered(20 * number + 21, watcher.saw(20 * number + 11, bytes(10)))
    assert watcher.connection.directions[CLIENT].unseen_bytes == 10 * UNSEEN_RANGES


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(0, 2**32 - 1), st.randoms())
def test_segments_in_any_order_and_several_times_give_the_stream(data: bytes, sizes: list[int], first: int, chance: random.Random) -> None:
    segments, at = [], 0
    while at < len(data):
        size = sizes[len(segments) % len(sizes)]
        segments.append((at, data[at : at + size + chance.randrange(5)]))  # with overlaps
        at += size
    shuffled = segments + chance.choices(segments, k=3)
    chance.shuffle(shuffled)
    watcher = Watcher().saw(first, flags=SYN)
    for place, payload in shuffled:
        watcher.saw(first + 1 + place, payload)
    assert watcher.data == data
    assert all(not chunk.gap and not chunk.missing for chunk in watcher.chunks)
    assert watcher.connection.directions[CLIENT].payload_bytes == len(data)


def test_both_directions_are_put_in_order_by_themselves() -> None:
    watcher = Watcher().saw(1, b"ask", flags=ACK).saw(1, b"answer", sender=SERVER)
    assert [(chunk.sender, chunk.data) for chunk in watcher.chunks] == [(CLIENT, b"ask"), (SERVER, b"answer")]


def test_a_gap_that_the_other_end_has_acknowledged_was_only_not_seen() -> None:
    watcher = Watcher().saw(0, flags=SYN).saw(1, b"one").saw(8, b"three").saw(20, b"five")
    assert watcher.told == [(b"one", 0, 0)]
    watcher.saw(1, acknowledgment=7, sender=SERVER)
    assert watcher.told == [(b"one", 0, 0)]
    watcher.saw(1, acknowledgment=13, sender=SERVER)
    assert watcher.told == [(b"one", 0, 0), (b"three", 4, 0)]
    watcher.saw(1, acknowledgment=24, sender=SERVER)
    assert watcher.told[2:] == [(b"five", 7, 0)]
    assert Watcher().saw(5, b"x").saw(9, acknowledgment=4, sender=SERVER).told == [(b"x", UNKNOWN_GAP, 0)]


def test_what_comes_after_its_gap_was_given_up_is_not_given_out() -> None:
    watcher = Watcher().saw(0, flags=SYN).saw(8, b"three").saw(1, acknowledgment=13, sender=SERVER).saw(1, b"one-two").saw(13, b"four")
    assert watcher.told == [(b"three", 7, 0), (b"four", 0, 0)]


def test_too_many_segments_that_wait_are_taken_without_what_they_wait_for() -> None:
    watcher = Watcher().saw(0, flags=SYN)
    for number in range(HELD_SEGMENTS + 1):
        watcher.saw(100 + number, b"x")
    assert watcher.told[0] == (b"x", 99, 0)
    assert len(watcher.data) == HELD_SEGMENTS + 1


def test_so_are_too_many_bytes_and_the_caller_may_set_both_limits() -> None:
    watcher = Watcher().saw(0, flags=SYN).saw(10, bytes(HELD_BYTES)).saw(20 + HELD_BYTES, b"x")
    assert [chunk.gap for chunk in watcher.chunks] == [9]
    assert Watcher(held_segments=1).saw(0, flags=SYN).saw(10, b"a").saw(20, b"b").told == [(b"a", 9, 0)]
    assert Watcher(held_bytes=2).saw(0, flags=SYN).saw(10, b"abc").told == [(b"abc", 9, 0)]


def test_an_old_segment_among_too_many_is_no_gap() -> None:
    watcher = Watcher(held_segments=1).saw(0, flags=SYN).saw(1, b"abc").saw(10, b"x").saw(2, b"bc")
    assert watcher.told == [(b"abc", 0, 0)]


def test_a_connection_whose_beginning_was_not_seen_begins_with_its_first_data() -> None:
    watcher = Watcher().saw(7777, flags=ACK).saw(7777, b"mid").saw(7780, b"stream")
    assert watcher.told == [(b"mid", UNKNOWN_GAP, 0), (b"stream", 0, 0)]
    assert watcher.connection.opener is None


def test_sequence_numbers_wrap_around() -> None:
    assert ahead(5, 2**32 - 5) == 10
    assert ahead(2**32 - 5, 5) == -10
    assert Watcher().saw(2**32 - 2, flags=SYN).saw(2**32 - 1, b"abc").saw(2**32 + 2, b"def").data == b"abcdef"


def test_the_syn_may_carry_data_and_takes_a_number() -> None:
    assert Watcher().saw(9, b"fast", flags=SYN).saw(14, b"open").told == [(b"fast", 0, 0), (b"open", 0, 0)]


def test_a_syn_that_is_seen_again_changes_nothing() -> None:
    watcher = Watcher().saw(9, flags=SYN).saw(10, b"abc").saw(9, flags=SYN).saw(10, b"abc").saw(13, b"d")
    assert watcher.data == b"abcd"


def test_a_syn_that_is_seen_after_its_data() -> None:
    watcher = Watcher().saw(10, b"abc").saw(9, flags=SYN).saw(10, b"abc").saw(13, b"d")
    assert watcher.told == [(b"abc", UNKNOWN_GAP, 0), (b"d", 0, 0)]
    assert watcher.connection.directions[CLIENT].first_sequence == 9
    cut = Watcher().saw(10, b"", length=3).saw(9, flags=SYN).saw(13, b"d")
    assert cut.told == [(b"d", 0, 0)]


def test_another_syn_begins_the_stream_anew() -> None:
    watcher = Watcher().saw(9, flags=SYN).saw(10, b"abc").saw(90, b"late").saw(500_000, flags=SYN).saw(500_001, b"new")
    assert watcher.told == [(b"abc", 0, 0), (b"new", 0, 0)]
    far = Watcher().saw(10, b"abc").saw(2**31, flags=SYN).saw(2**31 + 1, b"new")
    assert far.told[1:] == [(b"new", 0, 0)]


def test_whether_a_syn_begins_another_connection() -> None:
    connection = Watcher().saw(9, flags=SYN).connection
    assert connection.begins_another(CLIENT, sequence=10, flags=SYN)
    assert not connection.begins_another(CLIENT, sequence=9, flags=SYN)
    assert not connection.begins_another(CLIENT, sequence=10, flags=SYN | ACK)
    assert not connection.begins_another(CLIENT, sequence=10, flags=ACK)
    assert not connection.begins_another(SERVER, sequence=10, flags=SYN)


@pytest.mark.parametrize(("flags", "sender"), [(SYN, CLIENT), (SYN | ACK, SERVER)])
def test_the_opener_is_known_from_either_syn(flags: int, sender: str) -> None:
    assert Watcher().saw(9, flags=flags, acknowledgment=2, sender=sender).connection.opener == CLIENT


def test_the_end_of_a_direction_is_told() -> None:
    directions = Watcher().saw(9, b"bye", flags=FIN | ACK).saw(1, flags=RST, sender=SERVER).connection.directions
    assert [(directions[end].finished, directions[end].reset) for end in (CLIENT, SERVER)] == [(True, False), (False, True)]


def test_a_connection_of_an_end_with_itself() -> None:
    connection = TcpReassembly("same", "same")
    (chunk,) = connection.take("same", sequence=1, acknowledgment=0, flags=ACK, payload=b"x", length=1, at=0.0)
    assert (chunk.sender, connection.other("same")) == ("same", "same")


# Segments that were cut.


def test_what_was_cut_off_a_segment_is_counted() -> None:
    watcher = Watcher().saw(0, flags=SYN).saw(1, b"0123", length=10).saw(11, b"next")
    assert watcher.told == [(b"0123", 0, 6), (b"next", 0, 0)]


def test_every_segment_cut_says_so_by_itself() -> None:
    watcher = Watcher().saw(0, flags=SYN)
    for number in range(3):
        watcher.saw(1 + 10 * number, bytes([number]) * 2, length=10)
    assert watcher.told == [(b"\0\0", 0, 8), (b"\1\1", 0, 8), (b"\2\2", 0, 8)]


def test_a_segment_of_which_nothing_was_seen_is_a_gap() -> None:
    watcher = Watcher().saw(0, flags=SYN).saw(1, length=10).saw(11, length=5).saw(16, b"next")
    assert watcher.told == [(b"next", 15, 0)]


def test_a_whole_repetition_that_comes_in_time_replaces_a_cut_segment() -> None:
    for late in ([(b"5", 4), (b"5678", 4)], [(b"5678", 4), (b"5", 4)]):
        watcher = Watcher().saw(0, flags=SYN)
        for payload, length in late:
            watcher.saw(5, payload, length=length)
        assert watcher.saw(1, b"1234").told == [(b"1234", 0, 0), (b"5678", 0, 0)]


def test_a_repetition_that_comes_late_gives_nothing_twice() -> None:
    watcher = Watcher().saw(0, flags=SYN).saw(1, b"0123", length=10).saw(1, b"0123456789").saw(11, b"next")
    assert watcher.told == [(b"0123", 0, 6), (b"next", 0, 0)]


def test_an_overlap_that_ends_in_what_was_cut() -> None:
    """Of the second segment the stream already has six bytes, and five were seen."""
    watcher = Watcher().saw(0, flags=SYN).saw(1, b"abcdef").saw(1, b"abcde", length=10).saw(11, b"next")
    assert watcher.told == [(b"abcdef", 0, 0), (b"next", 4, 0)]


def test_only_what_was_seen_counts_as_given_out() -> None:
    directions = Watcher().saw(1, b"0123", length=10).connection.directions
    assert [direction.payload_bytes for direction in directions.values()] == [4, 0]


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.integers(0, 20)), min_size=1, max_size=8))
def test_what_is_given_and_what_is_missing_make_up_the_stream(segments: list[tuple[bytes, int]]) -> None:
    watcher, at = Watcher().saw(0, flags=SYN), 1
    for data, kept in segments:
        watcher.saw(at, data[:kept], length=len(data))
        at += len(data)
    watcher.saw(at, b"end")
    expected = b"".join(data[:kept] + bytes(len(data) - len(data[:kept])) for data, kept in segments) + b"end"
    assert b"".join(bytes(chunk.gap) + chunk.data + bytes(chunk.missing) for chunk in watcher.chunks) == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from([CLIENT, SERVER]),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(0, 63),
            st.binary(max_size=9),
            st.integers(0, 20),
        ),
        max_size=20,
    )
)
def test_any_segments_can_be_followed(segments: list[tuple[str, int, int, int, bytes, int]]) -> None:
    watcher = Watcher(held_segments=3, held_bytes=12)
    for sender, sequence, acknowledgment, flags, payload, cut in segments:
        watcher.saw(sequence, payload, flags=flags, acknowledgment=acknowledgment, sender=sender, length=len(payload) + cut)
    assert all(chunk.data and chunk.gap >= 0 and chunk.missing >= 0 for chunk in watcher.chunks)


def test_a_segment_half_the_sequence_space_away_is_an_old_one() -> None:
    watcher = Watcher(held_segments=1).saw(0, flags=SYN).saw(2**31 + 1, b"far").saw(5, b"late").saw(1, b"data")
    assert watcher.told == [(b"data", 0, 0), (b"late", 0, 0)]


def test_a_chunk_says_where_its_segment_ends_and_which_it_was() -> None:
    connection: TcpReassembly[str] = TcpReassembly(CLIENT, SERVER)
    found: list[Chunk[str]] = []
    for number, (sequence, payload) in enumerate([(2**32 - 2, b""), (3, b"cd"), (2**32 - 1, b"abcd")], 1):
        found += connection.take(
            CLIENT,
            sequence=sequence,
            acknowledgment=0,
            flags=ACK if payload else SYN,
            payload=payload,
            length=len(payload),
            at=0.0,
            number=number,
        )
    assert [(chunk.data, chunk.end, chunk.number) for chunk in found] == [(b"abcd", 3, 3), (b"cd", 5, 2)]
