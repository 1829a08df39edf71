"""What the user chose for a run: which probes, on which ports, and the existing server that is tried beside them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from vpnprobe.conversations.registry import ProtocolSpec, candidates_over, tried_on
from vpnprobe.evidence.statistics import ERROR_BOUND
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Address

Resolve = Callable[[str, str], Awaitable[Sequence[Address]]]
"""Addresses of a host's name, by family ("4", "6" or either); empty: none."""


class WantedPort(NamedTuple):
    """A port that the server agent is asked to open: what answers there follows from the first bytes that come."""

    transport: Transport
    port: int


class Remote(Protocol):
    """Where a profile says that its server is."""

    @property
    def host(self) -> str: ...
    @property
    def family(self) -> str:
        """4, 6, or empty: either."""
        ...

    @property
    def transport(self) -> Transport: ...
    @property
    def port(self) -> int: ...


class ExistingServer(Protocol):
    """A server that exists, and the user's own profile for it."""

    @property
    def file(self) -> str:
        """The profile's file."""
        ...

    @property
    def probe(self) -> str:
        """The name of the probe that tries it."""
        ...

    @property
    def protocols(self) -> Sequence[str]:
        """Those that get a verdict by it."""
        ...

    @property
    def remotes(self) -> Sequence[Remote]: ...
    @property
    def resolve(self) -> Resolve: ...
    def about(self) -> dict[str, Any]:
        """What the run's document says of the profile."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose."""

    candidate_ports: tuple[int, ...]
    """Of protocols that live on any port; the preferred one first."""
    names: frozenset[str] = frozenset()
    """Probes to run; empty: all."""
    existing: ExistingServer | None = None
    """An existing server, to be tried with the user's own profile."""
    only_existing: bool = False
    """Of its protocol, nothing but that."""
    control_port: int | None = None
    """The TCP port of the control connection, which is a candidate over UDP alone; None: there is none."""
    error_bound: float = ERROR_BOUND
    """What a 'blocked' must reach."""
    named_ports: tuple[int, ...] = ()
    """Candidate ports that the user named: each protocol that lives on any port is tried on them."""

    def candidates(self, spec: ProtocolSpec, transport: Transport) -> list[int]:
        """The candidate ports that a protocol which lives on any is tried on over that transport, its usual ones first."""
        ports = (port for port in self._ports(transport) if tried_on(spec, port, self.named_ports))
        return sorted(ports, key=lambda port: port not in spec.usual_ports)

    def candidates_over(self, transport: Transport) -> list[int]:
        """Those that any protocol is tried on over that transport."""
        return candidates_over(transport, self._ports(transport), self.named_ports)

    def _ports(self, transport: Transport) -> tuple[int, ...]:
        others = tuple(port for port in self.candidate_ports if port != self.control_port)
        if self.control_port is None or transport is Transport.TCP:
            return others
        return self.candidate_ports if self.control_port in self.candidate_ports else (*others, self.control_port)

    def wants(self, name: str) -> bool:
        return not self.names or name in self.names
