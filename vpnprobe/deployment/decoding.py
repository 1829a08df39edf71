"""`plan.json` as steps: any JSON gives a plan or `PlanProblem`, which says in one line what is wrong and where.

Paths are absolute, without `.` and `..`, and none lies in the journal's folder. What is not known is an
error: a plan is not half understood.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, Final

from vpnprobe.deployment.settings import JOURNAL
from vpnprobe.deployment.steps import (
    SCHEMA,
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
    Undo,
    UndoCommand,
    UndoNftRules,
    WriteFile,
)

MOST_STEPS: Final = 10_000
LONGEST: Final = 1 << 20
"""Characters of one text in it."""
_KEY: Final = re.compile(r"[a-z0-9_]+(?:[./][A-Za-z0-9_.:@-]+)+", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,99}", re.ASCII)


class PlanProblem(ValueError):
    """What is wrong with it, in one line."""


class _Table:
    """A JSON object whose members are taken one by one; what is left over is a problem."""

    def __init__(self, plain: object, where: str) -> None:
        if not isinstance(plain, Mapping):
            raise PlanProblem(f"{where} is no table")
        self.left, self.where = dict(plain), where

    def take(self, key: str, kind: type | tuple[type, ...]) -> Any:  # noqa: ANN401 - what the caller has asked for
        if key not in self.left:
            raise PlanProblem(f"{self.where} has no {key}")
        value = self.left.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise PlanProblem(f"{self.where}: {key} is not what it should be")
        return value

    def text(self, key: str) -> str:
        value: str = self.take(key, str)
        if len(value) > LONGEST or "\0" in value or (not value.isascii() and not _sound(value)):
            raise PlanProblem(f"{self.where}: {key} is too long or has characters that it cannot have")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if not _NAME.fullmatch(value):
            raise PlanProblem(f"{self.where}: {value[:40]!r} cannot be its {key}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.take(key, list)
        if not all(isinstance(value, str) and "\0" not in value and _sound(value) for value in values):
            raise PlanProblem(f"{self.where}: {key} is no list of texts")
        return tuple(values)

    def path(self, key: str) -> str:
        return _path(self.text(key), self.where)

    def mode(self) -> int:
        value = self.text("mode")
        if not re.fullmatch(r"[0-7]{3,4}", value, re.ASCII):
            raise PlanProblem(f"{self.where}: {value[:40]!r} is no mode")
        return int(value, 8)

    def end(self) -> None:
        if self.left:
            raise PlanProblem(f"{self.where} has {str(min(self.left))[:40]!r}, which this vpnprobe does not know")


def _sound(value: str) -> bool:
    """Whether it can be written as UTF-8: JSON may hold halves of characters."""
    return not any(0xD800 <= ord(letter) <= 0xDFFF for letter in value)


def _path(value: str, where: str) -> str:
    parts = value.split("/")[1:]
    if not value.startswith("/") or not all(parts) or {".", ".."} & set(parts) or not value.isprintable() or len(value) > 4000:
        raise PlanProblem(f"{where}: {value[:100]!r} is no absolute path of a file")
    if PurePosixPath(value).is_relative_to(JOURNAL):
        raise PlanProblem(f"{where}: {value[:100]!r} lies in the journal's folder")
    return value


def decode_plan(plain: object, content: Callable[[str], bytes]) -> Plan:
    """`content` gives the bytes of a file by its path on the server. Raises PlanProblem, and what `content` raises."""
    table = _Table(plain, "plan.json")
    if (schema := table.text("schema")) != SCHEMA:
        raise PlanProblem(f"plan.json is of {schema[:40]!r}, and this vpnprobe reads {SCHEMA}")
    steps = table.take("steps", list)
    if len(steps) > MOST_STEPS:
        raise PlanProblem(f"plan.json has more than {MOST_STEPS} steps")
    plan = Plan(
        made_at=table.text("made_at"),
        summary=table.text("summary"),
        host=_texts(table.take("host", dict)),
        settings=table.take("settings", dict),
        steps=tuple(_step(step, f"step {number}", content) for number, step in enumerate(steps, 1)),
        compared=table.take("compared", bool),
        vpnprobe=table.text("vpnprobe"),
    )
    table.end()
    _once("id", [step.id for step in plan.steps])
    _once("file", [step.path for step in plan.steps if isinstance(step, WriteFile | RemoveFile)])
    return plan


def _once(what: str, found: Sequence[str]) -> None:
    if len(set(found)) < len(found):
        twice = next(one for number, one in enumerate(found) if one in found[:number])
        raise PlanProblem(f"the {what} {twice[:100]!r} stands in it twice")


def _texts(plain: Mapping[str, object]) -> dict[str, str]:
    if not all(isinstance(value, str) and _sound(value) for value in plain.values()):
        raise PlanProblem("plan.json: host is no table of texts")
    return {key: str(value) for key, value in plain.items()}


def _step(plain: object, where: str, content: Callable[[str], bytes]) -> AnyStep:
    table = _Table(plain, where)
    kind = table.text("kind")
    common = {"id": table.name("id"), "why": table.text("why")}
    step: AnyStep
    match kind:
        case "directory":
            step = MakeDirectory(**common, path=table.path("path"), mode=table.mode(), contents=table.take("contents", bool))
        case "file":
            step = _file(table, common, content)
        case "no-file":
            step = RemoveFile(**common, path=table.path("path"), before=table.text("before"))
        case "no-daemon":
            step = StopDaemon(**common, name=table.name("name"))
        case "no-unit":
            step = StopUnit(**common, unit=table.name("unit"))
        case "sysctl":
            key = table.text("key")
            if not _KEY.fullmatch(key) or ".." in key or len(key) > 200:
                raise PlanProblem(f"{where}: {key[:40]!r} is no sysctl")
            step = SetSysctl(**common, key=key, value=table.text("value"), before=table.text("before"))
        case "run":
            check, done_when = _command_or_none(table, "check"), _command_or_none(table, "done_when")
            command, undo = _command(table.take("command", dict), where), tuple(_undo(one, where) for one in table.take("undo", list))
            step = RunCommand(**common, command=command, undo=undo, check=check, done_when=done_when)
        case "daemon":
            argv, files = table.texts("argv"), table.texts("files")
            step = StartDaemon(**common, name=table.name("name"), argv=argv, folder=table.path("folder"), files=files)
            if not argv:
                raise PlanProblem(f"{where}: argv is empty")
        case "unit":
            step = ManageUnit(**common, unit=table.name("unit"), files=table.texts("files"), start=table.take("start", bool))
        case _:
            raise PlanProblem(f"{where} is of the kind {kind[:40]!r}, which this vpnprobe does not know")
    table.end()
    return step


def _file(table: _Table, common: Mapping[str, str], content: Callable[[str], bytes]) -> WriteFile:
    path, mode, before, secret = table.path("path"), table.mode(), table.text("before"), table.take("secret", bool)
    found = content(path)
    length, digest = table.take("bytes", int), table.text("sha256")
    if (len(found), sha256(found).hexdigest()) != (length, digest):
        raise PlanProblem(f"files{path} was edited since the plan was made: its hash does not fit")
    return WriteFile(**common, path=path, mode=mode, before=before, secret=secret, content=found)


def _command(plain: object, where: str) -> Command:
    table = _Table(plain, f"{where}: a command")
    command = Command(argv=table.texts("argv"), stdin=table.text("stdin"))
    table.end()
    if not command.argv or not command.argv[0]:
        raise PlanProblem(f"{where}: a command names no program")
    return command


def _command_or_none(table: _Table, key: str) -> Command | None:
    plain = table.take(key, (dict, type(None)))
    return None if plain is None else _command(plain, table.where)


def _undo(plain: object, where: str) -> Undo:
    table = _Table(plain, f"{where}: an undo")
    undo: Undo
    match table.text("do"):
        case "nft":
            undo = UndoNftRules(comment=table.text("comment"))
        case "run":
            undo = UndoCommand(command=_command(table.take("command", dict), where), when=_command_or_none(table, "when"))
        case other:
            raise PlanProblem(f"{where}: an undo is of the kind {other[:40]!r}, which this vpnprobe does not know")
    table.end()
    return undo
