"""A NAT that changes source ports: which way a handshake is lost is told by what the wires show, and not told where they are not seen."""

import pytest

from vpnprobe.agents.client import Measured
from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.observations.schema import Observation, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Nat, Topology

TCP = 6
NEW_PORTS = Nat("r1", new_ports=True)
BLIND = frozenset(Capability) - {Capability.CAPTURE}


def measured(filters: tuple[Filter, ...], *, nat: Nat = NEW_PORTS, blind: tuple[str, ...] = ()) -> Measured:
    topology = Topology(nats=(nat,), filters=filters)
    lacking = dict.fromkeys(blind, BLIND)
    settings = Settings((1194, 443), frozenset({"tcp", "udp"}))
    found, _ = measure_simulated(topology, seed=1, settings=settings, tell=lambda _: None, capabilities=lacking or None)
    assert found.complete, found.problem
    return found


def reach(found: Measured, port: int) -> Observation:
    return next(o for o in found.observations if (o.probe, o.check, o.port) == ("tcp", "reach", port))


@pytest.mark.parametrize("nat", [NEW_PORTS, Nat("r1")])
@pytest.mark.parametrize("way", ["c2s", "s2c"])
def test_the_direction_is_the_one_that_is_filtered(way: str, nat: Nat) -> None:
    found = reach(measured((Filter("r2", protocol=TCP, direction=way, ports=(1723,)),), nat=nat), 1723)
    assert (found.outcome, found.detail["lost_direction"]) == (Outcome.BLOCKED, way)
    assert bool(found.detail["arrived_at_server"]) == (way == "s2c")


@pytest.mark.parametrize("blind", [(CLIENT,), (SERVER,), (CLIENT, SERVER)])
def test_it_is_not_told_where_an_end_does_not_see_its_wire(blind: tuple[str, ...]) -> None:
    found = reach(measured((Filter("r2", protocol=TCP, direction="s2c", ports=(1723,)),), blind=blind), 1723)
    # Nor whether the server's own firewall does it, where nobody sees the server's wire.
    assert found.outcome is (Outcome.NO_ANSWER if SERVER in blind else Outcome.BLOCKED)
    assert "lost_direction" not in found.detail


@pytest.mark.parametrize("blind", [(), (CLIENT,), (SERVER,), (CLIENT, SERVER)])
def test_what_passes_passes_whoever_sees_the_wire(blind: tuple[str, ...]) -> None:
    found = measured((), blind=blind)
    assert {reach(found, port).outcome for port in (1194, 443, 1723)} == {Outcome.PASS}
