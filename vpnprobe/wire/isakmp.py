"""The ISAKMP header and payload chain that IKEv1 (RFC 2408 section 3) and IKEv2 (RFC 7296 section 3) share, and their place in UDP 4500.

A message keeps its payloads as (type, body) in the order of the chain. What is encrypted stays bytes: in IKEv1 all that follows the header
when the encryption bit is set, in IKEv2 the body of the SK payload, which is the last of its chain. What the payloads mean is in
`vpnprobe.wire.ikev1` and `vpnprobe.wire.ikev2`. On port 4500 four zero bytes go before a message (RFC 3948 section 2.2).
"""

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, NamedTuple, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor

PORT: Final = 500
NAT_T_PORT: Final = 4500
HEADER: Final = 28
"""Bytes of the header."""
SPI: Final = 8
"""Bytes of a cookie (IKEv1) or SPI (IKEv2)."""
NO_SPI: Final = bytes(SPI)
"""The responder's SPI in an initiator's first message."""
PAYLOAD_HEADER: Final = 4
CRITICAL_BIT: Final = 0x80
"""RFC 7296 section 3.2; reserved in IKEv1."""
ENCRYPTION_FLAG: Final = 0x01
"""IKEv1, RFC 2408 section 3.1."""
INITIATOR_FLAG: Final = 0x08
"""IKEv2, RFC 7296 section 3.1: sent by the original initiator of the IKE SA."""
RESPONSE_FLAG: Final = 0x20
"""IKEv2: answers the request with the same Message ID."""
ENCRYPTED_PAYLOADS: Final = frozenset({46, 53})
"""SK and SKF (RFC 7383): the Next Payload in them is the type of the first payload within, and ends the chain."""
NON_ESP_MARKER: Final = bytes(4)
NAT_KEEPALIVE: Final = b"\xff"
ATTRIBUTE_FORMAT_BIT: Final = 0x8000
"""Set: type and value, 4 bytes in all; else type, length and value. RFC 2408 section 3.3."""


class Payload(NamedTuple):
    """One payload of a chain."""

    type: int
    """0 to 255; the numbers of IKEv1 and IKEv2 differ."""
    body: bytes
    """Without its 4-byte generic header; at most 65531 bytes."""
    critical: bool = False


@dataclass(frozen=True, slots=True)
class IsakmpHeader:
    """The fixed header, which can be read even where the payloads cannot."""

    initiator_spi: bytes
    """8 bytes, not zero: what a conversation is known by."""
    responder_spi: bytes
    """8 bytes; all zero in an initiator's first message."""
    next_payload: int
    major_version: int
    """1, 2, or what is neither."""
    minor_version: int
    exchange_type: int
    flags: int
    message_id: int
    length: int
    """Bytes of the whole message as the header says, header included."""

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        initiator_spi, responder_spi = cursor.take(SPI, "Initiator SPI"), cursor.take(SPI, "Responder SPI")
        next_payload, version = cursor.u8("Next Payload"), cursor.u8("Version")
        exchange_type, flags = cursor.u8("Exchange Type"), cursor.u8("Flags")
        message_id, length = cursor.u32("Message ID"), cursor.u32("Length")
        return cls(initiator_spi, responder_spi, next_payload, version >> 4, version & 0x0F, exchange_type, flags, message_id, length)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Reads the header alone, whatever follows. Raises DecodeError where there are fewer than 28 bytes."""
        return cls.read(Cursor(data))


class MalformedPayloads(DecodeError):
    """The header can be read; the message is not what it should be (no initiator SPI, cut off, a broken chain)."""

    def __init__(self, header: IsakmpHeader, error: DecodeError) -> None:
        super().__init__(error.field, error.offset, error.problem)
        self.header = header


@dataclass(frozen=True, slots=True)
class IsakmpMessage:
    """A whole message: header fields and payload chain."""

    name: ClassVar[str] = "ISAKMP"
    initiator_spi: bytes
    responder_spi: bytes
    exchange_type: int
    payloads: tuple[Payload, ...] = ()
    flags: int = 0
    message_id: int = 0
    major_version: int = 1
    minor_version: int = 0
    encrypted: bytes = b""
    """IKEv1: all after the header where the encryption flag is set; then there are no `payloads`."""
    inner_payload: int = 0
    """Type of the first payload within `encrypted`, or within the SK payload that ends the chain; 0: nothing is encrypted."""

    @property
    def key(self) -> str:
        """The initiator's SPI, 16 hex digits."""
        return self.initiator_spi.hex()

    def encode(self) -> bytes:
        following = [payload.type for payload in self.payloads] + [self.inner_payload]
        body = b"".join(_payload(payload, after) for payload, after in zip(self.payloads, following[1:], strict=True)) + self.encrypted
        version = self.major_version << 4 | self.minor_version
        numbers = bytes([following[0], version, self.exchange_type, self.flags])
        tail = self.message_id.to_bytes(4, "big") + (HEADER + len(body)).to_bytes(4, "big")
        return self.initiator_spi + self.responder_spi + numbers + tail + body

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decodes a message without non-ESP marker; bytes beyond its Length are ignored.

        Raises DecodeError; MalformedPayloads, which is one, where the header can be read.
        """
        cursor = Cursor(data)
        header = IsakmpHeader.read(cursor)
        try:
            payloads, inner = _read_payloads(cursor, header)
        except DecodeError as error:
            raise MalformedPayloads(header, error) from None
        return cls(
            initiator_spi=header.initiator_spi,
            responder_spi=header.responder_spi,
            exchange_type=header.exchange_type,
            payloads=payloads,
            flags=header.flags,
            message_id=header.message_id,
            major_version=header.major_version,
            minor_version=header.minor_version,
            encrypted=cursor.rest(),
            inner_payload=inner,
        )

    def bodies(self, payload_type: int) -> list[bytes]:
        """The bodies of all payloads of a type, in their order."""
        return [payload.body for payload in self.payloads if payload.type == payload_type]


class Attribute(NamedTuple):
    """A data attribute of a transform, RFC 2408 section 3.3 and RFC 7296 section 3.3.5."""

    type: int
    """0 to 32767."""
    value: int | bytes
    """A number of 16 bits in the short format, bytes in the long one."""

    @property
    def number(self) -> int:
        """The value as a number, in either format."""
        return self.value if isinstance(self.value, int) else int.from_bytes(self.value, "big")

    def encode(self) -> bytes:
        if isinstance(self.value, int):
            return (ATTRIBUTE_FORMAT_BIT | self.type).to_bytes(2, "big") + self.value.to_bytes(2, "big")
        return self.type.to_bytes(2, "big") + len(self.value).to_bytes(2, "big") + self.value

    @classmethod
    def read_all(cls, cursor: Cursor) -> tuple[Self, ...]:
        """All attributes up to the cursor's end."""
        attributes = []
        while cursor.left:
            bits, number = cursor.u16("Attribute Type"), cursor.u16("Attribute Value")
            value = number if bits & ATTRIBUTE_FORMAT_BIT else cursor.take(number, "Attribute Value")
            attributes.append(cls(bits & ~ATTRIBUTE_FORMAT_BIT, value))
        return tuple(attributes)


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification: of IKEv1 (RFC 2408 section 3.14, whose body has the DOI in front) and of IKEv2 (RFC 7296 section 3.10)."""

    type: int
    """0 to 65535; `Notify` of `vpnprobe.wire.ikev1` or `vpnprobe.wire.ikev2` names it."""
    data: bytes = b""
    protocol_id: int = 0
    """1: IKE, 2: AH, 3: ESP; 0 where there is no SPI (IKEv2)."""
    spi: bytes = b""
    """At most 255 bytes."""

    def encode(self) -> bytes:
        return bytes([self.protocol_id, len(self.spi)]) + self.type.to_bytes(2, "big") + self.spi + self.data

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        """From the Protocol ID to the cursor's end."""
        protocol_id, spi_size = cursor.u8("Protocol-ID"), cursor.u8("SPI Size")
        kind = cursor.u16("Notify Message Type")
        spi = cursor.take(spi_size, "SPI")
        return cls(kind, cursor.rest(), protocol_id, spi)


class UdpEncapsulated(Enum):
    """What a datagram on port 4500 carries, RFC 3948 section 2."""

    IKE = "ike"
    ESP = "esp"
    NAT_KEEPALIVE = "nat-keepalive"


def with_marker(message: bytes) -> bytes:
    """A message as it goes over port 4500."""
    return NON_ESP_MARKER + message


def unwrap(datagram: bytes) -> tuple[UdpEncapsulated, bytes]:
    """What a datagram on port 4500 carries, and the message without the non-ESP marker (ESP and keepalive as they are).

    Raises DecodeError for what is none of the three: fewer than 4 bytes that are not the keepalive.
    """
    if datagram == NAT_KEEPALIVE:
        return UdpEncapsulated.NAT_KEEPALIVE, datagram
    marker = Cursor(datagram).take(len(NON_ESP_MARKER), "non-ESP marker or SPI")
    if marker == NON_ESP_MARKER:
        return UdpEncapsulated.IKE, datagram[len(NON_ESP_MARKER) :]
    return UdpEncapsulated.ESP, datagram


def sub_chain(cursor: Cursor, field: str) -> list[Cursor]:
    """The substructures (proposals, transforms) up to the cursor's end, each without its 4-byte head.

    The first byte of each says whether another follows (0: it is the last); RFC 2408 sections 3.5 and 3.6, RFC 7296 section 3.3.
    """
    found = []
    while True:
        more, _ = cursor.u8(f"{field}: more"), cursor.u8(f"{field}: reserved")
        length = cursor.u16(f"{field} length")
        if length < PAYLOAD_HEADER:
            raise cursor.wrong(f"{field} length", f"{length} is less than {PAYLOAD_HEADER}", back=2)
        start = cursor.offset
        cursor.take(length - PAYLOAD_HEADER, field)
        found.append(Cursor(cursor.data, start, cursor.offset))
        if not more:
            break
    if cursor.left:
        raise cursor.wrong(field, f"is the last, {cursor.left} bytes are left")
    return found


def encode_sub_chain(bodies: list[bytes], *, more: int) -> bytes:
    """The substructures with their heads; `more` is 2 for proposals and 3 for transforms."""
    last = len(bodies) - 1
    heads = (bytes([more if index < last else 0, 0]) + (PAYLOAD_HEADER + len(body)).to_bytes(2, "big") for index, body in enumerate(bodies))
    return b"".join(head + body for head, body in zip(heads, bodies, strict=True))


def _payload(payload: Payload, after: int) -> bytes:
    length = (PAYLOAD_HEADER + len(payload.body)).to_bytes(2, "big")
    return bytes([after, CRITICAL_BIT * payload.critical]) + length + payload.body


def _read_payloads(cursor: Cursor, header: IsakmpHeader) -> tuple[tuple[Payload, ...], int]:
    """The payloads in clear, and the type of the first one that is not (else 0). Sets the cursor's end to the message's."""
    if header.initiator_spi == NO_SPI:
        raise DecodeError("Initiator SPI", 0, "is zero")
    if not HEADER <= header.length <= len(cursor.data):
        raise cursor.wrong("Length", f"is {header.length}, with {len(cursor.data)} bytes at hand", back=4)
    cursor.end = header.length
    if header.major_version == 1 and header.flags & ENCRYPTION_FLAG:
        return (), header.next_payload
    return _read_chain(cursor, header.next_payload)


def _read_chain(cursor: Cursor, first: int) -> tuple[tuple[Payload, ...], int]:
    """The payloads to the end of the message, and the type within the SK payload that ends the chain (else 0)."""
    payloads: list[Payload] = []
    kind = first
    while kind:
        after, bits = cursor.u8("Next Payload"), cursor.u8("Critical bit")
        length = cursor.u16("Payload Length")
        if length < PAYLOAD_HEADER:
            raise cursor.wrong("Payload Length", f"{length} is less than {PAYLOAD_HEADER}", back=2)
        payloads.append(Payload(kind, cursor.take(length - PAYLOAD_HEADER, "Payload"), bool(bits & CRITICAL_BIT)))
        kind = after
        if payloads[-1].type in ENCRYPTED_PAYLOADS:
            break
    if cursor.left:
        raise cursor.wrong("Next Payload", f"the chain ends, {cursor.left} bytes are left")
    return tuple(payloads), kind
