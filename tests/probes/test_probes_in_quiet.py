"""What our own packets starve behind a limit on rate is asked once more by itself, and not said to be blocked; in the simulated network."""

from types import SimpleNamespace

import pytest

from vpnprobe.agents import client, simulation
from vpnprobe.observations.schema import Cause, Observation, Outcome, Transport
from vpnprobe.probes import in_quiet
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.topology import Filter, Link, Topology

UDP = 17
VPN_PORTS = (53, 80, 443, 500, 1194, 1701, 4500, 8443, 51194, 51820)
DPI = Filter(at="r2", protocol=UDP, direction="c2s", payload_offset=0, payload=b"\x38", payload_mask=b"\xf8")
SETTINGS = Settings((1194, 443), control_port=7117)


def rows(*planted: Filter, seed: int, loss: float = 0.0) -> list[Observation]:
    links = tuple(Link(delay_s=0.005, loss=loss if number == 1 else 0.0) for number in range(4))
    found, _ = simulation.measure_simulated(Topology(filters=planted, links=links), seed=seed, settings=SETTINGS, tell=lambda _: None)
    return [row for row in found.observations if row.transport is Transport.UDP and row.probe != "path"]


@pytest.mark.parametrize(("packets_per_s", "burst", "seed"), [(20, 60, 1), (20, 60, 2), (12, 20, 3)])
def test_nothing_is_blocked_behind_a_limit_that_our_own_packets_fill(packets_per_s: float, burst: int, seed: int) -> None:
    limit = Filter(at="r2", protocol=UDP, ports=VPN_PORTS, direction="c2s", packets_per_s=packets_per_s, burst_packets=burst)
    found = rows(limit, seed=seed)
    assert [row.id for row in found if row.outcome is Outcome.BLOCKED] == []
    assert any(row.cause is Cause.RATE for row in found)


def test_what_is_filtered_beside_a_limit_is_blocked_all_the_same() -> None:
    limit = Filter(at="r2", protocol=UDP, ports=(500, 1701, 4500, 51820), direction="c2s", packets_per_s=20, burst_packets=20)
    found = {row.id: row for row in rows(limit, DPI, seed=1)}
    assert any(row.cause is Cause.LOSS for row in found.values())
    reset = found["openvpn-reset-udp-1194-both"]
    assert (reset.outcome, reset.cause) == (Outcome.BLOCKED, Cause.PAYLOAD)


def test_a_path_that_loses_of_everything_is_asked_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    async def sleeps(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(in_quiet, "asyncio", SimpleNamespace(sleep=sleeps))
    found = {row.id: row for row in rows(DPI, seed=1, loss=0.1)}
    assert found["openvpn-reset-udp-1194-both"].outcome is Outcome.BLOCKED
    assert asked == []


def test_a_socket_that_is_not_to_be_had_by_then_costs_no_run_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    async def quiet(context: ProbeContext) -> None:
        async def fails() -> None:
            asked.append(True)
            raise OSError("too many open files")

        context.repeats = dict.fromkeys(context.repeats, fails)
        await in_quiet.ask_in_quiet(context)

    asked: list[bool] = []
    monkeypatch.setattr(client, "ask_in_quiet", quiet)
    limit = Filter(at="r2", protocol=UDP, ports=(500, 1701, 4500, 51820), direction="c2s", packets_per_s=20, burst_packets=20)
    found = {row.id: row for row in rows(limit, DPI, seed=1)}
    assert asked
    assert found["openvpn-reset-udp-1194-both"].outcome is Outcome.BLOCKED
