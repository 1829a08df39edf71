"""PPP's Link Control Protocol (RFC 1661 section 4) inside a call of PPTP or L2TP, as far as is needed to show that PPP passes.

The initiator is the end that placed the call. States are the standard's, told from the initiator's side: Ack-Rcvd is 'the responder
acknowledged the initiator's request', Ack-Sent the reverse. An end sends any number of Configure-Requests, each with a fresh
Magic-Number: each is a trial of its own, and the Configure-Ack that answers it carries the same Magic-Number back. Nothing is
negotiated: known options are acknowledged, unknown ones rejected. What is no LCP is recorded and answered by nobody.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from vpnprobe.conversations.contract import ConversationEnd, Sender, Tracker, TransitionTable, class_name
from vpnprobe.errors import DecodeError
from vpnprobe.wire.ppp import (
    PROTOCOL_LCP,
    ConfigureAck,
    ConfigureNak,
    ConfigureReject,
    ConfigureRequest,
    EchoReply,
    EchoRequest,
    LcpOption,
    LcpPacket,
    MagicNumber,
    MaximumReceiveUnit,
    PppFrame,
    RawLcp,
    RawOption,
    TerminateAck,
    TerminateRequest,
    decode_lcp,
    lcp_frame,
)

MRU_BYTES: Final = 1400
"""The Maximum-Receive-Unit that our requests ask for."""


class State(Enum):
    """How far the link got, seen from the initiator."""

    INITIAL = "initial"
    REQ_SENT = "req-sent"
    """A Configure-Request was sent, by either end, and none was acknowledged."""
    ACK_RCVD = "ack-rcvd"
    """The responder acknowledged a request of the initiator."""
    ACK_SENT = "ack-sent"
    """The initiator acknowledged a request of the responder."""
    OPENED = "opened"


PEER_STATES: Final = {State.ACK_RCVD: State.ACK_SENT, State.ACK_SENT: State.ACK_RCVD}
"""What a state is called when the other end is taken for the initiator; the rest are the same from both."""


class UnmatchedAck:
    """A kind of message: a Configure-Ack that answers no request that was seen, by Identifier and options (section 5.2)."""


_I: Final = Sender.INITIATOR
_R: Final = Sender.RESPONDER
_NEGOTIATING: Final = (State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT, State.OPENED)
_OPENED_ONLY: Final = (EchoRequest, EchoReply, PppFrame)
"""What may be sent once the link is open and not before (sections 3.5 and 5.8)."""

TRANSITIONS: Final[dict[tuple[State, Sender, type], State]] = {
    (State.INITIAL, _I, ConfigureRequest): State.REQ_SENT,
    (State.INITIAL, _R, ConfigureRequest): State.REQ_SENT,
    **{
        (state, sender, kind): state
        for state in _NEGOTIATING
        for sender in Sender
        for kind in (ConfigureRequest, ConfigureNak, ConfigureReject, TerminateRequest, TerminateAck, RawLcp)
    },
    (State.REQ_SENT, _R, ConfigureAck): State.ACK_RCVD,
    (State.REQ_SENT, _I, ConfigureAck): State.ACK_SENT,
    (State.ACK_RCVD, _R, ConfigureAck): State.ACK_RCVD,
    (State.ACK_RCVD, _I, ConfigureAck): State.OPENED,
    (State.ACK_SENT, _I, ConfigureAck): State.ACK_SENT,
    (State.ACK_SENT, _R, ConfigureAck): State.OPENED,
    (State.OPENED, _I, ConfigureAck): State.OPENED,
    (State.OPENED, _R, ConfigureAck): State.OPENED,
    **{(State.OPENED, sender, kind): State.OPENED for sender in Sender for kind in _OPENED_ONLY},
}
"""(state, who sent it, kind of message) -> state. A link that was terminated stays where it had come to."""

REQUEST: Final = ConfigureRequest.NAME
ANSWERS: Final = frozenset({ConfigureAck.NAME, ConfigureNak.NAME, ConfigureReject.NAME})
"""Carry the Magic-Number of the request that they answer."""
_KIND_NAMES: Final[Mapping[type, str]] = {UnmatchedAck: ConfigureAck.NAME, PppFrame: "PPP"}


def name_of(sender: Sender, kind: type) -> str:
    """The packet's name in the standard; `LCP` where that is not read, `PPP` for what is none."""
    return _KIND_NAMES.get(kind) or class_name(sender, kind)


def describe(message: object) -> tuple[str, Mapping[str, int | str]]:
    """The packet's name in the standard."""
    return name_of(Sender.INITIATOR, type(message)), {}


TABLE: Final = TransitionTable(
    State.INITIAL,
    TRANSITIONS,
    goals={"lcp": frozenset({State.ACK_RCVD, State.ACK_SENT, State.OPENED})},
    name_of=name_of,
)


class LcpTracker(Tracker[State]):
    """Follows both directions of a call's PPP frames."""

    def __init__(self, *, kept_steps: int = Tracker.KEPT_STEPS) -> None:
        super().__init__(TABLE, kept_steps=kept_steps)
        self._requested: dict[tuple[Sender, int], tuple[LcpOption, ...]] = {}

    def saw(self, sender: Sender, message: object, *, now: float, size: int = 0) -> bool:
        if isinstance(message, ConfigureRequest):
            self._requested[sender, message.identifier] = message.options
        return super().saw(sender, message, now=now, size=size)

    def kind(self, sender: Sender, message: object) -> type:
        match message:
            case ConfigureAck(identifier, options) if self._requested.get((sender.other, identifier)) != options:
                return UnmatchedAck
            case _:
                return type(message)

    def saw_frame(self, sender: Sender, payload: bytes, *, now: float) -> LcpPacket | PppFrame | DecodeError:
        """Records what a frame of the call is: LCP, another PPP frame, or not to be read."""
        message = read_frame(payload)
        self.saw(sender, message, now=now)
        return message


def read_frame(payload: bytes) -> LcpPacket | PppFrame | DecodeError:
    """LCP where it is that, any other PPP frame as it is, and the error where neither can be read."""
    try:
        frame = PppFrame.decode(payload)
        return decode_lcp(frame.information) if frame.protocol == PROTOCOL_LCP else frame
    except DecodeError as error:
        return error


def key_of(message: object) -> str:
    """The Magic-Number of a Configure packet as 8 hex digits, the same for a request and its Ack; empty for anything else."""
    match message:
        case ConfigureRequest(magic_number=int(magic)) | ConfigureAck(magic_number=int(magic)):
            return f"{magic:08x}"
        case ConfigureNak(magic_number=int(magic)) | ConfigureReject(magic_number=int(magic)):
            return f"{magic:08x}"
        case _:
            return ""


class LcpEnd(ConversationEnd[LcpTracker]):
    """One end of the link, the same for both. `data_to_send` gives PPP frames, to be wrapped as the call is.

    Each request is asked for by `request`, at the caller's pace. What the table does not expect is answered by nobody.
    """

    def __init__(self, sender: Sender) -> None:
        super().__init__(LcpTracker())
        self.sender = sender
        self.magic_number = 0
        """Of our last request; 0 before the first."""

    @property
    def state(self) -> State:
        return self.tracker.state

    @property
    def key(self) -> str:
        """The Magic-Number of our last request as 8 hex digits; empty before the first."""
        return f"{self.magic_number:08x}" if self.magic_number else ""

    def request(self, *, magic: int, identifier: int, now: float) -> bytes:
        """A Configure-Request as a PPP frame, recorded as sent. `magic` 1 to 2**32 - 1, fresh for each trial; `identifier` 0 to 255."""
        self.magic_number = magic
        return self._recorded(ConfigureRequest(identifier, (MaximumReceiveUnit(MRU_BYTES), MagicNumber(magic))), now)

    def echo(self, *, identifier: int, now: float) -> bytes:
        """An Echo-Request as a PPP frame, recorded as sent; a peer answers it only once the link is open."""
        return self._recorded(EchoRequest(identifier, self.magic_number), now)

    def receive(self, data: bytes, now: float) -> None:
        """One PPP frame of the call."""
        message = read_frame(data)
        expected = self.tracker.saw(self.sender.other, message, now=now)
        if expected and (answer := self._answer_to(message)) is not None:
            self._outbox.append(self._recorded(answer, now))

    def _answer_to(self, message: LcpPacket | PppFrame | DecodeError) -> LcpPacket | None:
        match message:
            case ConfigureRequest(identifier, options):
                unknown = tuple(option for option in options if isinstance(option, RawOption))
                return ConfigureReject(identifier, unknown) if unknown else ConfigureAck(identifier, options)
            case EchoRequest(identifier, _, data) if self.state is State.OPENED:
                return EchoReply(identifier, self.magic_number, data)
            case TerminateRequest(identifier):
                return TerminateAck(identifier)
            case _:
                return None

    def _recorded(self, packet: LcpPacket, now: float) -> bytes:
        self.tracker.saw(self.sender, packet, now=now)
        return lcp_frame(packet)
