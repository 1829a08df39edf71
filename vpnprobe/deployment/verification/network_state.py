"""Routes, rules, addresses and resolver of this machine: what they were, what has become of them, and how they are put back.

openvpn puts back what it changed, unless it is killed, or has dropped the privilege. What is put back here is what it made itself, as its
own log says: a change that somebody else made meanwhile (a DHCP lease, another tunnel) is theirs, and is told. iproute2 reads it
(`ip -json`).
"""

import json
import os
import stat
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vpnprobe.deployment.undoing import find_program
from vpnprobe.errors import CannotRun, ExitStatus

ROUTES: Final = ("route", "show", "table", "all")
DEADLINE_S: Final = 5.0
RESOLVER: Final = Path("/etc/resolv.conf")
_PASSING: Final = frozenset(("flags", "expires", "cache", "users", "age", "error", "valid_life_time", "preferred_life_time", "tentative"))
"""Fields that change by themselves."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """/etc/resolv.conf."""

    link: str
    """Where it points to; empty: it is a file."""
    content: bytes | None
    """None: there is none, or it cannot be read."""
    mode: int


@dataclass(frozen=True, slots=True)
class NetworkState:
    """As it was at one moment; each entry of `ip -json` as sorted text, so that entries can be compared."""

    routes: frozenset[str]
    rules: frozenset[str]
    addresses: frozenset[str]
    resolver: Resolver

    def differences(self, since: "NetworkState", log: Sequence[str], device: str, *, all_its_own: bool) -> tuple[list[str], list[str]]:
        """What is there now and was not, and what is not there any more, one noun phrase each: what is the tunnel's, and what is not.

        `log`: openvpn's own lines, which name what it changes. `all_its_own`: programs of the profile have run, which do not tell.
        """
        own, others = list[str](), list[str]()
        for what, now, before in (
            ("route", self.routes, since.routes),
            ("rule", self.rules, since.rules),
            ("address", self.addresses, since.addresses),
        ):
            for entry in sorted(now ^ before):
                is_own = all_its_own or _is_named(entry, log) or (device and json.loads(entry).get("dev") == device)
                (own if is_own else others).append(f"{what} {described(entry)} is {'new' if entry in now else 'gone'}")
        if self.resolver != since.resolver:
            (own if all_its_own else others).append(f"{RESOLVER} has changed")
        return own, others


def read_state() -> NetworkState:
    """Raises CannotRun (MISSING) without iproute2."""
    return NetworkState(
        frozenset(map(_text, filter(_is_set, [*entries("-4", *ROUTES), *entries("-6", *ROUTES)]))),
        frozenset(map(_text, [*entries("-4", "rule"), *entries("-6", "rule")])),
        frozenset(_addresses()),
        _resolver(),
    )


def _is_set(route: Mapping[str, Any]) -> bool:
    """Those of the table `local` the kernel makes of the addresses."""
    return route.get("table") != "local"


def entries(*words: str) -> list[dict[str, Any]]:
    """What `ip -json` lists. Each entry of the family IPv6 is marked. Raises CannotRun (MISSING) without iproute2."""
    done = _ip("-json", *words)
    try:
        listed = json.loads(done.stdout or "[]")
    except ValueError:
        listed = []
    return [{**entry, "family": 6 if "-6" in words else 4} for entry in listed if isinstance(entry, dict) and entry]


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    program = find_program("ip")
    if program is None:
        raise CannotRun("the program ip is not installed: sudo apt install iproute2", status=ExitStatus.MISSING)
    try:
        return subprocess.run(
            [program, *words], capture_output=True, text=True, errors="replace", timeout=DEADLINE_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRun(f"ip {' '.join(words)} does not answer ({error}): try it by hand", status=ExitStatus.MISSING) from None


def _text(entry: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in entry.items() if name not in _PASSING}, sort_keys=True)


def _addresses() -> Iterable[str]:
    for link in entries("addr", "show"):
        for address in link.get("addr_info", ()):
            yield _text({"dev": link.get("ifname"), "local": address.get("local"), "prefixlen": address.get("prefixlen")})


def _resolver() -> Resolver:
    try:
        status = RESOLVER.lstat()
        link = os.readlink(RESOLVER) if stat.S_ISLNK(status.st_mode) else ""
        return Resolver(link, RESOLVER.read_bytes(), stat.S_IMODE(status.st_mode))
    except OSError:
        return Resolver("", None, 0)


def described(entry: str) -> str:
    """`10.0.0.0/8 via 192.0.2.1 dev eth0`."""
    fields: dict[str, Any] = json.loads(entry)
    if "local" in fields:
        return f"{fields['local']}/{fields['prefixlen']} dev {fields['dev']}"
    if "priority" in fields:
        return " ".join(_rule_words(fields))
    return " ".join(_route_words(fields))


def _route_words(fields: Mapping[str, Any]) -> list[str]:
    """As `ip route` takes it."""
    words = [fields["type"]] if fields.get("type", "unicast") != "unicast" else []
    words.append(str(fields.get("dst", "default")))
    for name, word in (
        ("gateway", "via"),
        ("dev", "dev"),
        ("table", "table"),
        ("protocol", "proto"),
        ("scope", "scope"),
        ("prefsrc", "src"),
    ):
        if fields.get(name) not in (None, ""):
            words += [word, str(fields[name])]
    if fields.get("metric"):
        words += ["metric", str(fields["metric"])]
    return words


def _rule_words(fields: Mapping[str, Any]) -> list[str]:
    named = [f"{name} {value}" for name, value in fields.items() if name not in ("family", "priority")]
    return [str(fields["priority"]), *named]


def put_back(before: NetworkState, log: Sequence[str], *, with_resolver: bool) -> None:
    """Undoes what openvpn changed and did not put back itself: it has ended. `log`: its own lines.

    `with_resolver`: programs of the profile have run, which may have set the resolver.
    """
    now = read_state()
    for entry in now.routes - before.routes:
        if _is_named(entry, log):
            _ip(*_family(entry), "route", "del", *_route_words(json.loads(entry)))
    for entry in before.routes - now.routes:
        if _is_named(entry, log):
            _ip(*_family(entry), "route", "add", *_route_words(json.loads(entry)))
    if with_resolver and before.resolver != now.resolver:
        _restore_resolver(before.resolver)


def _family(entry: str) -> tuple[str]:
    return (f"-{json.loads(entry)['family']}",)


def _is_named(entry: str, log: Sequence[str]) -> bool:
    """Whether the log tells of this route being added or deleted: `net_route_v4_add: 192.0.2.1/32 via ...`, `ip route add ...`."""
    fields = json.loads(entry)
    destination = str(fields.get("dst", "default"))
    if destination == "default":
        destination = "0.0.0.0/0" if fields["family"] == 4 else "::/0"
    words = {destination, destination if "/" in destination else f"{destination}/{32 if fields['family'] == 4 else 128}"}
    return any("route" in line and words & set(line.replace(",", " ").split()) for line in log)


def _restore_resolver(before: Resolver) -> None:
    """A script of the profile that sets it takes it back when openvpn ends, unless that was killed."""
    if before.link or before.content is None or RESOLVER.is_symlink():
        return
    try:
        RESOLVER.write_bytes(before.content)
        RESOLVER.chmod(before.mode)
    except OSError:
        return  # What is not put back is told as a difference.
