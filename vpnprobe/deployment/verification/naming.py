"""Which resolvers this system asks: /etc/resolv.conf, and behind a local stub what systemd-resolved asks (`resolvectl dns`)."""

import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from vpnprobe.deployment.undoing import find_program
from vpnprobe.deployment.verification.network_state import RESOLVER
from vpnprobe.transports.stack import Address

DEADLINE_S: Final = 1.5


@dataclass(frozen=True, slots=True)
class Resolvers:
    """What is asked for names."""

    listed: tuple[Address, ...]
    """In /etc/resolv.conf."""
    behind: tuple[Address, ...]
    """What a stub on this machine asks, as far as it tells."""

    @property
    def asked(self) -> tuple[Address, ...]:
        """All that are not on this machine."""
        return tuple(dict.fromkeys(address for address in (*self.listed, *self.behind) if not address.is_loopback))


def read_resolvers(path: Path = RESOLVER) -> Resolvers:
    """Whatever the file is like."""
    text = ""
    with suppress(OSError):
        text = path.read_text(errors="replace")
    listed = _addresses(re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE))
    stub = any(address.is_loopback for address in listed)
    return Resolvers(tuple(listed), tuple(_addresses(_resolved().split())) if stub else ())


def _addresses(words: list[str]) -> list[Address]:
    found = []
    for word in words:
        with suppress(ValueError):
            found.append(ip_address(word.partition("%")[0].partition("#")[0]))
    return found


def _resolved() -> str:
    """`Link 2 (eth0): 192.0.2.53`; empty: it is not there, or does not answer in time."""
    program = find_program("resolvectl")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "dns"], capture_output=True, text=True, timeout=DEADLINE_S, check=False, stdin=subprocess.DEVNULL, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
