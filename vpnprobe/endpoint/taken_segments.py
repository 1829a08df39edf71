"""What this host's own firewall takes of the TCP segments that come.

A kernel acknowledges at once, or within a fifth of a second, what comes in order, whatever its programs do. So a segment that stands in
this end's own capture where the next was due, and comes again later though no acknowledgment of it has left in between, never came to the
kernel: this host took it. An acknowledgment that the path loses has left, and shows in the capture. One that this host itself loses or
delays, in a queue before its network card, does not; but the kernel then says of what comes again that it has it (D-SACK), and what was
counted of that counts no more. An answer to a SYN is taken only where the kernel asks again: of that it says nothing.

Not counted: what comes while no room is advertised, on connections of which nothing was acknowledged yet at the server (a listener whose
queue is full drops such segments), and what is out of order or broken.
"""

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.errors import DecodeError
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.evidence.taken import Taken
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, checksum_fits_or_is_left

ACKNOWLEDGED_WITHIN_S: Final = 0.3
"""Kernels delay an acknowledgment by a fifth of a second at most (RFC 9293 section 3.8.6.3 allows half of one)."""
MOST_CONNECTIONS: Final = 4096
"""The oldest is forgotten."""
HALF: Final = 1 << 31
IPV4_HEADER: Final = 20
IPV4_PROTOCOL_AT: Final = 9


@dataclass(slots=True)
class _Due:
    """The segment that came where the next was due."""

    sequence: int
    size: int
    """Bytes of the IP packet in which it last came."""
    times: list[float] = field(default_factory=list)
    """Unix times at which it came and is not known yet to have been taken."""
    counted: Counter[int] = field(default_factory=Counter)
    """How often it was counted as taken, by bytes of the IP packet."""

    def taken_by(self, at: float) -> int:
        """How often it had come by then so long before that it would have been acknowledged; these count once."""
        known = [came for came in self.times if at - came >= ACKNOWLEDGED_WITHIN_S]
        self.times = [came for came in self.times if at - came < ACKNOWLEDGED_WITHIN_S]
        return len(known)


@dataclass(slots=True)
class _Connection:
    """What comes in one connection."""

    acknowledged: int | None = None
    """The next byte that is due, as the last acknowledgment that left said; None: none has left."""
    first: int | None = None
    """What the first acknowledgment said."""
    room: bool = True
    over: bool = False
    due: _Due | None = None
    counted: _Due | None = None
    """The last that was counted as taken."""


@dataclass(slots=True)
class _Counts:
    """Of one port of the server's."""

    taken: Counter[int] = field(default_factory=Counter)
    """By bytes of the IP packet."""
    came: int = 0
    largest_let_in: int = 0


class TakenSegments:
    """Listens to a run capture."""

    def __init__(self, vantage: Vantage) -> None:
        self._at_server = vantage is Vantage.SERVER
        self._connections: dict[tuple[int, int], _Connection] = {}
        """By this host's port and the other end's."""
        self._counts: dict[int, _Counts] = {}

    def __call__(self, packet: Packet) -> None:
        """Notes a segment."""
        data = packet.data
        if packet.cut or len(data) < IPV4_HEADER or data[0] >> 4 != 4 or data[IPV4_PROTOCOL_AT] != IpProtocol.TCP:
            return
        try:
            ip = IPv4Packet.decode(data)
            segment = TcpSegment.decode(ip.payload) if ip.first_fragment and not ip.more_fragments and not ip.truncated else None
        except DecodeError:
            return
        if segment is not None:
            self._left(segment, packet.at) if packet.outgoing else self._came(segment, ip, packet.at)

    def parts(self, server_ports: Container[int]) -> Iterator[Taken]:
        """By port, where enough was taken to be told."""
        for port, counts in self._counts.items():
            if port in server_ports and counts.taken.total() >= LEAST_TRIALS and counts.largest_let_in:
                yield Taken(Transport.TCP, port, counts.taken.total(), counts.came, min(counts.taken), counts.largest_let_in)

    def _left(self, segment: TcpSegment, at: float) -> None:
        connection = self._of((segment.source_port, segment.destination_port), begins=segment.has(TcpFlag.SYN))
        connection.over = connection.over or segment.has(TcpFlag.RST) or segment.has(TcpFlag.FIN)
        counts = self._counts_of(segment.source_port if self._at_server else segment.destination_port)
        if not segment.has(TcpFlag.ACK):
            if segment.has(TcpFlag.SYN):
                _count(connection, counts, at)
            return
        _take_back(connection, counts, segment.came_again)
        connection.room = segment.window > 0
        if connection.first is None:
            connection.first = segment.acknowledgment
        connection.acknowledged = segment.acknowledgment
        due = connection.due
        if due is not None and not _is_before(segment.acknowledgment, due.sequence + 1):
            counts.largest_let_in = max(counts.largest_let_in, due.size)
            connection.due = None

    def _came(self, segment: TcpSegment, ip: IPv4Packet, at: float) -> None:
        slot = (segment.destination_port, segment.source_port)
        connection = self._of(slot, begins=self._at_server and segment.has(TcpFlag.SYN))
        if segment.has(TcpFlag.RST):
            connection.over = True
        if (
            connection.over
            or not connection.room
            or not (segment.payload or self._is_answer(segment))
            or not checksum_fits_or_is_left(ip.source, ip.destination, IpProtocol.TCP, ip.payload)
        ):
            return
        counts = self._counts_of(segment.destination_port if self._at_server else segment.source_port)
        counts.came += 1
        if not self._is_due(segment, connection):
            return
        due = connection.due
        if due is None or due.sequence != segment.sequence:
            due = connection.due = _Due(segment.sequence, ip.total_length)
        if not self._is_answer(segment):
            _count(connection, counts, at)
        due.size = ip.total_length
        if not (self._at_server and connection.acknowledged == connection.first):
            due.times.append(at)

    def _is_answer(self, segment: TcpSegment) -> bool:
        """Whether it is the answer to a SYN of this host's."""
        return not self._at_server and segment.has(TcpFlag.SYN) and segment.has(TcpFlag.ACK)

    def _is_due(self, segment: TcpSegment, connection: _Connection) -> bool:
        if self._is_answer(segment):
            return connection.acknowledged is None
        return segment.sequence == connection.acknowledged

    def _of(self, slot: tuple[int, int], *, begins: bool) -> _Connection:
        """`begins`: a new connection between the same ports, unless that is under way."""
        connection = self._connections.get(slot)
        if connection is None or (begins and (connection.over or connection.acknowledged is not None)):
            connection = self._connections[slot] = _Connection()
            if len(self._connections) > MOST_CONNECTIONS:
                del self._connections[next(iter(self._connections))]
        return connection

    def _counts_of(self, port: int) -> _Counts:
        return self._counts.setdefault(port, _Counts())


def _count(connection: _Connection, counts: _Counts, at: float) -> None:
    """What came so long before `at` and was not acknowledged was taken."""
    due = connection.due
    if due is not None and (taken := due.taken_by(at)):
        due.counted[due.size] += taken
        counts.taken[due.size] += taken
        connection.counted = due


def _take_back(connection: _Connection, counts: _Counts, again: tuple[int, int] | None) -> None:
    """What the kernel says it had already was not taken."""
    counted = connection.counted
    if again is not None and counted is not None and not _is_before(counted.sequence, again[0]) and _is_before(counted.sequence, again[1]):
        counts.taken -= counted.counted
        connection.counted = None
        counted.counted.clear()


def _is_before(one: int, other: int) -> bool:
    """Of sequence numbers, which begin again at zero (RFC 9293 section 3.4)."""
    return 0 < (other - one) % (2 * HALF) < HALF
