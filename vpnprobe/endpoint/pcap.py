"""Writes captured packets as a classic pcap file: raw IP, nanoseconds. The server agent hands its capture over in this form."""

import struct
from collections.abc import Iterable
from typing import Final

from vpnprobe.transports.stack import Packet

NANOSECONDS: Final = 0xA1B23C4D
SNAPLEN_BYTES: Final = 65535
LINKTYPE_RAW: Final = 101
"""Packets begin with the IP header."""


def encode_pcap(packets: Iterable[Packet]) -> bytes:
    """The file; with no packets it is the header alone, which says that this end saw nothing."""
    pieces = [struct.pack(">IHHIIII", NANOSECONDS, 2, 4, 0, 0, SNAPLEN_BYTES, LINKTYPE_RAW)]
    for packet in packets:
        seconds, nanoseconds = divmod(round(packet.at * 1_000_000_000), 1_000_000_000)
        kept = packet.data[:SNAPLEN_BYTES]
        pieces += [struct.pack(">IIII", seconds & 0xFFFFFFFF, nanoseconds, len(kept), len(packet.data) + packet.cut), kept]
    return b"".join(pieces)
