"""What every conversation offers, for datagrams and streams alike, and the tracker that rides on its table.

The contract is that of the best sans-I/O protocol libraries: `start(now)`, `receive(data, now)`, `data_to_send(now)`, `next_timer()`,
`handle_timer(now)`, and what happened in `events()`. Times are seconds on the caller's clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Generic, Protocol, TypeVar


class Sender(Enum):
    """Who sent a message, in the conversation's own terms."""

    INITIATOR = "initiator"
    RESPONDER = "responder"

    @property
    def other(self) -> "Sender":
        return Sender.RESPONDER if self is Sender.INITIATOR else Sender.INITIATOR


StateT = TypeVar("StateT", bound=Enum)


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

    def __init__(self, table: Mapping[tuple[StateT, Sender, type], StateT], start: StateT, *, kept_steps: int = KEPT_STEPS) -> None:
        self._table = table
        self._kept_steps = kept_steps
        self.state = start
        self.steps: list[Step] = []

    def saw(self, sender: Sender, message: object, *, now: float, size: int = 0) -> bool:
        """Records the message and moves along the table; returns whether the table expected it."""
        following = self._table.get((self.state, sender, self.kind(sender, message)))
        if len(self.steps) < self._kept_steps:
            self.steps.append(Step(now, sender, message, expected=following is not None, size=size))
        if following is not None:
            self.state = following
        return following is not None

    def kind(self, sender: Sender, message: object) -> type:
        """What the table knows the message by: its type, unless a protocol tells messages of one type apart (a reply that refuses)."""
        return type(message)


@dataclass(slots=True)
class Retransmission:
    """When to send again: after `interval_s`, doubling, at most `attempts` times in all."""

    interval_s: float
    attempts: int
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
        self.due = now + self.interval_s * 2 ** (self.sent - 1) if self.sent < self.attempts else None
        return True

    def stop(self) -> None:
        self.due = None


class Conversation(Protocol):
    """One end of a conversation. For streams `receive` takes any chunk and `data_to_send` gives chunks; for datagrams, whole datagrams."""

    def start(self, now: float) -> None: ...
    def receive(self, data: bytes, now: float) -> None: ...
    def data_to_send(self, now: float) -> Sequence[bytes]: ...
    def next_timer(self) -> float | None: ...
    def handle_timer(self, now: float) -> None: ...
    @property
    def key(self) -> str:
        """What both ends know this conversation by: its nonce (session ID, SPI, host name), in hex; empty while unknown."""
        ...

    def events(self) -> Sequence[Step]:
        """The steps since the last call, sent and received."""
        ...
