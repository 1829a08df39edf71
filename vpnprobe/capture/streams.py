"""TCP segments put in order (RFC 9293 section 3.4), one connection at a time, in bounded memory.

Retransmissions and overlaps are given once. What a capture does not hold is a gap: after enough later data, or where the other end has
acknowledged past it, reading goes on behind the gap and says so. A capture that begins in the middle begins at its first segment.
"""

from dataclasses import dataclass
from typing import Final

from vpnprobe.capture.frames import Frame
from vpnprobe.wire.ip import TcpFlag

HELD_BYTES: Final = 1 << 18
"""Most bytes of one direction that wait for an earlier segment."""
HELD_SEGMENTS: Final = 256
HALF: Final = 1 << 31
SEQUENCE_SPACE: Final = 1 << 32

End = tuple[str, int]
"""Address and port."""


def ahead(sequence: int, of: int) -> int:
    """How far `sequence` is after `of`, -2**31 to 2**31 - 1, modulo 2**32."""
    return (sequence - of + HALF) % SEQUENCE_SPACE - HALF


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of one direction that follow those of the chunk before."""

    sender: End
    at: float
    """When the segment came that they were in."""
    data: bytes
    after_gap: bool = False
    """Bytes before these are missing from the capture."""
    missing: int = 0
    """Bytes of the segment behind these that the capture cut."""


@dataclass(frozen=True, slots=True)
class _Held:
    at: float
    data: bytes
    length: int
    """Bytes of the segment on the wire; more than `len(data)` where the capture cut it."""


class HalfConnection:
    """One direction of a connection."""

    def __init__(self, sender: End) -> None:
        self.sender = sender
        self.first_sequence: int | None = None
        """Of the SYN; None: it is not in the capture."""
        self.finished = False
        """A FIN was seen."""
        self.reset = False
        self.payload_bytes = 0
        """Bytes given out."""
        self._next: int | None = None
        self._held: dict[int, _Held] = {}
        self._gap = False

    def take(self, frame: Frame) -> list[Chunk]:
        """The chunks that a segment of this direction completes."""
        segment = frame.tcp
        if segment is None:
            return []
        sequence = segment.sequence
        if segment.has(TcpFlag.SYN):
            if self.first_sequence is not None and sequence != self.first_sequence:
                self._held.clear()
            self.first_sequence = sequence
            self._next = sequence = (sequence + 1) % SEQUENCE_SPACE
        self.finished |= segment.has(TcpFlag.FIN)
        self.reset |= segment.has(TcpFlag.RST)
        length = frame.tcp_payload_length
        if length <= 0:
            return []
        if self._next is None:
            self._next = sequence
        self._hold(sequence, _Held(frame.at, segment.payload[:length], length))
        return self._release()

    def acknowledged(self, number: int) -> list[Chunk]:
        """The other end has all before `number`: a hole below it is the capture's."""
        chunks: list[Chunk] = []
        while self._held and self._next is not None:
            first = min(self._held, key=lambda sequence: ahead(sequence, self._next or 0))
            if ahead(first, self._next) <= 0 or ahead(number, first) < 0:
                break
            self._next, self._gap = first, True
            chunks += self._release()
        return chunks

    def _hold(self, sequence: int, held: _Held) -> None:
        already = self._held.get(sequence)
        if already is None or len(held.data) > len(already.data):
            self._held[sequence] = held
        if len(self._held) > HELD_SEGMENTS or sum(len(item.data) for item in self._held.values()) > HELD_BYTES:
            self._next = min(self._held, key=lambda number: ahead(number, self._next or 0))
            self._gap = True

    def _release(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        while (found := self._due()) is not None:
            held, known = found
            data = held.data[known:]
            if data:
                chunks.append(Chunk(self.sender, held.at, data, self._gap, held.length - len(held.data)))
                self.payload_bytes += len(data)
            self._next = ((self._next or 0) + held.length - known) % SEQUENCE_SPACE
            self._gap = len(held.data) < held.length
        return chunks

    def _due(self) -> tuple[_Held, int] | None:
        """The held segment that goes on where the last one ended, and how many of its bytes are already known."""
        for sequence in sorted(self._held, key=lambda number: ahead(number, self._next or 0)):
            known = ahead(self._next or 0, sequence)
            if known < 0:
                return None
            held = self._held.pop(sequence)
            if known < held.length:
                return held, known
        return None


class Connection:
    """Both directions. `opener` is who sent the SYN; None: it is not in the capture."""

    def __init__(self, first: Frame) -> None:
        segment = first.tcp
        assert segment is not None
        self.ends: tuple[End, End] = ((first.source, segment.source_port), (first.destination, segment.destination_port))
        self.directions = {end: HalfConnection(end) for end in self.ends}
        self.opener: End | None = None

    def other(self, end: End) -> End:
        return self.ends[1] if end == self.ends[0] else self.ends[0]

    def take(self, frame: Frame) -> list[Chunk]:
        """The chunks of both directions that a segment completes, in their order."""
        segment = frame.tcp
        assert segment is not None
        sender = (frame.source, segment.source_port)
        if segment.has(TcpFlag.SYN):
            self.opener = self.other(sender) if segment.has(TcpFlag.ACK) else sender
        chunks = self.directions[self.other(sender)].acknowledged(segment.acknowledgment) if segment.has(TcpFlag.ACK) else []
        return chunks + self.directions[sender].take(frame)


def connection_key(frame: Frame) -> tuple[End, End] | None:
    """The same for both directions of a connection; None: no TCP."""
    segment = frame.tcp
    if segment is None:
        return None
    first, second = (frame.source, segment.source_port), (frame.destination, segment.destination_port)
    return (first, second) if first <= second else (second, first)
