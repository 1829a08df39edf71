"""Fragments of IPv4 packets (RFC 791 section 3.2): cutting them for a link, and putting them together again.

A packet that never becomes whole is forgotten `PATIENCE_S` after its first fragment. Fragments that overlap make no packet (RFC 5722 says
so of IPv6, and Linux does so for both).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.wire.ip import IPv4Packet

PATIENCE_S: Final = 30.0
"""Linux net.ipv4.ipfrag_time."""
_UNIT: Final = 8
"""Offsets count in units of 8 bytes."""
_MOST_AT_ONCE: Final = 256
"""Packets that are being put together; the oldest gives way."""


def is_fragment(packet: IPv4Packet) -> bool:
    return packet.more_fragments or packet.fragment_offset > 0


def fragmented(packet: IPv4Packet, mtu: int) -> list[IPv4Packet]:
    """The packet in pieces of at most `mtu` bytes; itself where it fits."""
    if packet.total_length <= mtu:
        return [packet]
    size = (mtu - packet.header_length) // _UNIT * _UNIT
    data = packet.payload
    return [
        replace(
            packet,
            payload=data[start : start + size],
            fragment_offset=packet.fragment_offset + start // _UNIT,
            more_fragments=packet.more_fragments or start + size < len(data),
        )
        for start in range(0, len(data), size)
    ]


@dataclass(slots=True)
class _Parts:
    began: float
    pieces: dict[int, IPv4Packet] = field(default_factory=dict)
    """By offset in bytes."""
    end: int | None = None
    """Bytes of the whole payload, known from the last fragment."""
    largest: int = 0
    """Bytes of the longest fragment."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A packet that was put together."""

    packet: IPv4Packet
    largest: int
    """Bytes of its longest fragment: a router that must put it together sends none that is longer."""


class Reassembly:
    """Puts the fragments that come to one host together."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._parts: dict[tuple[IPv4Address, IPv4Address, int, int], _Parts] = {}

    def take(self, fragment: IPv4Packet) -> Whole | None:
        """The packet that this fragment makes whole; None: some of it is still missing."""
        key = (fragment.source, fragment.destination, fragment.protocol, fragment.identification)
        parts = self._parts.get(key)
        if parts is None or self._now() - parts.began > PATIENCE_S:
            parts = self._parts[key] = _Parts(self._now())
            if len(self._parts) > _MOST_AT_ONCE:
                del self._parts[next(iter(self._parts))]
        start = fragment.fragment_offset * _UNIT
        parts.pieces[start] = fragment
        parts.largest = max(parts.largest, fragment.total_length)
        if not fragment.more_fragments:
            parts.end = start + len(fragment.payload)
        whole = _joined(parts)
        if whole is not None:
            del self._parts[key]
        return whole


def _joined(parts: _Parts) -> Whole | None:
    if parts.end is None or sum(len(piece.payload) for piece in parts.pieces.values()) != parts.end:
        return None
    payload, first = b"", parts.pieces.get(0)
    for start in sorted(parts.pieces):
        if start != len(payload):
            return None
        payload += parts.pieces[start].payload
    return Whole(replace(first, payload=payload, more_fragments=False), parts.largest) if first else None
