"""Fresh packets, counted in each direction by itself."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from vpnprobe.evidence.checks import is_raw
from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.judging.order import AfterServer, begins_by_itself, cause, only_after_server
from vpnprobe.evidence.naming import form_detail
from vpnprobe.evidence.packet_counts import Count, PacketCounts, answered_key, round_trip_ms
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.statistics import ERROR_BOUND
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome

LOSS_WORTH_A_WORD: Final = 0.05
"""Share of lost packets from which on, with at least two of them, what passes is called degraded."""


def packets(judge: Judge, check: Check) -> Iterator[Observation]:
    """One observation a direction in which anything left or came."""
    for way in WAYS:
        found = _one_way(judge, check, way)
        if found is not None:
            yield found


def _one_way(judge: Judge, check: Check, way: Direction) -> Observation | None:
    counts = judge.counts(check)
    count = counts.total(way)
    if not count.sent and not count.received:
        return None
    if way is Direction.S2C and is_raw(check) and not judge.ends[way][1].sees_raw and not count.received:
        return None  # The client refuses what it may not receive: that says nothing of the path.
    found = judge.blank(check, way, judge.counted(check, way, count), form_detail(check))
    trials = max(len(count.sent), len(count.received))
    if not count.received:
        return judge.not_received(found, check, way, count.lost_at)
    if way is Direction.C2S and (late := only_after_server(judge, check, count)) is not None:
        return _after_server(judge, check, found, late)
    found = replace(found, outcome=Outcome.PASS, rtt_ms=_round_trip(counts, count) if way is Direction.S2C else None)
    return replace(found, outcome=Outcome.DEGRADED, cause=Cause.LOSS) if _is_lossy(count, trials) else found


def _after_server(judge: Judge, check: Check, found: Observation, late: AfterServer) -> Observation:
    """It counts what left before the server spoke: that is how a client begins, unless the server does so by itself."""
    found = replace(found, cause=cause(judge), detail={**found.detail, **late.detail})
    if begins_by_itself(check):
        return replace(found, outcome=Outcome.DEGRADED)
    proven = late.bound is not None and late.bound <= ERROR_BOUND
    outcome = Outcome.BLOCKED if proven else Outcome.NO_ANSWER
    return replace(found, outcome=outcome, sent=len(late.before), received=0, error_bound=late.bound)


def _is_lossy(count: Count, trials: int) -> bool:
    return count.lost >= 2 and count.lost / trials > LOSS_WORTH_A_WORD


def _round_trip(counts: PacketCounts, back: Count) -> float | None:
    return round_trip_ms(counts.total(Direction.C2S), back, answers={key: answered_key(key) for key in back.received})
