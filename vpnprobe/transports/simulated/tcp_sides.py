"""What one end of a TCP connection knows about what it sends and what it gets: windows, order, and when to send again.

Offsets count from the initial sequence number: SYN is 0, data start at 1, FIN comes after the data.
"""

from typing import Final

MODULUS: Final = 1 << 32
HALF: Final = 1 << 31
_INITIAL_TIMEOUT_S: Final = 1.0
_SHORTEST_TIMEOUT_S: Final = 0.2
_LONGEST_TIMEOUT_S: Final = 120.0
_INITIAL_FLIGHT: Final = 10
_SMALLEST_FLIGHT: Final = 4
"""Segments: fewer could not make three duplicate acknowledgments."""
_LARGEST_FLIGHT: Final = 64


class RetransmissionTimeout:
    """RFC 6298."""

    def __init__(self) -> None:
        self.base_s = _INITIAL_TIMEOUT_S
        self.backoff = 0
        self._smoothed_s: float | None = None
        self._variation_s = 0.0

    def measured(self, rtt_s: float) -> None:
        if self._smoothed_s is None:
            self._smoothed_s, self._variation_s = rtt_s, rtt_s / 2
        else:
            self._variation_s += (abs(self._smoothed_s - rtt_s) - self._variation_s) / 4
            self._smoothed_s += (rtt_s - self._smoothed_s) / 8
        self.base_s = self._smoothed_s + max(_SHORTEST_TIMEOUT_S, 4 * self._variation_s)

    @property
    def seconds(self) -> float:
        return min(_LONGEST_TIMEOUT_S, self.base_s * (1 << self.backoff))


class SendSide:
    """What we send: the bytes from the first unacknowledged one on, and how much may be on its way."""

    def __init__(self, segment_size: int) -> None:
        """`segment_size`: bytes of payload, at most."""
        self.unacknowledged = 0
        """SND.UNA, as an offset."""
        self.next = 0
        """SND.NXT."""
        self.data = bytearray()
        """From `unacknowledged` on (from 1 on while the SYN is not acknowledged)."""
        self.queued = 1
        """The offset after the last byte that is to be sent so far."""
        self.closing = False
        """FIN is to follow the data, or did."""
        self.segment_size = segment_size
        self.flight = _INITIAL_FLIGHT
        """Congestion window, in segments."""
        self.duplicates = 0
        self.recover: int | None = None
        """While a loss is being repaired: what had been sent when it was noticed."""
        self.timed: tuple[int, float] | None = None
        """The offset whose acknowledgment measures the round trip, and when it was sent (Karn: never one sent again)."""
        self.sent = 0
        self.sent_again = 0

    @property
    def end(self) -> int:
        """The offset after all that is to be sent so far, FIN included."""
        return self.queued + self.closing

    @property
    def fin_acknowledged(self) -> bool:
        return self.unacknowledged > self.queued

    def queue(self, data: bytes) -> None:
        self.data += data
        self.queued += len(data)

    def window_open(self) -> bool:
        return self.next < self.end and self.next - self.unacknowledged < self.flight * self.segment_size

    def chunk(self, offset: int, end: int) -> tuple[bytes, bool]:
        """Payload and FIN of the segment at `offset` that goes no further than `end`."""
        start = offset - self.unacknowledged
        payload = bytes(self.data[start : min(start + self.segment_size, end - self.unacknowledged)])
        return payload, offset + len(payload) == self.queued < end

    def acknowledged(self, offset: int) -> None:
        del self.data[: offset - max(1, self.unacknowledged)]
        self.unacknowledged = offset
        self.duplicates = 0
        if self.recover is not None and offset >= self.recover:
            self.recover = None
        elif self.recover is None:
            self.flight = min(_LARGEST_FLIGHT, self.flight + 1)

    def lost(self) -> None:
        """A loss was noticed: go slower, and repair up to what was sent."""
        self.flight = max(_SMALLEST_FLIGHT, self.flight // 2)
        self.recover = self.next
        self.timed = None


class ReceiveSide:
    """What we got, put in order."""

    def __init__(self) -> None:
        self.initial = 0
        self.next = 0
        """RCV.NXT, as an offset."""
        self.data = bytearray()
        """In order, not yet read."""
        self.fin: int | None = None
        self.ended = False
        self._later: dict[int, bytes] = {}

    def offset(self, sequence: int) -> int:
        return self.next + (sequence - self.initial - self.next + HALF) % MODULUS - HALF

    def take(self, offset: int, payload: bytes) -> None:
        if offset + len(payload) > self.next and len(payload) > len(self._later.get(offset, b"")):
            self._later[offset] = payload
        for start in sorted(self._later):
            if start > self.next:
                break
            piece = self._later.pop(start)[self.next - start :]
            self.data += piece
            self.next += len(piece)
        if self.fin == self.next:
            self.next += 1
            self.ended = True
