"""An end's own firewall in whole runs: at either end, dropping or refusing, it is told as that host's and never judged as the path."""

from functools import cache

import pytest

from vpnprobe.agents.client import Measured
from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.observations.schema import Cause, Direction, Feasibility, Observation, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.rules.decision import Decision
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.topology import CLIENT, SERVER, Action, Filter, Hook, Topology

PORTS = (1194,)
PROBES = frozenset({"tcp", "udp", "ike", "l2tp", "openvpn", "pptp", "gre", "esp"})
UDP_VPNS = {"l2tp", "l2tp-ipsec", "openvpn-udp"}


@cache
def measured(*filters: Filter, without_privilege: str = "") -> tuple[Measured, Decision]:
    lacking = {without_privilege: frozenset[Capability]()} if without_privilege else None
    settings = Settings(PORTS, PROBES)
    found, _ = measure_simulated(Topology(filters=filters), seed=1, settings=settings, capabilities=lacking, tell=lambda _: None)
    return found, decide(found.observations, rules=load_default(), ports=PORTS, control_port=CONTROL_PORT)


def kept(found: Measured) -> list[Observation]:
    return [row for row in found.observations if row.cause is Cause.HOST_FIREWALL]


def verdicts(decision: Decision) -> dict[str, tuple[Feasibility, str]]:
    return {one.protocol: (one.feasibility, " ".join(reason.text for reason in one.because)) for one in decision.verdicts}


def test_what_the_clients_own_firewall_keeps_is_not_the_servers_silence() -> None:
    found, decision = measured(Filter(at=CLIENT, hook=Hook.INPUT, protocol=17))
    rows = kept(found)
    assert {row.detail["host"] for row in rows} == {"client"}
    assert {row.outcome for row in rows} == {Outcome.NO_ANSWER}
    assert {(row.probe, row.check) for row in rows} >= {("udp", "reach"), ("ike", "ikev1-main"), ("l2tp", "control"), ("openvpn", "reset")}
    for protocol in UDP_VPNS:
        feasibility, because = verdicts(decision)[protocol]
        assert feasibility is Feasibility.UNKNOWN
        assert "the client, whose own firewall" in because


@pytest.mark.parametrize("end", [CLIENT, SERVER])
def test_gre_that_an_end_keeps_is_no_filter_on_the_path(end: str) -> None:
    found, decision = measured(Filter(at=end, hook=Hook.INPUT, protocol=47))
    way = Direction.S2C if end == CLIENT else Direction.C2S
    forms = {row.detail.get("form") for row in kept(found) if row.check == "passthrough" and row.direction is way}
    assert forms == {"bare", "in-call"}
    assert not [row for row in found.observations if row.outcome is Outcome.BLOCKED]
    feasibility, because = verdicts(decision)["pptp"]
    assert feasibility is Feasibility.UNKNOWN
    assert f"the {end}, whose own firewall" in because


@pytest.mark.parametrize("action", [Action.DROP, Action.REJECT_ADMIN, Action.REJECT_PORT])
def test_the_servers_own_firewall_is_unknown_whether_it_drops_or_refuses(action: Action) -> None:
    found, decision = measured(Filter(at=SERVER, hook=Hook.INPUT, protocol=17, action=action))
    assert {row.detail["host"] for row in kept(found)} == {"server"}
    for protocol in UDP_VPNS:
        feasibility, because = verdicts(decision)[protocol]
        assert feasibility is Feasibility.UNKNOWN
        assert "own firewall" in because
        assert "silence alone" not in because
        assert "filtered" not in because
    assert not [row for row in found.observations if row.cause is Cause.PAYLOAD or row.location is not None]


@pytest.mark.parametrize(
    ("end", "reason"), [(CLIENT, "the client's own firewall"), (SERVER, "in the server's name: by its own firewall, or")]
)
def test_an_end_that_may_not_see_its_wire_is_told_by_its_refusals(end: str, reason: str) -> None:
    found, decision = measured(Filter(at=end, hook=Hook.INPUT, protocol=17, action=Action.REJECT_PORT), without_privilege=end)
    assert {row.detail["host"] for row in kept(found)} == {end}
    assert not [row for row in found.observations if row.location is not None or row.outcome is Outcome.BLOCKED]
    for protocol in ("l2tp", "openvpn-udp"):
        feasibility, because = verdicts(decision)[protocol]
        assert feasibility is Feasibility.UNKNOWN
        assert reason in because


REJECTS = [Action.DROP, Action.REJECT_RST, Action.REJECT_PORT]


@pytest.mark.parametrize("action", REJECTS)
@pytest.mark.parametrize(("end", "hook"), [(SERVER, Hook.INPUT), (CLIENT, Hook.INPUT), (CLIENT, Hook.OUTPUT)])
def test_connections_that_an_end_keeps_are_no_filter_on_the_path(end: str, hook: Hook, action: Action) -> None:
    found, decision = measured(Filter(at=end, hook=hook, protocol=6, ports=(1194,), action=action))
    (row,) = kept(found)
    assert (row.id, row.outcome, row.detail["host"]) == ("tcp-reach-tcp-1194-both", Outcome.NO_ANSWER, end)
    assert not [other for other in found.observations if other.location is not None]
    feasibility, because = verdicts(decision)["openvpn-tcp"]
    assert feasibility is Feasibility.UNKNOWN
    assert "filtered" not in because
    assert "nothing listens" not in because
