"""What a server's firewall has to let through, and the packets that show whether it does. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Final, assert_never

from vpnprobe.firewall.model import Hook, Packet
from vpnprobe.observations.schema import Transport


class TunnelIpv6(StrEnum):
    """What becomes of IPv6 inside the tunnel."""

    ROUTED = "routed"
    """The server has a prefix that is routed to it, and the pool is of it."""
    NATED = "nated"
    """It has an address or a prefix of its link alone: the pool is translated (NAT66)."""
    BLOCKED = "blocked"
    """It has no IPv6: none is let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """One listener's device and its clients."""

    device: str
    pool: IPv4Network
    pool6: IPv6Network | None = None
    """None: no IPv6 inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallNeeds:
    """All that is asked of a firewall."""

    listeners: tuple[tuple[Transport, int], ...]
    tunnels: tuple[Tunnel, ...]
    egress: tuple[str, ...] = ()
    """Devices of the default routes of IPv4; empty: there is none, or it is not known."""
    egress6: tuple[str, ...] = ()
    """The same of IPv6."""
    control_ports: tuple[int, ...] = ()
    """TCP ports by which the server is reached now (ssh): no rule concerns them, and no listener may take one."""
    services: tuple[tuple[Transport, int], ...] = ()
    """Ports of the server itself that clients reach through the tunnel, such as a resolver's."""
    ipv6: TunnelIpv6 = TunnelIpv6.BLOCKED

    @property
    def devices(self) -> tuple[str, ...]:
        """Of the tunnels."""
        return tuple(tunnel.device for tunnel in self.tunnels)

    def pools(self, version: int) -> list[tuple[str, IPv4Network | IPv6Network]]:
        """Devices with their pools of an IP version that are let through."""
        if version == 4:
            return [(tunnel.device, tunnel.pool) for tunnel in self.tunnels]
        if self.ipv6 is TunnelIpv6.BLOCKED:
            return []
        return [(tunnel.device, tunnel.pool6) for tunnel in self.tunnels if tunnel.pool6 is not None]

    def translated(self, version: int) -> list[tuple[str, IPv4Network | IPv6Network]]:
        """Those of them whose addresses nobody beyond the server knows a way to."""
        return self.pools(version) if version == 4 or self.ipv6 is TunnelIpv6.NATED else []


class Kind(StrEnum):
    """What an opening is for."""

    LISTENER = "listener"
    """Clients to a listener."""
    ANSWERS = "answers"
    """A listener's packets to its clients."""
    FROM_TUNNEL = "from-tunnel"
    """Clients to what is beyond the server."""
    TO_TUNNEL = "to-tunnel"
    """What answers them, and what the server answers them itself."""
    LEAVING = "leaving"
    """The former on its way out, where its address may have been translated already."""
    RETURNING = "returning"
    """What answers them on its way in, where that has not been translated back yet."""
    ECHO = "echo"
    """Clients' echo requests to the server's address in the tunnel, by which a tunnel is tried."""
    SERVICE = "service"
    """Clients to a service of the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One kind of packets that has to pass: at every place that drops one of `packets` an accept for the kind is put in."""

    kind: Kind
    version: int
    packets: tuple[Packet, ...]
    transport: Transport | None = None
    port: int | None = None
    device: str = ""
    pool: IPv4Network | IPv6Network | None = None

    def nft(self) -> str:
        """What a rule of nftables matches."""
        match self.kind:
            case Kind.LISTENER:
                return f"{self.transport} dport {self.port}"
            case Kind.ANSWERS:
                return f"{self.transport} sport {self.port} ct state established,related"
            case Kind.FROM_TUNNEL:
                return f'iifname "{self.device}" {self._header} saddr {self.pool}'
            case Kind.TO_TUNNEL:
                return f'oifname "{self.device}" {self._header} daddr {self.pool} ct state established,related'
            case Kind.LEAVING:
                return f"ct original {self._header} saddr {self.pool}"
            case Kind.RETURNING:
                return f"ct state established,related ct original {self._header} saddr {self.pool}"
            case Kind.ECHO:
                icmp = "icmp" if self.version == 4 else "icmpv6"
                return f'iifname "{self.device}" {self._header} saddr {self.pool} {icmp} type echo-request'
            case Kind.SERVICE:
                return f'iifname "{self.device}" {self._header} saddr {self.pool} {self.transport} dport {self.port}'
            case _:
                assert_never(self.kind)

    @property
    def _header(self) -> str:
        return "ip" if self.version == 4 else "ip6"

    def iptables(self) -> str:
        """What a rule of iptables matches."""
        state = "-m conntrack --ctstate RELATED,ESTABLISHED"
        match self.kind:
            case Kind.LISTENER:
                return f"-p {self.transport} -m {self.transport} --dport {self.port}"
            case Kind.ANSWERS:
                return f"-p {self.transport} -m {self.transport} --sport {self.port} {state}"
            case Kind.FROM_TUNNEL:
                return f"-s {self.pool} -i {self.device}"
            case Kind.TO_TUNNEL:
                return f"-d {self.pool} -o {self.device} {state}"
            case Kind.LEAVING:
                return f"-m conntrack --ctorigsrc {self.pool}"
            case Kind.RETURNING:
                return f"{state} --ctorigsrc {self.pool}"
            case Kind.ECHO:
                icmp = "-p icmp -m icmp --icmp-type 8" if self.version == 4 else "-p ipv6-icmp -m icmp6 --icmpv6-type 128"
                return f"-s {self.pool} -i {self.device} {icmp}"
            case Kind.SERVICE:
                return f"-s {self.pool} -i {self.device} -p {self.transport} -m {self.transport} --dport {self.port}"
            case _:
                assert_never(self.kind)


PROTOCOLS: Final = ("tcp", "udp", "icmp")
"""Of packets in the tunnel that are tried."""


def openings(needs: FirewallNeeds, version: int) -> list[Opening]:
    """All that has to pass, of one IP version. Listeners listen on both; packets may come by any device too."""
    egress: Sequence[str | None] = (*(needs.egress if version == 4 else needs.egress6), None)
    apart = frozenset(("lo", *needs.devices, *needs.egress, *needs.egress6))
    found = [opening for transport, port in needs.listeners for opening in _listener(transport, port, version, egress, apart)]
    for device, pool in needs.pools(version):
        found += _tunnel(device, pool, version, egress)
        found += [_service(device, pool, version, transport, port) for transport, port in needs.services]
    return found


def _listener(transport: Transport, port: int, version: int, egress: Sequence[str | None], apart: frozenset[str]) -> Iterator[Opening]:
    coming = tuple(
        Packet(hook=hook, version=version, protocol=str(transport), state=state, iif=device, dport=port, apart_from=apart)
        for device in egress
        for hook in (Hook.PREROUTING, Hook.INPUT)
        for state in ("new", "established")
    )
    leaving = tuple(
        Packet(hook=hook, version=version, protocol=str(transport), state="established", oif=device, sport=port, apart_from=apart)
        for device in egress
        for hook in (Hook.OUTPUT, Hook.POSTROUTING)
    )
    yield Opening(kind=Kind.LISTENER, version=version, packets=coming, transport=transport, port=port)
    yield Opening(kind=Kind.ANSWERS, version=version, packets=leaving, transport=transport, port=port)


def _tunnel(device: str, pool: IPv4Network | IPv6Network, version: int, egress: Sequence[str | None]) -> Iterator[Opening]:
    out = tuple(
        Packet(hook=hook, version=version, protocol=protocol, state=state, iif=device, source=pool)
        for protocol in PROTOCOLS
        for hook in (Hook.PREROUTING, Hook.FORWARD)
        for state in ("new", "established")
    )
    back = tuple(
        Packet(hook=hook, version=version, protocol=protocol, state="established", iif=origin, oif=device, destination=pool)
        for protocol in PROTOCOLS
        for hook, origin in [*((Hook.FORWARD, name) for name in egress), (Hook.OUTPUT, None), (Hook.POSTROUTING, None)]
    )
    leaving = tuple(
        Packet(hook=Hook.POSTROUTING, version=version, protocol=protocol, state=state, source=source)
        for protocol in PROTOCOLS
        for state in ("new", "established")
        for source in (pool, None)
    )
    returning = tuple(
        Packet(hook=Hook.PREROUTING, version=version, protocol=protocol, state="established", iif=origin, destination=destination)
        for protocol in PROTOCOLS
        for origin in egress
        for destination in (None, pool)
    )
    echo = tuple(
        Packet(hook=Hook.INPUT, version=version, protocol="icmp", state=state, iif=device, source=pool, icmp_type="echo-request")
        for state in ("new", "established")
    )
    yield Opening(kind=Kind.FROM_TUNNEL, version=version, packets=out, device=device, pool=pool)
    yield Opening(kind=Kind.TO_TUNNEL, version=version, packets=back, device=device, pool=pool)
    yield Opening(kind=Kind.LEAVING, version=version, packets=leaving, device=device, pool=pool)
    yield Opening(kind=Kind.RETURNING, version=version, packets=returning, device=device, pool=pool)
    yield Opening(kind=Kind.ECHO, version=version, packets=echo, device=device, pool=pool)


def _service(device: str, pool: IPv4Network | IPv6Network, version: int, transport: Transport, port: int) -> Opening:
    packets = tuple(
        Packet(hook=Hook.INPUT, version=version, protocol=str(transport), state=state, iif=device, source=pool, dport=port)
        for state in ("new", "established")
    )
    return Opening(kind=Kind.SERVICE, version=version, packets=packets, transport=transport, port=port, device=device, pool=pool)
