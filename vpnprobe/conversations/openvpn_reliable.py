"""OpenVPN's reliability layer: control packets are numbered, acknowledged, repeated and put in order (one for each negotiation).

Over TCP nothing is repeated, since TCP does it. Bounded: a window of unacknowledged packets, and of packets that came too early.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Final

from vpnprobe.wire.openvpn import MOST_ACKS, ControlPacket, Reliable

SEND_WINDOW: Final = 6
"""Packets that may wait for their acknowledgment; OpenVPN has as many."""
RECEIVE_WINDOW: Final = 12
"""How far ahead of the next expected packet one may be that is kept."""
ACKS_BESIDE_PAYLOAD: Final = 4
"""Acknowledgments that a packet with a payload takes along."""
MOST_REPETITIONS: Final = 8
MOST_PAUSE_S: Final = 8.0


@dataclass(slots=True)
class _Sent:
    kind: type[ControlPacket]
    payload: bytes
    due: float
    pause_s: float
    repeated: int = 0


class Reliability:
    """One end's numbered packets of one negotiation."""

    def __init__(self, *, stream: bool, retransmit_after_s: float) -> None:
        self._stream = stream
        self._retransmit_after_s = retransmit_after_s
        self._waiting: deque[tuple[type[ControlPacket], bytes]] = deque()
        self._sent: dict[int, _Sent] = {}
        self._next_out = 0
        self._next_in = 0
        self._early: dict[int, bytes] = {}
        # In the order in which they came; a dict finds copies fast.
        self._to_acknowledge: dict[int, None] = {}
        self.largest_acknowledged = 0
        """Bytes of the largest payload that was acknowledged."""
        self._acknowledged: tuple[int, ...] = ()
        """The last few, newest first."""

    @property
    def all_acknowledged(self) -> bool:
        return not self._sent and not self._waiting

    @property
    def waiting(self) -> int:
        """Packets that the window has no place for yet."""
        return len(self._waiting)

    @property
    def queued(self) -> int:
        """How many packets there are to send in all, sent ones included: the packet ID of the next."""
        return self._next_out + len(self._waiting)

    @property
    def has_gap(self) -> bool:
        """Whether a packet came and one before it did not."""
        return bool(self._early)

    @property
    def unacknowledged(self) -> tuple[int, ...]:
        """Bytes of the payloads that were sent again and not acknowledged."""
        return tuple(len(sent.payload) for sent in self._sent.values() if sent.repeated)

    def acknowledged_up_to(self, number: int) -> bool:
        """Whether all packets below this packet ID were sent and acknowledged."""
        return self._next_out >= number and all(sent >= number for sent in self._sent)

    def queue(self, kind: type[ControlPacket], payload: bytes = b"") -> None:
        """One more packet to send."""
        self._waiting.append((kind, payload))

    def take(self, layer: Reliable) -> list[bytes]:
        """Payloads that this packet brings in order; those of copies are not given out again, but acknowledged again."""
        for ack in layer.acks:
            if (sent := self._sent.pop(ack, None)) is not None:
                self.largest_acknowledged = max(self.largest_acknowledged, len(sent.payload))
        number = layer.packet_id
        if number is None or number >= self._next_in + RECEIVE_WINDOW:
            return []
        self._to_acknowledge[number] = None
        if number >= self._next_in:
            self._early.setdefault(number, layer.payload)
        ready = []
        while self._next_in in self._early:
            ready.append(self._early.pop(self._next_in))
            self._next_in += 1
        return ready

    def to_send(self, now: float) -> list[tuple[type[ControlPacket], int, bytes]]:
        """Kind, packet ID and payload of what is to be sent now, for the first time or again."""
        again = [number for number, sent in self._sent.items() if sent.due <= now and not self._stream]
        for number in again:
            sent = self._sent[number]
            sent.repeated += 1
            sent.pause_s = min(MOST_PAUSE_S, 2 * sent.pause_s)
            sent.due = now + sent.pause_s if sent.repeated < MOST_REPETITIONS else float("inf")
        out = [(self._sent[number].kind, number, self._sent[number].payload) for number in again]
        while self._waiting and len(self._sent) < SEND_WINDOW:
            kind, payload = self._waiting.popleft()
            self._sent[self._next_out] = _Sent(kind, payload, now + self._retransmit_after_s, self._retransmit_after_s)
            out.append((kind, self._next_out, payload))
            self._next_out += 1
        return out

    def acknowledgments(self, *, with_payload: bool) -> tuple[int, ...]:
        """Packet IDs to acknowledge with the next packet: new ones, and where there is room the last ones again, since they may be lost."""
        count = ACKS_BESIDE_PAYLOAD if with_payload else MOST_ACKS
        taken = tuple(islice(self._to_acknowledge, count))
        for number in taken:
            del self._to_acknowledge[number]
        before = tuple(number for number in self._acknowledged if number not in taken)
        self._acknowledged = (taken[::-1] + before)[:MOST_ACKS]
        return taken if self._stream else (taken + before)[:count]

    @property
    def has_acknowledgments(self) -> bool:
        return bool(self._to_acknowledge)

    def next_timer(self) -> float | None:
        """When something is due again; None: nothing is."""
        due = min((sent.due for sent in self._sent.values()), default=float("inf"))
        return None if self._stream or due == float("inf") else due
