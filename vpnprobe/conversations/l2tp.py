"""L2TP's control connection and one incoming call with its data (RFC 2661 sections 5 to 7) on UDP port 1701: one table, three riders.

The initiator is the LAC, which opens the tunnel and places the call; the responder is the LNS. States are the published stages, and a
state is the furthest point that the messages show: a tunnel that was stopped stays where it had come to. Data messages carry PPP frames;
those of LCP's configuration (RFC 1661 section 5) are kinds of message of their own, since each Configure-Request is a trial of the path and
what answers it carries its Magic-Number back. The tracker records what arrives in its order of arrival, whether or not an end acts on it.
Live ends are in `l2tp_ends`.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from vpnprobe.conversations import lcp
from vpnprobe.conversations.contract import OF_SESSION, Sender, Tracker, TransitionTable, class_name
from vpnprobe.conversations.observing import MessageSeen
from vpnprobe.conversations.one_direction import Implied
from vpnprobe.errors import DecodeError
from vpnprobe.wire import fingerprint
from vpnprobe.wire.l2tp import (
    MESSAGE_NUMBERS,
    AvpType,
    CallDisconnectNotify,
    ControlMessage,
    DataMessage,
    Hello,
    IncomingCallConnected,
    IncomingCallReply,
    IncomingCallRequest,
    MalformedControlMessage,
    OtherControlMessage,
    StartControlConnectionConnected,
    StartControlConnectionReply,
    StartControlConnectionRequest,
    StopControlConnectionNotification,
    ZeroLengthBody,
    decode_l2tp,
)
from vpnprobe.wire.ppp import ConfigureAck, ConfigureNak, ConfigureReject, ConfigureRequest

HOST_NAME_PREFIX: Final = "vpnprobe-"
"""Our Host Name is this and the nonce in hex."""


class State(Enum):
    """How far the tunnel and its call got."""

    IDLE = "idle"
    TUNNEL_REQUESTED = "sccrq-unanswered"
    TUNNEL_ANSWERED = "sccrp"
    TUNNEL_UP = "tunnel-up"
    SESSION_ANSWERED = "session-answered"
    SESSION_UP = "session-up"
    DATA_ANSWERED = "data-answered"
    """An end answered a Configure-Request that the other had sent in a data message. As a stage: SESSION_UP."""
    MIDSTREAM_CONTROL = "midstream-control"
    """What was seen first was no SCCRQ: a capture that begins in the middle."""
    MIDSTREAM_DATA = "midstream-data"
    REQUEST_REFUSED = "sccrq-refused"
    """The responder answered the SCCRQ with a StopCCN. As a stage: TUNNEL_REQUESTED."""
    TUNNEL_REFUSED = "tunnel-refused"
    """It sent a StopCCN after its SCCRP. As a stage: TUNNEL_ANSWERED."""
    CALL_REFUSED = "call-refused"
    """It sent a CDN or StopCCN before the call was up. As a stage: TUNNEL_UP."""


_I: Final = Sender.INITIATOR
_R: Final = Sender.RESPONDER
_MIDSTREAM: Final = (State.MIDSTREAM_CONTROL, State.MIDSTREAM_DATA)
_IN_CALL: Final = (State.SESSION_UP, State.DATA_ANSWERED)
_FROM_SCCRQ: Final = (State.TUNNEL_REQUESTED, State.TUNNEL_ANSWERED, State.TUNNEL_UP, State.SESSION_ANSWERED, *_IN_CALL)
_UPKEEP: Final = (ZeroLengthBody, StopControlConnectionNotification)
_UPKEEP_OF_TUNNEL: Final = (Hello, CallDisconnectNotify, OtherControlMessage)
_LCP_ANSWERS: Final = (ConfigureAck, ConfigureNak, ConfigureReject)
_DATA: Final = (DataMessage, ConfigureRequest, *_LCP_ANSWERS)
"""Kinds of data message: by the LCP packet in it, or any other."""

_REFUSED: Final = {
    State.TUNNEL_REQUESTED: State.REQUEST_REFUSED,
    State.TUNNEL_ANSWERED: State.TUNNEL_REFUSED,
    State.TUNNEL_UP: State.CALL_REFUSED,
}
"""Where the responder's refusal leads."""

_FORWARD: Final[dict[tuple[State, Sender, type], State]] = {
    # Acknowledgments, keepalives and endings never lead back.
    **{(state, sender, kind): state for state in _FROM_SCCRQ for sender in Sender for kind in _UPKEEP},
    **{(state, sender, kind): state for state in _FROM_SCCRQ[2:] for sender in Sender for kind in _UPKEEP_OF_TUNNEL},
    (State.IDLE, _I, StartControlConnectionRequest): State.TUNNEL_REQUESTED,
    (State.TUNNEL_REQUESTED, _R, StartControlConnectionReply): State.TUNNEL_ANSWERED,
    (State.TUNNEL_ANSWERED, _I, StartControlConnectionConnected): State.TUNNEL_UP,
    (State.TUNNEL_UP, _I, IncomingCallRequest): State.TUNNEL_UP,
    (State.TUNNEL_UP, _R, IncomingCallReply): State.SESSION_ANSWERED,
    (State.SESSION_ANSWERED, _I, IncomingCallConnected): State.SESSION_UP,
    **{(state, sender, kind): state for state in _IN_CALL for sender in Sender for kind in _DATA},
    **{(State.SESSION_UP, sender, kind): State.DATA_ANSWERED for sender in Sender for kind in _LCP_ANSWERS},
    # A capture that begins in the middle.
    **{
        (state, sender, kind): State.MIDSTREAM_CONTROL if state is State.IDLE else state
        for state in (State.IDLE, *_MIDSTREAM)
        for sender in Sender
        for kind in (*MESSAGE_NUMBERS, ZeroLengthBody, OtherControlMessage, MalformedControlMessage)
        if (sender, kind) != (_I, StartControlConnectionRequest)
    },
    **{(state, sender, kind): State.MIDSTREAM_DATA for state in (State.IDLE, *_MIDSTREAM) for sender in Sender for kind in _DATA},
    **{(state, _I, StartControlConnectionRequest): State.TUNNEL_REQUESTED for state in _MIDSTREAM},
}
TRANSITIONS: Final[dict[tuple[State, Sender, type], State]] = {
    **_FORWARD,
    # What was under way when a refusal came, or comes in spite of it, leads on as before.
    **{
        (_REFUSED[state], sender, kind): _REFUSED.get(following, following) if following is state else following
        for (state, sender, kind), following in _FORWARD.items()
        if state in _REFUSED
    },
    **{(state, _R, StopControlConnectionNotification): refused for state, refused in _REFUSED.items()},
    (State.TUNNEL_UP, _R, CallDisconnectNotify): State.CALL_REFUSED,
}
"""(state, who sent it, kind of message) -> state."""
TABLE: Final = TransitionTable(
    State.IDLE,
    TRANSITIONS,
    goals={"control": frozenset({State.SESSION_ANSWERED, *_IN_CALL}), "data": frozenset({State.DATA_ANSWERED})},
    refusals=frozenset(_REFUSED.values()),
    stages={State.DATA_ANSWERED: State.SESSION_UP.value, **{refused: str(state.value) for state, refused in _REFUSED.items()}},
)


IMPLIED: Final[Implied] = {
    (_R, StartControlConnectionReply): (_I, StartControlConnectionRequest),
    (_I, StartControlConnectionConnected): (_R, StartControlConnectionReply),
    (_R, IncomingCallReply): (_I, IncomingCallRequest),
    (_I, IncomingCallRequest): (_I, StartControlConnectionConnected),
    (_I, IncomingCallConnected): (_R, IncomingCallReply),
}
"""What one end's messages show of the other's, where that one's were not captured (RFC 2661 sections 7.2 and 7.4)."""


def key_of(message: object) -> str:
    """What an SCCRQ's tunnel is known by: the nonce in our Host Name, else `tunnel-` and the client's Assigned Tunnel ID in 4 hex digits.

    Empty for any other message, and for an SCCRQ without either.
    """
    if not isinstance(message, StartControlConnectionRequest):
        return ""
    prefix, name = HOST_NAME_PREFIX.encode(), message.value(AvpType.HOST_NAME) or b""
    nonce = name.removeprefix(prefix)
    if nonce and nonce != name and not nonce.strip(b"0123456789abcdef"):
        return nonce.decode("ascii")
    tunnel_id = message.number(AvpType.ASSIGNED_TUNNEL_ID)
    return "" if tunnel_id is None else f"tunnel-{tunnel_id:04x}"


def opening(data: bytes) -> str:
    """The key of the SCCRQ that a datagram is; empty: it is none. A repeated SCCRQ has the key of the first."""
    return key_of(_read(data))


def _read(data: bytes) -> ControlMessage | DataMessage | DecodeError:
    try:
        return decode_l2tp(data)
    except DecodeError as error:
        return error


def data_name(message: DataMessage) -> str:
    """What a data message is known by at both ends: the Magic-Number of its LCP Configure packet, 8 hex digits, the same for a request and
    what answers it; of any other the digest of its PPP frame, 16 hex digits."""
    return lcp.key_of(lcp.read_frame(message.payload)) or fingerprint.digest(message.payload).hex()


def placed(message: object) -> tuple[str, str]:
    """Which check a message bears on, and what its key has behind the conversation's: data messages are trials of their own."""
    return ("data", f"{OF_SESSION}{data_name(message)}") if isinstance(message, DataMessage) else ("control", "")


def _data_kind(message: DataMessage) -> type:
    kind = type(lcp.read_frame(message.payload))
    return kind if kind in _DATA else DataMessage


class L2tpTracker(Tracker[State]):
    """Follows the datagrams of one pair of ports, both directions."""

    def __init__(self) -> None:
        super().__init__(TABLE)
        self.key = ""
        """`key_of` the first SCCRQ; empty: none was seen."""

    def kind(self, sender: Sender, message: object) -> type:
        return _data_kind(message) if isinstance(message, DataMessage) else type(message)

    def saw(self, sender: Sender, message: object, *, now: float, size: int = 0) -> bool:
        self.key = self.key or key_of(message)
        return super().saw(sender, message, now=now, size=size)

    def saw_datagram(self, sender: Sender, data: bytes, *, now: float) -> ControlMessage | DataMessage | DecodeError:
        """Records what a datagram holds, or why it cannot be read; of a data message its size too."""
        message = _read(data)
        self.saw(sender, message, now=now, size=len(data) if isinstance(message, DataMessage) else 0)
        return message


class L2tpObserver:
    """One client port's tunnels as the wire shows them: an SCCRQ with another key begins another tunnel."""

    def __init__(self) -> None:
        self._tunnel = L2tpTracker()

    def saw(self, sender: Sender, data: bytes, *, gap: int = 0) -> Iterator[MessageSeen]:
        if sender is Sender.INITIATOR and opening(data) not in ("", self._tunnel.key):
            self._tunnel = L2tpTracker()
        message = self._tunnel.saw_datagram(sender, data, now=0.0)
        if self._tunnel.key and not isinstance(message, DecodeError):
            check, suffix = placed(message)
            yield MessageSeen(check, self._tunnel.key + suffix, *describe(message))

    def closed(self, _: Sender) -> Iterator[MessageSeen]:
        """Datagrams do not end."""
        yield from ()


def describe(message: object) -> tuple[str, Mapping[str, int | str]]:
    """The message's name, and the Tunnel ID in a control message's header; a data message is called as the LCP packet in it."""
    match message:
        case ControlMessage():
            return message.name, {"tunnel_id": message.tunnel_id}
        case DataMessage():
            return class_name(Sender.INITIATOR, _data_kind(message)), {}
        case _:
            return type(message).__name__, {}
