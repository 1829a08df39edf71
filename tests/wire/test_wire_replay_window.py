"""Packet numbers that are accepted once, and not when they are too old to tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.replay_window import WINDOW, ReplayWindow


def accepted(window: ReplayWindow, number: int) -> bool:
    try:
        window.accept(number, 8)
    except DecodeError:
        return False
    return True


@pytest.mark.parametrize("first", [0, 1])
def test_the_first_number_is_accepted_once_and_none_below_it(first: int) -> None:
    window = ReplayWindow(first=first)
    assert [accepted(window, number) for number in (first, first, first - 1)] == [True, False, False]


def test_late_ones_are_accepted_within_the_window() -> None:
    window = ReplayWindow(first=0, width=100)
    assert all(accepted(window, number) for number in (0, 100, 99, 1))
    assert not accepted(window, 0)
    assert accepted(window, 5000)
    assert [accepted(window, number) for number in (4901, 4900, 5000)] == [True, False, False]


def test_the_error_names_the_field_and_its_place() -> None:
    window = ReplayWindow(first=0, field="counter")
    window.accept(7, 8)
    with pytest.raises(DecodeError, match=f"7 was seen before, or is {WINDOW} or more behind 7") as caught:
        window.accept(7, 8)
    assert (caught.value.field, caught.value.offset) == ("counter", 8)


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 80))
def test_it_is_what_a_set_of_all_numbers_would_say(numbers: list[int], width: int) -> None:
    window, taken = ReplayWindow(first=0, width=width), set[int]()
    for number in numbers:
        expected = number not in taken and (not taken or number > max(taken) - width)
        assert accepted(window, number) is expected
        taken |= {number} if expected else set()
