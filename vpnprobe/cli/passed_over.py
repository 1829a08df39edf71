"""What a profile says and is not carried out, as lines on the terminal: a bounded number of them, and no key among them."""

from collections.abc import Callable, Sequence
from typing import Final

MOST_LINES: Final = 20
LONGEST_NAME: Final = 40
"""Characters; a longer word is no option, and may be a line of a key whose block is broken."""


def tell_some(lines: Sequence[str], tell: Callable[[str], None]) -> None:
    """The first MOST_LINES, and how many more there are."""
    for line in lines[:MOST_LINES]:
        tell(line)
    if len(lines) > MOST_LINES:
        tell(f"and {len(lines) - MOST_LINES} more like these")


def name_shown(name: str) -> str:
    """The name of an option that is not known; of a word that is none only its length."""
    return name if len(name) <= LONGEST_NAME else f"a word of {len(name)} characters"
