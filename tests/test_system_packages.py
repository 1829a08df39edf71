"""tools/system-packages.sh installs the package of every program that the tests start: on a fresh system none of them is skipped."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from vpnprobe.lab import daemons, namespaces

ROOT: Final = Path(__file__).parents[1]
SCRIPT: Final = ROOT / "tools" / "system-packages.sh"
PACKAGE_OF: Final = {
    "cc": "gcc",
    "chromium": "chromium",
    "chromium-browser": "chromium",
    "google-chrome": "chromium",
    "easyrsa": "easy-rsa",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "iptables": "iptables",
    "mount": "mount",
    "nft": "nftables",
    "nmap": "nmap",
    "openssl": "openssl",
    "openvpn": "openvpn",
    "ping": "iputils-ping",
    "setpriv": "util-linux",
    "ss": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "sysctl": "procps",
    "systemd-analyze": "systemd",
    "tc": "iproute2",
    "tcpdump": "tcpdump",
    "tshark": "tshark",
    "ufw": "ufw",
    "umount": "mount",
    "unshare": "util-linux",
    "vpncmd": "softether-vpncmd",
    "xl2tpd": "xl2tpd",
    **daemons._PACKAGES,
    **namespaces._PACKAGES,
}
"""Program to the package of Debian 12 that has it (`dpkg -S`)."""
ALWAYS: Final = frozenset({"sh", "sleep", "true", "python3"})
"""Of essential packages, and what runs this."""
BY_NAME: Final = frozenset({"which", "create_subprocess_exec"})
"""Calls whose first argument is a program."""
BY_COMMAND: Final = frozenset({"run", "Popen", "Step"})
"""Calls whose first argument is a command, as a list or a tuple."""
BY_SECOND: Final = frozenset({"inside"})
"""Calls whose second argument is a program: in a namespace."""


def installed() -> frozenset[str]:
    found = re.search(r'^PACKAGES="([^"]+)"$', SCRIPT.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return frozenset(found[1].split())


def programs() -> Iterator[tuple[str, str]]:
    """Names of programs that stand in calls which look for one or start one, with the file they stand in."""
    for path in (*(ROOT / "tests").rglob("*.py"), *(ROOT / "vpnprobe" / "lab").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            head = program_of(call) if isinstance(call, ast.Call) else None
            if isinstance(head, ast.Constant) and isinstance(head.value, str):
                yield head.value, path.relative_to(ROOT).as_posix()


def program_of(call: ast.Call) -> ast.expr | None:
    """What stands where this call has a program; None: it is no such call."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
    if name in BY_NAME and call.args:
        return call.args[0]
    if name in BY_COMMAND and call.args and isinstance(call.args[0], ast.List | ast.Tuple) and call.args[0].elts:
        return call.args[0].elts[0]
    if name in BY_SECOND and len(call.args) > 1 and not _is_path(call.args[1]):
        return call.args[1]
    return None


def _is_path(expression: ast.expr) -> bool:
    """Of a file below a root: another function bears that name."""
    return isinstance(expression, ast.Constant) and str(expression.value).startswith("/")


@pytest.mark.parametrize("package", sorted(set(PACKAGE_OF.values())))
def test_a_package_is_installed(package: str) -> None:
    assert package in installed()


def test_every_program_of_the_tests_has_its_package() -> None:
    found = set(programs())
    assert {name for name, _ in found} >= {"openssl", "openvpn", "sysctl", "ip", "vpncmd", "ssh-keygen", "nmap"}
    assert [(name, path) for name, path in sorted(found) if name not in PACKAGE_OF and name not in ALWAYS] == []
