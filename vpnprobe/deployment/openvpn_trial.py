"""A configuration is started for real before it is called good: the installed OpenVPN, in a network namespace that nothing else is in.

Nothing of this machine is touched: the namespace goes with the process, files lie in a temporary folder, and what the configuration would
write elsewhere (management socket, status, addresses of clients) is put into that folder. The device, the port and the dropping of
privileges are real, and so is the reading of the revocation list by the user that is left.
"""

import grp
import pwd
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from vpnprobe.deployment.openvpn_server import Places
from vpnprobe.deployment.settings import FOLDER
from vpnprobe.deployment.undoing import find_program, last_line
from vpnprobe.errors import CannotRun, ExitStatus

READY: Final = "Initialization Sequence Completed"
DEADLINE_S: Final = 10.0
POLL_S: Final = 0.02
_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:us=\d+ )?")
_END: Final = re.compile(r"^(Exiting due to fatal error|Options error: Please correct|Use --help for more)")
"""With this OpenVPN gives up; what is wrong stands before it."""
_CAUSE: Final = re.compile(r"^(?!OpenSSL: |WARNING|N[Oo][Tt][Ee]:).*\b([Cc]annot|[Ff]ailed|fails|[Ee]rror|ERROR)\b")
"""What OpenSSL says by itself names no file."""
_READS: Final = """
import os, sys
user, group, path = sys.argv[1:]
os.setgroups([])
os.setgid(int(group))
os.setuid(int(user))
open(path).close()
"""
"""Like the server: it starts as root, gives its privileges up, and opens the file from the folder that it is in. So where the user may
not reach a program (a root folder of mode 0700), or the folder's own path, that tells nothing."""


def try_configuration(text: str, keys: Mapping[str, bytes], *, program: str, user: str, group: str, deadline_s: float = DEADLINE_S) -> None:
    """Returns where the server has come up and its user can read the revocation list.

    `keys`: the files that the configuration names, by their paths on the server (below `settings.FOLDER`). `user`, `group`: as the
    configuration has them. Raises CannotRun: MISSING without a privilege or a program, REFUSED with OpenVPN's own words otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="vpnprobe-trial-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        for path, content in keys.items():
            _put(folder / Path(path).relative_to(FOLDER), content, readable=path.endswith((".crt", "crl.pem")))
        _put(folder / "trial.conf", text.encode(), readable=False)
        _start(_command(program, folder), folder / "log", deadline_s)
        _check_readable(folder, user, group)


def _put(path: Path, content: bytes, *, readable: bool) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.touch(mode=0o644 if readable else 0o600)
    path.write_bytes(content)


def _command(program: str, folder: Path) -> list[str]:
    unshare = find_program("unshare")
    if unshare is None:
        raise CannotRun("unshare is not installed: sudo apt install util-linux", status=ExitStatus.MISSING)
    return [unshare, "--net", "--", program, "--cd", str(folder), "--config", "trial.conf", *elsewhere(_own(folder))]


def _own(folder: Path) -> Places:
    return Places(management=str(folder / "management"), pool=str(folder / "pool"), status=str(folder / "status"))


def elsewhere(where: Places) -> list[str]:
    """Words behind a configuration on the command line that put what it writes into other places."""
    words: list[str] = []
    if where.management is not None:
        words += ["--management", where.management, "unix"]
    if where.pool is not None:
        words += ["--ifconfig-pool-persist", where.pool]
    return words if where.status is None else [*words, "--status", where.status]


def _start(command: Sequence[str], log: Path, deadline_s: float) -> None:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait(process, log, time.monotonic() + deadline_s)
    finally:
        # Nothing needs its goodbye: namespace, device and sockets go with it.
        process.kill()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", log: Path, deadline: float) -> None:
    while True:
        # In this order: what it said before it ended is not missed.
        ended, said = process.poll() is not None, log.read_text("utf-8", "replace")
        if READY in said:
            return
        if ended:
            if said.startswith("unshare:"):
                raise CannotRun(f"a network namespace cannot be made: {said.strip()}: run it as root", status=ExitStatus.MISSING)
            raise CannotRun(f"OpenVPN does not start with this configuration: {cause(said)}", status=ExitStatus.REFUSED)
        if time.monotonic() > deadline:
            raise CannotRun(f"OpenVPN does not come up with this configuration in time: {cause(said)}", status=ExitStatus.REFUSED)
        time.sleep(POLL_S)


def cause(log: str) -> str:
    """OpenVPN's first line that says what is wrong, otherwise its last before it gave up, without its time."""
    lines = [_TIME.sub("", line).strip() for line in log.splitlines()]
    end = next((number for number, line in enumerate(lines) if _END.search(line)), len(lines))
    said = [line for line in lines[:end] if line]
    return next((line for line in said if _CAUSE.search(line)), said[-1] if said else "it says nothing")


def _check_readable(folder: Path, user: str, group: str) -> None:
    try:
        left = [str(pwd.getpwnam(user).pw_uid), str(grp.getgrnam(group).gr_gid)]
    except KeyError as error:
        raise CannotRun(f"the server cannot run as {user}:{group}: {error.args[0]}", status=ExitStatus.REFUSED) from None
    command = [sys.executable, "-I", "-S", "-c", _READS, *left, "vpnprobe/crl.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    if done.returncode:
        why = last_line(done.stderr)
        raise CannotRun(f"{user} cannot read the revocation list, so that nobody could connect: {why}", status=ExitStatus.REFUSED)
