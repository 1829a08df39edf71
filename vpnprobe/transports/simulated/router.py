"""A router: filters, NAT, TTL, MTU, firewall, in Linux's order, and what it answers itself.

Reassembly where connections are tracked, PREROUTING filter, un-NAT, is it for us, TTL, MTU, FORWARD filter, firewall, NAT. A packet too
large for the next link is answered with fragmentation needed where it has DF set (RFC 1191), and cut into fragments where it has not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple, assert_never

from vpnprobe.transports.fragments import Reassembly, fragmented, is_fragment
from vpnprobe.transports.simulated.filters import FilterChain
from vpnprobe.transports.simulated.firewall import Firewall
from vpnprobe.transports.simulated.links import LinkQueue, forwarded
from vpnprobe.transports.simulated.nat import Masquerade
from vpnprobe.transports.simulated.recutting import Recutter
from vpnprobe.transports.simulated.replies import (
    ErrorLimit,
    echo_reply,
    may_be_answered,
    reset_for,
    time_exceeded,
    unreachable,
)
from vpnprobe.transports.topology import CLIENT, Action, Filter, Hook
from vpnprobe.wire.icmp import Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet

C2S = "c2s"
S2C = "s2c"


class Hop(NamedTuple):
    """Where a router sends what goes to an address."""

    direction: str
    """`c2s`: towards the server."""
    link: LinkQueue
    address: IPv4Address
    """The router's own on that link."""
    receiver: str
    """The host at the link's other end."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """What a router does beyond routing; None: it does not."""

    nat: Masquerade | None = None
    inside: str = CLIENT
    """The end that sits behind the NAT."""
    firewall: Firewall | None = None
    protects: str = CLIENT
    """The end that the firewall protects."""
    recutter: Recutter | None = None


class Router:
    """One router. Connections are tracked, and fragments put together for it, where it has a NAT, a firewall or a filter that counts."""

    def __init__(
        self,
        routes: Mapping[IPv4Address, Hop],
        own: frozenset[IPv4Address],
        filters: FilterChain,
        limit: ErrorLimit,
        boxes: Boxes,
        *,
        silent: bool,
        black_hole: bool,
        now: Callable[[], float],
    ) -> None:
        """`routes`: by address, of all hosts but its own addresses, `own`."""
        self._routes = routes
        self._own = own
        self._filters = filters
        self._limit = limit
        self._silent = silent
        self._black_hole = black_hole
        self._nat = boxes.nat
        self._outwards = C2S if boxes.inside == CLIENT else S2C
        self._firewall = boxes.firewall
        self._opens = C2S if boxes.protects == CLIENT else S2C
        self._recutter = boxes.recutter
        tracks = self._nat is not None or self._firewall is not None or filters.tracks
        self._reassembly = Reassembly(now) if tracks else None

    def receive(self, arrived: IPv4Packet, direction: str) -> None:
        """A packet that came in, moving in `direction`."""
        largest = None
        if self._reassembly is not None and is_fragment(arrived):
            whole = self._reassembly.take(arrived)
            if whole is None:
                return
            arrived, largest = whole.packet, whole.largest
        rule = self._filters.verdict(Hook.PREROUTING, arrived, direction)
        if rule is not None:
            self._refuse(rule, arrived)
            return
        packet = self._nat.inbound(arrived) if self._nat and direction != self._outwards else arrived
        hop = self._routes.get(packet.destination)
        if hop is not None:
            self._forward(packet, arrived, direction, hop, largest)
        elif packet.destination in self._own:
            self._for_us(packet)
        else:
            self._error(arrived, Unreachable.NET)

    def _forward(self, packet: IPv4Packet, arrived: IPv4Packet, direction: str, hop: Hop, largest: int | None) -> None:
        """`arrived` is the packet as its sender knows it, before un-NAT; `largest`: of the fragments that it came in, bytes."""
        if packet.ttl <= 1:
            self._time_exceeded(arrived)
            return
        if packet.dont_fragment and packet.total_length > hop.link.mtu:
            if not self._black_hole:
                self._error(arrived, Unreachable.FRAGMENTATION_NEEDED, next_hop_mtu=hop.link.mtu)
            return
        packet = forwarded(packet, 1)
        rule = self._filters.verdict(Hook.FORWARD, packet, direction)
        if rule is not None:
            self._refuse(rule, arrived)
            return
        if self._firewall and not self._firewall.passes(packet, from_inside=direction == self._opens):
            return
        if self._nat and hop.direction == self._outwards:
            packet = self._nat.outbound(packet)
        if self._recutter is not None:
            self._recutter.send(packet, hop.link.send, mtu=hop.link.mtu)
        else:
            _transmit(packet, hop.link, largest)

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
        hop = self._routes.get(asker)
        return hop.address if hop is not None else min(self._own)

    def _emit(self, packet: IPv4Packet) -> None:
        hop = self._routes.get(packet.destination)
        if hop is not None:
            _transmit(packet, hop.link, None)


def _transmit(packet: IPv4Packet, link: LinkQueue, largest: int | None) -> None:
    """`largest`: no piece is longer, bytes; None: none but the link limits them."""
    if largest is None and packet.total_length <= link.mtu:
        link.send(packet)
        return
    for piece in fragmented(packet, min(link.mtu, largest or link.mtu)):
        link.send(piece)
