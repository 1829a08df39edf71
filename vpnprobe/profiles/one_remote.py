"""A profile's text for another program, with one of its remotes alone and without some of its options.

What is taken out leaves empty lines, so that a line has the number that it has in the profile. Nothing else of the text is changed.
"""

from collections.abc import Set
from typing import NamedTuple

from vpnprobe.profiles.lexing import Statement, statements
from vpnprobe.profiles.naming import option_shown


class LeftOut(NamedTuple):
    """An option that was taken out."""

    line: int
    """Counted from 1."""
    option: str
    """As it may be shown."""


class OneRemote(NamedTuple):
    """What is left of a profile."""

    text: str
    left_out: tuple[LeftOut, ...]
    """Other remotes are not among them."""


def with_one_remote(text: str, *, file: str, line: int, without: Set[str]) -> OneRemote:
    """The text with the remote that stands in this line (inside of its `<connection>` block where it has one), without these options.

    Raises ProfileError.
    """
    lines = text.split("\n")
    left_out: list[LeftOut] = []
    for statement in statements(text, file=file):
        end = _end_of(statement, lines)
        if statement.option in without:
            left_out.append(LeftOut(statement.line, option_shown(statement.option)))
        elif not _is_other_remote(statement, end, line):
            continue
        lines[statement.line - 1 : end] = [""] * (end - statement.line + 1)
    return OneRemote("\n".join(lines), tuple(left_out))


def _is_other_remote(statement: Statement, end: int, line: int) -> bool:
    if statement.option == "remote":
        return statement.line != line
    return statement.option == "connection" and not statement.line < line <= end


def _end_of(statement: Statement, lines: list[str]) -> int:
    """The number of the statement's last line: of a block the one that closes it."""
    if statement.content is None:
        return statement.line
    closing = f"</{statement.option}>"
    return next(number for number in range(statement.line + 1, len(lines) + 1) if lines[number - 1].strip().startswith(closing))
