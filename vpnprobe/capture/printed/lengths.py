"""Lengths of TCP segments of which a program prints the numbers alone, as FortiGate's sniffer does.

A segment ends where the next one of its sender begins, or where the other end's acknowledgment says, whichever comes first (RFC 9293
section 3.4). Where neither follows, its length stays unknown. Pure.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.tcp_reassembly import ahead
from vpnprobe.wire.ip import TcpFlag

LONGEST: Final = 0xFFFF - 20
"""Bytes of payload that a segment may have."""
WAITING_LIMIT: Final = 64
"""Most segments of one direction whose end is waited for."""

Direction = tuple[str, int, str, int]


def with_lengths(frames: Sequence[Frame], unmeasured: set[int]) -> list[Frame]:
    """The frames of a trace, in order. `unmeasured`: the places in it of segments that carry something, nobody knows how much."""
    found = list(frames)
    waiting: dict[Direction, list[tuple[int, int]]] = {}
    for place, frame in enumerate(frames):
        segment = frame.tcp if unmeasured else None
        if segment is None:
            continue
        there = (frame.source, segment.source_port, frame.destination, segment.destination_port)
        ends = [((*there[2:], *there[:2]), segment.acknowledgment)] if segment.has(TcpFlag.ACK) else []
        if place in unmeasured or segment.flags & (TcpFlag.PSH | TcpFlag.FIN | TcpFlag.RST):
            ends.append((there, segment.sequence))
        for direction, end in ends:
            waiting[direction] = [one for one in waiting.get(direction, ()) if not _ends(found, one, end)]
        if place in unmeasured:
            waiting.setdefault(there, []).append((place, segment.sequence))
            del waiting[there][:-WAITING_LIMIT]
    return found


def _ends(frames: list[Frame], segment: tuple[int, int], end: int) -> bool:
    """Whether a segment that is waited for ends there, or no more is to be known of it: then its frame has its length."""
    place, sequence = segment
    size = ahead(end, sequence)
    if 0 < size <= LONGEST:
        frames[place] = replace(frames[place], length=len(frames[place].data) + size)
    return size > 0
