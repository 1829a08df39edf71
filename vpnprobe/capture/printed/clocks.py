"""Time stamps of printed packets in all forms in which they are printed, and the times that they come to.

tcpdump prints the time of day, with `-tt` Unix time, with `-ttt` the time since the packet before, with `-tttt` the date too, and with
`-ttttt` the time since the first packet; tshark, FortiGate and others print seconds since the first packet. Nothing tells time since the
packet before from time since the first one but how it goes on: it begins at zero and goes back again and again.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

DAY_S: Final = 86_400.0
WITHIN_A_TRACE_S: Final = 1.0
"""Times of one trace go back by less than this."""
DELTAS_LEAST: Final = 0.2
"""Of the times of a trace that begins at zero, so many go back where each is the time since the packet before."""
UNDATED: Final = 366 * DAY_S
"""Unix times below this are none."""

STAMP: Final = (
    r"(?:(?:(?P<date>\d{4}[-/]\d\d[-/]\d\d)[ T])?(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,12}))?Z?"
    r"|(?P<unix>\d{9,11}\.\d{1,9})|(?P<seconds>\d{1,8}\.\d{1,9})|(?P<micro>\d{6}))"
)
"""A pattern with the groups that `stamp_of` reads."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A time as printed."""

    seconds: float
    """Unix time where `dated`, of a time of day since midnight, else since the trace's beginning or since the packet before."""
    dated: bool
    of_day: bool
    """Whether it is printed as hours, minutes and seconds without a date."""


def stamp_of(found: re.Match[str]) -> Stamp:
    """The time that a match of a pattern with `STAMP` in it has."""
    if found["unix"]:
        return Stamp(float(found["unix"]), dated=True, of_day=False)
    if found["seconds"]:
        return Stamp(float(found["seconds"]), dated=False, of_day=False)
    if found["micro"]:
        return Stamp(int(found["micro"]) / 1e6, dated=False, of_day=False)
    seconds = int(found["hour"]) * 3600 + int(found["minute"]) * 60 + int(found["second"]) + float(f"0.{found['fraction'] or 0}")
    if found["date"]:
        return Stamp(seconds + _midnight(found["date"]), dated=True, of_day=False)
    return Stamp(seconds, dated=False, of_day=True)


def _midnight(date: str) -> float:
    """Unix time; 0 for a date that does not exist. The zone of local times is not printed: they are taken as UTC."""
    try:
        return datetime.fromisoformat(date.replace("/", "-")).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def are_deltas(stamps: list[Stamp]) -> bool:
    """Whether the times of a trace are each the time since the packet before."""
    if len(stamps) < 3 or stamps[0].seconds != 0 or stamps[0].dated:
        return False
    back = sum(later.seconds < earlier.seconds for earlier, later in pairwise(stamps))
    return back >= max(1, DELTAS_LEAST * (len(stamps) - 1)) and max(stamp.seconds for stamp in stamps) < DAY_S / 2


class Clock:
    """The times of the packets of a text, one after another."""

    def __init__(self) -> None:
        self._days = 0
        self._last: float | None = None

    def at(self, stamp: Stamp | None) -> tuple[float, bool]:
        """Seconds, and whether a trace begins there.

        A time of day that falls far back is past midnight, one that falls back a little begins another trace. A packet without a time has
        that of the one before.
        """
        if stamp is None:
            return self._last or 0.0, False
        at = stamp.seconds + (self._days * DAY_S if stamp.of_day else 0.0)
        if stamp.of_day and self._last is not None and at < self._last - DAY_S / 2:
            self._days += 1
            at += DAY_S
        begins = self._last is not None and at < self._last - WITHIN_A_TRACE_S
        self._last = at
        return at, begins
