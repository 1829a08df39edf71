"""Streams of data packets, each direction by itself: a limit on size, a cut after so many packets, or neither.

What packets show is counted in `data_runs`; here it is said. Pure.

Invariant: a limit is named only where enough fresh packets are missing to rule out the path's own loss, which is counted on what passes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from statistics import median
from typing import Final

from vpnprobe.evidence.departures import asked_for
from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.judging.data_runs import MOST_SIZES, Bound, DataLimit, DataPacket, DataRun
from vpnprobe.evidence.judging.taken import of_conversation, stopped
from vpnprobe.evidence.judging.times import clock_margin_s, flights_s
from vpnprobe.evidence.naming import form_detail
from vpnprobe.evidence.packet_counts import Count
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.statistics import LEAST_TRIALS, Background, hardly_by_chance
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport

NEARLY_ALL: Final = 0.8
"""Share of the streams that must tell the same of which direction ended first."""
FOLLOWS: Final = "it stalls where the other direction is cut, which carries its acknowledgments"
STALLS_TOO: Final = "streams stall the other way, and some of them this way too"
SOME_OF_THEM: Final = 0.25
"""Share of the sessions."""


def data(judge: Judge, check: Check) -> Iterator[Observation]:
    """One observation a direction in which anything left or came."""
    counts = {way: judge.trials(check, way) for way in WAYS}
    rows = {way: _one_way(judge, check, way, count) for way, count in counts.items() if count.sent or count.received}
    both_end = check.transport is Transport.TCP and [row.cause for row in rows.values()] == [Cause.PACKETS] * 2
    follower = _follower(judge, {way: DataRun.of(count, stream=True) for way, count in counts.items()}) if both_end else None
    for way, row in rows.items():
        other = rows.get(Direction.S2C if way is Direction.C2S else Direction.C2S)
        why = FOLLOWS if way is follower else STALLS_TOO if other is not None and _stalls_too(row, other, counts[way]) else None
        detail = {name: value for name, value in row.detail.items() if name != "cut_after"} | {"reason": why}
        yield replace(row, outcome=Outcome.NO_ANSWER, cause=None, error_bound=None, detail=detail) if why is not None else row


def _stalls_too(row: Observation, other: Observation, count: Count) -> bool:
    """Whether streams that do not get to their end the other way stall this way too, be it in some sessions alone."""
    if row.transport is not Transport.TCP or row.outcome is not Outcome.PASS or other.outcome not in (Outcome.NO_ANSWER, Outcome.BLOCKED):
        return False
    run = DataRun.of(count, stream=True)
    return SOME_OF_THEM * len(run.sessions) <= run.stalled


def _follower(judge: Judge, runs: Mapping[Direction, DataRun]) -> Direction | None:
    """The direction of streams that stalls only since the other does, which carries its acknowledgments; None: neither shows to.

    It goes on for longer than what was under way took, after the other has ended, in nearly all of the sessions in which both stall.
    """
    took_s = [median(flights) for way in WAYS if (flights := flights_s(judge.packet_counts, way))]
    least_s = max(took_s, default=inf) + clock_margin_s(judge.facts)
    there, back = (run.ends for run in (runs[Direction.C2S], runs[Direction.S2C]))
    both = [(there[session], back[session]) for session in there.keys() & back.keys()]
    if not both:
        return None
    later = {
        Direction.C2S: sum(one - other > least_s for one, other in both),
        Direction.S2C: sum(other - one > least_s for one, other in both),
    }
    return next((way for way, count in later.items() if count >= NEARLY_ALL * len(both)), None)


def _one_way(judge: Judge, check: Check, way: Direction, count: Count) -> Observation:
    """Passes, with loss, up to a size (degraded), cut after some packets, or nothing of it came (blocked).

    Where nobody kept a record at the receiving end, a packet came if it was answered: what is missing may then be the answer
    (`detail.round_trip`).
    """
    run = DataRun.of(count, stream=check.transport is Transport.TCP)
    witnessed = judge.would_have_recorded(check, way)
    counted = judge.counted(check, way, count)
    detail = {**form_detail(check), **run.detail(left=counted.sent is not None, came=counted.received is not None)}
    detail |= {"round_trip": True} if count.sent and not witnessed else {}
    found = judge.blank(check, way, replace(counted, sent=len(run.packets)) if counted.sent is not None else counted, detail)
    part = of_conversation(check, judge.ends) if run.stream else None
    if not count.received and part is not None:
        return stopped(found, *part, judge.facts)
    if not count.received:
        return judge.not_received(found, check, way, [trial.departure for trial in run.trials])
    suspected = None if judge.kept_by_host(check, way) else run.limit(_bound(judge, way, stream=run.stream), 1.0)
    if part is not None and (suspected is not None or run.stalls):
        return stopped(found, *part, judge.facts)
    rate = judge.facts.rate_limits.get((check, way))
    if suspected is not None and suspected.cause is Cause.PACKETS and rate is not None:
        suspected = None  # What has ended for good lets nothing through, alone or in company.
    if suspected is not None and _rate_may_be_why(judge, suspected, check, way):
        return found
    limit = suspected if suspected is not None and suspected.error_bound <= judge.facts.error_bound else None
    if suspected is not None and suspected.outcome is Outcome.BLOCKED and not (limit is not None and witnessed):
        return replace(found, error_bound=suspected.error_bound if witnessed else None)
    if limit is None and run.stalls:
        return found
    if limit is None and run.stream:
        ended = run.to_its_end
        told = ended.detail(left=counted.sent is not None, came=counted.received is not None)
        sent = len(ended.packets) if counted.sent is not None else None
        return replace(found, outcome=Outcome.PASS, sent=sent, detail={**found.detail, **told})
    if limit is None and run.lossy and rate is not None:
        limit = DataLimit(Outcome.DEGRADED, Cause.RATE, rate.error_bound, rate.detail)
    if limit is None:
        return _with_loss(judge, found, way, run, heard=witnessed or judge.facts.silence_tells)
    detail = {**found.detail, **limit.detail}
    return replace(found, outcome=limit.outcome, cause=limit.cause, error_bound=limit.error_bound, detail=detail)


def _rate_may_be_why(judge: Judge, suspected: DataLimit, check: Check, way: Direction) -> bool:
    """Whether a session seems to be cut where another tunnel is shown to be limited in rate: a full limit looks so."""
    limited = any(each is way and other.transport is check.transport for other, each in judge.facts.rate_limits)
    return limited and suspected.cause is Cause.PACKETS


def _with_loss(judge: Judge, found: Observation, way: Direction, run: DataRun, *, heard: bool) -> Observation:
    """Passes, or with loss where no limit is shown. What chance does not lose so is of a cause that is not known, be it few of many.

    `heard`: what did not come is known to be lost.
    """
    none_by_itself = (run.all_too_large or run.all_at_the_end) and not judge.loss[way].may_lose_all(run.lost, ways=MOST_SIZES)
    oddly = none_by_itself or (run.all_too_large and not run.all_at_the_end and hardly_by_chance(run.lost, len(run.packets)))
    by_size = oddly and run.all_too_large and run.lost >= LEAST_TRIALS and not run.stream
    if not heard or not (run.lossy or by_size):
        return replace(found, outcome=Outcome.PASS)
    sizes = run.sizes_around_the_largest if by_size else {}
    return replace(found, outcome=Outcome.DEGRADED, cause=Cause.UNKNOWN if oddly else Cause.LOSS, detail={**found.detail, **sizes})


def trials_of(check: Check, count: Count) -> list[DataPacket]:
    """Trials of whether anything passes at all: packets, or over TCP the first of each session."""
    return DataRun.of(count, stream=check.transport is Transport.TCP).trials


def longest_session(judge: Judge, check: Check, way: Direction) -> int:
    """How many packets the longest session sent that way; 0: there was none."""
    run = DataRun.of(judge.trials(check, way), stream=check.transport is Transport.TCP)
    return max(map(len, run.sessions), default=0)


def large_ones_in_doubt(check: Check, count: Count) -> bool:
    """Whether over UDP several packets are missing, all larger than any that came: too few to show a limit, and no chance."""
    run = DataRun.of(count, stream=check.transport is Transport.TCP)
    return not run.stream and count.lost > 1 and run.all_too_large


def stalled_streams(check: Check, count: Count) -> int:
    """How many sessions over TCP ended with packets that never came, where most of them did; 0: not most of them, or there are none."""
    run = DataRun.of(count, stream=check.transport is Transport.TCP)
    return run.stalled if run.stalls else 0


def _bound(judge: Judge, way: Direction, *, stream: bool) -> Bound:
    by_time = stream or not judge.numbered

    def bound(lost: Sequence[DataPacket], own: Background, thresholds: int) -> float:
        asked, chosen_of = asked_for([packet.departure for packet in lost], thresholds, by_time=by_time)
        found = judge.bound(way, asked, judge.loss[way] + own, thresholds=chosen_of)
        return 1.0 if found is None else found

    return bound


def suspected_limit(judge: Judge, check: Check, way: Direction) -> DataLimit | None:
    """What would limit data that way, were its bound small enough; None: nothing looks so."""
    run = DataRun.of(judge.trials(check, way), stream=check.transport is Transport.TCP)
    return run.limit(_bound(judge, way, stream=run.stream), 1.0)
