"""What one kind of packet meets on its way through a topology, in the order in which it meets it.

Reasoned from the topology as data (`vpnprobe.transports.topology`) and from what Linux does with filters, NATs and stateful firewalls;
the simulated network's own code is not asked, so that a fault of either shows. Positions count from the client, which is 0; the server is
one more than there are routers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from vpnprobe.lab.campaign.packet_kinds import PacketKind
from vpnprobe.lab.topologies import TCP, UDP
from vpnprobe.observations.schema import Cause, Direction
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Hook, Topology

SURE: Final = 1.0
FIRST: Final = 0.5
"""The first packets of a size, until their sender is told that they are too large."""
EVERYWHERE: Final = 1000
"""A position beyond every host."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that takes packets of the kind."""

    position: int
    """Of the host that takes them; of a link: of the host that sends on it."""
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
        return frozenset({Cause.PACKETS, Cause.TIME})
    if planted.longer_than is not None:
        return frozenset({Cause.SIZE})
    if planted.payload:
        return frozenset({Cause.PAYLOAD})
    by_port = planted.ports or (planted.except_ports and kind.protocol in (TCP, UDP))
    return frozenset({Cause.PORT if by_port else Cause.IP_PROTOCOL})


def obstacles(topology: Topology, kind: PacketKind, way: Direction, *, opened_to: int = EVERYWHERE) -> list[Obstacle]:
    """All that packets of the kind meet in that direction, the first one first.

    `opened_to`: the position at which the client's own packets of the flow end, as far as they opened it; it matters from server to client.
    """
    return list(_obstacles(topology, kind, way, opened_to))


def _obstacles(topology: Topology, kind: PacketKind, way: Direction, opened_to: int) -> Iterator[Obstacle]:
    last = topology.routers + 1
    positions = range(last + 1) if way is Direction.C2S else range(last, -1, -1)
    for position in positions:
        if position == positions[0]:
            yield from _at_host(topology, kind, way, position, Hook.OUTPUT)
        elif position == positions[-1]:
            yield from _at_host(topology, kind, way, position, Hook.INPUT)
            return
        else:
            yield from _at_router(topology, kind, way, position, asked=position < opened_to)
        yield from _at_link(topology, kind, way, position)


def _planted(topology: Topology, kind: PacketKind, way: Direction, position: int, hook: Hook) -> Iterator[tuple[Filter, float]]:
    name = topology.names()[position]
    # What a link before it does not carry comes in fragments or not at all; an end puts them together again first.
    largest = min(kind.largest, _carried(topology, way, position)) if hook in (Hook.PREROUTING, Hook.FORWARD) else kind.largest
    for planted in topology.filters:
        if planted.at == name and planted.hook is hook and planted.direction in (None, way.value):
            share = share_matched(planted, kind)
            too_short = planted.longer_than is not None and largest <= planted.longer_than
            if share > 0 and planted.probability > 0 and not too_short:
                yield planted, share


def _carried(topology: Topology, way: Direction, position: int) -> int:
    """Bytes of the largest packet that comes to a position whole."""
    links = range(position) if way is Direction.C2S else range(position, topology.routers + 1)
    return min((topology.link(index).towards(way.value).mtu for index in links), default=EVERYWHERE * EVERYWHERE)


def _obstacle(planted: Filter, share: float, kind: PacketKind, position: int, *, host: str = "", fragmented: bool = False) -> Obstacle:
    """`fragmented`: large packets of the kind come in fragments, of which those without ports are a flow of their own."""
    causes = frozenset({Cause.HOST_FIREWALL}) if host else causes_of(planted, kind)
    causes |= {Cause.SIZE} if fragmented and planted.flow_share < SURE else frozenset()
    share *= planted.probability * planted.flow_share
    return Obstacle(
        position,
        planted.hook is Hook.PREROUTING,
        share,
        causes if share >= SURE else causes | {Cause.LOSS},
        host,
        planted.timed,
        planted.flow_share < SURE,
        planted.packets_per_s,
        planted.after_packets,
        planted.longer_than,
    )


def _at_host(topology: Topology, kind: PacketKind, way: Direction, position: int, hook: Hook) -> Iterator[Obstacle]:
    host = CLIENT if position == 0 else SERVER
    for planted, share in _planted(topology, kind, way, position, hook):
        yield _obstacle(planted, share, kind, position, host=host)


def _at_router(topology: Topology, kind: PacketKind, way: Direction, position: int, *, asked: bool) -> Iterator[Obstacle]:
    """PREROUTING, un-NAT, the next link's MTU, FORWARD, the firewall, in the order of Linux."""
    name = topology.names()[position]
    fragmented = kind.largest > min(topology.link(index).towards(way.value).mtu for index in range(topology.routers + 1))
    for planted, share in _planted(topology, kind, way, position, Hook.PREROUTING):
        yield _obstacle(planted, share, kind, position, fragmented=fragmented)
    yield from _without_ports(topology, kind, way, position)
    back = way is Direction.S2C
    for nat in topology.nats:
        # A helper reads the Call IDs on the control connection, before any GRE has gone out.
        tracked = nat.pptp_helper if kind.enhanced else asked
        if nat.at == name and back and not tracked:
            yield Obstacle(position, True, SURE, frozenset({Cause.NAT}))
    for planted, share in _planted(topology, kind, way, position, Hook.FORWARD):
        yield _obstacle(planted, share, kind, position, fragmented=fragmented)
    if back and any(firewall.at == name for firewall in topology.firewalls) and (kind.enhanced or not asked):
        # A NAT in the same router looks the same from outside.
        also = {Cause.NAT} if any(nat.at == name for nat in topology.nats) else set[Cause]()
        yield Obstacle(position, False, SURE, frozenset({Cause.STATE, *also}))


def _without_ports(topology: Topology, kind: PacketKind, way: Direction, position: int) -> Iterator[Obstacle]:
    """Filters that let some ports through, as fragments meet them: of those behind the first nobody sees a port."""
    largest = topology.link(0 if way is Direction.C2S else topology.routers).towards(way.value).mtu
    if kind.largest <= largest or kind.protocol not in (TCP, UDP):
        return
    for planted in topology.filters:
        here = planted.at == topology.names()[position] and planted.direction in (None, way.value)
        lets_through = kind.port in planted.except_ports and not planted.payload and planted.protocol in (None, kind.protocol)
        if here and lets_through and kind.protocol not in planted.except_protocols:
            hook_first = planted.hook is Hook.PREROUTING
            yield Obstacle(position, hook_first, planted.probability, frozenset({Cause.SIZE}), timed=planted.timed, longer_than=largest)


def _at_link(topology: Topology, kind: PacketKind, way: Direction, position: int) -> Iterator[Obstacle]:
    """The link on which the host at `position` sends."""
    link = topology.link(position if way is Direction.C2S else position - 1).towards(way.value)
    if kind.largest > link.mtu and 0 < position <= topology.routers:
        # An end cuts what it sends itself, and what a router says is too large: the first packets alone are lost.
        told = _tells(topology, topology.names()[position])
        yield Obstacle(position, False, FIRST if told else SURE, frozenset({Cause.SIZE, Cause.LOSS}), longer_than=link.mtu)
    if link.loss > 0:
        yield Obstacle(position, False, link.loss, frozenset({Cause.LOSS}))
    if link.burst_loss is not None:
        yield Obstacle(position, False, link.burst_loss.loss_bad, frozenset({Cause.LOSS, Cause.TIME}), timed=True)


def is_slow(topology: Topology) -> bool:
    """Whether a link has a rate, so that what is sent too fast waits or is lost there."""
    return any(topology.link(index).rate_bit_s is not None for index in range(topology.routers + 1))


def as_sent(topology: Topology, kind: PacketKind) -> PacketKind:
    """The kind as hosts send it there: segments of TCP are cut to what both ends' own links carry, since each says so as it connects."""
    if kind.protocol != TCP:
        return kind
    ends = (topology.link(0).mtu, topology.link(topology.routers).towards(Direction.S2C.value).mtu)
    return replace(kind, largest=min(kind.largest, *ends))


def told_mtu(topology: Topology) -> int:
    """The smallest MTU that a router tells of, in either direction: an end that has once heard of it cuts all its segments to it."""
    told = []
    for position, name in enumerate(topology.names()[1:-1], start=1):
        if _tells(topology, name):
            told += [topology.link(position).mtu, topology.link(position - 1).towards(Direction.S2C.value).mtu]
    return min(told, default=EVERYWHERE * EVERYWHERE)


def _tells(topology: Topology, router: str) -> bool:
    """Whether it says that a packet is too large for its next link."""
    return router not in topology.black_holes and router not in topology.silent_routers


def hop(topology: Topology, position: int, way: Direction) -> int:
    """How many hops a position is away from the sender of that direction."""
    return position if way is Direction.C2S else topology.routers + 1 - position
