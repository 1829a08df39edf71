"""Records of a classic capture file (draft-ietf-opsawg-pcap), read and written.

Both byte orders, microseconds and nanoseconds, and the variant with longer record headers that old Linux captures have. A record that
claims more than `RECORD_LIMIT_BYTES`, or a long run of empty ones, is damage: reading stops there and what came before stands.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from vpnprobe.capture.sources import Source
from vpnprobe.errors import DecodeError

RECORD_LIMIT_BYTES: Final = 262_144
"""Most bytes that one record may hold, as libpcap has it (MAXIMUM_SNAPLEN)."""

MICROSECONDS: Final = 0xA1B2C3D4
NANOSECONDS: Final = 0xA1B23C4D
LONGER_RECORDS: Final = 0xA1B2CD34
"""Microseconds, with 8 bytes of interface and protocol after each record header."""

_MAGICS: Final = (MICROSECONDS, NANOSECONDS, LONGER_RECORDS)
EMPTY_LIMIT: Final = 1000
"""Empty records in a row that are still believed: a few are odd, a file full of zeros is none."""

LATEST_S: Final = 253_402_300_799.0
"""Unix time of the last second of the year 9999: a time beyond it is damage, and is taken for that second."""
LINKTYPE_RAW: Final = 101
SNAPLEN_BYTES: Final = 65_535


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a capture file, of either format."""

    number: int
    """1-based, as Wireshark numbers it."""
    at: float
    """Unix time, seconds; 0 where the file has none."""
    linktype: int
    data: bytes
    """The link-layer frame, as far as it was captured."""
    wire_length: int
    """Bytes on the wire; more than `len(data)` where the capture cut the frame."""
    interface: int = 0
    """Which of the file's interfaces it was captured on, from 0."""
    of_interfaces: int = 1
    """How many are described so far."""


def byte_order(magic: bytes) -> Literal["big", "little"] | None:
    """The byte order of a classic capture that opens with `magic` (4 bytes); None: it is none."""
    if int.from_bytes(magic, "big") in _MAGICS:
        return "big"
    return "little" if int.from_bytes(magic, "little") in _MAGICS else None


def records(source: Source) -> Iterator[Record]:
    """The records up to the end of the file. Raises DecodeError at damage; all records before it have been given."""
    header = source.take(24, "file header")
    order = byte_order(header[:4]) or "big"
    magic = int.from_bytes(header[:4], order)
    unit_s = 1e-9 if magic == NANOSECONDS else 1e-6
    extra_bytes = 8 if magic == LONGER_RECORDS else 0
    linktype = int.from_bytes(header[20:24], order) & 0xFFFF  # the upper half tells the length of the frame check sequence
    count = empty = 0
    while head := source.take_up_to(16):
        count += 1
        if len(head) < 16:
            raise DecodeError(f"record {count}", source.offset - len(head), "ends within its header")
        seconds, fraction, captured, on_wire = (int.from_bytes(head[at : at + 4], order) for at in (0, 4, 8, 12))
        empty = empty + 1 if captured == 0 else 0
        if captured > RECORD_LIMIT_BYTES or empty > EMPTY_LIMIT:
            raise DecodeError(f"record {count}", source.offset - 16, f"claims {captured} bytes")
        source.skip(extra_bytes, f"record {count}")
        data = source.take(captured, f"record {count}")
        yield Record(count, seconds + fraction * unit_s, linktype, data, max(on_wire, captured))
