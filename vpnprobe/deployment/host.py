"""What a server is like before anything is set up on it, by reading alone: openvpn, addresses and routes, sysctls, systemd, TUN.

Everything but files below the root concerns the network namespace that this process is in. `inspect_host(root)` gives `HostFacts`, or
raises UsageError and CannotRun in one line for what nothing can be set up on.
"""

import errno
import grp
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, Final

from vpnprobe.deployment.encoding import this_host
from vpnprobe.deployment.undoing import find_program
from vpnprobe.errors import CannotRun, ExitStatus, UsageError
from vpnprobe.observations.schema import Result, Transport

"""Where programs of a server are looked for besides the caller's own PATH."""
QUERY_S: Final = 10.0
"""How long a program may take that is asked something."""
SSH_PORT: Final = 22
TUN: Final = "/dev/net/tun"
SYSTEMD: Final = "/run/systemd/system"
"""Is there where systemd is the init (sd_booted(3))."""
GROUPS: Final = ("nogroup", "nobody")
"""Of whom nothing is: Debian's name, and that of others."""
_VERSION: Final = re.compile(r"^OpenVPN (\d+)\.(\d+)", re.M)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One server."""

    root: Path
    openvpn: str
    """The program's path."""
    openvpn_version: tuple[int, int]
    systemd: bool
    """systemd is the init, and this is its network namespace and its root."""
    ipv6: bool
    """The kernel has it, so that a server can listen there."""
    routes: tuple[Network, ...]
    """Networks that are reached otherwise than by the default route."""
    egress: tuple[str, ...]
    """Devices of the IPv4 default routes."""
    egress6: tuple[str, ...]
    forwards: bool
    """`net.ipv4.ip_forward`."""
    forwards6: bool
    group: str
    identity: dict[str, str]
    """By which it is known again: `machine_id`, `hostname`; what it lacks is left out."""


def control_ports() -> tuple[int, ...]:
    """TCP ports by which this server is reached now: the one of the ssh connection that this runs in, and the usual one."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    own = [int(words[3])] if len(words) == 4 and words[3].isdigit() else []
    return tuple(dict.fromkeys((*own, SSH_PORT)))


def inspect_host(root: Path) -> HostFacts:
    """Raises CannotRun (MISSING) for a program, a privilege or a device that is lacking, UsageError (REFUSED) for what is in the way."""
    if os.geteuid() != 0:
        raise CannotRun("a server is set up as root: sudo vpnprobe provision ...", status=ExitStatus.MISSING)
    openvpn = find_program("openvpn")
    if openvpn is None:
        raise CannotRun("openvpn is not installed: apt install openvpn (or dnf install openvpn)", status=ExitStatus.MISSING)
    _need_tun()
    egress = tuple(dict.fromkeys(str(route["dev"]) for route in _routes(4) if route["dst"] == "default"))
    if not egress:
        raise UsageError("this server has no IPv4 default route: nothing that clients send could go on; add one", status=ExitStatus.REFUSED)
    return HostFacts(
        root,
        openvpn,
        openvpn_version(openvpn),
        root == Path("/") and os.path.isdir(SYSTEMD) and _is_inits_network(),
        Path("/proc/net/if_inet6").exists(),
        tuple(_networks()),
        egress,
        tuple(dict.fromkeys(str(route["dev"]) for route in _routes(6) if route["dst"] == "default")),
        _sysctl("net/ipv4/ip_forward") == "1",
        _sysctl("net/ipv6/conf/all/forwarding") == "1",
        next((name for name in GROUPS if _is_group(name)), "nogroup"),
        this_host(root),
    )


def is_server_of(result: Result) -> bool:
    """Whether this machine has the address of a result's server, and may be set up."""
    address = (result.run.server or {}).get("address")
    return os.geteuid() == 0 and isinstance(address, str) and is_own(address)


def is_own(host: str) -> bool:
    """Whether an address is one of this network namespace's; a name is none."""
    try:
        return any(address.ip == ip_address(host) for address in _addresses())
    except ValueError:
        return False


def openvpn_version(program: str) -> tuple[int, int]:
    """As the program says itself. Raises CannotRun where it says none."""
    text = _asked(program, "--version")
    found = _VERSION.search(text)
    if found is None:
        raise CannotRun(f"{program} does not tell its version: {text[:80]!r}", status=ExitStatus.MISSING)
    return int(found[1]), int(found[2])


def is_taken(transport: Transport, port: int) -> bool:
    """Whether a program has the port on any address of this network namespace."""
    kind = socket.SOCK_DGRAM if transport is Transport.UDP else socket.SOCK_STREAM
    for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, kind) as sock:
                if family is socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if kind is socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Connections that are closing take no port.
                sock.bind((everywhere, port))
                if kind is socket.SOCK_STREAM:
                    sock.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
    return False


def _need_tun() -> None:
    """Raises CannotRun where no tunnel device can be made, as in many containers."""
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        problem = error.strerror or "cannot be opened"
        raise CannotRun(
            f"{TUN}: {problem}: this machine makes no tunnel devices; load the module tun, or give the container the device",
            status=ExitStatus.MISSING,
        ) from None


def _is_inits_network() -> bool:
    try:
        return os.path.samefile("/proc/self/ns/net", "/proc/1/ns/net")
    except OSError:
        return False


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _sysctl(path: str) -> str:
    try:
        return Path("/proc/sys", path).read_text("ascii").strip()
    except OSError:
        return ""


def _asked(*argv: str) -> str:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, timeout=QUERY_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRun(f"{argv[0]} cannot be run: {error}", status=ExitStatus.MISSING) from None
    return done.stdout


def _ip(*words: str) -> list[dict[str, Any]]:
    """What iproute2 says, as JSON."""
    program = find_program("ip")
    if program is None:
        raise CannotRun("ip is not installed: apt install iproute2", status=ExitStatus.MISSING)
    try:
        found: list[dict[str, Any]] = json.loads(_asked(program, "-j", *words) or "[]")
    except ValueError:
        raise CannotRun(f"ip -j {' '.join(words)} gives no JSON: iproute2 4.14 or newer is needed", status=ExitStatus.MISSING) from None
    return found


def _addresses() -> Iterator[IPv4Interface | IPv6Interface]:
    for link in _ip("address", "show"):
        for address in link.get("addr_info", ()):
            if address.get("scope") in ("global", "site"):
                yield ip_interface(f"{address['local']}/{address['prefixlen']}")


def _routes(version: int) -> list[dict[str, Any]]:
    return [route for route in _ip(f"-{version}", "route", "show") if "dst" in route and "dev" in route]


def _networks() -> Iterator[Network]:
    for version in (4, 6):
        for route in _routes(version):
            if route["dst"] != "default" and not str(route["dst"]).startswith("fe80"):
                yield ip_network(route["dst"], strict=False)
