"""What a verification comes to: proofs with three outcomes, leaks by name, a verdict; and its document, `vpnprobe.verification/1`.

A proof is shown, shown to fail, or not known; what is not known says why. The verdict is `proved` where nothing failed and all that is core
is shown: the tunnel is up, carries data both ways, and nothing leaks. It is `failed` where anything failed, otherwise `not-proved`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from vpnprobe.errors import ExitStatus

SCHEMA: Final = "vpnprobe.verification/1"


class Outcome(StrEnum):
    """Of a proof."""

    SHOWN = "shown"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """Of a verification."""

    PROVED = "proved"
    FAILED = "failed"
    NOT_PROVED = "not-proved"
    """Nothing failed, and something core is not known."""


class Question(StrEnum):
    """What is proved; the order is that of the document."""

    UP = "up"
    DATA = "data"
    PATH = "path"
    LEAKS = "leaks"
    IPV6 = "ipv6"
    DNS = "dns"
    BEYOND = "beyond"
    SIZE = "size"
    THROUGHPUT = "throughput"
    RESTORED = "restored"


CORE: Final = frozenset((Question.UP, Question.DATA, Question.PATH, Question.LEAKS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One question with its answer."""

    question: Question
    outcome: Outcome
    sentence: str
    """What was found; where the outcome is UNKNOWN also why."""
    todo: str = ""
    """What mends or tells it; empty: nothing is to be done."""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Counts and figures with their unit in the name, lists of names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Packets of one kind that left beside the tunnel."""

    destination: str
    protocol: str
    """`tcp`, `udp`, `icmp`, `icmpv6`, or the number."""
    port: int | None
    """Of the destination; None: the protocol has none."""
    device: str
    why: str
    """A noun phrase: what makes it a leak."""
    count: int
    first_at: float
    """Unix time, seconds."""
    first_after_s: float
    """Seconds since the watch began."""
    process: str = ""
    """`name (pid)`; empty: it could not be told."""
    provoked: bool = False
    """Only packets that this program sent to see where they go."""

    @property
    def name(self) -> str:
        """`udp to 192.0.2.1 port 53`."""
        return f"{self.protocol} to {self.destination}" + (f" port {self.port}" if self.port is not None else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelFacts:
    """The tunnel as it came up."""

    device: str
    addresses: tuple[str, ...]
    """Of this end, inside."""
    gateway: str
    """Of the server, inside; empty: it does not show."""
    mtu_bytes: int
    server: str
    """Address that the tunnel's packets go to."""
    port: int
    transport: str
    up_after_s: float
    full: bool
    """All traffic is to go through it."""
    routes: tuple[str, ...]
    """That go through it beside."""
    around: tuple[str, ...]
    """That profile or server leave beside it."""
    dns: tuple[str, ...]
    """Resolvers that it brings."""
    pushed: tuple[str, ...]
    """The server's options, without secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFacts:
    """What was watched."""

    watched_s: float
    devices: tuple[str, ...]
    """On which anything left."""
    traffic: Mapping[str, int]
    """Packets that left, by kind."""
    provoked: Mapping[str, int]
    """Packets of our own that this machine took, by kind."""
    through_tunnel: Mapping[str, int]
    """Packets on the tunnel's device: `sent`, `received`."""
    dropped: int
    """Packets that could not be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All of it."""

    profile: str
    started: str
    """RFC 3339, UTC."""
    duration_s: float
    complete: bool
    """False: it was interrupted."""
    version: str
    tunnel: TunnelFacts | None
    """None: it did not come up."""
    watch: WatchFacts | None
    proofs: Sequence[Proof]
    leaks: Sequence[Leak]

    @property
    def verdict(self) -> Verdict:
        if any(proof.outcome is Outcome.FAILED for proof in self.proofs):
            return Verdict.FAILED
        shown = {proof.question for proof in self.proofs if proof.outcome is Outcome.SHOWN}
        return Verdict.PROVED if shown >= CORE and self.complete else Verdict.NOT_PROVED

    @property
    def status(self) -> ExitStatus:
        """FINISHED where it is proved, otherwise NOTHING_WORKS."""
        return ExitStatus.FINISHED if self.verdict is Verdict.PROVED else ExitStatus.NOTHING_WORKS

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        match self.verdict:
            case Verdict.PROVED:
                kind = "nothing leaves beside it" if self.tunnel and self.tunnel.full else "its own networks go through it"
                return f"The tunnel works: it is up, carries data both ways, and {kind}."
            case Verdict.FAILED:
                failed = [proof for proof in self.proofs if proof.outcome is Outcome.FAILED]
                return f"The tunnel is not as it should be: {failed[0].sentence}"
            case Verdict.NOT_PROVED:
                return "The tunnel is not proved: something that it has to show could not be told."

    def as_json(self) -> dict[str, Any]:
        """The document."""
        return {
            "schema": SCHEMA,
            "version": self.version,
            "profile": self.profile,
            "started": self.started,
            "duration_s": round(self.duration_s, 3),
            "complete": self.complete,
            "verdict": self.verdict.value,
            "sentence": self.sentence,
            "tunnel": None if self.tunnel is None else _table(self.tunnel),
            "watch": None if self.watch is None else _table(self.watch),
            "proofs": [_proof(proof) for proof in self.proofs],
            "leaks": [_table(leak) for leak in self.leaks],
        }


def _proof(proof: Proof) -> dict[str, Any]:
    return {
        "id": proof.question.value,
        "outcome": proof.outcome.value,
        "core": proof.question in CORE,
        "sentence": proof.sentence,
        "todo": proof.todo,
        "numbers": dict(proof.numbers),
    }


def _table(value: TunnelFacts | WatchFacts | Leak) -> dict[str, Any]:
    table = {name: getattr(value, name) for name in value.__dataclass_fields__}
    return {name: list(inner) if isinstance(inner, tuple) else inner for name, inner in table.items()}
