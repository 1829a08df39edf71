"""How many sessions a port is tried with, and how long they are, in a simulated network."""

import pytest

from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.observations.schema import Cause, Observation, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.probes.tunnel_sessions import LONG_RUN
from vpnprobe.transports.topology import Filter, Topology


def rows(*filters: Filter, seed: int = 1, names: tuple[str, ...] = ("wireguard", "udp")) -> dict[str, Observation]:
    settings = Settings((1194, 443, 51820), frozenset(names), control_port=7117)
    found, _ = measure_simulated(Topology(routers=3, filters=filters), seed=seed, settings=settings, tell=lambda _: None)
    return {row.id: row for row in found.observations}


@pytest.mark.parametrize("seed", range(3))
def test_a_port_that_passes_in_the_place_of_the_first_has_had_its_long_run(seed: int) -> None:
    """On a lossy path, where a handshake that is not repeated often comes to nothing."""
    lossy = Filter("r2", protocol=17, probability=0.3)
    row = rows(lossy, Filter("r2", protocol=17, ports=(51820,)), seed=seed)["wireguard-data-udp-7117-c2s"]
    assert row.outcome in (Outcome.PASS, Outcome.DEGRADED)
    assert (row.sent or 0) >= LONG_RUN


@pytest.mark.parametrize("direction", ["c2s", "s2c"])
def test_data_that_is_dropped_is_shown_by_two_sessions(direction: str) -> None:
    data = Filter("r2", protocol=17, payload_offset=0, payload=b"\x04\x00\x00\x00", payload_mask=b"\xff" * 4, direction=direction)
    row = rows(data)[f"wireguard-data-udp-51820-{direction}"]
    assert (row.outcome, row.received, row.detail["sessions"]) == (Outcome.BLOCKED, 0, 2)
    assert row.error_bound is not None
    assert row.error_bound <= 1e-6


@pytest.mark.parametrize("after", [40, 83])
def test_a_flow_that_is_cut_is_cut_whichever_way_its_packets_go(after: int) -> None:
    """Packets of both directions are counted: of a long run those of the client come first."""
    found = rows(Filter("r2", protocol=17, ports=(51820,), after_packets=after, direction="s2c"))
    row = found["wireguard-data-udp-51820-s2c"]
    assert (row.outcome, row.cause) == (Outcome.BLOCKED, Cause.PACKETS)
    assert 0 < row.detail["cut_after"] < after
