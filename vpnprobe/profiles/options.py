"""Looking options up: each checked for its number of arguments, the last of several counting, as OpenVPN has it.

Where a file is named, `[inline]` (of OpenVPN 2.1 and of some clients' exports) only says that a block follows, and is not looked for as a
file where that block is there.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from vpnprobe.profiles.known import ARGUMENTS, KNOWN
from vpnprobe.profiles.lexing import INLINE, Statement

PLACEHOLDERS = frozenset({"[inline]", "[[inline]]"})


def is_placeholder(statement: Statement) -> bool:
    """Whether it only says that a block brings the content."""
    return statement.option in INLINE and bool(statement.arguments) and statement.arguments[0].lower() in PLACEHOLDERS


def check_arguments(statement: Statement) -> None:
    """Raises ProfileError where an interpreted option has too few or too many arguments, or is a block that it cannot be."""
    option, count = statement.option, len(statement.arguments)
    if statement.content is not None:
        if option in KNOWN and option not in INLINE:
            raise statement.place.wrong(f"{option} cannot be a block", f"write it as one line: {option} ...")
        return
    if option not in ARGUMENTS:
        return
    fewest, most = ARGUMENTS[option]
    if count < fewest:
        raise statement.place.wrong(
            f"{option} has {count} of at least {fewest} argument{'s' if fewest > 1 else ''}", "complete the line, or take it out"
        )
    if count > most:
        raise statement.place.wrong(
            f"{option} has {count} arguments, and {most or 'none'} at most", "put quotes around an argument that has blanks in it"
        )


def number_in(text: str, low: int, high: int) -> int | None:
    """A plain decimal number from `low` to `high`; None: it is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    value = int(text)
    return value if low <= value <= high else None


class Options:
    """The statements of a profile (outside of `<connection>` blocks) by option."""

    def __init__(self, statements: Iterable[Statement]) -> None:
        self._by_option: dict[str, list[Statement]] = {}
        for statement in statements:
            self._by_option.setdefault(statement.option, []).append(statement)

    def __contains__(self, option: str) -> bool:
        return option in self._by_option

    def all(self, option: str) -> list[Statement]:
        """In the profile's order; empty: it is not there."""
        return self._by_option.get(option, [])

    def last(self, *options: str) -> Statement | None:
        """The last of these that brings something itself; None: there is none."""
        found = [statement for option in options for statement in self.all(option)]
        return max(found, key=lambda one: (not is_placeholder(one), one.line), default=None)

    def word(self, option: str, default: str = "") -> str:
        """The first argument of the last one; `default` where there is none."""
        statement = self.last(option)
        return statement.arguments[0] if statement and statement.arguments else default

    def number(self, option: str, *, low: int = 0, high: int = (1 << 31) - 1) -> int | None:
        """The first argument as a number; None: the option is not there, or has no argument. Raises ProfileError."""
        statement = self.last(option)
        if statement is None or not statement.arguments:
            return None
        value = number_in(statement.arguments[0], low, high)
        if value is None:
            raise statement.place.wrong(f"{option} {statement.arguments[0]!r} is no number from {low} to {high}", "write one that is")
        return value

    def one_of(self, option: str, choices: Iterable[str], default: str = "") -> str:
        """The first argument, which must be one of `choices`; `default`: it is not there. Raises ProfileError."""
        statement = self.last(option)
        word, choices = self.word(option, default), list(choices)
        if statement is None or word == default or word in choices:
            return word
        close = get_close_matches(word, choices, n=1)
        raise statement.place.wrong(
            f"{option} {word!r} is none of {', '.join(filter(None, choices))}",
            f"write {option} {close[0]}" if close else "write one of them",
        )
