"""What leaves this machine while it is watched: counted by kind, and each leak by name, with the process that sent it where that shows.

Two captures run: of what leaves on all devices, and of what comes and goes on the tunnel's. What this program itself sends to see where it
goes is known by its ports and identifiers (`Sent`).
"""

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.deployment.verification.model import Leak, WatchFacts
from vpnprobe.deployment.verification.owners import owner_of
from vpnprobe.deployment.verification.traffic import NAMES, TRANSPORTS, Judged, Kind, Surroundings, headers, judged
from vpnprobe.transports.stack import Address, Packet
from vpnprobe.transports.system.packet_socket import PacketSocket, SeenPacket
from vpnprobe.transports.system.watching import watch_device, watch_leaving

MOST_LEAKS: Final = 200
"""Told by name."""
MOST_SEARCHES: Final = 24
"""Of processes: each takes a while."""
MOST_SOURCES: Final = 1000
MOST_KEPT_BYTES: Final = 16 << 20
_LABEL: Final = re.compile(rb"vpnprobe-[0-9a-f]{12}")


@dataclass(slots=True)
class Sent:
    """What this program has sent to see where it goes."""

    ports: set[tuple[int, int]] = field(default_factory=set)
    """IP protocol and local port."""
    identifiers: set[int] = field(default_factory=set)
    """Of echo requests."""
    labels: set[bytes] = field(default_factory=set)
    """First labels of names that were asked for."""
    counts: Counter[str] = field(default_factory=Counter)
    """By kind, as far as this machine took them."""

    def new_name(self) -> str:
        """Never asked before: no cache has it. IANA's example.com has no such host."""
        label = f"vpnprobe-{os.urandom(6).hex()}"
        self.labels.add(label.encode())
        return f"{label}.example.com"

    def asks_for_our_name(self, data: bytes) -> bool:
        """Whether a query in the clear is about a name of ours: the system's resolver sends it in our name."""
        found = _LABEL.search(data)
        return found is not None and found[0] in self.labels

    def has(self, packet: Judged) -> bool:
        if packet.source_port is not None:
            return (packet.protocol, packet.source_port) in self.ports
        return packet.identifier in self.identifiers


@dataclass(slots=True)
class _Found:
    """A leak while it is counted."""

    packet: Judged
    device: str
    first_at: float
    count: int = 0
    others: int = 0
    """Of which this program did not send."""
    process: str = ""


class LeakWatch:
    """From `start` to `stop`."""

    def __init__(self, here: Surroundings, device: str, sent: Sent, *, unix_time: Callable[[], float]) -> None:
        self._here = here
        self._device = device
        self._sent = sent
        self._unix_time = unix_time
        self._traffic: Counter[Kind] = Counter()
        self._devices: set[str] = set()
        self._found: dict[tuple[object, ...], _Found] = {}
        self._searches = 0
        self._kept_bytes = 0
        self._stopped_at: float | None = None
        self.packets: list[Packet] = []
        """Those that leaked."""
        self.through: Counter[str] = Counter()
        """On the tunnel's device: `sent`, `received`, `provoked`, `queries`, `answers`."""
        self.sources: Counter[Address] = Counter()
        """Whose packets came out of the tunnel."""

    def start(self) -> None:
        """Raises CannotRun (MISSING) without the privilege to capture."""
        self._began_at, self._began = self._unix_time(), time.monotonic()
        self._beside = watch_leaving(self._left, unix_time=self._unix_time)
        self._inside: PacketSocket | None = None
        with suppress(OSError):  # The device is gone already.
            self._inside = watch_device(self._passed, self._device, unix_time=self._unix_time)

    def stop(self) -> None:
        """Keeps what was seen."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            for watch in (self._beside, self._inside):
                if watch is not None:
                    watch.close()

    @property
    def facts(self) -> WatchFacts:
        """Of a watch that has stopped."""
        assert self._stopped_at is not None
        return WatchFacts(
            watched_s=round(self._stopped_at - self._began, 3),
            devices=tuple(sorted(self._devices)),
            traffic={kind.value: count for kind, count in sorted(self._traffic.items())},
            provoked=dict(self._sent.counts),
            through_tunnel={"sent": 0, "received": 0, **self.through},
            dropped=sum(watch.drops for watch in (self._beside, self._inside) if watch is not None),
        )

    @property
    def leaks(self) -> list[Leak]:
        """In the order in which they were first seen; what other programs sent before what this one did."""
        found = sorted(self._found.values(), key=lambda one: (not one.others, one.first_at))
        return [self._leak(one) for one in found]

    def _leak(self, one: _Found) -> Leak:
        return Leak(
            destination=str(one.packet.destination),
            protocol=NAMES.get(one.packet.protocol, str(one.packet.protocol)),
            port=one.packet.port,
            device=one.device,
            why=one.packet.why,
            count=one.count,
            first_at=one.first_at,
            first_after_s=round(max(0.0, one.first_at - self._began_at), 3),
            process=one.process,
            provoked=not one.others,
        )

    def _left(self, packet: SeenPacket) -> None:
        """On some device. One that is gone by now has no name: the tunnel's, when it breaks."""
        if packet.device in (self._device, ""):
            return
        found = judged(packet, self._here)
        self._traffic[found.kind] += 1
        self._devices.add(packet.device)
        if found.kind is Kind.LEAK:
            self._leaked(packet, found)

    def _leaked(self, packet: SeenPacket, found: Judged) -> None:
        key = (found.destination, found.protocol, found.port, packet.device)
        if key not in self._found and len(self._found) >= MOST_LEAKS:
            return
        known = self._found.setdefault(key, _Found(found, packet.device, packet.at))
        known.count += 1
        if not self._sent.has(found) and not self._sent.asks_for_our_name(packet.data):
            known.others += not self._is_ours(known, found)
        if self._kept_bytes + len(packet.data) <= MOST_KEPT_BYTES:
            self._kept_bytes += len(packet.data)
            self.packets.append(Packet(packet.data, packet.at, True))

    def _is_ours(self, known: _Found, found: Judged) -> bool:
        """Whether the system's resolver sent it in the name of this program; notes who did where it is not."""
        if known.process or self._searches >= MOST_SEARCHES:
            return False
        self._searches += 1
        owner = owner_of(found)
        if owner.is_this:
            return True
        known.process = str(owner)
        return False

    def _passed(self, packet: SeenPacket) -> None:
        """On the tunnel's device."""
        self.through["sent" if packet.outgoing else "received"] += 1
        found = headers(packet)
        if found is None:
            return
        if not packet.outgoing and found.source is not None and len(self.sources) < MOST_SOURCES:
            self.sources[found.source] += 1
        if packet.outgoing:
            self.through["provoked"] += self._sent.has(found)
            self.through["queries"] += found.dns
        elif found.protocol in TRANSPORTS and found.source_port == 53:
            self.through["answers"] += 1
