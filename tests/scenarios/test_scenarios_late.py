"""Ends whose program does not run for a while: nothing is blocked by that, and what is blocked is still found."""

import pytest

from vpnprobe.agents.client import Measured
from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.observations.schema import Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Stall, Topology

PORTS = (1194, 443, 51820)


def played(at: str, from_s: float, to_s: float, *filters: Filter) -> Measured:
    topology = Topology(filters=filters, stalls=(Stall(at, from_s, to_s),))
    found, _ = measure_simulated(topology, seed=1, settings=Settings(PORTS, control_port=CONTROL_PORT), tell=lambda _: None)
    assert found.complete, found.problem
    return found


@pytest.mark.parametrize("from_s", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("at", [SERVER, CLIENT])
def test_nothing_is_blocked_by_it(at: str, from_s: float) -> None:
    found = played(at, from_s, from_s + 1.9)
    assert [row.id for row in found.observations if row.outcome is Outcome.BLOCKED] == []
    decision = decide(found.observations, rules=load_default(), ports=PORTS, control_port=CONTROL_PORT)
    assert {verdict.feasibility.value for verdict in decision.verdicts} == {"feasible"}


def test_what_is_blocked_is_found_all_the_same_and_the_lateness_told() -> None:
    found = played(SERVER, 0.1, 2.0, Filter(at="r2", protocol=47))
    assert {row.transport.value for row in found.observations if row.outcome is Outcome.BLOCKED} == {"gre"}
    (told,) = (row for row in found.observations if row.check == "late")
    assert told.detail["end"] == "server"
    assert 1.8 <= told.detail["late_s"] <= 2.0
