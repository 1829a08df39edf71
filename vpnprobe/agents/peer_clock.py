"""How far the other end's record is ahead of ours, as the fastest answer over the control channel shows it.

An answer was given between the asking and its coming (NTP, RFC 5905 section 8): half of what it took is how far that may be out.
"""

from vpnprobe.agents.records import LATEST_S


class PeerClock:
    """Of one control channel."""

    def __init__(self) -> None:
        self._known: tuple[float, float] | None = None

    def told(self, asked: float, came: float, at: object) -> None:
        """An answer said that it was `at` by the other end's clock; anything but a time says nothing. `asked`, `came`: by ours, seconds."""
        if isinstance(at, bool) or not isinstance(at, int | float) or not abs(at) < LATEST_S:
            return
        uncertainty_s = (came - asked) / 2
        if self._known is None or uncertainty_s < self._known[1]:
            self._known = (float(at) - (asked + came) / 2, uncertainty_s)

    def since(self, began: float) -> tuple[float, float] | None:
        """How far the times there are ahead of those since `began` here, and how far that may be out, seconds; None: not known."""
        return None if self._known is None else (self._known[0] + began, self._known[1])
