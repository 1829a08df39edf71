"""The process that takes a set-up back where nobody confirms it in time, or at once where the program that applies it has died.

It is started before the first step, in a session of its own, and so outlives the terminal and the ssh connection. Its standard input is a
pipe whose other end the applying program alone holds: the end of input says that this has ended, however it did, and the journal, read
under its lock, says whether it was complete. After a power cut the unit `vpnprobe-rollback.service`, or the next command, does the same.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import vpnprobe
from vpnprobe.deployment.rollback import Busy, locked, read_journal
from vpnprobe.deployment.supervise import start_time
from vpnprobe.deployment.taking_back import due, take_back_with_hooks
from vpnprobe.deployment.undoing import COMMAND_WITHIN_S
from vpnprobe.errors import CannotRun, ExitStatus

STUCK_AFTER_S: Final = 8 * COMMAND_WITHIN_S
"""An applying program that has shown no sign of life for so long is ended: a step has fewer commands."""
READY_WITHIN_S: Final = 20.0
TRIES: Final = 3
BOOT_UNIT_NAME: Final = "vpnprobe-rollback.service"
BOOT_UNIT: Final = """\
# What vpnprobe had not finished, or nobody had confirmed, when the machine went down is taken back before the network's servers start.
[Unit]
Description=Take back what vpnprobe provision has left unconfirmed
ConditionPathExists=/var/lib/vpnprobe/journal/journal.jsonl
DefaultDependencies=no
RequiresMountsFor=/var/lib/vpnprobe /etc /usr
After=local-fs.target systemd-remount-fs.service systemd-sysctl.service nftables.service netfilter-persistent.service ufw.service
Before=network-online.target openvpn.service basic.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=/usr/bin/env python3 /var/lib/vpnprobe/journal/rollback.py --unconfirmed
TimeoutStartSec=5min

[Install]
WantedBy=basic.target
"""
"""Text of the unit: it is planned where systemd is the init, and only enabled (`ManageUnit.start` is False)."""


@dataclass(slots=True)
class Watchdog:
    """The applying program's side."""

    process: "subprocess.Popen[bytes]"
    pipe: int

    def alive(self) -> None:
        """A step has been taken, or a part of it that may take long."""
        with suppress(OSError):
            os.write(self.pipe, b".")

    @property
    def identity(self) -> tuple[int, int]:
        """Process id and start time."""
        return self.process.pid, start_time(self.process.pid) or 0

    def release(self) -> None:
        """The journal says what is to be done: nothing, or wait for the deadline. The process is not waited for."""
        os.close(self.pipe)
        self.process.returncode = 0


def start_watchdog(folder: Path, root: Path) -> Watchdog:
    """It is watching when this returns. Raises CannotRun."""
    read, write = os.pipe()
    known = {**os.environ, "PYTHONPATH": str(Path(vpnprobe.__file__).parents[1])}
    command = [sys.executable, "-P", "-m", "vpnprobe.deployment.watchdog", str(folder), str(root), str(os.getpid())]
    try:
        with (folder / "watchdog.log").open("ab") as log:
            process = subprocess.Popen(command, stdin=read, stdout=subprocess.PIPE, stderr=log, env=known, cwd="/", start_new_session=True)
    except OSError as problem:
        os.close(write)
        raise CannotRun(
            f"the process that takes back cannot be started: {problem}; nothing was changed", status=ExitStatus.MISSING
        ) from None
    finally:
        os.close(read)
    assert process.stdout is not None
    with process.stdout as ready:
        if select.select([ready], [], [], READY_WITHIN_S)[0] and ready.read(1) == b"r":
            return Watchdog(process, write)
    os.close(write)
    process.kill()
    process.wait()
    why = f"see {folder / 'watchdog.log'}; nothing was changed"
    raise CannotRun(f"the process that takes back did not begin to watch: {why}", status=ExitStatus.MISSING)


def end_watchdog(identity: Sequence[int]) -> None:
    """Nothing is left for it to wait for."""
    if len(identity) == 2 and identity[1] and identity[0] != os.getpid() and start_time(identity[0]) == identity[1]:
        with suppress(ProcessLookupError):
            os.kill(identity[0], signal.SIGTERM)


def watch(folder: Path, root: Path, pipe: IO[bytes], applying: int) -> None:
    """Until nothing is left that may have to be taken back."""
    _until_end(pipe, applying)
    tries = 0
    while tries < TRIES and folder.is_dir():
        try:
            with locked(folder, wait_s=5.0):
                waits, short = _take_back_what_is_due(folder, root)
        except (Busy, OSError) as problem:
            _tell(str(problem))
            time.sleep(1.0)
            continue
        if short:
            tries += 1
            time.sleep(tries)
        elif waits is None:
            return
        else:
            # The clock that the deadline is told by goes on while the machine sleeps; this one does not.
            time.sleep(max(0.0, min(waits, 10.0)))


def _take_back_what_is_due(folder: Path, root: Path) -> tuple[float | None, list[str]]:
    """Under the lock: how long the next one may still be confirmed (None: none waits), and what could not be put back."""
    transactions = read_journal(folder)
    short: list[str] = []
    if wanted := due(transactions):
        short = take_back_with_hooks(folder, root, wanted, _tell)
        for line in short:
            _tell(f"could not be put back: {line}")
    waiting = [one.left_s for one in read_journal(folder) if not one.taken_back and not one.confirmed]
    return (min(waiting) if waiting else None), short


def _until_end(pipe: IO[bytes], applying: int) -> None:
    handle, started = pipe.fileno(), start_time(applying)
    while True:
        if not select.select([handle], [], [], STUCK_AFTER_S)[0]:
            _tell(f"process {applying} is stuck, and is ended")
            if started is not None and start_time(applying) == started:
                os.kill(applying, signal.SIGKILL)
        elif not os.read(handle, 4096):
            return


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    folder, root, applying = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    os.umask(0o077)
    os.write(1, b"r")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.close(silence)
    watch(folder, root, sys.stdin.buffer, applying)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
