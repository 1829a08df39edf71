"""What must be said of a check, computed from the topology alone.

The truth has more than two values, since some networks are ambiguous: a filter that hits random bytes may stop a stream or not, and flows
that are cut pass until they are.

Invariant: nothing that a probe saw comes in here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from typing import Final

from vpnprobe.lab.campaign.crossing import EVERYWHERE, Obstacle, as_sent, is_slow, obstacles, told_mtu
from vpnprobe.lab.campaign.packet_kinds import DATA_ALWAYS, DATA_IN_A_STREAM, LARGEST_DATA, SEGMENT, PacketKind, Step
from vpnprobe.lab.topologies import TCP
from vpnprobe.observations.schema import Cause, Direction
from vpnprobe.transports.topology import Topology

NEGLIGIBLE: Final = 0.004
"""Shares of chance below this are not worth a word: one byte that is matched at random."""


class Passing(StrEnum):
    """Whether the messages of a check get through."""

    YES = "works"
    MAYBE = "ambiguous"
    CUT = "is cut"
    """It works until something ends it for good."""
    NO = "does not"
    HOST = "host"
    """It does not, and nothing but an end's own firewall is why."""


WATCHED: Final = 108
"""Packets that a long session is sure to send each way: requests and replies."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Of one check."""

    passing: Passing
    causes: frozenset[Cause] = frozenset()
    """What may be said to be the cause of a failure or of a limit."""
    lost: Direction | None = None
    """The direction in which it is lost; None: it is not, or not for certain."""
    stop: Obstacle | None = None
    """What takes the first packet that never arrives."""
    loss: float = 0.0
    """The share of its packets that is lost at random, of the direction that loses more."""
    data_loss: float = 0.0
    """The same of the packets that come last, which are those of a tunnel's data: lost messages before them are repeated."""
    largest: int = LARGEST_DATA
    """Bytes of the largest IP packet that passes; `LARGEST_DATA`: nothing limits it that is tried."""
    after_packets: int | None = None
    """A flow is cut after so many packets; None: it is not."""
    disturbed: bool = False
    """Something acts on some of its packets that is no loss of chance: an outage, a dead half of a balanced path, a policer, an MTU."""
    per_s: float | None = None
    """A policer lets so many packets a second pass; None: there is none."""
    slow: bool = False
    """The path has a rate."""
    always: int = DATA_ALWAYS
    """Bytes of the largest packets that are tried on every path."""
    ends_alone: bool = False
    """What makes it ambiguous is an end's own firewall and nothing else: it is no fault of the path."""

    @property
    def ends_unwatched(self) -> bool:
        """Whether flows end only behind all the packets that a session is sure to send: over TCP it depends on how they are merged."""
        return self.passing is Passing.CUT and self.after_packets is not None and self.after_packets > WATCHED

    @property
    def too_small(self) -> bool:
        """Whether it cannot carry data packets of sizes that are always tried."""
        return self.largest < self.always

    @property
    def clean(self) -> bool:
        """Whether nothing at all limits it."""
        return self.passing is Passing.YES and self.loss < NEGLIGIBLE and self.largest >= LARGEST_DATA and not self.disturbed


@dataclass(frozen=True, slots=True)
class _Crossed:
    """A step with all that it meets."""

    step: Step
    obstacles: tuple[Obstacle, ...]

    @property
    def stops(self) -> list[Obstacle]:
        return [obstacle for obstacle in self.obstacles if obstacle.stops(self.step.kind)]

    @property
    def by_chance(self) -> list[Obstacle]:
        plain = (
            o for o in self.obstacles if not (o.timed or o.by_flow or o.hidden) and (o.per_s, o.after_packets, o.longer_than) == (None,) * 3
        )
        return [obstacle for obstacle in plain if NEGLIGIBLE <= obstacle.share < 1]

    @property
    def loss(self) -> float:
        """TCP repeats what is lost, and what an end's own firewall takes has arrived."""
        if self.step.kind.protocol == TCP:
            return 0.0
        return 1 - reduce(lambda passing, obstacle: passing * (1 - obstacle.share), _of_path(self.by_chance), 1.0)

    @property
    def too_small(self) -> list[Obstacle]:
        """What takes the larger ones of its packets untold."""
        largest = self.step.kind.largest
        return [o for o in self.obstacles if o.longer_than is not None and o.longer_than < largest and o.share >= 1 and not o.timed]

    @property
    def limit(self) -> int:
        """Bytes of the largest packet of the kind that arrives; `SEGMENT`: nothing on the path takes the larger ones untold."""
        return min((obstacle.longer_than or 0 for obstacle in _of_path(self.too_small)), default=SEGMENT)


def truth_of(topology: Topology, steps: Sequence[Step], *, opened_by: Sequence[Step] = (), hosts: bool = True) -> Truth:
    """Of a check that sends these messages in this order.

    `opened_by`: what opened the flow before; empty: the client's first message among the steps, or what came before them. `hosts`: the
    ends' own firewalls are there too.
    """
    opening = next((step.kind for step in (*opened_by, *steps) if step.direction is Direction.C2S), None)
    opened_to = EVERYWHERE if opening is None else _opened_to(topology, opening, hosts=hosts)
    sent = [replace(step, kind=as_sent(topology, step.kind)) for step in steps]
    crossed = [_Crossed(step, _obstacles(topology, step.kind, step.direction, opened_to, hosts=hosts)) for step in sent]
    failing = next((one for one in crossed if one.stops), None)
    if failing is not None:
        return _stopped(crossed, failing, topology)
    cut = [(one, obstacle) for one in crossed for obstacle in one.obstacles if obstacle.after_packets is not None]
    streams = [one for one in crossed if one.step.kind.protocol == TCP]
    # Packets that follow each other closely share a segment or not, so that a small one is in one that is too large or not.
    too_large = [obstacle for one in streams for obstacle in one.too_small]
    unlucky = [obstacle for one in crossed for obstacle in (one.by_chance if one.step.repeated else ())]
    unlucky += [obstacle for one in streams for obstacle in one.obstacles if obstacle.hidden]
    largest = min((one.limit for one in crossed if not _may_be_told(topology, one)), default=LARGEST_DATA)
    met = [obstacle for one in crossed for obstacle in one.obstacles]
    return Truth(
        Passing.MAYBE if too_large or unlucky else Passing.CUT if cut else Passing.YES,
        frozenset().union(*(obstacle.causes for obstacle in met)),
        cut[0][0].step.direction if cut else None,
        cut[0][1] if cut else None,
        max((one.loss for one in crossed), default=0.0),
        max((one.loss for one in crossed if _is_of_same_flow(one.step.kind, crossed[-1].step.kind)), default=0.0),
        min(largest, LARGEST_DATA),
        min((obstacle.after_packets or 0 for _, obstacle in cut), default=None),
        any(obstacle.timed or obstacle.by_flow or obstacle.per_s is not None or _until_told(obstacle) for obstacle in _of_path(met)),
        min((obstacle.per_s for obstacle in met if obstacle.per_s is not None), default=None),
        is_slow(topology),
        ends_alone=all(obstacle.host for obstacle in (*too_large, *unlucky)),
        always=DATA_IN_A_STREAM if streams else DATA_ALWAYS,
    )


def _stopped(crossed: Sequence[_Crossed], failing: _Crossed, topology: Topology) -> Truth:
    """The first message that never arrives decides, and what takes it first says where.

    What else would take all of it may be said to be the cause as well: it may be what a comparison shows.
    """
    stops = failing.stops
    own = all(obstacle.host for obstacle in stops)
    # A message that comes later cannot be told from one that never had to be sent, unless it goes the same way.
    later = [o for one in crossed if one.step.direction is failing.step.direction for o in one.stops]
    return Truth(
        Passing.HOST if own and all(obstacle.host for obstacle in later) else Passing.NO,
        frozenset().union(*(obstacle.causes for obstacle in (*stops, *later))) - {Cause.LOSS},
        failing.step.direction,
        stops[0],
        failing.loss,
        slow=is_slow(topology),
    )


def _opened_to(topology: Topology, opening: PacketKind, *, hosts: bool) -> int:
    """Where the packets end that open the flow."""
    met = _obstacles(topology, opening, Direction.C2S, EVERYWHERE, hosts=hosts)
    return next((obstacle.position for obstacle in met if obstacle.stops(opening)), EVERYWHERE)


def _obstacles(topology: Topology, kind: PacketKind, way: Direction, opened_to: int, *, hosts: bool) -> tuple[Obstacle, ...]:
    found = obstacles(topology, kind, way, opened_to=opened_to)
    return tuple(obstacle for obstacle in found if hosts or not obstacle.host)


def _of_path(obstacles: Iterable[Obstacle]) -> list[Obstacle]:
    """Those that are no end's own firewall, which is told by itself and is no limit of the path's."""
    return [obstacle for obstacle in obstacles if not obstacle.host]


def _is_of_same_flow(one: PacketKind, other: PacketKind) -> bool:
    return (one.protocol, one.port) == (other.protocol, other.port)


def _until_told(obstacle: Obstacle) -> bool:
    """Whether it takes what is too large only until the sender knows."""
    return obstacle.longer_than is not None and obstacle.share < 1


def _may_be_told(topology: Topology, stream: _Crossed) -> bool:
    """Whether the ends of a stream may hear of an MTU that is no larger than what limits it, and cut its segments to that."""
    return stream.step.kind.protocol == TCP and told_mtu(topology) <= stream.limit
