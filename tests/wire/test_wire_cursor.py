"""The reader: every field in order, and one way to fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor


def test_fields_are_big_endian_and_in_order() -> None:
    cursor = Cursor(bytes(range(1, 18)))
    assert cursor.u8("a") == 0x01
    assert cursor.u16("b") == 0x0203
    assert cursor.u32("c") == 0x04050607
    assert cursor.u64("d") == 0x08090A0B0C0D0E0F
    assert (cursor.offset, cursor.left) == (15, 2)
    assert cursor.rest() == b"\x10\x11"
    assert cursor.rest() == b""


def test_it_stays_between_its_offset_and_its_end() -> None:
    cursor = Cursor(b"abcdef", 2, 4)
    assert cursor.take(2, "middle") == b"cd"
    with pytest.raises(DecodeError, match="next at offset 4: needs 1 bytes, 0 are left"):
        cursor.u8("next")


@pytest.mark.parametrize("count", [-1, 4])
def test_what_is_not_there_is_an_error_with_name_and_offset(count: int) -> None:
    cursor = Cursor(b"abc")
    with pytest.raises(DecodeError) as caught:
        cursor.take(count, "field")
    assert (caught.value.field, caught.value.offset) == ("field", 0)
    assert cursor.offset == 0


def test_a_wrong_field_is_named_where_it_began() -> None:
    cursor = Cursor(b"abcd")
    cursor.u16("kind")
    error = cursor.wrong("kind", "is none", back=2)
    assert (error.field, error.offset, error.problem) == ("kind", 0, "is none")
    assert str(error) == "kind at offset 0: is none"
    assert cursor.wrong("next", "is missing").offset == 2


@given(st.binary(max_size=20), st.lists(st.integers(-2, 9), max_size=8))
def test_reading_gives_the_bytes_or_a_decode_error(data: bytes, counts: list[int]) -> None:
    cursor, found = Cursor(data), b""
    for count in counts:
        try:
            found += cursor.take(count, "some")
        except DecodeError:
            assert count < 0 or count > len(data) - len(found)
    assert data.startswith(found)
    assert cursor.rest() == data[len(found) :]
