"""Both ends of PPTP's control connection (RFC 2637 section 3): what they say, answer, and say at the end.

The initiator is the PNS, the responder the PAC. TCP repeats what is lost, so that the initiator's keepalive alone has a timer. The table is
`pptp.TABLE`, which captures are followed by.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from vpnprobe.conversations.contract import ConversationEnd, Sender
from vpnprobe.conversations.pptp import AFTER_CONTROL_UP, PptpTracker, State, key_of
from vpnprobe.errors import DecodeError
from vpnprobe.wire.pptp import (
    PROTOCOL_VERSION,
    SUCCESSFUL,
    CallClearRequest,
    CallDisconnectNotify,
    ControlMessage,
    EchoReply,
    EchoRequest,
    OutgoingCallReply,
    OutgoingCallRequest,
    SetLinkInfo,
    StartControlConnectionReply,
    StartControlConnectionRequest,
    StopControlConnectionReply,
    StopControlConnectionRequest,
)

VENDOR_NAME: Final = b"vpnprobe"
GENERAL_ERROR: Final = 2
"""Result Code: the Error Code says more (section 2.16)."""
CHANNEL_EXISTS: Final = 3
"""Result Code of an SCCRP."""
VERSION_NOT_SUPPORTED: Final = 5
"""Result Code of an SCCRP."""
NOT_CONNECTED: Final = 1
"""Error Code: no control connection exists yet."""
NO_RESOURCE: Final = 4
"""Error Code: this end has no room for another call."""
KEEPALIVE_S: Final = 60.0
"""Nothing was heard for so long: an Echo-Request asks whether the other end is there (section 3.1.4)."""


class _End(ConversationEnd[PptpTracker], ABC):
    """What both ends share."""

    def __init__(self, call_id: int) -> None:
        super().__init__(PptpTracker())
        self.call_id = call_id
        """Our Call ID: what GRE towards us carries."""
        self.peer_call_id: int | None = None
        """The peer's Call ID: what GRE towards it must carry; None: not known yet."""
        self.peer_call_id_seen: int | None = None
        """Our Call ID as the peer's message says it; another number than `call_id` means that a NAT rewrote it. None: not said yet."""
        self.result_code: int | None = None
        """Of the last SCCRP or OCRP that was sent or received; None: there was none."""
        self.finished = False
        """A Stop-Control-Connection-Request was answered, by either end: nothing is left but to close the TCP connection."""
        self._key = ""

    @property
    def state(self) -> State:
        return self.tracker.state

    @property
    def key(self) -> str:
        """The nonce of the initiator's Host Name; empty where it is not ours."""
        return self._key

    @property
    def broken(self) -> DecodeError | None:
        """Why the peer's stream cannot be read any further; None: it can."""
        return self.tracker.broken.get(self.SENDER.other)

    def receive(self, data: bytes, now: float) -> None:
        for message in self.tracker.messages(self.SENDER.other, data, now=now):
            self._answer(message, now)

    def _send(self, message: ControlMessage, now: float) -> None:
        self.tracker.saw(self.SENDER, message, now=now)
        self._outbox.append(message.encode())

    def _answer(self, message: ControlMessage, now: float) -> None:
        match message:
            case EchoRequest(identifier):
                self._send(EchoReply(identifier), now)
            case StopControlConnectionRequest():
                self._send(StopControlConnectionReply(), now)
                self.finished = True
            case StopControlConnectionReply():
                self.finished = True
            case _:
                self._answer_own(message, now)

    @abstractmethod
    def _answer_own(self, message: ControlMessage, now: float) -> None:
        """Answers what only this role answers."""


class Initiator(_End):
    """The client's end, the PNS: SCCRQ, then OCRQ once the control connection is up, then Set-Link-Info once the call is."""

    SENDER: ClassVar[Sender] = Sender.INITIATOR

    def __init__(self, host_name: str, call_id: int) -> None:
        super().__init__(call_id)
        self._request = StartControlConnectionRequest(host_name=host_name.encode(), vendor_name=VENDOR_NAME)
        self._key = key_of(self._request)
        self._echoes = 0
        """Echo-Requests so far: the Identifier of the last."""
        self._keepalive_due: float | None = None
        self._hanging_up = False
        """The call is being cleared, and the control connection is to end after it."""

    def start(self, now: float) -> None:
        self._send(self._request, now)

    def receive(self, data: bytes, now: float) -> None:
        super().receive(data, now)
        self._keepalive_due = now + KEEPALIVE_S if self.answered and not self.finished else None

    @property
    def answered(self) -> bool:
        """Whether the peer has granted the control connection."""
        return self.state in AFTER_CONTROL_UP

    def next_timer(self) -> float | None:
        return self._keepalive_due

    def handle_timer(self, now: float) -> None:
        """Asks whether a peer that has been silent is still there."""
        if self._keepalive_due is not None and now >= self._keepalive_due:
            self._keepalive_due = now + KEEPALIVE_S
            self._echo(now)

    def hang_up(self, now: float) -> None:
        """Asks once more whether the peer is there, and clears the call; after that, or where none is up, the control connection ends.

        A peer that has not answered the SCCRQ is told nothing: it knows of no connection to be ended. One may end everything at once when a
        call is cleared, and would meet what else is said with a reset.
        """
        self._keepalive_due = None
        if not self.answered or self.finished:
            return
        self._echo(now)
        self._hanging_up = self.state is State.CALL_UP
        self._send(CallClearRequest(self.call_id) if self._hanging_up else StopControlConnectionRequest(), now)

    def _echo(self, now: float) -> None:
        self._echoes += 1
        self._send(EchoRequest(self._echoes), now)

    def _answer_own(self, message: ControlMessage, now: float) -> None:
        match message:
            case StartControlConnectionReply(result_code=result):
                self.result_code = result
                if self.state is State.CONTROL_UP:
                    self._send(OutgoingCallRequest(self.call_id), now)
            case OutgoingCallReply(call_id=peer, peer_call_id=seen, result_code=result):
                self.result_code, self.peer_call_id_seen = result, seen
                if self.state is State.CALL_UP and self.peer_call_id is None:
                    self.peer_call_id = peer
                    self._send(SetLinkInfo(peer), now)
            case CallDisconnectNotify() if self._hanging_up:
                self._hanging_up = False
                self._send(StopControlConnectionRequest(), now)
            case _:
                return


class Responder(_End):
    """The server's end, the PAC: grants what is asked in its order, refuses what comes out of it."""

    SENDER: ClassVar[Sender] = Sender.RESPONDER

    def __init__(self, call_id: int, host_name: str = "vpnprobe") -> None:
        super().__init__(call_id)
        self._host_name = host_name.encode()

    def _answer_own(self, message: ControlMessage, now: float) -> None:
        match message:
            case StartControlConnectionRequest():
                self._answer_start(message, now)
            case OutgoingCallRequest(call_id=peer):
                self._answer_call(peer, now)
            case SetLinkInfo(peer_call_id=seen):
                self.peer_call_id_seen = seen
            case CallClearRequest():
                self._send(CallDisconnectNotify(self.call_id), now)
            case _:
                return

    def _answer_start(self, request: StartControlConnectionRequest, now: float) -> None:
        if self.state is not State.CONTROL_REQUESTED:
            result = CHANNEL_EXISTS
        elif request.protocol_version != PROTOCOL_VERSION:
            result = VERSION_NOT_SUPPORTED
        else:
            result, self._key = SUCCESSFUL, key_of(request)
        self.result_code = result
        self._send(StartControlConnectionReply(result_code=result, host_name=self._host_name, vendor_name=VENDOR_NAME), now)

    def _answer_call(self, peer_call_id: int, now: float) -> None:
        if self.state is State.CALL_REQUESTED:
            self.peer_call_id, self.result_code = peer_call_id, SUCCESSFUL
            self._send(OutgoingCallReply(self.call_id, peer_call_id), now)
        else:
            error = NO_RESOURCE if self.state is State.CALL_UP else NOT_CONNECTED
            self._send(OutgoingCallReply(self.call_id, peer_call_id, result_code=GENERAL_ERROR, error_code=error), now)
