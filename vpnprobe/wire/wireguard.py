"""WireGuard's four messages (whitepaper section 5.4): what stands in clear, with the encrypted parts as opaque bytes.

Every message begins with its type in one byte and three reserved zero bytes; numbers are little-endian. Three messages have a fixed size.
Packets in transport data are padded to a multiple of 16 bytes, but not beyond the tunnel's MTU (which real peers add to the whitepaper: a
packet of 1420 bytes, the default MTU, makes 1452). Nothing is encrypted or verified here.
`decode(m.encode()) == m` holds for every message whose fields have their sizes.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor

PORT: Final = 51820
"""The port that its documentation uses; none is registered."""
HEAD: Final = 4
"""Bytes of the type and the reserved zeros."""
CLEAR_BYTES: Final = 16
"""Bytes of transport data before the encrypted packet."""
EMPTY_DATA: Final = 32
"""Bytes of transport data without a packet, a keepalive: the least."""
BLOCK: Final = 16
"""Packets are padded to a multiple of so many bytes, up to the MTU."""


class MessageType(IntEnum):
    HANDSHAKE_INITIATION = 1
    HANDSHAKE_RESPONSE = 2
    COOKIE_REPLY = 3
    TRANSPORT_DATA = 4


SIZES: Final = {MessageType.HANDSHAKE_INITIATION: 148, MessageType.HANDSHAKE_RESPONSE: 92, MessageType.COOKIE_REPLY: 64}
"""Bytes of the messages whose size is fixed."""


@dataclass(frozen=True, slots=True)
class HandshakeInitiation:
    """Section 5.4.2."""

    NAME: ClassVar[str] = "Handshake Initiation"
    TYPE: ClassVar[MessageType] = MessageType.HANDSHAKE_INITIATION

    sender_index: int
    """0 to 2**32 - 1: what the responder calls this session by."""
    ephemeral: bytes
    """The initiator's ephemeral public key, 32 bytes."""
    static: bytes
    """Its static public key, encrypted: 48 bytes."""
    timestamp: bytes
    """Encrypted: 28 bytes."""
    mac1: bytes
    """16 bytes."""
    mac2: bytes
    """16 bytes, zeros unless the responder has sent a cookie."""

    def encode(self) -> bytes:
        return _head(self.TYPE) + _index(self.sender_index) + self.ephemeral + self.static + self.timestamp + self.mac1 + self.mac2

    @classmethod
    def decode(cls, data: bytes) -> Self:
        cursor = _after_head(data, cls.TYPE)
        return cls(
            _take_index(cursor, "sender index"),
            cursor.take(32, "ephemeral"),
            cursor.take(48, "static"),
            cursor.take(28, "timestamp"),
            cursor.take(16, "mac1"),
            cursor.take(16, "mac2"),
        )


@dataclass(frozen=True, slots=True)
class HandshakeResponse:
    """Section 5.4.3."""

    NAME: ClassVar[str] = "Handshake Response"
    TYPE: ClassVar[MessageType] = MessageType.HANDSHAKE_RESPONSE

    sender_index: int
    """0 to 2**32 - 1: what the initiator calls this session by."""
    receiver_index: int
    """The sender index of the initiation that it answers."""
    ephemeral: bytes
    """The responder's ephemeral public key, 32 bytes."""
    empty: bytes
    """Nothing, encrypted: 16 bytes."""
    mac1: bytes
    """16 bytes."""
    mac2: bytes
    """16 bytes, zeros unless the initiator has sent a cookie."""

    def encode(self) -> bytes:
        indices = _index(self.sender_index) + _index(self.receiver_index)
        return _head(self.TYPE) + indices + self.ephemeral + self.empty + self.mac1 + self.mac2

    @classmethod
    def decode(cls, data: bytes) -> Self:
        cursor = _after_head(data, cls.TYPE)
        return cls(
            _take_index(cursor, "sender index"),
            _take_index(cursor, "receiver index"),
            cursor.take(32, "ephemeral"),
            cursor.take(16, "empty"),
            cursor.take(16, "mac1"),
            cursor.take(16, "mac2"),
        )


@dataclass(frozen=True, slots=True)
class CookieReply:
    """Section 5.4.7: the answer of a responder under load."""

    NAME: ClassVar[str] = "Cookie Reply"
    TYPE: ClassVar[MessageType] = MessageType.COOKIE_REPLY

    receiver_index: int
    """The sender index of the message that it answers, 0 to 2**32 - 1."""
    nonce: bytes
    """24 bytes."""
    cookie: bytes
    """Encrypted: 32 bytes."""

    def encode(self) -> bytes:
        return _head(self.TYPE) + _index(self.receiver_index) + self.nonce + self.cookie

    @classmethod
    def decode(cls, data: bytes) -> Self:
        cursor = _after_head(data, cls.TYPE)
        return cls(_take_index(cursor, "receiver index"), cursor.take(24, "nonce"), cursor.take(32, "cookie"))


@dataclass(frozen=True, slots=True)
class TransportData:
    """Section 5.4.6."""

    NAME: ClassVar[str] = "Transport Data"
    TYPE: ClassVar[MessageType] = MessageType.TRANSPORT_DATA

    receiver_index: int
    """The receiver's own index of the session, 0 to 2**32 - 1."""
    counter: int
    """0 to 2**64 - 1; the first message of a session has 0."""
    packet: bytes
    """The IP packet, padded and encrypted: at least the tag's 16 bytes."""

    def encode(self) -> bytes:
        return _head(self.TYPE) + _index(self.receiver_index) + self.counter.to_bytes(8, "little") + self.packet

    @classmethod
    def decode(cls, data: bytes) -> Self:
        cursor = _after_head(data, cls.TYPE)
        index, counter = _take_index(cursor, "receiver index"), int.from_bytes(cursor.take(8, "counter"), "little")
        return cls(index, counter, cursor.rest())


WireguardMessage = HandshakeInitiation | HandshakeResponse | CookieReply | TransportData
MESSAGES: Final[dict[MessageType, type[WireguardMessage]]] = {
    MessageType.HANDSHAKE_INITIATION: HandshakeInitiation,
    MessageType.HANDSHAKE_RESPONSE: HandshakeResponse,
    MessageType.COOKIE_REPLY: CookieReply,
    MessageType.TRANSPORT_DATA: TransportData,
}


def decode_wireguard(datagram: bytes) -> WireguardMessage:
    """The message that a UDP payload is. Raises DecodeError where it has not the form of one."""
    kind = Cursor(datagram).u8("type")
    if kind not in SIZES and kind != MessageType.TRANSPORT_DATA:
        raise DecodeError("type", 0, f"is {kind}, none of 1 to 4")
    return MESSAGES[MessageType(kind)].decode(datagram)


def _head(kind: MessageType) -> bytes:
    return kind.to_bytes(HEAD, "little")


def _index(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _take_index(cursor: Cursor, field: str) -> int:
    return int.from_bytes(cursor.take(4, field), "little")


def _after_head(data: bytes, kind: MessageType) -> Cursor:
    """A cursor behind the head of a message that has the type, the reserved zeros and the size of its kind."""
    cursor = Cursor(data)
    if (found := cursor.u8("type")) != kind:
        raise DecodeError("type", 0, f"is {found}, not {kind.value}")
    if cursor.take(HEAD - 1, "reserved") != bytes(HEAD - 1):
        raise DecodeError("reserved", 1, "is not zero")
    size = SIZES.get(kind)
    if size is not None and len(data) != size:
        raise DecodeError("size", len(data), f"is {len(data)} bytes, not {size}")
    if size is None and len(data) < EMPTY_DATA:
        raise DecodeError("size", len(data), f"is {len(data)} bytes, not {EMPTY_DATA} or more")
    return cursor
