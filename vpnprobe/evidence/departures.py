"""When a packet left, and within which block of `evidence.comparison` its moment was drawn."""

from collections.abc import Iterable
from typing import NamedTuple


class Departure(NamedTuple):
    """Of one packet."""

    at: float
    """Seconds on the client's clock, as far as the offset to it is known."""
    block: int | None = None
    """The number of its block; None: it left within none, or only its time tells."""


def departures(times: Iterable[float]) -> list[Departure]:
    """Of packets of which only the times are known."""
    return [Departure(at) for at in times]


def asked_for(lost: list[Departure], thresholds: int, *, by_time: bool) -> tuple[list[Departure], int]:
    """Of lost packets those that are evidence, and of how many limits that were possible they were chosen.

    Those that bear the number of a block were sent to ask about a limit that was suspected before: it was chosen of one. `by_time`: where
    there are none, when the others left tells beside which controls. Those of a session have their places in it, which are not random.
    """
    numbered = [one for one in lost if one.block is not None]
    return (numbered, 1) if numbered or not by_time else (lost, thresholds)
