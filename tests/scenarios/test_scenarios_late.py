"""Ends whose program does not run for a while: nothing is blocked by that, and what is blocked is still found."""

from functools import partial

import pytest

from vpnprobe.agents.client import Measured
from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.observations.schema import Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.simulated.host import Host
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Topology
from vpnprobe.wire.ip import IPv4Packet

PORTS = (1194, 443, 51820)


class Stalls:
    """One end gets between two moments what came for it only at the second one, and knows that it was late."""

    def __init__(self, topology: Topology, at: str, from_s: float, to_s: float) -> None:
        self._address = topology.client_address if at == CLIENT else topology.server_address
        self._from_s, self._to_s = from_s, to_s
        self._held: list[IPv4Packet] = []
        self._deliver = Host._deliver

    def deliver(self, host: Host, packet: IPv4Packet) -> None:
        now = host.events.elapsed()
        if host.address != self._address or not self._from_s <= now < self._to_s:
            self._deliver(host, packet)
            return
        if not self._held:
            host.events.after(self._to_s - now, partial(self._goes_on, host))
        self._held.append(packet)

    def _goes_on(self, host: Host) -> None:
        for packet in self._held:
            self._deliver(host, packet)
        for watcher in list(host.late_watchers):
            watcher(self._from_s, self._to_s)


def played(monkeypatch: pytest.MonkeyPatch, topology: Topology, at: str, from_s: float, to_s: float) -> Measured:
    stalls = Stalls(topology, at, from_s, to_s)
    monkeypatch.setattr(Host, "_deliver", lambda host, packet: stalls.deliver(host, packet))
    found, _ = measure_simulated(topology, seed=1, settings=Settings(PORTS, control_port=CONTROL_PORT), tell=lambda _: None)
    assert found.complete, found.problem
    return found


@pytest.mark.parametrize("from_s", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("at", [SERVER, CLIENT])
def test_nothing_is_blocked_by_it(monkeypatch: pytest.MonkeyPatch, at: str, from_s: float) -> None:
    found = played(monkeypatch, Topology(), at, from_s, from_s + 1.9)
    assert [row.id for row in found.observations if row.outcome is Outcome.BLOCKED] == []
    decision = decide(found.observations, rules=load_default(), ports=PORTS, control_port=CONTROL_PORT)
    assert {verdict.feasibility.value for verdict in decision.verdicts} == {"feasible"}


def test_what_is_blocked_is_found_all_the_same_and_the_lateness_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = played(monkeypatch, Topology(filters=(Filter(at="r2", protocol=47),)), SERVER, 0.1, 2.0)
    assert {row.transport.value for row in found.observations if row.outcome is Outcome.BLOCKED} == {"gre"}
    (told,) = (row for row in found.observations if row.check == "late")
    assert (told.detail["end"], told.detail["late_s"]) == ("server", 1.9)
