"""A router of the chain: filters, NAT, TTL, MTU, firewall, in Linux's order, and what it answers itself.

PREROUTING filter, un-NAT, is it for us, TTL, MTU, FORWARD filter, firewall, NAT. A packet too large for the next link is answered with
fragmentation needed where it has DF set, else dropped: nothing is ever fragmented.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import assert_never

from vpnprobe.transports.simulated.filters import FilterChain
from vpnprobe.transports.simulated.firewall import Firewall
from vpnprobe.transports.simulated.links import LinkQueue
from vpnprobe.transports.simulated.nat import Masquerade
from vpnprobe.transports.simulated.replies import (
    ErrorLimit,
    echo_reply,
    may_be_answered,
    reset_for,
    time_exceeded,
    unreachable,
)
from vpnprobe.transports.topology import Action, Filter, Hook
from vpnprobe.wire.icmp import Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet

C2S = "c2s"
S2C = "s2c"


@dataclass(slots=True)
class Sides:
    """The two links of a router, as it sends on them, and its addresses there."""

    client: LinkQueue
    server: LinkQueue
    client_address: IPv4Address
    server_address: IPv4Address


class Router:
    """One router. `way` tells in which direction an address lies (`c2s`: towards the server), None for an address of no host."""

    def __init__(
        self,
        sides: Sides,
        way: Callable[[IPv4Address], str | None],
        filters: FilterChain,
        limit: ErrorLimit,
        *,
        silent: bool,
        nat: Masquerade | None,
        firewall: Firewall | None,
    ) -> None:
        self._sides = sides
        self._way = way
        self._filters = filters
        self._limit = limit
        self._silent = silent
        self._nat = nat
        self._firewall = firewall

    def receive(self, arrived: IPv4Packet, direction: str) -> None:
        """A packet that came in, moving in `direction`."""
        rule = self._filters.verdict(Hook.PREROUTING, arrived, direction)
        if rule is not None:
            self._refuse(rule, arrived)
            return
        packet = self._nat.inbound(arrived) if self._nat and direction == S2C else arrived
        if packet.destination in (self._sides.client_address, self._sides.server_address):
            self._for_us(packet)
        else:
            self._forward(packet, arrived, direction)

    def _forward(self, packet: IPv4Packet, arrived: IPv4Packet, direction: str) -> None:
        """`arrived` is the packet as its sender knows it: before un-NAT."""
        way = self._way(packet.destination)
        if way is None:
            self._error(arrived, Unreachable.NET)
            return
        if packet.ttl <= 1:
            self._time_exceeded(arrived)
            return
        link = self._sides.server if way == C2S else self._sides.client
        if packet.total_length > link.mtu:
            if packet.dont_fragment:
                self._error(arrived, Unreachable.FRAGMENTATION_NEEDED, next_hop_mtu=link.mtu)
            return
        packet = replace(packet, ttl=packet.ttl - 1)
        rule = self._filters.verdict(Hook.FORWARD, packet, direction)
        if rule is not None:
            self._refuse(rule, arrived)
            return
        if self._firewall and not self._firewall.passes(packet, from_client_side=direction == C2S):
            return
        link.send(self._nat.outbound(packet) if self._nat and way == C2S else packet)

    def _for_us(self, packet: IPv4Packet) -> None:
        """No socket is open on a router: echo is answered, the rest refused."""
        if packet.protocol == IpProtocol.ICMP:
            answer = echo_reply(packet)
        elif packet.protocol == IpProtocol.TCP:
            answer = reset_for(packet)
        else:
            code = Unreachable.PORT if packet.protocol == IpProtocol.UDP else Unreachable.PROTOCOL
            self._error(packet, code, sender=packet.destination)
            return
        if answer is not None:
            self._emit(answer)

    def _refuse(self, rule: Filter, packet: IPv4Packet) -> None:
        match rule.action:
            case Action.DROP:
                pass
            case Action.REJECT_RST:
                answer = reset_for(packet) if packet.protocol == IpProtocol.TCP else None
                if answer is not None:
                    self._emit(answer)
            case Action.REJECT_ADMIN:
                self._error(packet, Unreachable.ADMINISTRATIVELY_PROHIBITED)
            case Action.REJECT_HOST:
                self._error(packet, Unreachable.HOST_PROHIBITED)
            case Action.REJECT_PORT:
                self._error(packet, Unreachable.PORT)
            case _:
                assert_never(rule.action)

    def _may_send_error(self, packet: IPv4Packet) -> bool:
        return not self._silent and may_be_answered(packet) and self._limit.allows(packet.source)

    def _time_exceeded(self, packet: IPv4Packet) -> None:
        if self._may_send_error(packet):
            self._emit(time_exceeded(packet, sender=self._facing(packet.source)))

    def _error(self, packet: IPv4Packet, code: Unreachable, *, sender: IPv4Address | None = None, next_hop_mtu: int = 0) -> None:
        if self._may_send_error(packet):
            self._emit(unreachable(packet, code, sender=sender or self._facing(packet.source), next_hop_mtu=next_hop_mtu))

    def _facing(self, asker: IPv4Address) -> IPv4Address:
        """Our address on the side where `asker` lies."""
        return self._sides.server_address if self._way(asker) == C2S else self._sides.client_address

    def _emit(self, packet: IPv4Packet) -> None:
        way = self._way(packet.destination)
        if way is not None:
            (self._sides.server if way == C2S else self._sides.client).send(packet)
