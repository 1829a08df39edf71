"""Real WireGuard peers on the hosts of a lab: wireguard-go, set up by `wg`, which takes no kernel module."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from vpnprobe.errors import CannotRun
from vpnprobe.lab.daemons import Daemon, _file, _require, _serving, _wait
from vpnprobe.lab.namespaces import Lab
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.topology import SERVER
from vpnprobe.wire.wireguard_noise import NO_PRESHARED_KEY, key_text

UP: Final = "the tunnel is up"
"""What its log says then."""
MTU: Final = 1420
"""What wg-quick sets where the path's MTU is 1500."""


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One peer and the only other one that it knows. Keys have 32 bytes."""

    private: bytes = field(repr=False)
    peer: bytes
    """The other end's public key."""
    address: IPv4Address
    """Its own in the tunnel."""
    peer_address: IPv4Address
    port: int
    preshared: bytes = field(default=NO_PRESHARED_KEY, repr=False)
    endpoint: str = ""
    """Where the other end is, `address:port`; empty: it begins."""
    keepalive_s: int = 0
    """Between keepalives, which make a peer with an endpoint begin by itself; 0: none."""
    mtu: int = MTU

    def text(self) -> str:
        """As `wg setconf` takes it."""
        lines = ["[Interface]", f"PrivateKey = {key_text(self.private)}", f"ListenPort = {self.port}"]
        lines += ["[Peer]", f"PublicKey = {key_text(self.peer)}", f"PresharedKey = {key_text(self.preshared)}"]
        lines += [f"AllowedIPs = {self.peer_address}/32"]
        lines += [f"Endpoint = {self.endpoint}"] if self.endpoint else []
        lines += [f"PersistentKeepalive = {self.keepalive_s}"] if self.keepalive_s else []
        return "\n".join(lines)


@contextmanager
def wireguard_peer(lab: Lab, config: PeerConfig, *, host: str = SERVER) -> Iterator[Daemon]:
    """wireguard-go with this configuration on a host, its tunnel up. Raises CannotRun where it is not installed or does not come up."""
    program, wg = _require("wireguard-go"), _require("wg")
    with TemporaryDirectory(prefix="vpnprobe-wireguard-") as name:
        folder = Path(name)
        configuration = _file(folder, "wg.conf", config.text())
        # Sockets of its control interface are in /run, which is its own: interfaces on other hosts may have the same name.
        script = [
            f"'{program}' -f tunnel &",
            "trap 'kill $!; exit 0' TERM",
            "until [ -S /run/wireguard/tunnel.sock ]; do sleep 0.02; kill -0 $!; done",
            f"'{wg}' setconf tunnel '{configuration}'",
            f"ip address add {config.address}/24 dev tunnel",
            f"ip link set tunnel mtu {config.mtu} up",
            f"echo '{UP}'",
            "wait $!",
        ]
        command = ["sh", "-e", _file(folder, "start", *script)]
        with _serving(lab, command, folder, {(Transport.UDP, config.port)}, host=host) as daemon:
            # Its port is open a moment before: data that came between would be lost.
            _wait(lambda: UP in daemon.log, daemon)
            yield daemon


def listen_at(lab: Lab, port: int, *, host: str = SERVER) -> None:
    """Moves the peer that runs on a host to another port, within its sessions. Raises CannotRun where none does, or it does not move."""
    names = {pid: Path(f"/proc/{pid}/comm") for pid in lab.processes(host)}
    pid = next((pid for pid, name in names.items() if name.exists() and name.read_text().strip() == "wireguard-go"), None)
    if pid is None:
        raise CannotRun(f"no WireGuard peer runs on {host}")
    # Its control socket is in a /run of its own.
    command = ["nsenter", "--target", str(pid), "--mount", "--net", "--root", _require("wg"), "set", "tunnel", "listen-port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"the WireGuard peer on {host} does not move to port {port}: {done.stderr.strip()}")
