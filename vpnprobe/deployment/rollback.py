"""Takes back what `vpnprobe provision apply` did. It needs python3 and the journal alone.

    python3 /var/lib/vpnprobe/journal/rollback.py [FOLDER] [--unconfirmed] [--leave]

FOLDER: ROOT/var/lib/vpnprobe/journal; default: where this file lies. With `--unconfirmed` only what nobody has confirmed is taken back,
else all. What cannot be put back is said, one line each, with status 1; `--leave` then gives it up. Running it again does no harm.

The journal (`vpnprobe.journal/1`) is FOLDER/journal.jsonl: one JSON object a line, on the disk before what it tells of is done; a last line
that does not end was never written. Each has `entry`, `transaction` (1, 2, ...) and `at` (UTC). Entries:
  begin         `schema`, `summary`, `confirm_within_s` (null: not to be confirmed), `boot` (the kernel's boot_id), `network` (namespace)
  step          `step` (0, 1, ...), `id`, `why`, `undo`: what takes it back, in this order
  done          `step` is taken
  complete      all are; `deadline`: until when it has to be confirmed, in seconds of CLOCK_BOOTTIME; null: never
  confirmed     it stays
  rolling-back  somebody has begun to take it back; `rolled-back`: it is taken back
Steps are taken back in reverse order. An undo has `do`:
  file          `path`; `was`: null (there was none) or `saved` (its bytes, in FOLDER), `sha256`, `mode`, `uid`, `gid`, `xattrs` (base64),
                `mtime_ns`; `wrote`: SHA-256 of what was written, or `absent`; `temporary`: name that it had before it was whole
  directory     `path`: is removed; `contents`: with all that is in it
  sysctl        `values`: list of key and value
  run           `argv`, `stdin`; `when`: null, or a command, and only where that succeeds
  nft           `comment`: all nftables rules that bear it are deleted
  gone          `argv`, `stdin`: a command that must fail once all is taken back
  daemon        `name`; `was`: null (it did not run) or `argv`, `folder`. supervise.py, which lies beside, ends and starts it
  unit          `unit`, `enabled`, `active`: of systemd, as before; `start`: whether it was started
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING or __package__:
    from vpnprobe.deployment.durable import sync_folder
    from vpnprobe.deployment.undoing import COMMAND_WITHIN_S, MARK, Entry, NotPutBack, Tell, Undoing, end_marked
else:  # the copy in the journal's folder
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
    from durable import sync_folder
    from undoing import COMMAND_WITHIN_S, MARK, Entry, NotPutBack, Tell, Undoing, end_marked

SCHEMA: Final = "vpnprobe.journal/1"
PLACE: Final = "var/lib/vpnprobe/journal"
"""Below ROOT."""
COPIED: Final = ("durable.py", "supervise.py", "undoing.py", "rollback.py")
"""Into the journal's folder, in this order: what a rollback needs beside python3."""


class Busy(Exception):
    """Another program holds the journal's lock."""


class Transaction:
    """What the journal says of one."""

    def __init__(self, begin: Entry) -> None:
        self.begin = begin
        self.number: int = begin["transaction"]
        self.steps: list[Entry] = []
        self.marks: dict[str, Entry] = {}
        """Entries that stand once: complete, confirmed, rolling-back, rolled-back."""

    @property
    def taken_back(self) -> bool:
        return "rolled-back" in self.marks

    @property
    def confirmed(self) -> bool:
        """It stays: somebody has said so, or nobody needs to."""
        complete = self.marks.get("complete")
        return "rolling-back" not in self.marks and ("confirmed" in self.marks or (complete is not None and complete["deadline"] is None))

    @property
    def left_s(self) -> float:
        """Seconds in which it may still be confirmed; 0 or less: it has to be taken back."""
        complete = self.marks.get("complete")
        if complete is None or "rolling-back" in self.marks or self.begin["boot"] != boot_id():
            return 0.0
        return float(complete["deadline"]) - time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def read_journal(folder: Path) -> list[Transaction]:
    """All transactions, oldest first. Raises ValueError for a journal that is not of this version."""
    try:
        lines = (folder / "journal.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    found: dict[int, Transaction] = {}
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if entry["entry"] == "begin":
                if entry["schema"] != SCHEMA:
                    raise ValueError(f"it is of {entry['schema']}, this program reads {SCHEMA}")
                found[entry["transaction"]] = Transaction(entry)
            elif entry["entry"] == "step":
                found[entry["transaction"]].steps.append(entry)
            elif entry["entry"] != "done":
                found[entry["transaction"]].marks[entry["entry"]] = entry
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / 'journal.jsonl'}: line {number} cannot be read: {error}") from None
    return list(found.values())


def append(folder: Path, entry: Entry) -> None:
    """One line more, on the disk when this returns. What a power cut has left of another is cut off first. Raises OSError."""
    new = not (folder / "journal.jsonl").exists()
    handle = os.open(folder / "journal.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        whole = os.pread(handle, os.fstat(handle).st_size, 0).rfind(b"\n") + 1
        os.ftruncate(handle, whole)
        stamped = {**entry, "at": datetime.now(timezone.utc).isoformat(timespec="seconds")}  # noqa: UP017 - Python 3.10 has no datetime.UTC
        try:
            left = memoryview(json.dumps(stamped).encode() + b"\n")
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, whole)
            raise
    finally:
        os.close(handle)
    if new:
        sync_folder(folder)


@contextlib.contextmanager
def locked(folder: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Nobody else works with this journal meanwhile. Raises Busy."""
    until = time.monotonic() + wait_s
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise Busy(f"another vpnprobe is working on this server ({folder})") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def take_back(folder: Path, root: Path, transactions: Sequence[Transaction], tell: Tell, *, leave: bool = False) -> list[str]:
    """Under the lock. Gives what could not be put back, a line each; a later call tries that again, unless it is to be left."""
    newest_first = sorted((one for one in transactions if not one.taken_back), key=lambda one: -one.number)
    (folder / "reserve").unlink(missing_ok=True)
    for transaction in newest_first:
        with contextlib.suppress(OSError):  # A full disk: what is taken back stays so, and is looked at once more later.
            append(folder, {"entry": "rolling-back", "transaction": transaction.number})
        if "complete" not in transaction.marks:
            end_marked(f"{MARK}={folder}:{transaction.number}")
    undoing = Undoing(folder, root, tell)
    short: list[str] = []
    undos: list[tuple[str, Callable[[Entry], None], Entry]] = [
        (step["id"], undoing.one, undo) for one in newest_first for step in reversed(one.steps) for undo in step["undo"]
    ]
    for name, act, undo in undos:
        _try(act, undo, name, short)
    for name, (again, undo) in undoing.at_last.items():
        _try(again, undo, name, short)
    if not short or leave:
        for transaction in newest_first:
            try:
                append(folder, {"entry": "rolled-back", "transaction": transaction.number, "short": short})
                forget(folder, transaction.number)
            except OSError as problem:
                tell(f"all is put back, but the journal cannot be written ({problem.strerror}): run it once more when it can")
    return short


def _try(act: Callable[[Entry], None], undo: Entry, name: str, short: list[str]) -> None:
    try:
        act(undo)
    except (NotPutBack, OSError, ValueError, LookupError, TypeError, AttributeError, subprocess.SubprocessError) as problem:
        short.append(f"{name}: {problem}")


def forget(folder: Path, number: int) -> None:
    """Saved files, which may be secret, are not needed any more."""
    for path in (*folder.glob(f"saved/{number}-*"), folder / f"plans/{number}.json"):
        path.unlink(missing_ok=True)


def other_namespace(transactions: Sequence[Transaction]) -> str:
    """The network namespace in which they were applied, where that is another than this one and still there; else empty."""
    here = os.readlink("/proc/self/ns/net")
    wanted = {one.begin["network"] for one in transactions if one.begin["boot"] == boot_id() and not one.taken_back} - {here}
    for process in Path("/proc").iterdir() if wanted else ():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and os.readlink(process / "ns/net") in wanted:
                return f"nsenter --net=/proc/{process.name}/ns/net"
    for place in Path("/run/netns").glob("*") if wanted else ():
        if f"net:[{place.stat().st_ino}]" in wanted:
            return f"nsenter --net={place}"
    return ""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent, help="ROOT/var/lib/vpnprobe/journal")
    parser.add_argument("--unconfirmed", action="store_true", help="only what was not confirmed")
    parser.add_argument("--leave", action="store_true", help="give up what cannot be put back")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    try:
        with locked(folder, wait_s=COMMAND_WITHIN_S):
            wanted = [one for one in read_journal(folder) if not one.taken_back and not (options.unconfirmed and one.confirmed)]
            if elsewhere := other_namespace(wanted):
                raise ValueError(f"it was applied in another network namespace: run this behind {elsewhere}")
            short = take_back(folder, folder.parents[3], wanted, lambda line: print(line, file=sys.stderr), leave=options.leave)
    except (OSError, ValueError, Busy) as problem:
        print(f"rollback: {problem}", file=sys.stderr)
        return 1
    for line in short:
        print(f"could not be put back: {line}", file=sys.stderr)
    print(f"taken back: {', '.join(one.begin['summary'] for one in reversed(wanted)) or 'nothing was left to take back'}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
