"""Records of a pcapng file (draft-ietf-opsawg-pcapng): sections, interfaces and the three packet blocks.

Both byte orders, which may change with each section; several interfaces, each with its link type, time resolution and offset, and how many
packets its statistics say were dropped; a section's comments. Other blocks and all other options are passed over without being held. A
block whose two lengths differ is damage: reading stops there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal

from vpnprobe.capture.pcap import LATEST_S, RECORD_LIMIT_BYTES, Record
from vpnprobe.capture.sources import Source
from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor

SECTION_HEADER: Final = 0x0A0D0D0A
SECTION_MAGIC: Final = SECTION_HEADER.to_bytes(4, "big")
INTERFACE_DESCRIPTION: Final = 1
OBSOLETE_PACKET: Final = 2
SIMPLE_PACKET: Final = 3
INTERFACE_STATISTICS: Final = 5
ENHANCED_PACKET: Final = 6

BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
OPT_COMMENT: Final = 1
IF_TSRESOL: Final = 9
IF_TSOFFSET: Final = 14
ISB_IFDROP: Final = 5
ISB_OSDROP: Final = 7
UNKNOWN_COUNT: Final = b"\xff" * 8
"""A count that the program does not know."""
STATISTICS_LIMIT: Final = 64
"""Most options of an interface's statistics that are looked at."""
OPTIONS_LIMIT_BYTES: Final = 65_536
"""Most bytes of an interface description that are looked at."""
INTERFACES_LIMIT: Final = 4096
"""And as many comments."""
COMMENTS_LIMIT_BYTES: Final = 1 << 20
"""Most bytes of a section header that are looked at."""

Order = Literal["big", "little"]


@dataclass(frozen=True, slots=True)
class _Interface:
    linktype: int
    snaplen: int
    """Bytes; 0: no limit."""
    tick_s: float = 1e-6
    offset_s: int = 0
    number: int = 0
    """In the whole file, from 0: sections begin to count anew."""


@dataclass(slots=True)
class Besides:
    """What a file says besides its packets, as far as it was read."""

    comments: list[bytes] = field(default_factory=list)
    """What each section's comments come to."""
    drops: dict[int, int] = field(default_factory=dict)
    """By interface: packets that were dropped for want of resources since the capture began, as its last statistics say."""


def records(source: Source, besides: Besides) -> Iterator[Record]:
    """The packets of all sections in their order. Raises DecodeError at damage; all packets before it have been given.

    `besides`: takes what is said besides, as it is read.
    """
    return _Reader(source, besides).records()


class _Reader:
    def __init__(self, source: Source, besides: Besides) -> None:
        self._source = source
        self._besides = besides
        self._order: Order = "little"
        self._interfaces: list[_Interface] = []
        self._described = 0
        """Interfaces of all sections."""
        self._last_at = 0.0
        self._number = 0

    def records(self) -> Iterator[Record]:
        while head := self._source.take_up_to(8):
            start = self._source.offset - len(head)
            if len(head) < 8:
                raise DecodeError("block header", start, "ends early")
            if head[:4] == SECTION_MAGIC:
                self._section(self._source.take(4, "byte-order magic"), start)
                length, body = self._int(head[4:8]), self._int(head[4:8]) - 16
            else:
                length, body = self._int(head[4:8]), self._int(head[4:8]) - 12
            if length < 12 or length % 4 or body < 0:
                raise DecodeError("block total length", start + 4, f"is {length}")
            record = self._block(self._int(head[:4]) if head[:4] != SECTION_MAGIC else SECTION_HEADER, body)
            if record is not None:
                yield record
            if self._int(self._source.take(4, "closing block length")) != length:
                raise DecodeError("closing block length", self._source.offset - 4, f"is not {length}")

    def _int(self, data: bytes) -> int:
        return int.from_bytes(data, self._order)

    def _section(self, magic: bytes, start: int) -> None:
        if int.from_bytes(magic, "big") == BYTE_ORDER_MAGIC:
            self._order = "big"
        elif int.from_bytes(magic, "little") == BYTE_ORDER_MAGIC:
            self._order = "little"
        else:
            raise DecodeError("byte-order magic", start + 8, f"is {magic.hex()}")
        self._interfaces = []

    def _block(self, kind: int, body_bytes: int) -> Record | None:
        """Takes the whole body of a block."""
        match kind:
            case 1:
                self._interface(body_bytes)
            case 0x0A0D0D0A:
                self._section_options(body_bytes)
            case 2 | 3 | 6:
                return self._packet(kind, body_bytes)
            case 5:
                self._statistics(body_bytes)
            case _:
                self._source.skip(body_bytes, "block")
        return None

    def _section_options(self, body_bytes: int) -> None:
        """Behind version and section length."""
        looked_at = min(body_bytes, COMMENTS_LIMIT_BYTES)
        body = self._source.take(looked_at, "section header")
        self._source.skip(body_bytes - looked_at, "section header")
        comment = b"".join(value for code, value in self._options(Cursor(body, min(12, len(body)))) if code == OPT_COMMENT)
        if comment and len(self._besides.comments) < INTERFACES_LIMIT:
            self._besides.comments.append(comment)

    def _options(self, cursor: Cursor) -> Iterator[tuple[int, bytes]]:
        """Codes and values, up to the end of options or to one that is longer than what is left."""
        while cursor.left >= 4:
            code, size = self._int(cursor.take(2, "option code")), self._int(cursor.take(2, "option length"))
            if code == 0 or size > cursor.left:
                return
            yield code, cursor.take(size, "option value")
            cursor.take(min(cursor.left, -size % 4), "option padding")

    def _interface(self, body_bytes: int) -> None:
        looked_at = min(body_bytes, OPTIONS_LIMIT_BYTES)
        body = self._source.take(looked_at, "interface description")
        self._source.skip(body_bytes - looked_at, "interface description")
        if len(body) < 8 or len(self._interfaces) >= INTERFACES_LIMIT:
            raise DecodeError("interface description", self._source.offset - body_bytes, "is too short, or one too many")
        tick_s, offset_s = self._time_options(Cursor(body, 8))
        self._interfaces.append(_Interface(self._int(body[:2]), self._int(body[4:8]), tick_s, offset_s, self._described))
        self._described += 1

    def _statistics(self, body_bytes: int) -> None:
        """Section 4.6: an interface's number, a time, and counts as options. Its own words are not needed to read what follows."""
        looked_at = min(body_bytes, OPTIONS_LIMIT_BYTES)
        body = self._source.take(looked_at, "interface statistics")
        self._source.skip(body_bytes - looked_at, "interface statistics")
        index = self._int(body[:4])
        if len(body) < 12 or index >= len(self._interfaces):
            return
        said = islice(self._options(Cursor(body, 12)), STATISTICS_LIMIT)
        dropped = [self._int(value) for code, value in said if code in (ISB_IFDROP, ISB_OSDROP) and len(value) == len(UNKNOWN_COUNT)]
        drops, number = self._besides.drops, self._interfaces[index].number
        if number in drops or len(drops) < INTERFACES_LIMIT:
            # Some programs give one number as both.
            drops[number] = max((count for count in dropped if count != int.from_bytes(UNKNOWN_COUNT, "big")), default=0)

    def _time_options(self, cursor: Cursor) -> tuple[float, int]:
        tick_s, offset_s = 1e-6, 0
        for code, value in self._options(cursor):
            if code == IF_TSRESOL and len(value) == 1:
                tick_s = 2.0 ** -(value[0] & 0x7F) if value[0] & 0x80 else 10.0 ** -value[0]
            elif code == IF_TSOFFSET and len(value) == 8:
                offset_s = int.from_bytes(value, self._order, signed=True)
        return tick_s, offset_s

    def _packet(self, kind: int, body_bytes: int) -> Record:
        self._number += 1
        start = self._source.offset
        fixed_bytes = 4 if kind == SIMPLE_PACKET else 20
        if body_bytes < fixed_bytes:
            raise DecodeError(f"packet {self._number}", start, f"has a body of {body_bytes} bytes")
        fixed = self._source.take(fixed_bytes, f"packet {self._number}")
        at, captured, on_wire, interface = self._fixed(kind, fixed, body_bytes - fixed_bytes, start)
        if captured > min(RECORD_LIMIT_BYTES, body_bytes - fixed_bytes):
            raise DecodeError(f"packet {self._number}", start, f"claims {captured} bytes in a body of {body_bytes}")
        data = self._source.take(captured, f"packet {self._number}")
        self._source.skip(body_bytes - fixed_bytes - captured, f"packet {self._number}")
        self._last_at = at
        return Record(self._number, at, interface.linktype, data, max(on_wire, captured), interface.number, self._described)

    def _fixed(self, kind: int, fixed: bytes, left: int, start: int) -> tuple[float, int, int, _Interface]:
        """Time, captured length, length on the wire, interface: from the fields before the packet data."""
        index = 0 if kind == SIMPLE_PACKET else self._int(fixed[:2] if kind == OBSOLETE_PACKET else fixed[:4])
        if index >= len(self._interfaces):
            raise DecodeError(f"packet {self._number}", start, f"names interface {index}, {len(self._interfaces)} are described")
        interface = self._interfaces[index]
        if kind == SIMPLE_PACKET:
            on_wire = self._int(fixed)
            captured = min(on_wire, interface.snaplen or on_wire, left)
            return self._last_at, captured, on_wire, interface  # section 4.4: it has no time of its own
        ticks = self._int(fixed[4:8]) << 32 | self._int(fixed[8:12])
        at = min(max(0.0, interface.offset_s + ticks * interface.tick_s), LATEST_S)
        return at, self._int(fixed[12:16]), self._int(fixed[16:20]), interface
