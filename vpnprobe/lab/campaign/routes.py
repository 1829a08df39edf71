"""The hosts and links that packets of one direction cross, in their order."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from vpnprobe.observations.schema import Direction
from vpnprobe.transports.topology import Link, Topology


@dataclass(frozen=True, slots=True)
class Route:
    """From the sender, which is hop 0, to the addressed host."""

    way: Direction
    names: tuple[str, ...]
    links: tuple[Link, ...]
    """Each as it is in this direction, that on which the host of the same number sends."""

    @property
    def hops(self) -> int:
        """To the addressed host."""
        return len(self.links)


@lru_cache(maxsize=64)
def route_of(topology: Topology, way: Direction) -> Route:
    chain = topology.names()
    names = chain if way is Direction.C2S else _back(topology, chain)
    links = tuple(_link(topology, chain, *pair).towards(way.value) for pair in pairwise(names))
    return Route(way, names, links)


def _back(topology: Topology, chain: tuple[str, ...]) -> tuple[str, ...]:
    """An asymmetric route leaves the chain at one router and joins it again at another; those in between never see such a packet."""
    way_back = topology.way_back
    if way_back is None:
        return chain[::-1]
    leaves, joins = chain.index(way_back.leaves), chain.index(way_back.joins)
    return (*chain[: leaves - 1 : -1], *topology.back_names(), *chain[joins::-1])


def _link(topology: Topology, chain: tuple[str, ...], one: str, other: str) -> Link:
    """Links beside the chain are plain."""
    return topology.link(min(chain.index(one), chain.index(other))) if {one, other} <= set(chain) else Link()
