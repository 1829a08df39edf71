"""Writes captured packets as a classic pcap file: raw IP, microseconds. The server agent hands its capture over in this form."""

import struct
from collections.abc import Iterable
from typing import Final

from vpnprobe.transports.door import Packet

MAGIC: Final = 0xA1B2C3D4
SNAP_LENGTH: Final = 65535
LINKTYPE_RAW: Final = 101
"""Raw IP: packets begin with the IP header."""


def encode_pcap(packets: Iterable[Packet]) -> bytes:
    """The file; with no packets it is the header alone, which says that this end saw nothing."""
    records = [struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, SNAP_LENGTH, LINKTYPE_RAW)]
    for packet in packets:
        seconds, microseconds = divmod(round(packet.at * 1_000_000), 1_000_000)
        kept = packet.data[:SNAP_LENGTH]
        records.append(struct.pack("<IIII", seconds, microseconds, len(kept), len(packet.data)) + kept)
    return b"".join(records)
