"""Which packet numbers of a protected stream were seen: each is accepted once, and none that is too old to tell (RFC 6479)."""

from typing import Final

from vpnprobe.errors import DecodeError

WINDOW: Final = 64
"""Numbers below the highest one that may still come, late but once."""


class ReplayWindow:
    """Numbers seen, in as many bits as the window is wide."""

    def __init__(self, *, first: int = 1, field: str = "packet ID", width: int = WINDOW) -> None:
        """`first`: the least number that the protocol uses. `field`: what the number is called in it."""
        self.highest = first - 1
        self.seen = 0
        """Bit n: `highest` - n was seen."""
        self._first = first
        self._field = field
        self._width = width

    def accept(self, number: int, field_offset: int) -> None:
        """Notes a number; raises DecodeError where it is below the first, was seen before, or is too old to tell."""
        behind = self.highest - number
        if behind < 0:
            self.seen = (self.seen << min(-behind, self._width) | 1) & (1 << self._width) - 1
            self.highest = number
            return
        if number < self._first or behind >= self._width or self.seen >> behind & 1:
            problem = f"{number} was seen before, or is {self._width} or more behind {self.highest}"
            raise DecodeError(self._field, field_offset, problem)
        self.seen |= 1 << behind
