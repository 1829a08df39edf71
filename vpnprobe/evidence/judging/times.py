"""How long packets were on their way, how well the two clocks are known, and when an end was late."""

from collections.abc import Mapping
from math import inf

from vpnprobe.evidence.lateness import LateEnd, window_s
from vpnprobe.evidence.packet_counts import PacketCounts
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.observations.schema import Direction, Transport


def flights_s(packet_counts: Mapping[Check, PacketCounts], way: Direction) -> list[float]:
    """How long what came in packets was on its way, seconds, as well as the two clocks are known."""
    totals = [counts.total(way) for check, counts in packet_counts.items() if check.transport is not Transport.TCP]
    return [at - count.sent[key] for count in totals for key, at in count.received.items() if key in count.sent]


def clock_margin_s(facts: PathFacts) -> float:
    """How far times of the server may be out on the client's clock, seconds; infinite: nothing is known of its clock."""
    if facts.clock_offset_s is not None:
        return facts.clock_uncertainty_s or 0.0
    return facts.control_clock[1] if facts.control_clock is not None else inf


def late_ends(client: EndRecord, server: EndRecord, facts: PathFacts, packet_counts: Mapping[Check, PacketCounts]) -> tuple[LateEnd, ...]:
    """Those that were late, by the client's clock; where nothing is known of the server's, its lateness may have been at any time."""
    if not (client.late or server.late):
        return ()
    before_s = max(window_s(flights_s(packet_counts, way)) for way in (Direction.C2S, Direction.S2C))
    ends = [LateEnd("client", client.late, before_s=before_s)] if client.late else []
    if server.late:
        times = [one.moved(-server.ahead_s) for one in server.late]
        ends.append(LateEnd("server", times, clock_margin_s(facts), before_s))
    return tuple(ends)
