"""What every conversation offers, for datagrams and streams alike, and the table and tracker that all of them ride on.

The contract is that of the best sans-I/O protocol libraries: `start(now)`, `receive(data, now)`, `data_to_send(now)`, `next_timer()`,
`handle_timer(now)`, and what happened in `events()`. Times are seconds on the caller's clock.

A protocol has one `TransitionTable`. It says where each message leads, in which states a check has reached its goal, and in which the other
end has refused. Live ends, the judge of two ends' records, and captures ask the same table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import ClassVar, Final, Generic, Protocol, TypeVar


class Sender(Enum):
    """Who sent a message, in the conversation's own terms."""

    INITIATOR = "initiator"
    RESPONDER = "responder"

    @property
    def other(self) -> "Sender":
        return Sender.RESPONDER if self is Sender.INITIATOR else Sender.INITIATOR


StateT = TypeVar("StateT", bound=Enum)
OF_SESSION: Final = "."
"""Stands between a conversation's key and what tells one of its data packets apart."""


def class_name(_: Sender, kind: type) -> str:
    """A message's name in its standard, as its class has it."""
    return str(getattr(kind, "NAME", getattr(kind, "name", kind.__name__)))


@dataclass(frozen=True, slots=True, eq=False)
class TransitionTable(Generic[StateT]):
    """One protocol's states and messages, role-neutral."""

    start: StateT
    transitions: Mapping[tuple[StateT, Sender, type], StateT]
    """(state, who sent it, kind of message) -> state. What is not in it is unexpected: recorded, and leading nowhere."""
    goals: Mapping[str, frozenset[StateT]]
    """By check: the states in which what the check asks for is shown, and those after them."""
    refusals: frozenset[StateT] = frozenset()
    """States in which the responder has refused in the protocol's own words."""
    stages: Mapping[StateT, str] = field(default_factory=dict)
    """Published stages of states that are finer than the published list; of the others the stage is the state's value."""
    name_of: Callable[[Sender, type], str] = class_name
    """The name of a kind of message, as records have it."""

    def stage(self, state: StateT) -> str:
        """How far a conversation in that state got, in the published terms."""
        return self.stages.get(state) or str(state.value)

    def goal_messages(self, check: str) -> frozenset[str]:
        """Names of the responder's messages that lead to the check's goal."""
        return _leading_into(self, self.goals.get(check, frozenset()))

    def refusal_messages(self) -> frozenset[str]:
        """Names of the responder's messages that refuse."""
        return _leading_into(self, self.refusals)

    def knows(self, message: str) -> bool:
        """Whether the table has a message of that name, from either end."""
        return message in _names(self)


@lru_cache(maxsize=256)
def _leading_into(table: TransitionTable[StateT], states: frozenset[StateT]) -> frozenset[str]:
    return frozenset(
        table.name_of(sender, kind)
        for (state, sender, kind), following in table.transitions.items()
        if sender is Sender.RESPONDER and following in states and state not in states
    )


@lru_cache(maxsize=64)
def _names(table: TransitionTable[StateT]) -> frozenset[str]:
    return frozenset(table.name_of(sender, kind) for _, sender, kind in table.transitions)


@dataclass(frozen=True, slots=True)
class Step:
    """One message as one vantage point saw it."""

    at: float
    """Seconds on that vantage point's clock."""
    sender: Sender
    message: object
    """The decoded message, of the protocol's own `wire` types, or the DecodeError where it could not be read."""
    expected: bool
    """False: the table has no such step here (a duplicate, a reordering, a capture begun in the middle)."""
    size: int = 0
    """Bytes of the datagram, or of the packet in the stream; 0: not told."""


class Tracker(Generic[StateT]):
    """Follows a table through whatever it is shown. Capture analysis is this and nothing more."""

    KEPT_STEPS: Final = 1000
    """Steps that are kept; later ones still move the state. A peer that never stops talking must not fill the memory."""

    def __init__(self, table: TransitionTable[StateT], *, kept_steps: int = KEPT_STEPS) -> None:
        self.table = table
        self.state = table.start
        self.steps: list[Step] = []
        self._kept_steps = kept_steps

    def saw(self, sender: Sender, message: object, *, now: float, size: int = 0) -> bool:
        """Records the message and moves along the table; returns whether the table expected it."""
        following = self.table.transitions.get((self.state, sender, self.kind(sender, message)))
        if len(self.steps) < self._kept_steps:
            self.steps.append(Step(now, sender, message, expected=following is not None, size=size))
        if following is not None:
            self.state = following
        return following is not None

    def kind(self, sender: Sender, message: object) -> type:
        """What the table knows the message by: its type, unless a protocol tells messages of one type apart (a reply that refuses)."""
        return type(message)

    @property
    def stage(self) -> str:
        """How far the conversation got, in the published terms."""
        return self.table.stage(self.state)

    def reached(self, check: str) -> bool:
        """Whether the conversation is in a state in which the check has reached its goal."""
        return self.state in self.table.goals.get(check, frozenset())

    @property
    def refused(self) -> bool:
        """Whether the responder has refused, and nothing has led on since."""
        return self.state in self.table.refusals


@dataclass(slots=True)
class Retransmission:
    """When to send again: after `interval_s`, then each time after `factor` times as long, at most `attempts` times in all."""

    interval_s: float
    attempts: int
    factor: float = 2.0
    sent: int = field(default=0, init=False)
    due: float | None = field(default=None, init=False)
    """When the next copy is due, on the caller's clock; None: no timer runs."""

    def began(self, now: float) -> None:
        self.sent = 1
        self.due = now + self.interval_s if self.attempts > 1 else None

    def again(self, now: float) -> bool:
        """Whether a copy is due now; moves the timer on."""
        if self.due is None or now < self.due:
            return False
        self.sent += 1
        self.due = now + self.interval_s * self.factor ** (self.sent - 1) if self.sent < self.attempts else None
        return True

    def stop(self) -> None:
        self.due = None


class Conversation(Protocol):
    """One end of a conversation. For streams `receive` takes any chunk and `data_to_send` gives chunks; for datagrams, whole datagrams."""

    def start(self, now: float) -> None: ...
    def receive(self, data: bytes, now: float) -> None: ...
    def closed_by_peer(self, now: float) -> None:
        """The peer has ended the stream, without a reset."""
        ...

    def data_to_send(self, now: float) -> Sequence[bytes]: ...
    def next_timer(self) -> float | None: ...
    def handle_timer(self, now: float) -> None: ...
    @property
    def key(self) -> str:
        """What both ends know this conversation by: its nonce (session ID, SPI, host name), in hex; empty while unknown."""
        ...

    def reached(self, check: str) -> bool:
        """Whether the conversation has come to what the check asks for."""
        ...

    def events(self) -> Sequence[Step]:
        """The steps since the last call, sent and received."""
        ...


TrackerT = TypeVar("TrackerT", bound=Tracker)  # type: ignore[type-arg]


class ConversationEnd(Generic[TrackerT]):
    """What every end of every conversation has: a tracker, an outbox, and no timer unless its protocol sets one."""

    SENDER: ClassVar[Sender]

    def __init__(self, tracker: TrackerT) -> None:
        self.tracker: TrackerT = tracker
        self._outbox: list[bytes] = []
        self._told = 0

    def start(self, now: float) -> None:
        """A responder waits; an initiator says its first message."""

    def closed_by_peer(self, now: float) -> None:
        """Means something to protocols that refuse by it."""

    def data_to_send(self, now: float) -> Sequence[bytes]:
        """The datagrams, or chunks of the stream, to send since the last call, in order."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_timer(self) -> float | None:
        """When something is due; None: nothing is."""
        return None

    def handle_timer(self, now: float) -> None:
        """Does what is due."""

    def reached(self, check: str) -> bool:
        """Whether the conversation has come to what the check asks for."""
        return self.tracker.reached(check)

    def events(self) -> Sequence[Step]:
        """The steps since the last call, sent and received."""
        told, self._told = self._told, len(self.tracker.steps)
        return self.tracker.steps[told:]
