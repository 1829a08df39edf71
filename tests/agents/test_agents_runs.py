"""Whole runs: a probe that fails by itself, what both ends say of themselves, and that chance is told."""

import pytest
from agents_support import Agents, measured, outcomes, simulated

from vpnprobe.agents.client import Measured
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Outcome
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.topology import Topology

NOTHING: frozenset[Capability] = frozenset()


class Failing:
    """A probe that cannot do its work."""

    name = "udp"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def ports(self, _: Settings) -> list[WantedPort]:
        return []

    async def run(self, _: object) -> None:
        raise self.error


@pytest.mark.parametrize("error", [OSError("too many open files"), CannotRun("no capture", status=ExitStatus.MISSING)])
def test_a_probe_that_fails_by_itself_is_told_and_the_others_go_on(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    from vpnprobe.agents import client
    from vpnprobe.probes.catalogue import chosen

    def with_one_that_fails(settings: Settings) -> list[object]:
        return [Failing(error) if probe.name == "udp" else probe for probe in chosen(settings)]

    monkeypatch.setattr(client, "chosen", with_one_that_fails)
    found = measured(Topology())
    failed = next(o for o in found.observations if o.outcome is Outcome.ERROR)
    assert (failed.id, failed.probe) == ("udp-error", "udp")
    assert str(error) in failed.detail["reason"]
    assert found.complete
    assert outcomes(found)["tcp-reach-tcp-443-both"] == "pass"


def test_what_both_ends_say_of_themselves() -> None:
    found = measured(Topology())
    assert (found.client["address"], found.client["capture"]) == ("10.78.0.1", "client.pcap")
    assert found.server is not None
    assert (found.server["address"], found.server["seen_as"], found.server["capture"]) == ("10.78.3.2", "10.78.0.1", "server.pcap")
    assert found.server["rtt_ms"] > 0
    assert found.server["clock_offset_s"] == pytest.approx(0.0, abs=0.001)
    assert 0 < found.server["clock_uncertainty_s"] < 0.001


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (measured(load("lossy").topology) for _ in range(2))
    assert first.observations == second.observations
    assert set(first.captures) == set(second.captures) == {"client.pcap", "server.pcap"}
    for end, capture in first.captures.items():
        assert heads(capture) == heads(second.captures[end])


def heads(capture: bytes) -> list[tuple[bytes, bytes]]:
    """Time, length and IP header of each packet: what TLS says, and so every checksum behind it, is different each time."""
    found, at = [], 24
    while at < len(capture):
        kept = int.from_bytes(capture[at + 8 : at + 12], "big")
        found.append((capture[at : at + 16], capture[at + 16 : at + 36]))
        at += 16 + kept
    return found


def test_initiations_alone_go_to_a_port_that_another_program_has() -> None:
    """It does not answer them, and the server's wire shows that they arrive."""

    async def story(both: Agents) -> Measured:
        await both.server.udp(lambda _: None, port=51820)
        return await both.run(Settings((51820,), frozenset({"wireguard", "udp"}))).measure()

    rows = [row for row in simulated(story).observations if row.probe == "wireguard"]
    assert {(row.check, row.outcome) for row in rows} == {("handshake", Outcome.NO_ANSWER), ("data", Outcome.SKIPPED)}
    assert all("answers nobody whose key it does not know" in row.detail["reason"] for row in rows)
    assert [row.detail["arrived_at_server"] == row.sent for row in rows if row.check == "handshake"] == [True]
