"""One direction of a link: delay and jitter, loss at random and in bursts, reordering, duplicates, MTU, and rate with a finite queue.

A packet meets the queue and its rate first, then loss, then delay. So a lost packet has taken its time on the line, as on a radio link.
Where routers follow that do nothing with it but forward it, it is carried behind the last of them at once.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address

from vpnprobe.transports.simulated.clock import EventQueue
from vpnprobe.transports.topology import BurstLoss, Link, Per
from vpnprobe.wire.ip import IPv4Packet


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
    """The way of packets to one address behind a link: routers that only forward, and links that only delay.

    Of packets that leave at one instant those to one address stay in order; others, and copies with a small TTL, may change places.
    """

    hops: int
    """How many routers."""
    delay_s: float
    """Of the links behind them, together."""
    mtu: int
    """The least of those links."""
    deliver: Callable[[IPv4Packet], None]

    def carries(self, packet: IPv4Packet) -> bool:
        """Whether each of the routers would do nothing with it but forward it."""
        return packet.ttl > self.hops and packet.total_length <= self.mtu


class LinkQueue:
    """Carries packets to `deliver`; in order, unless the link has jitter or reorders. The MTU is checked by who sends."""

    def __init__(
        self,
        link: Link,
        events: EventQueue,
        chance: random.Random,
        deliver: Callable[[IPv4Packet], None],
        shortcut: Callable[[IPv4Address], Shortcut | None] = lambda _: None,
    ) -> None:
        """`shortcut`: the one to an address; None: the next host has to see every packet."""
        self.mtu = link.mtu
        self.delay_s = link.delay_s
        self.deliver = deliver
        self._link = link
        self._events = events
        self._chance = chance
        self._shortcut = shortcut
        self._shortcuts: dict[IPv4Address, Shortcut | None] = {}
        self._bursts = Bursts(link.burst_loss, chance) if link.burst_loss else None
        self._uneven = bool(link.jitter_s or link.reorder or link.duplicate)
        self.only_delays = not (self._uneven or self._bursts or link.loss) and link.rate_bit_s is None
        """Whether every packet comes, after the same time."""
        self._free_at = 0.0
        """When the last bit of what is queued has left, seconds."""

    def send(self, packet: IPv4Packet) -> None:
        wait_s = 0.0 if self.only_delays else self._passes_after_s(packet)
        if wait_s is None:
            return
        deliver, shortcut = self.deliver, self._shortcut_to(packet.destination)
        if shortcut is not None and shortcut.carries(packet):
            packet, deliver, wait_s = forwarded(packet, shortcut.hops), shortcut.deliver, wait_s + shortcut.delay_s
        if self._uneven:
            for _ in range(1 + self._happens(self._link.duplicate)):
                self._events.after(wait_s + self._uneven_delay_s(), partial(deliver, packet))
        else:
            self._events.after(wait_s + self.delay_s, partial(deliver, packet))

    def _passes_after_s(self, packet: IPv4Packet) -> float | None:
        """Seconds until the last bit is out; None: the packet is lost."""
        wait_s = self._transmission_s(packet)
        if wait_s is None or (self._link.loss > 0 and self._chance.random() < self._link.loss):
            return None
        return None if self._bursts is not None and self._bursts.loses(self._events.now()) else wait_s

    def _shortcut_to(self, address: IPv4Address) -> Shortcut | None:
        try:
            return self._shortcuts[address]
        except KeyError:
            found = self._shortcuts[address] = self._shortcut(address)
            return found

    def _uneven_delay_s(self) -> float:
        link = self._link
        delay_s = link.delay_s + (self._chance.uniform(-link.jitter_s, link.jitter_s) if link.jitter_s else 0.0)
        return max(0.0, delay_s) + (link.reorder_s if self._happens(link.reorder) else 0.0)

    def _happens(self, share: float) -> bool:
        return share > 0 and self._chance.random() < share

    def _transmission_s(self, packet: IPv4Packet) -> float | None:
        """Seconds until the last bit is out; None: the queue is full."""
        if self._link.rate_bit_s is None:
            return 0.0
        now = self._events.now()
        start = max(now, self._free_at)
        if start - now > self._link.queue_s:
            return None
        self._free_at = start + packet.total_length * 8 / self._link.rate_bit_s
        return self._free_at - now


class Bursts:
    """The state of a link that loses in bursts (Gilbert and Elliott)."""

    def __init__(self, model: BurstLoss, chance: random.Random) -> None:
        self._model = model
        self._chance = chance
        self._bad = False
        self._until: float | None = None
        """By seconds: when the state changes, on the loop's clock; None: not drawn yet."""

    def loses(self, now: float) -> bool:
        """Whether a packet that is sent now is lost. By packets, the state that it meets changes for the next one."""
        model = self._model
        if model.per is Per.SECOND:
            self._pass_time(now)
        loss = model.loss_bad if self._bad else model.loss_good
        if model.per is Per.PACKET and self._chance.random() < (model.to_good if self._bad else model.to_bad):
            self._bad = not self._bad
        return loss > 0 and self._chance.random() < loss

    def _pass_time(self, now: float) -> None:
        if self._until is None:
            self._until = now + self._lasts_s()
        while self._until <= now:
            self._bad = not self._bad
            self._until += self._lasts_s()

    def _lasts_s(self) -> float:
        """How long the present state lasts: exponentially distributed."""
        changes_per_s = self._model.to_good if self._bad else self._model.to_bad
        return self._chance.expovariate(changes_per_s) if changes_per_s > 0 else float("inf")
