"""A queue that an end fills itself: when it may be full, by what left and by what the line carries."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence.own_queues import MAY_BE_FULL_S, MOST_QUEUES, OwnQueue, own_queues

RATE = 8_192.0
"""Bytes a second."""
packets = st.lists(st.tuples(st.floats(0, 10), st.integers(20, 1500)), max_size=40)


def test_what_leaves_slower_than_the_line_carries_fills_nothing() -> None:
    assert own_queues([(number / 10, 400) for number in range(50)], RATE) == ()


def test_a_flight_fills_it_until_the_line_has_taken_enough() -> None:
    assert own_queues([(1.0, 1024), (1.0, 1024)], RATE) == (OwnQueue(1.0, pytest.approx(1.2)),)


def test_flights_that_meet_are_one_and_others_are_apart() -> None:
    left = [(1.0, 1024), (1.02, 1024), (5.0, 1024)]
    assert own_queues(left, RATE) == (OwnQueue(1.0, pytest.approx(1.2)), OwnQueue(5.0, pytest.approx(5.075)))


def test_there_are_never_more_than_can_be_told() -> None:
    found = own_queues([(float(number), 1024) for number in range(MOST_QUEUES + 5)], RATE)
    assert len(found) == MOST_QUEUES
    assert found[-1].to_s == pytest.approx(MOST_QUEUES + 4.075)


def test_moved_to_another_clock() -> None:
    assert OwnQueue(1.0, 2.0).moved(-0.5) == OwnQueue(0.5, 1.5)


@given(packets)
def test_no_two_touch_and_each_begins_with_a_packet(left: list[tuple[float, int]]) -> None:
    found = own_queues(left, RATE)
    assert all(before.to_s < after.from_s for before, after in pairwise(found))
    assert {queue.from_s for queue in found} <= {at for at, _ in left}


@given(packets)
def test_they_take_what_left_while_more_waited_than_the_line_takes_in_time(left: list[tuple[float, int]]) -> None:
    found = own_queues(left, RATE)
    waiting, before = 0.0, 0.0
    for at, size in sorted(left):
        waiting = max(0.0, waiting - (at - before) * RATE) + size
        before = at
        if waiting > 1.01 * MAY_BE_FULL_S * RATE:
            assert any(queue.takes(at) for queue in found)
        if not any(queue.takes(at) for queue in found):
            assert waiting <= 1.01 * MAY_BE_FULL_S * RATE
