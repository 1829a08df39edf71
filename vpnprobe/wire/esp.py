"""ESP (RFC 4303 section 2): the Security Parameters Index and the Sequence Number, which stand in clear; the rest is opaque.

The same bytes follow the IP header (protocol 50) and, in UDP port 4500, the UDP header (RFC 3948 section 2.1). There an SPI of 0 is the
non-ESP marker that announces IKE.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Self

from vpnprobe.wire.cursor import Cursor

IP_PROTOCOL: Final = 50
FIRST_USABLE_SPI: Final = 256
"""SPIs 1 to 255 are reserved by IANA, 0 for local use (RFC 4303 section 2.1)."""


@dataclass(frozen=True, slots=True)
class EspPacket:
    """One ESP packet."""

    name: ClassVar[str] = "ESP"
    spi: int
    """0 to 2**32 - 1, chosen by the receiver; in one direction only."""
    sequence_number: int
    """0 to 2**32 - 1; the first packet of an association carries 1."""
    rest: bytes
    """Encrypted payload, padding and check value; may be empty in a truncated capture."""

    @property
    def reserved(self) -> bool:
        """Whether the SPI is one that no association can have."""
        return self.spi < FIRST_USABLE_SPI

    def encode(self) -> bytes:
        return self.spi.to_bytes(4, "big") + self.sequence_number.to_bytes(4, "big") + self.rest

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises DecodeError where there are fewer than 8 bytes."""
        cursor = Cursor(data)
        return cls(cursor.u32("SPI"), cursor.u32("Sequence Number"), cursor.rest())
