"""What the fuzz targets of whole conversations share: a script read out of bytes, and two ends with what is under way between them.

Nothing may be raised, nothing may grow, and timers pass.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import ClassVar, Final, Generic, Protocol, TypeVar

MOST_STEPS: Final = 150
MOST_FLYING: Final = 300
ROUNDS: Final = 60


class Script:
    """The bytes, of which there are always more: zeros."""

    def __init__(self, data: bytes) -> None:
        self.data, self.offset = data, 0

    @property
    def over(self) -> bool:
        return self.offset >= len(self.data)

    def byte(self) -> int:
        self.offset += 1
        return self.data[self.offset - 1] if self.offset <= len(self.data) else 0

    def some(self) -> bytes:
        """As many bytes as the next one says."""
        count = self.byte()
        taken = self.data[self.offset : self.offset + count]
        self.offset += count
        return taken


class End(Protocol):
    """What is asked of either end here."""

    def start(self, now: float) -> None: ...
    def receive(self, data: bytes, now: float) -> None: ...
    def data_to_send(self, now: float) -> Sequence[bytes]: ...
    def next_timer(self) -> float | None: ...
    def handle_timer(self, now: float) -> None: ...


EndT = TypeVar("EndT", bound=End)


class Play(ABC, Generic[EndT]):
    """Two ends, what is under way to each, and the script."""

    MOST_SENT_AT_ONCE: ClassVar[int]
    """Bytes that an end may say to one thing that happened."""

    def __init__(self, script: Script, ends: tuple[EndT, EndT], *, settled: bool) -> None:
        """`settled`: whatever the ends have to say to each other is said before the script begins."""
        self.script = script
        self.ends = ends
        self.flying: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        """To each end."""
        self.now = 100.0
        for end in self.ends:
            end.start(self.now)
        self.collect()
        if settled:
            self.settle()

    @abstractmethod
    def assert_bounded(self, end: EndT) -> None:
        """Nothing in it has grown too far."""

    @abstractmethod
    def does(self, what: int, index: int) -> None:
        """A step of the protocol's own, about one end."""

    def collect(self) -> None:
        for index, end in enumerate(self.ends):
            said = end.data_to_send(self.now)
            assert sum(map(len, said)) <= self.MOST_SENT_AT_ONCE
            self.assert_bounded(end)
            self.flying[1 - index].extend(said)
            while len(self.flying[1 - index]) > MOST_FLYING:
                self.flying[1 - index].popleft()

    def arrives(self, index: int, data: bytes) -> None:
        self.ends[index].receive(data, self.now)
        self.collect()

    def timers(self) -> None:
        for end in self.ends:
            for _ in range(ROUNDS):
                if (timer := end.next_timer()) is None or timer > self.now:
                    break
                end.handle_timer(self.now)
            else:
                raise AssertionError(f"a timer that does not pass: {timer} at {self.now}")
        self.collect()

    def settle(self) -> None:
        for _ in range(ROUNDS):
            self.now += 0.01
            for index in (0, 1):
                for _ in range(len(self.flying[index])):
                    self.arrives(index, self.flying[index].popleft())
            self.timers()
            if not any(self.flying):
                break

    def run(self) -> None:
        for _ in range(MOST_STEPS):
            if self.script.over:
                break
            self.step()
            self.collect()
        self.settle()

    def step(self) -> None:
        """The script's next one: a byte, the upper bit of which names the end that it is about and the lower four the step."""
        what = self.script.byte()
        if not self.passes(what & 15, what >> 7):
            self.does(what & 15, what >> 7)

    def passes(self, what: int, index: int) -> bool:
        """What the path does with what is under way to one end, and the clock: steps 0 to 6 and 10. Whether it was one of them."""
        flying, script = self.flying[index], self.script
        match what:
            case 0:
                self.settle()
            case 1 if flying:
                self.arrives(index, flying.popleft())
            case 2 if flying:
                flying.popleft()
            case 3 if flying:
                for _ in range(2):
                    self.arrives(index, flying[0])
            case 4 if flying:
                self.arrives(index, self.changed(flying.popleft()))
            case 5 if flying:
                self.arrives(index, flying.pop())
            case 6:
                self.arrives(index, script.some())
            case 10:
                self.now += script.byte() / 4
                self.timers()
            case _:
                return False
        return True

    def changed(self, data: bytes) -> bytes:
        """Nothing, or one byte, or the length, as three bytes of the script say."""
        at, value, how = self.script.byte(), self.script.byte(), self.script.byte()
        if not data or how == 0:
            return data
        at = (at | how << 8 & 0x700) % len(data)
        return (data[:at] + bytes([data[at] ^ value]) + data[at + 1 :], data[:at], data + bytes([value]) * at)[how % 3]
