"""How fast the other end answers now: a smoothed time and its variation, as TCP has them for its time-out (RFC 6298 section 2).

The least that was ever seen says nothing of an end that is busy now, nor of a queue that has filled since. An answer for which a
segment had to be sent again says nothing of either (Karn's algorithm, section 3). Whether the other end had to repeat its answer shows in
what it has counted by the next one over the same connection, so each time waits for that. How long one has waited in vain is the least
that an answer takes now (section 5.5).
"""

import math
from typing import Final

GAIN: Final = 1 / 8
VARIATION_GAIN: Final = 1 / 4
VARIATIONS: Final = 4


class AnswerTimes:
    """Of one control channel."""

    def __init__(self) -> None:
        self.smoothed_s = 0.0
        """Seconds; 0: nothing is known yet."""
        self._variation_s = 0.0
        self._waited_s = 0.0
        self._unconfirmed_s: dict[object, float] = {}
        """By connection: what was measured last."""
        self._repeated: dict[object, int] = {}
        self._taken_at = -math.inf

    @property
    def patience_s(self) -> float:
        """By when an answer has nearly always come, seconds; 0: nothing is known yet."""
        return max(self.smoothed_s + VARIATIONS * self._variation_s, self._waited_s)

    def heard(self, took_s: float, *, at: float, repeated: int, again: bool = False, over: object = None) -> None:
        """An answer came after so long. Of those that were under way together the first counts: a time is taken once in a round trip.

        `at`: now, on a clock that goes forward. `repeated`: segments that the other end has had to send again so far over the connection
        `over`. `again`: this end has sent one again meanwhile.
        """
        measured_s = self._unconfirmed_s.pop(over, None)
        if repeated != self._repeated.get(over, 0):
            self._waited_s = 0.0  # That explains it.
        elif measured_s is not None:
            self._smooth(measured_s)
        self._repeated[over] = repeated
        if not again and at - took_s >= self._taken_at:
            self._unconfirmed_s[over], self._taken_at = took_s, at

    def waiting(self, since_s: float) -> None:
        """No answer has come for so long, though nothing of the request had to be sent again."""
        self._waited_s = max(self._waited_s, since_s)
        self._unconfirmed_s.clear()  # What was measured before does not end the waiting.

    def _smooth(self, took_s: float) -> None:
        self._waited_s = 0.0
        if not self.smoothed_s:
            self.smoothed_s, self._variation_s = took_s, took_s / 2
            return
        self._variation_s += VARIATION_GAIN * (abs(self.smoothed_s - took_s) - self._variation_s)
        self.smoothed_s += GAIN * (took_s - self.smoothed_s)
