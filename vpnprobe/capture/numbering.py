"""What is missing of the packets that an end numbers one after another, as calls in GRE (RFC 2637 section 4.1), ESP (RFC 4303 section 2.2),
AH and other tunnels do.

A number that is missing between two that were seen is of a packet that did not come to the place of the capture, or that the capture lost
or left out. Packets that overtake others are waited for. Where the numbers do not look like a count of what goes by here, nothing is said.
Memory is bounded whatever they are.
"""

from dataclasses import dataclass, field
from typing import Final

WINDOW: Final = 1024
"""How far back a packet is still known to be new, or seen before."""
JUMP: Final = 4096
"""What jumps further is no count of packets, such as the beginning of what is encrypted, or shows nothing of the path."""
OVERTAKEN: Final = 64
"""How far before the first number that was seen others may come that were overtaken."""
BEGINNING: Final = 16
"""A count that goes back to below that has begun again, as a call with the same Call ID does."""
GAPS_TOLD: Final = 8
"""Most frames that are named which follow a gap."""
SERIES_LIMIT: Final = 16
"""Most counts of one end that are kept: of its calls, SPIs or keys."""
NUMBERED_LIMIT: Final = 2000
"""Most conversations of one protocol whose numbers are followed in one capture."""


@dataclass(slots=True)
class _Gap:
    frame: int
    """The one that followed it."""
    first: int
    last: int
    """Numbers that were missing then."""
    filled: int = 0


@dataclass(slots=True)
class Count:
    """The numbers of one series, as they are seen."""

    counts: bool = True
    """False: these numbers do not count packets that go by here."""
    seen: int = 0
    """Different ones."""
    span: int = 0
    """All between the first and the last of each beginning."""
    _base: int = 0
    _highest: int = 0
    _window: int = 0
    """Bit n: whether the highest less n was seen."""
    _before: int | None = None
    """The highest of the count before, where this one has begun again."""
    _gaps: list[_Gap] = field(default_factory=list)

    def take(self, number: int, frame: int) -> None:
        if not self.seen:
            self._begin(number)
            return
        step = number - self._highest
        if step > 1 and self._before is not None and abs(number - self._before) < WINDOW:
            return  # A late packet of the count before.
        if step > JUMP:
            self.counts = False
        elif step > 0:
            self._further(number, step, frame)
        elif number < BEGINNING <= self._base or (number < BEGINNING and step <= -WINDOW):
            self._before = self._highest
            self._begin(number)
        elif step > -WINDOW and number >= self._base - OVERTAKEN:
            self._late(number, -step)
        else:
            self.counts = False

    def _begin(self, number: int) -> None:
        self._base = self._highest = number
        self._window = 1
        self.seen, self.span = self.seen + 1, self.span + 1

    def _further(self, number: int, step: int, frame: int) -> None:
        if step > 1 and len(self._gaps) < GAPS_TOLD:
            self._gaps.append(_Gap(frame, self._highest + 1, number - 1))
        self._window = (self._window << step | 1) & ((1 << WINDOW) - 1) if step < WINDOW else 1
        self._highest = number
        self.seen, self.span = self.seen + 1, self.span + step

    def _late(self, number: int, back: int) -> None:
        if self._window >> back & 1:
            return
        self._window |= 1 << back
        self.seen += 1
        if number < self._base:
            self.span, self._base = self.span + self._base - number, number
        for gap in self._gaps:
            gap.filled += gap.first <= number <= gap.last

    @property
    def tells(self) -> bool:
        """Whether they look like a count of what goes by. Where more is missing than was seen, others have part of it, or one frame holds
        many packets."""
        return self.counts and self.span <= 2 * self.seen

    @property
    def missing(self) -> int:
        return self.span - self.seen

    @property
    def frames(self) -> list[int]:
        """Those that follow a gap which nothing has filled."""
        return [gap.frame for gap in self._gaps if gap.filled <= gap.last - gap.first]


@dataclass(slots=True)
class Numbering:
    """All series of one end in one conversation."""

    _series: dict[object, Count] = field(default_factory=dict)

    def take(self, series: object, number: int | None, frame: int) -> None:
        """`series`: what a call, an SPI or a key is known by. `number`: None where it is not known, or not the only one of the frame."""
        count = self._series.get(series)
        if count is None:
            if len(self._series) >= SERIES_LIMIT:
                return
            count = self._series[series] = Count()
        if number is None:
            count.counts = False
        elif count.counts:
            count.take(number, frame)

    def adopt(self, later: "Numbering") -> None:
        """Takes over the series of what turned out to be the same conversation."""
        for series, count in later._series.items():
            if series in self._series:
                self._series[series].counts = False
            elif len(self._series) < SERIES_LIMIT:
                self._series[series] = count

    @property
    def missing(self) -> tuple[int, int, list[int]]:
        """How many numbers are missing, of how many; and the first frames that follow a gap."""
        counts = [count for count in self._series.values() if count.tells]
        frames = sorted(frame for count in counts if count.missing for frame in count.frames)
        return sum(count.missing for count in counts), sum(count.span for count in counts), frames[:GAPS_TOLD]
