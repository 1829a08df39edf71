"""Virtual time: an asyncio event loop whose clock jumps to the next timer, and the queue of what is to happen in the network.

Nothing waits on the wall clock. When nothing is ready and no timer is set, nothing can ever happen again, and `Stalled` says so.
Threads and subprocesses are not waited for: what runs in virtual time stays on the loop.
"""

import asyncio
import contextvars
import gc
import heapq
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, TypeVar

T = TypeVar("T")

RESOLUTION_S: Final = 1e-9
"""Timers closer together than this are one instant."""
MOST_NEW_OBJECTS: Final = 100_000
"""That a run may make, beyond those that it gives up, before Python looks among them for garbage."""


class Stalled(RuntimeError):
    """Every task waits for something that cannot come: nothing is on its way and no timer runs."""


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of sleeping, adds the time-out to the clock. The operating system is asked only where nothing else is left to happen."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
            if ready:
                return ready
            waiting = ", ".join(sorted(task.get_name() for task in asyncio.all_tasks(asyncio.get_running_loop()))) or "none"
            raise Stalled(f"nothing is left to happen at {self.now:.6f} s of virtual time; waiting tasks: {waiting}")
        self.now += timeout
        return []


class VirtualEventLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_virtual(main: Coroutine[Any, Any, T], *, loop_factory: Callable[[], VirtualEventLoop] = VirtualEventLoop) -> T:
    """Runs `main` to its end in virtual time, as `asyncio.run` does in real time. Raises Stalled."""
    found: list[T] = []

    async def run() -> None:
        found.append(await main)  # Returned, it would be put into words: Runner asks `signal`, which makes an enum's member of the task.

    with _collecting_seldom(), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())
    return found[0]


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Looks for garbage in cycles seldom meanwhile: a run makes little of it, and much that stays until its end."""
    before = gc.get_threshold()
    gc.set_threshold(MOST_NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Timer:
    """An action that is due at a time, unless it is cancelled first."""

    __slots__ = ("action", "cancelled")

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class EventQueue:
    """What is to happen, in order of time; what is due at one instant happens in the order in which it was put in.

    The event loop's own heap does not keep that order, and packets sent at one instant must not overtake each other.
    Bound to the loop that is running when it is first used.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._origin = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._running = False
        self._context = contextvars.Context()
        """What happens in the network belongs to no program."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._origin = self._loop.time()
        return self._loop

    def now(self) -> float:
        """Seconds on the loop's clock."""
        return (self._loop or self.loop).time()

    def elapsed(self) -> float:
        """Seconds since the queue was first used."""
        return self.loop.time() - self._origin

    def after(self, delay_s: float, action: Callable[[], None]) -> Timer:
        timer = Timer(action)
        heapq.heappush(self._heap, ((self._loop or self.loop).time() + delay_s, next(self._numbers), timer))
        if not self._running:
            self._arm()
        return timer

    def _arm(self) -> None:
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
        if not self._heap:
            return
        due = self._heap[0][0]
        if self._handle is not None:
            if self._handle.when() <= due:
                return
            self._handle.cancel()
        self._handle = self.loop.call_at(due, self._run, context=self._context)

    def _run(self) -> None:
        self._handle = None
        self._running = True
        limit = self.now() + RESOLUTION_S
        try:
            while self._heap and self._heap[0][0] <= limit:
                timer = heapq.heappop(self._heap)[2]
                if not timer.cancelled:
                    timer.action()
        finally:
            self._running = False
            self._arm()
