"""The pace of echo requests: what lines, limits and outages do to a run, and what must not be taken for a property of sizes."""

import heapq
from collections.abc import Callable

import pytest

from vpnprobe.conversations.echo_pace import (
    HOPELESS_REQUESTS,
    HOPELESS_S,
    LEAST_PATIENCE_S,
    LONGEST_RUN_S,
    MOST_BYTES,
    MOST_OF_A_SIZE,
    PacedRun,
)

SIZES = (128, 576, 1200, 1400, 1440, 1480)
ROUND_TRIP_S = 0.04
Answers = Callable[[int, int, float], float | None]
"""Of a request by its number, size and time: seconds until its answer comes; None: never."""


def always(number: int, size: int, at: float) -> float | None:
    return ROUND_TRIP_S


def run_of(answers: Answers = always, *, count: int = 102, sizes: tuple[int, ...] = SIZES) -> tuple[PacedRun, float]:
    """A run to its end, and when nothing was due any more."""
    run, now = PacedRun(1, count, sizes), 0.0
    coming: list[tuple[float, int]] = []
    run.begin(now)
    while run.due is not None or coming:
        due = run.due if run.due is not None else coming[0][0]
        if coming and coming[0][0] <= due:
            now, sequence = heapq.heappop(coming)
            assert run.answered(sequence, now)
            continue
        now = due
        if (sent := run.next(now)) is not None and (after := answers(*sent, now)) is not None:
            heapq.heappush(coming, (now + after, sent[0]))
    return run, now


def lost(run: PacedRun) -> int:
    return sum(request.answered_at is None for request in run.requests.values())


def all_sizes_answered(run: PacedRun) -> bool:
    return {request.outer_bytes for request in run.requests.values() if request.answered_at is not None} == set(run.sizes)


def line(rate_bit_s: float, queue_s: float) -> Answers:
    """A line whose queue drops what would wait longer."""
    free_at = 0.0

    def answers(number: int, size: int, at: float) -> float | None:
        nonlocal free_at
        begins = max(at, free_at)
        if begins - at > queue_s:
            return None
        free_at = begins + size * 8 / rate_bit_s
        return free_at - at + ROUND_TRIP_S

    return answers


def pings_a_second(rate: float, burst: float) -> Answers:
    left, since = burst, 0.0

    def answers(number: int, size: int, at: float) -> float | None:
        nonlocal left, since
        left, since = min(burst, left + (at - since) * rate), at
        if left < 1:
            return None
        left -= 1
        return ROUND_TRIP_S

    return answers


def test_all_are_answered_in_a_second() -> None:
    run, ended = run_of()
    assert (run.all_answered, run.over, len(run.requests)) == (True, True, 102)
    assert ended < 1.0


def test_no_more_is_on_the_way_than_a_slow_line_takes() -> None:
    at: list[tuple[float, int]] = []

    def answers(number: int, size: int, now: float) -> float | None:
        at.append((now, size))
        return ROUND_TRIP_S

    run_of(answers)
    assert all(sum(size for when, size in at if now - ROUND_TRIP_S + 1e-6 < when <= now) < MOST_BYTES + max(SIZES) for now, _ in at)


@pytest.mark.parametrize("rate_bit_s", [64e3, 128e3, 256e3, 512e3])
@pytest.mark.parametrize("queue_s", [0.05, 0.1, 0.3])
def test_a_slow_line_seems_to_mind_no_sizes_and_loses_little(rate_bit_s: float, queue_s: float) -> None:
    run, _ = run_of(line(rate_bit_s, queue_s))
    assert all_sizes_answered(run)
    assert lost(run) <= 12


@pytest.mark.parametrize(("rate", "burst"), [(1, 1), (1, 5), (5, 5), (50, 50)])
def test_a_limit_of_pings_seems_to_mind_no_sizes_and_to_cut_nothing(rate: float, burst: float) -> None:
    run, ended = run_of(pings_a_second(rate, burst))
    assert all_sizes_answered(run)
    assert max(number for number, request in run.requests.items() if request.answered_at is not None) >= len(run.requests) - 4
    assert ended <= LONGEST_RUN_S + 2


@pytest.mark.parametrize("begins", [0.0, 0.05, 0.1, 0.3, 0.44])
@pytest.mark.parametrize("lasts", [0.2, 2.0, 5.0])
def test_an_outage_is_outlived(begins: float, lasts: float) -> None:
    run, _ = run_of(lambda number, size, at: None if begins <= at < begins + lasts else ROUND_TRIP_S)
    assert all_sizes_answered(run)
    assert max(number for number, request in run.requests.items() if request.answered_at is not None) >= len(run.requests) - 4


def test_sizes_that_never_come_are_asked_for_a_few_times_more() -> None:
    run, _ = run_of(lambda number, size, at: ROUND_TRIP_S if size <= 1400 else None)
    assert [sum(r.outer_bytes == size for r in run.requests.values()) for size in (1440, 1480)] == [MOST_OF_A_SIZE, MOST_OF_A_SIZE]
    assert all(request.answered_at is not None for request in run.requests.values() if request.outer_bytes <= 1400)


def test_a_cut_ends_it() -> None:
    run, ended = run_of(lambda number, size, at: ROUND_TRIP_S if number < 28 else None)
    assert len(run.requests) >= 28 + HOPELESS_REQUESTS
    assert HOPELESS_S < ended < 2 * HOPELESS_S
    assert (run.over, run.count) == (True, len(run.requests))


def test_a_cut_at_the_very_end_is_made_sure_of() -> None:
    run, _ = run_of(lambda number, size, at: ROUND_TRIP_S if number < 95 else None)
    assert len(run.requests) >= 95 + HOPELESS_REQUESTS


def test_nobody_answers_at_all() -> None:
    run, _ = run_of(lambda *_: None, count=12)
    assert (len(run.requests), run.over) == (12, True)


def test_a_very_slow_path_ends_it_in_time() -> None:
    run, ended = run_of(lambda *_: 4.0)
    assert ended < LONGEST_RUN_S + 5
    assert run.all_answered


def test_an_answer_that_comes_again_counts_once() -> None:
    run, _ = run_of(count=2)
    first = run.requests[0].answered_at
    assert run.answered(0, 99.0)
    assert not run.answered(7, 99.0)
    assert run.requests[0].answered_at == first


def test_a_run_of_none_is_over_at_once() -> None:
    run, _ = run_of(count=0)
    assert run.over
    assert run.next(0.0) is None


def test_what_is_on_the_way_is_waited_for_until_it_is_missing() -> None:
    run = PacedRun(1, 1, SIZES)
    run.begin(0.0)
    assert run.next(0.0) == (0, 128)
    assert (run.all_sent, run.over, run.due) == (True, False, LEAST_PATIENCE_S)
    assert run.next(LEAST_PATIENCE_S) is None
    assert run.over
