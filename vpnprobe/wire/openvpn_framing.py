"""What stands between a tunnel packet and OpenVPN's data channel: the framing of compression, and around it that of `fragment`.

`fragment` puts four bytes in front of what compression has framed, a number in network order: bits 0 and 1 say what follows (0 a whole
packet, 1 a part, 2 the last part), bits 2 to 9 number the packet, bits 10 to 14 the part, and bits 15 to 28 of a last part are the size of
the others in units of 4 bytes (OpenVPN's source, fragment.h). Either framing has to be the same at both ends, and nothing negotiates it.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.ip import IPv4Packet, decode_ip
from vpnprobe.wire.openvpn_data import OCC_MAGIC, PING, Compression

HEADER: Final = 4
"""Bytes of a fragment header."""
UNIT: Final = 4
"""Bytes that all parts but the last are a multiple of."""
MOST_PARTS: Final = 32
MOST_OPEN: Final = 25
"""Packets whose parts have not all come yet; the one that has waited longest gives way."""
NUMBERS: Final = 256
FRAMINGS: Final = (Compression.NONE, Compression.STUB, Compression.LZO_NO)
"""Those that can be told apart by what OpenVPN's own messages look like: stub-v2 changes none of them."""


class Part(IntEnum):
    """What follows a fragment header."""

    WHOLE = 0
    MORE = 1
    LAST = 2


@dataclass(frozen=True, slots=True)
class FragmentHeader:
    """The four bytes in front."""

    kind: Part
    number: int = 0
    """Of the packet, 0 to 255; 0 where it is whole."""
    part: int = 0
    """0 to 31; 0 where it is whole."""
    size: int = 0
    """Bytes of the parts before a last one, a multiple of 4; 0 in all others."""

    def encode(self) -> bytes:
        return (self.kind | self.number << 2 | self.part << 10 | self.size // UNIT << 15).to_bytes(HEADER, "big")

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        """Raises DecodeError."""
        word = cursor.u32("fragment header")
        number, part = word >> 2 & 0xFF, word >> 10 & 0x1F
        if word & 3 not in tuple(Part):
            raise cursor.wrong("fragment header", "says 3, which no packet is", back=HEADER)
        kind = Part(word & 3)
        if kind is Part.WHOLE and (number or part):
            raise cursor.wrong("fragment header", "numbers a packet that is whole", back=HEADER)
        return cls(kind, number, part, (word >> 15 & 0x3FFF) * UNIT if kind is Part.LAST else 0)


@dataclass(slots=True)
class Framing:
    """One end's framing, both ways."""

    compression: Compression = Compression.NONE
    fragment: int | None = None
    """Largest data packet in bytes without the headers of UDP and IP, as `fragment` has it; None: packets are not cut."""
    _number: int = 0
    _open: dict[int, dict[int, bytes]] = field(default_factory=dict)
    """By packet: its parts by number, the last one under its negative number less one."""

    @property
    def overhead(self) -> int:
        """Bytes that an IP packet has more for it."""
        return len(self.compression.add(b"E")) - 1 + (HEADER if self.fragment is not None else 0)

    def add(self, payload: bytes, *, channel: int) -> list[bytes]:
        """What goes into the data channel, in one or several packets; `channel`: bytes that each has more there."""
        framed = self.compression.add(payload)
        if self.fragment is None:
            return [framed]
        room = max(UNIT, (self.fragment - channel - HEADER) // UNIT * UNIT)
        if len(framed) <= room:
            return [FragmentHeader(Part.WHOLE).encode() + framed]
        count = min(MOST_PARTS, -(-len(framed) // room))
        size = -(-len(framed) // count // UNIT) * UNIT
        parts = [framed[at : at + size] for at in range(0, len(framed), size)]
        self._number = (self._number + 1) % NUMBERS
        heads = [FragmentHeader(Part.MORE, self._number, place) for place in range(len(parts) - 1)]
        heads.append(FragmentHeader(Part.LAST, self._number, len(parts) - 1, size))
        return [head.encode() + part for head, part in zip(heads, parts, strict=True)]

    def remove(self, payload: bytes) -> bytes | None:
        """The tunnel packet; None: it is a part, and others are missing. Raises DecodeError where it is framed otherwise."""
        if self.fragment is None or not payload:
            return self.compression.remove(payload)
        cursor = Cursor(payload)
        header, content = FragmentHeader.read(cursor), cursor.rest()
        whole = content if header.kind is Part.WHOLE else self._joined(header, content)
        return None if whole is None else self.compression.remove(whole)

    def _joined(self, header: FragmentHeader, content: bytes) -> bytes | None:
        parts = self._open.pop(header.number, {})
        parts[header.part if header.kind is Part.MORE else -header.part - 1] = content
        last = next((-place - 1 for place in parts if place < 0), None)
        if last is not None and len(parts) == last + 1 and all(place in parts for place in range(last)):
            return b"".join(parts[place] for place in range(last)) + parts[-last - 1]
        self._open[header.number] = parts
        if len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]
        return None


def framing_of(payload: bytes) -> tuple[Compression, bool] | None:
    """How what came out of the data channel is framed, and whether with a fragment header, by what it then is; None: that does not show.

    Known are the keep-alive, OpenVPN's own messages and IPv4 packets. Stub-v2 frames none of them, so that it shows as no framing.
    """
    for fragment in (None, 1):
        for compression in FRAMINGS:
            try:
                found = Framing(compression, fragment).remove(payload)
            except DecodeError:
                continue
            if found is not None and _is_known(found):
                return compression, fragment is not None
    return None


def _is_known(payload: bytes) -> bool:
    if payload == PING or payload.startswith(OCC_MAGIC):
        return True
    try:
        packet = decode_ip(payload)
    except DecodeError:
        return False
    return isinstance(packet, IPv4Packet) and packet.missing == 0 and packet.header_length + len(packet.payload) == len(payload)
