"""Sender and receiver in a printed line: `address.port > address.port:`, with `->` or an arrow as other programs have it.

Found from the arrow outwards and within bounds, so that no line takes longer than its length.
"""

import re
from typing import Final, NamedTuple

ADDRESS_LIMIT: Final = 255
"""Most characters of an address or a name with its port."""
ARROWS_LIMIT: Final = 8
"""Most arrows of one line that are looked at."""

_ARROW: Final = re.compile(r"-{0,2}>|\u2192")
_LEFT: Final = re.compile(r"[\w.:%/-]{1,255}$")
_RIGHT: Final = re.compile(r"\s{0,16}([\w.:%/-]{0,254}[\w%])(:?)(?=[\s,]|$)")
_MAC: Final = re.compile(r"(?:[0-9a-fA-F]{1,2}[:-]){5}[0-9a-fA-F]{1,2}$")


class Pair(NamedTuple):
    """Two ends as printed, and where that stands in the line."""

    source: str
    destination: str
    begin: int
    end: int
    """Behind the colon, or behind the receiver where there is none."""
    colon: bool


def pair_in(line: str, begin: int = 0) -> Pair | None:
    """The first two ends in a line from `begin` on that are no hardware addresses; None: there are none."""
    for number, arrow in enumerate(_ARROW.finditer(line, begin)):
        if number >= ARROWS_LIMIT:
            return None
        left_end = arrow.start()
        while left_end > begin and line[left_end - 1] == " ":
            left_end -= 1
        left = _LEFT.search(line, max(begin, left_end - ADDRESS_LIMIT), left_end)
        right = _RIGHT.match(line, arrow.end())
        if left is None or right is None or _MAC.match(left[0]) or _MAC.match(right[1]):
            continue
        if line[max(0, left.start() - 1) : left.start()] in ("@", "<"):
            continue  # Somebody's mail address.
        if _looks_like_address(left[0]) or _looks_like_address(right[1]):
            return Pair(left[0], right[1], left.start(), right.end(), bool(right[2]))
    return None


def _looks_like_address(text: str) -> bool:
    """A dot or a colon between letters or digits: at one end at least; the other may be a short name."""
    return any(mark in text[1:-1] for mark in ".:") and not text.startswith("/")
