"""One direction of a link: delay, random loss, MTU and rate with a short queue.

Where routers follow that do nothing but forward, a packet that passes them all is carried behind the last of them at once.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.transports.simulated.clock import EventQueue
from vpnprobe.transports.topology import Link
from vpnprobe.wire.ip import IPv4Packet

QUEUE_S: Final = 0.1
"""A packet that would have to wait longer than this for its turn is dropped (tail drop)."""


def forwarded(packet: IPv4Packet, hops: int) -> IPv4Packet:
    """The packet behind so many routers."""
    return IPv4Packet(
        packet.source,
        packet.destination,
        packet.protocol,
        packet.ttl - hops,
        packet.identification,
        packet.payload,
        packet.dont_fragment,
        packet.tos,
        packet.more_fragments,
        packet.fragment_offset,
        packet.options,
        packet.missing,
    )


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Behind a link: routers that only forward, and links without loss and rate."""

    hops: int
    """How many routers."""
    delay_s: float
    """Of the links behind them, together."""
    mtu: int
    """The least of those links."""
    beyond: frozenset[IPv4Address]
    """Addresses of hosts behind all of them."""
    deliver: Callable[[IPv4Packet], None]

    def carries(self, packet: IPv4Packet) -> bool:
        """Whether each of the routers would do nothing with it but forward it."""
        return packet.ttl > self.hops and packet.total_length <= self.mtu and packet.destination in self.beyond


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
        self.shortcut: Shortcut | None = None
        """None: the next host has something to do with every packet."""

    @property
    def plain(self) -> bool:
        """Whether it carries everything, with its delay."""
        return self._link.loss == 0 and self._link.rate_bit_s is None

    @property
    def delay_s(self) -> float:
        return self._link.delay_s

    def send(self, packet: IPv4Packet) -> None:
        wait_s = self._transmission_s(packet)
        if wait_s is None or (self._link.loss > 0 and self._chance.random() < self._link.loss):
            return
        delay_s, shortcut = wait_s + self._link.delay_s, self.shortcut
        if shortcut is not None and shortcut.carries(packet):
            self._events.after(delay_s + shortcut.delay_s, partial(shortcut.deliver, forwarded(packet, shortcut.hops)))
        else:
            self._events.after(delay_s, partial(self._deliver, packet))

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
