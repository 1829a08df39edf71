"""WireGuard in paired runs: what passes, what a filter stops and where, and what is not tried."""

import pytest

from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.observations.schema import Cause, Feasibility, Observation, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.probes.tunnel_sessions import ECHOES, LONG_RUN
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.topology import Filter, Link, Topology

PORT = 51820
PROBES = frozenset({"wireguard", "udp"})
INITIATION, DATA = b"\x01\0\0\0", b"\x04\0\0\0"


def rows(
    topology: Topology | None = None, *, ports: tuple[int, ...] = (PORT,), named: tuple[int, ...] = (), paired: bool = True, seed: int = 1
) -> dict[str, Observation]:
    """Rows of WireGuard by their ids without that word."""
    settings = Settings(ports, PROBES, named_ports=named)
    found, _ = measure_simulated(topology or Topology(), seed=seed, settings=settings, tell=lambda _: None, paired=paired)
    assert found.complete, found.problem
    return {row.id.removeprefix("wireguard-"): row for row in found.observations if row.probe == "wireguard"}


def feasibility(found: dict[str, Observation]) -> Feasibility:
    decision = decide(list(found.values()), rules=load_default(), control_port=CONTROL_PORT)
    return next(verdict.feasibility for verdict in decision.verdicts if verdict.protocol == "wireguard")


def first_bytes(data: bytes, direction: str | None = None) -> Topology:
    """The second router drops UDP that begins so."""
    planted = Filter(at="r2", protocol=17, payload_offset=0, payload=data, payload_mask=b"\xff" * 4, direction=direction)
    return Topology(routers=3, filters=(planted,))


def test_a_tunnel_comes_up_and_carries_data_of_several_sizes() -> None:
    found = rows()
    assert {row.outcome for row in found.values()} == {Outcome.PASS}
    assert found.keys() == {f"handshake-udp-{PORT}-both", f"data-udp-{PORT}-c2s", f"data-udp-{PORT}-s2c"}
    there = found[f"data-udp-{PORT}-c2s"]
    assert there.sent == there.received == LONG_RUN + ECHOES
    assert there.detail["sessions"] == 1
    assert "1480" in there.detail["by_size"]
    assert feasibility(found) is Feasibility.FEASIBLE


def test_it_is_tried_on_ports_that_the_user_names() -> None:
    found = rows(ports=(1194, 443, PORT, 9999), named=(443, 9999))
    assert {row.port for row in found.values()} == {443, PORT, 9999}
    # Its own port is the one to be relied on.
    assert (found[f"data-udp-{PORT}-c2s"].sent, found["data-udp-443-c2s"].sent) == (LONG_RUN + ECHOES, 2 * ECHOES)


def test_a_filter_on_its_first_message_is_told_as_one_on_content() -> None:
    found = rows(first_bytes(INITIATION))
    row = found[f"handshake-udp-{PORT}-both"]
    assert (row.outcome, row.cause, row.detail["lost_direction"]) == (Outcome.BLOCKED, Cause.PAYLOAD, "c2s")
    assert row.location is not None
    assert row.location.last_address in ("10.78.0.2", "10.78.1.2")
    assert feasibility(found) is Feasibility.INFEASIBLE


@pytest.mark.parametrize("way", ["c2s", "s2c"])
def test_a_filter_on_data_one_way(way: str) -> None:
    found = rows(first_bytes(DATA, way))
    assert found[f"handshake-udp-{PORT}-both"].outcome is Outcome.PASS
    assert (found[f"data-udp-{PORT}-{way}"].outcome, found[f"data-udp-{PORT}-{way}"].cause) == (Outcome.BLOCKED, Cause.PAYLOAD)
    assert feasibility(found) is Feasibility.INFEASIBLE


@pytest.mark.parametrize("seed", range(1, 4))
def test_loss_is_no_filter(seed: int) -> None:
    found = rows(Topology(links=(Link(loss=0.04),) * 4), seed=seed)
    assert feasibility(found) in (Feasibility.FEASIBLE, Feasibility.DEGRADED)
    assert all(row.outcome is not Outcome.BLOCKED for row in found.values())


def test_without_an_agent_nothing_is_asked_and_that_is_said() -> None:
    found = rows(paired=False)
    assert {row.outcome for row in found.values()} == {Outcome.SKIPPED}
    assert all("no server agent" in row.detail["reason"] for row in found.values())
    assert feasibility(found) is Feasibility.UNKNOWN
