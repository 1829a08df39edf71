"""Keeps a process running where no systemd does, and ends it. The standard library alone; copied into the journal's folder.

    python3 supervise.py start RUN NAME FOLDER PROGRAM [ARGUMENT]...
    python3 supervise.py stop RUN NAME

RUN is ROOT/run/vpnprobe. It has a session of its own and starts the program again where that ends by itself, after a pause that
grows from 1 to 30 s. RUN/NAME.pid is one JSON object: `supervisor` and `child`, each [process id, start time in clock ticks since boot],
with `argv`, `folder` and `lives`: whether the program has run so long that from now on it is started again. RUN/NAME.log is what the
program prints; it is emptied beyond 4 MiB. Both processes also bear the environment variable VPNPROBE_DAEMON=RUN/NAME, so that they are
found where a power cut or a kill came before the file was written.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

MARK: Final = "VPNPROBE_DAEMON"
LIVES_S: Final = 0.5
"""A program that has run so long has read its configuration."""
PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_S: Final = 60.0
"""After so long the pause is the first one again."""
LOG_BYTES: Final = 4 << 20
STOP_WITHIN_S: Final = 10.0


def start_time(process: int) -> int | None:
    """In clock ticks since boot, by which a process is told from a later one with its number; None: it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(process: int, started: int | None) -> bool:
    """`started` None: it had ended before that could be noted."""
    return started is not None and start_time(process) == started


def recorded(run: Path, name: str) -> dict[str, Any] | None:
    """What stands in its file; None: there is none."""
    try:
        found = json.loads((run / f"{name}.pid").read_bytes())
        lists = {key: list(found[key]) for key in ("supervisor", "child", "argv")}
        return {**lists, "folder": str(found["folder"]), "lives": found.get("lives") is True}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running(run: Path, name: str) -> dict[str, Any] | None:
    """Its record where supervisor and program run; else None."""
    found = recorded(run, name)
    if found is None:
        return None
    return found if is_alive(*found["supervisor"]) and is_alive(*found["child"]) else None


def processes(run: Path, name: str) -> list[int]:
    """All of them, the supervisor first."""
    found = recorded(run, name)
    named = [process for process, started in (found["supervisor"], found["child"]) if is_alive(process, started)] if found else []
    return list(dict.fromkeys(named + sorted(_marked(f"{MARK}={run / name}"))))


def _marked(mark: str) -> list[int]:
    found = []
    here = os.readlink("/proc/self/ns/pid")
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark.encode() in (process / "environ").read_bytes().split(b"\0") and os.readlink(process / "ns/pid") == here:
                    found.append(int(process.name))
    return [process for process in found if start_time(process) is not None]


def stop(run: Path, name: str) -> str:
    """Ends supervisor and program, and removes their files. Gives what stands against it; empty: they are gone."""
    until = time.monotonic() + STOP_WITHIN_S
    asked: set[int] = set()
    while left := processes(run, name):
        late = time.monotonic() > until - STOP_WITHIN_S / 2
        for process in left if late else {left[0]} - asked:
            asked.add(process)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL if late else signal.SIGTERM)
        if time.monotonic() > until:
            return f"process {left[0]} does not end"
        time.sleep(0.02)
    for ending in ("pid", "pid-new", "log"):
        (run / f"{name}.{ending}").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # It is not there, or something else is in it.
        run.rmdir()
    for folder in (run, run.parent):  # Below another root it may lie on a disk.
        with contextlib.suppress(OSError):
            _sync(folder)
    return ""


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def start(run: Path, name: str, folder: Path, argv: Sequence[str]) -> str:
    """Ends what runs under this name, and starts anew. Gives what stands against it; empty: it runs."""
    if still := stop(run, name):
        return still
    run.mkdir(mode=0o755, parents=True, exist_ok=True)
    command = [sys.executable, "-I", os.path.realpath(__file__), "run", str(run), name, str(folder), *argv]
    environment = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", MARK: str(run / name)}
    null = subprocess.DEVNULL
    with (run / f"{name}.log").open("ab") as log:
        # Whoever holds a lock here keeps it until the supervisor can be found by its environment; it closes what is left itself.
        supervisor = subprocess.Popen(
            command, stdin=null, stdout=log, stderr=log, env=environment, cwd="/", start_new_session=True, close_fds=False
        )
    until = time.monotonic() + STOP_WITHIN_S
    while supervisor.poll() is None and time.monotonic() < until:
        if (found := running(run, name)) and found["supervisor"][0] == supervisor.pid and found["lives"]:
            supervisor.returncode = 0  # It is not waited for: it outlives this process.
            return ""
        time.sleep(0.02)
    said = (run / f"{name}.log").read_text("utf-8", "replace").strip().splitlines()
    still = stop(run, name)
    supervisor.wait()
    return f"{argv[0]} ended at once: {said[-1][:300] if said else 'it printed nothing'}" + (f"; {still}" if still else "")


class Supervisor:
    """The process that stays."""

    def __init__(self, run: Path, name: str, folder: Path, argv: Sequence[str]) -> None:
        self.run, self.name, self.folder, self.argv = run, name, folder, argv
        self.child: subprocess.Popen[bytes] | None = None
        self.ending = False
        self.lives = False

    def serve(self) -> int:
        os.closerange(3, 4096)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ended_early = 0
        while not self.ending:
            began = time.monotonic()
            if not self._start():
                return 1
            self._wait()
            if not self.lives:
                return 1
            ended_early = 0 if time.monotonic() - began > STEADY_S else ended_early + 1
            self._pause(PAUSES_S[min(ended_early, len(PAUSES_S)) - 1])
        return 0

    def _start(self) -> bool:
        try:
            self.child = subprocess.Popen(self.argv, cwd=self.folder, stdin=subprocess.DEVNULL, preexec_fn=_dies_with_its_parent())
        except OSError as problem:
            print(f"{self.argv[0]} cannot be started: {problem.strerror}", file=sys.stderr, flush=True)
            return False
        if self.ending:
            self.child.terminate()
        self._record(self.child.pid)
        return True

    def _record(self, child: int) -> None:
        record = {
            "supervisor": [os.getpid(), start_time(os.getpid())],
            "child": [child, start_time(child)],
            "argv": list(self.argv),
            "folder": str(self.folder),
            "lives": self.lives,
        }
        new = self.run / f"{self.name}.pid-new"
        new.write_text(json.dumps(record) + "\n", "utf-8")
        new.replace(self.run / f"{self.name}.pid")

    def _wait(self) -> None:
        assert self.child is not None
        ended = os.pidfd_open(self.child.pid)
        if not self.lives and not select.select([ended], [], [], LIVES_S)[0]:
            # Said by the one that acts on it, so that whoever has heard it may count on the next start.
            self.lives = True
            self._record(self.child.pid)
        while self.child.poll() is None:
            select.select([ended], [], [], STEADY_S)
            with contextlib.suppress(OSError):
                if os.fstat(1).st_size > LOG_BYTES:
                    os.ftruncate(1, 0)
        os.close(ended)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.ending and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _end(self, *_: object) -> None:
        self.ending = True
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()


def _dies_with_its_parent() -> Callable[[], None]:
    """What a program does before it begins: the kernel ends it where the supervisor is killed (prctl, PR_SET_PDEATHSIG = 1)."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, signal.SIGKILL)


def main(arguments: Sequence[str]) -> int:
    try:
        what, run, name, *rest = arguments
        if what == "stop" and not rest:
            problem = stop(Path(run), name)
        elif what == "start" and len(rest) > 1:
            problem = start(Path(run), name, Path(rest[0]), rest[1:])
        elif what == "run" and len(rest) > 1:
            return Supervisor(Path(run), name, Path(rest[0]), rest[1:]).serve()
        else:
            problem = "start RUN NAME FOLDER PROGRAM..., or stop RUN NAME"
    except (OSError, ValueError) as error:
        problem = str(error)
    if problem:
        print(f"supervise: {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
