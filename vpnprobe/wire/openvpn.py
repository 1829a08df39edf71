"""OpenVPN 2.x packets: opcodes, session IDs and the plain reliability layer (protocol description in OpenVPN's `ssl_pkt.h`, `reliable.h`).

The first byte is opcode << 3 | key ID; control packets go on with the sender's session ID. What follows stands in clear only where neither
tls-auth nor tls-crypt wraps it: so a packet keeps it as `body`, and `reliable()` reads it as plain. Over TCP each packet is preceded by its
length in two bytes (`split_frames`, `frame`). A plain client reset has 14 bytes and a plain server reset 26.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Final, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor

PORT: Final = 1194
SESSION_ID: Final = 8
"""Bytes of a session ID."""
MOST_ACKS: Final = 8
"""Packet IDs that one packet may acknowledge (RELIABLE_ACK_SIZE)."""
KEY_ID_MASK: Final = 0x07
OPCODE_SHIFT: Final = 3


class Opcode(IntEnum):
    """The upper five bits of the first byte."""

    HARD_RESET_CLIENT_V1 = 1
    HARD_RESET_SERVER_V1 = 2
    SOFT_RESET_V1 = 3
    CONTROL_V1 = 4
    ACK_V1 = 5
    DATA_V1 = 6
    HARD_RESET_CLIENT_V2 = 7
    HARD_RESET_SERVER_V2 = 8
    DATA_V2 = 9
    HARD_RESET_CLIENT_V3 = 10
    CONTROL_WKC_V1 = 11


@dataclass(frozen=True, slots=True)
class Reliable:
    """The plain reliability layer of a control packet."""

    acks: tuple[int, ...] = ()
    """Packet IDs that are acknowledged, at most `MOST_ACKS`."""
    remote_session_id: bytes | None = None
    """The session whose packets are acknowledged; None exactly when there are no acks."""
    packet_id: int | None = 0
    """None: in P_ACK_V1, which is not itself acknowledged."""
    payload: bytes = b""
    """Part of the TLS stream; empty in resets and P_ACK_V1."""

    def encode(self) -> bytes:
        acks = b"".join(ack.to_bytes(4, "big") for ack in self.acks)
        packet_id = b"" if self.packet_id is None else self.packet_id.to_bytes(4, "big")
        return bytes([len(self.acks)]) + acks + (self.remote_session_id or b"") + packet_id + self.payload

    @classmethod
    def read(cls, cursor: Cursor, *, has_packet_id: bool) -> Self:
        """All that is left at the cursor, as plain."""
        count = cursor.u8("ack count")
        if count > MOST_ACKS:
            raise cursor.wrong("ack count", f"is {count}, more than {MOST_ACKS}", back=1)
        acks = tuple(cursor.u32("acknowledged packet ID") for _ in range(count))
        remote = cursor.take(SESSION_ID, "remote session ID") if count else None
        return cls(acks, remote, cursor.u32("packet ID") if has_packet_id else None, cursor.rest())


@dataclass(frozen=True, slots=True)
class ControlPacket:
    """What all packets of the control channel have in clear."""

    name: ClassVar[str]
    opcode: ClassVar[Opcode]
    session_id: bytes
    """The sender's, 8 bytes."""
    body: bytes
    """All after the session ID: plain, or wrapped by tls-auth, tls-crypt or tls-crypt-v2."""
    key_id: int = 0
    """0 to 7: counts the renegotiations of a session; 0 in resets."""
    number: int | None = field(default=None, compare=False)
    """Its packet ID, where whoever decoded it could read that inside its wrap; None: nobody did, or it has none."""

    def encode(self) -> bytes:
        return bytes([self.opcode << OPCODE_SHIFT | self.key_id]) + self.session_id + self.body

    @classmethod
    def plain(cls, session_id: bytes, reliable: Reliable, *, key_id: int = 0) -> Self:
        """A packet that nothing wraps."""
        return cls(session_id, reliable.encode(), key_id)

    def reliable(self) -> Reliable:
        """The reliability layer, read as plain; raises DecodeError where it cannot be (a wrapped P_CONTROL_V1 may seem readable)."""
        bare = self.opcode is not Opcode.CONTROL_V1
        layer = Reliable.read(Cursor(self.encode(), 1 + SESSION_ID), has_packet_id=self.opcode is not Opcode.ACK_V1)
        if bare and layer.payload:
            raise DecodeError("payload", 1 + SESSION_ID + len(self.body) - len(layer.payload), f"{self.name} has none when plain")
        return layer

    def remote_session_id(self) -> bytes | None:
        """The other end's session ID where it stands in clear; None: no acks, or wrapped."""
        try:
            return self.reliable().remote_session_id
        except DecodeError:
            return None


@dataclass(frozen=True, slots=True)
class HardResetClientV1(ControlPacket):
    """The first packet of key method 1 (before 2.0)."""

    name: ClassVar[str] = "P_CONTROL_HARD_RESET_CLIENT_V1"
    opcode: ClassVar[Opcode] = Opcode.HARD_RESET_CLIENT_V1


@dataclass(frozen=True, slots=True)
class HardResetServerV1(ControlPacket):
    """The answer of key method 1."""

    name: ClassVar[str] = "P_CONTROL_HARD_RESET_SERVER_V1"
    opcode: ClassVar[Opcode] = Opcode.HARD_RESET_SERVER_V1


@dataclass(frozen=True, slots=True)
class SoftResetV1(ControlPacket):
    """Begins a renegotiation, from either end."""

    name: ClassVar[str] = "P_CONTROL_SOFT_RESET_V1"
    opcode: ClassVar[Opcode] = Opcode.SOFT_RESET_V1


@dataclass(frozen=True, slots=True)
class ControlV1(ControlPacket):
    """A part of the TLS stream."""

    name: ClassVar[str] = "P_CONTROL_V1"
    opcode: ClassVar[Opcode] = Opcode.CONTROL_V1


@dataclass(frozen=True, slots=True)
class AckV1(ControlPacket):
    """Acknowledgments alone."""

    name: ClassVar[str] = "P_ACK_V1"
    opcode: ClassVar[Opcode] = Opcode.ACK_V1


@dataclass(frozen=True, slots=True)
class HardResetClientV2(ControlPacket):
    """The first packet of a client, key method 2."""

    name: ClassVar[str] = "P_CONTROL_HARD_RESET_CLIENT_V2"
    opcode: ClassVar[Opcode] = Opcode.HARD_RESET_CLIENT_V2


@dataclass(frozen=True, slots=True)
class HardResetServerV2(ControlPacket):
    """The server's answer, key method 2; acknowledges the client's reset."""

    name: ClassVar[str] = "P_CONTROL_HARD_RESET_SERVER_V2"
    opcode: ClassVar[Opcode] = Opcode.HARD_RESET_SERVER_V2


@dataclass(frozen=True, slots=True)
class HardResetClientV3(ControlPacket):
    """The first packet of a tls-crypt-v2 client: wrapped, and followed by its wrapped key."""

    name: ClassVar[str] = "P_CONTROL_HARD_RESET_CLIENT_V3"
    opcode: ClassVar[Opcode] = Opcode.HARD_RESET_CLIENT_V3


@dataclass(frozen=True, slots=True)
class ControlWkcV1(ControlPacket):
    """P_CONTROL_V1 with the wrapped client key once more, where a tls-crypt-v2 server asked for it."""

    name: ClassVar[str] = "P_CONTROL_WKC_V1"
    opcode: ClassVar[Opcode] = Opcode.CONTROL_WKC_V1


@dataclass(frozen=True, slots=True)
class DataV1:
    """A data packet without peer ID."""

    name: ClassVar[str] = "P_DATA_V1"
    opcode: ClassVar[Opcode] = Opcode.DATA_V1
    payload: bytes
    key_id: int = 0
    number: int | None = field(default=None, compare=False)
    """Its packet ID, where whoever decoded it told; None: nobody did."""
    answers: str | None = field(default=None, compare=False)
    """Key ID and packet ID of the other end's packet that this one answers, known to who holds the keys; None: not known."""

    def encode(self) -> bytes:
        return bytes([self.opcode << OPCODE_SHIFT | self.key_id]) + self.payload


@dataclass(frozen=True, slots=True)
class DataV2:
    """A data packet with the peer ID that lets a client change its address."""

    name: ClassVar[str] = "P_DATA_V2"
    opcode: ClassVar[Opcode] = Opcode.DATA_V2
    peer_id: int
    """0 to 2**24 - 1; 0xffffff: none."""
    payload: bytes
    key_id: int = 0
    number: int | None = field(default=None, compare=False)
    """Its packet ID, where whoever decoded it told; None: nobody did."""
    answers: str | None = field(default=None, compare=False)
    """Key ID and packet ID of the other end's packet that this one answers, known to who holds the keys; None: not known."""

    def encode(self) -> bytes:
        return bytes([self.opcode << OPCODE_SHIFT | self.key_id]) + self.peer_id.to_bytes(3, "big") + self.payload


Packet = ControlPacket | DataV1 | DataV2

CONTROL_PACKETS: Final[dict[Opcode, type[ControlPacket]]] = {
    packet.opcode: packet
    for packet in (
        HardResetClientV1,
        HardResetServerV1,
        SoftResetV1,
        ControlV1,
        AckV1,
        HardResetClientV2,
        HardResetServerV2,
        HardResetClientV3,
        ControlWkcV1,
    )
}


_OPCODES: Final = {opcode.value: opcode for opcode in Opcode}


def peek(data: bytes) -> tuple[Opcode, int, bytes | None]:
    """Opcode, key ID and, of control packets, the sender's session ID: what stands in clear whatever wraps the rest.

    Raises DecodeError for an unknown opcode and a truncated session ID.
    """
    cursor = Cursor(data)
    first = cursor.u8("opcode")
    opcode = _OPCODES.get(first >> OPCODE_SHIFT)
    if opcode is None:
        raise cursor.wrong("opcode", f"{first >> OPCODE_SHIFT} is not known", back=1)
    session_id = cursor.take(SESSION_ID, "session ID") if opcode in CONTROL_PACKETS else None
    return opcode, first & KEY_ID_MASK, session_id


def decode_openvpn(data: bytes) -> Packet:
    """Decodes one packet (a UDP payload, or a frame of the TCP stream without its length). Raises DecodeError."""
    opcode, key_id, session_id = peek(data)
    if session_id is not None:
        return CONTROL_PACKETS[opcode](session_id, data[1 + SESSION_ID :], key_id)
    cursor = Cursor(data, 1)
    if opcode is Opcode.DATA_V1:
        return DataV1(cursor.rest(), key_id)
    peer_id = int.from_bytes(cursor.take(3, "peer ID"), "big")
    return DataV2(peer_id, cursor.rest(), key_id)


def frame(packet: bytes) -> bytes:
    """The packet as it goes over TCP: preceded by its length, 1 to 65535 bytes."""
    return len(packet).to_bytes(2, "big") + packet


def split_frames(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The whole packets at the front of a TCP stream, without their lengths, and what is left of it.

    Raises DecodeError where the buffer begins with a length of 0, which no OpenVPN sends: packets before such a length are given out first.
    """
    frames: list[bytes] = []
    offset = 0
    while len(buffer) - offset >= 2:
        length = int.from_bytes(buffer[offset : offset + 2], "big")
        if length == 0 and not frames:
            raise DecodeError("packet length", 0, "is 0")
        if length == 0 or len(buffer) - offset - 2 < length:
            break
        frames.append(buffer[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return frames, buffer[offset:]
