"""What tests of existing servers with the user's own profile share, whatever the protocol.

Each remote of a profile is tried: its name is resolved, one address after another is asked until one answers, and what fails is told by
name beside the check that it belongs to. Two sessions of one identity are never open at a time, since many a server serves the newest
alone.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final, Generic, TypeVar

from vpnprobe.conversations.contract import Conversation
from vpnprobe.endpoint.driver import CLOCK_SLACK_S
from vpnprobe.evidence.checks import PROFILE
from vpnprobe.evidence.named_failures import NAME_NOT_RESOLVED, NamedFailure
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import RefusalKind
from vpnprobe.observations.schema import Direction
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.settings import ExistingServer, Remote
from vpnprobe.probes.tunnel_sessions import LONG_RUN
from vpnprobe.profiles.accounts import Told
from vpnprobe.profiles.errors import shown
from vpnprobe.profiles.model import Note
from vpnprobe.profiles.redaction import without_secrets
from vpnprobe.transports.stack import Address

ClientT = TypeVar("ClientT", bound=Conversation)
MOST_REMOTES: Final = 8
RANDOM_BYTES: Final = 6
"""Of the random part of a name, two characters each."""
LONGEST_OPTION: Final = 40
MOST_ADDRESSES: Final = 4
"""Of one remote's name."""
AT_ONCE: Final = 3
"""Identities."""
ECHOES: Final = LONG_RUN
"""Echo requests of a session, the sizes in turn."""
SESSION_DEADLINE_S: Final = 45.0
"""For one session, whatever a server keeps saying."""
TAIL_S: Final = 1.5
"""Silence after which no echo is waited for any more."""
REFUSED_PATIENCE_S: Final = 0.8
"""Where the port is refused, after the first message was repeated: long enough for a second refusal, since a single ICMP error may be about
another thing."""
IPV6_ONLY: Final = "the server has IPv6 addresses only, which are not probed yet"


def form_of(number: int) -> str:
    """The form of the checks about the remote of that number, from 0 on."""
    return PROFILE if number == 0 else f"{PROFILE}-{number + 1}"


def randomised(host: str, entropy: Callable[[int], bytes]) -> str:
    """A name with random characters and a dot in front (`remote-random-hostname`); addresses stay as they are."""
    try:
        ip_address(host)
    except ValueError:
        return f"{entropy(RANDOM_BYTES).hex()}.{host}"
    return host


def about_profile(
    file: str, told: Sequence[Told], notes: Sequence[Note], *, refused: Sequence[str] = (), export: str = ""
) -> dict[str, Any]:
    """What a run's document says of a profile: options that are not applied, with what that can mean, and what else there is to tell."""
    return {
        "file": file,
        **({"export": export} if export else {}),
        **({"refused": list(refused)} if refused else {}),
        "not_applied": [{"line": one.line, "option": shown_option(one.option), "meaning": one.meaning} for one in told],
        "notes": [{"line": note.line, "text": note.text} for note in notes],
    }


def shown_option(name: str) -> str:
    """The name of an option; of a word that is none, which may be a line of a key, only its length."""
    return shown(name) if len(name) <= LONGEST_OPTION else f"a word of {len(name)} characters"


class RemoteTest(ABC):
    """One remote of a profile."""

    identity: str = ""
    """What the server knows the client by: remotes that share it are tried one after another."""
    secrets: Sequence[str] = ()
    """What the server is told and may say again, and nobody else is to read."""

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

    def name(self, check: Check, code: str, said: str = "", facts: Mapping[str, str | float] | None = None) -> None:
        """Puts a failure beside the check that it belongs to, and says why the later ones were not tried."""
        self.note(check, code, said, facts)
        # The step itself too: where nothing of it was sent or came, the name would have no row to stand in.
        self.skip_from(check, f"the session did not get so far: {code}")

    def note(self, check: Check, code: str, said: str = "", facts: Mapping[str, str | float] | None = None) -> None:
        """Puts a failure, or what else was found, beside the check that it belongs to."""
        told = {name: without_secrets(fact, self.secrets) if isinstance(fact, str) else fact for name, fact in (facts or {}).items()}
        self.context.named_failures.append(NamedFailure(check, code, without_secrets(said, self.secrets), told))

    def skip_from(self, first: Check, why: str) -> None:
        """This step and those after it; what was measured stands all the same."""
        steps = (*self.steps, self.data)
        for step in steps[steps.index(first) :]:
            self.context.skip(step, why, *((Direction.C2S, Direction.S2C) if step == self.data else (Direction.BOTH,)))


class RemoteSessionOver(ABC, Generic[ClientT]):
    """A session with a remote is over: it has come to its end, or nothing comes any more."""

    def __init__(self, context: ProbeContext, client: ClientT) -> None:
        self.first_data_s: float | None = None
        """Seconds from the beginning to the first data that came; None: none did."""
        self._context = context
        self._client = client
        self._began = self._heard = context.stack.now()
        self._came = 0

    @property
    @abstractmethod
    def came(self) -> int:
        """Grows with what comes from the server."""

    @property
    @abstractmethod
    def data_came(self) -> bool: ...

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether nothing is left to wait for."""

    @abstractmethod
    def given_up_at(self) -> float:
        """When the session is over if nothing more comes."""

    @property
    def was_refused(self) -> bool:
        """Whether an ICMP port-unreachable answered a message of this session."""
        refusals = self._context.recorder.refusals
        return any(r.key == self._client.key and r.kind is RefusalKind.PORT_UNREACHABLE for r in refusals)

    def reached(self, now: float) -> bool:
        if self.came != self._came:
            self._came, self._heard = self.came, now
        if self.first_data_s is None and self.data_came:
            self.first_data_s = now - self._began
        return self.finished or now >= self.due() - CLOCK_SLACK_S / 2

    def due(self) -> float:
        return min(self.given_up_at(), self._began + SESSION_DEADLINE_S)


async def in_turn(tests: Sequence[RemoteTest]) -> None:
    """Runs tests, those of one identity one after another."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def of_identity(identity: str) -> None:
        async with gate:
            for test in tests:
                if test.identity == identity:
                    await test.run()

    await asyncio.gather(*(of_identity(identity) for identity in dict.fromkeys(test.identity for test in tests)))
