"""How well the two clocks are known, how long packets took, and when an end was late by the client's clock."""

from dataclasses import replace
from math import inf

import pytest
from evidence_support import C2S, S2C, ends, facts_with, keys, trip

from vpnprobe.evidence import checks
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.judging.times import clock_margin_s, flights_s, late_ends
from vpnprobe.evidence.lateness import BEFORE_S, READING_S, Lateness

PASSING = trip(checks.GRE_BARE, C2S, keys(4), keys(3), at=1.0)


def test_only_what_came_tells_how_long_it_took() -> None:
    counts = Judge(*ends(PASSING), facts_with(), times=False).packet_counts
    assert len(flights_s(counts, C2S)) == 3
    assert flights_s(counts, S2C) == []


@pytest.mark.parametrize(
    ("known", "margin_s"),
    [
        ({"clock_offset_s": 4.0, "clock_uncertainty_s": 0.25}, 0.25),
        ({"clock_offset_s": 4.0}, 0.0),
        ({"control_clock": (4.0, 0.5)}, 0.5),
        ({}, inf),
    ],
)
def test_the_clocks_are_known_as_well_as_was_measured(known: dict[str, object], margin_s: float) -> None:
    assert clock_margin_s(replace(facts_with(), **known)) == margin_s  # type: ignore[arg-type]


def test_no_end_was_late_where_none_says_so() -> None:
    assert late_ends(*ends(PASSING), facts_with(), {}) == ()


def test_each_is_told_by_the_client_s_clock() -> None:
    client, server = ends(PASSING)
    client, server = replace(client, late=(Lateness(1, 2),)), replace(server, late=(Lateness(101, 102),), ahead_s=100.0)
    facts = replace(facts_with(), control_clock=(100.0, 0.01))
    at_client, at_server = late_ends(client, server, facts, {})
    assert (at_client.end, list(at_client.times), at_client.margin_s) == ("client", [Lateness(1, 2)], 0.0)
    assert (at_server.end, list(at_server.times), at_server.margin_s) == ("server", [Lateness(1, 2)], 0.01)
    assert at_client.before_s == BEFORE_S, "nothing came: how long it takes is not known"


def test_the_way_that_takes_longer_counts() -> None:
    client, server = ends(PASSING + trip(checks.GRE_BARE, S2C, keys(4, start=9), keys(4, start=9), at=1.0))
    counts = Judge(client, server, facts_with(), times=False).packet_counts
    [end] = late_ends(replace(client, late=(Lateness(1, 2),)), server, facts_with(), counts)
    assert READING_S <= end.before_s < BEFORE_S
