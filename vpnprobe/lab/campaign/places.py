"""Where packets vanish, as hops from their sender, and whether a place that was told holds it.

A router that drops behind its TTL check still answers for what it drops; one that drops before it does not. So the truth is a hop; a told
place is right where that hop lies between the last one that is shown to be reached and the next that is known to be there.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from vpnprobe.lab.campaign.crossing import Obstacle
from vpnprobe.lab.campaign.routes import route_of
from vpnprobe.observations.schema import Direction, Location
from vpnprobe.transports.topology import CLIENT, SERVER, Topology


@dataclass(frozen=True, slots=True)
class Place:
    """A hop, counted from the sender."""

    hop: int
    hops: int
    """To the addressed host."""
    way: Direction
    before_ttl: bool
    """It never answers for what it drops."""

    def __str__(self) -> str:
        return f"hop {self.hop} of {self.hops} {self.way.value}{', prerouting' if self.before_ttl else ''}"


def place_of(topology: Topology, stop: Obstacle, way: Direction) -> Place:
    return Place(stop.position, route_of(topology, way).hops, way, stop.before_ttl)


def wrong_place(topology: Topology, place: Place, told: Location) -> str:
    """Why the told place is wrong; empty: it is right."""
    if told.last_hop > place.hop or (told.last_hop == place.hop and place.before_ttl and not _refuses(topology, place, told)):
        return "too far"
    found = _hop_of(topology, told.last_address, place.way)
    if found is not None and found != told.last_hop:
        return "the hop is another's"
    following = _hop_of(topology, told.next_address, place.way)
    if following is not None and following < place.hop:
        return "not far enough"
    if (
        following is None
        and not _masks(topology, told.next_address or told.last_address, place.way)
        and told.last_hop + 1 < place.hop
        and _speaks_between(topology, told.last_hop, place)
    ):
        return "not far enough"
    return ""


def _refuses(topology: Topology, place: Place, told: Location) -> bool:
    """A router that refuses places itself by its refusal, whatever it does about TTLs."""
    return _hop_of(topology, told.last_address, place.way) in (place.hop, None)


def _speaks_between(topology: Topology, last_hop: int, place: Place) -> bool:
    """Whether a router beyond the told hop and before the true one would have answered."""
    between = route_of(topology, place.way).names[last_hop + 1 : place.hop]
    return any(name not in topology.silent_routers for name in between)


def _hop_of(topology: Topology, address: str | None, way: Direction) -> int | None:
    """How far away the host of that address is; None: it is none's, or a NAT answers with it for the routers behind it."""
    if address is None:
        return None
    owners = {one: name for pair in topology.wires().values() for name, one in pair.items()}
    owner, names = owners.get(IPv4Address(address)), route_of(topology, way).names
    return None if owner not in names or _masks(topology, address, way) else names.index(owner)


def _masks(topology: Topology, address: str | None, way: Direction) -> bool:
    """Whether a NAT answers with that address for itself or for a host behind it."""
    if address is None:
        return False
    inside = CLIENT if way is Direction.S2C else SERVER
    masking = {nat.at for nat in topology.nats if nat.inside == inside}
    return any(one == IPv4Address(address) and name in masking for pair in topology.wires().values() for name, one in pair.items())
