"""Whose a packet is that leaves this machine beside the tunnel: the tunnel's own, the local network's, or a leak. Pure.

Local is what never leaves the link or is meant for it: ARP, neighbour discovery (RFC 4861: hop limit 255), DHCP, frames of the link itself
(LLDP, EAPOL, spanning tree), multicast and broadcast of limited scope, and unicast to addresses of the machine's own links. Names that are
asked of a resolver on the own link are told apart: the resolver carries them outside. The tunnel's own is what goes to its server by its
protocol and port, and nothing else that goes to the same host.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from vpnprobe.deployment.verification.asked import Asked, Network
from vpnprobe.deployment.verification.process import Endpoint
from vpnprobe.deployment.verification.way_out import Links
from vpnprobe.errors import DecodeError
from vpnprobe.transports.stack import Address
from vpnprobe.transports.system.packet_socket import SeenPacket
from vpnprobe.wire.icmp import DestinationUnreachable, TimeExceeded, decode_icmp, decode_icmpv6
from vpnprobe.wire.ip import IpPacket, IpProtocol, decode_ip

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_IPV6: Final = 0x86DD
ETHERTYPE_ARP: Final = 0x0806
DNS_PORTS: Final = frozenset((53, 853))
"""Plain, and over TLS or QUIC (RFC 7858, RFC 9250)."""
DHCP_PORTS: Final = frozenset(((68, 67), (546, 547)))
"""Source and destination, RFC 2131 and RFC 8415."""
NEIGHBOUR_DISCOVERY: Final = range(133, 138)
"""ICMPv6 types, RFC 4861 section 4."""
ND_HOP_LIMIT: Final = 255
WIDEST_LOCAL_SCOPE: Final = 8
"""Of IPv6 multicast: organisation-local (RFC 7346)."""
BROADCAST: Final = IPv4Address("255.255.255.255")
UNSPECIFIED: Final = frozenset((IPv4Address(0), IPv6Address(0)))
TRANSPORTS: Final = {int(IpProtocol.TCP): "tcp", int(IpProtocol.UDP): "udp"}
NAMES: Final = {**TRANSPORTS, int(IpProtocol.ICMP): "icmp", int(IpProtocol.ICMPV6): "icmpv6"}


class Kind(StrEnum):
    """What a packet is."""

    TUNNEL = "tunnel"
    """The tunnel's own, to its server."""
    ARP = "arp"
    NEIGHBOUR_DISCOVERY = "neighbour-discovery"
    DHCP = "dhcp"
    LINK = "link"
    """Frames that are no IP: of the link itself."""
    MULTICAST = "multicast"
    """And broadcast, of limited scope."""
    LOCAL = "local"
    """To an address on a link of this machine."""
    EXCEPTED = "excepted"
    """To a network that profile or server leave beside the tunnel."""
    DIRECT = "direct"
    """Beside a tunnel that is not to carry it."""
    LEAK = "leak"


@dataclass(frozen=True, slots=True)
class Judged:
    """What a packet is, and where it goes."""

    kind: Kind
    destination: Address | None = None
    """None: no IP."""
    protocol: int = 0
    source_port: int | None = None
    port: int | None = None
    why: str = ""
    """Of a leak: a noun phrase."""
    dns: bool = False
    """It asks a resolver."""
    identifier: int | None = None
    """Of an echo request."""
    source: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a packet is judged by."""

    asked: Asked
    links: Links
    servers: frozenset[Endpoint]
    inside: tuple[Network, ...]
    """The tunnel's own networks."""


def judged(packet: SeenPacket, here: Surroundings) -> Judged:
    """Of a packet that left on another device than the tunnel's."""
    if packet.ethertype == ETHERTYPE_ARP:
        return Judged(Kind.ARP)
    if packet.ethertype not in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        return Judged(Kind.LINK)
    try:
        ip = decode_ip(packet.data)
    except DecodeError:
        return Judged(Kind.LINK)
    return _of_ip(ip, here)


def headers(packet: SeenPacket) -> Judged | None:
    """Where a packet goes, without judging it; None: it is no IP."""
    if packet.ethertype not in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        return None
    try:
        ip = decode_ip(packet.data)
    except DecodeError:
        return None
    source_port, port = _ports(ip)
    dns = _is_dns(ip.protocol, port)
    return Judged(Kind.TUNNEL, ip.destination, ip.protocol, source_port, port, "", dns, _identifier(ip), ip.source)


def _of_ip(ip: IpPacket, here: Surroundings) -> Judged:
    source_port, port = _ports(ip)
    dns = _is_dns(ip.protocol, port)
    kind, why = _kind(ip, source_port, port, here)
    if kind is Kind.LOCAL and dns and here.asked.full and not is_excepted(ip.destination, here.asked):
        kind, why = Kind.LEAK, "a resolver of the local network, which carries the names outside of the tunnel"
    return Judged(kind, ip.destination, ip.protocol, source_port, port, why, dns, _identifier(ip), ip.source)


def _kind(ip: IpPacket, source_port: int | None, port: int | None, here: Surroundings) -> tuple[Kind, str]:
    destination = ip.destination
    if _is_the_tunnels(ip, port, here):
        return Kind.TUNNEL, ""
    if ip.protocol == IpProtocol.ICMPV6 and ip.payload[:1] and ip.payload[0] in NEIGHBOUR_DISCOVERY and ip.ttl == ND_HOP_LIMIT:
        return Kind.NEIGHBOUR_DISCOVERY, ""
    if ip.protocol == IpProtocol.UDP and (source_port, port) in DHCP_PORTS:
        return Kind.DHCP, ""
    if _stays_on_the_link(destination, ip.ttl, here):
        return Kind.MULTICAST, ""
    if is_excepted(destination, here.asked):
        return Kind.EXCEPTED, ""
    if here.links.has(destination):
        blocked = here.asked.blocks_local and destination not in here.links.neighbours
        return (Kind.LEAK, "the local network, which the server blocks (block-local)") if blocked else (Kind.LOCAL, "")
    return _outside(ip, here)


def _outside(ip: IpPacket, here: Surroundings) -> tuple[Kind, str]:
    destination = ip.destination
    asked = here.asked
    if any(destination == server.address for server in here.servers):
        return (Kind.LEAK, "the server's own address by another port or protocol than the tunnel's") if asked.full else (Kind.DIRECT, "")
    if any(destination in network for network in (*asked.through, *here.inside)):
        return Kind.LEAK, "a network that goes through the tunnel"
    if asked.full4 if destination.version == 4 else asked.full:
        return Kind.LEAK, "an address outside"
    return Kind.DIRECT, ""


def _is_the_tunnels(ip: IpPacket, port: int | None, here: Surroundings) -> bool:
    """To the server by its protocol and port; later fragments have none; an ICMP error about such a packet is the tunnel's too."""
    for server in here.servers:
        if ip.destination == server.address:
            if TRANSPORTS.get(ip.protocol) == server.transport and (port == server.port or not ip.first_fragment):
                return True
            if _is_about(ip, server):
                return True
    return False


def _is_about(ip: IpPacket, server: Endpoint) -> bool:
    """Whether it is an ICMP error that quotes a packet of the server: the kernel refuses what comes for a client that is gone."""
    if ip.protocol not in (IpProtocol.ICMP, IpProtocol.ICMPV6):
        return False
    try:
        message = decode_icmp(ip.payload) if ip.protocol == IpProtocol.ICMP else decode_icmpv6(ip.payload)
    except DecodeError:
        return False
    if not isinstance(message, DestinationUnreachable | TimeExceeded):
        return False
    return message.quote.source == server.address and message.quote.protocol in TRANSPORTS


def _stays_on_the_link(destination: Address, ttl: int, here: Surroundings) -> bool:
    if destination == BROADCAST or destination in UNSPECIFIED:
        return True
    if not destination.is_multicast:
        return any(net.version == destination.version == 4 and destination == net.broadcast_address for net in here.links.networks)
    if isinstance(destination, IPv6Address):
        return destination.packed[1] & 0x0F <= WIDEST_LOCAL_SCOPE
    return ttl == 1 or destination.packed[:3] == b"\xe0\x00\x00" or destination.packed[0] == 239


def is_excepted(destination: Address, asked: Asked) -> bool:
    """Whether it is left beside the tunnel: the longest network decides between what goes through it and what goes around it."""
    around = [network.prefixlen for network in asked.around if destination in network]
    through = [network.prefixlen for network in asked.through if destination in network]
    return bool(around) and max(around) > max(through, default=-1)


def _ports(ip: IpPacket) -> tuple[int | None, int | None]:
    if ip.protocol not in TRANSPORTS or not ip.first_fragment or len(ip.payload) < 4:
        return None, None
    return int.from_bytes(ip.payload[:2], "big"), int.from_bytes(ip.payload[2:4], "big")


def _is_dns(protocol: int, port: int | None) -> bool:
    return protocol in TRANSPORTS and port in DNS_PORTS


def _identifier(ip: IpPacket) -> int | None:
    request = (ip.protocol == IpProtocol.ICMP and ip.payload[:1] == b"\x08") or (
        ip.protocol == IpProtocol.ICMPV6 and ip.payload[:1] == b"\x80"
    )
    return int.from_bytes(ip.payload[4:6], "big") if request and len(ip.payload) >= 6 else None
