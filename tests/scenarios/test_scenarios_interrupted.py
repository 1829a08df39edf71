"""A run that is interrupted at any moment: what was under way counts for nothing, so nothing is blocked on a clean path."""

import asyncio

import pytest

from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.observations.schema import Feasibility, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.topology import Link, Topology

PORTS = (1194, 443)
DELAYS = {0.0001: 0.55, 0.02: 2.1}
"""Of each link, and how long the whole run takes then, seconds."""
MOMENTS = 8


@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.parametrize("delay_s", DELAYS)
def test_nothing_is_blocked_by_an_interruption(delay_s: float, moment: int) -> None:
    topology = Topology(links=tuple(Link(delay_s=delay_s) for _ in range(4)))
    try:
        measured, _ = measure_simulated(
            topology,
            seed=moment,
            settings=Settings(PORTS, control_port=CONTROL_PORT),
            tell=lambda _: None,
            stop_after_s=DELAYS[delay_s] * (moment + 1) / MOMENTS,
        )
    except asyncio.CancelledError:
        return  # Before the two ends were paired: there is nothing to tell.
    assert measured.complete == (measured.problem == "")
    wrong = [row.id for row in measured.observations if row.outcome in (Outcome.BLOCKED, Outcome.DEGRADED)]
    assert wrong == []
    decision = decide(measured.observations, rules=load_default(), ports=PORTS, control_port=CONTROL_PORT)
    assert [one.protocol for one in decision.verdicts if one.feasibility is Feasibility.INFEASIBLE] == []
