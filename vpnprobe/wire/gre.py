"""GRE, IP protocol 47: version 0 (RFC 2784, with key and sequence number of RFC 2890) and PPTP's version 1 (RFC 2637 section 4.1).

Bits that a receiver must ignore are written as zero, so `decode(encode(m)) == m`. Source routing (RFC 1701) is not read: RFC 2784 section
2.3 has a receiver discard such packets. A payload that a capture cut short is no error: what is missing is counted.
"""

from dataclasses import dataclass, replace
from typing import Final, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.ip import internet_checksum

PROTOCOL_PPP: Final = 0x880B
"""What enhanced GRE carries."""
PROTOCOL_EXPERIMENTAL: Final = 0x88B5
"""IEEE 802 local experimental EtherType 1: what our own bare probe packets carry."""

CHECKSUM_PRESENT: Final = 0x8000
ROUTING_PRESENT: Final = 0x4000
KEY_PRESENT: Final = 0x2000
SEQUENCE_PRESENT: Final = 0x1000
ROUTE_AND_RECURSION: Final = 0x0C00
"""Bits 4 and 5; with bit 1 those that make a receiver discard, RFC 2784 section 2.3."""
ACKNOWLEDGMENT_PRESENT: Final = 0x0080
"""Bit A of enhanced GRE, RFC 2637 section 4.1."""
VERSION_MASK: Final = 0x0007


@dataclass(frozen=True, slots=True)
class Gre:
    """A version 0 packet."""

    protocol: int
    """EtherType of the payload, 0 to 65535."""
    payload: bytes = b""
    checksum: int | None = None
    """As it stands in the packet, right or wrong; None: no checksum field. `with_checksum` fills in the right one."""
    key: int | None = None
    """32 bits; None: no key field."""
    sequence_number: int | None = None
    """32 bits; None: no sequence number field."""

    def encode(self) -> bytes:
        flags, fields = 0, b""
        if self.checksum is not None:
            flags |= CHECKSUM_PRESENT
            fields += self.checksum.to_bytes(2, "big") + bytes(2)
        if self.key is not None:
            flags |= KEY_PRESENT
            fields += self.key.to_bytes(4, "big")
        if self.sequence_number is not None:
            flags |= SEQUENCE_PRESENT
            fields += self.sequence_number.to_bytes(4, "big")
        return flags.to_bytes(2, "big") + self.protocol.to_bytes(2, "big") + fields + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises DecodeError for another version, source routing, or a head that is cut short."""
        cursor = Cursor(data)
        flags = cursor.u16("flags and version")
        if flags & VERSION_MASK != 0:
            raise cursor.wrong("version", f"is {flags & VERSION_MASK}, not 0", back=2)
        if flags & (ROUTING_PRESENT | ROUTE_AND_RECURSION):
            raise cursor.wrong("flags", "source routing (RFC 1701) is not read", back=2)
        protocol = cursor.u16("Protocol Type")
        checksum = cursor.u16("Checksum") if flags & CHECKSUM_PRESENT else None
        if checksum is not None:
            cursor.u16("Reserved1")
        key = cursor.u32("Key") if flags & KEY_PRESENT else None
        sequence_number = cursor.u32("Sequence Number") if flags & SEQUENCE_PRESENT else None
        return cls(protocol, cursor.rest(), checksum, key, sequence_number)

    def with_checksum(self) -> Self:
        """The same packet with the right checksum, RFC 2784 section 2.5."""
        return replace(self, checksum=internet_checksum(replace(self, checksum=0).encode()))


@dataclass(frozen=True, slots=True)
class EnhancedGre:
    """A version 1 packet: PPP of one PPTP call, or an acknowledgment alone."""

    call_id: int
    """The receiver's Call ID (low 16 bits of the Key), 0 to 65535."""
    sequence_number: int | None = None
    """32 bits; None: the packet carries no payload, as the standard has it."""
    acknowledgment_number: int | None = None
    """The highest sequence number that was received, 32 bits; None: nothing is acknowledged.

    No proof of receipt by itself: some clients send 0 before they have received anything.
    """
    payload: bytes = b""
    """A PPP frame."""
    cut: int = 0
    """Bytes of the payload that its length counts and that are not there: a capture with a short snap length, or a false length."""

    @property
    def payload_length(self) -> int:
        """The Payload Length field (high 16 bits of the Key), bytes."""
        return len(self.payload) + self.cut

    def encode(self) -> bytes:
        flags, fields = KEY_PRESENT | 1, b""
        if self.sequence_number is not None:
            flags |= SEQUENCE_PRESENT
            fields += self.sequence_number.to_bytes(4, "big")
        if self.acknowledgment_number is not None:
            flags |= ACKNOWLEDGMENT_PRESENT
            fields += self.acknowledgment_number.to_bytes(4, "big")
        key = self.payload_length.to_bytes(2, "big") + self.call_id.to_bytes(2, "big")
        return flags.to_bytes(2, "big") + PROTOCOL_PPP.to_bytes(2, "big") + key + fields + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises DecodeError for another version or protocol type, no key, or a head cut short; ignores what follows the payload."""
        cursor = Cursor(data)
        payload_length, call_id, flags = _enhanced_head(cursor)
        sequence_number = cursor.u32("Sequence Number") if flags & SEQUENCE_PRESENT else None
        acknowledgment_number = cursor.u32("Acknowledgment Number") if flags & ACKNOWLEDGMENT_PRESENT else None
        payload = cursor.take(min(payload_length, cursor.left), "payload")
        return cls(call_id, sequence_number, acknowledgment_number, payload, payload_length - len(payload))


def decode_gre(data: bytes) -> Gre | EnhancedGre:
    """The GRE packet that an IP packet of protocol 47 carries. Raises DecodeError for versions other than 0 and 1."""
    version = Cursor(data).u16("flags and version") & VERSION_MASK
    if version > 1:
        raise DecodeError("version", 0, f"{version} is neither 0 nor 1")
    return EnhancedGre.decode(data) if version else Gre.decode(data)


def _enhanced_head(cursor: Cursor) -> tuple[int, int, int]:
    """Payload Length, Call ID and the flags."""
    flags = cursor.u16("flags and version")
    if flags & VERSION_MASK != 1:
        raise cursor.wrong("version", f"is {flags & VERSION_MASK}, not 1", back=2)
    if flags & (CHECKSUM_PRESENT | ROUTING_PRESENT) or not flags & KEY_PRESENT:
        raise cursor.wrong("flags", f"{flags:04x}: enhanced GRE has a key, no checksum and no routing", back=2)
    if (protocol := cursor.u16("Protocol Type")) != PROTOCOL_PPP:
        raise cursor.wrong("Protocol Type", f"is {protocol:04x}, not {PROTOCOL_PPP:04x}", back=2)
    return cursor.u16("Payload Length"), cursor.u16("Call ID"), flags
