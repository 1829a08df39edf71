"""What a profile says and is not carried out, as lines on the terminal: a bounded number of them."""

from collections.abc import Callable, Sequence
from typing import Final

MOST_LINES: Final = 20


def tell_some(lines: Sequence[str], tell: Callable[[str], None]) -> None:
    """The first MOST_LINES, and how many more there are."""
    for line in lines[:MOST_LINES]:
        tell(line)
    if len(lines) > MOST_LINES:
        tell(f"and {len(lines) - MOST_LINES} more like these")
