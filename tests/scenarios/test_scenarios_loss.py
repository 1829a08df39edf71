"""The same loss is told alike of all protocols over datagrams, however few packets each of them sends."""

from dataclasses import replace

import pytest
from scenario_support import CONTROL_PORT, FEW_PORTS

from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Feasibility
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default

OVER_DATAGRAMS = ("pptp", "l2tp", "l2tp-ipsec", "openvpn-udp", "wireguard")


@pytest.mark.parametrize(("share", "seed"), [(0.18, 1), (0.18, 2), (0.34, 1), (0.34, 2), (0.34, 28)])
def test_loss_is_told_alike_of_all_protocols(share: float, seed: int) -> None:
    topology = load("lossy").topology
    lossy = replace(topology, filters=tuple(replace(one, probability=share) for one in topology.filters))
    measured, _ = measure_simulated(lossy, seed=seed, settings=Settings(FEW_PORTS, control_port=CONTROL_PORT), tell=lambda _: None)
    decision = decide(measured.observations, rules=load_default(), ports=(*FEW_PORTS, CONTROL_PORT), control_port=CONTROL_PORT)
    found = {verdict.protocol: verdict.feasibility for verdict in decision.verdicts}
    assert {protocol: found[protocol] for protocol in OVER_DATAGRAMS} == dict.fromkeys(OVER_DATAGRAMS, Feasibility.DEGRADED)
