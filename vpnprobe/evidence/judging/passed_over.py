"""What was lost and yet counts for nothing: for lateness, where the path was silent, where own bytes filled a narrow line."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import inf

from vpnprobe.evidence.attempts import SYN
from vpnprobe.evidence.checks import Kind, kind_of
from vpnprobe.evidence.lateness import LateEnd
from vpnprobe.evidence.outages import Outage
from vpnprobe.evidence.own_queues import OwnQueue
from vpnprobe.evidence.packet_counts import PacketCounts, session_part
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import Refusal
from vpnprobe.observations.schema import Direction, Transport

WAYS = (Direction.C2S, Direction.S2C)


def for_lateness(
    packet_counts: Mapping[Check, PacketCounts],
    ends: Sequence[LateEnd],
    given_up: Mapping[str, float],
    refusals: Iterable[Refusal],
    *,
    margin_s: float,
) -> None:
    """What was lost while an end was late, and what the server said to a client that listened no longer.

    What was refused was not lost, and of connections the client's own count: a scanner beside it has no record of what came back.

    `given_up`: by key of a conversation, when the client ceased to listen to it. `margin_s`: how far the server's clock may be out.
    """

    refused = {(refusal.check, refusal.key) for refusal in refusals if refusal.key} if ends else set()

    def late(check: Check, counts: PacketCounts, key: str, at: float) -> bool:
        others = kind_of(check) is Kind.CONNECTION and key not in counts.count(Direction.C2S, SYN).sent
        return not others and (check, key) not in refused and any(end.takes(at) for end in ends)

    def too_late(key: str, at: float) -> bool:
        return at + margin_s >= given_up.get(session_part(key), inf)

    for check, counts in packet_counts.items() if ends or given_up else ():
        for way in WAYS if ends else ():
            counts.late[way] += counts.pass_over(way, partial(late, check, counts))
        counts.unheard[Direction.S2C] += counts.pass_over(Direction.S2C, too_late)


def for_times(packet_counts: Mapping[Check, PacketCounts], way: Direction, times: Sequence[Outage] | Sequence[OwnQueue]) -> int:
    """What was lost in one direction of kinds that pass otherwise, at times when nothing was to get through; how many packets that are.

    Not over TCP, which repeats what is lost.
    """
    some = [counts for check, counts in packet_counts.items() if check.transport is not Transport.TCP and counts.total(way).received]
    return sum(counts.pass_over(way, lambda _, at: any(one.takes(at) for one in times)) for counts in some if times)
