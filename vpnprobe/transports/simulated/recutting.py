"""A router that cuts the TCP streams that cross it into other segments: it splits long ones, joins those that follow each other, or both.

Every byte keeps its sequence number, so the ends notice nothing but the sizes. What joins nothing (SYN, RST, pure acknowledgments, what is
out of order) passes at once, behind what was held of the same direction of its connection.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from vpnprobe.errors import DecodeError
from vpnprobe.transports.simulated.clock import EventQueue, Timer
from vpnprobe.transports.topology import Recutting
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment

_JOINS_NOTHING = TcpFlag.SYN.value | TcpFlag.RST.value | TcpFlag.FIN.value | TcpFlag.URG.value
_AT_THE_END = TcpFlag.FIN.value | TcpFlag.PSH.value
"""Flags that only the last piece of a split segment carries."""

Send = Callable[[IPv4Packet], None]


@dataclass(slots=True)
class _Held:
    packet: IPv4Packet
    segment: TcpSegment
    timer: Timer
    send: Send


class Recutter:
    """One router's."""

    def __init__(self, planted: Recutting, events: EventQueue) -> None:
        self._most = planted.most_bytes
        self._merge_s = planted.merge_s
        self._events = events
        self._held: dict[tuple[object, ...], _Held] = {}
        """By direction of a connection."""

    def send(self, packet: IPv4Packet, send: Send, *, mtu: int) -> None:
        """Cuts, and hands what leaves to `send`; no segment that it joins becomes longer than `mtu`."""
        segment = _segment(packet)
        if segment is None:
            send(packet)
        elif self._merge_s > 0:
            self._join(packet, segment, send, mtu)
        else:
            self._split(packet, segment, send)

    def _join(self, packet: IPv4Packet, segment: TcpSegment, send: Send, mtu: int) -> None:
        key = (packet.source, packet.destination, segment.source_port, segment.destination_port)
        held = self._held.get(key)
        if held is not None and _follows(held, packet, segment, mtu):
            payload = held.segment.payload + segment.payload
            held.segment = replace(segment, sequence=held.segment.sequence, payload=payload)
            return
        if held is not None:
            self._release(key)
        if segment.payload and not segment.flags & _JOINS_NOTHING:
            self._held[key] = _Held(packet, segment, self._events.after(self._merge_s, partial(self._release, key)), send)
        else:
            self._split(packet, segment, send)

    def _release(self, key: tuple[object, ...]) -> None:
        held = self._held.pop(key)
        held.timer.cancel()
        self._split(held.packet, held.segment, held.send)

    def _split(self, packet: IPv4Packet, segment: TcpSegment, send: Send) -> None:
        data, size = segment.payload, self._most or len(segment.payload) or 1
        for start in range(0, len(data) or 1, size):
            last = start + size >= len(data)
            flags = segment.flags if last else segment.flags & ~_AT_THE_END
            sequence = (segment.sequence + start) & 0xFFFFFFFF
            piece = replace(segment, sequence=sequence, flags=flags, payload=data[start : start + size])
            send(replace(packet, payload=piece.encode(packet.source, packet.destination)))


def _segment(packet: IPv4Packet) -> TcpSegment | None:
    if packet.protocol != IpProtocol.TCP or not packet.first_fragment or packet.more_fragments:
        return None
    try:
        return TcpSegment.decode(packet.payload)
    except DecodeError:
        return None


def _follows(held: _Held, packet: IPv4Packet, segment: TcpSegment, mtu: int) -> bool:
    """Whether the segment carries the bytes right after those that are held, and both fit into one."""
    return (
        bool(segment.payload)
        and not segment.flags & _JOINS_NOTHING
        and segment.sequence == (held.segment.sequence + len(held.segment.payload)) & 0xFFFFFFFF
        and packet.total_length + len(held.segment.payload) <= mtu
    )
