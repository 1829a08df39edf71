"""A WireGuard profile, read: this end's keys and addresses, and the peers that have an endpoint. What is secret is kept out of `repr`."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.model import Note, Unknown

TunnelAddress = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class WireguardPeer:
    """One `[Peer]` section: a server to try."""

    public_key: bytes
    """32 bytes."""
    preshared_key: bytes | None = field(default=None, repr=False)
    """32 bytes; None: none is configured."""
    host: str = ""
    """Of `Endpoint`: name or address, not resolved; empty: there is no endpoint."""
    port: int = 0
    """1 to 65535; 0: there is no endpoint."""
    family: str = ""
    """IP version of an address, `4` or `6`; empty: the host is a name."""
    allowed_ips: tuple[Network, ...] = ()
    keepalive_s: int | None = None
    """`PersistentKeepalive`; 0: off; None: not said."""
    line: int = 0
    """Of its head."""

    @property
    def transport(self) -> Transport:
        return Transport.UDP


@dataclass(frozen=True, slots=True)
class WireguardProfile:
    """A client's profile."""

    file: str
    private_key: bytes = field(repr=False)
    """32 bytes."""
    addresses: tuple[TunnelAddress, ...]
    """This end's in the tunnel."""
    dns: tuple[IPv4Address | IPv6Address, ...]
    """Resolvers that are asked through the tunnel."""
    mtu: int | None
    """Of the tunnel, bytes; None: not said."""
    peers: tuple[WireguardPeer, ...]
    """Those with an endpoint, at least one, in the profile's order."""
    obfuscation: tuple[str, ...] = ()
    """Keys of AmneziaWG that change WireGuard's messages; empty: they are WireGuard's own."""
    notes: tuple[Note, ...] = ()
    unknown: tuple[Unknown, ...] = ()
