"""Sequence numbers of TCP as programs print them, made absolute; and of segments of which only the length is printed, in their order.

tcpdump prints the first numbers of a connection as they are and later ones relative to those, with `-S` all as they are; tshark's are
relative to zero. A program that prints lengths alone leaves the order in which it saw them.
"""

from typing import Final

from vpnprobe.capture.printed.packets import Content, Read
from vpnprobe.wire.ip import IpProtocol, TcpFlag

CONNECTIONS_LIMIT: Final = 20_000
"""Most connections whose numbers are followed."""
NEAR: Final = 1 << 28
"""Bytes within which a number that is printed as it is may be from the connection's first."""
RELATIVE_LIMIT: Final = 1 << 24
"""Numbers below it are relative: a connection hardly ever begins so low."""
_MASK: Final = 0xFFFFFFFF
_HEADER: Final = 20

Direction = tuple[str, int, str, int]


class Streams:
    """The TCP connections of one trace."""

    def __init__(self) -> None:
        self._first: dict[Direction, int] = {}
        """The number of each direction that others are relative to."""
        self._next: dict[Direction, int] = {}
        """Of directions of which lengths alone are printed: the number that the next segment has."""

    def numbered(self, read: Read, *, unnumbered: bool = False) -> Read:
        """The packet with absolute numbers, where it is a TCP segment. `unnumbered`: its numbers are not printed."""
        content = read.content
        if content.protocol != IpProtocol.TCP or len(content.data) < _HEADER:
            return read
        data = content.data
        there = (read.source, int.from_bytes(data[:2], "big"), read.destination, int.from_bytes(data[2:4], "big"))
        back = (*there[2:], *there[:2])
        sequence, acknowledgment = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
        payload = content.length - _HEADER
        if unnumbered:
            sequence, acknowledgment = self._in_order(there, back, payload)
        else:
            sequence, acknowledgment = self._absolute(there, back, sequence, acknowledgment, data[13], payload)
        data = data[:4] + sequence.to_bytes(4, "big") + acknowledgment.to_bytes(4, "big") + data[12:]
        return read._replace(content=Content(content.protocol, data, content.length))

    def _in_order(self, there: Direction, back: Direction, payload: int) -> tuple[int, int]:
        sequence = self._next.get(there, 1)
        if there in self._next or len(self._next) < CONNECTIONS_LIMIT:
            self._next[there] = (sequence + payload) & _MASK
        return sequence, self._next.get(back, 1)

    def _absolute(self, there: Direction, back: Direction, sequence: int, acknowledgment: int, flags: int, payload: int) -> tuple[int, int]:
        known = there in self._first
        if flags & TcpFlag.SYN or not known:
            if not known and len(self._first) >= CONNECTIONS_LIMIT:
                return sequence, acknowledgment
            if flags & TcpFlag.SYN or sequence >= RELATIVE_LIMIT:
                self._first[there] = sequence
                if not flags & TcpFlag.SYN and acknowledgment:
                    self._first.setdefault(back, (acknowledgment - 1) & _MASK)
            return sequence, self._one(back, acknowledgment) if flags & TcpFlag.ACK else acknowledgment
        if sequence or payload or flags & (TcpFlag.FIN | TcpFlag.RST):
            sequence = self._one(there, sequence)
        return sequence, self._one(back, acknowledgment)

    def _one(self, direction: Direction, number: int) -> int:
        first = self._first.get(direction)
        if first is None or (number >= RELATIVE_LIMIT and (number - first) & _MASK < NEAR):
            return number
        return (first + number) & _MASK
