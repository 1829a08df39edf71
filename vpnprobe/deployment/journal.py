"""Writes the journal of a server: ROOT/var/lib/vpnprobe/journal (mode 0700), in the format that `rollback` tells.

Each line and each saved file is on the disk, and its folder too, before the step that it is about is taken. What a rollback needs beside
python3 is copied there first. One program at a time: the folder is locked while anything is written.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vpnprobe.deployment.durable import inside, sync_folder, write_whole
from vpnprobe.deployment.rollback import COPIED, PLACE, SCHEMA, Busy, Transaction, append, boot_id, locked, read_journal
from vpnprobe.deployment.undoing import Entry
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

RESERVE_BYTES: Final = 64 << 10
"""Kept free beside the saved files, so that a rollback has room on a full disk."""
LOCK_WITHIN_S: Final = 3.0
"""A watchdog looks at the journal in less; whoever applies takes longer."""
OWNER: Final[Mapping[str, Any]] = {"mode": "0600", "uid": os.geteuid(), "gid": os.getegid(), "xattrs": {}}


def folder_of(root: Path) -> Path:
    """Where the journal of a server lies, whether it is there or not."""
    return inside(root, f"/{PLACE}")


class Journal:
    """Of one server, under its lock."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder

    def transactions(self) -> list[Transaction]:
        """All, oldest first. Raises UsageError (status UNREADABLE)."""
        return transactions_of(self.folder)

    def begin(self, *, summary: str, confirm_within_s: float | None, plan: bytes, reserve_bytes: int) -> int:
        """A transaction's number. `plan`: it as JSON, without contents of files. Raises OSError; then nothing was begun."""
        number = max((one.number for one in self.transactions()), default=0) + 1
        network = os.readlink("/proc/self/ns/net")
        facts = {"summary": summary, "confirm_within_s": confirm_within_s, "boot": boot_id(), "network": network}
        try:
            self._copy_programs()
            for name in ("saved", "plans"):
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.folder)
            self._write("reserve", bytes(reserve_bytes + RESERVE_BYTES))
            self._write(f"plans/{number}.json", plan)
            self._append("begin", number, schema=SCHEMA, **facts)
        except OSError:
            (self.folder / "reserve").unlink(missing_ok=True)
            (self.folder / f"plans/{number}.json").unlink(missing_ok=True)
            raise
        return number

    def save(self, number: int, step: int, content: bytes) -> str:
        """The bytes of a file before. Gives its name in the journal."""
        name = f"saved/{number}-{step}"
        self._write(name, content)
        return name

    def step(self, number: int, step: int, *, name: str, why: str, undo: Sequence[Entry]) -> None:
        """Before it is taken."""
        self._append("step", number, step=step, id=name, why=why, undo=list(undo))

    def done(self, number: int, step: int) -> None:
        self._append("done", number, step=step)

    def complete(self, number: int, deadline: float | None, watchdog: Sequence[int] = ()) -> None:
        """`deadline`: seconds of CLOCK_BOOTTIME. `watchdog`: process id and start time of whoever waits for it."""
        self._append("complete", number, deadline=deadline, watchdog=list(watchdog))
        (self.folder / "reserve").unlink(missing_ok=True)

    def confirmed(self, number: int) -> None:
        self._append("confirmed", number)

    def plan(self, number: int) -> bytes:
        """As it was given to `begin`; empty: it is gone."""
        try:
            return (self.folder / f"plans/{number}.json").read_bytes()
        except FileNotFoundError:
            return b""

    def _append(self, entry: str, number: int, **facts: object) -> None:
        append(self.folder, {"entry": entry, "transaction": number, **facts})

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        write_whole(path, content, OWNER, path.with_name(f"{path.name}-new"))

    def _copy_programs(self) -> None:
        for name in COPIED:
            program = Path(__file__).with_name(name).read_bytes()
            if not (self.folder / name).is_file() or (self.folder / name).read_bytes() != program:
                self._write(name, program)


def transactions_of(folder: Path) -> list[Transaction]:
    """All that a journal tells of, oldest first. Raises UsageError (status UNREADABLE)."""
    try:
        return read_journal(folder)
    except ValueError as problem:
        raise UsageError(str(problem), status=ExitStatus.UNREADABLE) from None
    except OSError as problem:
        raise CannotRun(f"the journal {folder} cannot be read: {problem.strerror}", status=ExitStatus.MISSING) from None


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Journal]:
    """The journal of a server, locked; its folder is made, and goes again where nothing was written.

    Raises UsageError (status REFUSED) where another program has it, CannotRun (status UNWRITABLE) where it cannot be written.
    """
    try:
        folder = folder_of(root)
        made = _make(folder)
    except OSError as problem:
        raise unwritable(folder_of(root), problem) from None
    try:
        with locked(folder, wait_s=LOCK_WITHIN_S):
            yield Journal(root, folder)
    except Busy as busy:
        raise UsageError(f"{busy}: wait until it has ended", status=ExitStatus.REFUSED) from None
    finally:
        if folder in made and not _written(folder):
            shutil.rmtree(folder, ignore_errors=True)
            for path in reversed(made[:-1]):
                with contextlib.suppress(OSError):
                    path.rmdir()


def _written(folder: Path) -> bool:
    try:
        return (folder / "journal.jsonl").stat().st_size > 0
    except OSError:
        return False


def _make(folder: Path) -> list[Path]:
    """The folders that were not there, outermost first. Only the owner may see into the last one."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    for path in missing:
        path.mkdir(mode=0o700 if path == folder else 0o755, exist_ok=True)
        sync_folder(path.parent)
    if folder.stat().st_mode & 0o077 or folder.stat().st_uid != os.geteuid():
        raise PermissionError(1, f"must belong to user {os.geteuid()} alone (mode 0700)", str(folder))
    return missing


def unwritable(path: Path, problem: OSError) -> CannotRun:
    """One line: what cannot be written, and why. Status MISSING where it is the privilege that is lacking."""
    if os.geteuid() != 0 and problem.errno in (errno.EACCES, errno.EPERM):
        return CannotRun(f"{problem.filename or path} belongs to root: run it as root (sudo)", status=ExitStatus.MISSING)
    return CannotRun(f"{problem.filename or path} cannot be written: {problem.strerror}; nothing was changed", status=ExitStatus.UNWRITABLE)
