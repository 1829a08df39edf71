"""Whether the captures of two ends are named the wrong way round: the one that is said to be the client's was taken at the server.

A packet never arrives before it leaves, nor with a higher TTL than it left with. Where that would be so for all that went there and all
that came back, the ends are swapped: for times this needs no clock, since what one clock is ahead goes out of a sum of both directions.
Where the captures have no packet in common, each must show by itself that it was taken at the other end. Pure.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from vpnprobe.capture.joining import PacketKey
from vpnprobe.capture.sides import Side
from vpnprobe.evidence.packet_records import PacketRecord, Vantage
from vpnprobe.observations.schema import Direction

RESOLUTION_S: Final = 2e-6
"""Times that are no further apart are the same."""
Crossing = tuple[PacketRecord, PacketRecord]
"""A packet as it left and as it came, as the captures are named."""


def seem_swapped(client: Side, server: Side) -> bool:
    """Whether the two sides of a path, as they are named, are each of the other end. False where nothing shows it."""
    if client.ends is None or server.ends is None or any(trace.named for side in (client, server) for trace in side.traces):
        return False
    there, back = crossings(client, server)
    votes = {vote for vote in (_by_times(there, back), _by_ttls([*there, *back])) if vote is not None}
    if votes:
        return votes == {True}
    return _vantage(client) is Vantage.SERVER and _vantage(server) is Vantage.CLIENT


def crossings(client: Side, server: Side) -> tuple[list[Crossing], list[Crossing]]:
    """Packets that both captures hold once: what went to the server, and what came back."""
    ours, theirs = _once(client, Vantage.CLIENT), _once(server, Vantage.SERVER)
    there = [(ours[key], theirs[key]) for key in ours if key in theirs and ours[key].direction is Direction.C2S]
    back = [(theirs[key], ours[key]) for key in ours if key in theirs and ours[key].direction is Direction.S2C]
    return there, back


def _once(side: Side, vantage: Vantage) -> dict[PacketKey, PacketRecord]:
    """Its packets by what tells them apart; those that it holds twice tell nothing, nor do copies that were to expire on the way."""
    assert side.ends is not None
    recurring = {key for decoder in side.decoders for key in decoder.recurring_keys(side.ends)}
    records = [s for decoder in side.decoders for s in decoder.record(side.ends, vantage).packet_records]
    count = Counter(_key(s) for s in records)
    return {_key(s): s for s in records if count[_key(s)] == 1 and s.key not in recurring and not s.ttl_limited}


def _key(packet_record: PacketRecord) -> PacketKey:
    return (packet_record.check, packet_record.message, packet_record.key)


def _by_times(there: Iterable[Crossing], back: Iterable[Crossing]) -> bool | None:
    """True: every packet would have come before it left. None: the times do not tell."""
    to_server, to_client = ([came.at - sent.at for sent, came in way] for way in (there, back))
    if not to_server or not to_client:
        return None
    if max(to_server) + max(to_client) < -RESOLUTION_S:
        return True
    return False if min(to_server) + min(to_client) > RESOLUTION_S else None


def _by_ttls(both_ways: Iterable[Crossing]) -> bool | None:
    """True: every packet would have come with a higher TTL than it left with. None: no router was between, or they do not agree."""
    hops = [sent.ttl - came.ttl for sent, came in both_ways if sent.ttl is not None and came.ttl is not None]
    if any(one > 0 for one in hops) == any(one < 0 for one in hops):
        return None
    return any(one < 0 for one in hops)


def _vantage(side: Side) -> Vantage | None:
    """At which end it was taken, by itself: by the link layer's word, TTLs and who answers at once."""
    assert side.ends is not None
    found = {trace.vantage(side.ends) for trace in side.traces} - {None}
    return next(iter(found)) if len(found) == 1 else None
