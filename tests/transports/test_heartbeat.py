"""The heartbeat of a real event loop, by a clock that the test sets."""

import asyncio

import pytest

from vpnprobe.transports.heartbeat import PERIOD_S, Heartbeat
from vpnprobe.transports.simulated import run_virtual


def told(stalls: dict[int, float], *, closing: float = 0.0) -> list[tuple[float, float]]:
    """What is told where, before the beat of that number, the clock goes on for so long while nothing runs."""

    async def main() -> list[tuple[float, float]]:
        found: list[tuple[float, float]] = []
        ahead_s = 0.0

        def clock() -> float:
            return asyncio.get_running_loop().time() + ahead_s

        heartbeat = Heartbeat(lambda from_s, to_s: found.append((round(from_s, 3), round(to_s, 3))), clock)
        for beat in range(10):
            ahead_s += stalls.get(beat, 0.0)
            await asyncio.sleep(PERIOD_S)
        ahead_s += closing
        heartbeat.close()
        heartbeat.close()
        await asyncio.sleep(1)
        return found

    return run_virtual(main())


def test_a_loop_that_runs_is_not_late() -> None:
    assert told({3: 0.02}) == []


def test_from_the_last_beat_to_the_next() -> None:
    ((from_s, to_s),) = told({3: 1.9})
    assert to_s - from_s == pytest.approx(1.95)


def test_what_has_begun_when_it_is_closed_is_told_once() -> None:
    assert len(told({}, closing=0.5)) == 1
