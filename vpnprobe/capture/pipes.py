"""The bytes of an input as they come: of a file, of standard input, of a pipe that somebody else fills, of a device.

A pipe has a time limit: one from which nothing comes is told after `SILENCE_S`, and one that falls silent midway ends after `STALL_S`, so
that what came before can be used. A terminal has none: somebody types or pastes there.
"""

import os
import select
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

from vpnprobe.errors import DecodeError, ExitStatus, UsageError

SILENCE_S: Final = 5.0
"""How long a pipe may stay silent before its first byte, seconds."""
STALL_S: Final = 10.0
"""How long it may stay silent later, seconds."""
STANDARD_INPUT: Final = Path("/dev/stdin")
"""What `-` stands for."""
_STANDARD_INPUTS: Final = frozenset(map(Path, ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")))


def unreadable(path: Path | str, problem: str) -> UsageError:
    """The error of an input that is not what it should be: one line, status UNREADABLE."""
    return UsageError(f"{path}: {problem}", status=ExitStatus.UNREADABLE)


def input_path(name: str) -> Path:
    """The input that somebody named: `-` is standard input, and `./-` a file of that name."""
    return STANDARD_INPUT if name == "-" else Path(name)


def is_standard_input(path: Path) -> bool:
    """Whether a path names this process's standard input."""
    return path in _STANDARD_INPUTS


def require_read_once(paths: Collection[Path]) -> None:
    """Raises UsageError where standard input or a pipe is named twice: what was read of it is gone."""
    seen: set[object] = set()
    for path in paths:
        identity = _pipe(path)
        if identity is not None and identity in seen:
            raise UsageError(f"{path} is named twice, and what comes through a pipe can be read only once: write it to a file first")
        seen.add(identity)


def _pipe(path: Path) -> object:
    """What tells one input that can be read only once from another; None: it can be read again, or is not there."""
    standard = STANDARD_INPUT if is_standard_input(path) else None
    try:
        found = os.fstat(0) if standard else os.stat(path)
    except OSError:
        return standard
    return standard if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) else (found.st_dev, found.st_ino)


class Pipe:
    """An opened input. `read` waits no longer than the limits allow."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, and UsageError (UNREADABLE) for what no bytes can be read from."""
        self._path = path
        self._descriptor = _opened(path)
        self.is_file = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        """Whether it is a plain file, whose size is bounded and which never makes anybody wait."""
        self._patient = self.is_file or os.isatty(self._descriptor)
        self._taken = 0

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self, count: int, /) -> bytes:
        """What is there, at most `count` bytes; empty at the end.

        Raises DecodeError where it falls silent, fails or is interrupted, and UsageError (UNREADABLE) where nothing came at all.
        """
        try:
            if not self._patient:
                self._wait()
            data = os.read(self._descriptor, count)
        except KeyboardInterrupt:
            if self.is_file or not self._taken:
                raise
            # Whoever ends a capture that is under way wants to know what it holds.
            raise DecodeError("input", self._taken, "reading was interrupted") from None
        except OSError as error:
            raise DecodeError("input", self._taken, (error.strerror or str(error)).lower()) from error
        self._taken += len(data)
        return data

    def _wait(self) -> None:
        limit_s = STALL_S if self._taken else SILENCE_S
        if select.select([self._descriptor], [], [], limit_s)[0]:
            return
        if not self._taken:
            raise unreadable(self._path, f"gave nothing in {limit_s:.3g} s: start what writes to it first, or name a file")
        raise DecodeError("input", self._taken, f"nothing more came for {limit_s:.3g} s")


def _opened(path: Path) -> int:
    if is_standard_input(path):
        # Opened by its name, a socket could not be read, and what is a file would be read from its beginning.
        return os.dup(0)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise unreadable(path, "is a folder")
    if stat.S_ISSOCK(mode):
        raise unreadable(path, "is a socket, not a capture")
    # A pipe that nobody writes to would block the opening itself.
    descriptor = os.open(path, os.O_RDONLY | (os.O_NONBLOCK if stat.S_ISFIFO(mode) else 0))
    os.set_blocking(descriptor, True)
    return descriptor
