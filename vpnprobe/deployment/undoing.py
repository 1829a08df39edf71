"""What each kind of undo does to a server, and the proof that it is done. The standard library alone.

rollback.py tells the journal's format. Copied into the journal's folder. Each may be done twice, and is right where its step was never,
half or wholly taken.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING or __package__:
    from vpnprobe.deployment.durable import found_state, inside, sync_folder, write_whole
else:  # the copy in the journal's folder
    from durable import found_state, inside, sync_folder, write_whole

MARK: Final = "VPNPROBE_TRANSACTION"
"""Environment variable that commands of a transaction are known by: FOLDER:NUMBER."""
COMMAND_WITHIN_S: Final = 60.0
Entry = Mapping[str, Any]
Tell = Callable[[str], None]


class NotPutBack(Exception):
    """One thing is not as it was before."""


def search_path() -> str:
    """PATH, and where programs of the system lie, which that of a user or a unit may lack."""
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_program(name: str) -> str | None:
    """The path of a program; None: it is not installed."""
    return shutil.which(name, path=search_path())


def run(command: Entry, *, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A program with its arguments, not through a shell. Raises OSError and subprocess.SubprocessError."""
    known = {**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8", **(environment or {})}
    program = find_program(command["argv"][0])
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "is not installed", command["argv"][0])
    argv = [program, *command["argv"][1:]]
    pipe = subprocess.PIPE
    # The journal's lock is closed by the exec itself, and not before: who then gets the lock finds this process by its environment.
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=known, start_new_session=True, close_fds=False) as child:
        try:
            out, err = child.communicate(command.get("stdin", "").encode(), timeout=COMMAND_WITHIN_S)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(argv, child.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "no reason given"


def sysctl_file(key: str) -> Path:
    """As sysctl(8) reads a key: with slashes where an interface has a dot in its name."""
    return Path("/proc/sys") / (key if "/" in key else key.replace(".", "/"))


class Undoing:
    """Takes back, in one folder, below one root."""

    def __init__(self, folder: Path, root: Path, tell: Tell) -> None:
        self.folder, self.root, self.tell = folder, root, tell
        self.at_last: dict[str, tuple[Callable[[Entry], None], Entry]] = {}
        """What is done when all files are back: by unit or daemon."""

    def one(self, undo: Entry) -> None:
        """Raises whatever goes wrong."""
        getattr(self, f"_{undo['do']}")(undo)

    def _file(self, undo: Entry) -> None:
        path = inside(self.root, undo["path"], follow_last=False)
        for name in (undo["temporary"], f"{undo['temporary']}-undo"):
            # What was to be its folder may be a file: then nothing is there.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.with_name(name).unlink()
        was = undo["was"]
        if was is None:
            self._keep_of_others(path, undo)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
        elif not self._is(path, was):
            self._restore(path, undo, was)
        _sync_above(path)

    def _restore(self, path: Path, undo: Entry, was: Entry) -> None:
        content = (self.folder / was["saved"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != was["sha256"]:
            raise NotPutBack(f"{path} stays as it is: {self.folder / was['saved']} is damaged")
        self._keep_of_others(path, undo)
        temporary = path.with_name(f"{undo['temporary']}-undo")
        try:
            write_whole(path, content, was, temporary)
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            path.unlink(missing_ok=True)  # It goes anyway, and makes room.
            write_whole(path, content, was, temporary)
        if not self._is(path, was):
            raise NotPutBack(f"{path} has not its bytes, mode, owner and attributes of before")

    def _is(self, path: Path, was: Entry) -> bool:
        try:
            return found_state(path) == {name: value for name, value in was.items() if name != "saved"}
        except OSError:
            return False

    def _keep_of_others(self, path: Path, undo: Entry) -> None:
        """What somebody has written into the file since is not lost."""
        try:
            found = path.read_bytes()
        except OSError:
            return
        before = undo["was"]["sha256"] if undo["was"] else ""
        if (digest := hashlib.sha256(found).hexdigest()) in (undo["wrote"], before):
            return
        kept = self.folder / f"edited-{digest[:12]}-{path.name[:100]}"
        if not kept.exists():
            owner = {"mode": "0600", "uid": os.geteuid(), "gid": os.getegid(), "xattrs": {}}
            write_whole(kept, found, owner, self.folder / "edited-new")
        self.tell(f"{path} was edited since: what stood there is kept as {kept}")

    def _directory(self, undo: Entry) -> None:
        path = inside(self.root, undo["path"], follow_last=False)
        if not path.is_dir() or path.is_symlink():
            pass
        elif undo["contents"]:
            shutil.rmtree(path)
        else:
            try:
                path.rmdir()
            except OSError as problem:
                if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                self.tell(f"{path} is left: it holds {next(path.iterdir()).name}, which the set-up did not write")
        _sync_above(path)

    def _sysctl(self, undo: Entry) -> None:
        short = []
        for key, value in undo["values"]:
            file = sysctl_file(key)
            if not file.exists():  # of an interface that is gone
                continue
            if file.read_text("utf-8").strip() != value:
                file.write_text(f"{value}\n", "utf-8")
            if (now := file.read_text("utf-8").strip()) != value:
                short.append(f"sysctl {key} is {now}, not {value}")
        if short:
            raise NotPutBack("; ".join(short))

    def _run(self, undo: Entry) -> None:
        if undo["when"] is not None and run(undo["when"]).returncode:
            return
        done = run(undo)
        if done.returncode:
            raise NotPutBack(f"{' '.join(undo['argv'])[:150]}: status {done.returncode}: {last_line(done.stderr or done.stdout)}")

    def _gone(self, undo: Entry) -> None:
        if not run(undo).returncode:
            raise NotPutBack(f"it is still there: {' '.join(undo['argv'])[:150]} succeeds")

    def _nft(self, undo: Entry) -> None:
        rules = nft_rules(undo["comment"])
        if rules:
            script = "".join(f"delete rule {rule['family']} {rule['table']} {rule['chain']} handle {rule['handle']}\n" for rule in rules)
            done = run({"argv": ["nft", "-f", "-"], "stdin": script})
            if done.returncode or nft_rules(undo["comment"]):
                raise NotPutBack(f"nftables rules with the comment {undo['comment']!r} are still there: {last_line(done.stderr)}")

    def _daemon(self, undo: Entry) -> None:
        self._supervise("stop", undo["name"])
        self.at_last[f"daemon {undo['name']}"] = (self._start_again, undo)

    def _start_again(self, undo: Entry) -> None:
        if undo["was"] is not None:
            self._supervise("start", undo["name"], str(inside(self.root, undo["was"]["folder"])), *undo["was"]["argv"])

    def _supervise(self, what: str, name: str, *rest: str) -> None:
        program = Path(__file__).resolve().with_name("supervise.py")
        done = run({"argv": [sys.executable or "python3", "-I", str(program), what, str(inside(self.root, "/run/vpnprobe")), name, *rest]})
        if done.returncode:
            raise NotPutBack(f"the process {name} is not as it was: {last_line(done.stderr)}")

    def _unit(self, undo: Entry) -> None:
        if undo["start"] and not undo["active"]:
            self._systemctl("stop", undo["unit"])
        if not undo["enabled"]:
            self._systemctl("disable", undo["unit"])
        self.at_last[f"unit {undo['unit']}"] = (self._unit_again, undo)

    def _unit_again(self, undo: Entry) -> None:
        self._systemctl("daemon-reload")
        if undo["enabled"]:
            self._systemctl("enable", undo["unit"])
        if not undo["start"]:
            return
        booting = run({"argv": ["systemctl", "is-system-running"]}).stdout.strip() in ("initializing", "starting")
        if undo["active"]:
            self._systemctl(*(["--no-block"] if booting else []), "restart", undo["unit"])
        if not booting and (run({"argv": ["systemctl", "is-active", "--quiet", undo["unit"]]}).returncode == 0) != undo["active"]:
            raise NotPutBack(f"the unit {undo['unit']} is {'not running' if undo['active'] else 'still running'}")

    def _systemctl(self, *words: str) -> None:
        elsewhere = [] if self.root == Path("/") else [f"--root={self.root}"]
        done = run({"argv": ["systemctl", "--quiet", *elsewhere, *words]})
        if done.returncode and "not loaded" not in done.stderr and "does not exist" not in done.stderr:
            raise NotPutBack(f"systemctl {' '.join(words)}: {last_line(done.stderr)}")


def _sync_above(path: Path) -> None:
    """Whoever was killed in the middle of this may have changed the folder, and not synced it."""
    sync_folder(next(folder for folder in path.parents if folder.is_dir()))


def nft_rules(comment: str) -> list[Entry]:
    """Those that bear it, in this network namespace."""
    done = run({"argv": ["nft", "-j", "-a", "list", "ruleset"]})
    if done.returncode:
        raise NotPutBack(f"nft list ruleset: {last_line(done.stderr)}")
    return [item["rule"] for item in json.loads(done.stdout)["nftables"] if item.get("rule", {}).get("comment") == comment]


def marked(mark: str) -> list[int]:
    """Processes of this system (not of a container in it) in whose environment this stands."""
    found = []
    here = os.readlink("/proc/self/ns/pid")
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark.encode() in (process / "environ").read_bytes().split(b"\0") and os.readlink(process / "ns/pid") == here:
                    found.append(int(process.name))
    return found


def end_marked(mark: str) -> None:
    """Ends the processes in whose environment this stands, and what they start meanwhile."""
    until = time.monotonic() + 10
    quiet = 0
    while quiet < 2 and time.monotonic() < until:
        left = marked(mark)
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        quiet = 0 if left else quiet + 1  # While a program is being started its environment cannot be read.
        time.sleep(0.02)
