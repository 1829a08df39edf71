"""openvpn with a profile as it is, from its start to its end.

It connects to a unix socket in a private folder as a client of its management interface (`management-client`): what it says comes in lines
made for programs, secrets are never on a command line, and where this process ends in any way, the closed socket ends openvpn with its
routes. Beside what that takes, only `verb` is set. What it wrote before it got so far (an option that it does not know) is in its output.
"""

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final, Self

from vpnprobe.deployment.undoing import find_program
from vpnprobe.deployment.verification import management
from vpnprobe.deployment.verification.management import Fatal, Held, Logged, Refused, State, Wanted
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.profiles.errors import shown
from vpnprobe.transports.stack import Address

PROGRAM: Final = "openvpn"
MOST_LOG_LINES: Final = 4000
MOST_LINE_BYTES: Final = 1 << 16
LONGEST_FOLDER_BYTES: Final = 70
END_DEADLINE_S: Final = 5.0
"""From SIGTERM to SIGKILL: one with `explicit-exit-notify` tells its server first, once a second."""
TEXT_DEADLINE_S: Final = 10.0
"""For the profile to be read from the standard input."""
TEXT_PIECE_BYTES: Final = 1 << 16
CONNECT_GRACE_S: Final = 1.0
"""From a good end of what was started to its management connection: one that made itself a daemon goes on in another process."""
_ENVIRONMENT: Final = "HOME LANG LC_ALL LD_LIBRARY_PATH OPENSSL_CONF OPENSSL_MODULES PATH SSL_CERT_DIR SSL_CERT_FILE TMPDIR TZ"
ENVIRONMENT: Final = frozenset(_ENVIRONMENT.split())
"""What openvpn is told of this process's environment: no token is in there."""
_DEVICE: Final = re.compile(r"(?:TUN/TAP|DCO) device (\S+) opened")
_LINK: Final = re.compile(r"(UDP|TCP)\w* link remote: \[AF_INET6?\](\S+):(\d+)")
_TIME: Final = re.compile(r"^(?:[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}|[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]{2} [0-9:]{8} [0-9]{4}) ")
"""Before a line: of 2.5 and later, and of 2.4."""
_PUSHED: Final = re.compile(r"PUSH: Received control message: '(PUSH_REPLY.*)'")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What openvpn may ask for; None: it is not known."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    """Of the private key."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the tunnel's packets go."""

    address: Address
    port: int
    transport: str
    """`udp` or `tcp`."""


def find_openvpn() -> str:
    """The path of openvpn. Raises CannotRun (MISSING)."""
    path = find_program(PROGRAM)
    if path is None:
        raise CannotRun("openvpn is not installed: sudo apt install openvpn", status=ExitStatus.MISSING)
    return path


class TunnelProcess:
    """An async context manager: openvpn runs inside of it, and has ended behind it."""

    def __init__(
        self,
        program: str,
        profile: Path,
        secrets: Secrets,
        *,
        attempts: int,
        text: bytes | None = None,
        options: Sequence[str] = (),
        first: Sequence[str] = (),
    ) -> None:
        """`text`: the profile as openvpn is to read it, from its standard input; None: from the file.

        `options`: more, which go last; `first`: before the profile.
        """
        self._program = program
        self._text = text
        self._options = tuple(options)
        self._first = tuple(first)
        self._profile = profile
        self._secrets = secrets
        self._attempts = attempts
        self._attempt = 0
        self._changed = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log: list[Logged] = []
        self._heard: list[float] = []
        self._said: set[str] = set()
        self._began = self._news = time.monotonic()
        self._output = ""
        self._ended_at: float | None = None
        self.state: State | None = None
        self.connected: State | None = None
        self.problem = ""
        """Why it does not come up, in its own words where it has any; empty: nothing is known to be wrong."""
        self.broke_at: float | None = None
        """`time.monotonic` when it was up and then was not; None: it stayed up, or never was."""
        self.on_broken: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="vpnprobe-verify-", dir=_short_folder())
        socket_path = Path(self._folder.name) / "management"
        # This does not suspend, so that nobody is interrupted before the server is known here.
        self._server = await asyncio.start_unix_server(self._serve, socket_path, limit=MOST_LINE_BYTES, start_serving=False)
        try:
            await self._server.start_serving()
            self._process = self._start(socket_path)
            await self._give_text(self._process)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    def _start(self, socket_path: Path) -> subprocess.Popen[bytes]:
        source = "stdin" if self._text is not None else str(self._profile.absolute())
        command = [self._program, "--cd", str(self._profile.parent.absolute()), *self._first, "--config", source]
        command += ["--management", str(socket_path), "unix", "--management-client", "--management-hold"]
        command += ["--management-query-passwords", "--verb", "3", *self._options]
        self._began = self._news = time.monotonic()
        environment = {name: value for name, value in os.environ.items() if name in ENVIRONMENT}
        with (Path(self._folder.name) / "output").open("wb") as output:
            return subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C on the terminal is for us to act on.
            )

    async def _give_text(self, process: subprocess.Popen[bytes]) -> None:
        """It reads all of it before it does anything else, or has ended."""
        assert process.stdin is not None
        rest, until = memoryview(self._text or b""), time.monotonic() + TEXT_DEADLINE_S
        with suppress(BrokenPipeError), process.stdin as given:
            if rest:
                os.set_blocking(given.fileno(), False)
            while rest:
                taken = given.write(rest[:TEXT_PIECE_BYTES])
                rest = rest[taken or 0 :]
                if not taken:
                    if time.monotonic() > until:
                        self.fail("it does not read its profile")
                        break
                    await asyncio.sleep(0.01)

    def _clean_up(self) -> None:
        self._server.close()
        self._folder.cleanup()

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._end()
        finally:
            self._clean_up()

    async def come_up(self, deadline_s: float, *, patience_s: float | None = None) -> bool:
        """Whether it is up within so many seconds; otherwise `problem` says why. `patience_s`: without a line that it had not said yet."""
        assert self._process is not None
        until = time.monotonic() + deadline_s
        while self.connected is None and not self.problem:
            if self.has_ended:
                self.problem = self.words() or f"it ended by itself with status {self._process.returncode}"
            elif time.monotonic() > until or (patience_s is not None and time.monotonic() - self._news > patience_s):
                words = self.words()
                waited = min(deadline_s, time.monotonic() - self._began)
                self.problem = f"it is not up within {waited:.0f} s" + (f": {words}" if words else f" ({self._where()})")
            else:
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await self._changed.wait()
        return self.connected is not None

    def fail(self, problem: str) -> None:
        """It need not come up any more."""
        self.problem = self.problem or problem
        self._changed.set()

    @property
    def has_ended(self) -> bool:
        """One that made itself a daemon goes on though what was started has ended well."""
        assert self._process is not None
        ended = self._process.poll()
        if ended is None:
            return False
        if self._ended_at is None:
            self._ended_at = time.monotonic()
        if self._writer is None:
            return ended != 0 or time.monotonic() - self._ended_at > CONNECT_GRACE_S
        return ended != 0 or self._writer.is_closing()

    def words(self) -> str:
        """The line of its log that says best why it failed; empty: there is none."""
        for flags in ("F", "N", "W"):
            for line in self._log:
                if flags in line.flags and not line.text.startswith(("WARNING", "Note", "DEPRECATED")):
                    return shown(line.text)
        return shown(_last_words(self._read_output())) if self._process and self._process.poll() else ""

    @property
    def lines(self) -> list[str]:
        """Its log since it connected here."""
        return [line.text for line in self._log]

    @property
    def timed(self) -> list[tuple[float, str]]:
        """The same with the seconds since it was started."""
        return list(zip(self._heard, self.lines, strict=True))

    @property
    def output(self) -> list[str]:
        """What it wrote itself, its log before it connected here among it, without times."""
        return [_TIME.sub("", line).strip() for line in self._read_output().splitlines()]

    @property
    def device(self) -> str:
        """Of the tunnel; empty: it did not say."""
        return next((found[1] for line in reversed(self.lines) if (found := _DEVICE.search(line))), "")

    @property
    def pushed(self) -> str:
        """The options that the server pushed, parted by commas; one reply may have come in several messages."""
        return ",".join(found[1].removeprefix("PUSH_REPLY,") for line in self.lines if (found := _PUSHED.search(line)))

    @property
    def endpoint(self) -> Endpoint | None:
        """Where its packets go (through a proxy: the proxy); None: it did not say."""
        for line in reversed(self.lines):
            if found := _LINK.search(line):
                return Endpoint(ip_address(found[2].partition("%")[0]), int(found[3]), found[1].lower())
        return None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _where(self) -> str:
        if self.state is None:
            return "it said nothing"
        if any("VERIFY OK: depth=0" in line for line in self.lines):
            return (
                "the server's certificate is good, and then the server is silent: it does not take this client's, or its packets are lost"
            )
        return "nothing comes from the server" if self.state.name == "WAIT" else f"its last state is {self.state.name}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._say(*management.SUBSCRIBE)
        try:
            while line := await reader.readline():
                self._take(line.decode(errors="replace").rstrip("\r\n"))
        except (OSError, ValueError, asyncio.CancelledError):
            pass
        finally:
            self._broken()
            self._changed.set()
            writer.close()

    def _take(self, line: str) -> None:
        match management.decode(line):
            case Held():
                self._say(management.RELEASE)
            case State() as state:
                self._move(state)
            case Logged() as logged if len(self._log) < MOST_LOG_LINES:
                self._note(logged)
            case Wanted() as wanted:
                self._give(wanted)
            case Refused(kind):
                what = "the user name and password (AUTH_FAILED)" if kind == "Auth" else f"the secret {kind!r}"
                self.problem = self.problem or shown(f"{what} {'are' if kind == 'Auth' else 'is'} wrong")
            case Fatal(text):
                self.problem = self.problem or shown(text)
            case _:
                return
        self._changed.set()

    def _note(self, logged: Logged) -> None:
        now = time.monotonic()
        if logged.text not in self._said:
            self._said.add(logged.text)
            self._news = now
        self._log.append(logged)
        self._heard.append(now - self._began)

    def _move(self, state: State) -> None:
        if state.name not in self._said:
            self._said.add(state.name)
            self._news = time.monotonic()
        self.state = state
        if state.name == "CONNECTED":
            self.connected = self.connected or state
        elif self.connected is not None:
            self._broken()
        elif state.name == "RECONNECTING":
            self._attempt += 1
            if self._attempt >= self._attempts:
                self.problem = self.problem or self.words() or f"it gave up and began anew: {state.detail}"

    def _broken(self) -> None:
        if self.connected is not None and self.broke_at is None:
            self.broke_at = time.monotonic()
            self.on_broken()

    def _give(self, wanted: Wanted) -> None:
        """Where there is nothing to give, nobody can be asked any more; nor is anything given that would be a command."""
        secret = self._secrets.password if wanted.kind == "Auth" else self._secrets.passphrase
        name = self._secrets.username if wanted.with_name else ""
        if wanted.challenge or secret is None or name is None:
            what = f"an answer to {wanted.challenge!r}" if wanted.challenge else f"the secret {wanted.kind!r}"
            self.problem = self.problem or shown(f"it asks for {what}, which nobody gave: run it on a terminal, or put it into the profile")
            return
        lines = management.answer(wanted, name, secret)
        why = management.why_unsaid(name, secret) or ("" if lines else "it asks for a secret by too long a name")
        if why:
            self.problem = self.problem or why
            return
        self._say(*lines)

    def _say(self, *lines: str) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write("".join(f"{line}\n" for line in lines).encode())

    async def _end(self) -> None:
        """By its management interface: one that made itself a daemon is another process than the one that was started."""
        process = self._process
        if process is None:
            return
        self.on_broken = lambda: None
        self._say(management.END)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM) if self._writer is None else None
        until = time.monotonic() + END_DEADLINE_S
        try:
            while process.poll() is None or (self._writer is not None and not self._writer.is_closing()):
                if time.monotonic() > until:
                    self._kill(process)
                    break
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            self._kill(process)
            raise
        finally:
            process.wait()

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        if self._writer is not None:
            self._writer.close()

    def _read_output(self) -> str:
        with suppress(OSError):
            self._output = (Path(self._folder.name) / "output").read_text(errors="replace")[-16384:]
        return self._output


def _short_folder() -> str | None:
    """Where a unix socket's name fits into its 108 bytes (unix(7)); None: the usual one for temporary files."""
    return None if len(os.fsencode(gettempdir())) <= LONGEST_FOLDER_BYTES else "/tmp"


def _last_words(output: str) -> str:
    """The last line that says something of its own, without the time before it."""
    lines = [_TIME.sub("", line).strip() for line in output.splitlines()]
    told = [line for line in lines if line and not line.startswith(("Use --help", "Exiting due to"))]
    return told[-1] if told else ""
