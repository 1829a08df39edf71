"""Notes when the event loop was late: whether the host ran other programs, or the loop had too much to do, its timers show both."""

import asyncio
from collections.abc import Callable
from typing import Final

from vpnprobe.transports.stack import OnLate

PERIOD_S: Final = 0.05
LEAST_S: Final = 0.05
"""Lateness that is told; a little of it is every program's."""


class Heartbeat:
    """Beats every PERIOD_S on the current event loop until closed, and tells from when to when it did not though it was to."""

    def __init__(self, on_late: OnLate, clock: Callable[[], float]) -> None:
        self._on_late = on_late
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._last = clock()
        self._timer = self._loop.call_later(PERIOD_S, self._beat)

    def _beat(self) -> None:
        now = self._clock()
        if now - self._last >= PERIOD_S + LEAST_S:
            self._on_late(self._last, now)
        self._last = now
        self._timer = self._loop.call_later(PERIOD_S, self._beat)

    def close(self) -> None:
        """A lateness that has begun is told."""
        if not self._timer.cancelled():
            self._timer.cancel()
            if (now := self._clock()) - self._last >= PERIOD_S + LEAST_S:
                self._on_late(self._last, now)
