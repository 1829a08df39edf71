"""One direction of a link: delay, random loss, MTU and rate with a short queue."""

import random
from collections.abc import Callable
from functools import partial
from typing import Final

from vpnprobe.transports.simulated.clock import EventQueue
from vpnprobe.transports.topology import Link
from vpnprobe.wire.ip import IPv4Packet

QUEUE_S: Final = 0.1
"""A packet that would have to wait longer than this for its turn is dropped (tail drop)."""


class LinkQueue:
    """Carries packets to `deliver`, in order. The MTU is checked by who sends."""

    def __init__(self, link: Link, events: EventQueue, chance: random.Random, deliver: Callable[[IPv4Packet], None]) -> None:
        self.mtu = link.mtu
        self._link = link
        self._events = events
        self._chance = chance
        self._deliver = deliver
        self._free_at = 0.0
        """When the last bit of what is queued has left, seconds."""

    def send(self, packet: IPv4Packet) -> None:
        wait_s = self._transmission_s(packet)
        if wait_s is None or (self._link.loss > 0 and self._chance.random() < self._link.loss):
            return
        self._events.after(wait_s + self._link.delay_s, partial(self._deliver, packet))

    def _transmission_s(self, packet: IPv4Packet) -> float | None:
        """Seconds until the last bit is out; None: the queue is full."""
        if self._link.rate_bit_s is None:
            return 0.0
        now = self._events.now()
        start = max(now, self._free_at)
        if start - now > QUEUE_S:
            return None
        self._free_at = start + packet.total_length * 8 / self._link.rate_bit_s
        return self._free_at - now
