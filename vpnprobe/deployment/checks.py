"""All that can be known to stand in a plan's way before any of it is done. Nothing is changed here.

What stands in the way is `UsageError` (status REFUSED), a program that is missing `CannotRun` (MISSING), a disk that is full or read-only
`CannotRun` (UNWRITABLE): one line, which says what and where.
"""

import os
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.effects import as_entry, current, digest_of, is_pending, sysctl_value
from vpnprobe.deployment.encoding import same_host, this_host
from vpnprobe.deployment.journal import RESERVE_BYTES, folder_of
from vpnprobe.deployment.steps import (
    ABSENT,
    NOT_COMPARED,
    AnyStep,
    MakeDirectory,
    ManageUnit,
    Plan,
    RemoveFile,
    RunCommand,
    SetSysctl,
    StartDaemon,
    StopUnit,
    WriteFile,
)
from vpnprobe.deployment.undoing import find_program, last_line, run, sysctl_file
from vpnprobe.deployment.words import file_difference
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

MARGIN_BYTES: Final = 64 << 10
Precondition = Callable[[], str | None]
"""What stands in the way, in one line; None: nothing."""


def pending_steps(plan: Plan, root: Path) -> list[AnyStep]:
    """Those that are not done already. Raises UsageError, CannotRun."""
    changed: set[str] = set()
    pending: list[AnyStep] = []
    for step in plan.steps:
        try:
            if is_pending(step, root, changed):
                pending.append(step)
        except FileNotFoundError as problem:
            raise _not_there(step, problem) from None
        except (OSError, subprocess.SubprocessError) as problem:
            raise refused(f"{step.id} cannot be looked at: {problem}") from None
    return pending


def _not_there(step: AnyStep, problem: OSError) -> CannotRun | UsageError:
    if isinstance(step, SetSysctl):
        return refused(f"this kernel has no sysctl {step.key}")
    return CannotRun(f"{step.id} needs {problem.filename}, which is not installed; nothing was changed", status=ExitStatus.MISSING)


def refused(problem: str) -> UsageError:
    return UsageError(f"{problem}; nothing was changed", status=ExitStatus.REFUSED)


def check_host(plan: Plan, root: Path) -> None:
    """Raises UsageError."""
    if not root.is_dir():
        raise refused(f"{root} is no folder")
    if problem := same_host(plan, this_host(root)):
        raise refused(f"the plan is not for this server: {problem}")
    places: dict[Path, str] = {}
    for step in plan.steps:
        if isinstance(step, WriteFile) and (other := places.setdefault(_resolved(root, step.path), step.path)) != step.path:
            raise refused(f"{other} and {step.path} are the same file, by a symbolic link")


def _resolved(root: Path, path: str) -> Path:
    try:
        return inside(root, path)
    except OSError as problem:
        raise refused(f"{path} cannot be looked at: {problem.strerror}") from None


def check_before(pending: Sequence[AnyStep], root: Path, preconditions: Sequence[Precondition], tell: Callable[[str], None]) -> None:
    """Raises UsageError, CannotRun for the first thing that stands in the way."""
    for step in pending:
        _check_unchanged(step, root, tell)
    check_programs(pending)
    check_places(pending, root)
    for precondition in preconditions:
        if problem := precondition():
            raise refused(problem)
    for step in pending:
        if isinstance(step, RunCommand) and step.check is not None:
            _dry_run(step)


def _check_unchanged(step: AnyStep, root: Path, tell: Callable[[str], None]) -> None:
    if isinstance(step, WriteFile | RemoveFile) and step.before != NOT_COMPARED:
        try:
            now = digest_of(root, step.path)
        except OSError as problem:
            raise refused(f"{step.path} cannot be read: {problem.strerror}") from None
        if now not in (step.before, sha256(step.content).hexdigest() if isinstance(step, WriteFile) else ABSENT):
            for line in file_difference(step, root).splitlines() if isinstance(step, WriteFile) else ():
                tell(line)
            raise refused(f"{step.path} was changed since the plan was made: make the plan again, with vpnprobe provision plan")
    elif isinstance(step, SetSysctl) and step.before not in (NOT_COMPARED, now := sysctl_value(step.key)):
        raise refused(f"sysctl {step.key} was {step.before} when the plan was made and is {now}: make the plan again")


def check_programs(pending: Sequence[AnyStep]) -> None:
    """Raises CannotRun (status MISSING)."""
    for step in pending:
        for name in _programs(step):
            if find_program(name) is None:
                raise CannotRun(f"{step.id} needs {name}, which is not installed; nothing was changed", status=ExitStatus.MISSING)


def _programs(step: AnyStep) -> list[str]:
    match step:
        case RunCommand():
            return [command.argv[0] for command in (step.command, step.check, step.done_when) if command is not None]
        case StartDaemon():
            return [step.argv[0]]
        case ManageUnit() | StopUnit():
            return ["systemctl"]
        case _:
            return []


def check_places(pending: Sequence[AnyStep], root: Path) -> None:
    """That all files have room, and may be written. Raises CannotRun (status UNWRITABLE), UsageError."""
    needed: dict[int, int] = defaultdict(int)
    places: dict[int, Path] = {}
    for step in pending:
        if isinstance(step, SetSysctl):
            if not os.access(sysctl_file(step.key), os.W_OK):
                raise refused(f"sysctl {step.key} cannot be written here (in a container: set it on its host)")
        elif isinstance(step, WriteFile | RemoveFile | MakeDirectory):
            place, length = _place(step, root)
            device = place.stat().st_dev
            places[device], needed[device] = place, needed[device] + length
    journal = _there(folder_of(root))
    device = journal.stat().st_dev
    places[device] = journal
    needed[device] += sum(2 * length_before(step, root) for step in pending) + RESERVE_BYTES + MARGIN_BYTES
    for device, place in places.items():
        _check_room(place, needed[device])


def _check_room(place: Path, needed: int) -> None:
    free = os.statvfs(place)
    room = free.f_bavail * free.f_frsize
    if room < needed or (free.f_files and not free.f_favail):
        lack = f"{needed >> 10} KiB are needed, and {room >> 10} are free"
        raise CannotRun(f"the disk of {place} is full: {lack}; nothing was changed", status=ExitStatus.UNWRITABLE)


def _place(step: WriteFile | RemoveFile | MakeDirectory, root: Path) -> tuple[Path, int]:
    """The folder that is there and in which something will be made, and how many bytes."""
    path = inside(root, step.path)
    if isinstance(step, WriteFile) and path.is_dir():
        raise refused(f"{step.path} is a folder, and shall be a file")
    if isinstance(step, MakeDirectory) and path.exists():
        raise refused(f"{step.path} is there, and is no folder")
    place = _there(path.parent)
    if not place.is_dir():
        raise refused(f"{place} is no folder")
    if not os.access(place, os.W_OK):
        raise CannotRun(f"{place} cannot be written: it is read-only; nothing was changed", status=ExitStatus.UNWRITABLE)
    return place, len(step.content) + 8192 if isinstance(step, WriteFile) else 4096


def _there(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def length_before(step: AnyStep, root: Path) -> int:
    """Bytes of the file that a step replaces; 0: none."""
    if not isinstance(step, WriteFile | RemoveFile):
        return 0
    path, found = current(root, step.path)
    return 0 if found is None else path.stat().st_size


def _dry_run(step: RunCommand) -> None:
    assert step.check is not None
    try:
        done = run(as_entry(step.check))
    except (OSError, subprocess.SubprocessError) as problem:
        raise refused(f"{step.id} cannot be tried: {problem}") from None
    if done.returncode:
        raise refused(f"{step.id} would fail: {' '.join(step.check.argv)[:100]}: {last_line(done.stderr or done.stdout)}")
