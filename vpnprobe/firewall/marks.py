"""Managers of firewalls that are met and not supported, by the marks that they leave. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from vpnprobe.firewall.state import Loaded, Manager

CHAINS: Final[tuple[tuple[str, Manager, str], ...]] = (
    (r"DOCKER(-.*)?", Manager.DOCKER, "Docker"),
    (r"INPUT_ZONES|FWDI?_[a-z]+|FORWARD_IN_ZONES", Manager.FIREWALLD, "firewalld"),
    (r"KUBE-.+", Manager.OTHER, "Kubernetes"),
    (r"cali-.+", Manager.OTHER, "Calico"),
    (r"CILIUM_.+", Manager.OTHER, "Cilium"),
    (r"LOCALINPUT|DENYIN", Manager.OTHER, "csf"),
    (r"shorewall|sfilter|net-fw|fw-net", Manager.OTHER, "Shorewall"),
    (r"nixos-fw(-.*)?", Manager.OTHER, "NixOS"),
    (r"zone_.+_(input|forward)", Manager.OTHER, "OpenWrt's fw3"),
)
"""Names of chains, whole."""
TABLES: Final[tuple[tuple[str, Manager, str], ...]] = (
    (r"firewalld", Manager.FIREWALLD, "firewalld"),
    (r"docker-bridges", Manager.DOCKER, "Docker"),
    (r"kube-proxy", Manager.OTHER, "Kubernetes"),
    (r"nixos-fw", Manager.OTHER, "NixOS"),
    (r"fw4", Manager.OTHER, "OpenWrt's fw4"),
)
PROCESSES: Final = {"firewalld": (Manager.FIREWALLD, "firewalld")}
"""By name, in this network namespace. Docker's process alone is no mark: it may be told to leave the firewall alone."""


def foreign_manager(document: Mapping[str, Any] | None, loaded: Iterable[Loaded], processes: frozenset[str]) -> tuple[Manager, str]:
    """Who is met, and by what; NONE and empty: nobody. firewalld goes first, since it takes in what Docker asks of it."""
    found = [
        *_by_name(document, loaded),
        *((manager, f"{who} (its process)") for name, (manager, who) in PROCESSES.items() if name in processes),
    ]
    order = (Manager.FIREWALLD, Manager.OTHER, Manager.DOCKER)
    return next(((manager, met) for wanted in order for manager, met in found if manager is wanted), (Manager.NONE, ""))


def _by_name(document: Mapping[str, Any] | None, loaded: Iterable[Loaded]) -> Iterator[tuple[Manager, str]]:
    entries = (document or {}).get("nftables", ())
    for entry in entries:
        if "table" in entry:
            yield from _known(TABLES, entry["table"]["name"], "table")
        if "chain" in entry:
            yield from _known(CHAINS, entry["chain"]["name"], "chain")
    for found in loaded:
        for name in re.findall(r"^:(\S+) ", found.text, re.MULTILINE):
            yield from _known(CHAINS, name, f"chain of {found.backend.program}")


def _known(patterns: Iterable[tuple[str, Manager, str]], name: str, what: str) -> Iterator[tuple[Manager, str]]:
    for pattern, manager, who in patterns:
        if re.fullmatch(pattern, name):
            yield manager, f"{who} (its {what} {name})"
