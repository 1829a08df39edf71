"""The same loss is told alike of all protocols over datagrams, however few packets each of them sends."""

from dataclasses import replace

import pytest
from scenario_support import CONTROL_PORT, FEW_PORTS

from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Feasibility, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.topology import Link, Topology

OVER_DATAGRAMS = ("pptp", "l2tp", "l2tp-ipsec", "openvpn-udp", "wireguard")


@pytest.mark.parametrize(("share", "seed"), [(0.18, 1), (0.18, 2), (0.34, 1), (0.34, 2), (0.34, 28)])
def test_loss_is_told_alike_of_all_protocols(share: float, seed: int) -> None:
    topology = load("lossy").topology
    lossy = replace(topology, filters=tuple(replace(one, probability=share) for one in topology.filters))
    measured, _ = measure_simulated(lossy, seed=seed, settings=Settings(FEW_PORTS, control_port=CONTROL_PORT), tell=lambda _: None)
    decision = decide(measured.observations, rules=load_default(), ports=(*FEW_PORTS, CONTROL_PORT), control_port=CONTROL_PORT)
    found = {verdict.protocol: verdict.feasibility for verdict in decision.verdicts}
    assert {protocol: found[protocol] for protocol in OVER_DATAGRAMS} == dict.fromkeys(OVER_DATAGRAMS, Feasibility.DEGRADED)


@pytest.mark.parametrize("rate_bit_s", [300e3, 1.5e6, 2.5e6, 4e6, 8e6, 20e6])
@pytest.mark.parametrize("delay_s", [0.0002, 0.01])
def test_a_clean_line_of_any_rate_loses_nothing_of_what_a_run_sends(rate_bit_s: float, delay_s: float) -> None:
    links = (Link(delay_s), Link(delay_s), Link(delay_s, rate_bit_s=rate_bit_s), Link(delay_s))
    settings = Settings(FEW_PORTS, control_port=CONTROL_PORT)
    measured, _ = measure_simulated(Topology(links=links), seed=3, settings=settings, tell=lambda _: None)
    assert [row.id for row in measured.observations if row.outcome in (Outcome.BLOCKED, Outcome.DEGRADED)] == []
