"""Fresh packets, counted in each direction by itself."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from vpnprobe.evidence.checks import IN_CALL, is_raw, plain_on_port
from vpnprobe.evidence.comparison import alone_bound, error_bound, of_passing_flows
from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.judging.order import AfterServer
from vpnprobe.evidence.judging.sizes import HEADERS_BYTES, limit_of_size, more_to_tell_size, outer_bytes
from vpnprobe.evidence.naming import form_detail
from vpnprobe.evidence.packet_counts import Count, PacketCounts, answered_key, round_trip_ms
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.statistics import hardly_by_chance
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome

LEAST_LOST: Final = 3
ENOUGH_TO_TELL_LOSS: Final = 40
"""Packets of a kind: more than LOSS_WORTH_A_WORD of so many are lost nearly always on a path that loses one in six."""
COMPARED_AT_ONCE: Final = 8
MOST_COMPARED: Final = 40
"""Blocks in which a kind of which some passes is compared with the rest: it is said to lose some, but not that it alone does."""
SO_MUCH_MORE: Final = 3.0
"""So many times the share that the rest loses must be lost of one kind before it is compared."""
LOSS_WORTH_A_WORD: Final = 0.05
"""Share of lost packets from which on, with at least two of them, what passes is called degraded."""
OPENED_BEFORE: Final = (
    "it arrives, but the server's packets of an earlier run had opened the way for it, {} s before this one, and that is remembered for "
    "minutes: run it again ten minutes after the last run"
)
DOUBTFUL: Final = 1e-3
"""What is lost before the server spoke by bad luck alone with a probability up to this is not said to pass by itself."""


def packets(judge: Judge, check: Check) -> Iterator[Observation]:
    """One observation a direction in which anything left or came."""
    for way in WAYS:
        found = _one_way(judge, check, way)
        if found is not None:
            yield found


def _one_way(judge: Judge, check: Check, way: Direction) -> Observation | None:
    counts, count = judge.counts(check), judge.trials(check, way)
    if not count.sent and not count.received:
        return None
    if way is Direction.S2C and is_raw(check) and not judge.ends[way][1].sees_raw and not count.received:
        return None  # The client refuses what it may not receive: that says nothing of the path.
    found = judge.blank(check, way, judge.counted(check, way, count), form_detail(check))
    trials = max(len(count.sent), len(count.received))
    if not count.received:
        return judge.not_received(found, check, way, count.lost_at)
    if way is Direction.C2S and (late := judge.after_server.get(check)) is not None:
        bound = judge.bound(way, late.before, judge.loss[way])
        if is_raw(check) and judge.by_flow[way]:
            # Its one flow gets through, since some of it came: so do those of the controls that it is held against.
            bound = error_bound(late.before, of_passing_flows(judge.controls[way])) or 1.0
        if judge.facts.joined and judge.would_have_recorded(check, way) and (bound is None or bound <= DOUBTFUL):
            return _after_server(judge, found, late, bound)
    if way is Direction.C2S and (age_s := judge.facts.opened_before.get(check.transport)) is not None:
        told = {"opened_before_s": round(age_s), "reason": OPENED_BEFORE.format(round(age_s))}
        # In a call the server speaks by itself as soon as it can, so that it opens the way each time.
        outcome = Outcome.DEGRADED if found.detail.get("form") == IN_CALL else found.outcome
        return replace(found, outcome=outcome, cause=_at_servers_side(judge), detail={**found.detail, **told})
    rtt_ms = _round_trip(counts, count) if way is Direction.S2C else None
    found = replace(found, outcome=Outcome.PASS, rtt_ms=rtt_ms, detail={**found.detail, **_largest(check, count)})
    if not (judge.facts.silence_tells or judge.would_have_recorded(check, way)):
        return found
    if (shown_limit := limit_of_size(judge, check, way, count)) is not None:
        limit, bound = shown_limit
        return replace(found, outcome=Outcome.DEGRADED, cause=Cause.SIZE, error_bound=bound, detail={**found.detail, **limit.detail})
    if not is_lossy(count, trials):
        return found
    bound = loses_alone(judge, check, way, count)
    shown = bound is not None and bound <= judge.facts.error_bound
    detail = {**found.detail, **({"alone": True} if shown else {})}
    by_size = len(count.too_large) == count.lost and _goes_on(count) and hardly_by_chance(count.lost, len(count.sent))
    cut = plain_on_port(check) == check and ends_early(count) and not judge.loss[way].may_lose_all(count.lost)
    cause = Cause.UNKNOWN if by_size or cut else Cause.LOSS
    return replace(found, outcome=Outcome.DEGRADED, cause=cause, error_bound=bound if shown else None, detail=detail)


def _largest(check: Check, count: Count) -> dict[str, int]:
    """Bytes of the largest IP packet that came, where that is known."""
    largest = max((count.sizes.get(key, 0) for key in count.received), default=0)
    return {"largest_passed": outer_bytes(check, largest)} if largest and check.transport in HEADERS_BYTES else {}


def _goes_on(count: Count) -> bool:
    """Whether anything came that left after something was lost."""
    first = min((one.at for one in count.lost_at), default=0.0)
    return any(at > first for key, at in count.sent.items() if key in count.received)


def ends_early(count: Count) -> bool:
    """Whether of the flow that all share that left beside no controls nothing came behind some packet, and everything before it.

    Chance loses so seldom; what cuts flows after a number of packets does.
    """
    of_flow = sorted((at, key in count.received) for key, at in count.sent.items() if key not in count.blocks)
    fates = [came for _, came in of_flow]
    came = sum(fates)
    return came <= len(fates) - LEAST_LOST and all(fates[:came])


def loses_alone(judge: Judge, check: Check, way: Direction, count: Count) -> float | None:
    """The error bound of that the path loses more of this kind than of what left beside it; None: nothing did."""
    if is_raw(check) and judge.by_flow[way]:
        return None
    return alone_bound(((count.departure(key), key in count.received) for key in count.sent), judge.blocks[way])


def may_lose_alone(judge: Judge, check: Check, way: Direction, count: Count) -> bool:
    """Whether so much more of it is lost than of what passes besides that it is worth comparing, and not yet shown."""
    loss, count = judge.loss[way], count.fitting()
    others = (loss.lost - count.lost + 1) / (loss.lost - count.lost + loss.passed - len(count.received) + 2)
    if count.lost < LEAST_LOST or count.lost / len(count.sent) <= SO_MUCH_MORE * others:
        return False
    bound = loses_alone(judge, check, way, count)
    return bound is None or bound > judge.facts.error_bound


def more_to_tell_loss(judge: Judge, check: Check, way: Direction, count: Count) -> int:
    """How many more of a kind that a protocol rests on it takes to tell the loss of a path that loses some of everything; 0: none.

    Without them the same loss would be told of a protocol that sends many packets, and not of one that sends few.
    """
    path = judge.loss[way]
    lossy = path.lost >= LEAST_LOST and path.lost > LOSS_WORTH_A_WORD * (path.lost + path.passed)
    count = count.fitting()
    if not lossy or is_lossy(count, len(count.sent)) or plain_on_port(check) == check:
        return 0
    return max(0, ENOUGH_TO_TELL_LOSS - len(count.sent))


def more_of_what_passes(judge: Judge, check: Check, way: Direction, count: Count, *, comparable: bool) -> int:
    """How many more of a kind of which some came it takes to tell a limit of size and losses; 0: enough.

    `comparable`: whether there is something to compare them with.
    """
    if comparable and (more := more_to_tell_size(judge, check, way, count)):
        return more
    if more := more_to_tell_loss(judge, check, way, count):
        return more
    compare = comparable and len(count.blocks) < MOST_COMPARED and may_lose_alone(judge, check, way, count)
    return COMPARED_AT_ONCE if compare else 0


def _at_servers_side(judge: Judge) -> Cause:
    """What lets in only what the server has asked for."""
    return Cause.NAT if judge.facts.server_nat else Cause.STATE


def _after_server(judge: Judge, found: Observation, late: AfterServer, bound: float | None) -> Observation:
    """What left before the server spoke counts, since so a client begins; in a call the server speaks by itself as soon as it can."""
    found = replace(found, cause=_at_servers_side(judge), detail={**found.detail, **late.detail})
    if found.detail.get("form") == IN_CALL:
        return replace(found, outcome=Outcome.DEGRADED)
    outcome = Outcome.BLOCKED if bound is not None and bound <= judge.facts.error_bound else Outcome.NO_ANSWER
    return replace(found, outcome=outcome, sent=len(late.before), received=0, error_bound=bound)


def is_lossy(count: Count, trials: int) -> bool:
    """Whether enough is lost to be told. `trials`: how many left, or came where nobody knows."""
    return count.lost >= 2 and count.lost / trials > LOSS_WORTH_A_WORD


def _round_trip(counts: PacketCounts, back: Count) -> float | None:
    return round_trip_ms(counts.total(Direction.C2S), back, answers={key: answered_key(key) for key in back.received})
