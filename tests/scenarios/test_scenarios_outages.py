"""Networks that lose everything for a while, or whatever exceeds a rate: nothing of that is a filter, and what is recommended stays."""

import random

import pytest

from vpnprobe.agents.client import Measured
from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.observations.schema import Observation, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.rules.decision import Decision
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Hook, Link, Topology

PORTS = (1194, 443, 51820)
LASTING_S = (0.05, 0.12, 0.25, 0.6, 3.0)


def played(filters: tuple[Filter, ...], seed: int, *, delay_s: float = 0.002) -> tuple[Measured, Decision]:
    topology = Topology(filters=filters, links=tuple(Link(delay_s=delay_s) for _ in range(4)))
    found, _ = measure_simulated(topology, seed=seed, settings=Settings(PORTS, control_port=CONTROL_PORT), tell=lambda _: None)
    assert found.complete, found.problem
    return found, decide(found.observations, rules=load_default(), ports=PORTS, control_port=CONTROL_PORT)


def rows(found: Measured, *outcomes: Outcome) -> list[Observation]:
    return [row for row in found.observations if row.outcome in outcomes]


def outage(at: str, from_s: float, lasting_s: float) -> tuple[Filter, ...]:
    hooks = (Hook.INPUT, Hook.OUTPUT) if at in (CLIENT, SERVER) else (Hook.FORWARD,)
    return tuple(Filter(at=at, hook=hook, from_s=from_s, to_s=from_s + lasting_s) for hook in hooks)


@pytest.mark.parametrize("seed", range(10))
def test_an_outage_is_no_filter_and_changes_no_recommendation(seed: int) -> None:
    """Of the path, or of either end's own link, at any moment of the run."""
    chance = random.Random(seed)
    where = ("r2", CLIENT, SERVER)[seed % 3]
    found, decision = played(outage(where, chance.uniform(0.05, 0.7), LASTING_S[seed % len(LASTING_S)]), seed)
    assert rows(found, Outcome.BLOCKED) == []
    assert decision.recommendation is not None
    assert (decision.recommendation.protocol, decision.recommendation.port) == ("openvpn-udp", 1194)


def test_an_outage_is_told_with_its_time_and_counted_for_nothing() -> None:
    found, decision = played(outage("r2", 0.1, 0.5), 1)
    told = [row for row in found.observations if (row.probe, row.check) == ("path", "outage")]
    assert len(told) == 1
    assert 0.0 <= told[0].detail["from_s"] < told[0].detail["to_s"] <= 0.65
    assert [row.id for row in rows(found, Outcome.DEGRADED) if row.check != "outage"] == []
    assert any("The whole path was silent from" in warning for warning in decision.warnings)


@pytest.mark.parametrize(
    "policer",
    [
        Filter(at="r2", protocol=17, packets_per_s=60, burst_packets=20),
        Filter(at="r2", protocol=17, packets_per_s=300, burst_packets=30),
        Filter(at="r2", protocol=47, packets_per_s=5, burst_packets=3),
    ],
    ids=["60 UDP packets a second", "300 UDP packets a second", "5 GRE packets a second"],
)
def test_a_policer_is_no_filter(policer: Filter) -> None:
    found, _ = played((policer,), 1)
    assert rows(found, Outcome.BLOCKED) == []


def test_what_is_blocked_during_an_outage_too_is_still_found() -> None:
    found, decision = played((Filter(at="r2", protocol=47), *outage("r2", 0.3, 0.4)), 1)
    assert {row.transport.value for row in rows(found, Outcome.BLOCKED)} == {"gre"}
    assert all(row.error_bound is not None and row.error_bound <= 1e-6 for row in rows(found, Outcome.BLOCKED))
    assert {one.protocol: one.feasibility.value for one in decision.verdicts}["pptp"] == "infeasible"


def test_udp_that_loses_most_gives_way_to_tcp() -> None:
    _, decision = played((Filter(at="r2", protocol=17, probability=0.75),), 1)
    assert decision.recommendation is not None
    assert decision.recommendation.protocol == "openvpn-tcp"
