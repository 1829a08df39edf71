"""Times in which what an end had sent itself stood in a queue before a narrow line: what was lost then, its own bytes may have displaced.

No end sees that queue, yet each knows what it sent and when, and what the line carries: as long as more has left than the line can have
taken meanwhile, the rest waits somewhere. How much room there is nobody knows, so a short queue is taken for one that may be full. Only
what was lost is set aside: what came, came. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAY_BE_FULL_S: Final = 0.05
"""What the line takes for a queue that may be full; slow links are often given so little that speech stays bearable."""
MOST_QUEUES: Final = 1000
"""Of one end that are kept apart; the last of them goes on to the end where there are more."""


@dataclass(frozen=True, slots=True, order=True)
class OwnQueue:
    """From when it may have been full to when it was shorter again, seconds on its end's own clock, as in packet records."""

    from_s: float
    to_s: float

    def takes(self, at: float) -> bool:
        return self.from_s <= at <= self.to_s

    def moved(self, by_s: float) -> "OwnQueue":
        return OwnQueue(self.from_s + by_s, self.to_s + by_s)


def own_queues(left: Iterable[tuple[float, int]], bytes_per_s: float) -> tuple[OwnQueue, ...]:
    """In the order of time. `left`: when each packet of an end left, seconds, and its bytes. `bytes_per_s`: what the line carries."""
    found: list[OwnQueue] = []
    empty_at = 0.0
    for at, size in sorted(left):
        empty_at = max(at, empty_at) + size / bytes_per_s
        if empty_at - at <= MAY_BE_FULL_S:
            continue
        short_at = empty_at - MAY_BE_FULL_S
        if found and (at <= found[-1].to_s or len(found) == MOST_QUEUES):
            found[-1] = OwnQueue(found[-1].from_s, short_at)
        else:
            found.append(OwnQueue(at, short_at))
    return tuple(found)
