"""Connections over TCP: they came up, were refused, or stayed silent."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from vpnprobe.evidence.attempts import SYN, SYN_ACK, unattributed
from vpnprobe.evidence.checks import is_existing
from vpnprobe.evidence.judging.base import Counted, Judge
from vpnprobe.evidence.judging.taken import of_conversation, stopped
from vpnprobe.evidence.packet_counts import PacketCounts, round_trip_ms
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState
from vpnprobe.evidence.statistics import round_trip
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome

ANOTHER: Final = "connections come up, but the agent behind the port sees none: something in between answers in its name"
UNANSWERED: Final = "the connection reached the host, which answered nothing: its own firewall, or nothing listens"
OTHERS: Final = "other connections to this port came up in the same run: something takes some of them, as a limit on their number does"
KEPT: Final = {
    "host": "server",
    "reason": "the connection reaches the server, whose own firewall (or port forwarding) keeps it from the program there, or its answer",
}


def connection(judge: Judge, check: Check) -> Iterator[Observation]:
    """One observation of both ways; none where nothing left and nothing came."""
    counts = judge.counts(check)
    there, back = counts.count(Direction.C2S, SYN), counts.count(Direction.S2C, SYN_ACK)
    if not there.sent and not back.received:
        return
    arrived = len(there.received)
    counted = _arrivals_are_told(judge, check)
    detail = {"arrived_at_server": arrived} if there.sent and (counted or arrived) else {}
    found = judge.blank(check, Direction.BOTH, _answered(len(there.sent), len(back.received), counted=counted or arrived > 0), detail)
    if back.received and _answered_by_another(judge, check, counts):
        yield replace(found, outcome=Outcome.NO_ANSWER, detail={**found.detail, "reason": ANOTHER})
    elif back.received:
        yield replace(found, outcome=Outcome.PASS, rtt_ms=round_trip_ms(there, back))
    elif arrived and not back.sent:
        yield _unanswered(judge, check, found)
    else:
        yield _silent(judge, check, found, counts)


def _answered(sent: int, answered: int, *, counted: bool) -> Counted:
    """`counted`: the server's end says how many came there, so that none answered is a fact about them."""
    if answered:
        return Counted(sent or None, answered, "answered")
    return Counted(sent or None, 0, "peer") if counted else Counted(sent or None, None)


def _unanswered(judge: Judge, check: Check, found: Observation) -> Observation:
    """It came to the host, and no SYN-ACK left it: the host's own doing where its wire is watched and a program of ours listens."""
    if judge.facts.answering(check) is PortState.OURS and judge.ends[Direction.C2S][1].sees_closed_ports:
        return replace(found, outcome=Outcome.NO_ANSWER, cause=Cause.HOST_FIREWALL, detail={**found.detail, **_kept(judge, check)})
    silent = replace(found, outcome=Outcome.NO_ANSWER, detail={**found.detail, "reason": UNANSWERED})
    return judge.refused_or(silent, check, Direction.C2S)


def _kept(judge: Judge, check: Check) -> dict[str, Any]:
    """What the server's own firewall does to it: what its rules say, where they have been read."""
    for leaving, what in ((False, "keeps it from the program there"), (True, "keeps the answer of the program there")):
        mend = judge.facts.mend("server", [check], leaving=leaving)
        if "mend" in mend:
            whose = f"the connection reaches the server, whose own firewall ({mend['firewall']}) {what}"
            return {"host": "server", "reason": whose, **mend}
    return dict(KEPT)


def _silent(judge: Judge, check: Check, found: Observation, counts: PacketCounts) -> Observation:
    """Lost on the way there, or the answer on the way back; or the client's own firewall keeps one of the two."""
    if _came_up_otherwise(judge, check):
        return replace(found, outcome=Outcome.DEGRADED, cause=Cause.UNKNOWN, detail={**found.detail, "reason": OTHERS})
    for way in (Direction.S2C, Direction.C2S):
        if judge.kept_by_host(check, way):
            kept = replace(found, outcome=Outcome.NO_ANSWER, detail={**found.detail, "lost_direction": way.value})
            return judge.refused_or(kept, check, way)
    if (part := of_conversation(check, judge.ends)) is not None:
        return stopped(found, *part, judge.facts)
    there = counts.count(Direction.C2S, SYN)
    arrived, told = bool(there.received), _arrivals_are_told(judge, check)
    if not arrived and told and judge.refusal(check, Direction.C2S) is not None:
        # The server's own wire never showed the SYN: somebody before it answered in its name.
        found = replace(found, detail={**found.detail, "by_router": True})
    both = round_trip(judge.loss[Direction.C2S], judge.loss[Direction.S2C])
    lost_at = judge.timely(there.departure(key) for key in there.sent)
    outcome, bound = judge.silence(check, Direction.C2S, lost_at, both, beside=Direction.BOTH)
    lost = {"lost_direction": (Direction.S2C if arrived else Direction.C2S).value} if arrived or told else {}
    silent = replace(found, outcome=outcome, error_bound=bound, detail={**found.detail, **lost})
    return judge.refused_or(silent, check, Direction.C2S)


def _came_up_otherwise(judge: Judge, check: Check) -> bool:
    """Whether the other end said anything in a connection to this port that another check made. A profile's server may be another host."""
    others = (other for other in judge.packet_counts if other != check and not is_existing(other))
    same = (other for other in others if (other.transport, other.port, other.family) == (check.transport, check.port, check.family))
    return any(judge.packet_counts[other].total(Direction.S2C).received for other in same)


def _arrivals_are_told(judge: Judge, check: Check) -> bool:
    """Whether the server's record says which SYNs came, be it none.

    Its wire must: a socket is told of a connection once the whole handshake is over. And behind a NAT there must be none that may be ours.
    """
    client, server = judge.ends[Direction.C2S]
    counted = judge.arrivals_are_counted(check, Direction.C2S) and server.sees_closed_ports
    return counted and not unattributed(check, client, server, judge.facts)


def _answered_by_another(judge: Judge, check: Check, counts: PacketCounts) -> bool:
    """Whether connections to a port of our own came up, and the server agent never saw one: a proxy or portal in between took them."""
    ours = judge.facts.answering(check) is PortState.OURS
    client, server = judge.ends[Direction.C2S]
    if not judge.facts.joined or not ours or not server.recorded or unattributed(check, client, server, judge.facts):
        return False
    return not counts.total(Direction.C2S).received
