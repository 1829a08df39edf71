"""Echo requests in trains, some alone and some among many others, that tell a limit on rate from loss (`vpnprobe.evidence.rates`).

Each train asks about the same few packets at the same distance from each other. In company others leave between them, as fast as a limit is
looked for. Which trains have company is drawn by the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vpnprobe.conversations.tunnel_echo import EchoRun, Request

SPACING_S: Final = 0.002
"""Between two packets in company: 500 a second."""
PLACES: Final = (7, 2, 9, 4, 0, 5, 8, 1, 6, 3)
"""Of each ten in company the one that is asked about: at no even distance, since a limit may let through every second one, or fifth."""
TEN: Final = len(PLACES)
TRAIN_S: Final = TEN * TEN * SPACING_S
PAUSE_S: Final = 0.25
"""Between two trains: what a limit saves up in so long is small beside a train."""


class Place(NamedTuple):
    """Of one request."""

    at: float
    """Seconds after the run began."""
    train: int
    asked: bool


def timetable(company: Sequence[bool]) -> list[Place]:
    """When each request leaves. `company`: of each train, whether it has any."""
    places = []
    for train, crowded in enumerate(company):
        begins = train * (TRAIN_S + PAUSE_S)
        for number in range(TEN * TEN):
            asked = PLACES[number // TEN] == number % TEN
            if asked or crowded:
                places.append(Place(begins + number * SPACING_S, train, asked))
    return places


@dataclass(slots=True)
class TrainRun(EchoRun):
    """A run after a timetable, all of the first size."""

    places: Sequence[Place] = ()
    _began: float = field(default=0.0, init=False)

    def begin(self, now: float) -> None:
        self._began, self.count = now, len(self.places)
        self.due = now

    def next(self, now: float) -> tuple[int, int] | None:
        if self.due is None or now < self.due:
            return None
        number, size = len(self.requests), self.sizes[0]
        self.requests[number] = Request(size, now)
        self.due = self._began + self.places[number + 1].at if not self.all_sent else None
        return number, size
