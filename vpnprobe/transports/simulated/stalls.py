"""When the program of an end runs, and a loop that keeps to it.

An end's program is what runs in its context (`contextvars`): tasks that were made there, and callbacks that its network stack calls. While
the end is starved nothing of it runs: what becomes ready waits, in its order, and timers that fall due fire afterwards, in theirs. Its host
(the simulated kernel, TCP and captures included) goes on.
"""

import asyncio
import contextvars
import math
from collections.abc import Callable
from typing import Any, Final, TypeVarTuple

from vpnprobe.transports.simulated.clock import RESOLUTION_S, VirtualEventLoop
from vpnprobe.transports.topology import Stall

Ts = TypeVarTuple("Ts")

_ORDER_S: Final = 1e-6
"""Timers that a stall made late keep their order: within so long after it, the latest one first."""
_LONGEST_S: Final = 1000.0
"""They do so where none is later than this."""


class Program:
    """The program of one end."""

    def __init__(self, stalls: tuple[Stall, ...], origin: Callable[[], float]) -> None:
        """`origin`: when the network began, on the loop's clock, seconds."""
        self._stalls = stalls
        self._origin = origin
        self._waiting: list[asyncio.Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(PROGRAM.set, self)

    def resumes(self, at: float) -> float:
        """The first moment from `at` on at which it runs, on the loop's clock; `at` itself where it runs then."""
        origin = self._origin()
        while ends := [end for stall in self._stalls if (end := origin + _end_of(stall, at - origin)) > at + RESOLUTION_S]:
            at = max(ends)
        return at

    def call(self, action: Callable[[], object]) -> None:
        """Runs `action` as a part of the program: at once, or when it runs again."""
        loop = asyncio.get_running_loop()
        if self.resumes(loop.time()) > loop.time():
            loop.call_soon(action, context=self.context)
        else:
            self.context.copy().run(action)

    def hold(self, handle: asyncio.Handle) -> bool:
        """Keeps what is ready until the program runs again; whether it is the first."""
        self._waiting.append(handle)
        return len(self._waiting) == 1

    def go_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for handle in waiting:
            if not handle.cancelled():
                handle._run()


PROGRAM: Final[contextvars.ContextVar[Program]] = contextvars.ContextVar("program")
"""Whose the running code is; not set: the network's own."""


def _end_of(stall: Stall, at_s: float) -> float:
    """When it ends, where it holds at a moment; the moment itself where it does not. Seconds after the network began."""
    since_s = at_s - stall.from_s
    repeats = math.floor(since_s / stall.every_s) if stall.every_s else 0
    began_s = stall.from_s + repeats * (stall.every_s or 0.0)
    lasts_s = stall.to_s - stall.from_s
    return began_s + lasts_s if since_s >= 0 and at_s < began_s + lasts_s else at_s


class StallingEventLoop(VirtualEventLoop):
    """A loop in virtual time on which programs stand still while they are starved."""

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        program = _program_of(context)
        if program is not None:
            resumes = program.resumes(when)
            if resumes > when:
                when = resumes + _ORDER_S * max(0.0, 1 - (resumes - when) / _LONGEST_S)
        return super().call_at(when, callback, *args, context=context)

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        program = _program_of(context)
        if program is None or (resumes := program.resumes(self.time())) <= self.time():
            return super().call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        if program.hold(handle):
            super().call_at(resumes, program.go_on, context=contextvars.Context())
        return handle


def _program_of(context: contextvars.Context | None) -> Program | None:
    found: Any = PROGRAM.get(None) if context is None else context.get(PROGRAM)
    return found if isinstance(found, Program) else None
