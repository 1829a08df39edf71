"""Limits on the rate of a tunnel's data, in the simulated network: told as such, with the rate; other loss is not."""

from typing import NoReturn

import pytest

from vpnprobe.agents import simulation
from vpnprobe.agents.client import Measured
from vpnprobe.observations.schema import Cause, Observation, Outcome
from vpnprobe.probes.openvpn_sessions import OpenvpnSessions
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.topology import Filter, Topology

UDP = 17


def measured(planted: Filter, *names: str) -> Measured:
    settings = Settings((1194,), names=frozenset(names))
    found, _ = simulation.measure_simulated(Topology(filters=(planted,)), seed=3, settings=settings, tell=lambda _: None)
    return found


def row(found: Measured, identifier: str) -> Observation:
    return next(row for row in found.observations if row.id == identifier)


def test_a_limit_on_the_rate_of_one_port_is_told_with_the_rate() -> None:
    planted = Filter(at="r2", protocol=UDP, ports=(1194,), direction="c2s", packets_per_s=120, burst_packets=10)
    found = measured(planted, "openvpn", "udp", "tcp")
    data = row(found, "openvpn-data-udp-1194-c2s")
    assert (data.outcome, data.cause) == (Outcome.DEGRADED, Cause.RATE)
    assert 108 <= data.detail["packets_per_s"] <= 180  # What is saved up between trains comes on top.
    assert data.error_bound is not None
    assert data.error_bound <= 0.01


def test_trains_that_this_end_has_no_socket_for_cost_no_run_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(self: OpenvpnSessions, _: object) -> NoReturn:
        asked.append(self.data.port)
        raise OSError("too many open files")

    asked: list[int | None] = []
    monkeypatch.setattr(OpenvpnSessions, "in_trains", fails)
    planted = Filter(at="r2", protocol=UDP, ports=(1194,), direction="c2s", packets_per_s=120, burst_packets=10)
    data = row(measured(planted, "openvpn", "udp", "tcp"), "openvpn-data-udp-1194-c2s")
    assert asked == [1194]
    assert (data.outcome, data.cause) == (Outcome.DEGRADED, Cause.LOSS)


def test_what_trains_lose_is_no_measure_of_anything_else() -> None:
    """Neither the counts of the row nor any other row know of them."""
    planted = Filter(at="r2", protocol=UDP, ports=(1194,), direction="c2s", packets_per_s=120, burst_packets=10)
    data = row(measured(planted, "openvpn", "udp", "tcp"), "openvpn-data-udp-1194-c2s")
    assert data.sent is not None
    assert data.sent < 300


@pytest.mark.parametrize("probability", [0.15, 0.3])
def test_loss_of_each_packet_by_itself_is_no_limit_on_rate(probability: float) -> None:
    planted = Filter(at="r2", protocol=UDP, probability=probability, direction="c2s")
    found = measured(planted, "openvpn", "udp", "tcp")
    assert row(found, "openvpn-data-udp-1194-c2s").cause is Cause.LOSS
    assert not [row for row in found.observations if row.cause is Cause.RATE]
