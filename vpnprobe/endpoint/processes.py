"""Processes of this machine by their program's name, and files as they see them (Linux, proc(5)).

A process is looked at through a descriptor of its folder: what comes behind it under the same number is never taken for it. Only regular
files are opened, since opening a device can do something. What this user may not see is as if it were not there.
"""

import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST_PROCESSES: Final = 1 << 17
MOST_ARGUMENT_BYTES: Final = 1 << 16
NOT_FILES: Final = ("/dev/", "/proc/")
"""Names below these mean something else to each process (`/dev/stdin`)."""


@dataclass(frozen=True, slots=True)
class Process:
    """One that was there when it was looked at. Its files can be found until the next one of `processes` is taken."""

    pid: int
    parent: int
    """0: none, or it does not show."""
    arguments: tuple[str, ...]
    """At least one, the program as it was called."""
    folder: Path
    """Its folder in /proc."""

    @property
    def program(self) -> str:
        return os.path.basename(self.arguments[0])

    @property
    def shows_its_folder(self) -> bool:
        """Whether its working directory may be looked into: root may, others only into that of their own processes."""
        return os.path.isdir(self.folder / "cwd")

    def file(self, name: str, folders: Iterable[str] = ()) -> Path | None:
        """A regular file that it names, where it can be reached from here; None: there is none, or it may not be reached.

        A relative name is looked for in its working directory, then in `folders`, which are absolute.
        """
        return next((path for path in self._places(name, folders) if _is_file(path)), None)

    def _places(self, name: str, folders: Iterable[str]) -> Iterator[Path]:
        if "\0" in name or name.startswith(NOT_FILES):
            return
        if name.startswith("/"):
            yield from self._absolute(name)
            return
        yield self.folder / "cwd" / name
        for folder in folders:
            yield from self._absolute(os.path.join(folder, name))

    def _absolute(self, name: str) -> Iterator[Path]:
        """Its root may be another (a container's, a chroot's)."""
        if os.path.isdir(root := self.folder / "root"):
            yield root / name.lstrip("/")
            if not self._shares_mounts():
                return
        yield Path(name)

    def _shares_mounts(self) -> bool:
        """Then what it named before it changed its root is found from ours."""
        try:
            return os.readlink(self.folder / "ns/mnt") == os.readlink("/proc/self/ns/mnt")
        except OSError:
            return False


def processes(proc: Path, programs: Collection[str], deadline: float) -> Iterator[Process]:
    """Those whose program has one of these names, by number. Raises TimeoutError when it is `deadline` (`time.monotonic`)."""
    for pid in _numbers(proc):
        if time.monotonic() > deadline:
            raise TimeoutError
        with _held(proc / str(pid)) as folder:
            process = None if folder is None else _read(pid, folder)
            if process is not None and process.program in programs:
                yield process


def hides_others(proc: Path) -> bool:
    """Whether processes of other users do not show to this one (`hidepid`)."""
    return not read_file(proc / "1/cmdline", MOST_ARGUMENT_BYTES)


def read_file(path: Path, most: int) -> bytes | None:
    """The beginning of a regular file; None: it is none, or cannot be read."""
    try:
        place = os.open(path, os.O_PATH)
        try:
            # Through the descriptor: what was looked at is what is opened.
            if not stat.S_ISREG(os.fstat(place).st_mode):
                return None
            with open(f"/proc/self/fd/{place}", "rb") as file:
                return file.read(most)
        finally:
            os.close(place)
    except (OSError, ValueError):
        return None


def _numbers(proc: Path) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(proc) if name.isascii() and name.isdigit())[:MOST_PROCESSES]
    except OSError:
        return []


@contextmanager
def _held(folder: Path) -> Iterator[Path | None]:
    """The folder by a descriptor; None: it is not there any more."""
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        yield None
        return
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _read(pid: int, folder: Path) -> Process | None:
    """None: it has ended, is the kernel's, or does not show."""
    arguments = os.fsdecode(read_file(folder / "cmdline", MOST_ARGUMENT_BYTES) or b"")
    return Process(pid, _parent(folder), tuple(arguments.removesuffix("\0").split("\0")), folder) if arguments else None


def _parent(folder: Path) -> int:
    """proc_pid_stat(5): the fourth field, behind a name in parentheses that may hold anything."""
    fields = (read_file(folder / "stat", 4096) or b"").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False
