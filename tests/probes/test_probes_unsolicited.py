"""What the server sends unasked: kept out by a stateful firewall before the client, or let in; in the simulated network."""

import pytest

from vpnprobe.agents import simulation
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.observations.schema import Cause, Observation, Outcome
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.topology import Nat, Service, StatefulFirewall, Topology

SETTINGS = Settings((1194, 443), control_port=7117)
TCP, UDP = 6, 17
SERVERS = StatefulFirewall(at="r2", protects="server", allows=(Service(TCP), Service(UDP, (443, 1194, 4500))))
"""Nearer to the client than CLIENTS is, so that what it drops opens nothing there."""
CLIENTS = StatefulFirewall(at="r3")


def rows(topology: Topology) -> dict[str, Observation]:
    found, _ = simulation.measure_simulated(topology, seed=1, settings=SETTINGS, tell=lambda _: None)
    assert found.complete
    return {row.id: row for row in found.observations}


@pytest.mark.parametrize("row", ["udp-reach-udp-1701-s2c", "esp-passthrough-esp-s2c", "gre-passthrough-in-call-gre-s2c"])
def test_what_comes_unasked_is_kept_out_by_a_firewall_and_not_filtered(row: str) -> None:
    found = rows(Topology(firewalls=(SERVERS, CLIENTS)))[row]
    assert (found.outcome, found.cause) == (Outcome.BLOCKED, Cause.STATE)


def test_without_such_a_firewall_the_server_speaks_first_and_is_heard() -> None:
    found = rows(Topology(firewalls=(SERVERS,)))
    assert found["udp-reach-udp-1701-s2c"].outcome is Outcome.PASS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a server was asked for such packets, in one run after another."""
    counts: list[int] = []
    before = ProbeContext.trials_back

    async def counted(self: ProbeContext, job: str, *arguments: object, **options: object) -> None:
        if job == "udp-unsolicited":
            counts.append(1)
        await before(self, job, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ProbeContext, "trials_back", counted)
    return counts


def test_it_is_asked_where_it_may_be_why_alone(asked: list[int]) -> None:
    rows(Topology())
    assert asked == []
    rows(Topology(firewalls=(SERVERS, CLIENTS)))
    assert asked == [1]


def test_a_nat_is_not_asked(asked: list[int]) -> None:
    rows(Topology(firewalls=(SERVERS, CLIENTS), nats=(Nat(at="r1"),)))
    assert asked == []


@pytest.mark.parametrize(("status", "complete"), [(ExitStatus.MISSING, True), (ExitStatus.NO_PEER, False)])
def test_an_older_server_agent_does_not_know_of_it_and_a_lost_one_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, status: ExitStatus, complete: bool
) -> None:
    before = ProbeContext.trials_back

    async def refuses(self: ProbeContext, job: str, *arguments: object, **options: object) -> None:
        if job == "udp-unsolicited":
            raise CannotRun("the peer cannot send", status=status)
        await before(self, job, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ProbeContext, "trials_back", refuses)
    found, _ = simulation.measure_simulated(Topology(firewalls=(SERVERS, CLIENTS)), seed=1, settings=SETTINGS, tell=lambda _: None)
    assert found.complete is complete
    row = {row.id: row for row in found.observations}["udp-reach-udp-1701-s2c"]
    assert row.cause is not Cause.STATE
