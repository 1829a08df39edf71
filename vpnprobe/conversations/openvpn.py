"""OpenVPN's opening (hard resets, version 2) over UDP and TCP, and what opcodes show of the rest: one table, three riders.

The live ends speak plain resets only: the client's, the server's that acknowledges it, and the client's P_ACK_V1, after which the
server has nothing to repeat. The tracker follows captures further, wrapped ones too, since opcodes and session IDs stand in clear.
States are the published stages, and a state is the furthest point that the packets show. A server that wants tls-auth or tls-crypt is
silent over UDP and closes a TCP connection cleanly: `closed_by_peer` records that.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

from vpnprobe.conversations.contract import Retransmission, Sender, Step, Tracker
from vpnprobe.conversations.stream_framing import LENGTH_BYTES, Delimiting, StreamFraming
from vpnprobe.errors import DecodeError
from vpnprobe.wire.openvpn import (
    AckV1,
    ControlPacket,
    ControlV1,
    ControlWkcV1,
    DataV1,
    DataV2,
    HardResetClientV1,
    HardResetClientV2,
    HardResetClientV3,
    HardResetServerV1,
    HardResetServerV2,
    Packet,
    Reliable,
    SoftResetV1,
    decode_openvpn,
    frame,
    peek,
    split_frames,
)

RETRANSMIT_AFTER_S: Final = 2.0
"""Seconds: what OpenVPN itself takes (tls-timeout)."""


class State(Enum):
    """How far the session got."""

    IDLE = "idle"
    CLIENT_RESET = "client-reset-unanswered"
    SERVER_RESET = "server-reset"
    CONTROL_ONE_WAY = "control-one-way"
    CONTROL_BOTH_WAYS = "control-both-ways"
    DATA_ONE_WAY = "data-one-way"
    DATA_BOTH_WAYS = "data-both-ways"
    MIDSTREAM_DATA_ONE_WAY = "midstream-data-one-way"
    """What was seen first were data packets: a capture that begins in the middle."""
    MIDSTREAM_DATA_BOTH_WAYS = "midstream-data-both-ways"


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The other end closed the TCP connection, without a reset."""

    name: ClassVar[str] = "FIN"


class KeysAgreed:
    """A step of an end that can read inside TLS: it has the peer's key method 2 message, so both can make data packets."""

    NAME: ClassVar[str] = "key-method-2"


class ControlBothWays:
    """A kind of message: a part of the TLS stream from one end, after one of the other end's."""


class DataBothWays:
    """A kind of message: a data packet from one end, after one of the other end's."""


_I: Final = Sender.INITIATOR
_R: Final = Sender.RESPONDER
_CLIENT_RESETS: Final = (HardResetClientV1, HardResetClientV2, HardResetClientV3)
_SERVER_RESETS: Final = (HardResetServerV1, HardResetServerV2)
_CONTROL: Final = (ControlV1, ControlWkcV1, SoftResetV1)
_DATA: Final = (DataV1, DataV2)
_BEFORE_CONTROL: Final = (State.IDLE, State.CLIENT_RESET, State.SERVER_RESET)
_BEFORE_DATA: Final = (State.CLIENT_RESET, State.SERVER_RESET, State.CONTROL_ONE_WAY, State.CONTROL_BOTH_WAYS)
_DATA_STATES: Final = (State.DATA_ONE_WAY, State.DATA_BOTH_WAYS, State.MIDSTREAM_DATA_ONE_WAY, State.MIDSTREAM_DATA_BOTH_WAYS)
_ACKNOWLEDGED: Final = (State.SERVER_RESET, State.CONTROL_ONE_WAY, State.CONTROL_BOTH_WAYS, *_DATA_STATES)

TRANSITIONS: Final[dict[tuple[State, Sender, type], State]] = {
    # Acknowledgments, the end of the stream and what TLS hides lead nowhere.
    **{(state, sender, AckV1): state for state in _ACKNOWLEDGED for sender in Sender},
    **{(state, sender, kind): state for state in State for sender in Sender for kind in (StreamClosed, KeysAgreed)},
    # The resets.
    **{(State.IDLE, _I, kind): State.CLIENT_RESET for kind in _CLIENT_RESETS},
    **{(state, _R, kind): State.SERVER_RESET for state in (State.IDLE, State.CLIENT_RESET) for kind in _SERVER_RESETS},
    # The TLS stream; later on it renegotiates, beside the data.
    **{(state, sender, kind): State.CONTROL_ONE_WAY for state in _BEFORE_CONTROL for sender in Sender for kind in _CONTROL},
    **{(State.CONTROL_ONE_WAY, sender, kind): State.CONTROL_ONE_WAY for sender in Sender for kind in _CONTROL},
    **{(state, sender, kind): state for state in _DATA_STATES for sender in Sender for kind in (*_CONTROL, ControlBothWays)},
    **{(State.CONTROL_ONE_WAY, sender, ControlBothWays): State.CONTROL_BOTH_WAYS for sender in Sender},
    **{(State.CONTROL_BOTH_WAYS, sender, ControlBothWays): State.CONTROL_BOTH_WAYS for sender in Sender},
    # Data.
    **{(state, sender, kind): State.DATA_ONE_WAY for state in _BEFORE_DATA for sender in Sender for kind in _DATA},
    **{(State.DATA_ONE_WAY, sender, kind): State.DATA_ONE_WAY for sender in Sender for kind in _DATA},
    **{(state, sender, DataBothWays): State.DATA_BOTH_WAYS for state in (State.DATA_ONE_WAY, State.DATA_BOTH_WAYS) for sender in Sender},
    # A capture that begins in the middle.
    **{
        (state, sender, kind): State.MIDSTREAM_DATA_ONE_WAY
        for state in (State.IDLE, State.MIDSTREAM_DATA_ONE_WAY)
        for sender in Sender
        for kind in _DATA
    },
    **{
        (state, sender, DataBothWays): State.MIDSTREAM_DATA_BOTH_WAYS
        for state in (State.MIDSTREAM_DATA_ONE_WAY, State.MIDSTREAM_DATA_BOTH_WAYS)
        for sender in Sender
    },
}
"""(state, who sent it, kind of message) -> state. The initiator is the client."""


class OpenvpnTracker(Tracker[State]):
    """Follows the packets of one pair of ports, or of one TCP connection in whatever chunks they come."""

    def __init__(self, *, kept_steps: int = Tracker.KEPT_STEPS) -> None:
        super().__init__(TRANSITIONS, State.IDLE, kept_steps=kept_steps)
        self.key = ""
        """The client's session ID, 16 hex digits; empty while neither its own packets nor a plain server reset have shown it."""
        self.framings = {sender: StreamFraming(DELIMITING) for sender in Sender}
        self._spoke: set[tuple[Sender, type]] = set()

    def saw(self, sender: Sender, message: object, *, now: float, size: int = 0) -> bool:
        if isinstance(message, ControlPacket):
            client = message.session_id if sender is Sender.INITIATOR else message.remote_session_id()
            self.key = self.key or (client or b"").hex()
        if (shared := _shared_kind(message)) is not None:
            self._spoke.add((sender, shared))
        return super().saw(sender, message, now=now, size=size)

    def kind(self, sender: Sender, message: object) -> type:
        shared = _shared_kind(message)
        return shared if shared is not None and (sender.other, shared) in self._spoke else type(message)

    def saw_datagram(self, sender: Sender, data: bytes, *, now: float) -> Packet | DecodeError:
        """Records what a datagram is (or a frame of the stream without its length), or why it cannot be read."""
        packet: Packet | DecodeError
        try:
            packet = decode_openvpn(data)
        except DecodeError as error:
            packet = error
        self.saw(sender, packet, now=now)
        return packet

    def saw_chunk(self, sender: Sender, chunk: bytes, *, now: float, gap: int = 0, missing: int = 0) -> list[Packet]:
        """Records the packets that a chunk of the stream completes, and returns those that could be read.

        `gap`, `missing`: as in `StreamFraming.take`.
        """
        packets = [self.saw_datagram(sender, data, now=now) for data in self.frames(sender, chunk, now=now, gap=gap, missing=missing)]
        return [packet for packet in packets if not isinstance(packet, DecodeError)]

    def frames(self, sender: Sender, chunk: bytes, *, now: float, gap: int = 0, missing: int = 0) -> Iterator[bytes]:
        """The packets that a chunk completes, not yet recorded; to be run to its end. Nothing once the framing was broken.

        `gap`, `missing`: as in `StreamFraming.take`.
        """
        framing = self.framings[sender]
        broken = framing.broken
        yield from framing.take(chunk, gap=gap, missing=missing)
        if framing.broken is not None and framing.broken is not broken:
            self.saw(sender, framing.broken, now=now)

    @property
    def broken(self) -> Mapping[Sender, DecodeError]:
        """Why a direction of the stream cannot be read any further."""
        return {sender: framing.broken for sender, framing in self.framings.items() if framing.broken is not None}


def _begins_packet(chunk: bytes) -> bool:
    try:
        peek(chunk[LENGTH_BYTES:])
    except DecodeError:
        return False
    return chunk[:LENGTH_BYTES] != bytes(LENGTH_BYTES)


DELIMITING: Final = Delimiting(split_frames, _begins_packet, head_bytes=LENGTH_BYTES + 1)
"""A packet is known by its first byte; what else of it was seen, its decoder tells."""


def _shared_kind(message: object) -> type | None:
    """The kind that counts for both ways: control or data; None: neither."""
    if isinstance(message, _CONTROL):
        return ControlBothWays
    return DataBothWays if isinstance(message, _DATA) else None


class _End(ABC):
    """What both ends share. The contract is that of `vpnprobe.conversations.contract.Conversation`."""

    SENDER: ClassVar[Sender]

    def __init__(self, *, session_id: bytes, stream: bool) -> None:
        self.session_id = session_id
        """Ours, 8 bytes."""
        self.stream = stream
        """Whether packets go over TCP, each with its length in front."""
        self.peer_closed = False
        """The peer closed the TCP connection cleanly."""
        self.bytes_received = 0
        self.tracker = OpenvpnTracker()
        self._outbox: list[bytes] = []
        self._told = 0

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
        self.tracker.saw(self.SENDER.other, StreamClosed(), now=now)

    def data_to_send(self, now: float) -> Sequence[bytes]:
        """The datagrams, or chunks of the stream, to send since the last call."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_timer(self) -> float | None:
        return None

    def handle_timer(self, now: float) -> None:
        """Nothing is ever due, unless a client repeats its reset."""
        return

    def events(self) -> Sequence[Step]:
        told, self._told = self._told, len(self.tracker.steps)
        return self.tracker.steps[told:]

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

    @property
    def closed_unanswered(self) -> bool:
        """Whether the peer closed the TCP connection without a byte: consistent with a server that wants its control channel wrapped."""
        return self.peer_closed and self.bytes_received == 0

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

    @staticmethod
    def claims(data: bytes) -> bool:
        """Whether a datagram is a plain client reset."""
        return bool(opening(data))

    def start(self, now: float) -> None:
        """Nothing: the responder waits."""

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
