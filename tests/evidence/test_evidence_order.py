"""What passes only after the server has spoken: it is told apart from what passes by itself, and from bad luck."""

from dataclasses import replace

import pytest
from evidence_support import C2S, CLIENT, RECEIVED, S2C, SENT, SERVER, facts_with, judged, keys, seen, trip

from vpnprobe.evidence import checks
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.judging.order import after_server
from vpnprobe.evidence.packet_counts import count_packets
from vpnprobe.evidence.packet_records import Check, PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Cause, Observation, Outcome, Transport

FACTS = replace(facts_with(ports={(Transport.UDP, 500): PortState.OURS, (Transport.TCP, 1723): PortState.OURS}), clock_offset_s=0.0)
UDP = checks.udp_reach(500)


def opened(check: Check, *, lost: int = 8, came: int = 4, spoke_s: float = 1.0, by: Check | None = None) -> list[PacketRecord]:
    """The client's packets come to nothing, then the server's come, then the client's do."""
    return [
        *trip(check, C2S, keys(lost), []),
        *trip(by or check, S2C, keys(4, start=100), keys(4, start=100), at=spoke_s),
        *trip(check, C2S, keys(came, start=50), keys(came, start=50), at=spoke_s + 1),
    ]


def forth(rows: list[PacketRecord], check: Check, facts: PathFacts = FACTS) -> Observation:
    found = judged(rows, facts)
    return next(o for o in found.values() if (o.probe, o.transport, o.direction) == (check.probe, check.transport, C2S))


@pytest.mark.parametrize("check", [checks.ESP, checks.GRE_BARE, UDP])
def test_what_passes_only_after_the_server_has_spoken_is_blocked_for_a_client_that_begins(check: Check) -> None:
    found = forth(opened(check), check)
    assert (found.outcome, found.cause, found.sent, found.received) == (Outcome.BLOCKED, Cause.STATE, 8, 0)
    assert found.detail["after_server"] == {"sent": 4, "received": 4}
    assert found.error_bound is not None
    assert found.error_bound <= 1e-6


def test_behind_a_nat_of_the_servers_it_is_the_nats_doing() -> None:
    behind = replace(FACTS, server_address="192.0.2.1", server_own_addresses={Transport.TCP: "10.0.0.9"})
    assert forth(opened(checks.ESP), checks.ESP, behind).cause is Cause.NAT


def test_what_came_before_the_server_spoke_passes_by_itself() -> None:
    rows = [*trip(checks.ESP, C2S, keys(1, start=70), keys(1, start=70), at=0.5), *opened(checks.ESP)]
    found = forth(rows, checks.ESP)
    assert (found.outcome, found.cause, found.sent, found.received) == (Outcome.DEGRADED, Cause.LOSS, 13, 5)


def test_a_few_that_are_lost_show_nothing() -> None:
    assert forth(opened(checks.ESP, lost=3), checks.ESP).outcome is Outcome.DEGRADED


def test_what_the_paths_loss_explains_is_no_state() -> None:
    lossy = replace(FACTS, background={C2S: Background(60, 40), S2C: Background(60, 40)})
    assert forth(opened(checks.ESP), checks.ESP, lossy).cause is Cause.LOSS


def test_what_it_hardly_explains_is_not_known() -> None:
    some = replace(FACTS, background={C2S: Background(30, 70), S2C: Background(0, 100)})
    found = forth(opened(checks.ESP), checks.ESP, some)
    assert (found.outcome, found.cause, found.received) == (Outcome.NO_ANSWER, Cause.STATE, 0)


def test_in_a_call_the_server_speaks_by_itself_so_that_it_works_with_a_word_of_warning() -> None:
    found = forth(opened(checks.GRE_IN_CALL), checks.GRE_IN_CALL)
    assert (found.outcome, found.cause, found.sent, found.received) == (Outcome.DEGRADED, Cause.STATE, 12, 4)


def test_a_port_is_a_flow_of_its_own() -> None:
    rows = opened(UDP, by=checks.udp_reach(53))
    assert forth(rows, UDP).cause is Cause.LOSS


def test_what_has_no_ports_may_be_opened_by_another_kind_of_the_protocol() -> None:
    found = forth(opened(checks.GRE_BARE, by=checks.GRE_IN_CALL), checks.GRE_BARE)
    assert (found.outcome, found.cause) == (Outcome.BLOCKED, Cause.STATE)


def test_the_kind_that_opened_it_is_the_last_that_spoke_before_anything_came() -> None:
    """What a firewall takes for another flow opens nothing: all that is lost until the plain kind speaks counts."""
    early = trip(checks.GRE_IN_CALL, S2C, keys(4, start=200), keys(4, start=200), at=0.02)
    found = forth([*opened(checks.GRE_BARE), *early], checks.GRE_BARE)
    assert (found.cause, found.sent) == (Cause.STATE, 8)


def test_a_server_that_kept_no_record_says_nothing() -> None:
    found = judged(opened(checks.ESP), FACTS, recorded=False)
    assert all(o.cause is not Cause.STATE for o in found.values())


def test_captures_of_two_attempts_say_nothing_of_the_order() -> None:
    found = judged(opened(checks.ESP), replace(FACTS, joined=False))
    assert all(o.cause is not Cause.STATE for o in found.values())


def test_what_it_lost_before_is_no_loss_of_the_path() -> None:
    rows = [*opened(checks.ESP), *trip(UDP, C2S, keys(9), keys(9))]
    client, server = (EndRecord(tuple(r for r in rows if r.vantage is end)) for end in (CLIENT, SERVER))
    assert Judge(client, server, replace(FACTS, background={})).loss[C2S] == Background(0, 9)


def test_while_clocks_are_not_compared_the_server_has_spoken_when_the_client_heard_it() -> None:
    """The server's clock is far ahead here."""
    rows = [
        *seen(CLIENT, SENT, checks.ESP, keys(8)),
        *seen(SERVER, SENT, checks.ESP, keys(4, start=100), at=1001.0),
        *seen(CLIENT, RECEIVED, checks.ESP, keys(4, start=100), at=1.1),
        *seen(CLIENT, SENT, checks.ESP, keys(4, start=50), at=2.0),
        *seen(SERVER, RECEIVED, checks.ESP, keys(4, start=50), at=1002.0),
    ]
    client, server = (EndRecord(tuple(r for r in rows if r.vantage is end)) for end in (CLIENT, SERVER))
    late = after_server(count_packets(client, server, joined=True), one_clock=False)[checks.ESP]
    assert (len(late.before), late.sent, late.received) == (8, 4, 4)


def test_what_an_earlier_run_had_opened_proves_nothing() -> None:
    facts = replace(FACTS, opened_before={Transport.ESP: 42.4})
    found = forth(trip(checks.ESP, C2S, keys(6), keys(6)), checks.ESP, facts)
    assert (found.outcome, found.cause, found.received) == (Outcome.NO_ANSWER, Cause.STATE, 6)
    assert found.detail["opened_before_s"] == 42
    assert "42 s before this one" in found.detail["reason"]
    in_call = trip(checks.GRE_IN_CALL, C2S, keys(6), keys(6))
    called = forth(in_call, checks.GRE_IN_CALL, replace(FACTS, opened_before={Transport.GRE: 42.4}))
    assert (called.outcome, called.cause, called.detail["opened_before_s"]) == (Outcome.DEGRADED, Cause.STATE, 42)
