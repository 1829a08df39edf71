"""Where something does not pass, by TTL-limited copies: the last router that answered for the failing kind, and the next one, known from a
kind that passes.
"""

from dataclasses import replace
from typing import Final

from vpnprobe.evidence.records import PathFacts, TtlTrace
from vpnprobe.observations.schema import Cause, Direction, Location, Observation, Outcome

FAILED: Final = frozenset({Outcome.BLOCKED, Outcome.REFUSED})


def located(failed: Observation, facts: PathFacts) -> Observation:
    trace = trace_of(failed, facts)
    if trace is None or refused_at_the_end(failed):
        return failed
    passing = [t for t in facts.traces if t.direction is trace.direction and t.reached is not None]
    # A router that refuses spends its few ICMP errors on that: its refusal places it as well as its answer to a small TTL would.
    refused_at = [(ttl, address) for t in passing for ttl, address in t.hops.items() if address and address == failed.detail.get("by")]
    last = max([last_answer(trace) or (0, None), *refused_at], key=lambda hop: hop[0])
    following = next((t.hops[last[0] + 1] for t in passing if t.hops.get(last[0] + 1) is not None), None)
    return replace(failed, location=Location(last_hop=last[0], last_address=last[1], next_address=following))


def refused_at_the_end(failed: Observation) -> bool:
    """Whether the addressed host itself refused: its packets vanish nowhere."""
    by_its_firewall = failed.outcome is Outcome.REFUSED and failed.cause is Cause.HOST_FIREWALL
    return failed.cause is Cause.NO_LISTENER or failed.detail.get("by") == "peer" or by_its_firewall


def lost_way(failed: Observation) -> Direction:
    """The direction in which it is lost; BOTH: it goes both ways, and which of them fails is not known."""
    return Direction(failed.detail.get("lost_direction", failed.direction))


def last_answer(trace: TtlTrace) -> tuple[int, str] | None:
    answers = [(ttl, address) for ttl, address in trace.hops.items() if address is not None]
    return max(answers) if answers else None


def trace_of(failed: Observation, facts: PathFacts) -> TtlTrace | None:
    """The trace of this very kind of packet, else of one that fails alike."""
    way = lost_way(failed)
    fitting = [t for t in facts.traces if t.direction is (Direction.C2S if way is Direction.BOTH else way) and t.reached is None]
    same = [t for t in fitting if t.check.probe == failed.probe and t.check.name == failed.check and t.check.port == failed.port]
    alike = [t for t in fitting if t.check.transport is failed.transport]
    exact = [t for t in same if t.check.variant == failed.detail.get("form", "")]
    return next(iter([*exact, *same, *alike]), None)
