"""Times in which an end was late: its program did not run when it was to send, read or answer, since its host was busy with others.

What happens then is the host's doing and none of the path's. A lost trial whose window touches such a time counts for nothing, as if it had
not left, and so does what an end said in a conversation that the other had given up by then. Only what was lost is set aside: what came,
came. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

LATE_S: Final = 0.05
"""Least lateness that is kept: a little of it is every program's."""
MOST_TIMES: Final = 1000
"""Of one end that are kept apart; the last of them goes on to the end where there are more."""
APART_S: Final = 0.1
"""Times of lateness that are no further apart are one."""
BEFORE_S: Final = 0.3
"""A trial that left so long before an end was late may have had to be read or answered while it was; less where the way takes less."""
FLIGHTS: Final = 6.0
"""Ways there or back that a trial and its answer take at the most, with some jitter."""
READING_S: Final = 0.02
"""What an end takes that is not late."""
AFTER_S: Final = 0.1
"""And what left so soon after it may be what had waited: much at once, and in another order than was meant."""


@dataclass(frozen=True, slots=True, order=True)
class Lateness:
    """From when an end should have run to when it did, seconds on its own clock, as in packet records."""

    from_s: float
    to_s: float

    @property
    def lasted_s(self) -> float:
        return self.to_s - self.from_s

    def touches(self, at: float, margin_s: float = 0.0, before_s: float = BEFORE_S) -> bool:
        """Whether the window of a trial that left then touches it.

        `margin_s`: how far the two clocks may be out. `before_s`: what it takes to be read and answered, as `window_s` gives it.
        """
        return self.from_s - before_s - margin_s <= at <= self.to_s + AFTER_S + margin_s

    def moved(self, by_s: float) -> "Lateness":
        return Lateness(self.from_s + by_s, self.to_s + by_s)


def added(times: Sequence[Lateness], found: Lateness) -> tuple[Lateness, ...]:
    """The times with one more, in order; those that are not apart are one."""
    kept = list(times)
    while kept and (kept[-1].to_s + APART_S >= found.from_s or len(kept) >= MOST_TIMES):
        last = kept.pop()
        found = Lateness(min(last.from_s, found.from_s), max(last.to_s, found.to_s))
    return (*kept, found)


@dataclass(slots=True)
class LateEnd:
    """One end that was late, on the client's clock."""

    end: str
    """`client` or `server`."""
    times: Sequence[Lateness]
    margin_s: float = 0.0
    """How far its clock may be out."""
    before_s: float = BEFORE_S
    """What a trial takes to be read and answered."""
    set_aside: int = 0
    """Lost trials that count for nothing for it."""
    touched: list[Lateness] = field(default_factory=list)
    """By whose windows it was."""

    def takes(self, at: float) -> bool:
        """Whether a lost trial that left then is set aside; it is counted."""
        found = self._touched_by(at)
        if found is None:
            return False
        self.set_aside += 1
        self.touched.append(found)
        return True

    def touches(self, at: float) -> bool:
        """Whether the window of a trial that left then touches a time at which it was late."""
        return self._touched_by(at) is not None

    def _touched_by(self, at: float) -> Lateness | None:
        return next((one for one in self.times if one.touches(at, self.margin_s, self.before_s)), None)


def window_s(flights_s: Sequence[float]) -> float:
    """How long after it left a trial may have to be read or answered, by how long the others were on their way, seconds."""
    return min(BEFORE_S, FLIGHTS * max(0.0, median(flights_s)) + READING_S) if flights_s else BEFORE_S


def longest_s(times: Iterable[Lateness]) -> float:
    """How late an end was at the most, seconds; 0: never."""
    return max((one.lasted_s for one in times), default=0.0)
