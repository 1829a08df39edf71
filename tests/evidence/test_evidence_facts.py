"""What is told and not counted: traces, probes that failed, what was not tried."""

from dataclasses import replace

from evidence_support import C2S, CLEAR, S2C

from vpnprobe.evidence import checks
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.records import EndRecord, PathFacts, ProbeError, Skip, TtlTrace
from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport

PATH = PathFacts(background=CLEAR, client_address="10.0.0.1", client_seen_as="10.0.0.1", server_address="10.0.9.1")
PASSING = TtlTrace(checks.udp_reach(500), C2S, {1: "10.0.0.254", 2: "10.0.1.254", 3: "10.0.2.254", 4: None}, reached=4)
FAILING = TtlTrace(checks.GRE_BARE, C2S, {1: "10.0.0.254", 2: "10.0.1.254", 3: None, 4: None})


def told(facts: PathFacts) -> list[Observation]:
    return judge(EndRecord(), EndRecord(), facts)


def test_traces() -> None:
    passing, failing = (o for o in told(replace(PATH, traces=(PASSING, FAILING))) if o.probe == "path")
    assert (passing.id, passing.outcome, passing.port) == ("path-trace-1-udp-c2s", Outcome.PASS, 500)
    assert (passing.detail["of"], passing.detail["reached"]) == ("udp/reach", 4)
    assert (failing.outcome, failing.sent, failing.received) == (Outcome.NO_ANSWER, 4, 2)
    assert failing.detail["of"] == "gre/passthrough/bare"
    assert failing.detail["hops"][0] == {"ttl": 1, "address": "10.0.0.254"}


def test_a_probe_that_failed_by_itself_says_how() -> None:
    (found,) = told(PathFacts(errors=(ProbeError("ike", "OSError: no buffer space"),)))
    assert (found.id, found.probe, found.outcome) == ("ike-error", "ike", Outcome.ERROR)
    assert (found.direction, found.transport, found.sent, found.received) == (Direction.BOTH, Transport.IP, None, None)
    assert found.detail == {"reason": "OSError: no buffer space"}


def test_what_is_told_stands_behind_what_was_not_tried() -> None:
    facts = replace(PATH, skips=(Skip(checks.ESP, S2C, "no privilege"),), traces=(PASSING,), errors=(ProbeError("ike", "why"),))
    assert [row.outcome for row in told(facts)] == [Outcome.SKIPPED, Outcome.PASS, Outcome.PASS, Outcome.ERROR]
