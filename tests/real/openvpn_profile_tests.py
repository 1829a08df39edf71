"""Tries profiles against servers of a lab from within this process, as `vpnprobe run --solo --profile` does, many at a time."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.lab.namespaces import Lab
from vpnprobe.observations.schema import Direction, Observation, Outcome
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.existing_server import ECHOES
from vpnprobe.probes.openvpn_profile_test import ProfileProbe, ProfileTest
from vpnprobe.probes.settings import Settings
from vpnprobe.profiles.ovpn import parse_profile
from vpnprobe.transports.resolving import addresses_of
from vpnprobe.transports.stack import Address
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.topology import CLIENT

AT_ONCE = 6


@dataclass(frozen=True)
class Tried:
    """What came of one profile."""

    observations: tuple[Observation, ...]

    def row(self, check: str, way: Direction = Direction.BOTH) -> Observation:
        """The observation about the profile's first remote."""
        found = [o for o in self.observations if o.check == check and o.direction is way and o.probe == "openvpn"]
        assert len(found) == 1, [o.id for o in self.observations]
        return found[0]

    @property
    def failures(self) -> list[str]:
        return sorted({str(o.detail["failure"]) for o in self.observations if "failure" in o.detail})

    def said(self, check: str, way: Direction = Direction.BOTH) -> str:
        return str(self.row(check, way).detail.get("said", ""))

    @property
    def complete(self) -> bool:
        """Whether data went both ways, and nothing failed."""
        rows = [self.row("reset"), self.row("handshake"), self.row("data", Direction.C2S), self.row("data", Direction.S2C)]
        return not self.failures and all(row.outcome is Outcome.PASS for row in rows)


def tried(lab: Lab, profiles: Mapping[str, str], folder: FilePath, *, echoes: int = ECHOES) -> dict[str, Tried]:
    """What comes of each profile, by its name; they are given as texts."""
    with lab.inside(CLIENT):
        return asyncio.run(_try_all(profiles, folder, lab.topology.server_address, echoes))


async def _try_all(profiles: Mapping[str, str], folder: FilePath, address: Address, echoes: int) -> dict[str, Tried]:
    gate = asyncio.Semaphore(AT_ONCE)
    stack = SystemStack()

    async def one(text: str, name: str) -> Tried:
        async with gate:
            return await _try(stack, text, folder / f"{name}.ovpn", address, echoes)

    try:
        found = await asyncio.gather(*(one(text, name) for name, text in profiles.items()))
    finally:
        stack.close()
    return dict(zip(profiles, found, strict=True))


async def _try(stack: SystemStack, text: str, file: FilePath, address: Address, echoes: int) -> Tried:
    profile = parse_profile(text, folder=file.parent, file=str(file))
    profile_test = ProfileTest(profile, addresses_of, profile.credentials.username or "", profile.credentials.password or "", echoes=echoes)
    settings = Settings((), existing=profile_test, only_existing=True)
    path = ProbeContext(stack, address, settings, Recorder(stack, Vantage.CLIENT), Nonces(stack, 1), None, None)
    try:
        await ProfileProbe(path, profile_test).run()
        facts = PathFacts(server_address=str(address), skips=tuple(path.skips), named_failures=tuple(path.named_failures))
        return Tried(tuple(judge(path.client_record(), EndRecord(recorded=False), facts)))
    finally:
        path.close()
