"""What a result document falls short of an expectation."""

from typing import Any

import pytest

from vpnprobe.errors import UsageError
from vpnprobe.lab.expectation import Expectation, read_expectation, shortfalls
from vpnprobe.lab.tables import parse


def expectation(text: str) -> Expectation:
    return read_expectation(parse(text, "e.toml"))


def observation(**changes: Any) -> dict[str, Any]:
    row = {"id": "o1", "probe": "gre", "check": "passthrough", "direction": "c2s", "transport": "gre", "outcome": "blocked"}
    location = {"last_hop": 2, "last_address": "10.78.1.2"}
    told = {"port": None, "cause": "ip-protocol", "error_bound": 1e-7, "location": location, "detail": {"lost_direction": "s2c"}}
    return {**row, **told, **changes}


def result(*observations: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": {"duration_s": 2.5},
        "observations": list(observations),
        "verdicts": [{"protocol": "pptp", "feasibility": "infeasible"}, {"protocol": "openvpn-udp", "feasibility": "feasible"}],
        "recommendation": {"protocol": "openvpn-udp", "port": 1194, "settings": {"path_mtu": 1400}},
    }


WISH = "[[observations]]\nprobe = 'gre'\ncheck = 'passthrough'\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "status = 0",
        "verdicts = { pptp = 'infeasible', openvpn-udp = ['degraded', 'feasible'] }",
        "recommended = ['openvpn-udp', 'openvpn-tcp']\nport = [1194]",
        "settings = { path_mtu = [1400, 1400] }",
        "max_seconds = 3",
        f"{WISH}direction = 'c2s'\noutcome = 'blocked'\ncause = 'ip-protocol'\nlast_address = ['10.78.1.2']\nmax_error_bound = 1e-6",
        f"{WISH}any = true\noutcome = 'pass'",
        f"{WISH}direction = 'c2s'\nlost_direction = 's2c'",
    ],
)
def test_a_wish_that_is_met_says_nothing(text: str) -> None:
    assert shortfalls(result(observation(), observation(id="o2", outcome="pass", direction="s2c")), 0, expectation(text)) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("status = 3", "exit status: 0 instead of 3"),
        ("verdicts = { pptp = ['feasible', 'degraded'] }", "pptp: infeasible instead of feasible or degraded"),
        ("verdicts = { l2tp = 'feasible' }", "l2tp: without a verdict instead of feasible"),
        ("recommended = ['openvpn-tcp']", "recommended protocol: openvpn-udp instead of openvpn-tcp"),
        ("port = [443]", "recommended port: 1194 instead of 443"),
        ("settings = { path_mtu = [1401, 1500] }", "setting path_mtu: 1400 instead of 1401 to 1500"),
        ("settings = { mssfix = [1, 2] }", "setting mssfix: None instead of 1 to 2"),
        ("max_seconds = 2", "duration: 2.5 s, more than 2 s"),
        (f"{WISH}direction = 's2c'", "gre/passthrough/s2c: not observed"),
        (
            f"{WISH}outcome = 'pass'",
            "gre/passthrough: blocked, ip-protocol, last seen at 10.78.1.2, error bound 1e-07, lost s2c instead of pass",
        ),
        (f"{WISH}any = true\noutcome = 'pass'", "gre/passthrough: blocked"),
        (f"{WISH}cause = 'nat'", "instead of nat"),
        (f"{WISH}last_address = ['10.78.0.2', '10.78.9.9']", "instead of last seen at 10.78.0.2 or 10.78.9.9"),
        (f"{WISH}max_error_bound = 1e-9", "instead of error bound at most 1e-09"),
        (f"{WISH}lost_direction = 'c2s'", "lost s2c instead of lost c2s"),
    ],
)
def test_a_wish_that_is_not_met_is_one_line(text: str, line: str) -> None:
    found = shortfalls(result(observation()), 0, expectation(text))
    assert len(found) == 1
    assert line in found[0]


def test_all_fitting_observations_must_be_as_wished_unless_any_will_do() -> None:
    document = result(observation(), observation(id="o2", outcome="pass", cause=None, location=None))
    assert shortfalls(document, 0, expectation(f"{WISH}outcome = 'blocked'")) != []
    assert shortfalls(document, 0, expectation(f"{WISH}outcome = 'blocked'\nany = true")) == []


def test_outcome_and_cause_must_be_met_by_the_same_observation() -> None:
    document = result(observation(cause="nat"), observation(id="o2", outcome="pass", cause="ip-protocol"))
    assert shortfalls(document, 0, expectation(f"{WISH}any = true\noutcome = 'blocked'\ncause = 'ip-protocol'")) != []


def test_a_skipped_observation_meets_nothing() -> None:
    assert shortfalls(result(observation(outcome="skipped")), 0, expectation(f"{WISH}outcome = 'skipped'")) == [
        "gre/passthrough: not observed"
    ]


def test_one_that_names_the_cause_that_is_wished_does() -> None:
    wish = expectation(f"{WISH}outcome = 'skipped'\ncause = 'host-firewall'")
    assert shortfalls(result(observation(outcome="skipped", cause="host-firewall")), 0, wish) == []
    assert shortfalls(result(observation(outcome="skipped", cause="unknown")), 0, wish) == ["gre/passthrough: not observed"]
    assert shortfalls(result(observation(outcome="skipped")), 0, wish) == ["gre/passthrough: not observed"]


def test_without_a_bound_no_bound_is_met() -> None:
    assert shortfalls(result(observation(error_bound=None)), 0, expectation(f"{WISH}max_error_bound = 1")) != []


def test_a_document_without_a_recommendation_falls_short_of_one() -> None:
    document = {**result(), "recommendation": None}
    assert shortfalls(document, 0, expectation("recommended = ['openvpn-udp']")) == ["recommended protocol: None instead of openvpn-udp"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("verdict = {}", "verdict: unknown key; did you mean 'verdicts'?"),
        ("verdicts = { openvpn = 'feasible' }", "verdicts.openvpn: no protocol is called so, only pptp"),
        ("verdicts = { pptp = 'works' }", "verdicts.pptp: is 'works', must be one of feasible"),
        ("[[observations]]\nprobe = 'gre'", "observations[0].check: is missing"),
        (f"{WISH}outcome = 'passed'", "observations[0].outcome: is 'passed', must be one of pass"),
        (f"{WISH}cause = ['filter']", "observations[0].cause[0]: is 'filter', must be one of ip-protocol"),
    ],
)
def test_a_mistake_in_an_expectation_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        expectation(text)
    assert message in str(caught.value)
