"""Many real OpenVPN servers at once in the server's namespace of a lab, a client profile for each, and the real client.

Every server has a port, a tunnel subnet (10.80.0.0/24 to 10.95.255.0/24, counted up), a device and a log of its own; they share an
authority for each algorithm and a set of keys. They start side by side and are given back when each has said that its initialisation is
complete: it listens and its tunnel is up. Each process is openvpn itself and is ended by its id. A missing program is `CannotRun`
(MISSING), one that does not come up `CannotRun` (NO_PEER), as in `vpnprobe.lab.daemons`.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, assert_never

from vpnprobe.deployment.openvpn_trial import READY
from vpnprobe.errors import CannotRun
from vpnprobe.lab.daemons import _SEARCH, _last_line, _require
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_pki import Algorithm, Authority, Flaw, WrapKeys
from vpnprobe.observations.schema import Transport
from vpnprobe.provisioning.openvpn_config import (
    ClientProfile,
    ControlWrapping,
    Credentials,
    Inline,
    ServerConfiguration,
    TlsAuth,
    TlsCrypt,
    TlsCryptV2,
    Value,
    client_text,
    server_text,
)
from vpnprobe.transports.topology import CLIENT, SERVER

START_DEADLINE_S: Final = 30.0
STOP_DEADLINE_S: Final = 5.0
POLL_S: Final = 0.02
COMPLETED: Final = READY

USER_NAME: Final = "lab-user"
PASSWORD: Final = "lab-password"
WRONG_PASSWORD: Final = "not-the-password"
DATA_CIPHERS: Final = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")

_NUMBERS: Final = count()
"""One for each server of this process: groups of servers in one lab keep their subnets and devices apart."""
_SUBNETS: Final = 16 * 256
_VERIFY: Final = f"""\
#!/bin/sh
{{ read -r name; read -r password; }} < "$1"
[ "$name" = '{USER_NAME}' ] && [ "$password" = '{PASSWORD}' ]
"""
_ADDRESS: Final = re.compile(r"net_addr(?:_ptp)?_v4_add: (?:local )?([0-9.]+)")


class Wrapping(StrEnum):
    """How the control channel is protected, and with which digest."""

    PLAIN = "plain"
    TLS_AUTH_SHA1 = "tls-auth-sha1"
    TLS_AUTH_SHA256 = "tls-auth-sha256"
    TLS_AUTH_SHA512 = "tls-auth-sha512"
    TLS_CRYPT = "tls-crypt"
    TLS_CRYPT_V2 = "tls-crypt-v2"
    """As by default in 2.6, `allow-noncookie`: clients that cannot do the stateless cookie are let in too."""
    TLS_CRYPT_V2_COOKIE = "tls-crypt-v2-cookie"
    """`force-cookie`: only clients that can."""

    @property
    def digest(self) -> str | None:
        """Of tls-auth, as `--auth` takes it."""
        kind, _, digest = self.value.rpartition("-")
        return digest.upper() if kind == "tls-auth" else None


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One server; a client certificate is always wanted, unless `extra` says otherwise."""

    transport: Transport = Transport.UDP
    port: int = 1194
    wrapping: Wrapping = Wrapping.PLAIN
    algorithm: Algorithm = Algorithm.EC
    user_password: bool = False
    """Besides the certificate USER_NAME and PASSWORD are wanted."""
    data_ciphers: tuple[str, ...] = DATA_CIPHERS
    flaw: Flaw = Flaw.NONE
    """Of the server's certificate."""
    tls_version_min: str | None = None
    """`1.2` or `1.3`; None: openvpn's own, 1.2."""
    duplicate_names: bool = True
    """Whether several clients of one name are served at a time; otherwise the newest displaces the one before."""
    extra: tuple[str, ...] = ()
    """More words of the command line, behind the configuration file."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that listens; its authority and keys are those of its own side too."""

    config: ServerConfig
    endpoint: tuple[str, int]
    subnet: str
    """First three bytes of the tunnel's /24, as `10.80.0`."""
    folder: Path
    """`server.conf`, `log` and temporary files; gone when the server has ended."""
    process: subprocess.Popen[bytes]
    authority: Authority
    keys: WrapKeys

    @property
    def gateway(self) -> str:
        """The server's address inside the tunnel; it answers pings."""
        return f"{self.subnet}.1"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def client_profile(self, **overrides: str | None) -> str:
        """As the function `client_profile`."""
        return client_profile(self.config, self.endpoint, self.authority, self.keys, **overrides)


def client_profile(config: ServerConfig, endpoint: tuple[str, int], authority: Authority, keys: WrapKeys, **overrides: str | None) -> str:
    """A complete `.ovpn` for the server, everything inline.

    Each override sets an option (`data_ciphers="AES-128-GCM"`), or takes it out (None); an empty one has no argument, one of several lines
    becomes an inline block.
    """
    client = authority.client()
    profile = ClientProfile(
        transport=config.transport,
        host=endpoint[0],
        port=endpoint[1],
        authority=Inline(authority.pem.decode()),
        certificate=Inline(client.certificate_pem.decode()),
        key=Inline(client.key_pem.decode()),
        wrapping=_client_wrapping(config.wrapping, keys),
        data_ciphers=config.data_ciphers,
        credentials=Credentials(USER_NAME, PASSWORD) if config.user_password else None,
    )
    return client_text(profile, {name.replace("_", "-"): _override(value) for name, value in overrides.items()})


def _override(value: str | None) -> Value | None:
    if value is None:
        return None
    return Inline(value) if "\n" in value else tuple(value.split())


def _client_wrapping(wrapping: Wrapping, keys: WrapKeys) -> ControlWrapping | None:
    match wrapping:
        case Wrapping.PLAIN:
            return None
        case Wrapping.TLS_AUTH_SHA1 | Wrapping.TLS_AUTH_SHA256 | Wrapping.TLS_AUTH_SHA512:
            return TlsAuth(Inline(keys.tls_auth.read_text()), wrapping.digest)
        case Wrapping.TLS_CRYPT:
            return TlsCrypt(Inline(keys.tls_crypt.read_text()))
        case Wrapping.TLS_CRYPT_V2 | Wrapping.TLS_CRYPT_V2_COOKIE:
            return TlsCryptV2(Inline(keys.tls_crypt_v2_client.read_text()))
        case _:
            assert_never(wrapping)


def _server_wrapping(wrapping: Wrapping, keys: WrapKeys) -> ControlWrapping | None:
    match wrapping:
        case Wrapping.PLAIN:
            return None
        case Wrapping.TLS_AUTH_SHA1 | Wrapping.TLS_AUTH_SHA256 | Wrapping.TLS_AUTH_SHA512:
            return TlsAuth(keys.tls_auth, wrapping.digest)
        case Wrapping.TLS_CRYPT:
            return TlsCrypt(keys.tls_crypt)
        case Wrapping.TLS_CRYPT_V2 | Wrapping.TLS_CRYPT_V2_COOKIE:
            return TlsCryptV2(keys.tls_crypt_v2_server, force_cookie=wrapping is Wrapping.TLS_CRYPT_V2_COOKIE)
        case _:
            assert_never(wrapping)


@contextmanager
def openvpn_servers(lab: Lab, configs: Sequence[ServerConfig], *, server: str = "") -> Iterator[Sequence[RunningServer]]:
    """All of them, in the order of `configs`; ended together. `server`: the program of another release; empty: the installed one."""
    program = _require("openvpn")
    with TemporaryDirectory(prefix="vpnprobe-openvpn-") as name:
        folder = Path(name)
        keys = WrapKeys.make(program, folder / "keys")
        algorithms = {config.algorithm for config in configs}
        authorities = {algorithm: Authority.make(folder / algorithm.value, algorithm) for algorithm in algorithms}
        (folder / "verify").write_text(_VERIFY)
        (folder / "verify").chmod(0o700)
        servers: list[RunningServer] = []
        try:
            for config in configs:
                servers.append(_started(lab, server or program, folder, config, authorities[config.algorithm], keys))
            _wait(servers)
            yield servers
        finally:
            _end([server.process for server in servers])


def _started(lab: Lab, program: str, folder: Path, config: ServerConfig, authority: Authority, keys: WrapKeys) -> RunningServer:
    number = next(_NUMBERS) % _SUBNETS
    own = folder / str(number)
    own.mkdir()
    subnet = f"10.{80 + number // 256}.{number % 256}"
    address = lab.topology.server_address
    identity = authority.server(config.flaw)
    configuration = ServerConfiguration(
        transport=config.transport,
        address=address,
        port=config.port,
        subnet=IPv4Network(f"{subnet}.0/24"),
        authority=authority.certificate,
        certificate=identity.certificate,
        key=identity.key,
        wrapping=_server_wrapping(config.wrapping, keys),
        device=f"ovpn{number}",
        data_ciphers=config.data_ciphers,
        ping_interval_s=5,
        ping_timeout_s=30,
        tls_version_min=config.tls_version_min,
        password_script=folder / "verify" if config.user_password else None,
        duplicate_names=config.duplicate_names,
        # Many clients one after the other are what these servers are for.
        new_clients_per_s=100_000,
        kernel_offload=False,
        temporary_folder=own,
    )
    (own / "server.conf").write_text(server_text(configuration))
    process = _spawned([*lab.exec_prefix(SERVER), program, "--config", str(own / "server.conf"), *config.extra], own / "log")
    return RunningServer(config, (str(address), config.port), subnet, own, process, authority, keys)


def _spawned(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """`ip netns exec` becomes the program: the process is openvpn itself."""
    with log.open("wb") as output:
        environment = {**os.environ, "PATH": _SEARCH}
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=environment
        )


def _wait(servers: Sequence[RunningServer]) -> None:
    """Raises CannotRun (NO_PEER) with the last words of the first that ended, or is not ready in time."""
    deadline = time.monotonic() + START_DEADLINE_S
    waiting = list(servers)
    while waiting := [server for server in waiting if COMPLETED not in server.log]:
        for server in waiting:
            if server.process.poll() is not None:
                raise CannotRun(f"openvpn on port {server.config.port} ended at once: {_last_line(server.log)}")
        if time.monotonic() > deadline:
            raise CannotRun(f"openvpn on port {waiting[0].config.port} does not listen: {_last_line(waiting[0].log)}")
        time.sleep(POLL_S)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """SIGTERM to all, then SIGKILL to those that stay: a server with --explicit-exit-notify first tells its clients."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_DEADLINE_S
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in processes:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class RunningClient:
    """The real client, connecting or connected."""

    folder: Path
    """The caller's: `client.ovpn` and `client.log` stay there."""
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "client.log").read_text(errors="replace")

    @property
    def address(self) -> str | None:
        """Its address inside the tunnel; None: it has none yet."""
        found = _ADDRESS.findall(self.log)
        return found[-1] if found else None

    def wait_for(self, text: str, *, deadline_s: float) -> str:
        """The first line of the log with this text. Raises CannotRun with its last words where the client ends without, or time is up."""
        deadline = time.monotonic() + deadline_s
        while True:
            # In this order: what it said before it ended is not missed.
            ended = self.process.poll() is not None
            if line := next((line for line in self.log.splitlines() if text in line), ""):
                return line
            if ended or time.monotonic() > deadline:
                raise CannotRun(f"the openvpn client {'ended' if ended else 'waits'} without {text!r}: {_last_line(self.log)}")
            time.sleep(POLL_S)


@contextmanager
def openvpn_client(lab: Lab, profile_text: str, *, folder: Path, extra: Sequence[str] = ()) -> Iterator[RunningClient]:
    """openvpn with this profile in the client's namespace; `extra`: more words of the command line."""
    profile = folder / "client.ovpn"
    profile.touch(mode=0o600)
    profile.write_text(profile_text)
    command = [_require("openvpn"), "--config", str(profile), "--disable-dco", "--connect-retry", "1", "--verb", "3", *extra]
    process = _spawned([*lab.exec_prefix(CLIENT), *command], folder / "client.log")
    try:
        yield RunningClient(folder, process)
    finally:
        _end([process])
