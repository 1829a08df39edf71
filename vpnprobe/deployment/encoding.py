"""A plan as a folder that a person can read: `plan.json` (`vpnprobe.plan/1`), and `files/` with each file under its own path on the server.

`read_plan(folder)` gives what `write_plan(plan, folder)` was given, or `UsageError` (status UNREADABLE) in one line, whatever the folder
holds. Contents of secret files are mode 0600, and the folder is 0700. No link in it is followed.
"""

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Collection, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from vpnprobe.deployment.decoding import PlanProblem, decode_plan
from vpnprobe.deployment.durable import inside, sync_folder
from vpnprobe.deployment.steps import KINDS, SCHEMA, AnyStep, Plan, UndoNftRules, WriteFile
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

CLIENTS: Final = "clients"
"""Folder of clients' profiles beside a plan."""
BY_HAND: Final = "by-hand"
"""Folder of what no step does."""
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
PLAN_BYTES: Final = 16 << 20
FILE_BYTES: Final = 16 << 20
"""At most, of `plan.json` and of each file: what is longer was not written by us."""


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Plain values, without the contents of files: these are told by `sha256` and `bytes`."""
    facts = {"schema": SCHEMA, "made_at": plan.made_at, "vpnprobe": plan.vpnprobe, "summary": plan.summary, "compared": plan.compared}
    return {**facts, "host": dict(plan.host), "settings": dict(plan.settings), "steps": [_step(step) for step in plan.steps]}


def _step(step: AnyStep) -> dict[str, Any]:
    kind = next(name for name, found in KINDS.items() if type(step) is found)
    plain = {"kind": kind, **asdict(step)}
    if isinstance(step, WriteFile):
        plain.pop("content")
        plain |= {"sha256": sha256(step.content).hexdigest(), "bytes": len(step.content)}
    if "mode" in plain:
        plain["mode"] = f"{plain['mode']:04o}"
    if "undo" in plain:
        plain["undo"] = [{"do": "nft" if isinstance(undo, UndoNftRules) else "run", **asdict(undo)} for undo in getattr(step, "undo", ())]
    return plain


def json_text(plan: Plan) -> str:
    """`plan.json`."""
    return json.dumps(plan_as_json(plan), indent=2, ensure_ascii=False) + "\n"


def write_plan(plan: Plan, folder: Path, *, clients: Collection[str] = (), by_hand: Mapping[str, str] = NOTHING) -> None:
    """The whole folder or nothing; an older plan in its place is replaced, with profiles of `clients`, of whom new ones will be written.

    `by_hand`: texts by file name, of what a person has to do. They are no part of the plan.
    Raises UsageError, CannotRun (status UNWRITABLE).
    """
    new, old = (folder.with_name(f".{folder.name}.{word}-{os.getpid()}") for word in ("new", "old"))
    try:
        _check_replaceable(folder, clients)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _fill(plan, new, by_hand)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
        sync_folder(folder.parent)
    except OSError as problem:
        if old.exists() and not folder.exists():
            os.rename(old, folder)
        where = problem.filename or folder
        raise CannotRun(f"the plan cannot be written: {where}: {problem.strerror}", status=ExitStatus.UNWRITABLE) from None
    finally:
        for path in (new, old):
            shutil.rmtree(path, ignore_errors=True)


def _check_replaceable(folder: Path, clients: Collection[str]) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} is no folder: name another one")
    known = {"plan.json", "files", BY_HAND}
    profiles = {path.name for path in (folder / CLIENTS).iterdir()} if (folder / CLIENTS).is_dir() else {""}
    if profiles <= {f"{name}.ovpn" for name in clients}:
        known.add(CLIENTS)
    if folder.exists() and (others := sorted({path.name for path in folder.iterdir()} - known)):
        raise UsageError(f"{folder} holds something else than a plan ({others[0]}): name another folder")


def _fill(plan: Plan, folder: Path, by_hand: Mapping[str, str]) -> None:
    folder.mkdir(mode=0o700)
    for step in plan.steps:
        if isinstance(step, WriteFile):
            path = folder / "files" / step.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, step.content, 0o600 if step.secret else 0o644)
    for name, text in by_hand.items():
        (folder / BY_HAND).mkdir(exist_ok=True)
        _write(folder / BY_HAND / name, text.encode(), 0o644)
    _write(folder / "plan.json", json_text(plan).encode(), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)


def read_plan(folder: Path) -> Plan:
    """Raises UsageError (status UNREADABLE)."""
    path = folder / "plan.json"
    try:
        plain = json.loads(_read(path, PLAN_BYTES))
        return decode_plan(plain, lambda place: _read(folder / "files" / place.lstrip("/"), FILE_BYTES, below=folder))
    except OSError as problem:
        raise _unreadable(folder, f"{problem.filename or path}: {problem.strerror}") from None
    except RecursionError:
        raise _unreadable(folder, "plan.json is nested too deeply") from None
    except PlanProblem as problem:
        raise _unreadable(folder, str(problem)) from None
    except ValueError as problem:
        raise _unreadable(folder, f"plan.json is no JSON: {problem}") from None


def _unreadable(folder: Path, problem: str) -> UsageError:
    said = "".join(letter if letter.isprintable() else "?" for letter in problem)[:400]
    return UsageError(f"the plan {folder} cannot be read: {said}; make it again with vpnprobe provision plan", status=ExitStatus.UNREADABLE)


def _read(path: Path, limit: int, *, below: Path | None = None) -> bytes:
    """A regular file of at most so many bytes, through no link. Raises OSError, PlanProblem."""
    inner = path.relative_to(below).parents if below is not None else ()
    if any((below / parent).is_symlink() for parent in inner if below is not None and parent != Path(".")):
        raise PlanProblem(f"{path} lies behind a symbolic link")
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise PlanProblem(f"{path} is no regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise PlanProblem(f"{path} is longer than {limit} bytes")
    return content


def same_host(plan: Plan, here: Mapping[str, str]) -> str:
    """Why a plan is not for this host; empty: it is. A machine id counts before a name, which may change."""
    for key in ("machine_id", "hostname"):
        wanted, found = plan.host.get(key, ""), here.get(key, "")
        if wanted and found:
            return (
                ""
                if wanted == found
                else f"it was made for {plan.host.get('hostname') or wanted}, and this is {here.get('hostname') or found}"
            )
    return ""


def this_host(root: Path) -> dict[str, str]:
    """By which a server is known again: what stands below its root. Empty values are left out."""
    found = {}
    for key, path in (("machine_id", "etc/machine-id"), ("hostname", "etc/hostname")):
        with contextlib.suppress(OSError):
            found[key] = inside(root, path).read_text("utf-8", "replace").strip()
    return {key: value for key, value in found.items() if value}
