"""What is told and not counted: traces, probes that failed, what was not tried."""

from dataclasses import replace

import pytest
from evidence_support import C2S, CLEAR, S2C, ends, judged, keys, trip

from vpnprobe.evidence import checks
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.judging.facts import behind_conversations
from vpnprobe.evidence.packet_records import Movement, PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts, ProbeError, Skip, TtlTrace
from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport
from vpnprobe.rules import decide, load_default
from vpnprobe.wire.nonce import PURPOSE_SHIFT, NoncePayload, Purpose

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


def came_with(ttl: int, *, count: int = 20, way: Direction = C2S) -> list[PacketRecord]:
    rows = trip(checks.udp_reach(1194), way, keys(count, start=ttl), keys(count, start=ttl))
    return [replace(one, ttl=ttl) if one.movement is Movement.RECEIVED else one for one in rows]


def routes(rows: list[PacketRecord]) -> list[Observation]:
    return [row for row in judged(rows, PATH).values() if row.check == "routes"]


@pytest.mark.parametrize(
    ("there", "back", "told"), [(60, 58, {"c2s": 4, "s2c": 6}), (60, 122, {"c2s": 4, "s2c": 6}), (250, 61, {"c2s": 5, "s2c": 3})]
)
def test_directions_that_take_different_paths_are_told_by_their_lengths(there: int, back: int, told: dict[str, int]) -> None:
    (row,) = routes([*came_with(there), *came_with(back, way=S2C)])
    assert (row.detail, row.outcome) == (told, Outcome.PASS)
    (warning,) = (one for one in decide([row], rules=load_default()).warnings if "different paths" in one)
    assert f"{told['c2s']} routers, and what comes back {told['s2c']}" in warning


@pytest.mark.parametrize(("there", "back"), [(60, 124), (61, 60), (65, 60), (30, 60)])
def test_what_may_be_one_path_is_nothing_to_tell_of(there: int, back: int) -> None:
    """A tethering phone begins with 65, and who sets a TTL anew seems very far away."""
    assert routes([*came_with(there), *came_with(back, way=S2C)]) == []


def test_a_balanced_path_whose_lengths_differ_tells_nothing() -> None:
    mixed = [*came_with(60, count=10), *came_with(59, count=10)]
    assert routes([*mixed, *came_with(58, way=S2C)]) == []


def test_where_no_ttl_is_known_nothing_is_told() -> None:
    assert routes([*came_with(60), *trip(checks.udp_reach(500), S2C, keys(9), keys(9))]) == []


def test_payloads_behind_conversations_are_counted_by_port_and_direction_and_are_no_trials() -> None:
    reach = checks.udp_reach(1194)
    payloads = [NoncePayload(7, number | Purpose.BEHIND << PURPOSE_SHIFT).key for number in range(9)]
    there = trip(reach, C2S, payloads[:5], payloads[:2])
    back = trip(reach, S2C, payloads[5:7], [])
    client, server = ends([replace(one, purpose=Purpose.BEHIND) for one in (*there, *back)])
    found = Judge(client, server, PATH)
    assert behind_conversations(found) == {(1194, C2S): (5, 2), (1194, S2C): (2, 0)}
    assert not [one for one in judge(client, server, PATH) if one.probe == "udp"]
    of_an_older_peer = replace(server, packet_records=tuple(replace(one, purpose=Purpose.OTHER) for one in server.packet_records))
    assert behind_conversations(Judge(client, of_an_older_peer, PATH)) == behind_conversations(found)
    assert behind_conversations(Judge(client, replace(server, recorded=False), PATH)) == {(1194, S2C): (2, 0)}
