"""Real VPN servers in the server's namespace of a lab, as context managers that give them back listening and leave nothing behind.

Each daemon runs in mount and process namespaces of its own: it has a `/run` to itself, and whatever it forks ends with it. Files and log
are in a temporary folder. A program that is not installed is `CannotRun` (MISSING) with the Debian package that has it; one that does not
come up is `CannotRun` (NO_PEER) with its last words.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, assert_never

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab import ppp_stub
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.pki import server_identity
from vpnprobe.observations.schema import Transport
from vpnprobe.provisioning.openvpn_config import ControlWrapping, ServerConfiguration, TlsAuth, TlsCrypt, TlsCryptV2, server_text
from vpnprobe.transports.topology import SERVER

START_DEADLINE_S: Final = 10.0
STOP_DEADLINE_S: Final = 5.0
POLL_S: Final = 0.02

PRE_SHARED_KEY: Final = "vpnprobe lab"
SUBNETS: Final = {"openvpn": "10.99.0.0/24", "pptpd": "10.98.0", "xl2tpd": "10.97.0"}

_PACKAGES: Final = {
    "openvpn": "openvpn",
    "pptpd": "pptpd",
    "xl2tpd": "xl2tpd",
    "pppd": "ppp",
    "swanctl": "strongswan-swanctl",
    "/usr/lib/ipsec/charon": "strongswan-charon",
    "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so": "libcharon-extra-plugins",
    "wireguard-go": "wireguard-go",
    "wg": "wireguard-tools",
}
SHOWN_PROGRAMS: Final = ("openvpn",)
"""Programs of real servers that `vpnprobe doctor` looks for."""
_SEARCH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"
_LISTEN: Final = "0A"
"""TCP state in /proc/net/tcp."""


class Wrap(StrEnum):
    """How an OpenVPN server protects its control channel."""

    NONE = "none"
    TLS_AUTH = "tls-auth"
    TLS_CRYPT = "tls-crypt"
    TLS_CRYPT_V2 = "tls-crypt-v2"


@dataclass(frozen=True, slots=True)
class Daemon:
    """A server that listens."""

    name: str
    folder: Path
    """Configuration, keys and `log`; gone when the daemon has ended."""
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


@contextmanager
def openvpn(lab: Lab, *, transport: Transport = Transport.UDP, port: int = 1194, wrap: Wrap = Wrap.NONE) -> Iterator[Daemon]:
    """OpenVPN with a throw-away certificate authority; no client certificate fits it, so it answers and lets nobody in."""
    program = _require("openvpn")
    with TemporaryDirectory(prefix="vpnprobe-openvpn-") as name:
        folder = Path(name)
        identity = server_identity(folder)
        configuration = ServerConfiguration(
            transport=transport,
            address=lab.topology.server_address,
            port=port,
            subnet=IPv4Network(SUBNETS["openvpn"]),
            authority=identity.authority,
            certificate=identity.certificate,
            key=identity.key,
            wrapping=_wrapping(program, wrap, folder),
            ping_interval_s=2,
            ping_timeout_s=10,
            kernel_offload=False,
        )
        (folder / "server.conf").write_text(server_text(configuration))
        command = [program, "--config", str(folder / "server.conf")]
        with _serving(lab, command, folder, {(transport, port)}) as daemon:
            yield daemon


def _wrapping(program: str, wrap: Wrap, folder: Path) -> ControlWrapping | None:
    match wrap:
        case Wrap.NONE:
            return None
        case Wrap.TLS_AUTH:
            return TlsAuth(_generated(program, "tls-auth", folder))
        case Wrap.TLS_CRYPT:
            return TlsCrypt(_generated(program, "tls-crypt", folder))
        case Wrap.TLS_CRYPT_V2:
            return TlsCryptV2(_generated(program, "tls-crypt-v2-server", folder))
        case _:
            assert_never(wrap)


def _generated(program: str, kind: str, folder: Path) -> Path:
    """A fresh key of openvpn's own making."""
    path = folder / f"{kind}.key"
    subprocess.run([program, "--genkey", kind, str(path)], check=True, capture_output=True, timeout=START_DEADLINE_S)
    return path


@contextmanager
def pptpd(lab: Lab) -> Iterator[Daemon]:
    """pptpd on tcp/1723, with `ppp_stub` in pppd's place: control connection, calls, and LCP and IPCP inside enhanced GRE."""
    program = _require("pptpd")
    with TemporaryDirectory(prefix="vpnprobe-pptpd-") as name:
        folder = Path(name)
        subnet = SUBNETS["pptpd"]
        configuration = [
            f"ppp {_stub(folder)}",
            f"option {_file(folder, 'options')}",
            f"localip {subnet}.1",
            f"remoteip {subnet}.10-20",
            f"listen {lab.topology.server_address}",
            "debug",
        ]
        command = [program, "-f", "-c", _file(folder, "pptpd.conf", *configuration)]
        with _serving(lab, command, folder, {(Transport.TCP, 1723)}) as daemon:
            yield daemon


@contextmanager
def xl2tpd(lab: Lab) -> Iterator[Daemon]:
    """xl2tpd as L2TP network server on udp/1701, no IPsec, with `ppp_stub` in pppd's place."""
    program, pppd = _require("xl2tpd"), _require("pppd")
    with TemporaryDirectory(prefix="vpnprobe-xl2tpd-") as name:
        folder = Path(name)
        subnet = SUBNETS["xl2tpd"]
        configuration = [
            "[global]",
            "port = 1701",
            f"listen-addr = {lab.topology.server_address}",
            "debug tunnel = yes",
            "debug state = yes",
            "[lns default]",
            f"ip range = {subnet}.10-{subnet}.20",
            f"local ip = {subnet}.1",
            "require chap = no",
            "refuse pap = yes",
            "require authentication = no",
            f"pppoptfile = {_file(folder, 'options')}",
            "length bit = yes",
        ]
        command = [
            *(program, "-D", "-c", _file(folder, "xl2tpd.conf", *configuration), "-s", "/dev/null"),
            *("-p", str(folder / "pid"), "-C", str(folder / "control")),
        ]
        # The path of pppd is compiled in.
        with _serving(lab, command, folder, {(Transport.UDP, 1701)}, covers={_stub(folder): pppd}) as daemon:
            yield daemon


@contextmanager
def strongswan(lab: Lab) -> Iterator[Daemon]:
    """strongSwan's charon on udp/500 and udp/4500, IKEv1 and IKEv2 with a pre-shared key.

    A daemon that has met many half-open exchanges answers with cookies or not at all: take a fresh one for each test.
    """
    charon, swanctl = _require("/usr/lib/ipsec/charon"), _require("swanctl")
    _require("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so")
    with TemporaryDirectory(prefix="vpnprobe-strongswan-") as name:
        folder = Path(name)
        control = f"unix://{folder}/vici"
        settings = _file(folder, "strongswan.conf", _CHARON_SETTINGS.replace("@control@", control))
        connections = _file(folder, "swanctl.conf", _CONNECTIONS.replace("@server@", str(lab.topology.server_address)))
        environment = {"STRONGSWAN_CONF": settings}
        with _serving(lab, [charon], folder, {(Transport.UDP, 500), (Transport.UDP, 4500)}, environment=environment) as daemon:
            _wait(lambda: (folder / "vici").exists(), daemon)
            _load(swanctl, connections, control, environment)
            yield daemon


def _load(swanctl: str, connections: str, control: str, environment: dict[str, str]) -> None:
    command = [swanctl, "--load-all", "--file", connections, "--uri", control]
    loaded = subprocess.run(
        command, capture_output=True, text=True, timeout=START_DEADLINE_S, check=False, env={**os.environ, **environment}
    )
    if loaded.returncode:
        raise CannotRun(f"charon took no connections: {_last_line(loaded.stderr)}")


_CHARON_SETTINGS: Final = """\
charon {
  load = random nonce openssl pem pkcs1 x509 pubkey hmac gcm aes sha1 sha2 md5 curve25519 gmp kdf kernel-libipsec kernel-netlink \
socket-default vici updown
  i_dont_care_about_security_and_use_aggressive_mode_psk = yes
  plugins {
    vici { socket = @control@ }
    kernel-libipsec { allow_peer_ts = yes }
    kernel-netlink { fwmark = !0x42 }
    socket-default { fwmark = 0x42 }
  }
  filelog { stderr { default = 1
      ike = 2
      flush_line = yes } }
}
swanctl { load = pem pkcs1 x509 pubkey openssl random }
"""
"""kernel-libipsec comes before kernel-netlink: the ESP of a kernel without IPsec. The marks keep its own UDP out of its own tunnels."""

_CONNECTIONS: Final = f"""\
connections {{
  ikev2 {{
    version = 2
    local_addrs = @server@
    remote_addrs = %any
    encap = yes
    proposals = aes256-sha256-modp2048,aes128-sha1-modp1024,aes256-sha256-curve25519
    local {{ auth = psk
      id = vpnprobe-lab }}
    remote {{ auth = psk }}
    children {{ net {{ local_ts = 10.96.1.0/24
        remote_ts = 10.96.2.0/24
        esp_proposals = aes128-sha1,aes256-sha256 }} }}
  }}
  ikev1 {{
    version = 1
    local_addrs = @server@
    remote_addrs = %any
    encap = yes
    proposals = aes256-sha1-modp1024,aes128-sha1-modp2048,3des-sha1-modp1024,aes256-sha256-modp2048
    local {{ auth = psk }}
    remote {{ auth = psk }}
    children {{ net {{ local_ts = 10.96.1.0/24
        remote_ts = 10.96.2.0/24
        esp_proposals = aes128-sha1 }} }}
  }}
}}
secrets {{ ike-lab {{ secret = "{PRE_SHARED_KEY}" }} }}
"""


@contextmanager
def _serving(
    lab: Lab,
    command: Sequence[str],
    folder: Path,
    ports: set[tuple[Transport, int]],
    *,
    host: str = SERVER,
    covers: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Daemon]:
    """Starts the command on a host, waits until it has all ports, ends it. `covers`: files that it sees in the place of others."""
    prepare = ["mount -t tmpfs none /run", *(f"mount --bind '{mine}' '{place}'" for mine, place in (covers or {}).items())]
    whole = [
        *lab.exec_prefix(host),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("sh", "-ec", "; ".join([*prepare, 'exec "$@"']), "sh", *command),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            whole,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PATH": _SEARCH, **(environment or {})},
        )
    daemon = Daemon(Path(command[0]).name, folder, process)
    try:
        _wait(lambda: ports <= _listening(lab, host), daemon)
        yield daemon
    finally:
        _stop(process)


def _wait(ready: Callable[[], bool], daemon: Daemon) -> None:
    """Raises CannotRun (NO_PEER) with the daemon's last words where it ends, or is not ready in time."""
    deadline = time.monotonic() + START_DEADLINE_S
    while not ready():
        if daemon.process.poll() is not None:
            raise CannotRun(f"{daemon.name} ended at once: {_last_line(daemon.log)}")
        if time.monotonic() > deadline:
            raise CannotRun(f"{daemon.name} does not listen: {_last_line(daemon.log)}")
        time.sleep(POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the daemon, SIGKILL where it stays. Being the first of its process namespace it is gone only after all that it forked."""
    _signal(_children(process.pid) or [process.pid], signal.SIGTERM)
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        _signal(_children(process.pid) or [process.pid], signal.SIGKILL)
        process.wait()


def _children(pid: int) -> list[int]:
    """Of `unshare`: the first process of its namespace, which may have left the process group."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _listening(lab: Lab, host: str = SERVER) -> set[tuple[Transport, int]]:
    """What is open in a host's namespace: UDP ports that are bound, TCP ports that listen."""
    found = set()
    with lab.inside(host):
        for transport in (Transport.TCP, Transport.UDP):
            for family in ("", "6"):
                for line in Path(f"/proc/thread-self/net/{transport}{family}").read_text().splitlines()[1:]:
                    _, local, _, state = line.split()[:4]
                    if transport is Transport.UDP or state == _LISTEN:
                        found.add((transport, int(local.rpartition(":")[2], 16)))
    return found


def _stub(folder: Path) -> str:
    """A program that stands in for pppd."""
    path = Path(_file(folder, "pppd", "#!/bin/sh", f"exec '{sys.executable}' -I '{ppp_stub.__file__}' \"$@\""))
    path.chmod(0o755)
    return str(path)


def _file(folder: Path, name: str, *lines: str) -> str:
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return str(folder / name)


def _require(program: str) -> str:
    """The program's whole path. Raises CannotRun (MISSING)."""
    path = shutil.which(program, path=_SEARCH) or (program if Path(program).exists() else None)
    if path is None:
        raise CannotRun(f"{Path(program).name} is missing: sudo apt install {_PACKAGES[program]}", status=ExitStatus.MISSING)
    return path


def _last_line(text: str) -> str:
    return next(reversed([line for line in text.splitlines() if line.strip()]), "it said nothing")
