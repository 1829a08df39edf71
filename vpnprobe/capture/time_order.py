"""The order in which the packets of a capture are looked at, where their times go backwards.

A file with several interfaces (pcapng) holds the packets of each in order, and those of all as they came to the file: then time tells what
came before what. Within one interface a time that goes backwards is a clock that was set, or two clocks of one network card, and the order
of the file stands. So packets are merged by time across interfaces, and never against the order of their own. What is held for that is
bounded; a file with one interface is passed through.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import Final

from vpnprobe.capture.files import CapturedPacket

HELD_PACKETS: Final = 200_000
HELD_BYTES: Final = 1 << 26
NOTICED_S: Final = 0.001
"""Less than that is how precise times are, and not worth a word."""


class TimeOrder:
    """Puts the packets of one capture in order, and notes what there was to do."""

    def __init__(self) -> None:
        self.backwards = 0
        """Packets whose time is before that of the packet before them in the file."""
        self.furthest_s = 0.0
        """By how much, at most."""
        self._interfaces: dict[int, float] = {}
        """By number, the latest time so far."""
        self._last_at: float | None = None
        self._heap: list[tuple[float, int, CapturedPacket]] = []
        self._held_bytes = 0
        self._overflowed = False

    def __call__(self, packets: Iterable[CapturedPacket]) -> Iterator[CapturedPacket]:
        """All packets, in the order in which they are to be looked at."""
        for packet in packets:
            self._note(packet)
            due = max(packet.at, self._interfaces.get(packet.interface, packet.at))
            self._interfaces[packet.interface] = due
            if packet.of_interfaces < 2 and not self._heap:
                yield packet
                continue
            heapq.heappush(self._heap, (due, packet.number, packet))
            self._held_bytes += len(packet.data)
            while len(self._heap) > HELD_PACKETS or self._held_bytes > HELD_BYTES:
                self._overflowed = True
                yield self._first()
        while self._heap:
            yield self._first()

    def _first(self) -> CapturedPacket:
        packet = heapq.heappop(self._heap)[2]
        self._held_bytes -= len(packet.data)
        return packet

    def _note(self, packet: CapturedPacket) -> None:
        back_s = (self._last_at if self._last_at is not None else packet.at) - packet.at
        if back_s >= NOTICED_S:
            self.backwards += 1
            self.furthest_s = max(self.furthest_s, back_s)
        self._last_at = packet.at

    def told(self) -> str | None:
        """What there is to say; None: times go forwards."""
        if not self.backwards:
            return None
        taken = "its packets are taken in the order of the file"
        if len(self._interfaces) > 1:
            near = ", as far as that is possible in a file of this size" if self._overflowed else ""
            taken = f"the packets of its {len(self._interfaces)} interfaces were put in order of time{near}"
        times = "once" if self.backwards == 1 else f"{self.backwards} times"
        return f"its times go backwards {times}, by up to {self.furthest_s:.6g} s: {taken}"
