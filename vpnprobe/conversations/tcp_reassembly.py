"""TCP segments of one connection put in order (RFC 9293 section 3.4), both directions, in bounded memory.

Whoever watches a connection from outside uses this: the reader of captures and the passive observer of a live run. It knows nothing of
where segments come from: it takes each one's sequence number, flags, payload, length on the wire and time, and gives the bytes of the
stream as `Chunk`s, every byte once. Sequence numbers wrap around at 2**32. Retransmissions and overlaps add only what is new.

Three things happen to a watcher and never to an end, and each chunk tells them. A segment may not be seen: after enough later data, or once
the other end has acknowledged it, reading goes on behind the gap (`gap`). A segment may be cut, as by a short snapshot length (`missing`).
The beginning may not be seen: then the first segment that carries data is the beginning.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from vpnprobe.wire.ip import TcpFlag

HELD_BYTES: Final = 1 << 18
"""Most bytes of one direction that wait for an earlier segment, unless the caller says otherwise."""
HELD_SEGMENTS: Final = 256
"""The same in segments."""
UNSEEN_RANGES: Final = 16
"""Most ranges of one direction that are remembered as acknowledged and not seen."""
MOST_UNSEEN_BYTES: Final = 1 << 20
"""Of one: more is no gap, but another numbering, as beyond a firewall that draws sequence numbers anew."""
UNKNOWN_GAP: Final = 1
"""Bytes that are said to be missing where nobody knows how many are."""
HALF_SPACE: Final = 1 << 31
SEQUENCE_SPACE: Final = 1 << 32
_FIN: Final = int(TcpFlag.FIN)
_SYN: Final = int(TcpFlag.SYN)
_RST: Final = int(TcpFlag.RST)
_ACK: Final = int(TcpFlag.ACK)

EndT = TypeVar("EndT", bound=Hashable)
"""What the caller knows an end of the connection by: address and port, or its role."""


def ahead(sequence: int, of: int) -> int:
    """How far `sequence` is after `of`, -2**31 to 2**31 - 1, modulo 2**32."""
    return (sequence - of + HALF_SPACE) % SEQUENCE_SPACE - HALF_SPACE


@dataclass(frozen=True, slots=True)
class Chunk(Generic[EndT]):
    """Bytes of one direction that follow those of the chunk before."""

    sender: EndT
    at: float
    """When the segment was seen that they were in."""
    data: bytes
    """At least one byte."""
    gap: int = 0
    """Bytes of the stream before these that were never seen, without those that the chunk before called `missing`.

    Of a stream whose beginning was not seen nobody knows how many they are: its first chunk says 1.
    """
    missing: int = 0
    """Bytes of the same segment behind these that were cut off."""
    end: int = 0
    """The sequence number that follows the segment: it came when that is acknowledged."""
    number: int = 0
    """What the caller knows the segment by."""


@dataclass(frozen=True, slots=True)
class _Segment:
    at: float
    payload: bytes
    length: int
    """Bytes of payload on the wire: more than `len(payload)` where it was cut."""
    number: int


class StreamDirection(Generic[EndT]):
    """One direction of a connection."""

    def __init__(self, sender: EndT, *, held_bytes: int = HELD_BYTES, held_segments: int = HELD_SEGMENTS) -> None:
        self.sender = sender
        self.first_sequence: int | None = None
        """The initial sequence number, which the SYN carries; None: the SYN was not seen."""
        self.finished = False
        """A FIN was seen."""
        self.reset = False
        """An RST was seen."""
        self.payload_bytes = 0
        """Bytes given out."""
        self._unseen: list[tuple[int, int]] = []
        """Ranges of sequence numbers that the other end has acknowledged, between others that were seen, and that were not."""
        self._first_acknowledged: int | None = None
        self._most_bytes = held_bytes
        self._most_segments = held_segments
        self._begun = False
        """A SYN or data was seen."""
        self._next = 0
        """The sequence number that follows what was given out."""
        self._held: dict[int, _Segment] = {}
        """Segments that wait for an earlier one, by sequence number."""
        self._held_bytes = 0
        self._gap = 0
        """Bytes not seen between what was given out and `_next`."""

    def take(self, *, sequence: int, flags: int, payload: bytes, length: int, at: float, number: int = 0) -> list[Chunk[EndT]]:
        """The chunks that a segment of this direction completes. The arguments are those of `TcpReassembly.take`."""
        if flags & (_SYN | _FIN | _RST):
            self.finished |= bool(flags & _FIN)
            self.reset |= bool(flags & _RST)
            if flags & _SYN:
                self._begin(sequence)
                sequence = (sequence + 1) % SEQUENCE_SPACE  # The SYN itself takes one number.
        if length <= 0:
            return []
        if not self._begun:
            self._begun, self._next, self._gap = True, sequence, UNKNOWN_GAP
        if self._unseen:
            self._seen_late(sequence, length)
        segment = _Segment(at, payload[:length], length, number)
        if sequence == self._next and not self._held:
            return self._given(segment, 0)
        self._hold(sequence, segment)
        # Between two calls all that is held lies ahead, so nothing is due where this segment does too.
        return self._released() if ahead(sequence, self._next) <= 0 or self._is_too_much() else []

    def acknowledged(self, number: int) -> list[Chunk[EndT]]:
        """The chunks behind gaps below `number`. The other end has what is missing there: it was sent, and only not seen."""
        chunks: list[Chunk[EndT]] = []
        if self._first_acknowledged is None:
            self._first_acknowledged = number
        while self._held:
            first = self._first_held()
            if ahead(number, first) < 0:
                break
            self._note_unseen(first)
            self._skip_to(first)
            chunks += self._released()
        return chunks

    @property
    def unseen_bytes(self) -> int:
        """Bytes that were never seen, between others that were, and that the other end has acknowledged since it was watched."""
        return sum(ahead(end, start) for start, end in self._unseen)

    def _note_unseen(self, until: int) -> None:
        """What lies before `until` is acknowledged and was not seen. What was acknowledged when watching began went by before."""
        begun = self._first_acknowledged is not None and ahead(self._next, self._first_acknowledged) >= 0
        if begun and 0 < ahead(until, self._next) <= MOST_UNSEEN_BYTES and len(self._unseen) < UNSEEN_RANGES:
            self._unseen.append((self._next, until))

    def _seen_late(self, sequence: int, length: int) -> None:
        """Takes off what is seen after its acknowledgment, as of captures of several interfaces."""
        end = (sequence + length) % SEQUENCE_SPACE
        left = []
        for first, last in self._unseen:
            if ahead(end, first) <= 0 or ahead(last, sequence) <= 0:
                left.append((first, last))
                continue
            left += [(first, sequence)] if ahead(sequence, first) > 0 else []
            left += [(end, last)] if ahead(last, end) > 0 else []
        self._unseen = left

    def _begin(self, sequence: int) -> None:
        """A SYN. One that is seen again, or after the data that follows it, changes nothing of what is known already."""
        following = (sequence + 1) % SEQUENCE_SPACE
        repeated = self.first_sequence == sequence
        late = self.first_sequence is None and self._begun and 0 <= ahead(self._next, following) <= self._most_bytes
        self.first_sequence, self._begun = sequence, True
        if late and not self.payload_bytes:
            self._gap = 0
        if not repeated and not late:
            self._next, self._gap, self._held_bytes = following, 0, 0
            self._held.clear()
            self._unseen, self._first_acknowledged = [], None

    def _first_held(self) -> int:
        return min(self._held, key=lambda sequence: ahead(sequence, self._next))

    def _skip_to(self, sequence: int) -> None:
        self._gap += ahead(sequence, self._next)
        self._next = sequence

    def _hold(self, sequence: int, segment: _Segment) -> None:
        """Keeps a segment for later: of two with the same number the one of which more was seen."""
        already = self._held.get(sequence)
        if already is not None and len(segment.payload) <= len(already.payload):
            return
        self._held[sequence] = segment
        self._held_bytes += len(segment.payload) - (len(already.payload) if already is not None else 0)

    def _is_too_much(self) -> bool:
        """Whether more is held than may be; then reading goes on behind the gap."""
        if len(self._held) <= self._most_segments and self._held_bytes <= self._most_bytes:
            return False
        self._skip_to(self._first_held())
        return True

    def _released(self) -> list[Chunk[EndT]]:
        chunks: list[Chunk[EndT]] = []
        for sequence in sorted(self._held, key=lambda number: ahead(number, self._next)):
            known = -ahead(sequence, self._next)
            if known < 0:
                break
            segment = self._held.pop(sequence)
            self._held_bytes -= len(segment.payload)
            if known < segment.length:
                chunks += self._given(segment, known)
        return chunks

    def _given(self, segment: _Segment, known: int) -> list[Chunk[EndT]]:
        """The chunk of a segment whose first `known` bytes were given out before; none where all that is new was cut off."""
        new = segment.length - known
        self._next = (self._next + new) % SEQUENCE_SPACE
        data = segment.payload[known:]
        if not data:
            self._gap += new
            return []
        gap, self._gap = self._gap, 0
        self.payload_bytes += len(data)
        return [Chunk(self.sender, segment.at, data, gap, new - len(data), self._next, segment.number)]


class TcpReassembly(Generic[EndT]):
    """One connection.

    `first`, `second`: its ends, as the caller knows them. `held_bytes`, `held_segments`: how much of each direction may wait for a segment
    that was not seen, before reading goes on without it.
    """

    def __init__(self, first: EndT, second: EndT, *, held_bytes: int = HELD_BYTES, held_segments: int = HELD_SEGMENTS) -> None:
        self.ends = (first, second)
        self.directions = {end: StreamDirection(end, held_bytes=held_bytes, held_segments=held_segments) for end in self.ends}
        """By the end that sends."""
        self.opener: EndT | None = None
        """Who sent the first SYN; None: neither that nor its SYN-ACK was seen."""

    def other(self, end: EndT) -> EndT:
        return self.ends[1] if end == self.ends[0] else self.ends[0]

    def begins_another(self, sender: EndT, *, sequence: int, flags: int) -> bool:
        """Whether a segment is the SYN of a later connection between the same ports, and no repetition of this one's."""
        first = self.directions[sender].first_sequence
        return flags & (_SYN | _ACK) == _SYN and first is not None and first != sequence

    def take(
        self, sender: EndT, *, sequence: int, acknowledgment: int, flags: int, payload: bytes, length: int, at: float, number: int = 0
    ) -> list[Chunk[EndT]]:
        """The chunks of both directions that a segment completes, in their order.

        `flags`: the control bits (`TcpFlag`). `payload`: as much of the segment's payload as was seen. `length`: bytes of its payload on
        the wire, at least `len(payload)`; 0 for a bare acknowledgment. `at`: seconds, on the caller's clock. `number`: what the caller
        knows it by.
        """
        if flags & _SYN:
            self.opener = self.other(sender) if flags & _ACK else sender
        acknowledged = self.directions[self.other(sender)].acknowledged(acknowledgment) if flags & _ACK else []
        taken = self.directions[sender].take(sequence=sequence, flags=flags, payload=payload, length=length, at=at, number=number)
        return acknowledged + taken if acknowledged else taken
