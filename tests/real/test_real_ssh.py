"""`vpnprobe run --peer ssh://...` with a real sshd in the server's namespace: the agent that ssh starts, or that goes over with it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_support import PROGRAM, Ran, run

from vpnprobe import __version__
from vpnprobe.lab.namespaces import Lab
from vpnprobe.transports.topology import CLIENT, SERVER

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces")]

PORT = 2222
SSHD = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin")
PATIENCE_S = 10.0
SYSTEM_PATH = f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin"
"""Has a python3, and no vpnprobe."""


@dataclass(frozen=True)
class Sshd:
    """Keys `plain`, `installed` and `without_python` find another remote environment each; `stranger` finds none."""

    lab: Lab
    folder: Path
    pid: int

    @property
    def target(self) -> str:
        return f"ssh://root@{self.lab.topology.server_address}:{PORT}"

    def environment(self, key: str) -> dict[str, str]:
        """In which `ssh` is told what to use."""
        return {"PATH": f"{self.folder / key}:{os.environ['PATH']}"}

    def run(self, key: str, folder: Path, *options: str) -> Ran:
        peer = () if "--peer" in options else ("--peer", self.target)
        return run(self.lab, folder, *peer, *options, environment=self.environment(key))


def client_of(folder: Path, key: str, address: str) -> None:
    """A folder with an `ssh` that logs in with the key."""
    (folder / key).mkdir()
    config = folder / key / "config"
    config.write_text(
        f"Host *\nIdentityFile {folder}/{key}.key\nIdentitiesOnly yes\nIdentityAgent none\nBatchMode yes\nLogLevel ERROR\n"
        f"UserKnownHostsFile {folder}/{'nobody' if key == 'unknown_host' else 'known_hosts'}\n"
    )
    program = folder / key / "ssh"
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    program.chmod(0o755)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / f"{key}.key")], check=True)


def remote_paths(folder: Path) -> dict[str, str]:
    """PATH on the far side, by key."""
    for name in ("installed_bin", "empty_bin"):
        (folder / name).mkdir()
    program = folder / "installed_bin" / "vpnprobe"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m vpnprobe "$@"\n')
    program.chmod(0o755)
    for name in ("sh", "bash", "sed", "cat"):
        (folder / "empty_bin" / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    return {
        "plain": SYSTEM_PATH,
        "installed": f"{folder}/installed_bin:{SYSTEM_PATH}",
        "without_python": f"{folder}/empty_bin",
        "unknown_host": SYSTEM_PATH,
    }


@pytest.fixture(scope="module")
def sshd(clean_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("needs ssh and sshd: sudo apt install openssh-client openssh-server")
    folder, address = tmp_path_factory.mktemp("sshd"), str(clean_lab.topology.server_address)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    paths = remote_paths(folder)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")], check=True)
    for key in (*paths, "stranger"):
        client_of(folder, key, address)
    (folder / "known_hosts").write_text(f"[{address}]:{PORT} {(folder / 'host.pub').read_text()}")
    (folder / "authorized_keys").write_text(
        "".join(f'environment="PATH={path}" {(folder / f"{key}.key.pub").read_text()}' for key, path in paths.items())
    )
    (folder / "sshd_config").write_text(
        f"Port {PORT}\nListenAddress {address}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        "PermitUserEnvironment PATH\nPidFile none\n"
    )
    command = [*clean_lab.exec_prefix(SERVER), SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while b"listening" not in (line := process.stderr.readline()):
            assert line, "sshd did not start"
        yield Sshd(clean_lab, folder, process.pid)
        process.terminate()


@contextmanager
def nothing_left(sshd: Sshd) -> Iterator[None]:
    """On the far side no process but sshd stays, and no copy of the program."""
    yield
    eventually(lambda: sshd.lab.processes(SERVER) == [sshd.pid])
    assert list(Path("/tmp").glob("vpnprobe-*/vpnprobe.zip")) == []


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("key", "way"), [("installed", "installed"), ("plain", "sent")])
def test_the_verdicts_are_those_of_a_run_over_tls(sshd: Sshd, tmp_path: Path, key: str, way: str) -> None:
    with nothing_left(sshd):
        ran = sshd.run(key, tmp_path)
    assert ran.status == 0
    assert f"server agent {way} at {sshd.lab.topology.server_address}" in ran.errors
    # A host without the packages cryptography and pycryptodome can speak all but WireGuard.
    lacking = {protocol for protocol, found in ran.feasibility.items() if found != "feasible"}
    assert lacking <= ({"wireguard"} if way == "sent" else set())
    assert not lacking or "needs the Python package" in ran.because("wireguard") or "need the Python package" in ran.because("wireguard")
    assert {path.name for path in ran.folder.glob("*.pcap")} == {"client.pcap", "server.pcap"}
    assert ran.offline() == ran.feasibility
    assert ran.document["run"]["server"]["version"] == __version__


@pytest.mark.parametrize("key", ["installed", "plain"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_agent_there_ends_with_a_client_that_is_killed(sshd: Sshd, tmp_path: Path, key: str, number: signal.Signals) -> None:
    command = [*sshd.lab.exec_prefix(CLIENT), *PROGRAM, "run", "--peer", sshd.target, "--json", "-o", str(tmp_path / "out")]
    environment = {**os.environ, **sshd.environment(key)}
    with (
        nothing_left(sshd),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process,
    ):
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("probing"):
            assert line
        assert len(sshd.lab.processes(SERVER)) >= 2
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)


def test_a_host_without_python(sshd: Sshd, tmp_path: Path) -> None:
    with nothing_left(sshd):
        one_line(sshd.run("without_python", tmp_path), "has no python3 of 3.11 or later")


def test_a_refused_login(sshd: Sshd, tmp_path: Path) -> None:
    one_line(sshd.run("stranger", tmp_path), "refused the login")


def test_an_unknown_host_key(sshd: Sshd, tmp_path: Path) -> None:
    one_line(sshd.run("unknown_host", tmp_path), "host key")


def test_no_such_host(sshd: Sshd, tmp_path: Path) -> None:
    one_line(sshd.run("plain", tmp_path, "--peer", "ssh://no-such-host.invalid"), "is not known")


def test_no_sshd(sshd: Sshd, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    target = f"ssh://root@{sshd.lab.topology.server_address}:{port}"
    one_line(sshd.run("plain", tmp_path, "--peer", target), "nothing listens for ssh")


def one_line(ran: Ran, expected: str) -> None:
    """Status 4, one error line (progress aside), nothing written."""
    assert ran.status == 4
    errors = [line for line in ran.errors.splitlines() if not line.startswith("starting the server agent")]
    assert len(errors) == 1, errors
    assert errors[0].startswith("error: ")
    assert expected in errors[0]
    assert not ran.folder.exists()
