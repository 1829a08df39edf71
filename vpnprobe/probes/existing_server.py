"""What tests of existing servers with the user's own profile share, whatever the protocol.

Each remote of a profile is tried: its name is resolved, one address after another is asked until one answers, and what fails is told by
name beside the check that it belongs to. Two sessions of one identity are never open at a time, since many a server serves the newest
alone.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.evidence.checks import PROFILE
from vpnprobe.evidence.named_failures import NAME_NOT_RESOLVED, NamedFailure
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Direction
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.settings import ExistingServer, Remote
from vpnprobe.transports.stack import Address

MOST_REMOTES: Final = 8
MOST_ADDRESSES: Final = 4
"""Of one remote's name."""
AT_ONCE: Final = 3
"""Identities."""
IPV6_ONLY: Final = "the server has IPv6 addresses only, which are not probed yet"


def form_of(number: int) -> str:
    """The form of the checks about the remote of that number, from 0 on."""
    return PROFILE if number == 0 else f"{PROFILE}-{number + 1}"


class RemoteTest(ABC):
    """One remote of a profile."""

    identity: str = ""
    """What the server knows the client by: remotes that share it are tried one after another."""

    def __init__(self, context: ProbeContext, existing: ExistingServer, remote: Remote, steps: Sequence[Check], data: Check) -> None:
        """`steps`: the checks that a session comes to before `data`, in order."""
        self.context = context
        self.remote = remote
        self.steps = tuple(steps)
        self.data = data
        self._existing = existing

    @abstractmethod
    async def attempt(self) -> bool:
        """A session with the address in the context, to its end; whether the server has answered."""

    @abstractmethod
    async def conclude(self) -> None:
        """Tells what the last attempt has come to."""

    def not_to_be_tried(self) -> bool:
        """Whether something in the profile keeps it from being tried, which this then tells."""
        return False

    async def run(self) -> None:
        """Never raises for what the network or the server does."""
        addresses = await self._existing.resolve(self.remote.host, self.remote.family)
        usable = [address for address in addresses if address.version == 4][:MOST_ADDRESSES]
        if not addresses:
            self.name(self.steps[0], NAME_NOT_RESOLVED, self.remote.host)
        elif not usable:
            self.skip_from(self.steps[0], IPV6_ONLY)
        elif not self.not_to_be_tried():
            await self._at_addresses(usable)

    async def _at_addresses(self, addresses: Sequence[Address]) -> None:
        """One address after another, until one answers."""
        context = self.context
        for place, address in enumerate(addresses, 1):
            # Paths to other addresses than the peer's share all but the address.
            self.context = context if address == context.peer_address else replace(context, peer_address=address)
            if await self.attempt() or place == len(addresses):
                await self.conclude()
                return

    def name(self, check: Check, code: str, said: str = "") -> None:
        """Puts a failure beside the check that it belongs to, and says why the later ones were not tried."""
        self.context.named_failures.append(NamedFailure(check, code, said))
        # The step itself too: where nothing of it was sent or came, the name would have no row to stand in.
        self.skip_from(check, f"the session did not get so far: {code}")

    def skip_from(self, first: Check, why: str) -> None:
        """This step and those after it; what was measured stands all the same."""
        steps = (*self.steps, self.data)
        for step in steps[steps.index(first) :]:
            self.context.skip(step, why, *((Direction.C2S, Direction.S2C) if step == self.data else (Direction.BOTH,)))


async def in_turn(tests: Sequence[RemoteTest]) -> None:
    """Runs tests, those of one identity one after another."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def of_identity(identity: str) -> None:
        async with gate:
            for test in tests:
                if test.identity == identity:
                    await test.run()

    await asyncio.gather(*(of_identity(identity) for identity in dict.fromkeys(test.identity for test in tests)))
