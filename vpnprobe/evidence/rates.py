"""A limit on rate, told from loss: does the same packet fare worse where others leave right before it?

Trains of a few packets that are asked about leave one after another, some alone, some among many others, in random order. Hypothesis: what
the others do changes nothing. Then which of the trains had company says nothing of what they lost, whatever the loss process is, and each
way to deal the company out is as likely as any other. So the share of all ways that would show as great a difference as the one that was
seen is an exact p-value (Fisher's randomisation test). Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

BOUND: Final = 0.01
"""A rate limit is told at this. It takes nothing away: the loss is there whatever causes it."""


@dataclass(frozen=True, slots=True)
class Train:
    """One train."""

    in_company: bool
    lost: int
    """Of the packets that are asked about."""
    left: int
    """All its packets, those that left with them too."""
    came: int
    lasted_s: float


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What passes of a kind in one direction, packets a second."""

    packets_per_s: float
    tried_per_s: float
    """The rate that was tried."""
    error_bound: float

    @property
    def detail(self) -> dict[str, float]:
        """As a row tells it."""
        return {"packets_per_s": round(self.packets_per_s), "tried_per_s": round(self.tried_per_s)}


def rate_limit(trains: Sequence[Train]) -> RateLimit | None:
    """The limit that trains show; None: they show none."""
    crowded = [number for number, train in enumerate(trains) if train.in_company]
    lasted_s = sum(trains[number].lasted_s for number in crowded)
    bound = chance([train.lost for train in trains], crowded)
    if bound > BOUND or not lasted_s:
        return None
    came = sum(trains[number].came for number in crowded)
    left = sum(trains[number].left for number in crowded)
    return RateLimit(came / lasted_s, left / lasted_s, bound)


def chance(lost: Sequence[int], crowded: Sequence[int]) -> float:
    """The share of all ways to choose as many trains of them in which those lost at least as much as the trains `crowded`."""
    seen = sum(lost[number] for number in crowded)
    ways = list(combinations(range(len(lost)), len(crowded)))
    return sum(sum(lost[number] for number in way) >= seen for way in ways) / len(ways)
