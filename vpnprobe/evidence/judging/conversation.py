"""Conversations: the messages that the client gets back reach the goal, refuse, or stop somewhere."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vpnprobe.evidence.checks import is_existing, spec_of
from vpnprobe.evidence.judging.base import Counted, Judge, by_whom
from vpnprobe.evidence.judging.data_runs import TCP_CARRIER_BYTES, UDP_CARRIER_BYTES
from vpnprobe.evidence.judging.goals import CLOSED, goals, refusals
from vpnprobe.evidence.judging.taken import all_is_named, of_conversation, stopped
from vpnprobe.evidence.naming import form_detail
from vpnprobe.evidence.packet_counts import Count, PacketCounts, round_trip_ms
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState, RefusalKind
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport


def conversation(judge: Judge, check: Check) -> Iterator[Observation]:
    """One observation of both ways; none where nothing left and nothing came."""
    counts = judge.counts(check)
    there, back = counts.total(Direction.C2S), counts.total(Direction.S2C)
    if not there.sent and not back.received:
        return
    taken = judge.ends[Direction.S2C][1].taken.messages(check)
    got = ((message, key) for message in goals(check) for key in counts.count(Direction.S2C, message).received)
    answered = {key for message, key in got if (message, key) not in taken}
    detail = {**form_detail(check), **_messages(judge, check, counts)}
    found = judge.blank(check, Direction.BOTH, _answered(judge, check, there, len(answered)), detail)
    yield replace(found, outcome=Outcome.PASS, rtt_ms=_first_round_trip(counts)) if answered else _unanswered(judge, check, found, counts)


def _answered(judge: Judge, check: Check, there: Count, answered: int) -> Counted:
    """How many began, and how many of them reached the goal. None of them is a fact where the server's end has a word about them."""
    sent = len(there.sent) or None
    if answered:
        return Counted(sent, answered, "answered")
    counted = bool(there.received) or judge.arrivals_are_counted(check, Direction.C2S)
    return Counted(sent, 0, "peer") if counted else Counted(sent, None)


def _unanswered(judge: Judge, check: Check, found: Observation, counts: PacketCounts) -> Observation:
    """No message of the goal came back."""
    if (part := of_conversation(check, judge.ends)) is not None and not _is_lost_besides(judge, check, found, counts):
        return stopped(found, *part, judge.facts)
    there = counts.total(Direction.C2S)
    refusal = judge.refusal(check, Direction.C2S)
    # What the server's own wire shows of its firewall is known better than who refused it.
    if refusal is not None and refusal.kind is not RefusalKind.UNREACHABLE and not judge.kept_by_host(check, Direction.C2S):
        return replace(found, outcome=Outcome.REFUSED, detail={**found.detail, **by_whom(refusal)})
    if there.received or (there.sent and judge.would_have_recorded(check, Direction.C2S)):
        found = replace(found, detail={**found.detail, "arrived_at_server": len(there.received)})
        found = _silent_to_strangers(judge, check, found, counts)
    said = (m for m in counts.messages(Direction.S2C) if m in refusals(check) and counts.count(Direction.S2C, m).received)
    refused = next(said, None)
    # Where the server's end saw nothing come, somebody before it closed the connection in its name.
    if refused is not None and found.detail.get("arrived_at_server") != 0:
        return replace(found, outcome=Outcome.REFUSED, detail={**found.detail, "by": "peer", "message": refused, **_fits(check, refused)})
    silent, way = _where_it_stopped(judge, check, found, counts)
    return judge.refused_or(silent, check, way) if way is not None else silent


def _is_lost_besides(judge: Judge, check: Check, found: Observation, counts: PacketCounts) -> bool:
    """Whether the path loses a message, whatever the ends' own firewalls take: that has arrived."""
    return all_is_named(check, judge.ends) and _where_it_stopped(judge, check, found, counts)[0].outcome is Outcome.BLOCKED


def _silent_to_strangers(judge: Judge, check: Check, found: Observation, counts: PacketCounts) -> Observation:
    """The same with why what came was not answered, where the protocol of another program answers nobody whose keys it does not know.

    Of a session with keys of our own no answer is expected, and none is counted.
    """
    spec, existing = spec_of(check), is_existing(check)
    of_another = existing or judge.facts.answering(check) is PortState.DAEMON
    if spec is None or not spec.silent_to_strangers or not found.detail["arrived_at_server"] or not of_another:
        return found
    back = [message for message in counts.messages(Direction.S2C) if counts.count(Direction.S2C, message).received]
    found = replace(found, detail={**found.detail, "reason": f"{', '.join(back)} alone came back" if back else spec.silent_to_strangers})
    if existing:
        return found
    return replace(found, received=None, detail={name: value for name, value in found.detail.items() if name != "proof"})


def _fits(check: Check, refused: str) -> dict[str, str]:
    """What a refusal is consistent with, where it is worth a word."""
    spec = spec_of(check)
    return {"consistent_with": spec.closing_fits} if spec is not None and spec.closing_fits and refused == CLOSED else {}


def _where_it_stopped(judge: Judge, check: Check, found: Observation, counts: PacketCounts) -> tuple[Observation, Direction | None]:
    """The first message that was sent and never came decides, and its direction; None: all came, and the other end did not answer.

    Where the two ends' times cannot be compared, the client's come first: it begins, and the server answers.
    """
    steps = [(count, way, message) for (way, message), count in counts.counts.items() if count.sent and not count.received]
    comparable = judge.facts.clock_offset_s is not None
    steps.sort(key=lambda step: (not comparable and step[1] is Direction.S2C, min(step[0].sent.values())))
    for count, way, message in steps:
        detail = {**found.detail, "lost_direction": way.value, "lost_message": message, **_lost_bytes(check, count)}
        if kept := judge.kept_by_host(check, way):
            return replace(found, outcome=Outcome.NO_ANSWER, cause=Cause.HOST_FIREWALL, detail={**detail, **kept}), way
        outcome, bound = judge.silence(check, way, count.lost_at, judge.loss[way])
        if outcome is Outcome.BLOCKED:
            return replace(found, outcome=outcome, error_bound=bound, sent=len(count.sent), detail=detail), way
        if not found.error_bound:
            found = replace(found, error_bound=bound)
    if not steps and (kept := judge.kept_by_host(check, Direction.S2C)):
        # All of the client's came, and a capture of the server's shows no answer: its note tells why.
        detail = {**found.detail, "lost_direction": Direction.S2C.value, **kept}
        return replace(found, outcome=Outcome.NO_ANSWER, cause=Cause.HOST_FIREWALL, detail=detail), Direction.S2C
    return replace(found, outcome=Outcome.NO_ANSWER), (steps[0][1] if steps else None)


def _lost_bytes(check: Check, count: Count) -> dict[str, int]:
    """Bytes of the smallest IP packet in which the message was lost, where that is known."""
    smallest = min((count.sizes.get(key, 0) for key in count.sent), default=0)
    carrier = UDP_CARRIER_BYTES if check.transport is Transport.UDP else TCP_CARRIER_BYTES
    return {"lost_bytes": smallest + carrier} if smallest else {}


def _first_round_trip(counts: PacketCounts) -> float | None:
    sent = [count for (way, _), count in counts.counts.items() if way is Direction.C2S and count.sent]
    came = [count for (way, _), count in counts.counts.items() if way is Direction.S2C and count.received]
    if not sent or not came:
        return None
    return round_trip_ms(min(sent, key=lambda c: min(c.sent.values())), min(came, key=lambda c: min(c.received.values())))


def _messages(judge: Judge, check: Check, counts: PacketCounts) -> dict[str, Any]:
    """What each end sent and got, message by message, with the numbers of the last one."""
    messages = []
    for (way, message), count in counts.counts.items():
        counted = judge.counted(check, way, count)
        sent = len(count.sent) if count.sent or judge.departures_are_counted(check, way) else None
        messages.append({"message": message, "direction": way.value, "sent": sent, "received": counted.received})
    numbers = {f"{s.message} at {s.vantage}": dict(s.detail) for s in counts.details.values() if s.detail}
    return {"messages": messages} | ({"numbers": numbers} if numbers else {})
