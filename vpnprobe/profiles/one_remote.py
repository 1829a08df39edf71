"""A profile for the installed openvpn, with one of its remotes alone: written anew from what was read, and from nothing else.

OpenVPN's own reader is another one than ours, and what the two read otherwise would be a way around what is left out. So each option that
is kept is written from its words, quoted for OpenVPN's lexer, and each block from what is in it (`blocks`); a profile whose blocks OpenVPN
would read otherwise (it reads their lines in pieces of 255 bytes) is refused. An option stands in the line that it has in the profile.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from vpnprobe.profiles.blocks import OWN_CONTENT, READ, material, own_content
from vpnprobe.profiles.errors import Place
from vpnprobe.profiles.lexing import LONGEST_LINE_BYTES, Statement, quoted, statements
from vpnprobe.profiles.model import Profile, Remote
from vpnprobe.profiles.naming import option_shown
from vpnprobe.profiles.options import Options, is_placeholder

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
LOGIN: Final = "auth-user-pass"
"""Is written without a file: name and password are given when openvpn asks for them."""
EXIT_NOTIFY: Final = "explicit-exit-notify"
"""Is never written: how often the server is told of the end is for who runs openvpn to say, before the profile."""


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
    """Other remotes are not among them, nor is what is in their blocks."""


def with_one_remote(profile: Profile, remote: Remote, *, keeps: Callable[[Statement], bool]) -> OneRemote:
    """The profile with this remote (in its `<connection>` block where it has one), and with the options that `keeps` says yes to.

    Certificates, keys and the login are written whatever that says. Raises ProfileError.
    """
    writing = _Writing(profile, keeps)
    for statement in profile.statements:
        _check_lines(statement)
        if statement.option == "connection" and statement.content is not None:
            writing.connection(statement, remote)
        elif statement.option == "remote":
            writing.remote(statement, remote)
        else:
            writing.option(statement)
    writing.add(*material(profile, remote))
    return writing.finished()


class _Writing:
    def __init__(self, profile: Profile, keeps: Callable[[Statement], bool]) -> None:
        self._keeps = keeps
        self._file = profile.file
        self._folder = Path(profile.file).parent
        self._options = Options(profile.statements)
        self._lines: list[str] = []
        self._later: list[str] = []
        self._left_out: list[LeftOut] = []

    def add(self, *lines: str) -> None:
        """Behind all that has a line of its own."""
        self._later.extend(lines)

    def finished(self) -> OneRemote:
        lines = (*self._lines, *self._later)
        for number, line in enumerate(lines, start=1):
            if len(line.encode("utf-8", "surrogateescape")) > LONGEST_LINE_BYTES:
                raise Place(self._file, number).wrong("the line is too long once it is written with quotes", "shorten it")
        return OneRemote("".join(f"{line}\n" for line in lines), tuple(self._left_out))

    def connection(self, block: Statement, remote: Remote) -> None:
        content = block.content or ""
        if not block.line < remote.line <= block.line + 1 + content.count("\n"):
            return
        self._put(block.line, "<connection>")
        for statement in statements(content, file=block.place.file, first_line=block.line + 1):
            _check_lines(statement)
            if statement.option == "remote":
                self.remote(statement, remote)
            else:
                self.option(statement)
        self._lines.append("</connection>")

    def remote(self, statement: Statement, remote: Remote) -> None:
        if statement.line == remote.line:
            self._write(statement)

    def option(self, statement: Statement) -> None:
        option = statement.option
        if option in READ or option == EXIT_NOTIFY or is_placeholder(statement):
            return
        if option == LOGIN:
            self._put(statement.line, LOGIN)
        elif option in OWN_CONTENT and (lines := own_content(statement, self._options, self._folder)) is not None:
            self.add(*lines)
        elif option not in OWN_CONTENT and statement.content is None and self._keeps(statement):
            self._write(statement)
        else:
            self._left_out.append(LeftOut(statement.line, option_shown(option)))

    def _write(self, statement: Statement) -> None:
        words = (statement.option, *statement.arguments)
        if any(map(_CONTROL.search, words)):
            raise statement.place.wrong(f"{statement.option} has a control character in it", "take it out")
        opt = "setenv opt " if statement.optional else ""
        self._put(statement.line, opt + " ".join(map(quoted, words)))

    def _put(self, line: int, text: str) -> None:
        self._lines.extend([""] * (line - 1 - len(self._lines)))
        self._lines.append(text)


def _check_lines(statement: Statement) -> None:
    if statement.content is None:
        return
    for number, line in enumerate(statement.content.split("\n"), start=1):
        length = len(line.encode("utf-8", "replace"))
        if length > LONGEST_LINE_BYTES:
            place = Place(statement.place.file, statement.line + number)
            problem = f"the line is {length} bytes long, and openvpn reads lines of a block in pieces of {LONGEST_LINE_BYTES + 1} bytes"
            raise place.wrong(problem, "break it (PEM has 64 characters in a line), or leave --with-openvpn out")
