"""A plan as a person reads it before it is applied: what each file, sysctl, command and service is now, and would be.

Contents of secret files are never shown, and nothing that stands in a file can move the cursor or colour the terminal.
"""

import shlex
from collections.abc import Iterator
from difflib import unified_diff
from hashlib import sha256
from pathlib import Path
from subprocess import SubprocessError
from typing import assert_never

from vpnprobe.deployment.effects import current, is_pending, sysctl_value
from vpnprobe.deployment.steps import (
    AnyStep,
    Command,
    MakeDirectory,
    ManageUnit,
    Plan,
    RemoveFile,
    RunCommand,
    SetSysctl,
    StartDaemon,
    StopDaemon,
    StopUnit,
    WriteFile,
)


def difference(plan: Plan, root: Path) -> str:
    """What the plan would change below `root`, step by step, each with its reason; what is done already is left out."""
    changed: set[str] = set()
    lines = [line for step in plan.steps for line in _step(step, root, changed)]
    return "".join(f"{line}\n" for line in lines) or "nothing is to be changed\n"


def _step(step: AnyStep, root: Path, changed: set[str]) -> Iterator[str]:
    try:
        lines = list(_change(step, root)) if is_pending(step, root, changed) else []
    except OSError as problem:
        lines = [f"cannot be compared: {problem.filename}: {problem.strerror}"]
    except SubprocessError as problem:
        lines = [f"cannot be compared: {printable(str(problem))}"]
    if lines:
        yield f"# {printable(step.why)}"
        yield from lines
        yield ""


def _change(step: AnyStep, root: Path) -> Iterator[str]:
    match step:
        case MakeDirectory():
            yield f"+ folder {step.path} (mode {step.mode:04o})"
        case WriteFile():
            yield from file_difference(step, root).splitlines() or [f"! mode, owner and attributes of {step.path} (mode {step.mode:04o})"]
        case RemoveFile():
            yield f"- file {step.path}"
        case SetSysctl():
            yield f"- {step.key} = {sysctl_value(step.key)}"
            yield f"+ {step.key} = {step.value}"
        case RunCommand():
            yield f"! {_command(step.command)}"
            yield from (f"!   {printable(line)}" for line in step.command.stdin.splitlines())
        case StartDaemon():
            yield f"! in {step.folder}, kept running: {printable(shlex.join(step.argv))}"
        case StopDaemon():
            yield f"! {step.name} is ended, and kept running no more"
        case StopUnit():
            yield f"! systemctl disable --now {step.unit}"
        case ManageUnit():
            yield f"! systemctl enable {'--now ' if step.start else ''}{step.unit}"
        case _:
            assert_never(step)


def _command(command: Command) -> str:
    return printable(shlex.join(command.argv))


def file_difference(step: WriteFile, root: Path) -> str:
    """A unified difference of what is there and what shall be; empty: they are the same. Of a secret only that it differs."""
    path, found = current(root, step.path)
    if found is not None and found["sha256"] == sha256(step.content).hexdigest():
        return ""
    before, after = ("/dev/null" if found is None else step.path), step.path
    if step.secret:
        return f"--- {before}\n+++ {after}\n+ (a secret of {len(step.content)} bytes, mode {step.mode:04o}, is not shown)\n"
    old, new = (_lines(content) for content in (b"" if found is None else path.read_bytes(), step.content))
    if old is None or new is None:
        return f"--- {before}\n+++ {after}\n+ ({len(step.content)} bytes that are no text)\n"
    return "".join(f"{printable(line)}\n" for line in unified_diff(old, new, before, after, lineterm=""))


def _lines(content: bytes) -> list[str] | None:
    """None: it is no text."""
    try:
        return content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return None


def printable(text: str) -> str:
    """With what could act on a terminal written out."""
    return "".join(letter if letter.isprintable() or letter == "\t" else f"\\x{ord(letter):02x}" for letter in text)
