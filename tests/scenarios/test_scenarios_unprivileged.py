"""Runs without privilege: what can be measured is, what cannot is skipped with its reason, and nothing unmeasured counts as failed."""

from collections.abc import Iterable

import pytest

from vpnprobe.agents.client import Measured
from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.cli.options import CANDIDATE_PORTS
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Cause, Feasibility, Outcome
from vpnprobe.probes.context import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.topology import CLIENT, SERVER

ALL = frozenset(Capability)
NO_RAW = ALL - {Capability.RAW_IP, Capability.CAPTURE}


def run(scenario: str, *, lacking: Iterable[str]) -> Measured:
    capabilities = {end: NO_RAW if end in lacking else ALL for end in (CLIENT, SERVER)}
    topology = load(scenario).topology
    measured, _ = measure_simulated(topology, seed=1, settings=Settings(CANDIDATE_PORTS), tell=lambda _: None, capabilities=capabilities)
    return measured


def feasibility(measured: Measured) -> dict[str, Feasibility]:
    decision = decide(measured.observations, rules=load_default(), ports=CANDIDATE_PORTS)
    return {verdict.protocol: verdict.feasibility for verdict in decision.verdicts}


@pytest.mark.parametrize("lacking", [(CLIENT,), (SERVER,), (CLIENT, SERVER)])
@pytest.mark.parametrize("scenario", ["clean", "seed"])
def test_what_needs_no_privilege_is_still_measured(scenario: str, lacking: tuple[str, ...]) -> None:
    found = feasibility(run(scenario, lacking=lacking))
    assert {found[protocol] for protocol in ("l2tp", "openvpn-udp", "openvpn-tcp")} == {Feasibility.FEASIBLE}
    assert found["pptp"] is Feasibility.UNKNOWN


@pytest.mark.parametrize("lacking", [(CLIENT,), (SERVER,), (CLIENT, SERVER)])
def test_what_was_not_tried_says_why(lacking: tuple[str, ...]) -> None:
    measured = run("seed", lacking=lacking)
    raw = [o for o in measured.observations if o.transport in ("gre", "esp") and o.probe != "path"]
    assert {o.check for o in raw} >= {"passthrough"}
    # A host without a raw socket refuses the protocol: that proves that it came, and is no failure of the path.
    assert all(o.outcome in (Outcome.SKIPPED, Outcome.NO_ANSWER) or o.cause is Cause.NO_LISTENER for o in raw), raw
    assert all(o.detail.get("reason") for o in raw if o.outcome is Outcome.SKIPPED)
    assert any(o.outcome is Outcome.SKIPPED for o in raw)


@pytest.mark.parametrize(("end", "file"), [(CLIENT, "client.pcap"), (SERVER, "server.pcap")])
def test_an_end_that_may_not_capture_leaves_no_capture_and_says_so(end: str, file: str) -> None:
    measured = run("clean", lacking=(end,))
    assert set(measured.captures) == {"client.pcap", "server.pcap"} - {file}
    told = measured.client if end == CLIENT else measured.server
    assert told is not None
    assert str(told["capture"]).startswith("none: ")


def test_ports_that_may_not_be_opened_are_no_failure_of_the_path() -> None:
    topology = load("clean").topology
    capabilities = {CLIENT: ALL, SERVER: ALL - {Capability.LOW_PORTS, Capability.CAPTURE}}
    settings = Settings((80, 1194))
    measured, _ = measure_simulated(topology, seed=1, settings=settings, tell=lambda _: None, capabilities=capabilities)
    at_port_80 = [o for o in measured.observations if o.port == 80 and o.check == "reach"]
    assert at_port_80
    assert all(o.outcome is not Outcome.BLOCKED for o in at_port_80)
    decision = decide(measured.observations, rules=load_default(), ports=(80, 1194))
    assert {v.feasibility for v in decision.verdicts if v.protocol.startswith("openvpn")} == {Feasibility.FEASIBLE}
