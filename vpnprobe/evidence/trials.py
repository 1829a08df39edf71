"""How many further trials it takes where there is nothing to compare them with, and how they are spread. Pure."""

from collections.abc import Sequence
from typing import Final

from vpnprobe.evidence.statistics import ERROR_BOUND, LEAST_TRIALS, MOST_TRIALS, Background

SPREAD_S: Final = 1.0
"""Over how long the packets of a kind that never comes are spread at the least."""
SURE_TRIALS: Final = 8
"""Fresh packets before silence is called proven, however good the path: captures without any background demand as many."""
MARGIN: Final = 10
"""Trials are asked for until the bound is so many times better than need be: the path's loss may turn out to be more than is known yet."""
AT_LEAST_MORE: Final = 4
"""Packets that follow the first ones over SPREAD_S where none of those came, however few would do."""


def missing(loss: Background, lost_at: Sequence[float], *, wanted: float = ERROR_BOUND) -> int:
    """How many more trials separate blocked from lossy where nothing passes that they could be compared with; 0: enough, or no use.

    `lost_at`: when those left that were lost. However few would do, they are spread over SPREAD_S: an outage of a moment is no filter.
    """
    sent = len(lost_at)
    if not loss.measured and sent >= LEAST_TRIALS:
        return 0
    more = max(0, min(max(loss.trials_needed(wanted / MARGIN), SURE_TRIALS), MOST_TRIALS) - sent)
    if more or not sent or sent >= MOST_TRIALS:
        return more
    return AT_LEAST_MORE if max(lost_at) - min(lost_at) < SPREAD_S else 0


def spaced(more: int, least_s: float) -> float:
    """Seconds between `more` further trials, so that they are spread over SPREAD_S."""
    return max(least_s, SPREAD_S / (more - 0.5))
