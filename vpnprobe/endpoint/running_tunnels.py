"""What shows on this machine that a tunnel with a certain identity is up, so that a test with the same identity would interrupt it.

Each protocol with client profiles looks for its own (`vpnprobe.endpoint.*_running`): by reading alone, for SEARCH_S at most, and as far
as this user may look. Whatever the system is like, a search ends with what it has found.
"""

from dataclasses import dataclass
from typing import Final

SEARCH_S: Final = 5.0
"""How long one search may take in all: far longer than it does, since what is not found on a loaded machine is not told."""


@dataclass(frozen=True, slots=True)
class RunningTunnel:
    """A tunnel that is up with the identity that was looked for."""

    what: str
    """A noun phrase for one line on a terminal: `interface wg0 with this profile's key`."""


@dataclass(frozen=True, slots=True)
class TunnelSearch:
    """What a search found."""

    tunnels: tuple[RunningTunnel, ...] = ()
    untold: tuple[str, ...] = ()
    """What may be such a tunnel and could not be told, a noun phrase each: `interface wg1, whose key cannot be read`."""
