"""L2TP's control connection and one incoming call (RFC 2661 sections 5 to 7) on UDP port 1701: one table, three riders.

The initiator is the LAC, which opens the tunnel and places the call; the responder is the LNS. States are the published stages, and a
state is the furthest point that the messages show: a tunnel that was stopped stays where it had come to. Messages are numbered,
acknowledged and repeated as section 5.8 says: out of order ones are dropped and come again, duplicates are acknowledged once more.
The tracker records what arrives in its order of arrival, whether or not an end acts on it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum
from typing import ClassVar, Final

from vpnprobe.conversations.contract import ConversationEnd, Retransmission, Sender, Tracker, TransitionTable
from vpnprobe.conversations.observing import MessageSeen
from vpnprobe.errors import DecodeError
from vpnprobe.wire.l2tp import (
    MESSAGE_NUMBERS,
    Avp,
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
    call_connected_avps,
    call_reply_avps,
    call_request_avps,
    decode_l2tp,
    stop_avps,
    tunnel_avps,
)

HOST_NAME_PREFIX: Final = "vpnprobe-"
"""Our Host Name is this and the nonce in hex."""
ATTEMPTS: Final = 4
"""Times that a message is sent in all, unless the caller says otherwise; section 5.8 recommends at least 5 repetitions for real tunnels."""
NUMBERS: Final = 65536
"""Ns and Nr are modulo this."""


class State(Enum):
    """How far the tunnel and its call got."""

    IDLE = "idle"
    TUNNEL_REQUESTED = "sccrq-unanswered"
    TUNNEL_ANSWERED = "sccrp"
    TUNNEL_UP = "tunnel-up"
    SESSION_ANSWERED = "session-answered"
    SESSION_UP = "session-up"
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
_FROM_SCCRQ: Final = (State.TUNNEL_REQUESTED, State.TUNNEL_ANSWERED, State.TUNNEL_UP, State.SESSION_ANSWERED, State.SESSION_UP)
_UPKEEP: Final = (ZeroLengthBody, StopControlConnectionNotification)
_UPKEEP_OF_TUNNEL: Final = (Hello, CallDisconnectNotify, OtherControlMessage)

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
    **{(State.SESSION_UP, sender, DataMessage): State.SESSION_UP for sender in Sender},
    # A capture that begins in the middle.
    **{
        (state, sender, kind): State.MIDSTREAM_CONTROL if state is State.IDLE else state
        for state in (State.IDLE, *_MIDSTREAM)
        for sender in Sender
        for kind in (*MESSAGE_NUMBERS, ZeroLengthBody, OtherControlMessage, MalformedControlMessage)
        if (sender, kind) != (_I, StartControlConnectionRequest)
    },
    **{(state, sender, DataMessage): State.MIDSTREAM_DATA for state in (State.IDLE, *_MIDSTREAM) for sender in Sender},
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
    goals={"control": frozenset({State.SESSION_ANSWERED, State.SESSION_UP})},
    refusals=frozenset(_REFUSED.values()),
    stages={refused: str(state.value) for state, refused in _REFUSED.items()},
)


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


class L2tpTracker(Tracker[State]):
    """Follows the datagrams of one pair of ports, both directions."""

    def __init__(self) -> None:
        super().__init__(TABLE)
        self.key = ""
        """`key_of` the first SCCRQ; empty: none was seen."""

    def saw(self, sender: Sender, message: object, *, now: float, size: int = 0) -> bool:
        self.key = self.key or key_of(message)
        return super().saw(sender, message, now=now, size=size)

    def saw_datagram(self, sender: Sender, data: bytes, *, now: float) -> ControlMessage | DataMessage | DecodeError:
        """Records what a datagram holds, or why it cannot be read."""
        message = _read(data)
        self.saw(sender, message, now=now)
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
            yield MessageSeen("control", self._tunnel.key, *describe(message))

    def closed(self, _: Sender) -> Iterator[MessageSeen]:
        """Datagrams do not end."""
        yield from ()


def describe(message: object) -> tuple[str, Mapping[str, int | str]]:
    """The message's name, and the Tunnel ID in its header."""
    if isinstance(message, ControlMessage):
        return message.name, {"tunnel_id": message.tunnel_id}
    return str(getattr(message, "name", type(message).__name__)), {}


class _End(ConversationEnd[L2tpTracker], ABC):
    """What both ends share."""

    def __init__(self, *, tunnel_id: int, session_id: int, retransmit_after_s: float, attempts: int) -> None:
        super().__init__(L2tpTracker())
        self.tunnel_id = tunnel_id
        """Ours, 1 to 65535: stands in the header of what comes to us."""
        self.session_id = session_id
        """Ours, 1 to 65535."""
        self.peer_tunnel_id = 0
        """0: not assigned yet."""
        self.peer_session_id = 0
        """0: not assigned yet."""
        self.refusal: StopControlConnectionNotification | CallDisconnectNotify | None = None
        """The peer's first StopCCN or CDN; None: there was none."""
        self.stopped = False
        """A StopCCN was sent or received: there is no tunnel any more."""
        self._ns = 0
        self._nr = 0
        self._unacknowledged: list[ControlMessage] = []
        self._timer = Retransmission(retransmit_after_s, attempts)

    @property
    def state(self) -> State:
        return self.tracker.state

    @property
    def key(self) -> str:
        """The nonce of the initiator's Host Name, or `tunnel-` and its Assigned Tunnel ID; empty while unknown."""
        return self.tracker.key

    @property
    def acknowledged(self) -> bool:
        """Whether the peer acknowledged everything that we sent."""
        return not self._unacknowledged

    @property
    def result_code(self) -> int | None:
        """Of the `refusal` (section 4.4.2); None: there is none, or it says none."""
        return None if self.refusal is None else self.refusal.number(AvpType.RESULT_CODE)

    def receive(self, data: bytes, now: float) -> None:
        """One datagram."""
        message = self.tracker.saw_datagram(self.SENDER.other, data, now=now)
        if isinstance(message, ControlMessage) and self._is_ours(message):
            self._acknowledged_up_to(message.nr, now)
            if not isinstance(message, ZeroLengthBody):
                self._take(message, now)

    def next_timer(self) -> float | None:
        return self._timer.due

    def handle_timer(self, now: float) -> None:
        """Sends all that is not acknowledged once more, with the current Nr."""
        if self._timer.again(now):
            for message in self._unacknowledged:
                self._put(replace(message, nr=self._nr), now)

    def close(self, now: float) -> None:
        """Ends the tunnel with a StopCCN, where the peer has one; otherwise stops repeating."""
        if self.peer_tunnel_id and not self.stopped:
            self._unacknowledged.clear()
            self._send(StopControlConnectionNotification, 0, stop_avps(assigned_tunnel_id=self.tunnel_id), now)
        elif not self.stopped:
            self._timer.stop()
        self.stopped = True

    def _is_ours(self, message: ControlMessage) -> bool:
        return message.tunnel_id == self.tunnel_id

    def _acknowledged_up_to(self, nr: int, now: float) -> None:
        waiting = [message for message in self._unacknowledged if not _before(message.ns, nr)]
        if len(waiting) < len(self._unacknowledged):
            self._unacknowledged = waiting
            if waiting:
                self._timer.began(now)
            else:
                self._timer.stop()

    def _take(self, message: ControlMessage, now: float) -> None:
        """Acts on a message that is due, and acknowledges it: with what is sent in answer, otherwise with a ZLB."""
        sent_before = len(self._outbox)
        if message.ns == self._nr:
            self._nr = (self._nr + 1) % NUMBERS
            self._act(message, now)
        elif _before(self._nr, message.ns):
            return
        if len(self._outbox) == sent_before:
            self._put(ZeroLengthBody(self.peer_tunnel_id, 0, self._ns, self._nr), now)

    def _act(self, message: ControlMessage, now: float) -> None:
        match message:
            case StopControlConnectionNotification():
                self._refused_by(message)
                self.stopped = True
                self.peer_tunnel_id = self.peer_tunnel_id or message.number(AvpType.ASSIGNED_TUNNEL_ID) or 0
                self._unacknowledged.clear()
                self._timer.stop()
            case CallDisconnectNotify():
                self._refused_by(message)
            case _ if not self.stopped:
                self._act_own(message, now)

    @abstractmethod
    def _act_own(self, message: ControlMessage, now: float) -> None:
        """Answers what only this role answers."""

    def _refused_by(self, message: StopControlConnectionNotification | CallDisconnectNotify) -> None:
        self.refusal = self.refusal or message

    def _send(self, kind: type[ControlMessage], session_id: int, avps: tuple[Avp, ...], now: float) -> None:
        message = kind(self.peer_tunnel_id, session_id, self._ns, self._nr, avps)
        self._ns = (self._ns + 1) % NUMBERS
        self._unacknowledged.append(message)
        self._put(message, now)
        self._timer.began(now)

    def _put(self, message: ControlMessage, now: float) -> None:
        self.tracker.saw(self.SENDER, message, now=now)
        self._outbox.append(message.encode())


def _before(one: int, other: int) -> bool:
    """Whether `one` is a lower sequence number than `other`, modulo 65536: within the 32767 before it (section 5.8)."""
    return 0 < (other - one) % NUMBERS < NUMBERS // 2


class Initiator(_End):
    """The client's end, the LAC: SCCRQ; SCCCN and ICRQ once it is answered; ICCN once the call is."""

    SENDER: ClassVar[Sender] = Sender.INITIATOR

    def __init__(self, *, nonce: str, tunnel_id: int, session_id: int, retransmit_after_s: float, attempts: int = ATTEMPTS) -> None:
        """`nonce`: lower-case hex digits; `tunnel_id` and `session_id`: ours, 1 to 65535; `attempts`: sendings of a message in all."""
        super().__init__(tunnel_id=tunnel_id, session_id=session_id, retransmit_after_s=retransmit_after_s, attempts=attempts)
        self._host_name = (HOST_NAME_PREFIX + nonce).encode("ascii")

    def start(self, now: float) -> None:
        avps = tunnel_avps(host_name=self._host_name, assigned_tunnel_id=self.tunnel_id)
        self._send(StartControlConnectionRequest, 0, avps, now)

    def _act_own(self, message: ControlMessage, now: float) -> None:
        match message:
            case StartControlConnectionReply() if not self.peer_tunnel_id:
                self.peer_tunnel_id = message.number(AvpType.ASSIGNED_TUNNEL_ID) or 0
                if self.peer_tunnel_id:
                    self._send(StartControlConnectionConnected, 0, (), now)
                    call = call_request_avps(assigned_session_id=self.session_id, call_serial_number=self.session_id)
                    self._send(IncomingCallRequest, 0, call, now)
            case IncomingCallReply() if not self.peer_session_id:
                self.peer_session_id = message.number(AvpType.ASSIGNED_SESSION_ID) or 0
                if self.peer_session_id:
                    self._send(IncomingCallConnected, self.peer_session_id, call_connected_avps(), now)
            case _:
                return


class Responder(_End):
    """The server's end, the LNS, for one tunnel: begins with the SCCRQ that `opening` knows, and takes one call."""

    SENDER: ClassVar[Sender] = Sender.RESPONDER

    def __init__(
        self,
        *,
        tunnel_id: int,
        session_id: int,
        retransmit_after_s: float,
        attempts: int = ATTEMPTS,
        host_name: bytes = b"vpnprobe",
    ) -> None:
        """`tunnel_id` and `session_id`: ours, 1 to 65535."""
        super().__init__(tunnel_id=tunnel_id, session_id=session_id, retransmit_after_s=retransmit_after_s, attempts=attempts)
        self._host_name = host_name

    def _is_ours(self, message: ControlMessage) -> bool:
        return isinstance(message, StartControlConnectionRequest) or super()._is_ours(message)

    def _act_own(self, message: ControlMessage, now: float) -> None:
        match message:
            case StartControlConnectionRequest() if not self.peer_tunnel_id:
                self.peer_tunnel_id = message.number(AvpType.ASSIGNED_TUNNEL_ID) or 0
                if self.peer_tunnel_id:
                    avps = tunnel_avps(host_name=self._host_name, assigned_tunnel_id=self.tunnel_id)
                    self._send(StartControlConnectionReply, 0, avps, now)
            case IncomingCallRequest() if not self.peer_session_id:
                self.peer_session_id = message.number(AvpType.ASSIGNED_SESSION_ID) or 0
                if self.peer_session_id:
                    self._send(IncomingCallReply, self.peer_session_id, call_reply_avps(assigned_session_id=self.session_id), now)
            case _:
                return
