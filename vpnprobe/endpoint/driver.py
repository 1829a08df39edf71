"""The one driver of conversations: client's and server's ends, over datagrams and streams.

It feeds a conversation what comes, sends what it has to say, wakes it when something is due, and records every step. Whoever waits for an
outcome is woken when it is there: nothing polls.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from vpnprobe.conversations.contract import Conversation
from vpnprobe.endpoint.recorder import Departures
from vpnprobe.transports.stack import ConnectError, NetworkStack, TcpStream

CLOCK_SLACK_S: Final = 0.002
"""A timer that is due within this is due: a clock may wake us a hair too early, and then nothing would be due by its reading."""

MOST_WAITING: Final = 256
"""Chunks that wait for a peer to read: what it makes us say must not fill the memory."""


class Until(Protocol):
    """What is waited for."""

    def reached(self, now: float) -> bool: ...
    def due(self) -> float | None:
        """When `reached` may turn true though nothing comes, on the same clock; None: never."""
        ...


class Driver:
    """One end of one conversation under way."""

    def __init__(
        self,
        stack: NetworkStack,
        conversation: Conversation,
        *,
        send: Callable[[bytes], bool],
        record: Callable[[Departures], None],
    ) -> None:
        """`send`: hands one datagram or chunk over; whether that was taken. `record`: takes the conversation's events."""
        self.conversation = conversation
        self.heard = stack.now()
        """When the conversation was begun, or last got or sent anything, on the stack's clock."""
        self._stack = stack
        self._send = send
        self._record = record
        self._timer: asyncio.TimerHandle | None = None
        self._resting = False
        self._progress = asyncio.Event()
        self.ended = False
        """The stream has ended, or the driver was closed."""

    def start(self, first: bytes = b"") -> None:
        """`first`: bytes of the peer's that were read already."""
        self.conversation.start(self._stack.now())
        if first:
            self.conversation.receive(first, self._stack.now())
        self._carry_on()

    def receive(self, data: bytes) -> None:
        """A datagram, or the next chunk of the stream."""
        self.conversation.receive(data, self._stack.now())
        self._carry_on()

    def peer_closed(self) -> None:
        """The peer has ended the stream, without a reset."""
        self.conversation.closed_by_peer(self._stack.now())
        self._carry_on()
        self._end()

    def say(self, action: Callable[[float], None]) -> None:
        """Has the conversation do something by itself (say goodbye), and sends what comes of it."""
        action(self._stack.now())
        self._carry_on()

    def wake(self) -> None:
        """Something else happened that may decide: who waits looks again."""
        self._progress.set()

    def rest(self) -> None:
        """Nothing falls due any more. What still comes is recorded, and answered."""
        self._resting = True
        self._disarm()

    def close(self) -> None:
        """Nothing falls due any more, and who waits is woken."""
        self._end()

    async def wait(self, until: Until) -> bool:
        """Waits for it; returns whether it was reached. False: the stream ended before."""
        while not until.reached(self._stack.now()):
            if self.ended:
                return False
            self._progress.clear()
            due = until.due()
            timeout = None if due is None else max(0.0, due - self._stack.now())
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._progress.wait()
        return True

    def _end(self) -> None:
        self.ended = True
        self.rest()
        self._progress.set()

    def _carry_on(self) -> None:
        now = self._stack.now()
        said = tuple(self.conversation.data_to_send(now))
        self._record(Departures(now, said, tuple([self._send(data) for data in said])))
        self.heard = self._stack.now()
        self._progress.set()
        self._arm()

    def _arm(self) -> None:
        self._disarm()
        due = self.conversation.next_timer()
        if due is not None and not self._resting:
            pause_s = max(0.0, due - self._stack.now())
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._due, due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self, due: float) -> None:
        now = self._stack.now()
        if due - now < CLOCK_SLACK_S:
            self.conversation.handle_timer(max(due, now))
            self._carry_on()
        else:
            self._arm()


LONGEST_S: Final = 60.0
"""Of a conversation that waits for silence: a peer that never falls silent does not hold the run."""


class GoalOrSilence:
    """The check's goal, or silence: nothing is due any more, and nothing has come for `silence_s()` since. LONGEST_S at most."""

    def __init__(self, driver: Driver, check: str, silence_s: Callable[[], float]) -> None:
        """`silence_s`: seconds, as they are right at the moment: the other end may become slower meanwhile."""
        self._driver = driver
        self._check = check
        self._silence_s = silence_s
        self._last = driver.heard + LONGEST_S

    def reached(self, now: float) -> bool:
        return self._driver.conversation.reached(self._check) or now >= self.due() - CLOCK_SLACK_S / 2

    def due(self) -> float:
        silent = self._driver.conversation.next_timer() is None
        return min(self._last, self._driver.heard + self._silence_s()) if silent else self._last


class GoalWithin:
    """The check's goal, or `within_s()` from now on, seconds as they are right at the moment."""

    def __init__(self, driver: Driver, check: str, began: float, within_s: Callable[[], float]) -> None:
        """`began`: now, on the stack's clock."""
        self._driver = driver
        self._check = check
        self._began = began
        self._within_s = within_s

    def reached(self, now: float) -> bool:
        return self._driver.conversation.reached(self._check) or now >= self.due() - CLOCK_SLACK_S / 2

    def due(self) -> float:
        return self._began + self._within_s()


class StreamDriver(Driver):
    """One end over a stream: what comes is read until the stream ends, what goes waits for room.

    A peer that has ended its side may still read: what was said to it leaves all the same. One that reads nothing is not read either, once
    MOST_WAITING chunks wait for it.
    """

    def __init__(self, stack: NetworkStack, conversation: Conversation, stream: TcpStream, record: Callable[[Departures], None]) -> None:
        super().__init__(stack, conversation, send=self._queue, record=record)
        self.stream = stream
        self.was_reset = False
        self._outgoing: deque[bytes] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    def start(self, first: bytes = b"") -> None:
        super().start(first)
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def finished(self) -> None:
        """Until the stream has ended. Raises what went wrong in reading it, but for its end."""
        await _over(self._reading)

    async def drained(self) -> None:
        """Until all that was said is handed over, or the stream is gone."""
        await _over(self._writing)

    def close(self) -> None:
        super().close()
        for task in (self._reading, self._writing):
            if task is not None:
                task.cancel()

    def _queue(self, data: bytes) -> bool:
        """False where the connection was reset: nothing leaves over it any more."""
        if self.was_reset:
            return False
        self._outgoing.append(data)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())
        return True

    async def _write(self) -> None:
        try:
            while self._outgoing:
                await self.stream.send(self._outgoing.popleft())
        except ConnectError:
            self._outgoing.clear()  # The reader learns of it, and what came before the reset first.

    async def _read(self) -> None:
        try:
            while chunk := await self.stream.receive():
                self.receive(chunk)
                if len(self._outgoing) >= MOST_WAITING:
                    await self.drained()
            self.peer_closed()
        except ConnectError:
            self.was_reset = True
        finally:
            self._end()


async def _over(task: "asyncio.Task[None] | None") -> None:
    """Until a task of a driver's is over, be it that the driver was closed; raises what went wrong in it."""
    if task is not None:
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
