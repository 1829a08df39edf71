"""OpenVPN's management interface over its unix socket (manual, Management Interface Protocol): cuts sessions.

The interface speaks lines. A command is answered with one (`SUCCESS:`, `ERROR:`); in between stand notices that begin with `>`. It serves
one program at a time. Each call has a deadline, and what comes is bounded; an answer that is none is `CannotRun`, never anything else.
"""

import os
import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vpnprobe.errors import CannotRun, UsageError

DEADLINE_S: Final = 2.0
MOST_BYTES: Final = 1 << 20
"""Of all answers, with the notices between them."""
_KILLED: Final = re.compile(r", (\d{1,9}) client\(s\) killed$")


class Management:
    """One connection to it, as a context manager. Raises CannotRun (NO_PEER)."""

    def __init__(self, path: Path, *, deadline_s: float = DEADLINE_S) -> None:
        self._path = path
        self._deadline = time.monotonic() + deadline_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._waiting = b""
        self._got = 0

    def __enter__(self) -> Self:
        try:
            self._socket.settimeout(self._left())
            _connect(self._socket, self._path)
            # Another program that has the interface shows in that no greeting comes.
            self._line(notices=True)
        except OSError as problem:
            self._socket.close()
            raise CannotRun(f"the management interface {self._path} cannot be reached: {problem}: is the server running?") from None
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):
            self._socket.sendall(b"quit\n")
        self._socket.close()

    def kill(self, name: str) -> int:
        """Cuts all sessions of a common name; how many there were."""
        answer = self._one(f"kill {quoted(name)}")
        if answer.startswith("SUCCESS:"):
            found = _KILLED.search(answer)
            return int(found[1]) if found else 1
        # "ERROR: common name 'NAME' not found": nobody of this name is connected.
        if "not found" in answer:
            return 0
        raise CannotRun(f"the server does not cut the sessions of {name}: {answer[:100]!a}")

    def _one(self, command: str) -> str:
        self._send(command)
        return self._line()

    def _send(self, command: str) -> None:
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(f"{command}\n".encode())
        except OSError as problem:
            raise CannotRun(f"the management interface {self._path} is gone: {problem}") from None

    def _line(self, *, notices: bool = False) -> str:
        """The next line; notices are passed over unless one is waited for."""
        while True:
            while b"\n" not in self._waiting:
                self._waiting += self._some()
            line, _, self._waiting = self._waiting.partition(b"\n")
            text = line.decode("utf-8", "replace").rstrip("\r")
            if notices or not text.startswith(">"):
                return text

    def _some(self) -> bytes:
        try:
            self._socket.settimeout(self._left())
            data = self._socket.recv(65536)
        except TimeoutError:
            raise CannotRun(f"the management interface {self._path} does not answer: another program may be using it") from None
        except OSError as problem:
            raise CannotRun(f"the management interface {self._path} is gone: {problem}") from None
        self._got += len(data)
        if not data or self._got > MOST_BYTES:
            raise CannotRun(f"the management interface {self._path} {'says too much' if data else 'was closed: only root may use it'}")
        return data

    def _left(self) -> float:
        return max(0.001, self._deadline - time.monotonic())


def _connect(sock: socket.socket, path: Path) -> None:
    """Though a path be longer than a socket's name may be (unix(7)): through its folder. Raises OSError."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def quoted(name: str) -> str:
    """As a word of a command. Raises UsageError for a name that would be a command of its own."""
    if any(ord(character) < 32 or character == "\x7f" for character in name):
        raise UsageError(f"{name!a} is no common name that a command can have")
    escaped = name.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def cut_off(path: Path, names: Sequence[str], *, deadline_s: float = DEADLINE_S) -> int:
    """Cuts all sessions of these common names at one server; how many there were. Raises CannotRun (NO_PEER)."""
    with Management(path, deadline_s=deadline_s) as management:
        return sum(management.kill(name) for name in names)
