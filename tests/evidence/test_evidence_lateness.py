"""Ends that were late: what was lost meanwhile counts for nothing, and is told; everything else counts as before."""

from dataclasses import replace

import pytest
from evidence_support import C2S, RECEIVED, S2C, SENT, ends, facts_with, keys, seen, trip
from evidence_support import CLIENT as AT_CLIENT
from evidence_support import SERVER as AT_SERVER

from vpnprobe.evidence import checks
from vpnprobe.evidence.departures import Departure
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.lateness import AFTER_S, BEFORE_S, FLIGHTS, MOST_TIMES, READING_S, Lateness, added, longest_s, window_s
from vpnprobe.evidence.packet_records import PacketRecord
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import Observation, Outcome, Transport
from vpnprobe.rules import decide, load_default

UDP = checks.udp_reach(1194)
RESET = checks.openvpn_reset(Transport.TCP, 443)
ANSWER = "P_CONTROL_HARD_RESET_SERVER_V2"
HELLO = "P_CONTROL_HARD_RESET_CLIENT_V2"
PASSING = trip(checks.GRE_BARE, C2S, keys(4, start=90), keys(4, start=90)) + trip(
    checks.GRE_BARE, S2C, keys(4, start=95), keys(4, start=95)
)
"""What both ends' clocks are compared by."""


def lost(count: int, at: float) -> list[PacketRecord]:
    return trip(UDP, C2S, keys(count), [], at=at)


def row(found: list[Observation], probe: str, check: str) -> Observation:
    return next(one for one in found if (one.probe, one.check) == (probe, check))


def test_times_that_are_not_apart_are_one() -> None:
    assert added((Lateness(1, 2),), Lateness(2.05, 3)) == (Lateness(1, 3),)
    assert added((Lateness(1, 2),), Lateness(0.5, 1.5)) == (Lateness(0.5, 2),)
    assert added((Lateness(1, 2),), Lateness(4, 5)) == (Lateness(1, 2), Lateness(4, 5))


def test_there_are_never_more_than_can_be_told() -> None:
    times: tuple[Lateness, ...] = ()
    for number in range(MOST_TIMES + 5):
        times = added(times, Lateness(number, number + 0.1))
    assert len(times) == MOST_TIMES
    assert times[-1].to_s == MOST_TIMES + 4.1


def test_a_window_touches_it_from_before_until_after() -> None:
    late = Lateness(1.0, 2.0)
    assert [late.touches(at) for at in (0.99 - BEFORE_S, 1.01 - BEFORE_S, 1.5, 1.99 + AFTER_S, 2.01 + AFTER_S)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert late.touches(2.01 + AFTER_S, 0.1)
    assert longest_s([late, Lateness(5, 5.5)]) == 1.0
    assert longest_s([]) == 0.0


def test_what_was_lost_while_the_server_was_late_is_no_evidence() -> None:
    client, server = ends([*PASSING, *lost(20, 1.0)])
    assert row(judge(client, server, facts_with()), "udp", "reach").outcome is Outcome.BLOCKED
    found = judge(client, replace(server, late=(Lateness(0.9, 2.8),)), facts_with())
    assert not [one for one in found if one.outcome is Outcome.BLOCKED]
    nothing_left = row(found, "udp", "reach")
    assert (nothing_left.outcome, nothing_left.sent) == (Outcome.SKIPPED, None)
    assert "while an end was late" in nothing_left.detail["reason"]
    told = row(found, "path", "late")
    assert told.outcome is Outcome.SKIPPED
    assert (told.detail["end"], told.detail["late_s"], told.detail["set_aside"]) == ("server", 1.9, 20)


def test_what_was_lost_before_and_after_still_counts() -> None:
    client, server = ends([*PASSING, *lost(20, 1.0)])
    found = judge(replace(client, late=(Lateness(5.0, 6.0),)), server, facts_with())
    assert row(found, "udp", "reach").outcome is Outcome.BLOCKED
    assert not [one for one in found if one.check == "late"]


def test_what_came_in_spite_of_it_came() -> None:
    client, server = ends([*PASSING, *trip(UDP, C2S, keys(20), keys(20), at=1.0)])
    found = row(judge(replace(client, late=(Lateness(0.9, 2.8),)), server, facts_with()), "udp", "reach")
    assert (found.outcome, found.sent, found.received) == (Outcome.PASS, 20, 20)


def test_the_servers_times_are_by_its_own_clock() -> None:
    """It is 100 s ahead: by its clock it was late from 100.9 s on."""
    client, server = ends([*PASSING, *lost(20, 1.0)])
    server = replace(server, packet_records=tuple(replace(one, at=one.at + 100) for one in server.packet_records))
    late = judge(client, replace(server, late=(Lateness(100.9, 102.8),)), facts_with())
    never = judge(client, replace(server, late=(Lateness(0.9, 2.8),)), facts_with())
    assert not [one for one in late if one.outcome is Outcome.BLOCKED]
    assert [one.id for one in never if one.outcome is Outcome.BLOCKED] == ["udp-reach-udp-1194-c2s"]


def test_where_nothing_tells_its_clock_the_control_channel_does() -> None:
    client, server = ends(lost(20, 1.0))
    server = replace(server, late=(Lateness(100.9, 102.8),))
    facts = facts_with()
    unknown = judge(client, server, facts)
    assert not [one for one in unknown if one.outcome is Outcome.BLOCKED], "it may have been late at any time"
    elsewhere = judge(client, server, replace(facts, control_clock=(90.0, 0.01)))
    assert [one.outcome for one in elsewhere if one.probe == "udp"] == [Outcome.BLOCKED]
    then = judge(client, server, replace(facts, control_clock=(100.0, 0.01)))
    assert not [one for one in then if one.outcome is Outcome.BLOCKED]


def conversations(answered_at: float) -> tuple[EndRecord, EndRecord]:
    """Twelve that came to the server and whose answers never came back."""
    begun = trip(RESET, C2S, keys(12), keys(12), message=HELLO, at=1.0)
    return ends([*PASSING, *begun, *seen(AT_SERVER, SENT, RESET, keys(12), message=ANSWER, at=answered_at)], sees=True)


def test_what_a_client_was_told_that_listened_no_more_is_no_evidence() -> None:
    given_up = {key: 2.0 for key in keys(12)}
    client, server = conversations(1.1)
    early = row(judge(replace(client, given_up=given_up), server, facts_with()), "openvpn", "reset")
    assert (early.outcome, early.detail["lost_direction"]) == (Outcome.BLOCKED, "s2c")
    client, server = conversations(2.5)
    assert row(judge(client, server, facts_with()), "openvpn", "reset").outcome is Outcome.BLOCKED
    late = row(judge(replace(client, given_up=given_up), server, facts_with()), "openvpn", "reset")
    assert late.outcome is Outcome.NO_ANSWER


def test_how_much_was_set_aside_shows_while_a_run_lasts() -> None:
    client, server = ends([*PASSING, *lost(20, 1.0)])
    judgement = Judge(replace(client, late=(Lateness(0.9, 2.8),)), server, facts_with(), times=False)
    assert judgement.counts(UDP).set_aside[C2S] == 20
    trials = [Departure(at) for at in (0.1, 1.0, 5.0)]
    assert judgement.timely(trials) == [trials[0], trials[2]]


def test_where_the_way_is_short_what_left_long_before_was_read_in_time() -> None:
    client, server = ends([*PASSING, *lost(20, 1.0)])
    judgement = Judge(replace(client, late=(Lateness(1.9, 2.8),)), server, facts_with(), times=False)
    [end] = judgement.late
    assert READING_S < end.before_s < BEFORE_S
    left = Departure(1.9 - end.before_s - 0.01), Departure(1.9 - end.before_s + 0.01)
    assert judgement.timely(left) == [left[0]]


def test_a_window_is_what_it_takes_and_no_longer_than_the_longest() -> None:
    assert window_s([]) == BEFORE_S
    assert window_s([0.0, 0.001, 9.0]) == pytest.approx(READING_S + 0.001 * FLIGHTS)
    assert window_s([0.2]) == BEFORE_S
    assert window_s([-1.0]) == READING_S


def test_it_is_warned_of() -> None:
    client, server = ends([*PASSING, *lost(20, 1.0)])
    warnings = decide(judge(client, replace(server, late=(Lateness(0.9, 2.8),)), facts_with()), rules=load_default()).warnings
    assert any(warning.startswith("The server agent was late by up to 1.9 s (its machine was busy): 20 packets") for warning in warnings)


def test_connections_are_judged_by_those_that_were_in_time() -> None:
    reach = checks.tcp_reach(443)
    attempts = seen(AT_CLIENT, SENT, reach, [f"port-{number}" for number in range(20)], message="SYN", at=1.0)
    client, server = ends([*PASSING, *attempts], sees=True)
    assert row(judge(client, server, facts_with()), "tcp", "reach").outcome is Outcome.BLOCKED
    late = judge(client, replace(server, late=(Lateness(0.9, 2.8),)), facts_with())
    assert not [one for one in late if one.outcome is Outcome.BLOCKED]


def test_what_the_server_answered_to_others_is_none_of_the_clients() -> None:
    reach = checks.tcp_reach(443)
    own = trip(reach, C2S, ["port-1"], ["port-1"], message="SYN", at=1.0) + trip(
        reach, S2C, ["port-1"], ["port-1"], message="SYN-ACK", at=1.0
    )
    scanner = [
        *seen(AT_SERVER, RECEIVED, reach, ["port-2"], message="SYN", at=1.0),
        *seen(AT_SERVER, SENT, reach, ["port-2"], message="SYN-ACK", at=1.0),
    ]
    client, server = ends([*PASSING, *own, *scanner], sees=True)
    judgement = Judge(replace(client, late=(Lateness(0.9, 2.8),)), server, facts_with(), times=False)
    assert [end.set_aside for end in judgement.late] == [0]
    unheard = [one for one in own if one.message == "SYN" or one.vantage is AT_SERVER]
    client, server = ends([*PASSING, *unheard, *scanner], sees=True)
    judgement = Judge(replace(client, late=(Lateness(0.9, 2.8),)), server, facts_with(), times=False)
    assert [end.set_aside for end in judgement.late] == [1]
