"""OpenVPN over UDP and TCP: the table that all its ends and captures ride, and the tracker.

Live ends are in `openvpn_reset` (bare resets) and `openvpn_ends` (whole sessions). The tracker follows captures too, wrapped ones as well,
since opcodes and session IDs stand in clear. States are the published stages, two apart, and a state is the furthest point that the packets
show. A server that wants tls-auth or tls-crypt is silent over UDP, and closes a TCP connection cleanly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

from vpnprobe.conversations.contract import OF_SESSION, Sender, Tracker, TransitionTable, class_name
from vpnprobe.conversations.openvpn_places import find_packets, is_whole_packets
from vpnprobe.conversations.stream_framing import LENGTH_BYTES, Delimiting, StreamFraming
from vpnprobe.errors import DecodeError
from vpnprobe.wire.openvpn import (
    OPCODE_SHIFT,
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
    Opcode,
    Packet,
    SoftResetV1,
    decode_openvpn,
    split_frames,
)

FRAME_LENGTH: Final = 2
"""Bytes of length before each packet over TCP."""
CIPHERTEXT_KEPT: Final = 48
DATA_OPCODES: Final = frozenset({Opcode.DATA_V1, Opcode.DATA_V2})


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
    RESET_REFUSED = "client-reset-refused"
    """The server closed the connection without a byte. As a stage: CLIENT_RESET."""
    KEYS_AGREED = "keys-agreed"
    """Both ends can make data packets. As a stage: CONTROL_BOTH_WAYS, since TLS hides it from everybody else."""


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
_NEGOTIATING: Final = (State.CONTROL_ONE_WAY, State.CONTROL_BOTH_WAYS, State.KEYS_AGREED)
_BEFORE_DATA: Final = (State.CLIENT_RESET, State.SERVER_RESET, *_NEGOTIATING)
_DATA_STATES: Final = (State.DATA_ONE_WAY, State.DATA_BOTH_WAYS, State.MIDSTREAM_DATA_ONE_WAY, State.MIDSTREAM_DATA_BOTH_WAYS)
_ACKNOWLEDGED: Final = (State.SERVER_RESET, *_NEGOTIATING, *_DATA_STATES)

TRANSITIONS: Final[dict[tuple[State, Sender, type], State]] = {
    # Acknowledgments and the end of the stream lead nowhere, but an end that comes before any answer refuses.
    **{(state, sender, AckV1): state for state in _ACKNOWLEDGED for sender in Sender},
    **{(state, sender, StreamClosed): state for state in State for sender in Sender},
    (State.CLIENT_RESET, _R, StreamClosed): State.RESET_REFUSED,
    # The resets.
    **{(State.IDLE, _I, kind): State.CLIENT_RESET for kind in _CLIENT_RESETS},
    **{(state, _R, kind): State.SERVER_RESET for state in (State.IDLE, State.CLIENT_RESET) for kind in _SERVER_RESETS},
    # The TLS stream; later on it renegotiates, beside the data.
    **{(state, sender, kind): State.CONTROL_ONE_WAY for state in _BEFORE_CONTROL for sender in Sender for kind in _CONTROL},
    **{(State.CONTROL_ONE_WAY, sender, kind): State.CONTROL_ONE_WAY for sender in Sender for kind in _CONTROL},
    **{
        (state, sender, kind): state
        for state in (State.KEYS_AGREED, *_DATA_STATES)
        for sender in Sender
        for kind in (*_CONTROL, ControlBothWays)
    },
    # Only an end that can read inside TLS sees this step.
    **{(state, _R, KeysAgreed): State.KEYS_AGREED for state in (State.SERVER_RESET, *_NEGOTIATING)},
    **{(state, _R, KeysAgreed): state for state in _DATA_STATES},
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


_KIND_NAMES: Final[Mapping[type, str]] = {ControlBothWays: ControlV1.name, DataBothWays: DataV2.name}


def name_of(sender: Sender, kind: type) -> str:
    """The opcode's name; of control and data packets after the other end's it is the same."""
    return _KIND_NAMES.get(kind) or class_name(sender, kind)


TABLE: Final = TransitionTable(
    State.IDLE,
    TRANSITIONS,
    goals={
        "reset": frozenset({State.SERVER_RESET, *_NEGOTIATING, *_DATA_STATES}),
        "handshake": frozenset({State.KEYS_AGREED, *_DATA_STATES}),
        "data": frozenset({State.DATA_BOTH_WAYS, State.MIDSTREAM_DATA_BOTH_WAYS}),
    },
    refusals=frozenset({State.RESET_REFUSED}),
    stages={State.RESET_REFUSED: str(State.CLIENT_RESET.value), State.KEYS_AGREED: str(State.CONTROL_BOTH_WAYS.value)},
    name_of=name_of,
)


def describe(message: object) -> tuple[str, Mapping[str, int | str]]:
    """The message's name and the numbers in it that matter to a judgement.

    The parts of the TLS stream are told apart by their packet IDs, so that the one that never comes can be named.
    """
    match message:
        case ControlV1() | ControlWkcV1() if message.number is not None:
            return f"{ControlV1.name}[{message.number}]", {}
        case DataV1() | DataV2():
            return message.name, {} if message.answers is None else {"answers": message.answers}
        case _:
            return class_name(Sender.INITIATOR, type(message)), {}


def placed(message: object) -> tuple[str, str]:
    """Which check a message bears on, and what its key has behind the conversation's: data packets are trials of their own."""
    match message:
        case ControlV1() | ControlWkcV1() | SoftResetV1() | KeysAgreed():
            return "handshake", ""
        case DataV1() | DataV2():
            return "data", data_suffix(message.key_id, message.number)
        case _:
            return "reset", ""


def data_suffix(key_id: int, number: int | None) -> str:
    """What the key of a data packet has behind the key of its conversation: key ID and packet ID."""
    return f"{OF_SESSION}{data_name(key_id, number)}"


def data_name(key_id: int, number: int | None) -> str:
    """One data packet among those of its session."""
    return f"{key_id}{OF_SESSION}{number or 0:x}"


class OpenvpnTracker(Tracker[State]):
    """Follows the packets of one pair of ports, or of one TCP connection in whatever chunks they come."""

    def __init__(self, *, kept_steps: int = Tracker.KEPT_STEPS) -> None:
        super().__init__(TABLE, kept_steps=kept_steps)
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


DELIMITING: Final = Delimiting(split_frames, is_whole_packets, find_packets, head_bytes=LENGTH_BYTES + 1)
"""A packet is known by its first byte; what else of it was seen, its decoder tells."""


def _shared_kind(message: object) -> type | None:
    """The kind that counts for both ways: control or data; None: neither."""
    if isinstance(message, _CONTROL):
        return ControlBothWays
    return DataBothWays if isinstance(message, _DATA) else None


def head_bytes(packet: bytes) -> int:
    """Bytes of a packet that tell anything: of a data packet its head, packet ID, tag, and some of what follows; of others all."""
    return min(len(packet), CIPHERTEXT_KEPT) if packet and packet[0] >> OPCODE_SHIFT in DATA_OPCODES else len(packet)
