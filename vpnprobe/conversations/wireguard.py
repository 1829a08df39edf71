"""WireGuard's handshake and data (whitepaper section 5.4) as one table, for the tracker of captures.

The initiator is the end whose handshake initiation was seen first. States are the published stages, and a state is the furthest point that
the messages show. Sessions are renewed every two minutes, by either end, beside the data: that leads nowhere. What a cookie reply asks for
is another initiation. Keys are not needed: the types of messages stand in clear.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

from vpnprobe.conversations.contract import OF_SESSION, Sender, Tracker, TransitionTable, class_name
from vpnprobe.errors import DecodeError
from vpnprobe.wire.wireguard import (
    CookieReply,
    HandshakeInitiation,
    HandshakeResponse,
    TransportData,
    WireguardMessage,
    decode_wireguard,
)

INDEX_BYTES: Final = 4
"""Of a sender or receiver index."""


class State(Enum):
    """How far the tunnel got."""

    IDLE = "idle"
    INITIATED = "initiation-unanswered"
    HANDSHAKE_COMPLETE = "handshake-complete"
    DATA_ONE_WAY = "data-one-way"
    DATA_BOTH_WAYS = "data-both-ways"
    MIDSTREAM_DATA_ONE_WAY = "midstream-data-one-way"
    """Only data was seen: a capture that begins in the middle."""
    MIDSTREAM_DATA_BOTH_WAYS = "midstream-data-both-ways"


@dataclass(frozen=True, slots=True)
class KnownData(TransportData):
    """Data that an end with the keys has sent or got."""

    answers: str | None = None
    """The name of the data message that what is in it answers; None: it answers none."""


class DataBothWays:
    """A kind of message: data from one end, after data from the other."""


_HANDSHAKE: Final = (HandshakeInitiation, HandshakeResponse)
_DATA_STATES: Final = (State.DATA_ONE_WAY, State.DATA_BOTH_WAYS)
_BEFORE_ANSWER: Final = (State.IDLE, State.INITIATED)
_BEFORE_DATA: Final = (State.INITIATED, State.HANDSHAKE_COMPLETE)

TRANSITIONS: Final[dict[tuple[State, Sender, type], State]] = {
    # A cookie reply leads nowhere.
    **{(state, sender, CookieReply): state for state in State for sender in Sender},
    # The handshake. Both ends may begin one at the same moment, and then either answers; a capture may begin with the answer.
    **{(state, sender, HandshakeInitiation): State.INITIATED for state in _BEFORE_ANSWER for sender in Sender},
    **{(state, sender, HandshakeResponse): State.HANDSHAKE_COMPLETE for state in _BEFORE_ANSWER for sender in Sender},
    # Sessions are renewed by either end.
    **{(state, sender, kind): state for state in (State.HANDSHAKE_COMPLETE, *_DATA_STATES) for sender in Sender for kind in _HANDSHAKE},
    # Data.
    **{(state, sender, TransportData): State.DATA_ONE_WAY for state in (*_BEFORE_DATA, State.DATA_ONE_WAY) for sender in Sender},
    **{(state, sender, DataBothWays): State.DATA_BOTH_WAYS for state in _DATA_STATES for sender in Sender},
    # A capture that begins in the middle: the renewal of a session, which comes later, is a beginning.
    **{
        (state, sender, TransportData): State.MIDSTREAM_DATA_ONE_WAY
        for state in (State.IDLE, State.MIDSTREAM_DATA_ONE_WAY)
        for sender in Sender
    },
    **{
        (state, sender, DataBothWays): State.MIDSTREAM_DATA_BOTH_WAYS
        for state in (State.MIDSTREAM_DATA_ONE_WAY, State.MIDSTREAM_DATA_BOTH_WAYS)
        for sender in Sender
    },
    **{(State.MIDSTREAM_DATA_ONE_WAY, sender, kind): State.DATA_ONE_WAY for sender in Sender for kind in _HANDSHAKE},
    **{(State.MIDSTREAM_DATA_BOTH_WAYS, sender, kind): State.DATA_BOTH_WAYS for sender in Sender for kind in _HANDSHAKE},
}
"""(state, who sent it, kind of message) -> state."""


def name_of(sender: Sender, kind: type) -> str:
    """The message's name; of data after the other end's it is the same."""
    return class_name(sender, TransportData if kind is DataBothWays else kind)


def describe(message: object) -> tuple[str, Mapping[str, int | str]]:
    """The message's name, and which one of the other end's it answers, where that is known."""
    answers = message.answers if isinstance(message, KnownData) else None
    return class_name(Sender.INITIATOR, type(message)), {} if answers is None else {"answers": answers}


def key_of(message: WireguardMessage) -> str:
    """What both ends' captures know a message by, wherever either begins.

    Of a handshake the index of its initiation, 8 hex digits: real peers draw another for each attempt.
    Of data the receiver's index and the counter.
    """
    match message:
        case HandshakeInitiation():
            return f"{message.sender_index:08x}"
        case HandshakeResponse() | CookieReply():
            return f"{message.receiver_index:08x}"
        case TransportData():
            return data_name(message)
        case _:
            assert_never(message)


def data_name(message: TransportData) -> str:
    """One data message among all: the receiver's index, which is the session's in that direction, and the counter."""
    return f"{message.receiver_index:08x}{OF_SESSION}{message.counter:x}"


def placed(message: object) -> tuple[str, str]:
    """Which check a message bears on, and what its key has behind the conversation's: data messages are trials of their own."""
    if isinstance(message, TransportData):
        return "data", f"{OF_SESSION}{data_name(message)}"
    return "handshake", ""


TABLE: Final = TransitionTable(
    State.IDLE,
    TRANSITIONS,
    goals={
        # Whoever sends data has the keys that the handshake makes.
        "handshake": frozenset(State) - {State.IDLE, State.INITIATED},
        "data": frozenset({State.DATA_BOTH_WAYS, State.MIDSTREAM_DATA_BOTH_WAYS}),
    },
    name_of=name_of,
)


class WireguardTracker(Tracker[State]):
    """Follows the datagrams of one pair of addresses and ports, both directions."""

    def __init__(self, *, kept_steps: int = Tracker.KEPT_STEPS) -> None:
        super().__init__(TABLE, kept_steps=kept_steps)
        self.key = ""
        """The sender index of the first initiation, 8 hex digits; empty: none was seen."""
        self._sent_data: set[Sender] = set()

    def saw(self, sender: Sender, message: object, *, now: float, size: int = 0) -> bool:
        if isinstance(message, TransportData):
            self._sent_data.add(sender)
        elif isinstance(message, HandshakeInitiation):
            self.key = self.key or f"{message.sender_index:08x}"
        return super().saw(sender, message, now=now, size=size)

    def kind(self, sender: Sender, message: object) -> type:
        if isinstance(message, TransportData):
            return DataBothWays if sender.other in self._sent_data else TransportData
        return type(message)

    def saw_datagram(self, sender: Sender, data: bytes, *, now: float) -> WireguardMessage | DecodeError:
        """Records what a datagram is, or why it cannot be read."""
        message: WireguardMessage | DecodeError
        try:
            message = decode_wireguard(data)
        except DecodeError as error:
            message = error
        self.saw(sender, message, now=now)
        return message


def index_of(message: object) -> str:
    """The index by which a handshake is known, 8 hex digits: its initiator's; empty: the message is of none."""
    match message:
        case HandshakeInitiation():
            return f"{message.sender_index:08x}"
        case HandshakeResponse() | CookieReply():
            return f"{message.receiver_index:08x}"
        case _:
            return ""


def answers_of(message: object) -> str:
    """The name of the message that this one answers (whitepaper section 5.4); empty: it answers none."""
    return name_of(Sender.INITIATOR, HandshakeInitiation) if isinstance(message, HandshakeResponse | CookieReply) else ""


def opening(data: bytes) -> str:
    """The key (sender index, 8 hex digits) of the handshake initiation that a datagram is; empty: it is none."""
    try:
        return f"{HandshakeInitiation.decode(data).sender_index:08x}"
    except DecodeError:
        return ""


def opener(message: object, sender: Sender) -> Sender | None:
    """Who opened the tunnel, as far as a message shows it; None: it does not. `sender`: who sent it."""
    match message:
        case HandshakeInitiation():
            return sender
        case HandshakeResponse():
            return sender.other
        case _:
            return None
