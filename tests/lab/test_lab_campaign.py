"""Campaigns: draws, the truth about them, comparisons with it, tables, shrinking and the command."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vpnprobe.cli.lab import lab
from vpnprobe.errors import ExitStatus
from vpnprobe.lab.campaign import packet_kinds
from vpnprobe.lab.campaign.comparing import compare_rows
from vpnprobe.lab.campaign.comparing_verdicts import compare_verdicts
from vpnprobe.lab.campaign.crossing import obstacles, share_matched
from vpnprobe.lab.campaign.draw import FEATURES, draw
from vpnprobe.lab.campaign.findings import Comparison, Finding, Said, Wrong
from vpnprobe.lab.campaign.matrix import markdown
from vpnprobe.lab.campaign.packet_kinds import PacketKind, steps_of
from vpnprobe.lab.campaign.protocol_truth import truth_of_protocol
from vpnprobe.lab.campaign.running import Judged, campaign, judge_topology
from vpnprobe.lab.campaign.scenario_text import scenario_text
from vpnprobe.lab.campaign.shrink import shrunk, signature, smaller
from vpnprobe.lab.campaign.tally import Tally
from vpnprobe.lab.campaign.truth import Passing, Truth, truth_of
from vpnprobe.lab.scenario import read
from vpnprobe.observations.schema import (
    Cause,
    Direction,
    Feasibility,
    Limit,
    LimitKind,
    Location,
    Observation,
    Outcome,
    Reason,
    Recommendation,
    Transport,
    Unit,
    Verdict,
)
from vpnprobe.transports.topology import Action, BurstLoss, Filter, Hook, Link, Nat, StatefulFirewall, TakenPort, Topology, WayBack

C2S, S2C, BOTH = Direction.C2S, Direction.S2C, Direction.BOTH
PORTS = (1194, 443, 53, 80, 8443, 51194, 51820)
CONTROL = 7117
RESET_AT_R2 = Filter("r2", protocol=17, payload_offset=0, payload=b"\x38", payload_mask=b"\xf8")


def topology(*filters: Filter, **others: object) -> Topology:
    return replace(Topology(filters=filters), **others)  # type: ignore[arg-type]


def truth(network: Topology, probe: str, check: str, port: int | None = None, variant: str = "", way: Direction = BOTH) -> Truth:
    transport = Transport.TCP if probe in ("tcp", "pptp") else Transport.UDP
    return truth_of(network, steps_of(probe, check, transport, port, variant, way))


# Draws


def test_a_draw_follows_from_seed_and_number_alone() -> None:
    first = [draw(3, number) for number in range(50)]
    assert [draw(3, number) for number in reversed(range(50))] == first[::-1]
    assert first != [draw(4, number) for number in range(50)]


def test_draws_have_every_feature_and_are_scenarios_that_read_back() -> None:
    drawn = [draw(1, number) for number in range(150)]
    assert {feature for one in drawn for feature in one.features} == set(FEATURES)
    for one in drawn:
        text = scenario_text(one.topology, one.description, seed=one.seed, comments=["wrong-cause: said\nso"])
        assert text.startswith(f"# --seed {one.seed}\n")
        assert text.endswith("\n# wrong-cause: said so\n")
        assert read(text, name="x", source="x").topology == one.topology


# The truth about a check


@pytest.mark.parametrize(
    ("planted", "kind", "share"),
    [
        (Filter("r1", protocol=47), PacketKind(50), 0),
        (Filter("r1", except_protocols=(47,)), PacketKind(47), 0),
        (Filter("r1", ports=(53,)), PacketKind(47), 0),
        (Filter("r1", ports=(53,)), PacketKind(17, 53), 1),
        (Filter("r1", except_ports=(53,)), PacketKind(17, 53), 0),
        (Filter("r1", except_ports=(53,)), PacketKind(47), 1),
        (Filter("r1", payload_offset=0, payload=b"\x38"), PacketKind(47), 0),
        (Filter("r1", payload_offset=0, payload=b"\x38"), PacketKind(17, 53, {0: 0x38}, 60, 60), 1),
        (Filter("r1", payload_offset=0, payload=b"\x38"), PacketKind(17, 53, {0: 0x20}, 60, 60), 0),
        (Filter("r1", payload_offset=0, payload=b"\x38", payload_mask=b"\xf8"), PacketKind(17, 53, {}, 60, 60), 1 / 32),
        (Filter("r1", payload_offset=40, payload=b"\x38"), PacketKind(17, 53, {}, 60, 60), 0),
    ],
)
def test_the_share_of_a_kind_that_a_filter_fits(planted: Filter, kind: PacketKind, share: float) -> None:
    assert share_matched(planted, kind) == share


@pytest.mark.parametrize(
    ("planted", "causes"),
    [
        (Filter("r2", protocol=17), {Cause.IP_PROTOCOL}),
        (Filter("r2", ports=(1194,)), {Cause.PORT}),
        (Filter("r2", except_ports=(CONTROL,)), {Cause.PORT}),
        (RESET_AT_R2, {Cause.PAYLOAD}),
        (Filter("r2", longer_than=20), {Cause.SIZE, Cause.IP_PROTOCOL}),
        (Filter("r2", longer_than=20, ports=(1194,)), {Cause.SIZE, Cause.PORT}),
        (Filter("client", hook=Hook.OUTPUT, protocol=17), {Cause.HOST_FIREWALL}),
    ],
)
def test_what_stops_a_check_has_a_cause_and_a_direction(planted: Filter, causes: set[Cause]) -> None:
    found = truth(topology(planted), "openvpn", "reset", 1194)
    assert found.passing is (Passing.HOST if Cause.HOST_FIREWALL in causes else Passing.NO)
    assert (found.causes, found.lost) == (causes, C2S)


def test_what_stops_the_answer_alone_is_lost_on_the_way_back() -> None:
    found = truth(topology(replace(RESET_AT_R2, payload=b"\x40")), "openvpn", "reset", 1194)
    assert (found.passing, found.lost) == (Passing.NO, S2C)


@pytest.mark.parametrize(
    ("planted", "passing", "clean"),
    [
        (Filter("r1", probability=0.3), Passing.YES, False),
        (Filter("r1", from_s=1, to_s=2), Passing.YES, False),
        (Filter("r1", protocol=17, packets_per_s=50), Passing.YES, False),
        (Filter("r1", longer_than=1300), Passing.YES, False),
        (Filter("r1", after_packets=50), Passing.CUT, False),
        (Filter("r1", protocol=6), Passing.YES, True),
    ],
)
def test_what_limits_a_check_does_not_stop_it(planted: Filter, passing: Passing, clean: bool) -> None:
    found = truth(topology(planted), "openvpn", "data", 1194, way=C2S)
    assert (found.passing, found.clean) == (passing, clean)


def test_loss_adds_up_over_filters_and_links() -> None:
    network = topology(Filter("r1", direction="c2s", probability=0.5), links=(Link(loss=0.5), Link(), Link(), Link()))
    assert truth(network, "udp", "reach", 53, way=C2S).loss == pytest.approx(0.75)
    assert truth(network, "udp", "reach", 53, way=S2C).loss == pytest.approx(0.5)
    assert truth(network, "tcp", "reach", 53).loss == 0


def test_random_bytes_that_are_repeated_make_a_stream_ambiguous() -> None:
    planted = Filter("r1", protocol=6, payload_offset=2, payload=b"\x38", payload_mask=b"\xf8")
    steps = steps_of("openvpn", "data", Transport.TCP, 443, "", C2S)
    assert truth_of(topology(planted), steps).passing is Passing.MAYBE


@pytest.mark.parametrize(("nat", "passing"), [(Nat("r1"), Passing.NO), (Nat("r1", pptp_helper=True), Passing.YES)])
def test_enhanced_gre_of_the_server_needs_a_nat_with_a_helper(nat: Nat, passing: Passing) -> None:
    found = truth(topology(nats=(nat,)), "gre", "passthrough", None, "in-call", S2C)
    assert found.passing is passing
    assert found.causes == (frozenset() if passing is Passing.YES else {Cause.NAT})


def test_a_stateful_firewall_lets_in_what_reached_it_before_something_else_took_it() -> None:
    """The flow is open at the firewall, though what opened it was lost behind it."""
    back, there = packet_kinds.gre_bare(S2C), packet_kinds.gre_bare(C2S)
    firewall = (StatefulFirewall("r2"),)
    behind = topology(Filter("r3", protocol=47, direction="c2s"), firewalls=firewall)
    before = topology(Filter("r1", protocol=47, direction="c2s"), firewalls=firewall)
    assert truth_of(behind, back, opened_by=there).passing is Passing.YES
    found = truth_of(before, back, opened_by=there)
    assert (found.passing, found.causes) == (Passing.NO, {Cause.STATE})


def test_the_mtu_of_a_link_limits_each_direction_where_it_is_met() -> None:
    network = topology(links=(Link(), Link(mtu=1300), Link(), Link()))
    data = steps_of("openvpn", "data", Transport.UDP, 53, "", C2S)[0].kind
    assert [(one.position, one.longer_than) for one in obstacles(network, data, C2S)] == [(1, 1300)]
    assert [(one.position, one.longer_than) for one in obstacles(network, data, S2C)] == [(2, 1300)]


def test_fragments_show_no_port_to_a_filter_that_lets_ports_through() -> None:
    """An end cuts what its own link does not carry: what is behind the first fragment has no ports, and is not let through."""
    network = topology(Filter("r2", except_ports=(443,)), links=(Link(), Link(), Link(), Link(mtu=1300)))
    data = steps_of("openvpn", "data", Transport.UDP, 443, "", S2C)[0].kind
    (lost,) = obstacles(network, data, S2C)
    assert (lost.position, lost.causes, lost.longer_than) == (2, {Cause.SIZE}, 1300)
    assert not lost.stops(data)
    assert obstacles(network, replace(data, largest=1300), S2C) == ()
    assert [one.position for one in obstacles(network, data, C2S)] == [3], "the link's own MTU"


@pytest.mark.parametrize(("after", "right"), [(50, False), (108, False), (141, True)])
def test_a_cut_behind_what_is_sure_to_be_sent_need_not_be_seen(after: int, right: bool) -> None:
    network = topology(Filter("r2", protocol=6, direction="c2s", ports=(1194, 443), after_packets=after))
    found = truth_of_protocol(network, "openvpn-tcp", (1194, 443), 7117)
    assert found is not None
    assert found.passing is Passing.CUT
    assert (Feasibility.FEASIBLE in found.right) is right
    assert Feasibility.DEGRADED in found.right


def test_what_a_link_before_it_does_not_carry_never_comes_to_a_filter_by_size() -> None:
    data = steps_of("openvpn", "data", Transport.UDP, 53, "", S2C)[0].kind
    behind = topology(Filter("r1", direction="s2c", longer_than=1370), links=(Link(), Link(), Link(mtu=1362), Link()))
    assert [one.position for one in obstacles(behind, data, S2C)] == [1], "the link alone"
    before = topology(Filter("r3", direction="s2c", longer_than=1350), links=(Link(), Link(), Link(mtu=1362), Link()))
    assert [(one.position, one.longer_than) for one in obstacles(before, data, S2C)] == [(1, 1350), (1, 1362)]


# The truth about a protocol


@pytest.mark.parametrize(
    ("network", "protocol", "right"),
    [
        (topology(), "wireguard", {Feasibility.FEASIBLE}),
        (topology(RESET_AT_R2), "openvpn-udp", {Feasibility.FEASIBLE}),  # in tls-crypt-v2
        (topology(Filter("r1", protocol=17)), "openvpn-udp", {Feasibility.INFEASIBLE}),
        (topology(Filter("r1", protocol=17, ports=(1701,))), "l2tp", {Feasibility.INFEASIBLE}),
        (topology(Filter("server", hook=Hook.INPUT, protocol=17)), "openvpn-udp", set()),
        (topology(Filter("r1", probability=0.3)), "openvpn-udp", {Feasibility.DEGRADED}),
        (topology(Filter("r1", probability=0.05)), "openvpn-udp", {Feasibility.DEGRADED, Feasibility.FEASIBLE}),
        (topology(Filter("r1", protocol=17, after_packets=50)), "openvpn-udp", {Feasibility.DEGRADED, Feasibility.INFEASIBLE}),
        (topology(nats=(Nat("r1"),)), "pptp", {Feasibility.INFEASIBLE}),
        (topology(Filter("r1", protocol=50), nats=(Nat("r1"),)), "l2tp-ipsec", {Feasibility.FEASIBLE}),
        (topology(Filter("r1", protocol=50)), "l2tp-ipsec", {Feasibility.DEGRADED, Feasibility.FEASIBLE}),
        (
            topology(Filter("r1", protocol=6, ports=PORTS, payload_offset=2, payload=b"\x38", payload_mask=b"\xf8")),
            "openvpn-tcp",
            {Feasibility.FEASIBLE, Feasibility.DEGRADED, Feasibility.INFEASIBLE},
        ),
    ],
)
def test_verdicts_that_are_right(network: Topology, protocol: str, right: set[Feasibility]) -> None:
    found = truth_of_protocol(network, protocol, PORTS, CONTROL)
    assert found is not None
    assert found.right == right


def test_a_protocol_that_is_not_known_has_no_truth() -> None:
    assert truth_of_protocol(topology(), "carrier-pigeon", PORTS, CONTROL) is None


# Rows beside the truth


def row(outcome: Outcome, cause: Cause | None = None, **others: object) -> Observation:
    plain = Observation("x", "openvpn", "reset", BOTH, Transport.UDP, outcome, 1194, cause, sent=10, received=0)
    return replace(plain, **others)  # type: ignore[arg-type]


def kinds(network: Topology, *rows: Observation) -> list[Wrong]:
    comparison = Comparison()
    compare_rows(comparison, network, rows)
    return [finding.wrong for finding in comparison.findings]


HERE = Location(2, "10.78.1.2", "10.78.2.2")
LOST = {"lost_direction": "c2s"}


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (row(Outcome.PASS), [Wrong.PASS]),
        (row(Outcome.DEGRADED, Cause.LOSS), [Wrong.PASS]),
        (row(Outcome.BLOCKED, Cause.PAYLOAD, detail=LOST, location=HERE), []),
        (row(Outcome.BLOCKED, Cause.UNKNOWN, detail=LOST, location=HERE), []),
        (row(Outcome.BLOCKED, Cause.PORT, detail=LOST, location=HERE), [Wrong.CAUSE]),
        (row(Outcome.BLOCKED, Cause.PAYLOAD, detail={"lost_direction": "s2c"}), [Wrong.DIRECTION]),
        (row(Outcome.BLOCKED, Cause.PAYLOAD, detail=LOST), [Wrong.NO_PLACE]),
        (row(Outcome.BLOCKED, Cause.PAYLOAD, detail=LOST, location=Location(3, "10.78.2.2")), [Wrong.PLACE]),
        (row(Outcome.BLOCKED, Cause.PAYLOAD, detail=LOST, location=Location(0, None, "10.78.0.2")), [Wrong.PLACE]),
        (row(Outcome.BLOCKED, Cause.PAYLOAD, detail=LOST, location=Location(2, "10.78.2.2")), [Wrong.PLACE]),
        (row(Outcome.BLOCKED, Cause.PAYLOAD, detail=LOST, location=Location(1, "10.78.0.2", "10.78.1.2")), []),
        (row(Outcome.NO_ANSWER), []),
        (row(Outcome.NO_ANSWER, Cause.HOST_FIREWALL), [Wrong.CAUSE]),
        (row(Outcome.SKIPPED), []),
        (row(Outcome.ERROR, detail={"reason": "x"}), [Wrong.ERROR]),
    ],
)
def test_a_row_about_what_a_router_drops(said: Observation, wrong: list[Wrong]) -> None:
    assert kinds(replace(topology(RESET_AT_R2), icmp_errors_per_s=0.0), said) == wrong


@pytest.mark.parametrize("answers", [{"icmp_errors_per_s": 0.5}, {"icmp_errors_per_s": 1.0}, {"silent_routers": ("r1",)}])
def test_a_place_is_asked_for_only_where_routers_answer_often(answers: dict[str, Any]) -> None:
    assert kinds(replace(topology(RESET_AT_R2), **answers), row(Outcome.BLOCKED, Cause.PAYLOAD, detail=LOST)) == []


@pytest.mark.parametrize(
    ("network", "said", "wrong"),
    [
        (topology(), row(Outcome.BLOCKED, Cause.PORT), [Wrong.BLOCKED]),
        (topology(), row(Outcome.DEGRADED, Cause.LOSS), [Wrong.DEGRADED]),
        (topology(Filter("r1", protocol=17, flow_share=0.5)), row(Outcome.BLOCKED, Cause.PAYLOAD), [Wrong.BLOCKED]),
        (topology(Filter("r1", protocol=17, flow_share=0.5)), row(Outcome.DEGRADED, Cause.LOSS), []),
        (topology(links=(Link(burst_loss=BurstLoss(0.1, 0.9)), *[Link()] * 3)), row(Outcome.DEGRADED, Cause.LOSS), []),
        (topology(Filter("r1", probability=0.2)), row(Outcome.DEGRADED, Cause.LOSS), []),
        (topology(Filter("r1", probability=0.2)), row(Outcome.DEGRADED, Cause.SIZE), [Wrong.CAUSE]),
        (topology(Filter("client", hook=Hook.INPUT, protocol=17)), row(Outcome.NO_ANSWER, Cause.HOST_FIREWALL), []),
        (topology(Filter("client", hook=Hook.INPUT, protocol=17)), row(Outcome.BLOCKED, Cause.HOST_FIREWALL), [Wrong.BLOCKED]),
        (topology(Filter("client", hook=Hook.INPUT, protocol=17)), row(Outcome.REFUSED, Cause.HOST_FIREWALL), []),
    ],
)
def test_a_row_about_other_networks(network: Topology, said: Observation, wrong: list[Wrong]) -> None:
    assert kinds(network, said) == wrong


def test_a_place_is_right_where_silent_routers_leave_it_open() -> None:
    dropped = replace(RESET_AT_R2, at="r3", hook=Hook.PREROUTING)
    said = row(Outcome.BLOCKED, Cause.PAYLOAD, detail=LOST, location=Location(1, "10.78.0.2"))
    assert kinds(topology(dropped, silent_routers=("r2",)), said) == []
    assert kinds(topology(dropped), said) == [Wrong.PLACE]
    assert kinds(topology(dropped), replace(said, location=Location(3, "10.78.1.2"))) == [Wrong.PLACE]


def test_data_that_goes_on_beyond_a_cut_was_not_seen_to_pass() -> None:
    cut = topology(Filter("r1", protocol=17, after_packets=50))
    data = partial(row, check="data", direction=C2S, received=60)
    assert kinds(cut, data(Outcome.PASS, sent=60, detail={"sessions": 1})) == [Wrong.PASS]
    assert kinds(cut, data(Outcome.PASS, sent=60, detail={"sessions": 5})) == []
    assert kinds(cut, data(Outcome.BLOCKED, Cause.PACKETS, sent=60, detail={"sessions": 1})) == []
    assert kinds(cut, data(Outcome.BLOCKED, Cause.RATE, sent=60, detail={"sessions": 1})) == [Wrong.CAUSE]


def test_bounds_of_what_the_path_treats_alike_are_kept_claimed_or_not() -> None:
    comparison = Comparison()
    compare_rows(comparison, topology(), [row(Outcome.PASS), row(Outcome.NO_ANSWER, error_bound=0.01)])
    compare_rows(comparison, topology(RESET_AT_R2), [row(Outcome.BLOCKED, Cause.PAYLOAD, error_bound=1e-7)])
    assert comparison.bounds == [1.0, 0.01]


# Verdicts beside the truth


def verdict(protocol: str, feasibility: Feasibility, *limits: LimitKind) -> Verdict:
    told = tuple(Limit(kind, 50, Unit.PACKETS) for kind in limits)
    return Verdict(protocol, feasibility, (Reason("x", "x"),), 1194, limits=told)


def verdict_kinds(network: Topology, verdicts: Sequence[Verdict], recommended: Recommendation | None = None) -> list[Wrong]:
    comparison = Comparison()
    compare_verdicts(comparison, network, verdicts, recommended, candidates=PORTS, control_port=CONTROL)
    return [finding.wrong for finding in comparison.findings]


CUT = topology(Filter("r1", protocol=17, after_packets=50))


@pytest.mark.parametrize(
    ("network", "said", "wrong"),
    [
        (topology(), verdict("openvpn-udp", Feasibility.FEASIBLE), []),
        (topology(), verdict("openvpn-udp", Feasibility.INFEASIBLE), [Wrong.BLOCKED]),
        (topology(), verdict("openvpn-udp", Feasibility.DEGRADED), [Wrong.DEGRADED]),
        (topology(Filter("r1", protocol=17)), verdict("openvpn-udp", Feasibility.FEASIBLE), [Wrong.FEASIBLE]),
        (topology(Filter("server", hook=Hook.INPUT, protocol=17)), verdict("openvpn-udp", Feasibility.INFEASIBLE), [Wrong.BLOCKED]),
        (topology(Filter("server", hook=Hook.INPUT, protocol=17)), verdict("openvpn-udp", Feasibility.UNKNOWN), []),
        (CUT, verdict("openvpn-udp", Feasibility.DEGRADED), [Wrong.FEASIBLE]),
        (CUT, verdict("openvpn-udp", Feasibility.DEGRADED, LimitKind.PACKETS), []),
        (topology(), verdict("carrier-pigeon", Feasibility.INFEASIBLE), []),
    ],
)
def test_a_verdict(network: Topology, said: Verdict, wrong: list[Wrong]) -> None:
    assert verdict_kinds(network, [said]) == wrong


def test_unknown_where_the_truth_is_plain_is_counted_by_itself() -> None:
    comparison = Comparison()
    said = [verdict("openvpn-udp", Feasibility.UNKNOWN), verdict("l2tp", Feasibility.UNKNOWN)]
    compare_verdicts(comparison, CUT, said, None, candidates=PORTS, control_port=CONTROL)
    assert (comparison.findings, comparison.undecided) == ([], 0)
    compare_verdicts(comparison, topology(), said, None, candidates=PORTS, control_port=CONTROL)
    assert (comparison.findings, comparison.undecided) == ([], 2)


@pytest.mark.parametrize(
    ("network", "settings", "wrong"),
    [
        (topology(), {"wrap": "none"}, []),
        (CUT, {"wrap": "none"}, [Wrong.RECOMMENDATION]),
        (topology(Filter("r1", protocol=17)), {}, [Wrong.RECOMMENDATION]),
        (topology(Filter("r1", protocol=17, probability=0.4)), {}, [Wrong.RECOMMENDATION]),
        (topology(RESET_AT_R2), {"wrap": "tls-crypt-v2"}, []),
        (topology(RESET_AT_R2), {"wrap": "tls-crypt"}, [Wrong.SETTINGS]),
        (topology(Filter("r1", longer_than=1300)), {}, [Wrong.SETTINGS]),
        (topology(Filter("r1", longer_than=1300)), {"mssfix": 1272}, []),
        (topology(Filter("r1", longer_than=1300)), {"mssfix": 1372}, [Wrong.SETTINGS]),
        (topology(Filter("r1", longer_than=1300)), {"mssfix": 1172, "path_mtu": 1400}, [Wrong.SETTINGS]),
    ],
)
def test_a_recommendation(network: Topology, settings: dict[str, object], wrong: list[Wrong]) -> None:
    verdicts = [verdict(protocol, Feasibility.UNKNOWN) for protocol in ("openvpn-udp", "openvpn-tcp")]
    recommended = Recommendation("openvpn-udp", ("openvpn-udp",), ("x",), 1194, settings)
    assert verdict_kinds(network, verdicts, recommended) == wrong


def test_a_recommendation_is_held_against_the_port_on_which_it_begins() -> None:
    network = topology(Filter("r1", protocol=17, ports=(500,)))
    verdicts = [verdict("l2tp-ipsec", Feasibility.UNKNOWN)]
    recommended = Recommendation("l2tp-ipsec", ("l2tp-ipsec",), ("x",), 500, {"ike_port": 4500})
    assert verdict_kinds(network, verdicts, recommended) == []
    assert verdict_kinds(network, verdicts, replace(recommended, settings={})) == [Wrong.RECOMMENDATION]


def test_a_recommendation_is_held_against_what_its_settings_make_of_a_port() -> None:
    network = topology(Filter("r1", protocol=50))
    verdicts = [verdict("l2tp-ipsec", Feasibility.UNKNOWN)]
    forced = Recommendation("l2tp-ipsec", ("l2tp-ipsec",), ("x",), 500, {"force_udp_encapsulation": True})
    assert verdict_kinds(network, verdicts, forced) == []
    assert verdict_kinds(network, verdicts, replace(forced, settings={})) == [Wrong.SETTINGS]


def test_no_port_is_recommended_that_another_program_has() -> None:
    network = topology(taken_ports=(TakenPort("server", 17, 1194),))
    verdicts = [verdict("openvpn-udp", Feasibility.UNKNOWN)]
    recommended = Recommendation("openvpn-udp", ("openvpn-udp",), ("x",), 1194)
    assert verdict_kinds(network, verdicts, recommended) == [Wrong.RECOMMENDATION]
    assert verdict_kinds(network, verdicts, replace(recommended, port=443)) == []


# What comes of many


def test_a_tally_and_its_tables() -> None:
    tally = Tally()
    tally.add(
        Comparison([Said("verdict", "does not", "feasible")], [Finding(Wrong.FEASIBLE, "verdict x", "a", "b")], 2, [1.0, 1e-3]), ("nat",)
    )
    tally.add(Comparison([Said("verdict", "does not", "infeasible")], bounds=[1.0, 1.0]), ())
    assert (tally.draws, tally.wrong_draws, tally.undecided, tally.hypotheses) == (2, 1, 2, 4)
    assert [tally.reached[decade] for decade in (1, 2, 3, 4)] == [1, 1, 1, 0]
    page = markdown(tally, "vpnprobe lab campaign --runs 2", "1.0")
    assert "    vpnprobe lab campaign --runs 2\n" in page
    assert "| wrong-feasible       | 1     | 1        |" in page
    assert "| does not | 1        | 1          |" in page
    assert "| 1e-3        | 1            | 0.25  |" in page
    assert "| nothing | 1        |" in page


def test_the_number_of_processes_changes_nothing() -> None:
    alone, together = (list(campaign(11, range(2), processes=processes)) for processes in (1, 2))
    assert alone == together
    assert [one.draw.number for one in alone] == [0, 1]


def test_who_interrupts_waits_for_no_draw_under_way() -> None:
    judged = campaign(11, range(1000), processes=2)
    assert next(judged).draw.number == 0
    with pytest.raises(KeyboardInterrupt):
        judged.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    assert active_children() == []


def test_who_asks_for_no_more_waits_for_no_draw_either() -> None:
    judged = campaign(11, range(1000), processes=2)
    assert next(judged).draw.number == 0
    judged.close()  # type: ignore[attr-defined]
    assert active_children() == []


def test_a_run_that_cannot_pair_or_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judge_topology(topology(Filter("r1")), 1)
    assert [finding.wrong for finding in found.findings] == [Wrong.INCOMPLETE]

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr("vpnprobe.lab.campaign.running.measure_simulated", broken)
    found = judge_topology(topology(), 1)
    assert [(finding.wrong, finding.said) for finding in found.findings] == [(Wrong.ERROR, "RuntimeError: it broke")]


def wrong_where_gre_is_dropped(network: Topology) -> Comparison:
    """As if a run were wrong wherever something drops GRE."""
    drops = any(planted.protocol == 47 for planted in network.filters)
    return Comparison(findings=[Finding(Wrong.PASS, "row gre-passthrough-bare", "a", "b")] if drops else [])


def test_the_smallest_network_that_is_wrong_alike() -> None:
    planted = (Filter("r4", protocol=17), Filter("r5", Action.REJECT_ADMIN, protocol=47, direction="c2s"))
    links = tuple(Link(mtu=1400) for _ in range(7))
    network = topology(*planted, routers=6, links=links, nats=(Nat("r2", new_ports=True),), silent_routers=("r1",))
    found = shrunk(network, signature(wrong_where_gre_is_dropped(network)), wrong_where_gre_is_dropped, most_runs=1000)
    assert found == topology(Filter("r1", protocol=47), routers=1, links=(Link(), Link()), icmp_errors_per_s=0.0)


def test_shrinking_ends_when_the_runs_are_used_up() -> None:
    network = topology(Filter("r1", protocol=47), Filter("r1", protocol=17))
    assert shrunk(network, signature(wrong_where_gre_is_dropped(network)), wrong_where_gre_is_dropped, most_runs=0) == network


def test_a_way_back_goes_where_nothing_stands_on_it() -> None:
    network = topology(Filter("r1", protocol=47), routers=2, way_back=WayBack("r2", "r1"))
    assert replace(network, way_back=None) in list(smaller(network))
    on_it = replace(network, filters=(Filter("b1", protocol=47),))
    assert all(one.way_back is not None for one in smaller(on_it))


def test_every_smaller_network_is_one() -> None:
    for number in range(60):
        drawn = draw(2, number).topology
        for candidate in smaller(drawn):
            assert read(scenario_text(candidate, "x", seed=1), name="x", source="x").topology == candidate


def test_the_command_saves_what_is_wrong_and_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnprobe.lab.campaign.running.judge_topology", lambda network, seed: wrong_where_gre_is_dropped(network))
    number = next(n for n in range(200) if any(f.protocol == 47 for f in draw(1, n).topology.filters))
    folder, page = tmp_path / "wrong", tmp_path / "accuracy.md"
    page.write_text("old tables\n\n<!-- by hand -->\n\n## In dispute\n")
    arguments = ["campaign", "--runs", str(number + 1), "--seed", "1", "--shrink", "-o", str(folder), "--markdown", str(page)]
    done = CliRunner().invoke(lab, arguments)
    assert done.exit_code == 0, done.output
    assert sorted(file.name for file in folder.iterdir()) == [f"1-{number}-small.toml", f"1-{number}.toml"]
    text = (folder / f"1-{number}.toml").read_text()
    assert read(text, name="x", source="x").topology == draw(1, number).topology
    assert text.endswith("# wrong-pass: row gre-passthrough-bare: said a; truth: b\n")
    assert f"vpnprobe lab campaign --runs {number + 1} --seed 1 --markdown {page}" in page.read_text()
    assert page.read_text().endswith("\n\n<!-- by hand -->\n\n## In dispute\n")
    assert "old tables" not in page.read_text()
    assert f"{number + 1} of {number + 1} networks, 1 judged wrongly somewhere" in done.output


def test_an_interrupted_campaign_gives_the_tables_of_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seed: int, numbers: range, **_: object) -> Iterator[Judged]:
        for number in numbers:
            if number == 3:
                raise KeyboardInterrupt
            yield Judged(draw(seed, number), Comparison())

    monkeypatch.setattr("vpnprobe.lab.campaign.running.campaign", interrupted)
    done = CliRunner().invoke(lab, ["campaign", "--runs", "50", "--seed", "4", "-o", str(tmp_path)], standalone_mode=False)
    assert done.return_value == ExitStatus.INTERRUPTED
    assert "interrupted: 3 of 50 networks" in done.output
    assert "vpnprobe lab campaign --runs 3 --seed 4" in done.output
