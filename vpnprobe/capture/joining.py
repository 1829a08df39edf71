"""Two ends' captures joined path by path: which pair of hosts of the one is which of the other, and what can be compared at all.

Pairs are joined by the packets that both captures hold, whatever addresses a NAT gives them, and never by how much of them there is. Where
no packet is in common, two captures can still be of the same hosts, which their addresses show. What is of other hosts, or of another
client of the same server, is compared with nothing. Pure.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Final

from vpnprobe.capture.ends import Ends
from vpnprobe.capture.paths import vpn_paths
from vpnprobe.capture.sides import Side, oriented
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage

ALIKE_LIMIT: Final = 8
"""Most paths that a packet may be of: one that looks like those of more tells nothing."""
_PRIVATE: Final = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10"))
)
PacketKey = tuple[Check, str, str]
"""What tells packets apart: what they ask, their message, and what no NAT changes."""


class Relation(StrEnum):
    """What two paths, one of each end's capture, have to do with each other."""

    JOINED = "joined"
    """They have packets in common."""
    SAME_HOSTS = "same-hosts"
    """Their addresses are the same, and no packet is."""
    BEHIND_NAT = "behind-nat"
    """One address is the same, and the other may be a NAT's for a private one."""
    OTHER_HOSTS = "other-hosts"
    """Nothing shows them to be of the same two hosts."""


@dataclass(frozen=True, slots=True)
class Joint:
    """A path as both ends' captures have it."""

    client: Side
    server: Side
    relation: Relation


@dataclass(frozen=True, slots=True)
class Joining:
    """What becomes of all paths of two ends' captures."""

    joints: tuple[Joint, ...]
    """What can be compared. The first is the best known."""
    at_client: tuple[Ends, ...]
    """Paths of the client's captures that are in no joint."""
    at_server: tuple[Ends, ...]
    """Paths of the server's."""


def join(client: Side, server: Side) -> Joining:
    """Finds for each path of the client's captures the one of the server's that it is. The sides' own `ends` do not matter."""
    here, there = vpn_paths(client.traces), vpn_paths(server.traces)
    if client.own or server.own:
        return _of_a_run(client, server, here, there)
    if not here or not there:
        return _of_one_end(client, server, here, there)
    found = _by_packets(client, server, here, there)
    taken = {joint.client.ends for joint in found}, {joint.server.ends for joint in found}
    at_client, at_server = [ends for ends in here if ends not in taken[0]], [ends for ends in there if ends not in taken[1]]
    by_hosts = {frozenset((ends.client, ends.server)): ends for ends in at_server}
    for ends in list(at_client):
        pair = frozenset((ends.client, ends.server))
        same = by_hosts.get(pair, ends if (ends.client, ends.server) in server.ways and (ends.server, ends.client) in server.ways else None)
        if same is not None:
            found.append(_joint(client, server, ends, same, Relation.SAME_HOSTS))
            at_client.remove(ends)
            at_server = [one for one in at_server if one != same]
    if not found and len(at_client) == len(at_server) == 1:
        joint = _joint(client, server, at_client[0], at_server[0], Relation.OTHER_HOSTS)
        relation = _relation(joint.client, joint.server)
        if relation is not Relation.OTHER_HOSTS:
            return Joining((replace(joint, relation=relation),), (), ())
    return Joining(tuple(found), tuple(at_client), tuple(at_server))


def _of_a_run(client: Side, server: Side, here: Sequence[Ends], there: Sequence[Ends]) -> Joining:
    """A run of ours is about one path, and the captures that it left show its probes alone."""
    ends, other = (found[0] if found else None for found in (here, there))
    joint = Joint(replace(client, ends=ends), replace(server, ends=other), Relation.SAME_HOSTS)
    return Joining((replace(joint, relation=relation_of(joint)),), (), ())


def _of_one_end(client: Side, server: Side, here: Sequence[Ends], there: Sequence[Ends]) -> Joining:
    """One end's capture shows no VPN: it is about those paths of the other end's that it shows anything of."""
    paths = here or there
    if not paths:
        paths = [ends for trace in (*client.traces, *server.traces) if (ends := trace.ends) is not None][:1]
        here, there = (paths, []) if _seen_of(client, paths[0] if paths else None) else ([], paths)
    seen = [ends for ends in paths if _seen_of(server if here else client, ends)] or (paths if len(paths) == 1 else [])
    joints = tuple(
        Joint(
            replace(client, ends=ends if here else _seen_of(client, ends)),
            replace(server, ends=_seen_of(server, ends) if here else ends),
            Relation.SAME_HOSTS,
        )
        for ends in seen
    )
    if not paths:
        joints = (Joint(replace(client, ends=None), replace(server, ends=None), Relation.SAME_HOSTS),)
    return Joining(joints, *(tuple(ends for ends in found if ends not in seen) for found in (here, there)))


def _seen_of(side: Side, ends: Ends | None) -> Ends | None:
    """The other end's pair, where these captures hold anything of it."""
    return ends if ends is not None and {(ends.client, ends.server), (ends.server, ends.client)} & side.ways else None


def relation_of(joint: Joint) -> Relation:
    """What the two paths of a joint have to do with each other, from their packets and addresses."""
    client, server = joint.client, joint.server
    if client.ends is None or server.ends is None:
        return Relation.SAME_HOSTS
    common = _keys(client, client.ends, Vantage.CLIENT), _keys(server, server.ends, Vantage.SERVER)
    if common[0][Movement.SENT] & common[1][Movement.RECEIVED] or common[0][Movement.RECEIVED] & common[1][Movement.SENT]:
        return Relation.JOINED
    return _relation(client, server)


def _relation(client: Side, server: Side) -> Relation:
    """The same from addresses alone."""
    (clients, servers), (seen_clients, seen_servers) = client.addresses, server.addresses
    if (clients & seen_clients and servers & seen_servers) or (clients & seen_servers and servers & seen_clients):
        return Relation.SAME_HOSTS
    # The server's capture has another address of the client, or the client's of the server: a NAT's where the host's own is private.
    if servers & seen_servers and all(map(_may_be_private, clients)) and not any(map(_is_private, seen_clients)):
        return Relation.BEHIND_NAT
    if clients & seen_clients and all(map(_may_be_private, seen_servers)) and not any(map(_is_private, servers)):
        return Relation.BEHIND_NAT
    return Relation.OTHER_HOSTS


def _is_private(address: str) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(found in network for network in _PRIVATE if network.version == found.version)


def _may_be_private(address: str) -> bool:
    """A name may stand for any address."""
    try:
        ip_address(address.partition("%")[0])
    except ValueError:
        return True
    return _is_private(address)


def _joint(client: Side, server: Side, ends: Ends, other: Ends, relation: Relation) -> Joint:
    at_client, at_server = replace(client, ends=ends), replace(server, ends=other)
    return Joint(oriented(at_client, at_server, Vantage.CLIENT), oriented(at_server, at_client, Vantage.SERVER), relation)


def _by_packets(client: Side, server: Side, here: Sequence[Ends], there: Sequence[Ends]) -> list[Joint]:
    """The paths with packets in common, those with most of them first; each is joined once."""
    index: dict[tuple[str, str], set[int]] = {}
    for place, ends in enumerate(there):
        for key in _any_keys(server, ends):
            index.setdefault(key, set()).add(place)
    common = Counter[tuple[int, int]]()
    for place, ends in enumerate(here):
        for key in _any_keys(client, ends):
            places = index.get(key, ())
            if len(places) <= ALIKE_LIMIT:
                common.update((place, other) for other in places)
    found: list[Joint] = []
    taken: tuple[set[int], set[int]] = set(), set()
    for place, other in sorted(common, key=lambda both: (-common[both], here[both[0]] != there[both[1]], both)):
        if place in taken[0] or other in taken[1]:
            continue
        joint = _joint(client, server, here[place], there[other], Relation.JOINED)
        if relation_of(joint) is Relation.JOINED:
            found.append(joint)
            taken[0].add(place)
            taken[1].add(other)
    return found


def _any_keys(side: Side, ends: Ends) -> set[tuple[str, str]]:
    """Whoever sent them, to whatever port: which end is the client may not be known yet."""
    return {
        (captured.message, captured.key) for decoder in side.decoders for captured in decoder.hosts.messages(ends) if not captured.recurs
    }


def _keys(side: Side, ends: Ends, vantage: Vantage) -> dict[Movement, set[PacketKey]]:
    recurring = {key for decoder in side.decoders for key in decoder.recurring_keys(ends)}
    found: dict[Movement, set[PacketKey]] = {Movement.SENT: set(), Movement.RECEIVED: set()}
    for decoder in side.decoders:
        for movement, keys in found.items():
            keys |= keys_of(decoder.record(ends, vantage).packet_records, movement, recurring)
    return found


def keys_of(packet_records: Sequence[PacketRecord], movement: Movement, recurring: Container[str]) -> set[PacketKey]:
    """What tells the packets that an end sent, or got, apart. Keys that come again in every attempt do not."""
    return {(s.check, s.message, s.key) for s in packet_records if s.movement is movement and s.key not in recurring}
