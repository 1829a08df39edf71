"""What one kind of packet meets on its way through a topology, in the order in which it meets it.

Reasoned from the topology as data (`vpnprobe.transports.topology`) and from what Linux does with filters, NATs and stateful firewalls;
the simulated network's own code is not asked, so that a fault of either shows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from vpnprobe.lab.campaign.packet_kinds import SEGMENT, PacketKind
from vpnprobe.lab.campaign.routes import Route, route_of
from vpnprobe.lab.topologies import TCP, UDP
from vpnprobe.observations.schema import Cause, Direction
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Hook, Service, Topology

SURE: Final = 1.0
FIRST: Final = 0.5
"""The first packets of a size, until their sender is told that they are too large."""
EVERYWHERE: Final = 1000
"""A position beyond every host."""
EVEN: Final = 0.5
HEADERS: Final = 40
"""Bytes of IPv4 and TCP without options."""
SMALLEST_OF_MANY: Final = 83
"""Bytes of the smallest TCP segment that others follow without waiting for an answer."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that takes packets of the kind."""

    position: int
    """Of the host that takes them, as hops from their sender; of a link: of the host that sends on it."""
    before_ttl: bool
    """It takes them before the TTL is looked at, so that this router never answers for them."""
    share: float
    """Of the packets that it may take, how many it does, 0 to 1."""
    causes: frozenset[Cause]
    """What may be said to be the cause."""
    host: str = ""
    """`client` or `server`: it is that end's own firewall; empty: it is on the path."""
    timed: bool = False
    """It acts for a while only, or comes and goes."""
    by_flow: bool = False
    """It takes the whole of some flows and nothing of others."""
    per_s: float | None = None
    """It takes what is more than so many packets a second; None: it does not ask."""
    after_packets: int | None = None
    """It takes what comes after so many packets of a flow; None: it does not ask."""
    longer_than: int | None = None
    """It takes what is longer, bytes; None: it does not ask."""
    hidden: bool = False
    """Whether it takes a packet depends on what a stream's segments were joined to before it."""

    def stops(self, kind: PacketKind) -> bool:
        """Whether no packet of the kind ever gets beyond it."""
        asks = self.timed or self.per_s is not None or self.after_packets is not None
        return self.share >= SURE and not asks and (self.longer_than is None or kind.smallest > self.longer_than)


def share_matched(planted: Filter, kind: PacketKind) -> float:
    """The share of packets of the kind that fit the filter's conditions, chance and size apart: what is random in them fits by chance."""
    if planted.protocol not in (None, kind.protocol) or kind.protocol in planted.except_protocols:
        return 0.0
    has_ports = kind.protocol in (TCP, UDP)
    if planted.ports and not (has_ports and kind.port in planted.ports):
        return 0.0
    if has_ports and kind.port in planted.except_ports:
        return 0.0
    if not planted.payload:
        return SURE
    return _payload_share(planted, kind) if has_ports else 0.0


def _payload_share(planted: Filter, kind: PacketKind) -> float:
    start = planted.payload_offset or 0
    if kind.payload_bytes < start + len(planted.payload):
        return 0.0
    share = SURE
    for place, wanted in enumerate(planted.payload):
        mask = planted.payload_mask[place] if planted.payload_mask else 0xFF
        found = kind.known.get(start + place)
        if found is None:
            share *= 0.5 ** mask.bit_count()
        elif found & mask != wanted & mask:
            return 0.0
    return share


def causes_of(planted: Filter, kind: PacketKind) -> frozenset[Cause]:
    """The cause words that say what a filter on the path does to the kind."""
    if planted.probability < SURE:
        return frozenset({Cause.LOSS})
    if planted.timed:
        return frozenset({Cause.TIME, Cause.LOSS})
    if planted.packets_per_s is not None:
        return frozenset({Cause.RATE, Cause.LOSS})
    if planted.after_packets is not None:
        return frozenset({Cause.PACKETS, Cause.TIME, *([Cause.PAYLOAD] if planted.payload else [])})
    if planted.longer_than is not None:
        # Where nothing of the kind is short enough nobody can tell what else the filter would pass.
        all_of_it = kind.smallest > planted.longer_than
        return frozenset({Cause.SIZE, *(_by_header(planted, kind) if all_of_it else ())})
    if planted.payload:
        return frozenset({Cause.PAYLOAD})
    return _by_header(planted, kind)


def _by_header(planted: Filter, kind: PacketKind) -> frozenset[Cause]:
    by_port = planted.ports or (planted.except_ports and kind.protocol in (TCP, UDP))
    return frozenset({Cause.PORT if by_port else Cause.IP_PROTOCOL})


@lru_cache(maxsize=4096)
def obstacles(topology: Topology, kind: PacketKind, way: Direction, *, opened_to: int = EVERYWHERE) -> tuple[Obstacle, ...]:
    """All that packets of the kind meet in that direction, the first one first.

    `opened_to`: the position at which the client's own packets of the flow end, as far as they opened it; it matters from server to client.
    """
    return tuple(_obstacles(topology, kind, way, opened_to))


def _obstacles(topology: Topology, kind: PacketKind, way: Direction, opened_to: int) -> Iterator[Obstacle]:
    route = route_of(topology, way)
    for position, name in enumerate(route.names):
        met = _Meeting(topology, route, position, kind)
        if position == 0:
            yield from _at_host(met, Hook.OUTPUT)
        elif position == route.hops:
            yield from _at_host(met, Hook.INPUT)
            return
        else:
            yield from _at_router(met, opened_to)
            kind = _recut(topology, kind, name)
        yield from _at_link(replace(met, kind=kind))


@dataclass(frozen=True, slots=True)
class _Meeting:
    """Packets of a kind at one host of their route."""

    topology: Topology
    route: Route
    position: int
    kind: PacketKind

    @property
    def name(self) -> str:
        return self.route.names[self.position]

    @property
    def fragmented(self) -> bool:
        """Whether a link of the route does not carry the largest whole."""
        return self.kind.largest > min(link.mtu for link in self.route.links)


def _recut(topology: Topology, kind: PacketKind, router: str) -> PacketKind:
    """The kind behind a router, which may cut TCP streams anew. Messages that wait for their answers are never joined."""
    for recutting in topology.recuttings:
        if recutting.at != router or kind.protocol != TCP:
            continue
        if recutting.merge_s > 0 and kind.smallest >= SMALLEST_OF_MANY:
            kind = replace(kind, merged=True, largest=SEGMENT)
        if recutting.most_bytes is not None:
            most = recutting.most_bytes + HEADERS
            kind = replace(kind, smallest=min(kind.smallest, most), largest=min(kind.largest, most))
    return kind


def _planted(met: _Meeting, hook: Hook) -> Iterator[tuple[Filter, float]]:
    # What a link before it does not carry comes in fragments or not at all; an end puts them together again first.
    carried = min((link.mtu for link in met.route.links[: met.position]), default=EVERYWHERE * EVERYWHERE)
    largest = min(met.kind.largest, carried) if hook in (Hook.PREROUTING, Hook.FORWARD) else met.kind.largest
    for planted in met.topology.filters:
        if planted.at == met.name and planted.hook is hook and planted.direction in (None, met.route.way.value):
            share = share_matched(planted, met.kind)
            too_short = planted.longer_than is not None and largest <= planted.longer_than
            if share > 0 and planted.probability > 0 and not too_short:
                yield planted, share


def _obstacle(met: _Meeting, planted: Filter, share: float, *, host: str = "") -> Obstacle:
    """What comes in fragments: those without ports are a flow of their own."""
    causes = _causes_of_host(planted) if host else causes_of(planted, met.kind)
    causes |= {Cause.SIZE} if not host and met.fragmented and planted.flow_share < SURE else frozenset()
    hidden = met.kind.merged and bool(planted.payload)
    share *= planted.probability * planted.flow_share * (EVEN if hidden else SURE)
    return Obstacle(
        met.position,
        planted.hook is Hook.PREROUTING,
        share,
        causes if share >= SURE else causes | {Cause.LOSS},
        host,
        planted.timed,
        planted.flow_share < SURE,
        planted.packets_per_s,
        planted.after_packets,
        planted.longer_than,
        hidden,
    )


def _causes_of_host(planted: Filter) -> frozenset[Cause]:
    size = {Cause.SIZE} if planted.longer_than is not None else set[Cause]()
    return frozenset({Cause.HOST_FIREWALL, *size})


def _at_host(met: _Meeting, hook: Hook) -> Iterator[Obstacle]:
    """What acts at times only is no firewall: the end's own link is down."""
    for planted, share in _planted(met, hook):
        yield _obstacle(met, planted, share, host="" if planted.timed else met.name)


def _at_router(met: _Meeting, opened_to: int) -> Iterator[Obstacle]:
    """PREROUTING, un-NAT, the next link's MTU, FORWARD, the firewall, in the order of Linux."""
    topology, kind, position = met.topology, met.kind, met.position
    for planted, share in _planted(met, Hook.PREROUTING):
        yield _obstacle(met, planted, share)
    yield from _without_ports(met)
    entering = CLIENT if met.route.way is Direction.S2C else SERVER
    nats = [nat for nat in topology.nats if nat.at == met.name]
    for nat in nats:
        # A helper reads the Call IDs on the control connection, before any GRE has gone out.
        known = nat.pptp_helper if kind.enhanced else _asked(met, opened_to)
        if nat.inside == entering and not known and not _serves(nat.forwards, kind):
            yield Obstacle(position, True, SURE, frozenset({Cause.NAT, *_by_service(nat.forwards, kind)}))
    for planted, share in _planted(met, Hook.FORWARD):
        found = _obstacle(met, planted, share)
        # A NAT that does not forward a protocol without ports looks the same from outside.
        as_nat = kind.port is None and any(nat.inside == entering for nat in nats)
        yield replace(found, causes=found.causes | {Cause.NAT}) if as_nat else found
    for firewall in topology.firewalls:
        known = _asked(met, opened_to) and not kind.enhanced
        if firewall.at == met.name and firewall.protects == entering and not known and not _serves(firewall.allows, kind):
            # A NAT in the same router looks the same from outside.
            also = [*([Cause.NAT] if nats else []), *_by_service(firewall.allows, kind)]
            yield Obstacle(position, False, SURE, frozenset({Cause.STATE, *also}))


def _asked(met: _Meeting, opened_to: int) -> bool:
    """Whether the flow has been opened from inside. A client's packets come first: what the server sends opens the way for none of them."""
    chain = met.topology.names()
    return met.route.way is Direction.S2C and met.name in chain and chain.index(met.name) < opened_to


def _serves(services: tuple[Service, ...], kind: PacketKind) -> bool:
    """Whether a port forward, or what a firewall allows, names the kind."""
    return any(one.protocol in (None, kind.protocol) and (not one.ports or kind.port in one.ports) for one in services)


def _by_service(services: tuple[Service, ...], kind: PacketKind) -> list[Cause]:
    """What else is true to say where some of it is let in: other ports of the protocol, or other protocols."""
    if any(one.protocol == kind.protocol for one in services):
        return [Cause.PORT]
    return [Cause.IP_PROTOCOL] if services else []


def _without_ports(met: _Meeting) -> Iterator[Obstacle]:
    """Filters that let some ports through, as fragments meet them: of those behind the first nobody sees a port."""
    kind, way = met.kind, met.route.way
    largest = met.route.links[0].mtu
    if kind.largest <= largest or kind.protocol not in (TCP, UDP):
        return
    for planted in met.topology.filters:
        here = planted.at == met.name and planted.direction in (None, way.value)
        lets_through = kind.port in planted.except_ports and not planted.payload and planted.protocol in (None, kind.protocol)
        if here and lets_through and kind.protocol not in planted.except_protocols:
            hook_first = planted.hook is Hook.PREROUTING
            yield Obstacle(met.position, hook_first, planted.probability, frozenset({Cause.SIZE}), timed=planted.timed, longer_than=largest)


def _at_link(met: _Meeting) -> Iterator[Obstacle]:
    """The link on which the host sends."""
    link, position, kind = met.route.links[met.position], met.position, met.kind
    if kind.largest > link.mtu and position > 0:
        # An end cuts what it sends itself, and what a router says is too large: the first packets alone are lost.
        told = _tells(met.topology, met.name)
        share = FIRST if told else SURE
        # What was joined behind the end that is told is too large again and again, or is not joined next time.
        yield Obstacle(position, False, share, frozenset({Cause.SIZE, Cause.LOSS}), longer_than=link.mtu, hidden=kind.merged)
    if link.loss > 0:
        yield Obstacle(position, False, link.loss, frozenset({Cause.LOSS}))
    if link.burst_loss is not None:
        yield Obstacle(position, False, link.burst_loss.loss_bad, frozenset({Cause.LOSS, Cause.TIME}), timed=True)


def is_slow(topology: Topology) -> bool:
    """Whether a link has a rate, so that what is sent too fast waits or is lost there."""
    return any(link.rate_bit_s is not None for way in (Direction.C2S, Direction.S2C) for link in route_of(topology, way).links)


def as_sent(topology: Topology, kind: PacketKind) -> PacketKind:
    """The kind as hosts send it there: segments of TCP are cut to what both ends' own links carry, since each says so as it connects."""
    if kind.protocol != TCP:
        return kind
    ends = (topology.link(0).mtu, topology.link(topology.routers).towards(Direction.S2C.value).mtu)
    return replace(kind, largest=min(kind.largest, *ends))


def told_mtu(topology: Topology) -> int:
    """The smallest MTU that a router tells of, in either direction: an end that has once heard of it cuts all its segments to it."""
    routes = [route_of(topology, way) for way in (Direction.C2S, Direction.S2C)]
    told = (link.mtu for route in routes for name, link in zip(route.names[1:-1], route.links[1:], strict=True) if _tells(topology, name))
    return min(told, default=EVERYWHERE * EVERYWHERE)


def _tells(topology: Topology, router: str) -> bool:
    """Whether it says that a packet is too large for its next link."""
    return router not in topology.black_holes and router not in topology.silent_routers
