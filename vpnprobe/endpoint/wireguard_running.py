"""Whether an interface of WireGuard with a certain key is up on this machine, whoever made it: wg-quick, NetworkManager, systemd-networkd.

`wg show all public-key` tells the keys of all interfaces of this network namespace, of the kernel and of user space, to root. Without it
the sockets of implementations in user space are asked themselves (the cross-platform interface of wireguard.com/xplatform). Of the
kernel's own interfaces sysfs then tells the names alone: one that is called as the profile's file is, as wg-quick does it, counts.
Interfaces of the kernel in other network namespaces (containers) cannot be seen.

Private keys that a socket tells are made public ones at once; neither is kept or told.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from vpnprobe.endpoint.running_tunnels import SEARCH_S, RunningTunnel, TunnelSearch
from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.profiles.errors import shown
from vpnprobe.wire import wireguard_noise

ADMINISTRATORS: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Folders of programs that the PATH of other users often leaves out."""
TOOL_S: Final = 1.0
SOCKET_S: Final = 0.3
MOST_INTERFACES: Final = 4096
MOST_SOCKETS: Final = 256
MOST_BYTES: Final = 1 << 16
"""Of the answer of one socket: its own key comes first."""
IFF_UP: Final = 1
"""netdevice(7). The operational state of a WireGuard interface is unknown at all times."""
FIELD: Final = re.compile(rb"^(private_key|own_public_key|errno)=([0-9a-f]*)\n", re.MULTILINE)
"""The line that tells an interface's key, of BoringTun `own_public_key`; `errno` ends an answer, here one without a key."""
UNREAD: Final = "cannot be read (that takes root and the program wg)"


@dataclass(frozen=True, slots=True)
class _System:
    """Where things are: other roots than `/` have what tests put there."""

    root: Path

    @property
    def interfaces(self) -> Path:
        return self.root / "sys/class/net"

    def kernel_names(self) -> list[str]:
        """Interfaces of the kernel's own WireGuard in this network namespace."""
        return [name for name in _names(self.interfaces, MOST_INTERFACES) if "DEVTYPE=wireguard" in self._text(name, "uevent").split("\n")]

    def sockets(self) -> Mapping[str, Path]:
        """Control sockets of implementations in user space, by the interface's name."""
        folder = self.root / "var/run/wireguard"
        return {name.removesuffix(".sock"): folder / name for name in _names(folder, MOST_SOCKETS) if name.endswith(".sock")}

    def is_up(self, name: str) -> bool | None:
        """None: no such interface shows here."""
        try:
            return bool(int(self._text(name, "flags"), 16) & IFF_UP)
        except ValueError:
            return None

    def _text(self, name: str, file: str) -> str:
        """Empty where it cannot be read: the interface may have gone."""
        try:
            return (self.interfaces / name / file).read_text("ascii", "replace")
        except OSError:
            return ""


def search_wireguard(public_key: bytes, file: Path, *, root: Path = Path("/")) -> TunnelSearch:
    """Interfaces that are up with this key, or with the name of the profile's file and a key that cannot be read.

    And which interfaces of other names are up with a key that cannot be read.
    """
    deadline = time.monotonic() + SEARCH_S
    system = _System(root)
    keys = _told_by_wg()
    unread = [name for name in system.kernel_names() if name not in keys]
    for name, path in system.sockets().items():
        # BoringTun tells wg no key.
        if not keys.get(name):
            try:
                keys[name] = _asked(path, min(SOCKET_S, deadline - time.monotonic()))
            except (ConnectionError, FileNotFoundError):
                pass  # What an implementation that has ended left behind.
            except OSError:
                unread.append(name)
    # An interface that does not show here, and that its socket tells of, is another network namespace's.
    same = [name for name, key in keys.items() if key == public_key and system.is_up(name) is not False]
    return _result(same, [name for name in unread if _may_be_up(system, name)], file)


def _may_be_up(system: _System, name: str) -> bool:
    return bool(system.is_up(name)) or not os.path.isdir(system.interfaces)


def _result(same: list[str], unread: list[str], file: Path) -> TunnelSearch:
    tunnels = [f"interface {shown(name)} with this profile's key" for name in same]
    tunnels += [f"interface {shown(name)}, which has this profile's name and a key that {UNREAD}" for name in unread if name == file.stem]
    untold = [f"interface {shown(name)}, whose key {UNREAD}" for name in unread if name != file.stem]
    return TunnelSearch(tuple(map(RunningTunnel, tunnels)), tuple(untold))


def _names(folder: Path, most: int) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entry.name for entry in islice(entries, most))
    except OSError:
        return


def _told_by_wg() -> dict[str, bytes]:
    """The public keys of the interfaces that `wg` may read, by name, empty for one without; none where it is missing or does not answer."""
    program = shutil.which("wg", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *ADMINISTRATORS]))
    if program is None:
        return {}
    command = [program, "show", "all", "public-key"]
    try:
        # Its exit status is a failure where one interface of many could not be read.
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TOOL_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = (line.rpartition("\t") for line in os.fsdecode(done.stdout).splitlines())
    return {name: _key(text) for name, tab, text in lines if tab}


def _key(text: str) -> bytes:
    """Empty: it is none, as the `(none)` of an interface that is not set up."""
    try:
        return wireguard_noise.key_of_text(text)
    except DecodeError:
        return b""


def _asked(path: Path, patience_s: float) -> bytes:
    """The public key of the interface behind a control socket; empty: it has none. Raises OSError where it does not tell."""
    deadline = time.monotonic() + patience_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_left(deadline))
        sock.connect(os.fspath(path))
        sock.sendall(b"get=1\n\n")
        answer = b""
        while (field := FIELD.search(answer)) is None and len(answer) < MOST_BYTES:
            sock.settimeout(_left(deadline))
            part = sock.recv(4096)
            if not part:
                return b""
            answer += part
    return b"" if field is None else _public(field[1], field[2])


def _left(deadline: float) -> float:
    """Seconds until then. Raises TimeoutError, which is an OSError, where there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _public(field: bytes, value: bytes) -> bytes:
    """Raises OSError where there is no cryptography to make a public key with."""
    if field == b"errno" or len(value) != 2 * wireguard_noise.KEY:
        return b""
    key = bytes.fromhex(value.decode("ascii"))
    if field == b"own_public_key":
        return key
    try:
        return wireguard_noise.public_key(key)
    except CannotRun as lack:
        raise OSError(str(lack)) from None
