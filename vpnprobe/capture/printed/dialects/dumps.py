"""Dumps of bytes that stand by themselves, as `tshark -x` prints them: each is a packet, without a time."""

from typing import Final

from vpnprobe.capture.printed.dialects.base import Dialect, Session
from vpnprobe.capture.printed.hex_dumps import row_of
from vpnprobe.capture.printed.packets import Beginning, NoPacket, PrintedPacket, Reading, Unread

WHOLE_LEAST: Final = 20
"""A dump shorter than an IP header is of a part of a packet."""


def begins(line: str) -> Beginning | None:
    """A row of a dump, with offset 0, begins one."""
    row = row_of(line)
    return Beginning(0, None, 0) if row is not None and row[0] == 0 else None


def read(packet: PrintedPacket, _session: Session) -> Reading:
    """What is left here is what no IP packet was found in."""
    whole = any(len(dump.data) >= WHOLE_LEAST for dump in packet.dumps)
    return Unread("is a dump of bytes in which no IP packet is found") if whole else NoPacket("a dump of a part of a packet")


DUMPS: Final = Dialect("bytes", begins, read)
