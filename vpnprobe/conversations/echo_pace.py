"""The pace of echo requests of which answers alone tell what passes: as fast as answers come, and slower where some are missing.

A burst of our own makes a slow line lose packets, servers answer some pings a second only, and lines fail for seconds: none of that is a
property of a protocol. So there are few requests on the way at first and more with each answer, as in TCP's slow start (RFC 5681 section
3.1); each that is missing halves their number and doubles the pause between two. Where nothing comes any more, requests go on for
HOPELESS_S, so that an outage is over by then. Sizes of which none was answered are asked for again between small ones.
"""

from dataclasses import dataclass, field
from typing import Final

from vpnprobe.conversations.tunnel_echo import FULL_TURNS, SPACING_S, EchoRun, Request

FIRST_WINDOW: Final = 4.0
"""Requests on the way at first."""
MOST_BYTES: Final = 4500
"""On the way at once: three large packets are less than what TCP begins with (RFC 6928)."""
LEAST_PATIENCE_S: Final = 0.3
"""An answer is missing no sooner, and not before twice the longest round trip."""
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.1
"""Longer than a second: a common limit of pings is one a second."""
PAUSE_KEPT: Final = 0.5
"""Share of the pause that each answer leaves."""
HOPELESS_S: Final = 8.0
HOPELESS_REQUESTS: Final = 16
"""So many without an answer, and for so long: the run is over."""
DOUBTFUL_REQUESTS: Final = 4
"""So many without an answer: small ones alone follow until one comes, at the end of a run too."""
MOST_OF_A_SIZE: Final = FULL_TURNS + 2
LONGEST_RUN_S: Final = 20.0


@dataclass(slots=True)
class PacedRun(EchoRun):
    """A run that follows its answers. It is shorter than `count` where LONGEST_RUN_S are over or nothing comes any more.

    Where answers came, and none at its end, it is longer.
    """

    round_trip_s: float = 0.0
    """The longest that was seen; 0: none was."""
    _window: float = FIRST_WINDOW
    _missed: bool = False
    """Whether any was missing: from then on the window grows by one a round trip."""
    _pause_s: float = SPACING_S
    _waiting: dict[int, float] = field(default_factory=dict)
    """Sequence numbers on the way, and when each left."""
    _began: float = 0.0
    _heard: float = 0.0
    """When the last answer came."""
    _newest: int = -1
    """The highest sequence number that was answered; -1: none was."""
    _last: float = 0.0
    """When the last request left."""

    @property
    def patience_s(self) -> float:
        """How long an answer is waited for."""
        return max(LEAST_PATIENCE_S, 2 * self.round_trip_s)

    @property
    def over(self) -> bool:
        """Whether nothing more is sent."""
        return self.all_sent and self.due is None

    @property
    def _unheard(self) -> int:
        """Requests behind the last that was answered, those on the way aside."""
        return sum(1 for sequence in range(self._newest + 1, len(self.requests)) if sequence not in self._waiting)

    def begin(self, now: float) -> None:
        EchoRun.begin(self, now)
        self._began = self._heard = now

    def next(self, now: float) -> tuple[int, int] | None:
        if self.due is None or now < self.due:
            return None
        self._miss(now)
        if self._hopeless(now):
            self.count, self.due = len(self.requests), None
        elif not self.all_sent or (self._newest >= 0 and self._unheard >= DOUBTFUL_REQUESTS):
            self.due = self._room_at()
            if now >= self.due:
                return self._send(now)
        else:
            self._rest()
        return None

    def answered(self, sequence: int, now: float) -> bool:
        request = self.requests.get(sequence)
        if request is not None and request.answered_at is None:
            self.round_trip_s = max(self.round_trip_s, now - request.sent_at)
            self._waiting.pop(sequence, None)
            self._window += 1 / self._window if self._missed else 1
            self._pause_s = max(SPACING_S, PAUSE_KEPT * self._pause_s)
            self._heard, self._newest = now, max(self._newest, sequence)
            if not self.all_sent:
                self.due = max(now, self._room_at())
            else:
                self._rest()
        return EchoRun.answered(self, sequence, now)

    def _send(self, now: float) -> tuple[int, int]:
        number = len(self.requests)
        size = self._size(number)
        self.requests[number] = Request(size, now)
        self.count = max(self.count, len(self.requests))
        self._waiting[number] = self._last = now
        if self.all_sent:
            self._rest()
        else:
            self.due = self._room_at()
        return number, size

    def _hopeless(self, now: float) -> bool:
        nothing_comes = self._unheard >= HOPELESS_REQUESTS and now - self._heard >= HOPELESS_S
        return nothing_comes or now - self._began >= LONGEST_RUN_S

    def _rest(self) -> None:
        """All is sent: what is still on the way is waited for."""
        self.due = min(self._waiting.values()) + self.patience_s if self._waiting else None

    def _miss(self, now: float) -> None:
        """Gives up what is on the way for too long."""
        for sequence in [one for one, left in self._waiting.items() if now >= left + self.patience_s]:
            del self._waiting[sequence]
            self._window, self._missed = max(1.0, self._window / 2), True
            self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))

    def _room_at(self) -> float:
        """When there is room for another."""
        if len(self._waiting) < int(self._window) and sum(self.requests[one].outer_bytes for one in self._waiting) < MOST_BYTES:
            return self._last + self._pause_s if self.requests else self._began
        return max(self._last + SPACING_S, min(self._waiting.values()) + self.patience_s)

    def _size(self, number: int) -> int:
        """The sizes in turn, each turn beginning with another: who answers every second one must not seem to mind sizes."""
        if self._unheard >= DOUBTFUL_REQUESTS:
            return self.sizes[0]
        many = len(self.sizes)
        turn, place = divmod(number, many)
        if turn < FULL_TURNS:
            return self.sizes[(place + turn) % many]
        lacking = self._lacking() if number % 2 else []
        return lacking[0] if lacking else self.sizes[0]

    def _lacking(self) -> list[int]:
        """Sizes of which none was answered and none is on the way, those first that were asked for least; each so often and no more."""
        asked = dict.fromkeys(self.sizes, 0)
        known = {self.requests[sequence].outer_bytes for sequence in self._waiting}
        for request in self.requests.values():
            asked[request.outer_bytes] += 1
            if request.answered_at is not None:
                known.add(request.outer_bytes)
        return sorted((size for size, times in asked.items() if size not in known and times < MOST_OF_A_SIZE), key=lambda size: asked[size])
