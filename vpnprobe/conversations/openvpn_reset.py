"""OpenVPN's hard resets, version 2, and nothing behind them: what a port answers to a client that has no keys for it.

The client's end sends its reset and acknowledges the server's with P_ACK_V1, after which the server has nothing to repeat. The server's end
answers a plain reset and each repetition of it. A server that wants tls-auth or tls-crypt is silent over UDP, and closes a TCP connection
cleanly: `closed_by_peer` records that.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final

from vpnprobe.conversations.contract import ConversationEnd, Retransmission, Sender
from vpnprobe.conversations.openvpn import FRAME_LENGTH, OpenvpnTracker, State, StreamClosed
from vpnprobe.errors import DecodeError
from vpnprobe.wire.openvpn import (
    AckV1,
    HardResetClientV2,
    HardResetServerV2,
    Packet,
    Reliable,
    decode_openvpn,
    frame,
    peek,
)

RETRANSMIT_AFTER_S: Final = 2.0
"""Seconds: what OpenVPN itself takes (tls-timeout)."""
MOST_FIRST_BYTES: Final = 2048
"""No client's first packet is longer: with tls-crypt-v2 it is a few hundred bytes."""


class _End(ConversationEnd[OpenvpnTracker], ABC):
    """What both ends of a bare reset share."""

    def __init__(self, *, session_id: bytes, stream: bool) -> None:
        super().__init__(OpenvpnTracker())
        self.session_id = session_id
        """Ours, 8 bytes."""
        self.stream = stream
        """Whether packets go over TCP, each with its length in front."""
        self.peer_closed = False
        """The peer closed the TCP connection cleanly."""
        self.bytes_received = 0

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
        packets = self.tracker.frames(self.SENDER.other, data, now=now) if self.stream else (data,)
        for packet in packets:
            self._take(packet, now)

    def closed_by_peer(self, now: float) -> None:
        """The TCP connection ended, without a reset. A server that wants its control channel wrapped does this to a plain reset."""
        self.peer_closed = True
        # A server that closes after a byte is another service or has done its part; a client that closes has what it wanted.
        if self.SENDER is Sender.INITIATOR and self.bytes_received == 0:
            self.tracker.saw(self.SENDER.other, StreamClosed(), now=now)

    @abstractmethod
    def _take(self, data: bytes, now: float) -> None:
        """Records one packet and answers it."""

    def _send(self, packet: Packet, now: float) -> None:
        self.tracker.saw(self.SENDER, packet, now=now)
        data = packet.encode()
        self._outbox.append(frame(data) if self.stream else data)


class Initiator(_End):
    """The client's end: its reset, and an acknowledgment of the server's."""

    SENDER: ClassVar[Sender] = Sender.INITIATOR

    def __init__(self, *, session_id: bytes, stream: bool, attempts: int = 1, retransmit_after_s: float = RETRANSMIT_AFTER_S) -> None:
        """`session_id`: 8 random bytes; `attempts`: sendings of the reset in all, over UDP (TCP repeats what is lost)."""
        super().__init__(session_id=session_id, stream=stream)
        self.server_session_id: bytes | None = None
        """8 bytes, from the reset that acknowledged ours; None: none did."""
        self._reset = HardResetClientV2.plain(session_id, Reliable())
        self._timer = Retransmission(retransmit_after_s, 1 if stream else attempts)

    @property
    def answered(self) -> bool:
        """Whether a server's reset acknowledged ours."""
        return self.server_session_id is not None

    def reached(self, check: str) -> bool:
        """As the table has it, but of a reset only where the answer acknowledges ours: a stray data packet is no answer."""
        return self.answered if check == "reset" else super().reached(check)

    def start(self, now: float) -> None:
        self._send(self._reset, now)
        self._timer.began(now)

    def next_timer(self) -> float | None:
        return self._timer.due

    def handle_timer(self, now: float) -> None:
        if self._timer.again(now):
            self._send(self._reset, now)

    def _take(self, data: bytes, now: float) -> None:
        packet = self._readable(data)
        self.tracker.saw(self.SENDER.other, packet, now=now)
        if isinstance(packet, HardResetServerV2):
            self.server_session_id = packet.session_id
            self._timer.stop()
            acknowledgment = Reliable((packet.reliable().packet_id or 0,), packet.session_id, None)
            self._send(AckV1.plain(self.session_id, acknowledgment), now)

    def _readable(self, data: bytes) -> Packet | DecodeError:
        """The packet; a server's reset only where it acknowledges ours, so that another session's proves nothing."""
        try:
            packet = decode_openvpn(data)
            if isinstance(packet, HardResetServerV2) and packet.reliable().remote_session_id != self.session_id:
                return DecodeError("remote session ID", 0, "is not our session")
            return packet
        except DecodeError as error:
            return error


class Responder(_End):
    """The server's end, for one client session, without tls-auth or tls-crypt: answers a plain reset, and each repetition of it."""

    SENDER: ClassVar[Sender] = Sender.RESPONDER

    def __init__(self, *, session_id: bytes, stream: bool) -> None:
        """`session_id`: 8 random bytes. Over UDP, packets of other client sessions belong to other responders."""
        super().__init__(session_id=session_id, stream=stream)

    def _take(self, data: bytes, now: float) -> None:
        packet = self.tracker.saw_datagram(self.SENDER.other, data, now=now)
        if isinstance(packet, HardResetClientV2) and packet.session_id.hex() == self.key and (client := plain_reset(packet)) is not None:
            acknowledgment = Reliable((client.packet_id or 0,), packet.session_id)
            self._send(HardResetServerV2.plain(self.session_id, acknowledgment), now)


def plain_reset(packet: HardResetClientV2) -> Reliable | None:
    """The reliability layer of a client's first reset that nothing wraps; None: it is wrapped, or acknowledges something."""
    try:
        layer = packet.reliable()
    except DecodeError:
        return None
    return None if layer.acks else layer


def opening(data: bytes) -> str:
    """The key (client's session ID, 16 hex digits) of the plain client reset that a datagram is; empty: it is none."""
    try:
        packet = decode_openvpn(data)
    except DecodeError:
        return ""
    return packet.session_id.hex() if isinstance(packet, HardResetClientV2) and plain_reset(packet) else ""


def session_of(data: bytes) -> str:
    """The session ID that a control packet carries in clear, 16 hex digits: whose `key` this is gets it. Empty: it carries none."""
    try:
        session_id = peek(data)[2]
    except DecodeError:
        return ""
    return (session_id or b"").hex()


def stream_needs(data: bytes) -> int:
    """Bytes of a stream's beginning that hold its first packet with its length: as many as the length says, at most MOST_FIRST_BYTES."""
    return FRAME_LENGTH + min(int.from_bytes(data[:FRAME_LENGTH], "big"), MOST_FIRST_BYTES) if len(data) >= FRAME_LENGTH else FRAME_LENGTH


def first_packet(session_id: bytes, _: Callable[[int], bytes]) -> tuple[bytes, str]:
    """A plain client reset of that session (8 bytes), and its name."""
    reset = HardResetClientV2.plain(session_id, Reliable())
    return reset.encode(), reset.name
