"""Existing WireGuard servers tried with a profile: a run of it, and what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents_support import Agents, silent, simulated
from wireguard_servers import (
    PORT,
    WireguardServer,
    profile,
    resolving,
)

from vpnprobe.agents.client import ClientRun, Measured
from vpnprobe.observations.schema import Feasibility, Observation
from vpnprobe.probes.settings import Settings
from vpnprobe.probes.wireguard_profile_test import WireguardProfileTest
from vpnprobe.profiles.wireguard_model import WireguardProfile
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.stack import Address
from vpnprobe.transports.topology import Filter, Topology

RULES = load_default()
INITIATION, RESPONSE, DATA = b"\x01\0\0\0", b"\x02\0\0\0", b"\x04\0\0\0"
PROBES = frozenset({"wireguard", "udp"})
Make = Callable[[Agents], WireguardServer]


@dataclass
class Tried:
    measured: Measured
    server: WireguardServer

    @property
    def rows(self) -> dict[str, Observation]:
        return {row.id.removeprefix("wireguard-"): row for row in self.measured.observations if row.probe == "wireguard"}

    @property
    def outcomes(self) -> dict[str, str]:
        return {name: row.outcome.value for name, row in self.rows.items()}

    @property
    def failures(self) -> dict[str, str]:
        """Name to words."""
        named = (row.detail for row in self.rows.values() if "failure" in row.detail)
        return {detail["failure"]: detail.get("said", "") for detail in named}

    def verdict(self) -> tuple[Feasibility, str]:
        """The verdict and all its reasons."""
        decision = decide(self.measured.observations, rules=RULES, ports=(PORT,))
        (verdict,) = [verdict for verdict in decision.verdicts if verdict.protocol == "wireguard"]
        return verdict.feasibility, " ".join(reason.text for reason in verdict.because)


def tried(
    make: Make | None = None,
    used: WireguardProfile | None = None,
    *,
    paired: bool = False,
    addresses: Sequence[Address] | None = None,
    topology: Topology | None = None,
    listens_on: int = PORT,
    echoes: int = 30,
    seed: int = 1,
) -> Tried:
    async def story(both: Agents) -> Tried:
        server = WireguardServer(both.server) if make is None else make(both)
        if listens_on:
            await server.listen(listens_on)
        there = both.network.topology.server_address
        known = resolving(*((there,) if addresses is None else addresses))
        test = WireguardProfileTest(used or profile(), known, echoes=echoes)
        settings = Settings((PORT,), PROBES, test, only_existing=not paired)
        run = both.run(settings) if paired else ClientRun(both.client, there, settings, None, silent)
        return Tried(await run.measure(), server)

    return simulated(story, topology, seed=seed)


def first_bytes(data: bytes, direction: str | None = None) -> Topology:
    planted = Filter(at="r2", protocol=17, payload_offset=0, payload=data, payload_mask=b"\xff" * 4, direction=direction)
    return Topology(routers=3, filters=(planted,))


HANDSHAKE, C2S, S2C = (f"{name}-profile-udp-{PORT}-{way}" for name, way in (("handshake", "both"), ("data", "c2s"), ("data", "s2c")))
