"""The framing loop: chunks of any size, what cannot be cut, and parts of the stream that were not seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.stream_framing import SEARCHED_BYTES, Delimiting, StreamFraming
from vpnprobe.errors import DecodeError

FILL = 1 << 16


def split(buffer: bytes) -> tuple[list[bytes], bytes]:
    """Messages that begin with their whole length in two bytes and an exclamation mark."""
    messages: list[bytes] = []
    while len(buffer) >= 2:
        length = int.from_bytes(buffer[:2], "big")
        if length < 3 or buffer[2:3] not in (b"!", b""):
            if messages:
                break
            raise DecodeError("length", 0, f"is {length}")
        if len(buffer) < length:
            break
        messages.append(buffer[:length])
        buffer = buffer[length:]
    return messages, buffer


def find(stretch: bytes) -> tuple[bool, int]:
    """Two messages that follow each other."""
    for at in range(len(stretch)):
        length = int.from_bytes(stretch[at : at + 2], "big")
        if stretch[at + 2 : at + 3] == stretch[at + length + 2 : at + length + 3] == b"!":
            return True, at
    return False, max(0, len(stretch) - 64)


DELIMITING = Delimiting(split, begins=lambda chunk: chunk[2:3] == b"!", find=find, head_bytes=4)


def message(text: bytes) -> bytes:
    return (3 + len(text)).to_bytes(2, "big") + b"!" + text


ONE, TWO, LONG = message(b"one"), message(b"two"), message(b"a long message")


def framing() -> StreamFraming:
    return StreamFraming(DELIMITING)


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=8), st.integers(1, 12))
def test_messages_are_found_in_chunks_of_any_size(texts: list[bytes], size: int) -> None:
    stream, cut, found = b"".join(message(text) for text in texts), framing(), []
    for at in range(0, len(stream), size):
        found += cut.take(stream[at : at + size])
    assert found == [message(text) for text in texts]


def test_a_stream_that_cannot_be_cut_is_broken_for_good() -> None:
    cut = framing()
    assert cut.take(ONE + b"\0\0junk") == [ONE]
    assert isinstance(cut.broken, DecodeError)
    assert cut.take(TWO) == []


def test_behind_a_gap_reading_goes_on_with_a_chunk_that_begins_like_a_message() -> None:
    cut = framing()
    assert cut.take(ONE) == [ONE]
    assert cut.take(b"the middle of something", gap=5) == []
    assert cut.take(TWO) == [TWO]
    assert cut.broken is None


def test_a_stream_that_is_broken_may_be_read_again_behind_a_gap() -> None:
    cut = framing()
    assert cut.take(b"\0\0junk") == []
    assert cut.take(TWO, gap=1) == [TWO]
    assert cut.broken is None


def test_what_cannot_be_cut_behind_a_gap_is_a_lost_place() -> None:
    cut = framing()
    assert cut.take(TWO + b"\0\0", gap=1) == [TWO]
    assert cut.broken is None
    assert cut.take(b"again no message") == []
    assert cut.take(ONE) == [ONE]


def test_a_gap_within_a_message_whose_length_was_seen() -> None:
    cut = framing()
    assert cut.take(LONG[:6]) == []
    assert cut.waiting_bytes == 6
    assert cut.take(LONG[10:] + ONE, gap=4) == [LONG[:6] + bytes(4) + LONG[10:], ONE]


def test_a_gap_within_a_message_that_comes_in_many_chunks() -> None:
    cut = framing()
    assert cut.take(LONG[:6]) == cut.take(LONG[8:10], gap=2) == cut.take(LONG[10:12]) == []
    assert cut.take(LONG[12:] + ONE) == [LONG[:6] + bytes(2) + LONG[8:], ONE]


def test_a_gap_that_ends_with_its_message() -> None:
    cut = framing()
    assert cut.take(LONG[:6]) == []
    assert cut.take(ONE, gap=len(LONG) - 6) == [LONG[:6] + bytes(len(LONG) - 6), ONE]


@pytest.mark.parametrize("gap", [len(LONG) - 5, len(LONG) - 4, FILL + 5])
def test_a_gap_that_ends_in_a_later_message(gap: int) -> None:
    cut = framing()
    assert cut.take(LONG[:6]) == []
    assert cut.take(b"o" + ONE, gap=gap) == [LONG[:6] + bytes(len(LONG) - 6)]
    assert cut.take(TWO) == [TWO]


def test_a_message_whose_head_was_not_seen_is_left_out() -> None:
    cut = framing()
    assert cut.take(LONG[:3]) == []
    assert cut.take(LONG[5:] + ONE, gap=2) == [ONE]
    assert cut.take(LONG[:3], missing=len(LONG) - 3) == []
    assert cut.take(ONE) == [ONE]


def test_a_length_that_was_not_seen_whole_loses_the_place() -> None:
    cut = framing()
    assert cut.take(LONG[:1]) == []
    assert cut.take(LONG[2:], gap=1) == []
    assert cut.take(ONE) == [ONE]


def test_a_length_that_makes_no_sense_with_what_was_not_seen() -> None:
    cut = framing()
    assert cut.take(LONG[:2], missing=6) == []
    assert cut.take(ONE) == [ONE]


def test_what_was_cut_off_a_segment_is_part_of_its_message() -> None:
    cut = framing()
    assert cut.take(ONE + LONG[:8], missing=len(LONG) - 8) == [ONE, LONG[:8] + bytes(len(LONG) - 8)]
    assert cut.take(LONG[:8], missing=2) == []
    assert cut.take(LONG[10:] + TWO) == [LONG[:8] + bytes(2) + LONG[10:], TWO]


@given(st.integers(1, 12))
def test_a_place_that_was_lost_is_found_in_segments_of_any_size(size: int) -> None:
    stream = b"the middle of one" + ONE + TWO + LONG + ONE
    cut, found = framing(), list[bytes]()
    for at in range(0, len(stream), size):
        found += cut.take(stream[at : at + size], gap=0 if at else 9)
    assert found[-2:] == [LONG, ONE]
    assert cut.broken is None


def test_what_is_searched_is_bounded() -> None:
    cut = framing()
    for _ in range(40):
        assert cut.take(bytes(1000), gap=1) == cut.take(bytes(1000)) == []
    assert cut.take(bytes(SEARCHED_BYTES * 2)) == []
    assert cut.take(ONE) == [ONE]


def test_a_long_stretch_is_not_searched_for_each_byte() -> None:
    searched: list[int] = []

    def counted(stretch: bytes) -> tuple[bool, int]:
        searched.append(len(stretch))
        return False, 0

    cut = StreamFraming(Delimiting(split, DELIMITING.begins, counted, head_bytes=4))
    cut.take(bytes(2000), gap=1)
    for _ in range(100):
        cut.take(bytes(1))
    assert 1 < len(searched) < 10


@given(st.lists(st.tuples(st.one_of(st.just(ONE), st.just(LONG[:7]), st.binary(max_size=9)), st.integers(0, 20), st.integers(0, 20))))
def test_any_chunks_can_be_cut(chunks: list[tuple[bytes, int, int]]) -> None:
    cut = framing()
    for chunk, gap, missing in chunks:
        for found in cut.take(chunk, gap=gap, missing=missing):
            assert int.from_bytes(found[:2], "big") == len(found)
