"""Campaigns: the truth about packets that are too large, over datagrams and in streams."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from vpnprobe.lab.campaign.comparing import compare_rows
from vpnprobe.lab.campaign.findings import Comparison, Wrong
from vpnprobe.lab.campaign.packet_kinds import steps_of
from vpnprobe.lab.campaign.protocol_truth import truth_of_protocol
from vpnprobe.lab.campaign.truth import Passing, Truth, truth_of
from vpnprobe.observations.schema import Cause, Direction, Feasibility, Observation, Outcome, Transport
from vpnprobe.transports.topology import Filter, Link, Topology

C2S, BOTH = Direction.C2S, Direction.BOTH
TOLD = Topology(links=(Link(), Link(mtu=1300), Link(), Link()))
UNTOLD = replace(TOLD, black_holes=("r1", "r2", "r3"))
FILTERED = Topology(filters=(Filter("r2", longer_than=1300),))
FEASIBLE, DEGRADED, INFEASIBLE = Feasibility.FEASIBLE, Feasibility.DEGRADED, Feasibility.INFEASIBLE


def data(network: Topology, transport: Transport) -> Truth:
    return truth_of(network, steps_of("openvpn", "data", transport, 443, "", C2S))


@pytest.mark.parametrize(
    ("network", "passing", "largest"),
    [
        (UNTOLD, Passing.MAYBE, 1300),
        (replace(TOLD, silent_routers=("r1", "r2")), Passing.MAYBE, 1300),
        # The server hears of it from r2, and says so as it takes a connection; or it has not heard of it.
        (replace(TOLD, silent_routers=("r1",)), Passing.MAYBE, 1492),
        (FILTERED, Passing.MAYBE, 1300),
        (TOLD, Passing.YES, 1492),
        # Both ends say what their own links carry as they connect.
        (replace(UNTOLD, links=(Link(), Link(), Link(), Link(mtu=1300))), Passing.YES, 1492),
        (replace(FILTERED, links=(Link(mtu=1300), Link(), Link(), Link())), Passing.YES, 1492),
        # A client that has heard of 1280 bytes sends no segments that the filter takes; it has heard of it or not.
        (replace(FILTERED, links=(Link(), Link(), Link(), Link(mtu=1280))), Passing.YES, 1492),
        (replace(FILTERED, links=(Link(), Link(), Link(mtu=1280), Link())), Passing.MAYBE, 1492),
    ],
)
def test_streams_stop_where_full_segments_vanish_untold(network: Topology, passing: Passing, largest: int) -> None:
    found = data(network, Transport.TCP)
    assert (found.passing, found.largest) == (passing, largest)


def test_short_messages_of_a_stream_are_never_too_large() -> None:
    assert truth_of(FILTERED, steps_of("pptp", "control", Transport.TCP, 1723, "", BOTH)).clean


@pytest.mark.parametrize(
    ("network", "protocol", "right"),
    [
        (FILTERED, "openvpn-tcp", {DEGRADED, INFEASIBLE}),
        (FILTERED, "openvpn-udp", {DEGRADED}),
        (FILTERED, "wireguard", {DEGRADED}),
        (FILTERED, "l2tp", {DEGRADED}),
        (FILTERED, "pptp", {DEGRADED}),
        (FILTERED, "l2tp-ipsec", {DEGRADED}),
        (Topology(filters=(Filter("r2", longer_than=1420),)), "openvpn-tcp", {FEASIBLE, DEGRADED, INFEASIBLE}),
        (Topology(filters=(Filter("r2", longer_than=1420),)), "openvpn-udp", {FEASIBLE, DEGRADED}),
        (TOLD, "openvpn-udp", {FEASIBLE, DEGRADED}),
        (Topology(filters=(Filter("r2", longer_than=1300, ports=(443,)),)), "openvpn-udp", {FEASIBLE}),
    ],
)
def test_what_does_not_carry_packets_that_are_always_tried_is_not_feasible(
    network: Topology, protocol: str, right: set[Feasibility]
) -> None:
    found = truth_of_protocol(network, protocol, (1194, 443), 7117)
    assert found is not None
    assert found.right == right


def wrong(network: Topology, rows: Sequence[Observation]) -> list[Wrong]:
    comparison = Comparison()
    compare_rows(comparison, network, rows)
    return [finding.wrong for finding in comparison.findings]


def test_data_of_a_stream_did_not_pass_where_its_largest_packets_vanish() -> None:
    passed = Observation("x", "openvpn", "data", C2S, Transport.TCP, Outcome.PASS, 443, sent=60, received=60)
    assert wrong(UNTOLD, [passed]) == [Wrong.PASS]
    assert wrong(Topology(filters=(Filter("r2", longer_than=1450),)), [passed]) == []
    assert wrong(UNTOLD, [replace(passed, outcome=Outcome.BLOCKED, cause=Cause.SIZE)]) == []
    assert wrong(UNTOLD, [replace(passed, outcome=Outcome.BLOCKED, cause=Cause.UNKNOWN)]) == []
    assert wrong(UNTOLD, [replace(passed, outcome=Outcome.BLOCKED, cause=Cause.PACKETS)]) == [Wrong.CAUSE]
