"""What each kind of step does to a server: whether it is done already, what takes it back, and taking it.

What takes a step back is told as the journal's undos (`rollback`). Paths are read as the server reads them, below its root; sysctls,
commands, processes and units are those of the network namespace and the system that this program runs in.
"""

import os
import time
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, assert_never

from vpnprobe.deployment import supervise
from vpnprobe.deployment.durable import found_state, inside, sync_folder, write_whole
from vpnprobe.deployment.settings import RUN
from vpnprobe.deployment.steps import (
    ABSENT,
    AnyStep,
    Command,
    MakeDirectory,
    ManageUnit,
    RemoveFile,
    RunCommand,
    SetSysctl,
    StartDaemon,
    StopDaemon,
    StopUnit,
    UndoNftRules,
    WriteFile,
)
from vpnprobe.deployment.undoing import last_line, run, sysctl_file

ACL: Final = "system.posix_acl_access"
UNIT_SETTLES_S: Final = 0.5
JsonObject = dict[str, Any]


class StepFailed(Exception):
    """Why, in one line."""


def as_entry(command: Command) -> JsonObject:
    return {"argv": list(command.argv), "stdin": command.stdin}


def succeeds(command: Command) -> bool:
    """Raises OSError, subprocess.SubprocessError."""
    return run(as_entry(command)).returncode == 0


def on_server(root: Path, path: Path) -> str:
    """What the server itself calls a path below its root."""
    return f"/{path.relative_to(root)}"


def current(root: Path, path: str) -> tuple[Path, JsonObject | None]:
    """Where a file lies, and what is there (`found_state`); None: nothing. Raises OSError."""
    place = inside(root, path)
    try:
        return place, found_state(place)
    except (FileNotFoundError, NotADirectoryError):
        return place, None


def digest_of(root: Path, path: str) -> str:
    """SHA-256 of a file of the server in hex, or ABSENT: what a plan notes as `before`. Raises OSError."""
    _, found = current(root, path)
    return ABSENT if found is None else str(found["sha256"])


def sysctl_value(key: str) -> str:
    """Of this network namespace. Raises OSError."""
    return sysctl_file(key).read_text("utf-8").strip()


def missing_folders(root: Path, path: Path) -> list[Path]:
    """The folder, and those above it, that are not there: outermost first."""
    return [folder for folder in (path, *path.parents) if folder != root and not folder.exists() and folder.is_relative_to(root)][::-1]


def owner_wanted(step: WriteFile, found: JsonObject | None) -> JsonObject:
    """Mode, owner and extended attributes: those that are there, unless more people could read the file than shall."""
    if found is None:
        return {"mode": f"{step.mode:04o}", "uid": os.geteuid(), "gid": os.getegid(), "xattrs": {}}
    wanted = {key: found[key] for key in ("mode", "uid", "gid", "xattrs")}
    if int(found["mode"], 8) & 0o044 & ~step.mode or (step.secret and ACL in found["xattrs"]):
        attributes = {name: value for name, value in found["xattrs"].items() if name != ACL}
        wanted |= {"mode": f"{step.mode:04o}", "xattrs": attributes}
    if step.secret and found["uid"] != os.geteuid():
        wanted |= {"uid": os.geteuid(), "gid": os.getegid()}
    return wanted


def is_done(step: AnyStep, root: Path, changed: Collection[str]) -> bool:
    """Whether there is nothing to do. `changed`: files that the plan writes and that are not as they shall be. Raises OSError."""
    match step:
        case MakeDirectory():
            return inside(root, step.path).is_dir()
        case WriteFile():
            _, found = current(root, step.path)
            return found is not None and found == {**found, **owner_wanted(step, found), "sha256": sha256(step.content).hexdigest()}
        case RemoveFile():
            return current(root, step.path)[1] is None
        case SetSysctl():
            return sysctl_value(step.key) == step.value
        case RunCommand():
            return step.done_when is not None and succeeds(step.done_when)
        case StartDaemon():
            found = supervise.running(inside(root, RUN), step.name)
            same = found is not None and (found["argv"], found["folder"]) == (list(step.argv), str(inside(root, step.folder)))
            return same and not set(step.files) & set(changed)
        case StopDaemon():
            return not supervise.processes(inside(root, RUN), step.name)
        case StopUnit():
            state = unit_state(root, step)
            return not state["enabled"] and not state["active"]
        case ManageUnit():
            state = unit_state(root, step)
            return state["enabled"] and (state["active"] or not state["start"]) and not set(step.files) & set(changed)
        case _:
            assert_never(step)


def is_pending(step: AnyStep, root: Path, changed: set[str]) -> bool:
    """The same of the steps of a plan, asked one after another: a file that is to be written is put into `changed`, since a service that
    reads it is then not as it shall be. Raises OSError, subprocess.SubprocessError.
    """
    if is_done(step, root, changed):
        return False
    if isinstance(step, WriteFile):
        changed.add(step.path)
    return True


def undos(step: AnyStep, root: Path, *, save: Callable[[bytes], str], temporary: str) -> list[JsonObject]:
    """What takes it back, in this order, from what is there now. `save` keeps a file's bytes. Raises OSError."""
    match step:
        case MakeDirectory():
            return _undo_folders(root, inside(root, step.path), contents=step.contents)
        case WriteFile():
            return _undo_file(step, sha256(step.content).hexdigest(), root, save, temporary)
        case RemoveFile():
            return _undo_file(step, ABSENT, root, save, temporary)
        case SetSysctl():
            return [{"do": "sysctl", "values": [[key, sysctl_value(key)] for key in (step.key, *moved_along(step.key))]}]
        case RunCommand():
            return _undo_command(step)
        case StartDaemon():
            place = inside(root, RUN)
            return [_undo_daemon(step.name, root, supervise.running(place, step.name)), *_undo_folders(root, place)]
        case StopDaemon():
            return [_undo_daemon(step.name, root, supervise.recorded(inside(root, RUN), step.name))]
        case ManageUnit() | StopUnit():
            return [{"do": "unit", "unit": step.unit, **unit_state(root, step)}]
        case _:
            assert_never(step)


def _undo_folders(root: Path, path: Path, *, contents: bool = False) -> list[JsonObject]:
    missing = missing_folders(root, path)[::-1]
    return [{"do": "directory", "path": on_server(root, folder), "contents": contents and folder == path} for folder in missing]


def _undo_daemon(name: str, root: Path, found: JsonObject | None) -> JsonObject:
    was = None if found is None else {"argv": found["argv"], "folder": on_server(root, Path(found["folder"]))}
    return {"do": "daemon", "name": name, "was": was}


def _undo_file(step: WriteFile | RemoveFile, wrote: str, root: Path, save: Callable[[bytes], str], temporary: str) -> list[JsonObject]:
    path, found = current(root, step.path)
    was = None
    if found is not None:
        content = path.read_bytes()
        was = {**found, "sha256": sha256(content).hexdigest(), "saved": save(content)}
    facts = {"path": on_server(root, path), "was": was, "wrote": wrote, "temporary": temporary}
    return [{"do": "file", **facts}, *_undo_folders(root, path.parent)]


def _undo_command(step: RunCommand) -> list[JsonObject]:
    found: list[JsonObject] = []
    for undo in step.undo:
        if isinstance(undo, UndoNftRules):
            found.append({"do": "nft", "comment": undo.comment})
        else:
            found.append({"do": "run", **as_entry(undo.command), "when": None if undo.when is None else as_entry(undo.when)})
    if step.undo and step.done_when is not None:
        found.append({"do": "gone", **as_entry(step.done_when)})
    return found


def moved_along(key: str) -> list[str]:
    """Sysctls that the kernel changes with this one: forwarding of each interface, and whether redirects are accepted."""
    plain = key.replace("/", ".")
    if plain in ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"):
        first, folder = ["net/ipv4/conf/all/accept_redirects"], "net/ipv4/conf"
    elif plain == "net.ipv6.conf.all.forwarding":
        first, folder = [], "net/ipv6/conf"
    else:
        return []
    interfaces = sorted(path.name for path in (Path("/proc/sys") / folder).iterdir())
    return first + [f"{folder}/{name}/forwarding" for name in interfaces]


def unit_state(root: Path, step: ManageUnit | StopUnit) -> JsonObject:
    """Of a systemd unit: `enabled`, `active`, and `start`, whether it shall be started: below another root nothing is."""
    start = (isinstance(step, StopUnit) or step.start) and root == Path("/")
    enabled = run({"argv": [*_systemctl(root), "is-enabled", step.unit]}).stdout.startswith("enabled")
    active = start and run({"argv": ["systemctl", "is-active", "--quiet", step.unit]}).returncode == 0
    return {"enabled": enabled, "active": active, "start": start}


def _systemctl(root: Path) -> list[str]:
    return ["systemctl"] if root == Path("/") else ["systemctl", f"--root={root}"]


def take(step: AnyStep, root: Path, *, temporary: str, environment: Mapping[str, str]) -> None:
    """Raises StepFailed, OSError, subprocess.SubprocessError; then it may be half taken."""
    match step:
        case MakeDirectory():
            _make_folders(root, inside(root, step.path), step.mode)
            if not inside(root, step.path).is_dir():
                raise StepFailed(f"{step.path} is there, and is no folder")
        case WriteFile():
            path, found = current(root, step.path)
            _make_folders(root, path.parent, 0o755)
            write_whole(path, step.content, owner_wanted(step, found), path.with_name(temporary))
        case RemoveFile():
            path = inside(root, step.path)
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
        case SetSysctl():
            sysctl_file(step.key).write_text(f"{step.value}\n", "utf-8")
            if (now := sysctl_value(step.key)) != step.value:
                raise StepFailed(f"{step.key} stays {now}")
        case RunCommand():
            _run(as_entry(step.command), environment)
        case StartDaemon():
            _make_folders(root, inside(root, RUN), 0o755)
            if problem := supervise.start(inside(root, RUN), step.name, inside(root, step.folder), step.argv):
                raise StepFailed(problem)
        case StopDaemon():
            if problem := supervise.stop(inside(root, RUN), step.name):
                raise StepFailed(problem)
        case ManageUnit():
            _start_unit(step, root, environment)
        case StopUnit():
            if root == Path("/"):
                _run({"argv": ["systemctl", "stop", step.unit]}, environment)
            _run({"argv": [*_systemctl(root), "disable", step.unit]}, environment)
        case _:
            assert_never(step)


def _make_folders(root: Path, path: Path, mode: int) -> None:
    for folder in missing_folders(root, path):
        folder.mkdir()
        folder.chmod(mode if folder == path else 0o755)
        sync_folder(folder)
        sync_folder(folder.parent)


def _run(command: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    done = run(command, environment=environment)
    if done.returncode:
        raise StepFailed(f"{' '.join(command['argv'])[:150]}: status {done.returncode}: {last_line(done.stderr or done.stdout)}")


def _start_unit(step: ManageUnit, root: Path, environment: Mapping[str, str]) -> None:
    state = unit_state(root, step)
    if root == Path("/"):
        _run({"argv": ["systemctl", "daemon-reload"]}, environment)
    _run({"argv": [*_systemctl(root), "enable", step.unit]}, environment)
    if state["start"]:
        _run({"argv": ["systemctl", "restart" if state["active"] else "start", step.unit]}, environment)
        time.sleep(UNIT_SETTLES_S)
        _run({"argv": ["systemctl", "is-active", step.unit]}, environment)
