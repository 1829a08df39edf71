"""Networks drawn by chance: what nobody filters is never called blocked, and a filter's kind alone is, whatever else goes wrong."""

import random

import pytest

from vpnprobe.agents.client import Measured
from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.observations.schema import Cause, Outcome, Transport
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Link, Topology

PROTOCOLS = {Transport.UDP: 17, Transport.GRE: 47, Transport.ESP: 50}


def measured(topology: Topology, seed: int, *, capabilities: dict[str, frozenset[Capability]] | None = None) -> Measured:
    found, _ = measure_simulated(topology, seed=seed, settings=Settings((1194,)), tell=lambda _: None, capabilities=capabilities)
    assert found.complete, found.problem
    return found


def blocked(found: Measured) -> set[Transport]:
    return {observation.transport for observation in found.observations if observation.outcome is Outcome.BLOCKED}


@pytest.mark.parametrize("seed", range(16))
def test_without_a_filter_nothing_is_blocked(seed: int) -> None:
    """Loss of up to a third each way, delays of a satellite link, and privileges that either end may lack."""
    chance = random.Random(seed)
    routers = chance.randint(1, 5)
    loss = chance.choice([0.0, 0.05, 0.2, 0.33])
    topology = Topology(
        routers=routers,
        filters=(Filter(at="r1", probability=loss),) if loss else (),
        links=tuple(Link(delay_s=chance.choice([0.0001, 0.005, 0.06])) for _ in range(routers + 1)),
    )
    lacking = {
        end: frozenset(capability for capability in Capability if chance.random() < 0.7)
        for end in (CLIENT, SERVER)
        if chance.random() < 0.4
    }
    assert blocked(measured(topology, seed, capabilities=lacking)) == set()


@pytest.mark.parametrize("loss", [0.0, 0.15])
@pytest.mark.parametrize("way", ["c2s", "s2c", None])
@pytest.mark.parametrize("kind", PROTOCOLS)
def test_a_filter_blocks_its_kind_alone(kind: Transport, way: str | None, loss: float) -> None:
    planted = Filter(at="r2", protocol=PROTOCOLS[kind], direction=way)
    chance = (Filter(at="r1", probability=loss),) if loss else ()
    assert blocked(measured(Topology(filters=(planted, *chance)), 3)) == {kind}


@pytest.mark.parametrize("seed", range(4))
def test_an_outage_of_a_moment_is_no_filter(seed: int) -> None:
    """Half of everything is lost: too much to be sure of anything, so nothing is."""
    assert blocked(measured(Topology(filters=(Filter(at="r2", protocol=17, probability=0.5),)), seed)) == set()


def test_what_is_lost_for_its_size_is_not_filtered_for_what_it_says() -> None:
    """1000 bytes pass and nobody says so: of OpenVPN's handshake large packets alone are lost."""
    topology = Topology(links=(Link(), Link(mtu=1000), Link(), Link()), black_holes=("r1", "r2", "r3"))
    rows = {row.id: row for row in measured(topology, 1).observations}
    over_udp = rows["openvpn-handshake-udp-1194-both"]
    assert (over_udp.outcome, over_udp.cause) == (Outcome.BLOCKED, Cause.SIZE)
    over_tcp = rows["openvpn-handshake-tcp-1194-both"]
    assert (over_tcp.outcome, over_tcp.cause) in {(Outcome.BLOCKED, Cause.SIZE), (Outcome.BLOCKED, Cause.UNKNOWN)}
    assert rows["l2tp-data-udp-1701-c2s"].cause is Cause.SIZE


def test_a_flow_that_ends_is_not_filtered_for_what_it_says() -> None:
    planted = Filter(at="r2", protocol=17, direction="s2c", ports=(1194,), after_packets=10)
    rows = {row.id: row for row in measured(Topology(filters=(planted,)), 1).observations}
    data = rows["openvpn-data-udp-1194-s2c"]
    assert (data.outcome, data.cause) == (Outcome.BLOCKED, Cause.UNKNOWN)
