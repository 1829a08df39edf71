"""Writes captured packets as a capture file: raw IP, nanoseconds. Classic pcap, or, with a note, pcapng, which has room for one."""

import struct
from collections.abc import Iterable
from typing import Final

from vpnprobe.transports.stack import Packet

NANOSECONDS: Final = 0xA1B23C4D
SNAPLEN_BYTES: Final = 65535
LINKTYPE_RAW: Final = 101
"""Packets begin with the IP header."""
SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE_DESCRIPTION: Final = 1
ENHANCED_PACKET: Final = 6
"""Blocks of draft-ietf-opsawg-pcapng, section 4."""
OPT_COMMENT: Final = 1
IF_TSRESOL: Final = 9
LONGEST_COMMENT_BYTES: Final = 60_000
"""Of one option, whose length has 16 bits; a longer note is several of them, one after another."""


def encode_pcap(packets: Iterable[Packet], *, note: str = "") -> bytes:
    """The file; with no packets it is the header alone, which says that this end saw nothing. `note`: empty for none."""
    if note:
        return _pcapng(packets, note.encode())
    pieces = [struct.pack(">IHHIIII", NANOSECONDS, 2, 4, 0, 0, SNAPLEN_BYTES, LINKTYPE_RAW)]
    for packet in packets:
        seconds, nanoseconds = divmod(_nanoseconds(packet), 1_000_000_000)
        kept = packet.data[:SNAPLEN_BYTES]
        pieces += [struct.pack(">IIII", seconds & 0xFFFFFFFF, nanoseconds, len(kept), len(packet.data) + packet.cut), kept]
    return b"".join(pieces)


def _nanoseconds(packet: Packet) -> int:
    return round(packet.at * 1_000_000_000)


def _pcapng(packets: Iterable[Packet], note: bytes) -> bytes:
    comments = (note[at : at + LONGEST_COMMENT_BYTES] for at in range(0, len(note), LONGEST_COMMENT_BYTES))
    options = b"".join(_option(OPT_COMMENT, comment) for comment in comments) + _option(0, b"")
    pieces = [
        _block(SECTION_HEADER, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1) + options),
        _block(
            INTERFACE_DESCRIPTION,
            struct.pack(">HHI", LINKTYPE_RAW, 0, SNAPLEN_BYTES) + _option(IF_TSRESOL, b"\x09") + _option(0, b""),
        ),
    ]
    for packet in packets:
        at, kept = _nanoseconds(packet), packet.data[:SNAPLEN_BYTES]
        head = struct.pack(">IIIII", 0, at >> 32 & 0xFFFFFFFF, at & 0xFFFFFFFF, len(kept), len(packet.data) + packet.cut)
        pieces.append(_block(ENHANCED_PACKET, head + kept))
    return b"".join(pieces)


def _block(kind: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 4)
    length = len(padded) + 12
    return struct.pack(">II", kind, length) + padded + struct.pack(">I", length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack(">HH", code, len(value)) + value + bytes(-len(value) % 4)
