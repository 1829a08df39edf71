"""Which packets of a capture have a wrong UDP or TCP checksum: a NAT that changes a packet and not its checksum makes the receiver drop it.

What was captured where it is sent from often has none yet, since the network card makes it; so it is where virtual interfaces lead from one
to the other. So only packets that routers have forwarded count, and only where those of the other direction are not wrong too.
"""

from collections import Counter
from ipaddress import ip_address
from typing import Final

from vpnprobe.capture.frames import Frame
from vpnprobe.wire.ip import IpProtocol, checksum_fits

LOOKED_AT: Final = 16
"""Packets of each direction of a flow that are looked at."""
FLOWS_LIMIT: Final = 10_000
BEGINNING_TTLS: Final = frozenset((64, 128, 255))
LEAST: Final = 2
"""Wrong ones, and no right one, from which on it is told."""

Way = tuple[str, str, int]
"""Source, destination and IP protocol."""


class Checksums:
    """Of one capture, by hosts and protocol."""

    def __init__(self) -> None:
        self._right: Counter[Way] = Counter()
        self._wrong: Counter[Way] = Counter()

    def take(self, frame: Frame) -> None:
        """Looks at a packet, if it was forwarded and is whole, or a program printed what its checksum is."""
        if frame.protocol not in (IpProtocol.UDP, IpProtocol.TCP) or frame.outgoing or frame.ttl is None or frame.ttl in BEGINNING_TTLS:
            return
        way = (frame.source, frame.destination, frame.protocol)
        seen = self._right[way] + self._wrong[way]
        if seen >= LOOKED_AT or (not seen and len(self._right) + len(self._wrong) >= FLOWS_LIMIT):
            return
        fits = frame.sum_right if frame.composed else _fits(frame)
        if fits is not None:
            (self._right if fits else self._wrong)[way] += 1

    def wrong(self, source: str, destination: str, protocol: int) -> int:
        """How many packets of one direction are wrong, where all are and those of the other direction are not; 0: that is not so."""
        way, back = (source, destination, protocol), (destination, source, protocol)
        count = self._wrong[way]
        return count if count >= LEAST and not self._right[way] and not self._wrong[back] else 0


def _fits(frame: Frame) -> bool | None:
    """Whether the checksum is right; None: the packet is not whole, or it is not known between whom it went."""
    if len(frame.data) != frame.length:
        return None
    try:
        return checksum_fits(ip_address(frame.source), ip_address(frame.destination), frame.protocol, frame.data)
    except ValueError:
        return None  # A name, or an address with a zone.
