"""Both ends of an L2TP tunnel with one call (RFC 2661 sections 5 to 7), and PPP LCP in the call's data messages (RFC 1661 section 5).

Control messages are numbered, acknowledged and repeated as section 5.8 says: out of order ones are dropped and come again, duplicates are
acknowledged once more. Once the call is up each end sends Configure-Requests in data messages, each with a fresh Magic-Number, and
acknowledges the other's: all that is needed to show that data passes. The table is `l2tp.TABLE`, which captures are followed by.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Final

from vpnprobe.conversations import lcp
from vpnprobe.conversations.contract import ConversationEnd, Retransmission, Sender
from vpnprobe.conversations.l2tp import HOST_NAME_PREFIX, L2tpTracker, State
from vpnprobe.conversations.tunnel_echo import LEAST_ABOVE, MOST_ECHOES, EchoRun, TunnelRequests
from vpnprobe.wire.l2tp import (
    Avp,
    AvpType,
    CallDisconnectNotify,
    ControlMessage,
    DataMessage,
    IncomingCallConnected,
    IncomingCallReply,
    IncomingCallRequest,
    StartControlConnectionConnected,
    StartControlConnectionReply,
    StartControlConnectionRequest,
    StopControlConnectionNotification,
    ZeroLengthBody,
    call_connected_avps,
    call_reply_avps,
    call_request_avps,
    disconnect_avps,
    stop_avps,
    tunnel_avps,
)
from vpnprobe.wire.ppp import ConfigureRequest

ATTEMPTS: Final = 4
"""Times that a message is sent in all, unless the caller says otherwise; section 5.8 recommends at least 5 repetitions for real tunnels."""
NUMBERS: Final = 65536
"""Ns and Nr are modulo this."""
REQUESTS: Final = 12
"""Configure-Requests that each end of a paired run sends in a call: of each size several, and enough to tell a path that loses some."""
OUTER_BYTES: Final = (54, 576, 1400)
"""Of the IP packet that carries a Configure-Request of ours. The first is as it is; others are padded."""
CARRIER_BYTES: Final = 36
"""Of these: IPv4, UDP and the header of a data message with its length."""
TURNS: Final = 2
"""How often the sizes take turns; the rest are as they are."""
MOST_IDENTIFIERS: Final = 255
"""Identifiers of LCP packets go from 1 to this, and begin again."""


class _End(ConversationEnd[L2tpTracker], TunnelRequests, ABC):
    """What both ends share."""

    def __init__(
        self,
        *,
        tunnel_id: int,
        session_id: int,
        retransmit_after_s: float,
        attempts: int,
        entropy: Callable[[int], bytes],
        requests: int,
    ) -> None:
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
        self._entropy = entropy
        self._lcp = lcp.LcpEnd(self.SENDER)
        self._asked: dict[str, int] = {}
        """By Magic-Number, in hex: which of the run's requests bore it."""
        self._last_request = b""
        """The PPP frame of our last Configure-Request; empty: there was none."""
        self.bytes_received = 0
        self.begin_echoes(EchoRun(0, requests, OUTER_BYTES, full_turns=TURNS))

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

    @property
    def in_call(self) -> bool:
        """Whether both Session IDs are known and nobody has ended the call: data messages can be sent."""
        return bool(self.peer_session_id) and not self.failed

    @property
    def answered(self) -> bool:
        """Whether the peer has assigned a Tunnel ID."""
        return bool(self.peer_tunnel_id)

    @property
    def failed(self) -> bool:
        return self.stopped or self.refusal is not None

    def receive(self, data: bytes, now: float) -> None:
        """One datagram."""
        self.bytes_received += len(data)
        message = self.tracker.saw_datagram(self.SENDER.other, data, now=now)
        if isinstance(message, DataMessage):
            if self.in_call and (message.tunnel_id, message.session_id) == (self.tunnel_id, self.session_id):
                self._frame_came(message.payload, now)
        elif isinstance(message, ControlMessage) and self._is_ours(message):
            self._acknowledged_up_to(message.nr, now)
            if not isinstance(message, ZeroLengthBody):
                self._take(message, now)

    def next_timer(self) -> float | None:
        return min((due for due in (self._timer.due, self.run.due) if due is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Sends all that is not acknowledged once more, with the current Nr, and the Configure-Request that is due."""
        if self._timer.again(now):
            self._repeat(now)
        self.send_due_echo(now)

    def close(self, now: float) -> None:
        """Ends the call with a CDN and the tunnel with a StopCCN, where the peer has them; otherwise stops repeating.

        What the peer has not acknowledged goes out once more before: it drops what comes before its turn (section 5.8).
        """
        self.run.due = None
        if self.peer_tunnel_id and not self.stopped:
            self._repeat(now)
            if self.in_call:
                self._send(CallDisconnectNotify, self.peer_session_id, disconnect_avps(assigned_session_id=self.session_id), now)
            self._send(StopControlConnectionNotification, 0, stop_avps(assigned_tunnel_id=self.tunnel_id), now)
        elif not self.stopped:
            self._timer.stop()
        self.stopped = True

    def send_due_echo(self, now: float) -> None:
        """Sends the Configure-Request that is due, if one is and there is a call."""
        if not self.in_call:
            self.run.due = None  # There will be none any more; what is due now would be due for ever.
            return
        if (request := self.run.next(now)) is None:
            return
        sequence, outer_bytes = request
        magic = int.from_bytes(self._entropy(4), "big") | 1
        frame = self._lcp.request(magic=magic, identifier=sequence % MOST_IDENTIFIERS + 1, now=now)
        # What lies behind an LCP packet's own length is padding, and ignored (RFC 1661 section 5).
        self._last_request = frame.ljust(outer_bytes - CARRIER_BYTES, b"\0")
        self._asked[self._lcp.key] = sequence
        self._put_frame(self._last_request, now)

    def ask_again(self, now: float) -> None:
        """Repeats the last Configure-Request, as PPP does when its restart timer runs out (RFC 1661 section 4.6): no further trial."""
        if self._last_request and self.in_call:
            self._put_frame(self._last_request, now)

    def hears_small_requests_alone(self) -> bool:
        frames = [size - CARRIER_BYTES for size in self.run.sizes]
        fitting = [frame for frame in frames if frame <= self.largest_request]
        return 0 < len(fitting) < len(frames) and self.requests_answered >= LEAST_ABOVE * len(fitting)

    def _may_ask(self, now: float) -> None:
        """The call is up: the run of requests begins, unless it has."""
        if not self.run.requests and self.run.due is None:
            self.run.begin(now)
            self.send_due_echo(now)

    def _frame_came(self, frame: bytes, now: float) -> None:
        """A PPP frame of the call: an answer to a request of ours is noted, and what LCP answers is answered."""
        message = lcp.read_frame(frame)
        if lcp.name_of(self.SENDER.other, type(message)) in lcp.ANSWERS and (sequence := self._asked.get(lcp.key_of(message))) is not None:
            self.run.answered(sequence, now)
        if isinstance(message, ConfigureRequest):
            self.largest_request = max(self.largest_request, len(frame))
        if self.requests_answered < MOST_ECHOES:
            self._lcp.receive(frame, now)
            for answer in self._lcp.data_to_send(now):
                self.requests_answered += 1
                self._put_frame(answer, now)
        self._may_ask(now)

    def _put_frame(self, frame: bytes, now: float) -> None:
        message = DataMessage(self.peer_tunnel_id, self.peer_session_id, frame, has_length=True)
        data = message.encode()
        self.tracker.saw(self.SENDER, message, now=now, size=len(data))
        self._outbox.append(data)

    def _repeat(self, now: float) -> None:
        for message in self._unacknowledged:
            self._put(replace(message, nr=self._nr), now)

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
        said_before = self._ns
        if message.ns == self._nr:
            self._nr = (self._nr + 1) % NUMBERS
            self._act(message, now)
        elif _before(self._nr, message.ns):
            return
        if self._ns == said_before:
            self._put(ZeroLengthBody(self.peer_tunnel_id, 0, self._ns, self._nr), now)

    def _act(self, message: ControlMessage, now: float) -> None:
        match message:
            case StopControlConnectionNotification():
                self._refused_by(message)
                self.stopped, self.run.due = True, None
                self.peer_tunnel_id = self.peer_tunnel_id or message.number(AvpType.ASSIGNED_TUNNEL_ID) or 0
                self._unacknowledged.clear()
                self._timer.stop()
            case CallDisconnectNotify():
                self._refused_by(message)
                self.run.due = None
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

    def __init__(
        self,
        *,
        nonce: str,
        tunnel_id: int,
        session_id: int,
        retransmit_after_s: float,
        entropy: Callable[[int], bytes],
        attempts: int = ATTEMPTS,
        requests: int = 0,
    ) -> None:
        """`nonce`: lower-case hex digits; `tunnel_id` and `session_id`: ours, 1 to 65535; `attempts`: sendings of a message in all;
        `requests`: Configure-Requests that are sent once the call is up."""
        super().__init__(
            tunnel_id=tunnel_id,
            session_id=session_id,
            retransmit_after_s=retransmit_after_s,
            attempts=attempts,
            entropy=entropy,
            requests=requests,
        )
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
                    self._may_ask(now)
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
        entropy: Callable[[int], bytes],
        attempts: int = ATTEMPTS,
        host_name: bytes = b"vpnprobe",
        requests: int = REQUESTS,
    ) -> None:
        """`tunnel_id` and `session_id`: ours, 1 to 65535; `requests`: as for the initiator."""
        super().__init__(
            tunnel_id=tunnel_id,
            session_id=session_id,
            retransmit_after_s=retransmit_after_s,
            attempts=attempts,
            entropy=entropy,
            requests=requests,
        )
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
            case IncomingCallConnected() if self.peer_session_id:
                self._may_ask(now)
            case _:
                return
