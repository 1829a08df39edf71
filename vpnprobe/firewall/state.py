"""What was found of a host's firewall."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from vpnprobe.firewall import iptables_reader, nft_reader
from vpnprobe.firewall.model import Table


class Manager(StrEnum):
    """Who puts the rules there, and loads them at boot."""

    NONE = "none"
    NFTABLES = "nftables"
    IPTABLES = "iptables"
    IPTABLES_PERSISTENT = "iptables-persistent"
    UFW = "ufw"
    FIREWALLD = "firewalld"
    DOCKER = "Docker"
    OTHER = "other"
    """Known by its marks, and not supported."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One of the two packet filters that iptables can speak to, for one IP version."""

    name: str
    """`nft`, `legacy`."""
    version: int
    """Of IP."""
    program: str
    """`iptables-nft`, `ip6tables-legacy`, or plain `iptables`; with `-save` and `-restore` the other two."""

    @property
    def family(self) -> str:
        """As nftables calls it."""
        return "ip" if self.version == 4 else "ip6"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rules of iptables that are loaded."""

    backend: Backend
    text: str
    """As `iptables-save` prints them."""

    @property
    def tables(self) -> list[Table]:
        """Without our rules."""
        return iptables_reader.tables(self.text, self.backend.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallState:
    """All that was read. Nothing of it was changed."""

    manager: Manager
    met: str = ""
    """The marks by which a manager that is refused was known: `the chain DOCKER-USER (iptables)`."""
    nft: Mapping[str, Any] | None = None
    """What `nft -j list ruleset` said of tables that are not iptables'; None: there is no nft."""
    iptables: tuple[Loaded, ...] = ()
    """Backends that have rules."""
    backends: tuple[Backend, ...] = ()
    """Those that could be used, the system's default first of each IP version."""
    nft_tables: frozenset[tuple[str, str]] = frozenset()
    """Family and name of all tables that nft sees, iptables' among them."""
    nft_chains: frozenset[tuple[str, str, str]] = frozenset()
    """The same of chains."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Paths below the root, with contents: those of iptables-persistent and of ufw."""
    read: bool = True
    """False: the rules may not be read by this user, and who manages them is known by marks that anybody sees."""
    systemd: bool = False
    """It runs, for this network namespace and these files, and starts what is to be loaded at boot."""

    @property
    def native(self) -> list[Table]:
        """Tables of nftables that are not iptables', without our rules."""
        return nft_reader.tables(self.nft) if self.nft is not None else []

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all rules, ours left out, without counters: where it differs, places of rules may be others."""
        parts = [repr(self.native), *(f"{found.backend}{found.tables}" for found in self.iptables)]
        return sha256("\n".join(parts).encode()).hexdigest()

    def default_backend(self, version: int) -> Backend | None:
        """The one that has rules, or the system's default; None: there is no iptables."""
        loaded = [found.backend for found in self.iptables if found.backend.version == version]
        return next((backend for backend in (*loaded, *self.backends) if backend.version == version), None)

    def loaded(self, backend: Backend) -> str:
        """Its rules as text; empty: none."""
        return next((found.text for found in self.iptables if found.backend == backend), "")
