"""A run that is interrupted at any moment: what was under way counts for nothing, so nothing is blocked on a clean path."""

import pytest

from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.observations.schema import Feasibility, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.topology import Link, Topology

PORTS = (1194, 443)
DELAYS = {0.0001: (0.02, 0.5), 0.02: (0.45, 2.0)}
"""Of each link; when the two ends are paired then, and a moment before the run is over, seconds."""
MOMENTS = 8


@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.parametrize("delay_s", DELAYS)
def test_nothing_is_blocked_by_an_interruption(delay_s: float, moment: int) -> None:
    paired_s, over_s = DELAYS[delay_s]
    measured, _ = measure_simulated(
        Topology(links=tuple(Link(delay_s=delay_s) for _ in range(4))),
        seed=moment,
        settings=Settings(PORTS, control_port=CONTROL_PORT),
        tell=lambda _: None,
        stop_after_s=paired_s + (over_s - paired_s) * moment / (MOMENTS - 1),
    )
    assert (measured.complete, measured.problem) == (False, "interrupted")
    wrong = [row.id for row in measured.observations if row.outcome in (Outcome.BLOCKED, Outcome.DEGRADED)]
    assert wrong == []
    decision = decide(measured.observations, rules=load_default(), ports=PORTS, control_port=CONTROL_PORT)
    assert [one.protocol for one in decision.verdicts if one.feasibility is Feasibility.INFEASIBLE] == []
