"""Programs of the administrator's own that run before and after a plan is made, applied and rolled back.

They lie in hooks.d/STAGE/ below /etc/vpnprobe and below $XDG_CONFIG_HOME/vpnprobe, run in the order of their names, get the plan as JSON
(`plan.json`, which has no contents of files) on standard input and the stage in VPNPROBE_STAGE, and have 30 s. A status other than 0 stops
what is going on. One that somebody else than root or the user can change is not run, and stops it too.
"""

import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.undoing import end_marked, last_line
from vpnprobe.errors import ExitStatus, UsageError

WITHIN_S: Final = 30.0
MARK: Final = "VPNPROBE_HOOK"
"""Environment variable by which a hook's children are found."""
TOLD_BYTES: Final = 4000


class Stage(StrEnum):
    """When a hook runs."""

    PRE_PLAN = "pre-plan"
    POST_PLAN = "post-plan"
    PRE_APPLY = "pre-apply"
    POST_APPLY = "post-apply"
    PRE_ROLLBACK = "pre-rollback"
    POST_ROLLBACK = "post-rollback"


class HookFailed(Exception):
    """Which hook, and why, in one line."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Where they lie, and how long each may run."""

    folders: Sequence[Path]
    """`hooks.d` folders, in this order. One that is not there has no hooks."""
    within_s: float = WITHIN_S

    def run(self, stage: Stage, plan: str, tell: Callable[[str], None], *, after_each: Callable[[], None] = lambda: None) -> None:
        """All of one stage. `plan`: it as JSON. Raises HookFailed for the first that does not succeed."""
        for program in [program for folder in self.folders for program in _programs(folder / stage)]:
            _run(program, stage, plan, self.within_s, tell)
            after_each()

    def ask(self, stage: Stage, plan: str, tell: Callable[[str], None]) -> None:
        """The same where one may refuse what is about to be done. Raises UsageError (REFUSED)."""
        try:
            self.run(stage, plan, tell)
        except HookFailed as problem:
            raise UsageError(f"{problem}; nothing was changed", status=ExitStatus.REFUSED) from None


def hooks_of(root: Path) -> Hooks:
    """The system's, and those of the user who runs this."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Hooks((inside(root, "/etc/vpnprobe/hooks.d"), home / "vpnprobe/hooks.d"))


def _programs(folder: Path) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not path.name.endswith("~"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as problem:
        raise HookFailed(f"the hooks in {folder} cannot be read: {problem.strerror}") from None
    programs = [path for path in found if path.is_file() and path.stat().st_mode & 0o111]
    for path in [folder.parent, folder] if programs else []:
        _refuse_changeable(path)
    for path in programs:
        _refuse_changeable(path.resolve())
        _refuse_changeable(path.resolve().parent)
    return programs


def _refuse_changeable(path: Path) -> None:
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()) or stat.S_IMODE(found.st_mode) & 0o022:
        raise HookFailed(f"the hook {path} is not run: others than root and you can change it; chown it, and chmod go-w {path}")


def _run(program: Path, stage: Stage, plan: str, within_s: float, tell: Callable[[str], None]) -> None:
    mark = str(uuid4())
    known = {**os.environ, "VPNPROBE_STAGE": str(stage), MARK: mark}
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(plan.encode())
        given.seek(0)
        try:
            process = subprocess.Popen([program], stdin=given, stdout=said, stderr=said, env=known, cwd="/", start_new_session=True)
        except OSError as problem:
            raise HookFailed(f"the hook {program} cannot be started: {problem.strerror}") from None
        try:
            status = process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise HookFailed(f"the hook {program} did not end within {within_s:g} s, and was stopped") from None
        finally:
            _end(process, mark)
        lines = _text(said)
    for line in lines.splitlines():
        tell(f"{program.name}: {line}")
    if status:
        raise HookFailed(f"the hook {program} ended with status {status}: {last_line(lines)}")


def _text(said: IO[bytes]) -> str:
    said.seek(0)
    text = said.read(TOLD_BYTES).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def _end(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """It and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    end_marked(f"{MARK}={mark}")
    process.wait()
