"""What the server sends of a kind of which nothing of the client's came through: it may be lost only because nothing has asked for it.

A stateful firewall or a NAT at the client's side lets in what the client has asked for. A kind whose own packets die before they come to
such a device opens nothing there. Where routers show that both directions die at the same one, they are stopped for what they are. Pure.
"""

from collections.abc import Sequence
from typing import Any

from vpnprobe.evidence.checks import Kind, kind_of
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.places import FORMS, last_answer, trace_of
from vpnprobe.evidence.records import PathFacts, TtlTrace
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome


def asked(observation: Observation) -> tuple[Any, ...]:
    """What a row is about, in whatever direction."""
    variant = (observation.detail.get(key) for key in FORMS)
    return (observation.probe, observation.check, observation.transport, observation.port, *variant)


def is_kept_by(observation: Observation, host: str) -> bool:
    """Whether the own firewall of that end is shown to keep it."""
    return observation.cause is Cause.HOST_FIREWALL and observation.detail.get("host") == host


def forth_of(failed: Observation, others: Sequence[Observation]) -> list[Observation]:
    """The rows of the same kind from the client to the server."""
    return [o for o in others if o.direction is Direction.C2S and asked(o) == asked(failed)]


def is_unopened(failed: Observation, others: Sequence[Observation]) -> bool:
    """Whether what the server sends is lost, and nothing of the client's of that kind came: none is known to have, or it never left."""
    packets = kind_of(Check(failed.probe, failed.check, failed.transport, failed.port)) is Kind.PACKETS
    if failed.direction is not Direction.S2C or failed.outcome is not Outcome.BLOCKED or not packets:
        return False
    forth = forth_of(failed, others)
    return bool(forth) and all((o.received == 0 and "after_server" not in o.detail) or is_kept_by(o, "client") for o in forth)


def cause_where_unopened(failed: Observation, others: Sequence[Observation], facts: PathFacts) -> Cause | None:
    """The cause where nothing unasked is let in; None: that is not why."""
    if facts.lets_in_unsolicited is not False or not is_unopened(failed, others):
        return None
    forth = forth_of(failed, others)
    if all(is_kept_by(o, "client") for o in forth):
        return Cause.STATE
    back, there = trace_of(failed, facts), next((trace for o in forth if (trace := trace_of(o, facts)) is not None), None)
    hops = min((trace.reached for trace in facts.traces if trace.reached is not None), default=None)
    one = dies_at_one_router(there, back, hops)
    return None if one else Cause.STATE if one is False else Cause.UNKNOWN


def dies_at_one_router(there: TtlTrace | None, back: TtlTrace | None, hops: int | None) -> bool | None:
    """Whether the last router that answered is the same one from both ends; None: it is not known.

    `hops`: to the other end; None: not known.
    """
    last = [last_answer(trace) if trace is not None else None for trace in (there, back)]
    if last[0] is None or last[1] is None or hops is None:
        return None
    return last[0][0] + last[1][0] == hops


def is_lost_before_nat(failed: Observation, facts: PathFacts) -> bool:
    """Whether the next router is shown not to be reached by what the server sent, and it is none that has the client's address."""
    trace, first = trace_of(failed, facts), first_hop_of_nat(facts)
    last = last_answer(trace) if trace is not None else None
    return trace is not None and last is not None and first is not None and last[0] + 1 < first and last[0] + 1 in trace.silent


def first_hop_of_nat(facts: PathFacts) -> int | None:
    """The TTL of the first router from the server that has the address that the client is seen as; None: none is known."""
    back = (trace for trace in facts.traces if trace.direction is Direction.S2C)
    return min((ttl for trace in back for ttl, address in trace.hops.items() if address == facts.client_seen_as), default=None)
