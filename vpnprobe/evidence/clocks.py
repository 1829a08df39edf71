"""How far the clocks of the two ends are apart, estimated from packets that both recorded. Pure.

A packet that left the client at c and came to the server at s, each by its own clock, shows s - c: the server's clock is ahead by that,
less the packet's delay. One in the other direction shows the reverse, and there the delay has the other sign. The least of each direction
has the least delay in it. Half their difference is the offset; half their sum, which is half a round trip, bounds its error (as in NTP, RFC
5905 section 8).

Invariant: times of two ends are compared only with `EndRecord.ahead_s` taken off, and not at all where the offset is not known. An answer
never seems to have left before the question came that it answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from vpnprobe.evidence.attempts import is_port_key
from vpnprobe.evidence.packet_counts import DECIMALS
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.observations.schema import Transport
from vpnprobe.wire.nonce import KEY_DIGITS

CAUSALITY_S: Final = 0.05
"""Programs note a packet a little after it left. Where more than that is missing to a round trip, one of the clocks was set meanwhile."""

Slot = tuple[Check, str, str]
"""What tells a packet of one direction from all others: check, message, key."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """How far the server's clock is ahead of the client's."""

    offset_s: float
    """Seconds; negative: it is behind."""
    uncertainty_s: float
    """Seconds, at least 0: half of the least round trip that was seen. The true offset is no further away."""


def clock_offset(client: EndRecord, server: EndRecord) -> ClockOffset | None:
    """The offset, from packets that both ends have; None: a direction has none of them, or the two contradict each other.

    Our own payloads are recorded where they are sent, and no two are alike. Where they do not tell it, everything else does that has a
    key of its own.
    """
    for fitting in (_is_own_payload, _is_unique):
        there = _least_apart(client, server, fitting)
        back = _least_apart(server, client, fitting)
        if there is not None and back is not None:
            if there + back < -CAUSALITY_S:
                return None
            return ClockOffset(round((there - back) / 2, DECIMALS), round(max(0.0, there + back) / 2, DECIMALS))
    return None


def on_one_clock(client: EndRecord, server: EndRecord, facts: PathFacts) -> tuple[EndRecord, PathFacts]:
    """The server's record with how far its times are ahead of the client's clock, and the facts with the offset; else both as they are.

    The times in it stay its own: whoever compares them takes `ahead_s` off first, as `count_packets` does.

    An offset that the facts have already is taken. Two captures that may be of two attempts have none: equal keys are chance there.
    """
    if facts.clock_offset_s is None and facts.joined and (found := clock_offset(client, server)) is not None:
        facts = replace(facts, clock_offset_s=found.offset_s, clock_uncertainty_s=found.uncertainty_s)
    return (server if facts.clock_offset_s is None else replace(server, ahead_s=facts.clock_offset_s)), facts


def _is_own_payload(packet_record: PacketRecord) -> bool:
    return not packet_record.message and len(packet_record.key) == KEY_DIGITS


def _is_unique(packet_record: PacketRecord) -> bool:
    """Sequence numbers of foreign GRE begin anew with every call; a port is used again, and its socket is told a round trip late."""
    return packet_record.check.transport is not Transport.GRE and not is_port_key(packet_record.key)


def _least_apart(sender: EndRecord, receiver: EndRecord, fitting: Callable[[PacketRecord], bool]) -> float | None:
    """The least difference between arrival and departure, seconds; None: nothing that left is known to have come."""
    left: dict[Slot, float] = {}
    for s in sender.packet_records:
        if s.movement is Movement.SENT and fitting(s):
            left.setdefault((s.check, s.message, s.key), s.at)  # Of a packet that was repeated the first: it may be that which came.
    if not left:
        return None
    came = (s for s in receiver.packet_records if s.movement is Movement.RECEIVED and fitting(s))
    return min((s.at - left[slot] for s in came if (slot := (s.check, s.message, s.key)) in left), default=None)
