"""Places by TTL-limited copies of the very kind that fails."""

from dataclasses import replace
from typing import Any

import pytest
from evidence_support import BOTH, C2S, CLEAR, S2C

from vpnprobe.evidence import checks
from vpnprobe.evidence.naming import form_detail, identifier
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.places import is_opened, located
from vpnprobe.evidence.records import PathFacts, RefusalKind, TtlTrace
from vpnprobe.observations.schema import Cause, Direction, Location, Observation, Outcome, Transport

BLOCKED, REFUSED, DEGRADED = Outcome.BLOCKED, Outcome.REFUSED, Outcome.DEGRADED
UDP_500, TCP_443 = checks.udp_reach(500), checks.tcp_reach(443)
R1, R2, R3, SERVER = "10.0.0.254", "10.0.1.254", "10.0.2.254", "10.0.3.2"
PATH = PathFacts(background=CLEAR, client_address="10.0.0.1", client_seen_as="10.0.0.1", server_address=SERVER)
PASSING = TtlTrace(UDP_500, C2S, {1: R1, 2: R2, 3: R3, 4: None}, reached=4, passes=True)
FAILING = TtlTrace(checks.GRE_BARE, C2S, {1: R1, 2: R2, 3: None}, silent=frozenset({3}))


def row(check: Check, way: Direction, outcome: Outcome, cause: Cause | None = None, **detail: Any) -> Observation:
    told = {**form_detail(check), **detail}
    return Observation(identifier(check, way), check.probe, check.name, way, check.transport, outcome, check.port, cause, detail=told)


LOST = row(checks.GRE_BARE, C2S, BLOCKED)


def place(failed: Observation, *traces: TtlTrace) -> Location | None:
    return located(failed, replace(PATH, traces=traces)).location


def test_the_last_router_that_it_reaches_and_the_next() -> None:
    assert place(LOST, PASSING, FAILING) == Location(2, R2, R3)


def test_silence_that_is_not_shown_to_be_one_is_no_place() -> None:
    """The copies for the third router got no answer, which by itself is none either."""
    assert place(LOST, PASSING, replace(FAILING, silent=frozenset())) == Location(2, R2, SERVER)


def test_what_reaches_the_last_router_is_lost_before_the_other_end() -> None:
    assert place(LOST, PASSING, replace(FAILING, hops={1: R1, 2: R2, 3: R3}, silent=frozenset())) == Location(3, R3, SERVER)


def test_routers_between_that_say_nothing_make_a_range() -> None:
    quiet = replace(PASSING, hops={1: R1, 2: None, 3: R3, 4: None})
    assert place(LOST, quiet, replace(FAILING, hops={1: R1, 3: None})) == Location(1, R1, R3)


def test_where_no_router_is_reached_it_is_the_sender() -> None:
    assert place(LOST, PASSING, TtlTrace(checks.GRE_BARE, C2S, {1: None}, silent=frozenset({1}))) == Location(0, None, R1)


def test_copies_that_told_nothing_are_no_place() -> None:
    assert place(LOST, PASSING, TtlTrace(checks.GRE_BARE, C2S, {1: None, 2: None})) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(FAILING, direction=S2C),
        replace(FAILING, reached=4),
        replace(FAILING, check=checks.GRE_IN_CALL),
        replace(FAILING, check=checks.ESP),
    ],
)
def test_the_trace_of_another_kind_or_direction_places_nothing(other: TtlTrace) -> None:
    assert place(LOST, PASSING, other) is None


@pytest.mark.parametrize(("check", "opened"), [(checks.ESP, True), (checks.GRE_BARE, True), (checks.udp_reach(500), False)])
def test_copies_of_what_the_servers_packets_opened_the_way_for_go_further(check: Check, opened: bool) -> None:
    """Those of what has no ports are of the flow that is open now; those over UDP have a port of their own."""
    failed = row(check, C2S, Outcome.BLOCKED, Cause.STATE, after_server={"sent": 6, "received": 6})
    assert is_opened(failed) is opened
    assert not is_opened(replace(failed, detail={name: one for name, one in failed.detail.items() if name != "after_server"}))


def test_wraps_are_kinds_of_their_own() -> None:
    plain, wrapped = (checks.openvpn_handshake(Transport.UDP, 443, wrap) for wrap in ("", "tls-crypt"))
    trace = TtlTrace(wrapped, C2S, {1: R1}, silent=frozenset({2}))
    assert place(row(wrapped, BOTH, BLOCKED, lost_direction="c2s"), PASSING, trace) == Location(1, R1, R2)
    assert place(row(plain, BOTH, BLOCKED, lost_direction="c2s"), PASSING, trace) is None


def test_what_counts_the_same_packets_is_at_the_same_place() -> None:
    in_call = replace(FAILING, check=checks.GRE_IN_CALL)
    assert place(row(checks.PPTP_LCP, C2S, BLOCKED), PASSING, in_call) == Location(2, R2, R3)


def test_what_fails_both_ways_is_placed_from_the_client() -> None:
    syns = TtlTrace(TCP_443, C2S, {1: R1}, silent=frozenset({2}))
    assert place(row(TCP_443, BOTH, BLOCKED), PASSING, syns) == Location(1, R1, R2)


def test_what_is_lost_on_the_way_back_is_placed_from_the_server() -> None:
    back = TtlTrace(TCP_443, S2C, {1: "10.0.3.1", 2: "10.0.2.1", 3: "10.0.1.1"})
    assert place(row(TCP_443, BOTH, BLOCKED, lost_direction="s2c"), back) == Location(3, "10.0.1.1", "10.0.0.1")


def test_large_packets_that_do_not_pass_are_lost_at_a_place() -> None:
    data = checks.openvpn_data(Transport.UDP, 443)
    trace = TtlTrace(data, C2S, {1: R1}, silent=frozenset({2}))
    assert place(row(data, C2S, DEGRADED, Cause.SIZE), PASSING, trace) == Location(1, R1, R2)
    assert place(row(data, C2S, DEGRADED, Cause.LOSS), PASSING, trace) is None


class TestRefusals:
    REFUSED = row(checks.GRE_BARE, C2S, REFUSED, refusal=RefusalKind.PROHIBITED.value, by=R2)

    def test_a_refusal_places_as_well_as_an_answer(self) -> None:
        assert place(self.REFUSED, PASSING, TtlTrace(checks.GRE_BARE, C2S, {1: R1, 2: None})) == Location(2, R2, R3)

    def test_before_the_other_end_the_last_router_refuses(self) -> None:
        refused = row(checks.GRE_BARE, C2S, REFUSED, refusal=RefusalKind.PROHIBITED.value, by=R3)
        assert place(refused, PASSING) == Location(3, R3, SERVER)
        assert place(refused, replace(PASSING, reached=None)) == Location(3, R3, None)

    def test_copies_that_are_refused_reach_the_router_that_refuses(self) -> None:
        own = TtlTrace(checks.GRE_BARE, C2S, {1: R1, 2: None}, refused={2: R2})
        assert place(LOST, PASSING, own) == Location(2, R2, R3)

    def test_a_router_that_answers_for_their_ttl_refuses_those_that_go_on(self) -> None:
        own = TtlTrace(checks.GRE_BARE, C2S, {1: R1, 2: R2, 3: None}, refused={3: R2})
        assert place(LOST, PASSING, own) == Location(2, R2, R3)

    def test_a_nat_that_answers_for_the_routers_behind_it_is_the_first_of_them(self) -> None:
        natted = replace(PASSING, hops={1: R2, 2: R2, 3: R2, 4: None})
        own = TtlTrace(checks.GRE_BARE, C2S, {1: None}, refused={1: R2})
        assert place(self.REFUSED, natted, own) == Location(1, R2, None)
        assert place(self.REFUSED, natted) == Location(1, R2, None)

    def test_what_refuses_by_the_other_ends_address_is_behind_all_other_routers(self) -> None:
        """They had no answers left for this kind; the router that forwards to the server has its address and refuses."""
        own = TtlTrace(checks.GRE_BARE, C2S, {1: None, 2: None, 3: None, 4: None}, refused={4: SERVER})
        assert place(LOST, PASSING, own) == Location(3, R3, None)

    def test_of_hops_that_show_the_other_ends_address_the_first_refuses(self) -> None:
        natted = replace(PASSING, hops={1: R1, 2: SERVER, 3: SERVER, 4: None}, reached=None)
        own = TtlTrace(checks.GRE_BARE, C2S, {1: None, 2: None, 3: None}, refused={3: SERVER})
        assert place(LOST, natted, own) == Location(2, SERVER, None)

    def test_the_addressed_host_is_no_place_of_the_path(self) -> None:
        refused = row(checks.GRE_BARE, C2S, REFUSED, Cause.NO_LISTENER, refusal="protocol-unreachable", by=SERVER)
        assert place(refused, PASSING, FAILING) is None
