"""`vpnprobe doctor`: what this machine can and cannot probe, and the one command that mends each lack.

Everything is found out by looking, read-only: nothing is installed, no rule is changed, no packet leaves. The exit status is 0
whatever is missing; `--json` is for scripts that want to know.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

import click

from vpnprobe.transports import capabilities
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.system.addresses import has_ipv6

_TOOL_DEADLINE_S: Final = 5.0
_DOCUMENTATION_ADDRESS: Final = IPv6Address("2001:db8::1")
"""RFC 3849: only a default route leads there; asking the routing table sends nothing."""
_INSTALLERS: Final = {"debian": "apt install", "fedora": "dnf install", "arch": "pacman -S", "alpine": "apk add", "suse": "zypper install"}
"""By the family that ID or ID_LIKE of os-release(5) names."""
_PACKAGES: Final = {
    ("ssh", "debian"): "openssh-client",
    ("ssh", "fedora"): "openssh-clients",
    ("ssh", "arch"): "openssh",
    ("ssh", "alpine"): "openssh-client",
    ("ssh", "suse"): "openssh-clients",
}
"""Packages that are not called as their program is."""
_FAMILIES: Final = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora", "opensuse": "suse", "sles": "suse"}


class State(StrEnum):
    OK = "ok"
    MISSING = "missing"
    """vpnprobe does less without it."""
    NOTE = "note"
    """Nothing is missing; it may still decide what comes out."""
    UNKNOWN = "unknown"
    """This user may not look."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    detail: str
    mend: str | None = None
    """The one command that mends it; None: nothing to mend."""


def _as_root(command: str) -> str:
    return command if os.geteuid() == 0 else f"sudo {command}"


def read_os_release(path: Path = Path("/etc/os-release")) -> Mapping[str, str]:
    """os-release(5); empty where there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {key: value.strip().strip("\"'") for key, _, value in pairs}


def install_command(package: str, release: Mapping[str, str]) -> str:
    """How this system installs the package of a program."""
    if sys.platform == "darwin":
        return f"brew install {'openssh' if package == 'ssh' else package}"
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    for name in names:
        family = _FAMILIES.get(name.partition("-")[0], name.partition("-")[0])
        if family in _INSTALLERS:
            return _as_root(f"{_INSTALLERS[family]} {_PACKAGES.get((package, family), package)}")
    return f"install the package {package}"


def _output(*command: str) -> str | None:
    """What a program prints; None where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TOOL_DEADLINE_S, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None


def _which(program: str) -> str | None:
    """Also where administrators' programs lie, which the PATH of other users often leaves out."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]))


def check_python() -> Check:
    return Check("python", State.OK, f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro} at {sys.executable}")


def check_capability(capability: Capability, test: Callable[[], bool], gives: str) -> Check:
    if test():
        return Check(capability.value, State.OK, f"permitted, for {gives}")
    return Check(capability.value, State.MISSING, f"not permitted; needed for {gives}", capabilities.mend(capability))


def check_ipv6() -> Check:
    if not has_ipv6():
        return Check("ipv6", State.MISSING, "switched off or not in the kernel", _as_root("sysctl -w net.ipv6.conf.all.disable_ipv6=0"))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((str(_DOCUMENTATION_ADDRESS), 9))
        except OSError:
            return Check("ipv6", State.NOTE, "available on this host, but no default route leads out: peers are probed over IPv4")
    return Check("ipv6", State.OK, "available, with a default route")


def check_program(name: str, use: str, version_option: str, release: Mapping[str, str]) -> Check:
    path = _which(name)
    if path is None:
        return Check(name, State.MISSING, f"not installed: {use}", install_command(name, release))
    number = re.search(r"\d+\.\d+[\w.]*", _output(path, version_option) or "")
    return Check(name, State.OK, f"{number[0] if number else 'installed'} at {path}")


@dataclass(frozen=True, slots=True)
class DropPolicy:
    """A base chain that drops what no rule accepts."""

    family: str
    table: str
    chain: str
    hook: str


_TABLE: Final = re.compile(r"^table (\S+) (\S+) \{")
_CHAIN: Final = re.compile(r"^\s*chain (\S+) \{")
_HOOK: Final = re.compile(r"\bhook (input|output)\b.*\bpolicy drop\b")


def drop_policies(ruleset: str) -> list[DropPolicy]:
    """From the text of `nft list ruleset`: chains on input or output whose policy is drop."""
    found: list[DropPolicy] = []
    family = table = chain = ""
    for line in ruleset.splitlines():
        if match := _TABLE.search(line):
            family, table = match.groups()
        elif match := _CHAIN.search(line):
            chain = match[1]
        elif match := _HOOK.search(line):
            found.append(DropPolicy(family, table, chain, match[1]))
    return found


def _ufw_enabled() -> bool:
    try:
        return re.search(r"^ENABLED=yes\b", Path("/etc/ufw/ufw.conf").read_text(), re.MULTILINE | re.IGNORECASE) is not None
    except OSError:
        return False


def _firewalld_active() -> bool:
    return _which("firewall-cmd") is not None and _output("systemctl", "is-active", "firewalld") is not None


def _legacy_input_policy() -> str | None:
    """The INPUT policy of the old iptables; None where it has no filter table. Asking without looking first would load that table."""
    try:
        if "filter" not in Path("/proc/net/ip_tables_names").read_text().split():
            return None
    except OSError:
        return None
    listed = _output(_which("iptables-legacy") or "iptables-legacy", "-S", "INPUT") or ""
    match = re.search(r"^-P INPUT (\S+)", listed, re.MULTILINE)
    return match[1] if match else None


def check_firewall() -> Check:
    """The host's own firewall: what it drops looks like a fault of the path."""
    name = "local-firewall"
    if _ufw_enabled():
        return Check(
            name, State.NOTE, "ufw is active: unless a rule allows it, GRE is dropped here", _as_root("ufw allow proto gre from any")
        )
    if _firewalld_active():
        return Check(
            name,
            State.NOTE,
            "firewalld is active: unless a zone allows it, GRE is dropped here",
            _as_root("firewall-cmd --add-protocol=gre"),
        )
    if os.geteuid() != 0:
        return Check(name, State.UNKNOWN, "only root may list the packet filter's rules", f"sudo {shlex.quote(sys.argv[0])} doctor")
    nft = _which("nft")
    ruleset = (_output(nft, "list", "ruleset") if nft else "") or ""
    if policies := drop_policies(ruleset):
        return _dropping(policies[0])
    if _legacy_input_policy() == "DROP":
        return Check(name, State.NOTE, "iptables drops by default on INPUT", "iptables -I INPUT -p gre -j ACCEPT")
    if ruleset.strip():
        return Check(name, State.NOTE, "nftables rules are there, none of them drops by default: `nft list ruleset` shows them")
    return Check(name, State.OK, "no rules" if nft else "no rules found (nft is not installed)")


def _dropping(policy: DropPolicy) -> Check:
    place = f"{policy.family} {policy.table} {policy.chain}"
    return Check(
        "local-firewall",
        State.NOTE,
        f"nftables drops by default on {policy.hook} ({place}): what no rule accepts looks blocked",
        f"nft insert rule {place} meta l4proto gre accept",
    )


def check_certificates(root: Path = Path("/")) -> list[Check]:
    """Of a server that is set up here: what ends soon, or has ended; empty where none is."""
    from vpnprobe.cli.finishing import now
    from vpnprobe.deployment.durable import inside
    from vpnprobe.deployment.expiry import due
    from vpnprobe.deployment.pki import read_authority
    from vpnprobe.deployment.settings import PKI
    from vpnprobe.errors import UsageError

    name = "certificates"
    if not inside(root, PKI).is_dir():
        return []
    if os.geteuid() != 0:
        return [Check(name, State.UNKNOWN, "only root may look at the authority's", f"sudo {shlex.quote(sys.argv[0])} doctor")]
    try:
        authority = read_authority(root)
    except UsageError as problem:
        return [Check(name, State.NOTE, str(problem))]
    if authority is None:
        return []
    found = [Check(name, State.NOTE, f"{one.what} ends on {one.not_after:%Y-%m-%d}", one.mend) for one in due(authority, now=now())]
    return found or [Check(name, State.OK, "of the server that is set up here, none ends soon")]


def examine() -> list[Check]:
    """All checks, in the order in which they are shown."""
    from vpnprobe.lab.daemons import SHOWN_PROGRAMS

    release = read_os_release()
    return [
        check_python(),
        check_capability(Capability.RAW_IP, capabilities.may_open_raw, "GRE and ESP probes and the place where packets vanish"),
        check_capability(Capability.CAPTURE, capabilities.may_capture, "packet files of what was sent and received"),
        check_capability(Capability.LOW_PORTS, capabilities.may_use_low_ports, "listening on ports below 1024 (the server's side)"),
        check_ipv6(),
        check_program("nmap", "its word on the ports is not asked for", "--version", release),
        *(check_program(name, "only the lab's real servers need it", "--version", release) for name in SHOWN_PROGRAMS),
        check_program("ssh", "--peer ssh://HOST does not work", "-V", release),
        check_firewall(),
        *check_certificates(),
    ]


_COLOURS: Final = {State.OK: "green", State.MISSING: "red", State.NOTE: "yellow", State.UNKNOWN: "yellow"}


def _print(checks: list[Check]) -> None:
    width = max(len(check.name) for check in checks)
    colour = False if "NO_COLOR" in os.environ else None
    for check in checks:
        state = click.style(f"{check.state:<8}", fg=_COLOURS[check.state])
        click.echo(f"{state} {check.name:<{width}}  {check.detail}", color=colour)
        if check.mend is not None:
            click.echo(f"{'':8} {'':{width}}  -> {check.mend}", color=colour)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(as_json: bool) -> None:
    """Says what this machine can and cannot probe, and the one command that mends each lack."""
    checks = examine()
    if as_json:
        click.echo(json.dumps({"checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _print(checks)
