"""The planted networks of the acceptance scenarios, as the observations that come out of them."""

from collections.abc import Mapping

import pytest
from rules_rows import PORTS, feasibility, path, row, said, verdict

from vpnprobe.observations.schema import Cause, Direction, Feasibility, Location, Outcome, Transport
from vpnprobe.rules import decide, load_default

BLOCKED, REFUSED, DEGRADED = Outcome.BLOCKED, Outcome.REFUSED, Outcome.DEGRADED
OK, BAD, LIMITED, OPEN = Feasibility.FEASIBLE, Feasibility.INFEASIBLE, Feasibility.DEGRADED, Feasibility.UNKNOWN
ALL = {"pptp": OK, "l2tp": OK, "l2tp-ipsec": OK, "openvpn-udp": OK, "openvpn-tcp": OK, "wireguard": OK}
UDP = {"udp": (BLOCKED, Cause.IP_PROTOCOL)}
LOST = (DEGRADED, Cause.LOSS)

Told = Mapping[str, tuple[Outcome, Cause | None]]
SCENARIOS: dict[str, tuple[Told, dict[str, Feasibility], str | None]] = {
    "clean": ({}, ALL, "openvpn-udp"),
    "gre-filtered": ({"gre": (BLOCKED, Cause.IP_PROTOCOL)}, ALL | {"pptp": BAD}, "openvpn-udp"),
    "gre-one-way": ({"gre s2c": (BLOCKED, Cause.IP_PROTOCOL)}, ALL | {"pptp": BAD}, "openvpn-udp"),
    "udp-blocked": (
        UDP | {"nat/mapping": (Outcome.SKIPPED, None)},
        ALL | {"l2tp": BAD, "l2tp-ipsec": BAD, "openvpn-udp": BAD, "wireguard": BAD},
        "openvpn-tcp",
    ),
    "pptp-refused": (
        {"tcp 1723": (REFUSED, Cause.PORT), "pptp/lcp": (Outcome.SKIPPED, None), "gre in-call": (Outcome.SKIPPED, None)},
        ALL | {"pptp": BAD},
        "openvpn-udp",
    ),
    "openvpn-dpi": ({"openvpn/reset udp": (BLOCKED, Cause.PAYLOAD)}, ALL | {"openvpn-udp": BAD}, "openvpn-tcp"),
    "nat-without-alg": ({"nat/mapping": (DEGRADED, None), "gre s2c in-call": (BLOCKED, Cause.NAT)}, ALL | {"pptp": BAD}, "openvpn-udp"),
    "lossy": (
        {"udp": LOST, "gre": LOST, "esp": LOST, "nat/mapping": (Outcome.PASS, None)},
        ALL | {"pptp": LIMITED, "l2tp": LIMITED, "l2tp-ipsec": LIMITED, "openvpn-udp": LIMITED, "wireguard": LIMITED},
        "openvpn-udp",
    ),
    "everything-blocked": (
        {name: (BLOCKED, Cause.UNKNOWN) for name in ("tcp", "udp", "gre", "esp")},
        dict.fromkeys(ALL, BAD),
        None,
    ),
    "nothing-measured": (
        {name: (Outcome.SKIPPED, None) for name in ("tcp", "udp", "gre", "esp")},
        dict.fromkeys(ALL, OPEN),
        None,
    ),
}


@pytest.mark.parametrize("ports", [(), PORTS], ids=["ports-of-the-rows", "ports-asked"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_comes_to_its_verdicts_and_recommendation(name: str, ports: tuple[int, ...]) -> None:
    outcomes, expected, recommended = SCENARIOS[name]
    decision = decide(path(outcomes), rules=load_default(), ports=ports)
    assert feasibility(decision) == expected
    assert (decision.recommendation.protocol if decision.recommendation else None) == recommended


def test_the_filter_of_the_seed_is_told_with_numbers_hops_and_bound() -> None:
    rows = [
        row(
            "gre/passthrough",
            Transport.GRE,
            BLOCKED,
            form="in-call",
            direction=Direction.C2S,
            cause=Cause.IP_PROTOCOL,
            sent=42,
            error_bound=1e-9,
            location=Location(2, "10.77.1.2", "10.77.2.2"),
        ),
        row("pptp/control", Transport.TCP, Outcome.PASS, port=1723),
    ]
    decision = decide(rows, rules=load_default())
    text = verdict(decision, "pptp").because[0].text
    assert (
        "client to server 0 of 42 packets arrived, lost between 10.77.1.2 (hop 2 from the client) and 10.77.2.2; error bound 1e-09" in text
    )
    assert "IP protocol 47 is filtered" in text
    assert verdict(decision, "pptp").because[0].observations == ("gre-passthrough-in-call-gre-c2s",)
    assert "sets up a call" in said(decision, "pptp")


def test_where_only_the_control_port_passes_the_advice_names_it() -> None:
    outcomes, _, _ = SCENARIOS["everything-blocked"]
    decision = decide(path(outcomes), rules=load_default(), ports=PORTS, control_port=7117)
    assert verdict(decision, "openvpn-tcp").because[-1].rule == "control-port"
    assert "tcp/7117" in decision.warnings[0]
    assert decide(path(outcomes), rules=load_default(), ports=PORTS).warnings == ()


def test_no_advice_about_the_control_port_where_something_works() -> None:
    outcomes, _, _ = SCENARIOS["udp-blocked"]
    decision = decide(path(outcomes), rules=load_default(), ports=PORTS, control_port=7117)
    assert not any("7117" in text for text in decision.warnings)
    assert decision.recommendation is not None
    assert decision.warnings == decision.recommendation.warnings


def test_opcode_inspection_points_to_tcp_and_to_a_wrap() -> None:
    outcomes, _, _ = SCENARIOS["openvpn-dpi"]
    assert "tls-crypt-v2" in said(decide(path(outcomes), rules=load_default()), "openvpn-udp")


def test_a_nat_without_helper_is_named() -> None:
    outcomes, _, _ = SCENARIOS["nat-without-alg"]
    assert "PPTP helper" in said(decide(path(outcomes), rules=load_default()), "pptp")


def test_loss_is_told_and_shared_by_all_that_works() -> None:
    outcomes, _, _ = SCENARIOS["lossy"]
    decision = decide(path(outcomes), rules=load_default())
    assert "works with loss (25 % of" in said(decision, "openvpn-udp")
    assert decision.recommendation is not None
    assert any("works with loss" in text for text in decision.recommendation.warnings)
