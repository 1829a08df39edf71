"""What the agent's own packets have opened is remembered for as long as firewalls remember it, and told to the next run."""

import asyncio

from agents_support import Agents, simulated

from vpnprobe.agents.client import Measured
from vpnprobe.agents.opened_flows import MOST, REMEMBERED_S, OpenedFlows
from vpnprobe.observations.schema import Cause, Observation, Outcome, Transport
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.topology import SERVER, Service, StatefulFirewall, Topology

ESP_ALONE = Settings((1194,), names=frozenset({"esp", "udp"}))
ESP = Transport.ESP
HERE, ELSEWHERE = Topology().client_address, Topology().server_address


def test_what_was_opened_is_told_with_its_age() -> None:
    flows = OpenedFlows()
    flows.passed(HERE, ESP, 10.0, opened=True)
    assert flows.towards(HERE, 12.5) == [(ESP, 2.5)]
    assert flows.towards(ELSEWHERE, 12.5) == []


def test_what_the_client_has_opened_is_not() -> None:
    flows = OpenedFlows()
    flows.passed(HERE, ESP, 10.0, opened=False)
    assert flows.towards(HERE, 10.0) == []


def test_each_packet_keeps_it_open() -> None:
    flows = OpenedFlows()
    flows.passed(HERE, ESP, 0.0, opened=True)
    flows.passed(HERE, ESP, REMEMBERED_S - 1, opened=False)
    assert flows.towards(HERE, REMEMBERED_S + 1) == [(ESP, 2.0)]


def test_after_a_while_it_is_forgotten() -> None:
    flows = OpenedFlows()
    flows.passed(HERE, ESP, 0.0, opened=True)
    flows.passed(HERE, ESP, REMEMBERED_S + 1, opened=False)
    assert flows.towards(HERE, REMEMBERED_S + 1) == []


def test_only_so_many_are_kept() -> None:
    flows = OpenedFlows()
    for number in range(MOST + 3):
        flows.passed(HERE + number, ESP, 0.0, opened=True)
    assert flows.towards(HERE, 0.0) == flows.towards(HERE + 2, 0.0) == []
    assert flows.towards(HERE + 3, 0.0) == [(ESP, 0.0)]


def found_in(measured: Measured, name: str) -> Observation:
    return next(o for o in measured.observations if o.id == name)


def test_a_second_run_does_not_take_what_the_first_one_opened_for_a_free_way() -> None:
    """A firewall before the server lets in what the server has asked for, and remembers it for ten minutes."""
    firewall = StatefulFirewall("r2", protects=SERVER, allows=(Service(6), Service(17)))

    async def story(both: Agents) -> tuple[Measured, Measured, Measured]:
        first, second = await both.run(ESP_ALONE).measure(), await both.run(ESP_ALONE).measure()
        await asyncio.sleep(REMEMBERED_S + 1)
        return first, second, await both.run(ESP_ALONE).measure()

    runs = [found_in(run, "esp-passthrough-esp-c2s") for run in simulated(story, Topology(firewalls=(firewall,)))]
    assert [(row.outcome, row.cause) for row in runs] == [
        (Outcome.BLOCKED, Cause.STATE),
        (Outcome.NO_ANSWER, Cause.STATE),
        (Outcome.BLOCKED, Cause.STATE),
    ]
    assert "opened the way" in runs[1].detail["reason"]


def test_a_second_run_tells_the_same_cause_of_gre_in_a_call() -> None:
    """What follows flows takes each direction of a call for one of its own; plain GRE comes in once the server has spoken."""
    firewall = StatefulFirewall("r2", protects=SERVER, allows=(Service(6), Service(17)))
    gre = Settings((1194,), names=frozenset({"pptp", "gre", "udp", "tcp"}))

    async def story(both: Agents) -> tuple[Measured, Measured]:
        return await both.run(gre).measure(), await both.run(gre).measure()

    first, second = simulated(story, Topology(firewalls=(firewall,)))
    rows = [found_in(run, f"gre-passthrough-{form}-gre-c2s") for run in (first, second) for form in ("bare", "in-call")]
    assert [(row.outcome, row.cause) for row in rows] == [
        (Outcome.BLOCKED, Cause.STATE),
        (Outcome.BLOCKED, Cause.STATE),
        (Outcome.NO_ANSWER, Cause.STATE),
        (Outcome.BLOCKED, Cause.STATE),
    ]


def test_a_free_way_stays_one_in_the_second_run() -> None:
    async def story(both: Agents) -> tuple[Measured, Measured]:
        return await both.run(ESP_ALONE).measure(), await both.run(ESP_ALONE).measure()

    assert [found_in(run, "esp-passthrough-esp-c2s").outcome for run in simulated(story)] == [Outcome.PASS, Outcome.PASS]
