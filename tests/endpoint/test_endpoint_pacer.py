"""One pace for all that an end sends, and what the path shows of the line."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from vpnprobe.endpoint.pacer import (
    CRAWLING_BYTES_PER_S,
    FASTEST_BYTES_PER_S,
    FIRST_BYTES_PER_S,
    LEAST_BYTES_PER_S,
    LEAST_PAIRS,
    SAMPLES,
    SHARE_OF_NARROW,
    Line,
    Pacer,
    Turn,
)
from vpnprobe.transports.simulated.clock import run_virtual


def now() -> float:
    return asyncio.get_running_loop().time()


def virtual(work: Coroutine[Any, Any, None]) -> None:
    run_virtual(work)


def test_what_is_more_than_the_pace_waits() -> None:
    async def run() -> None:
        pacer = Pacer(now, 1000.0)
        left: list[float] = []
        for _ in range(4):
            await pacer.admit(100)
            left.append(now())
        assert left == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=0.003)

    virtual(run())


def test_a_fast_pace_keeps_nobody() -> None:
    async def run() -> None:
        pacer = Pacer(now)
        for _ in range(50):
            await pacer.admit(100)
        assert now() < 0.002

    virtual(run())


def test_of_those_that_wait_what_tells_of_the_line_goes_first() -> None:
    async def run() -> None:
        pacer = Pacer(now, 1000.0)
        pacer.charge(100)
        order: list[str] = []

        async def wait(turn: Turn, name: str) -> None:
            await pacer.admit(10, turn)
            order.append(name)

        turns = [(Turn.TUNNEL, "tunnel"), (Turn.PACKET, "first"), (Turn.PACKET, "second"), (Turn.LINE, "line"), (Turn.CONVERSATION, "talk")]
        await asyncio.gather(*(wait(turn, name) for turn, name in turns))
        assert order == ["line", "first", "second", "talk", "tunnel"]

    virtual(run())


def test_what_leaves_by_itself_is_waited_for_afterwards() -> None:
    async def run() -> None:
        pacer = Pacer(now, 1000.0)
        pacer.charge(500)
        assert pacer.busy
        await pacer.admit(1)
        assert now() == pytest.approx(0.5, abs=0.003)
        assert pacer.slot(100, now()) == pytest.approx(0.5, abs=0.003)
        assert pacer.slot(100, now()) == pytest.approx(0.6, abs=0.003)

    virtual(run())


def test_a_change_of_pace_counts_for_what_waits_already() -> None:
    async def run() -> None:
        pacer = Pacer(now, 100.0)
        pacer.charge(1000)
        waiting = asyncio.ensure_future(pacer.admit(1))
        await asyncio.sleep(1.0)
        pacer.bytes_per_s = 9000.0
        await waiting
        assert now() == pytest.approx(1.1, abs=0.005)

    virtual(run())


def test_who_waits_when_it_is_closed_is_let_go() -> None:
    async def run() -> None:
        pacer = Pacer(now, 1.0)
        pacer.charge(1000)
        waiting = asyncio.ensure_future(pacer.admit(1))
        await asyncio.sleep(0)
        pacer.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    virtual(run())


def test_a_line_without_a_queue_is_used_faster_each_round_trip() -> None:
    async def run() -> None:
        line = Line(now)
        for _ in range(12):
            line.pacer.charge(10_000)
            left_at = now()
            await asyncio.sleep(0.01)
            line.answered(left_at)
        assert line.pacer.bytes_per_s == FASTEST_BYTES_PER_S

    virtual(run())


def test_a_queue_lowers_the_pace_and_single_late_answers_do_not() -> None:
    async def run() -> None:
        line = Line(now, 0.01)
        for delay_s in (0.01, 0.2, 0.01, 0.2, 0.01, 0.2):
            left_at = now()
            await asyncio.sleep(delay_s)
            line.answered(left_at)
        assert line.pacer.bytes_per_s == FIRST_BYTES_PER_S
        for _ in range(SAMPLES):
            left_at = now()
            await asyncio.sleep(0.2)
            line.answered(left_at)
        assert LEAST_BYTES_PER_S <= line.pacer.bytes_per_s < FIRST_BYTES_PER_S

    virtual(run())


async def answered(line: Line, *delays_s: float) -> None:
    """Answers that come so late, one after another, while there is more to send than may leave at once."""
    for delay_s in delays_s:
        line.pacer.charge(10_000)
        left_at = now()
        await asyncio.sleep(delay_s)
        line.answered(left_at)


def test_a_delay_that_stays_at_the_least_pace_is_no_queue_of_our_own() -> None:
    async def run() -> None:
        line = Line(now, 0.01)
        while line.pacer.bytes_per_s > LEAST_BYTES_PER_S:
            await answered(line, 0.2)
        await answered(line, *[0.2] * SAMPLES)  # What had left before may be in the queue.
        assert line.pacer.bytes_per_s == LEAST_BYTES_PER_S
        await answered(line, *[0.2] * 4 * SAMPLES)
        assert line.pacer.bytes_per_s > LEAST_BYTES_PER_S
        before = line.pacer.bytes_per_s
        await answered(line, *[0.4] * SAMPLES)  # A queue on top of it is.
        assert line.pacer.bytes_per_s < before

    virtual(run())


def test_once_the_delay_is_gone_a_queue_of_that_length_is_our_own_again() -> None:
    async def run() -> None:
        line = Line(now, 0.01)
        await answered(line, *[0.2] * 8 * SAMPLES)
        await answered(line, *[0.01] * 2 * SAMPLES)
        before = line.pacer.bytes_per_s
        assert before > LEAST_BYTES_PER_S
        await answered(line, *[0.2] * 2 * SAMPLES)
        assert line.pacer.bytes_per_s < before

    virtual(run())


def test_a_line_that_crawls_has_queues_of_our_own_at_the_least_pace_too() -> None:
    async def run() -> None:
        line = Line(now, 0.01)
        for _ in range(LEAST_PAIRS):
            line.paired(520, 0.13)
        await answered(line, *[0.2] * 8 * SAMPLES)
        assert line.pacer.bytes_per_s == LEAST_BYTES_PER_S

    virtual(run())


def test_an_unused_pace_is_not_raised() -> None:
    async def run() -> None:
        line = Line(now)
        for _ in range(5):
            left_at = now()
            await asyncio.sleep(0.01)
            line.answered(left_at)
        assert line.pacer.bytes_per_s == FIRST_BYTES_PER_S

    virtual(run())


def test_pairs_that_come_apart_tell_what_a_narrow_line_carries() -> None:
    async def run() -> None:
        line = Line(now)
        for gap_s in (0.0325, 0.0, 0.033, 0.032, 0.2):
            line.paired(520, gap_s)
        assert line.told.is_set()
        assert line.narrow_bytes_per_s == pytest.approx(16_000, rel=0.03)
        assert line.slow
        assert not line.crawling
        for _ in range(20):
            line.pacer.charge(10_000)
            left_at = now()
            await asyncio.sleep(0.01)
            line.answered(left_at)
        assert line.pacer.bytes_per_s == pytest.approx(SHARE_OF_NARROW * 16_000, rel=0.03)

    virtual(run())


def test_one_pair_that_stays_together_tells_a_wide_line() -> None:
    async def run() -> None:
        line = Line(now)
        line.paired(520, 0.0003)
        assert line.narrow_bytes_per_s is None
        assert not line.slow
        assert line.pacer.bytes_per_s > 100 * FIRST_BYTES_PER_S

    virtual(run())


def test_a_line_that_is_wide_but_not_ample_is_sent_no_more_than_its_fastest_pair_shows() -> None:
    async def run() -> None:
        line = Line(now, 0.002)
        line.paired(520, 520 / 300_000, took_s=0.004)
        assert line.told.is_set()
        assert line.wants_pairs
        line.paired(520, 0.01, took_s=0.012)  # A program was late.
        line.paired(520, 520 / 310_000, took_s=0.004)
        for _ in range(2):
            line.paired(520, 0.01, took_s=0.012)
        assert not line.wants_pairs
        for _ in range(20):
            line.pacer.charge(200_000)
            await asyncio.sleep(0.002)
            line.answered(now() - 0.002)
        assert line.narrow_bytes_per_s is None, "what was shown to be wide is not narrow for an end that is late"
        assert line.pacer.bytes_per_s == pytest.approx(SHARE_OF_NARROW * 310_000)
        line.paired(520, 520 / 2_000_000, took_s=0.002)
        assert not line.wants_pairs

    virtual(run())


def test_on_a_path_that_reorders_a_few_answers_that_are_read_at_once_tell_no_ample_line() -> None:
    async def run() -> None:
        line = Line(now, 0.002)
        for gap_s in (520 / 300_000, 0.0, 520 / 310_000, 0.01, 0.0):
            line.paired(520, gap_s, took_s=0.004)
        for _ in range(20):
            line.pacer.charge(200_000)
            await asyncio.sleep(0.002)
            line.answered(now() - 0.002)
        assert line.narrow_bytes_per_s is None
        assert line.pacer.bytes_per_s == pytest.approx(SHARE_OF_NARROW * 310_000)
        line.paired(520, 0.0, took_s=0.002)
        line.paired(520, 0.0, took_s=0.002)
        assert line.pacer.bytes_per_s > 310_000, "most are read at once by now"

    virtual(run())


def test_two_answers_that_a_late_end_reads_at_once_tell_no_wide_line() -> None:
    """On a line of 1 Mbit/s a pair takes 17 ms longer there and back than nothing does, whenever it is read."""

    async def run() -> None:
        line = Line(now, 0.01)
        line.paired(520, 0.0, took_s=0.01 + 4 * 520 / 125_000)
        assert not line.told.is_set()
        for _ in range(LEAST_PAIRS):
            line.paired(520, 520 / 125_000, took_s=0.03)
        assert line.narrow_bytes_per_s == pytest.approx(125_000)

    virtual(run())


def test_a_pair_that_was_held_back_tells_no_wide_line() -> None:
    """Behind a segment that was lost answers wait together."""

    async def run() -> None:
        line = Line(now, 0.03)
        line.paired(520, 0.0, took_s=0.6)
        assert not line.told.is_set()
        assert line.pacer.bytes_per_s == FIRST_BYTES_PER_S
        for _ in range(LEAST_PAIRS):
            line.paired(520, 0.13, took_s=0.6)
        assert line.crawling, "what comes apart was not"
        for _ in range(LEAST_PAIRS):
            line.paired(520, 0.0, took_s=0.15)
        assert not line.slow

    virtual(run())


def test_what_was_sent_again_meanwhile_counts_where_it_came_back_fast() -> None:
    async def run() -> None:
        line = Line(now, 0.03)
        line.paired(520, 0.0, took_s=0.07, again=True)
        assert not line.told.is_set()
        line.paired(520, 0.0, took_s=0.035, again=True)
        assert line.told.is_set()

    virtual(run())


def test_pairs_agree_where_all_come_to_about_the_same() -> None:
    async def run() -> None:
        line = Line(now, 0.03)
        for gap_s in (0.030, 0.031, 0.032, 0.030):
            line.paired(520, gap_s)
            assert not line.agreed, "there are too few"
        line.paired(520, 0.044)
        assert line.agreed
        line.paired(520, 0.2)
        assert not line.agreed

    virtual(run())


def test_a_modem_is_a_line_that_crawls() -> None:
    async def run() -> None:
        line = Line(now)
        for _ in range(LEAST_PAIRS):
            assert not line.told.is_set(), "the second packet of one pair may have been sent again"
            line.paired(520, 0.13)
        assert line.narrow_bytes_per_s is not None
        assert line.narrow_bytes_per_s < CRAWLING_BYTES_PER_S
        assert line.crawling

    virtual(run())
