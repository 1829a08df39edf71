"""Who manages this host's firewall, by what runs and by what is loaded in this network namespace. Reads alone, and loads no kernel
module.

A program that is missing is not needed: what it would show is not there. Rules of iptables are read from both packet filters that it can
speak to; the old one is asked only where it has tables, since asking would load them. Tables of nftables are iptables' where they bear
its names and hooks and its own program can read them.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.firewall import iptables_reader, nft_reader, ufw_rules
from vpnprobe.firewall.marks import foreign_manager
from vpnprobe.firewall.state import Backend, FirewallState, Loaded, Manager

DEADLINE_S: Final = 20.0
SAVED: Final = {4: "/etc/iptables/rules.v4", 6: "/etc/iptables/rules.v6"}
"""Of iptables-persistent."""
UNITS: Final = tuple(f"/{folder}/systemd/system/netfilter-persistent.service" for folder in ("lib", "usr/lib", "etc"))
_FILES: Final = (*SAVED.values(), *ufw_rules.FILES, ufw_rules.CONFIGURATION)
_TABLES: Final = frozenset({"filter", "nat", "mangle", "raw", "security"})
_BASE: Final = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})


Place = Callable[[Path, str], Path]
"""Where a path of the host lies below a root."""


def below(root: Path, path: str) -> Path:
    """As it stands: a symbolic link is followed wherever it leads."""
    return root / path.lstrip("/")


def search_path() -> str:
    """PATH, and where programs of the system lie, which that of a user or a unit may lack."""
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_program(name: str) -> str | None:
    """The path of a program; None: it is not installed."""
    return shutil.which(name, path=search_path())


def detect(root: Path = Path("/"), *, place: Place = below) -> FirewallState:
    """What manages the firewall. Raises CannotRun where what is there cannot be read.

    `root`: where the host's files are; `place`: where one of them lies below it.
    """
    document = _ruleset()
    backends = tuple(_backends())
    files = {path: content for path in _FILES if (content := _content(place(root, path))) is not None}
    loaded = tuple(_loaded(backends, files, _like_iptables(document)))
    theirs = {(found.backend.family, table.name) for found in loaded if found.backend.name == "nft" for table in found.tables}
    native = None if document is None else _without(document, theirs)
    manager, met = foreign_manager(document, loaded, _processes())
    if not met:
        boots = any(place(root, unit).exists() for unit in UNITS)
        manager = _manager(files, loaded, native, saved_at_boot=boots)
    return FirewallState(
        manager=manager,
        met=met,
        nft=native,
        iptables=loaded,
        backends=backends,
        nft_tables=frozenset((t["family"], t["name"]) for t in _of(document, "table")),
        nft_chains=frozenset((c["family"], c["table"], c["name"]) for c in _of(document, "chain")),
        files=files,
        systemd=_systemd(root),
    )


def by_marks(root: Path = Path("/"), *, place: Place = below) -> FirewallState:
    """Who manages the firewall as far as any user sees it: ufw by its configuration, firewalld by its process. No rule is read."""
    configuration = _content(place(root, ufw_rules.CONFIGURATION))
    files = {} if configuration is None else {ufw_rules.CONFIGURATION: configuration}
    manager, met = foreign_manager(None, (), _processes())
    if not met and ufw_rules.enabled(files):
        manager = Manager.UFW
    return FirewallState(manager=manager, met=met, files=files, read=False)


def _manager(files: Mapping[str, bytes], loaded: Iterable[Loaded], native: Mapping[str, Any] | None, *, saved_at_boot: bool) -> Manager:
    texts = [found.text for found in loaded]
    if ufw_rules.enabled(files) and any(ufw_rules.chains_loaded(text) for text in texts):
        return Manager.UFW
    if saved_at_boot and any(path in files for path in SAVED.values()):
        return Manager.IPTABLES_PERSISTENT
    if any(_decides(text) for text in texts):
        return Manager.IPTABLES
    ruled = any(chain.rules for table in nft_reader.tables(native or {}) for chain in table.chains.values())
    return Manager.NFTABLES if ruled or _drops(native) else Manager.NONE


def _decides(text: str) -> bool:
    """Whether there are rules, or a policy that drops."""
    return re.search(r"^(\[\d+:\d+\] )?-A |^:\S+ DROP", text, re.MULTILINE) is not None


def _drops(document: Mapping[str, Any] | None) -> bool:
    return any(chain.get("policy") == "drop" for chain in _of(document, "chain"))


def _of(document: Mapping[str, Any] | None, kind: str) -> Iterator[Any]:
    return (entry[kind] for entry in (document or {}).get("nftables", ()) if kind in entry)


def _without(document: Mapping[str, Any], tables: set[tuple[str, str]]) -> Mapping[str, Any]:
    """A ruleset without some tables."""

    def kept(entry: Mapping[str, Any]) -> bool:
        kind, content = next(iter(entry.items()))
        return (content.get("family"), content["name"] if kind == "table" else content.get("table")) not in tables

    return {"nftables": [entry for entry in document.get("nftables", ()) if kept(entry)]}


def _like_iptables(document: Mapping[str, Any] | None) -> set[tuple[str, str]] | None:
    """Tables that bear iptables' names, and all of whose base chains do. None: there is no nft to say so."""
    if document is None:
        return None
    found = {(t["family"], t["name"]) for t in _of(document, "table") if t["family"] in ("ip", "ip6") and t["name"] in _TABLES}
    return found - {(c["family"], c["table"]) for c in _of(document, "chain") if "hook" in c and c["name"] not in _BASE}


def run(*argv: str) -> str | None:
    """What a program prints; None: it is not there. Raises CannotRun where it fails."""
    if find_program(argv[0]) is None:
        return None
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=DEADLINE_S, check=False, env={**os.environ, "PATH": search_path()}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRun(f"{argv[0]} cannot be run: {error}", status=ExitStatus.MISSING) from error
    if done.returncode:
        complaint = next(iter((done.stderr or done.stdout).strip().splitlines()), f"status {done.returncode}")
        raise CannotRun(f"the firewall cannot be read: {' '.join(argv)}: {complaint} (root may)", status=ExitStatus.MISSING)
    return done.stdout


def _ruleset() -> Mapping[str, Any] | None:
    listed = run("nft", "-j", "list", "ruleset")
    if listed is None:
        return None
    document: Mapping[str, Any] = json.loads(listed)
    return document


def _backends() -> Iterator[Backend]:
    """Those that have programs, the system's default first."""
    for version, program in ((4, "iptables"), (6, "ip6tables")):
        told = run(program, "-V")
        if told is None:
            continue
        default = "nft" if "nf_tables" in told else "legacy"
        for name in (default, {"nft": "legacy", "legacy": "nft"}[default]):
            named = f"{program}-{name}"
            if find_program(f"{named}-save") is not None:
                yield Backend(name, version, named)
            elif name == default:
                yield Backend(name, version, program)


def _loaded(backends: Iterable[Backend], files: Mapping[str, bytes], like: set[tuple[str, str]] | None) -> Iterator[Loaded]:
    for backend in backends:
        if backend.name == "legacy" and not _legacy_tables(backend.version):
            continue
        text = run(f"{backend.program}-save") or ""
        if backend.name == "nft" and like is not None:
            text = iptables_reader.sections(text, frozenset(name for family, name in like if family == backend.family))
        if "*" in text:
            yield Loaded(backend, ufw_rules.without_ours_loaded(text, files))


def _legacy_tables(version: int) -> list[str]:
    name = "ip_tables_names" if version == 4 else "ip6_tables_names"
    try:
        return Path("/proc/thread-self/net", name).read_text("ascii").split()
    except OSError:
        return []


def _systemd(root: Path) -> bool:
    """Whether systemd runs here: what it starts is in the network namespace and the file system of process 1."""
    try:
        same = os.stat("/proc/1/ns/net").st_ino == os.stat("/proc/thread-self/ns/net").st_ino
    except OSError:
        return False
    return same and root == Path("/") and Path("/run/systemd/system").is_dir()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _processes() -> frozenset[str]:
    """Names of the processes in this network namespace."""
    here = os.stat("/proc/thread-self/ns/net").st_ino
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.stat(process / "ns/net").st_ino == here:
                found.add((process / "comm").read_text().strip())
        except OSError:
            continue
    return frozenset(found)
