"""An experiment that did not take place never counts as passed: skipped, failed by itself, or not there at all."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from rules_rows import PORTS, clean, feasibility

from vpnprobe.observations.schema import Feasibility, Observation, Outcome
from vpnprobe.rules import decide, load_default

RESTS_ON = {
    "pptp": [{"pptp/control"}, {"gre/passthrough in-call", "pptp/lcp in-call"}],
    "l2tp": [{"l2tp/data"}, {"l2tp/control", "l2tp/data"}],
    "l2tp-ipsec": [{"ike/ikev1-main"}, {"esp/passthrough", "ike/esp-in-udp"}],
    "openvpn-udp": [{"openvpn/data"}, {"openvpn/handshake", "openvpn/data"}],
    "openvpn-tcp": [{"openvpn/data"}, {"openvpn/handshake", "openvpn/data"}],
    "wireguard": [{"wireguard/data"}, {"wireguard/handshake", "wireguard/data"}],
}
"""By protocol: what of it has to be shown to pass, each by itself. What is in one set shows the same."""
Untried = Callable[[Observation], list[Observation]]
WAYS: dict[str, Untried] = {
    "skipped": lambda row: [
        replace(row, outcome=Outcome.SKIPPED, sent=None, received=None, detail={**row.detail, "reason": "no raw sockets"})
    ],
    "error": lambda row: [replace(row, outcome=Outcome.ERROR, sent=None, received=None)],
    "not there": lambda row: [],
}
WORKS = (Feasibility.FEASIBLE, Feasibility.DEGRADED)


def named(row: Observation) -> str:
    return " ".join(filter(None, (f"{row.probe}/{row.check}", str(row.detail.get("form", "")))))


def judged(rows: list[Observation]) -> dict[str, Feasibility]:
    return feasibility(decide(rows, rules=load_default(), ports=PORTS))


CASES = [(protocol, some) for protocol, all_of_it in RESTS_ON.items() for some in all_of_it]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("direction", ["", "c2s", "s2c"])
@pytest.mark.parametrize(("protocol", "some"), CASES, ids=lambda value: value if isinstance(value, str) else "+".join(sorted(value)))
def test_a_protocol_does_not_work_by_what_was_not_tried(protocol: str, some: set[str], direction: str, how: str) -> None:
    """In both directions, or in one of them alone."""
    rows: list[Observation] = []
    for row in clean():
        hit = named(row) in some and (not direction or row.direction in (direction, "both"))
        rows += WAYS[how](row) if hit else [row]
    found = judged(rows)
    assert found[protocol] is Feasibility.UNKNOWN
    others = {name for name, found_of in found.items() if found_of in WORKS}
    assert others >= set(RESTS_ON) - {protocol, "openvpn-udp", "openvpn-tcp", "pptp", "l2tp-ipsec"}


@pytest.mark.parametrize("how", WAYS)
def test_nothing_that_was_not_tried_fails_a_protocol(how: str) -> None:
    """No measurement is no failure either."""
    rows = [other for row in clean() for other in WAYS[how](row)]
    assert set(judged(rows).values()) == {Feasibility.UNKNOWN}


UNMEASURED = (None, Outcome.SKIPPED, Outcome.ERROR, Outcome.NO_ANSWER)


@pytest.mark.parametrize("nat", ["shown", "absent", "not looked for"])
@pytest.mark.parametrize("esp", UNMEASURED)
@pytest.mark.parametrize("ways", [1, 2], ids=["one way", "both ways"])
def test_esp_that_was_not_measured_withholds_nothing_where_esp_in_udp_passes(nat: str, esp: Outcome | None, ways: int) -> None:
    everything = clean()
    rows = [row for row in everything if row.probe not in ("esp", "nat")]
    if nat != "not looked for":
        found = [row for row in everything if row.probe == "nat"]
        rows += [replace(row, outcome=Outcome.DEGRADED) for row in found] if nat == "shown" else found
    of_esp = [row for row in everything if row.probe == "esp"]
    rows += of_esp[ways:] + ([replace(row, outcome=esp) for row in of_esp[:ways]] if esp is not None else [])
    assert feasibility(decide(rows, rules=load_default()))["l2tp-ipsec"] is Feasibility.FEASIBLE
    without = [row for row in rows if row.check != "esp-in-udp"]
    assert feasibility(decide(without, rules=load_default()))["l2tp-ipsec"] is Feasibility.UNKNOWN
