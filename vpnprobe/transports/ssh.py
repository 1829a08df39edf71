"""Starts the server agent on another host through the system's ssh, and gives its standard input and output as a stream.

The remote side is found out by one line of POSIX sh: an installed vpnprobe of this very version is used, otherwise this program goes over
as one zip archive (`vpnprobe.transports.bundle`) that needs nothing but python3 3.11 there and touches no disk where the kernel has
memfd_create. ssh itself asks on the terminal what it has to ask; its own configuration, keys and known hosts apply.
"""

import asyncio
import contextlib
import ipaddress
import os
import re
import shlex
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from vpnprobe import __version__
from vpnprobe.errors import CannotRun, ExitStatus, UsageError
from vpnprobe.transports.bundle import FIRST_STAGE, transmission
from vpnprobe.transports.resolving import addresses_of
from vpnprobe.transports.stack import Address, ConnectError, ConnectFailure, Endpoint

_TARGET: Final = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_.][A-Za-z0-9_.@+-]{0,63})@)?"
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}))"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)
"""What could be taken for an option of ssh, or for shell syntax, does not fit."""
_GREETING: Final = "vpnprobe-ssh"
_GREETING_LINE_BYTES: Final = 8192
_NOISE_BYTES: Final = 256 * 1024
"""What a login script may print before our greeting."""
GREETING_DEADLINE_S: Final = 120.0
"""Seconds to the remote side's first line; somebody may have to type a password."""
_CLOSING_S: Final = 5.0
_KEPT_COMPLAINTS: Final = 20
"""Last lines of ssh's standard error that are kept, for an error of our own."""
_OPTIONS: Final = ("-T", "-x", "-a", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15", "-o", "ClearAllForwardings=yes")

# One line, no single quote in it, no exclamation mark: it has to pass through any login shell inside single quotes.
_REMOTE: Final = (
    'PATH="$PATH:$HOME/.local/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin"; '
    "i=none; p=none; "
    'v=$(vpnprobe --version 2>/dev/null </dev/null) && i=$(echo "$v" | sed -n "s/.* //p;q"); '
    "for c in python3 python3.14 python3.13 python3.12 python3.11; do "
    '$c -c "import sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1 </dev/null && p=$c && break; done; '
    f'echo "{_GREETING} installed=${{i:-none}} python=$p connection=${{SSH_CONNECTION:-none}}"; '
    "read -r answer; "
    'case "$answer" in '
    "installed) exec vpnprobe serve --stdio;; "
    f'python) exec $p -I -c "{FIRST_STAGE}";; '
    "esac"
)


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where `--peer ssh://[USER@]HOST[:PORT]` points to."""

    host: str
    """A name of the user's ssh configuration, a host name, or an address (IPv6 without brackets)."""
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UsageError."""
        found = _TARGET.fullmatch(text)
        if found is None or (found["ipv6"] is not None and not _is_ipv6(found["ipv6"])):
            raise UsageError(f"{text!r} is not of the form ssh://[USER@]HOST[:PORT]")
        if found["port"] is not None and not 1 <= int(found["port"]) <= 65535:
            raise UsageError(f"{text!r}: the port is not a number from 1 to 65535")
        return cls(found["ipv6"] or found["host"], found["user"], None if found["port"] is None else int(found["port"]))

    @property
    def arguments(self) -> list[str]:
        """For ssh, after its options."""
        port = [] if self.port is None else ["-p", str(self.port)]
        user = [] if self.user is None else ["-l", self.user]
        return [*port, *user, "--", self.host]

    def __str__(self) -> str:
        return self.host if self.user is None else f"{self.user}@{self.host}"


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


class Greeting(NamedTuple):
    """What the remote side has."""

    installed: str | None
    """The version of the vpnprobe that is installed there; None: none that runs."""
    python: str | None
    """The command of a Python 3.11 or later; None: there is none."""
    connection: tuple[Endpoint, Endpoint] | None
    """SSH_CONNECTION: the client's and the server's endpoint as the server sees them; None: not told."""

    @classmethod
    def decode(cls, line: str) -> Self | None:
        """None: the line is something else (login scripts print what they like)."""
        found = re.fullmatch(rf"{_GREETING} installed=(\S+) python=(\S+) connection=(.*)", line.strip())
        if found is None:
            return None
        installed, python = (None if value == "none" else value for value in found.group(1, 2))
        return cls(installed, python, _connection(found[3].split()))


def _connection(words: list[str]) -> tuple[Endpoint, Endpoint] | None:
    try:
        client, client_port, server, server_port = words
        return _endpoint(client, client_port), _endpoint(server, server_port)
    except ValueError:
        return None


def _endpoint(address: str, port: str) -> Endpoint:
    return Endpoint(ipaddress.ip_address(address), int(port))


class SshStream:
    """A `TcpStream` over the standard input and output of an ssh process."""

    def __init__(self, process: asyncio.subprocess.Process, complaints: deque[str], listening: asyncio.Task[None]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._complaints = complaints
        self._listening = listening
        self._local = self._remote = Endpoint(ipaddress.IPv4Address(0), 0)

    def place(self, local: Endpoint, remote: Endpoint) -> None:
        """Sets the endpoints once they are known."""
        self._local, self._remote = local, remote

    @property
    def local(self) -> Endpoint:
        """As the server sees this end of the ssh connection; 0.0.0.0 where it is not known."""
        return self._local

    @property
    def remote(self) -> Endpoint:
        return self._remote

    @property
    def complaints(self) -> Sequence[str]:
        """The last lines that ssh, or the agent there, wrote to standard error."""
        return tuple(self._complaints)

    async def send(self, data: bytes) -> None:
        try:
            self._input.write(data)
            await self._input.drain()
        except OSError as exc:
            raise ConnectError(ConnectFailure.RESET, self._remote) from exc

    async def receive(self, limit: int = 65536) -> bytes:
        return await self._output.read(limit)

    async def line(self, limit: int) -> bytes:
        """The next line with its end, at most `limit` bytes of it; what the process has written by its end otherwise."""
        line = bytearray()
        while len(line) < limit and not line.endswith(b"\n"):
            byte = await self._output.read(1)
            if not byte:
                break
            line += byte
        return bytes(line)

    def segments(self) -> tuple[int, int] | None:
        """None: the TCP connection is ssh's own."""
        return None

    async def close(self) -> None:
        """Ends the agent's input, waits a little for ssh to end by itself, then ends it."""
        self._input.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _CLOSING_S)
        self.abort()
        await self._process.wait()
        await self._listening

    def abort(self) -> None:
        if self._process.returncode is None:
            # Not Process.terminate: it may collect the exit status that asyncio is about to ask for.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)

    async def exit_status(self) -> int:
        """ssh's: 255 for an error of its own, otherwise the remote command's."""
        await self._listening
        return await self._process.wait()


class RemoteAgent(NamedTuple):
    """A server agent that was started through ssh and waits for the control protocol on `stream`."""

    stream: SshStream
    address: Address
    """What to probe: the server's address as it is reached from here."""
    seen_address: Address | None
    """The server's own address for the ssh connection; differs from `address` where a NAT stands before the server. None: not told."""
    client_address: Address | None
    """This host's address as the server saw it; differs from our own where a NAT stands in between. None: not told."""
    way: str
    """`installed` or `sent`."""


async def start_agent(target: SshTarget, *, options: Sequence[str] = (), archive: bytes | None = None) -> RemoteAgent:
    """Starts the server agent. `options`: further ones for ssh. `archive`: what is sent instead of this program.

    Raises CannotRun (status MISSING without ssh here, NO_PEER otherwise).
    """
    stream = await _start_ssh(target, options)
    try:
        greeting = await _greeting(stream, target)
        address = await _address(target, greeting, options)
        way = await _start_remote(stream, target, greeting, archive)
    except BaseException:
        stream.abort()
        await stream.close()
        raise
    client, server = greeting.connection or (None, None)
    stream.place(client or stream.local, Endpoint(address, server.port if server else target.port or 22))
    return RemoteAgent(stream, address, server.address if server else None, client.address if client else None, way)


async def _start_ssh(target: SshTarget, options: Sequence[str]) -> SshStream:
    command = ["ssh", *_OPTIONS, *options, *target.arguments, f"exec sh -c '{_REMOTE}'"]
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    except FileNotFoundError as exc:
        raise CannotRun("ssh is not installed here: install the package openssh-client", status=ExitStatus.MISSING) from exc
    complaints: deque[str] = deque(maxlen=_KEPT_COMPLAINTS)
    return SshStream(process, complaints, asyncio.ensure_future(_listen(process, complaints)))


async def _listen(process: asyncio.subprocess.Process, complaints: deque[str]) -> None:
    """Reads standard error until its end, so that nobody there ever waits for us to read it."""
    assert process.stderr is not None
    rest = b""
    while chunk := await process.stderr.read(4096):
        *lines, rest = (rest + chunk)[-_GREETING_LINE_BYTES:].split(b"\n")
        complaints.extend(line.decode(errors="replace").strip() for line in lines if line.strip())
    if rest.strip():
        complaints.append(rest.decode(errors="replace").strip())


async def _greeting(stream: SshStream, target: SshTarget) -> Greeting:
    try:
        async with asyncio.timeout(GREETING_DEADLINE_S):
            noise = 0
            while noise < _NOISE_BYTES and (line := await stream.line(_GREETING_LINE_BYTES)):
                found = Greeting.decode(line.decode(errors="replace"))
                if found is not None:
                    return found
                noise += len(line)
    except TimeoutError as exc:
        raise CannotRun(f"{target} did not answer through ssh within {GREETING_DEADLINE_S:g} s: try `ssh {target} true`") from exc
    stream.abort()
    raise ssh_error(target, await stream.exit_status(), stream.complaints)


def ssh_error(target: SshTarget, status: int, complaints: Sequence[str]) -> CannotRun:
    """What went wrong, from ssh's exit status and its last words."""
    said = " ".join(complaints).lower()
    last = complaints[-1] if complaints else f"exit status {status}"
    login = shlex.join(["ssh", *(["-p", str(target.port)] if target.port else []), str(target)])
    advice = {
        "could not resolve": f"the host {target.host} is not known: check its name",
        "permission denied": f"{target} refused the login: try `{login}` and mend that first",
        "host key verification failed": f"the host key of {target.host} is not the known one, or not confirmed: try `{login}`",
        "connection refused": f"nothing listens for ssh at {target.host}: is sshd running there, and on this port?",
        "timed out": f"{target.host} does not answer for ssh: is it up, and is its ssh port open?",
        "no route to host": f"no route to {target.host}: check its address and this host's network",
        "network is unreachable": f"no route to {target.host}: check its address and this host's network",
    }
    for phrase, message in advice.items():
        if phrase in said:
            return CannotRun(message)
    return CannotRun(f"ssh to {target} failed ({last}): try `{login} true`")


async def _start_remote(stream: SshStream, target: SshTarget, greeting: Greeting, archive: bytes | None) -> str:
    if greeting.installed == __version__ and archive is None:
        await stream.send(b"installed\n")
        return "installed"
    if greeting.python is None:
        other = f" (vpnprobe {greeting.installed} there is not {__version__})" if greeting.installed else ""
        raise CannotRun(f"{target} has no python3 of 3.11 or later{other}: install it there, or the same vpnprobe as here")
    await stream.send(b"python\n" + transmission(archive))
    return "sent"


async def _address(target: SshTarget, greeting: Greeting, options: Sequence[str]) -> Address:
    """The server's address as it is reached from here.

    SSH_CONNECTION decides among the addresses that the name has. Where it names none of them the server stands behind a NAT and the
    name's own address counts; where the name has none (a jump host knows it), SSH_CONNECTION's counts.
    """
    named = await _named_addresses(target, options)
    seen = greeting.connection[1].address if greeting.connection else None
    if seen is not None and (seen in named or not named):
        return seen
    if named:
        return named[0]
    raise CannotRun(f"the address of {target.host} is not known here, and its sshd does not tell it: use --peer ssh://ADDRESS")


async def _named_addresses(target: SshTarget, options: Sequence[str]) -> list[Address]:
    """What ssh's own configuration, then the system's resolver make of the host's name; IPv4 first, since GRE and ESP go there."""
    process = await asyncio.create_subprocess_exec(
        "ssh",
        "-G",
        *options,
        *target.arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    settings = dict(line.split(" ", 1) for line in output.decode(errors="replace").splitlines() if " " in line)
    return sorted(await addresses_of(settings.get("hostname", target.host)), key=lambda address: address.version)
