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
