"""What both ends of a whole OpenVPN session share: wrap, reliability, TLS, key method 2, data packets, and renegotiation.

The contract is that of `vpnprobe.conversations.contract.Conversation`, and the table is `openvpn.TRANSITIONS`, which captures are followed
by. Beyond the table an end knows what only the holder of the keys can know: its `stage`, and the first `failure`.
Roles are in `openvpn_client` and `openvpn_server`, what is said in `openvpn_sending`. The peer's packets are never trusted: what does not
fit is recorded, and nothing grows.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import State, StreamClosed
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_negotiation import Negotiation, Stage, Wrapping
from vpnprobe.conversations.openvpn_sending import SendingEnd
from vpnprobe.conversations.openvpn_tls import ENDED, TlsEnd, TlsFailed
from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.openvpn import (
    CONTROL_PACKETS,
    OPCODE_SHIFT,
    SESSION_ID,
    AckV1,
    ControlPacket,
    HardResetClientV1,
    HardResetClientV2,
    HardResetClientV3,
    HardResetServerV1,
    HardResetServerV2,
    Opcode,
    Reliable,
    SoftResetV1,
    peek,
)
from vpnprobe.wire.openvpn_data import OPTIONS_REPLY, PING
from vpnprobe.wire.openvpn_framing import framing_of
from vpnprobe.wire.openvpn_keying import KeyMethod2
from vpnprobe.wire.openvpn_messages import split_messages

__all__ = ["Negotiation", "SessionEnd", "Stage", "Wrapping"]

MOST_PLAIN_BYTES: Final = 1 << 16
"""Of what the peer says inside TLS without coming to an end."""
MOST_UNREADABLE: Final = 10_000
"""Packets that cannot be read are counted up to here."""
FRAME_HEAD: Final = 3
"""Bytes of the stream up to the first packet's opcode."""

_UNANSWERED: Final = {
    Stage.IDLE: FailureCode.SILENT,
    Stage.RESET: FailureCode.SILENT,
    Stage.ANSWERED: FailureCode.TLS_SILENT,
    Stage.TLS_BEGUN: FailureCode.TLS_STALLED,
    Stage.TLS_UP: FailureCode.KEYS_UNANSWERED,
    Stage.KEYS: FailureCode.NO_PUSH_REPLY,
}
"""What failed where an end gets this far and no further."""


class SessionEnd(SendingEnd):
    """One end of one session."""

    OPENINGS: ClassVar[frozenset[Opcode]]
    """What the other end's first packet may be."""

    # What the contract asks for.

    @property
    def state(self) -> State:
        return self.tracker.state

    @property
    def key(self) -> str:
        """The client's session ID, 16 hex digits; empty while unknown."""
        return self.tracker.key

    @property
    def broken(self) -> DecodeError | None:
        """Why the peer's stream cannot be read any further; None: it can, or there is none."""
        return self.tracker.broken.get(self.SENDER.other)

    def receive(self, data: bytes, now: float) -> None:
        """One datagram, or any chunk of the stream."""
        self.bytes_received += len(data)
        self._first = (self._first + data if self.stream else self._first or data)[:FRAME_HEAD]
        packets = self.tracker.frames(self.SENDER.other, data, now=now) if self.stream else (data,)
        for packet in packets:
            self._take(packet, now)
        if self.broken is not None:
            self._fail(FailureCode.NOT_OPENVPN, str(self.broken))
        self._flush(now)

    def closed_by_peer(self, now: float) -> None:
        """The TCP connection ended, without a reset."""
        self.peer_closed = True
        # A server that closes after a byte is another service or has done its part; a client that closes has what it wanted.
        if self.SENDER is Sender.INITIATOR and self.bytes_received == 0:
            self.tracker.saw(self.SENDER.other, StreamClosed(), now=now)
        if self.bytes_received == 0:
            self._fail(FailureCode.CLOSED_AT_ONCE)
        elif self.stage < Stage.ANSWERED and self._is_foreign:
            self._fail(FailureCode.NOT_OPENVPN)
        elif self.stage < Stage.ANSWERED and self.unreadable:
            self._fail(FailureCode.ANSWER_UNREADABLE)
        elif self.stage < Stage.DATA:
            self._fail(FailureCode.CLOSED_BY_PEER)

    def stalled(self) -> Failure | None:
        """What failed if nothing more comes: the first failure, else the step that is not answered; None: the tunnel is configured."""
        if self.failure is not None or self.stage >= Stage.CONFIGURED:
            return self.failure
        if self.stage < Stage.ANSWERED and self._is_foreign:
            return Failure(FailureCode.NOT_OPENVPN)
        unreadable = f"packets that could not be read: {self.unreadable}" if self.unreadable else ""
        if self.stage < Stage.ANSWERED and unreadable:
            return Failure(FailureCode.ANSWER_UNREADABLE, unreadable)
        return Failure(_UNANSWERED[self.stage], unreadable)

    @property
    def _is_foreign(self) -> bool:
        """Whether what came first cannot be an OpenVPN peer's first packet, as far as its first bytes show."""
        opcode = self._first[FRAME_HEAD - 1 :] if self.stream else self._first[:1]
        return opcode != b"" and opcode[0] >> OPCODE_SHIFT not in self.OPENINGS

    def next_timer(self) -> float | None:
        timers = [timer for n in self._negotiations.values() if (timer := n.reliability.next_timer()) is not None]
        timers += [timer for timer in self._own_timers() if timer is not None]
        return min(timers, default=None)

    def handle_timer(self, now: float) -> None:
        self._on_timer(now)
        self._flush(now)

    # What the roles do.

    @abstractmethod
    def _own_timers(self) -> Sequence[float | None]:
        """When the role itself has something to do."""

    @abstractmethod
    def _on_timer(self, now: float) -> None:
        """The role's own timers."""

    @abstractmethod
    def _reset_came(self, packet: ControlPacket, data: bytes, now: float) -> None:
        """A hard reset of the other end."""

    @abstractmethod
    def _tls_up(self, negotiation: Negotiation) -> None:
        """This end's TLS handshake is complete."""

    @abstractmethod
    def _keys_came(self, negotiation: Negotiation, now: float) -> None:
        """The peer's key method 2 message is in `negotiation.peer`."""

    @abstractmethod
    def _message_came(self, text: str, now: float) -> None:
        """A control message inside TLS."""

    @abstractmethod
    def _answers(self, payload: bytes) -> str | None:
        """The name of the packet of ours that a tunnel packet answers; None: it answers none."""

    @abstractmethod
    def _payload_came(self, payload: bytes, now: float) -> None:
        """A tunnel packet that is no ping."""

    # Receiving.

    def _take(self, data: bytes, now: float) -> None:
        try:
            opcode, key_id, session_id = peek(data)
        except DecodeError as error:
            self._unread(error, now)
            return
        if session_id is None:
            self._take_data(data, key_id, now)
            return
        packet = CONTROL_PACKETS[opcode](session_id, data[1 + SESSION_ID :], key_id)
        match packet:
            case HardResetClientV1() | HardResetServerV1():
                self._unread(DecodeError("opcode", 0, f"{packet.name} is of key method 1"), now)
            case HardResetClientV2() | HardResetClientV3() | HardResetServerV2():
                self._reset_came(packet, data, now)
            case _ if session_id != self.remote_session_id and (self.remote_session_id is not None or not isinstance(packet, AckV1)):
                self._unread(DecodeError("session ID", 1, "is another session's, or comes before any reset"), now)
            case _:
                self._take_control(packet, data, now)

    def _layer(self, packet: ControlPacket, data: bytes) -> Reliable:
        """The reliability layer of a control packet, unwrapped. Raises DecodeError."""
        body = self.wrapper.unwrap(data)
        layer = Reliable.read(Cursor(body), has_packet_id=packet.opcode is not Opcode.ACK_V1)
        if layer.remote_session_id not in (None, self.session_id):
            raise DecodeError("remote session ID", 0, "is not our session")
        return layer

    def _take_control(self, packet: ControlPacket, data: bytes, now: float) -> None:
        try:
            layer = self._layer(packet, self._without_wrapped_key(packet, data))
        except DecodeError as error:
            self._unread(error, now)
            return
        self._saw(self.SENDER.other, packet, layer, now, len(data))
        self.largest_control_received = max(self.largest_control_received, len(data))
        if layer.acks:
            self._acknowledged_by = packet.session_id
        negotiation = self._negotiation(packet, layer)
        if negotiation is not None:
            self._deliver(negotiation, layer, now)

    def _without_wrapped_key(self, packet: ControlPacket, data: bytes) -> bytes:
        """The packet as its wrapper knows it; a server takes the wrapped client key off. Raises DecodeError."""
        return data

    def _negotiation(self, packet: ControlPacket, layer: Reliable) -> Negotiation | None:
        """The one that a packet belongs to; a soft reset of the peer begins another. None: there is none."""
        newest = self._newest
        if isinstance(packet, SoftResetV1) and newest is not None and newest.channel is not None and packet.key_id == newest.next_key_id:
            self.renegotiations_asked += 1
            self._renew(newest)
        return self._negotiations.get(packet.key_id)

    def _deliver(self, negotiation: Negotiation, layer: Reliable, now: float) -> None:
        for payload in negotiation.reliability.take(layer):
            self.progress += 1
            if payload:
                self._reach(Stage.TLS_BEGUN)
            self._feed(negotiation, payload, now)

    def _feed(self, negotiation: Negotiation, payload: bytes, now: float) -> None:
        if self.failure is not None:
            return
        if negotiation.tls is None:
            negotiation.tls = TlsEnd(self._context, server=self.SENDER is Sender.RESPONDER)
        tls = negotiation.tls
        try:
            tls.receive(payload)
            if tls.up and not negotiation.started:
                negotiation.started = True
                self._reach(Stage.TLS_UP)
                self._tls_up(negotiation)
            for record in tls.records():
                self._plain_came(negotiation, record, now)
        except TlsFailed as failed:
            self._fail(failed.failure.code, failed.failure.detail)
        except DecodeError as error:
            self._fail(FailureCode.KEYS_UNREADABLE, str(error))
        if tls.closed:
            self._fail(FailureCode.CLOSED_BY_PEER, ENDED)

    def _plain_came(self, negotiation: Negotiation, record: bytes, now: float) -> None:
        negotiation.plain += record
        if len(negotiation.plain) > MOST_PLAIN_BYTES:
            raise DecodeError("key method 2", 0, f"does not end within {MOST_PLAIN_BYTES} bytes")
        if negotiation.peer is None:
            decode = KeyMethod2.decode_from_client if self.SENDER is Sender.RESPONDER else KeyMethod2.decode_from_server
            read = decode(negotiation.plain)
            if read is None:
                return
            negotiation.peer, negotiation.plain = read[0], negotiation.plain[read[1] :]
            self._keys_came(negotiation, now)
        messages, negotiation.plain = split_messages(negotiation.plain)
        for text in messages:
            self._message_came(text, now)

    def _take_data(self, data: bytes, key_id: int, now: float) -> None:
        negotiation = self._negotiations.get(key_id)
        if negotiation is None or negotiation.channel is None:
            self._unread(DecodeError("key ID", 0, f"{key_id} has no keys"), now)
            return
        try:
            opened = negotiation.channel.open(data)
            # The peer has these keys, whatever became of its acknowledgments.
            negotiation.in_use = True
            self.framing_seen = self.framing_seen or framing_of(opened)
            payload = self.framing.remove(opened)
        except DecodeError as error:
            self._unread(error, now)
            return
        if payload is None:
            return  # Parts of one packet are one trial, which the last one ends.
        self._saw_data(self.SENDER.other, data, now, negotiation.turn, answers=self._answers(payload))
        self._reach(Stage.DATA)
        self.progress += 1
        if payload == PING:
            self.pings_received += 1
        elif payload.startswith(OPTIONS_REPLY):
            self.options_replies += 1
        else:
            self._payload_came(payload, now)

    def _unread(self, error: DecodeError, now: float) -> None:
        self.unreadable = min(MOST_UNREADABLE, self.unreadable + 1)
        self.tracker.saw(self.SENDER.other, error, now=now)
