"""The server agent runs on the standard library alone: with everything else blocked, and as the one file that goes through ssh.

Started as a subprocess with an import hook that refuses whatever is neither of Python itself nor of vpnprobe; a client measures all that
the server agent is for against it.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import pytest

import vpnprobe
from vpnprobe.agents.client import ClientRun, Measured
from vpnprobe.agents.pairing import connector, credentials
from vpnprobe.agents.token import server_token
from vpnprobe.lab.namespaces import Lab
from vpnprobe.observations.schema import Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.bundle import FIRST_STAGE, archive_of, transmission
from vpnprobe.transports.stack import Address, ConnectError, ConnectFailure, Endpoint, TcpStream
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.topology import CLIENT, SERVER, Topology

LOOPBACK: Final = IPv4Address("127.0.0.1")
PATIENCE_S: Final = 60.0
OWN_PORT: Final = 12_000 + os.getpid() % 8_000
"""Tests run side by side, and what another agent has it does not answer for."""
HIGH_PORTS: Final = Settings((OWN_PORT, OWN_PORT + 8_000), frozenset({"tcp", "udp", "openvpn"}))
EVERYTHING: Final = Settings((1194, 443))
SEEN: Final = "foreign modules: "
CRYPTOGRAPHY: Final = "blocked: cryptography"
"""Looked for, and done without: the system's own libcrypto takes its place."""
WHOLE_SESSIONS: Final = {f"openvpn/{check}/{transport}" for check in ("reset", "handshake", "data") for transport in ("udp", "tcp")}

BLOCK: Final = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        # The standard library's own copy.py looks for Jython's org.python.
        if top not in sys.stdlib_module_names and top not in ("vpnprobe", "org"):
            print("blocked: " + name, file=sys.stderr, flush=True)
            raise ModuleNotFoundError("blocked: " + name, name=name)
        return None

sys.meta_path.insert(0, Blocked())
"""
TELL: Final = """
import atexit

def tell():
    # Whatever the interpreter's own start-up brought in does not count: only what was imported since.
    new = set(sys.modules) - at_start
    foreign = sorted(n for n in new if n.partition(".")[0] not in sys.stdlib_module_names and n.partition(".")[0] != "vpnprobe")
    print("foreign modules: " + ",".join(foreign), file=sys.stderr, flush=True)

at_start = set(sys.modules)
atexit.register(tell)
"""
REMOTE: Final = """
from vpnprobe.agents.remote import main
sys.exit(main())
"""


class Pipes:
    """A process's standard input and output as the client's one control connection."""

    def __init__(self, process: Process, address: Address) -> None:
        self._process = process
        self.local = self.remote = Endpoint(address, 22)

    async def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except OSError as error:
            raise ConnectError(ConnectFailure.RESET, self.remote) from error

    async def receive(self, limit: int = 65536) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.read(limit)

    def segments(self) -> tuple[int, int] | None:
        return None

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


async def over_pipes(command: list[str], *, first: bytes, address: Address, client: Address, settings: Settings) -> tuple[Measured, str]:
    """A run against the agent that the command starts, and what that wrote to its standard error."""
    environment = {"SSH_CONNECTION": f"{client} 40000 {address} 22", "PATH": os.environ["PATH"], "TMPDIR": tempfile.gettempdir()}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    assert process.stderr is not None
    streams = [Pipes(process, address)]
    if first:
        await streams[0].send(first)

    async def connect() -> TcpStream:
        return streams.pop()

    stack = SystemStack()
    try:
        async with asyncio.timeout(PATIENCE_S):
            measured = await ClientRun(stack, address, settings, connect, lambda _: None).measure()
            errors = (await process.stderr.read()).decode()
            assert await process.wait() == 0
            return measured, errors
    finally:
        stack.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


def check(measured: Measured, errors: str) -> None:
    assert measured.complete, measured.problem
    assert set(errors.splitlines()) <= {SEEN, CRYPTOGRAPHY}
    assert "Traceback" not in errors


def passing(measured: Measured) -> set[str]:
    return {f"{o.probe}/{o.check}/{o.transport}" for o in measured.observations if o.outcome is Outcome.PASS}


def hooked(tail: str) -> list[str]:
    """Python with everything blocked but its own library and this program's files."""
    root = str(Path(vpnprobe.__file__).parents[1])
    return [sys.executable, "-S", "-B", "-c", f"{BLOCK}{TELL}\nsys.path.insert(0, {root!r})\n{tail}"]


def test_the_hook_blocks() -> None:
    done = subprocess.run([*hooked("import click")], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "blocked: click" in done.stderr


def test_it_measures_with_everything_else_blocked() -> None:
    measured, errors = asyncio.run(over_pipes(hooked(REMOTE), first=b"", address=LOOPBACK, client=LOOPBACK, settings=HIGH_PORTS))
    check(measured, errors)
    assert errors.splitlines()[-1] == SEEN
    assert {"tcp/reach/tcp", "udp/reach/udp"} | WHOLE_SESSIONS <= passing(measured)


@pytest.mark.parametrize("options", [["-I", "-S"], ["-I", "-S", "-X", "utf8=0"], ["-I", "-S", "-W", "error"]], ids=" ".join)
def test_it_measures_as_the_file_that_goes_through_ssh(options: list[str]) -> None:
    command = [sys.executable, *options, "-c", FIRST_STAGE]
    measured, errors = asyncio.run(over_pipes(command, first=transmission(), address=LOOPBACK, client=LOOPBACK, settings=HIGH_PORTS))
    check(measured, errors)
    assert errors == ""
    assert {"tcp/reach/tcp", "udp/reach/udp"} | WHOLE_SESSIONS <= passing(measured)


def test_nothing_is_left_behind_by_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lives in memory: no file of it is on the disk afterwards, and none is needed while it runs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # That of the machine belongs to other programs too, and they to this project.
    command = [sys.executable, "-I", "-S", "-c", FIRST_STAGE]
    asyncio.run(over_pipes(command, first=transmission(), address=LOOPBACK, client=LOOPBACK, settings=Settings((), frozenset({"udp"}))))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
@pytest.mark.requires("namespaces", "raw-ip")
def test_it_measures_every_protocol_in_a_namespace(tmp_path: Path) -> None:
    """TCP, UDP, GRE, ESP, PPTP with LCP, L2TP, IKE and OpenVPN resets; with the file that goes through ssh."""
    archive = tmp_path / "vpnprobe.zip"
    archive.write_bytes(archive_of(Path(vpnprobe.__file__).parent))
    start = f"{BLOCK}{TELL}\nsys.path.insert(0, {str(archive)!r})\n{REMOTE}"
    with Lab(Topology(routers=1), f"vpstd-{os.getpid()}") as lab:
        topology = lab.topology
        command = [*lab.exec_prefix(SERVER), sys.executable, "-I", "-S", "-c", start]
        with lab.inside(CLIENT):
            measured, errors = asyncio.run(
                over_pipes(command, first=b"", address=topology.server_address, client=topology.client_address, settings=EVERYTHING)
            )
    check(measured, errors)
    assert errors.splitlines()[-1] == SEEN
    # A machine that runs other tests beside this one may be late, and say so.
    assert {o.outcome for o in measured.observations if o.check != "late"} == {Outcome.PASS}
    assert passing(measured) >= {
        "tcp/reach/tcp",
        "udp/reach/udp",
        "gre/passthrough/gre",
        "esp/passthrough/esp",
        "pptp/control/tcp",
        "pptp/lcp/gre",
        "l2tp/control/udp",
        "ike/ikev1-main/udp",
        "ike/ikev2-init/udp",
        "ike/esp-in-udp/udp",
        "openvpn/reset/udp",
        "openvpn/reset/tcp",
        "path/trace/udp",
        "nat/mapping/tcp",
        "nat/mapping/udp",
    }
    assert set(measured.captures) == {"client.pcap", "server.pcap"}


def test_with_a_token_made_before_it_serves_over_tls_too(tmp_path: Path) -> None:
    """Only making a certificate needs a package; a token that is there needs none."""
    token, _ = server_token(tmp_path / "token")
    serve = f"""
import asyncio
from ipaddress import ip_address
from pathlib import Path
from vpnprobe.agents.pairing import admission, listen
from vpnprobe.agents.server import ServerAgent
from vpnprobe.agents.token import server_token
from vpnprobe.transports.system import SystemStack

async def main():
    token, pem = server_token(Path({str(tmp_path / "token")!r}))
    agent = ServerAgent(SystemStack(), admits=admission(token))
    agent.start()
    listener = await listen(agent, pem, port=0, address=ip_address("127.0.0.1"))
    print(listener.local.port, flush=True)
    while not agent.ended:
        await asyncio.sleep(0.1)
    listener.close()
    agent.close()

asyncio.run(main())
"""

    async def story() -> tuple[Measured, str]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*hooked(serve), stdout=pipe, stderr=pipe)
        assert process.stdout is not None
        assert process.stderr is not None
        stack = SystemStack()
        try:
            async with asyncio.timeout(PATIENCE_S):
                port = int(await process.stdout.readline())
                connect: Callable[[], Awaitable[TcpStream]] = connector(stack, Endpoint(LOOPBACK, port), token)
                measured = await ClientRun(stack, LOOPBACK, HIGH_PORTS, connect, lambda _: None, credentials(token)).measure()
                return measured, (await process.stderr.read()).decode()
        finally:
            stack.close()
            if process.returncode is None:
                process.kill()
            await process.wait()

    measured, errors = asyncio.run(story())
    check(measured, errors)
    assert errors.splitlines()[-1] == SEEN
    assert {"tcp/reach/tcp", "udp/reach/udp", "openvpn/reset/tcp"} <= passing(measured)
