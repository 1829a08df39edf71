"""PPTP's control connection (RFC 2637 section 3) on TCP port 1723: one table, three riders.

The initiator is the PNS, which opens the connection and places an outgoing call; the responder is the PAC. States are the published stages,
and a state is the furthest point that the messages show: a call that was cleared stays `call-up`. A reply that refuses is another kind of
message than one that grants. The stream is taken in any chunks; once it cannot be cut into messages, `broken` says why and the rest is
ignored. Live ends are in `pptp_ends`.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import ClassVar, Final

from vpnprobe.conversations.contract import Sender, Tracker, TransitionTable
from vpnprobe.conversations.observing import MessageSeen
from vpnprobe.conversations.one_direction import Implied
from vpnprobe.conversations.stream_framing import Delimiting, StreamFraming
from vpnprobe.errors import DecodeError
from vpnprobe.wire.pptp import (
    CONTROL_MESSAGE,
    HEADER_SIZE,
    LONGEST,
    MAGIC_COOKIE,
    MESSAGES,
    SUCCESSFUL,
    CallClearRequest,
    CallDisconnectNotify,
    ControlMessage,
    EchoReply,
    EchoRequest,
    IncomingCallConnected,
    IncomingCallReply,
    IncomingCallRequest,
    OutgoingCallReply,
    OutgoingCallRequest,
    SetLinkInfo,
    StartControlConnectionReply,
    StartControlConnectionRequest,
    StopControlConnectionReply,
    StopControlConnectionRequest,
    WanErrorNotify,
    decode_message,
    split_messages,
)

HOST_NAME_PREFIX: Final = "vpnprobe-"
"""Our Host Name is this and the nonce in hex."""
COOKIE: Final = MAGIC_COOKIE.to_bytes(4, "big")
COOKIE_AT: Final = 4
"""Offset of the Magic Cookie in a message."""
HEAD_BYTES: Final = 18
"""Bytes of a message up to the last field that moves the table: the Result Code and Error Code of an OCRP."""


class State(Enum):
    """How far the control connection got."""

    IDLE = "idle"
    CONTROL_REQUESTED = "sccrq-unanswered"
    CONTROL_REJECTED = "control-rejected"
    CONTROL_UP = "control-up"
    CALL_REQUESTED = "ocrq-unanswered"
    CALL_REJECTED = "call-rejected"
    CALL_UP = "call-up"
    MIDSTREAM = "midstream-control"
    """What was seen first was no SCCRQ: a capture that begins in the middle."""


class ControlRefusal:
    """A kind of message: an SCCRP whose Result Code is not 1 (section 2.2)."""

    NAME: ClassVar[str] = "SCCRP-refused"


class CallRefusal:
    """A kind of message: an OCRP or ICRP whose Result Code is not 1 (sections 2.8 and 2.10)."""

    NAME: ClassVar[str] = "OCRP-refused"


_I: Final = Sender.INITIATOR
_R: Final = Sender.RESPONDER
AFTER_CONTROL_UP: Final = (State.CONTROL_UP, State.CALL_REQUESTED, State.CALL_REJECTED, State.CALL_UP)

Row = tuple[State, Sender, type]

TRANSITIONS: Final[dict[Row, State]] = {
    # The control connection and its upkeep: these never lead back.
    **{(state, sender, kind): state for state in AFTER_CONTROL_UP for sender in Sender for kind in (EchoRequest, EchoReply)},
    **{
        (state, sender, kind): state
        for state in (State.CONTROL_REQUESTED, State.CONTROL_REJECTED, *AFTER_CONTROL_UP)
        for sender in Sender
        for kind in (StopControlConnectionRequest, StopControlConnectionReply)
    },
    (State.IDLE, _I, StartControlConnectionRequest): State.CONTROL_REQUESTED,
    (State.CONTROL_REQUESTED, _R, StartControlConnectionReply): State.CONTROL_UP,
    (State.CONTROL_REQUESTED, _R, ControlRefusal): State.CONTROL_REJECTED,
    (State.CONTROL_REQUESTED, _R, StopControlConnectionRequest): State.CONTROL_REJECTED,
    # The outgoing call, and further ones on the same connection.
    (State.CONTROL_UP, _I, OutgoingCallRequest): State.CALL_REQUESTED,
    (State.CALL_REQUESTED, _I, OutgoingCallRequest): State.CALL_REQUESTED,
    (State.CALL_REJECTED, _I, OutgoingCallRequest): State.CALL_REJECTED,
    (State.CALL_UP, _I, OutgoingCallRequest): State.CALL_UP,
    (State.CALL_REQUESTED, _R, OutgoingCallReply): State.CALL_UP,
    (State.CALL_REJECTED, _R, OutgoingCallReply): State.CALL_UP,
    (State.CALL_UP, _R, OutgoingCallReply): State.CALL_UP,
    (State.CALL_REQUESTED, _R, CallRefusal): State.CALL_REJECTED,
    (State.CALL_REJECTED, _R, CallRefusal): State.CALL_REJECTED,
    (State.CALL_UP, _R, CallRefusal): State.CALL_UP,
    (State.CALL_REQUESTED, _R, CallDisconnectNotify): State.CALL_REJECTED,
    (State.CALL_REQUESTED, _I, CallClearRequest): State.CALL_REQUESTED,
    # The incoming call, which the PAC asks for.
    (State.CONTROL_UP, _R, IncomingCallRequest): State.CONTROL_UP,
    (State.CONTROL_UP, _I, IncomingCallReply): State.CONTROL_UP,
    (State.CONTROL_UP, _I, CallRefusal): State.CALL_REJECTED,
    (State.CONTROL_UP, _R, IncomingCallConnected): State.CALL_UP,
    # While a call is up.
    (State.CALL_UP, _I, SetLinkInfo): State.CALL_UP,
    (State.CALL_UP, _R, WanErrorNotify): State.CALL_UP,
    (State.CALL_UP, _I, CallClearRequest): State.CALL_UP,
    (State.CALL_UP, _R, CallDisconnectNotify): State.CALL_UP,
    # A capture that begins in the middle.
    **{
        (state, sender, kind): State.MIDSTREAM
        for state in (State.IDLE, State.MIDSTREAM)
        for sender in Sender
        for kind in (*MESSAGES, ControlRefusal, CallRefusal)
        if (sender, kind) != (_I, StartControlConnectionRequest)
    },
}
"""(state, who sent it, kind of message) -> state."""
TABLE: Final = TransitionTable(
    State.IDLE,
    TRANSITIONS,
    goals={"control": frozenset({State.CALL_UP})},
    refusals=frozenset({State.CONTROL_REJECTED, State.CALL_REJECTED}),
)


IMPLIED: Final[Implied] = {
    (_R, StartControlConnectionReply): (_I, StartControlConnectionRequest),
    (_R, ControlRefusal): (_I, StartControlConnectionRequest),
    (_I, OutgoingCallRequest): (_R, StartControlConnectionReply),
    (_R, OutgoingCallReply): (_I, OutgoingCallRequest),
    (_R, CallRefusal): (_I, OutgoingCallRequest),
    (_I, SetLinkInfo): (_R, OutgoingCallReply),
}
"""What one end's messages show of the other's, where that one's were not captured (sections 3.1 and 3.2)."""


def begins_message(chunk: bytes) -> bool:
    """Whether a chunk of the stream has the Magic Cookie of a control message in its place."""
    return chunk[4:8] == COOKIE


def find_message(stretch: bytes) -> tuple[bool, int]:
    """Where the head of a control message stands in a part of the stream, as `Delimiting.find` has it: by its Magic Cookie, which is for
    that (section 2), and the two fields before it.
    """
    at = stretch.find(COOKIE, COOKIE_AT)
    while at >= 0:
        head = at - COOKIE_AT
        length, kind = int.from_bytes(stretch[head : head + 2], "big"), int.from_bytes(stretch[head + 2 : at], "big")
        if HEADER_SIZE <= length <= LONGEST and kind == CONTROL_MESSAGE:
            return True, head
        at = stretch.find(COOKIE, at + 1)
    return False, max(0, len(stretch) - COOKIE_AT - len(COOKIE) + 1)


DELIMITING: Final = Delimiting(split_messages, begins_message, find_message, head_bytes=HEAD_BYTES)


class PptpTracker(Tracker[State]):
    """Follows the control connection through both directions of a TCP stream, in whatever chunks they come."""

    def __init__(self) -> None:
        super().__init__(TABLE)
        self.framings = {sender: StreamFraming(DELIMITING) for sender in Sender}

    def kind(self, sender: Sender, message: object) -> type:
        match message:
            case StartControlConnectionReply(result_code=result) if result != SUCCESSFUL:
                return ControlRefusal
            case OutgoingCallReply(result_code=result) | IncomingCallReply(result_code=result) if result != SUCCESSFUL:
                return CallRefusal
            case _:
                return type(message)

    def saw_chunk(self, sender: Sender, chunk: bytes, *, now: float, gap: int = 0, missing: int = 0) -> list[ControlMessage]:
        """Records the messages that `chunk` completes and returns them. `gap`, `missing`: as in `StreamFraming.take`.

        A message that cannot be read is recorded as its DecodeError; the stream goes on where its framing is intact.
        """
        return list(self.messages(sender, chunk, now=now, gap=gap, missing=missing))

    def messages(self, sender: Sender, chunk: bytes, *, now: float, gap: int = 0, missing: int = 0) -> Iterator[ControlMessage]:
        """`saw_chunk` one by one: each message is given when it was recorded and the next was not, so it can be answered in its place.

        To be run to its end.
        """
        framing = self.framings[sender]
        broken = framing.broken
        for data in framing.take(chunk, gap=gap, missing=missing):
            try:
                message = decode_message(data)
            except DecodeError as error:
                self.saw(sender, error, now=now)
                continue
            self.saw(sender, message, now=now)
            yield message
        if framing.broken is not None and framing.broken is not broken:
            self.saw(sender, framing.broken, now=now)

    @property
    def broken(self) -> Mapping[Sender, DecodeError]:
        """Why a direction of the stream cannot be read any further."""
        return {sender: framing.broken for sender, framing in self.framings.items() if framing.broken is not None}


def host_name(nonce: str) -> str:
    """The Host Name that carries a nonce in hex, at most 55 digits."""
    return HOST_NAME_PREFIX + nonce


def key_of(message: object) -> str:
    """The nonce in the Host Name of an SCCRQ of ours; empty for any other message or name."""
    if not isinstance(message, StartControlConnectionRequest):
        return ""
    prefix = HOST_NAME_PREFIX.encode()
    nonce = message.host_name.removeprefix(prefix)
    if nonce == message.host_name or not nonce or nonce.strip(b"0123456789abcdef"):
        return ""
    return nonce.decode("ascii")


def opening(data: bytes) -> str:
    """The key of the control connection that begins with these bytes; empty: no SCCRQ of ours is whole in them."""
    messages = PptpTracker().saw_chunk(Sender.INITIATOR, data, now=0.0)
    return key_of(messages[0]) if messages else ""


class PptpObserver:
    """One control connection as the wire shows it, by the nonce in the client's Host Name."""

    def __init__(self) -> None:
        self._tracker = PptpTracker()
        self._key = ""

    def saw(self, sender: Sender, data: bytes, *, gap: int = 0) -> Iterator[MessageSeen]:
        for message in self._tracker.saw_chunk(sender, data, now=0.0, gap=gap):
            self._key = self._key or key_of(message)
            if self._key:
                name, detail = describe(message)
                granted = isinstance(message, OutgoingCallReply) and message.result_code == SUCCESSFUL
                call_ids = (message.call_id, message.peer_call_id) if granted and isinstance(message, OutgoingCallReply) else None
                yield MessageSeen("control", self._key, name, detail, call_ids)

    def closed(self, _: Sender) -> Iterator[MessageSeen]:
        """An end without a message says nothing that the messages before it did not."""
        yield from ()


def describe(message: object) -> tuple[str, Mapping[str, int | str]]:
    """The message's name, and the numbers in it that matter to a judgement; a reply that refuses has `-refused` behind its name."""
    match message:
        case StartControlConnectionReply(result_code=result):
            return _reply(message, {"result_code": result})
        case OutgoingCallReply(call_id=own, peer_call_id=peer, result_code=result):
            return _reply(message, {"result_code": result, "call_id": own, "peer_call_id": peer})
        case OutgoingCallRequest(call_id=own):
            return message.NAME, {"call_id": own}
        case _:
            return str(getattr(message, "NAME", type(message).__name__)), {}


def _reply(
    message: StartControlConnectionReply | OutgoingCallReply, numbers: Mapping[str, int | str]
) -> tuple[str, Mapping[str, int | str]]:
    return (message.NAME if message.result_code == SUCCESSFUL else f"{message.NAME}-refused"), numbers
