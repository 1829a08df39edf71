"""Bounded reading of a profile, and of the files that it names, relative to its folder.

Only regular files of at most 4 MiB are read, and only when a profile or its reader names them. A name in the manner of Windows
(`keys\\ca.crt`) is looked for as `keys/ca.crt` where there is no file of that very name.
"""

import codecs
import os
import stat
from pathlib import Path, PureWindowsPath
from typing import Final

from vpnprobe.profiles.errors import Place, ProfileError
from vpnprobe.profiles.lexing import Statement

LARGEST_BYTES: Final = 4 << 20


def read_file(path: Path) -> bytes:
    """All bytes of a regular file. Raises OSError whose `strerror` says what is wrong, for what is no such file or too large too."""
    # Opening a FIFO waits for its writer: not with O_NONBLOCK.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind):
            raise OSError(0, "is a directory" if stat.S_ISDIR(kind) else "is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(LARGEST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > LARGEST_BYTES:
        raise OSError(0, f"is larger than {LARGEST_BYTES >> 20} MiB")
    return data


def read_text(path: Path) -> str:
    """The text of a profile; bytes that are no UTF-8 stand in it as lone surrogates. Raises ProfileError."""
    try:
        data = read_file(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is no name that a file can have"
        raise ProfileError(str(path), 0, f"cannot be read: {reason}", "name a readable profile") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ProfileError(str(path), 0, "is UTF-16, which VPN programs do not read", "save it as UTF-8")
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def check_text(text: str, file: str) -> None:
    """Raises ProfileError for what is no text."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ProfileError(file, line, "has a NUL byte: this is no text", "give the profile itself, saved as plain text")


def read_named(name: str, option: str, *, folder: Path, place: Place) -> bytes:
    """The file that an option names. Raises ProfileError."""
    try:
        return read_file(_path(name, folder))
    except (OSError, ValueError) as error:
        # ValueError: a name that no file can have, such as half a character.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is no name that a file can have"
        raise place.wrong(f"{option} names the file {name!r}: {reason}", _mend(name, option, folder)) from error


def is_below(name: str, folder: Path) -> bool:
    """Whether the file of that name, links followed, lies below the profile's folder."""
    try:
        return _path(name, folder).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def content_of(statement: Statement, folder: Path) -> bytes:
    """What an option brings: its block's content, or the file that it names. Raises ProfileError."""
    if statement.content is not None:
        return _bytes_of(statement.content)
    return read_named(statement.arguments[0], statement.option, folder=folder, place=statement.place)


def _bytes_of(text: str) -> bytes:
    """The bytes that were read: what was no UTF-8 stands in the text as lone surrogates."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _path(name: str, folder: Path) -> Path:
    path = folder / name
    if "\\" in name and not path.exists():
        return folder / name.replace("\\", "/")
    return path


def _mend(name: str, option: str, folder: Path) -> str:
    if PureWindowsPath(name).drive:
        return f"copy it into {folder} and name it without its Windows folder, or put its content between <{option}> and </{option}>"
    return f"make it readable below {folder}, or put its content between <{option}> and </{option}>"
