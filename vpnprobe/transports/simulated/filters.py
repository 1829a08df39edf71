"""Whether a packet fits a filter of the topology, and whether the filter acts on it."""

import math
import random
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from vpnprobe.errors import DecodeError
from vpnprobe.transports.fragments import is_fragment
from vpnprobe.transports.topology import Filter, Hook
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpSegment, UdpDatagram


@dataclass(frozen=True, slots=True)
class _Upper:
    """What a filter reads above IP: both ports and the payload of TCP or UDP; no ports: another protocol, or unreadable."""

    ports: tuple[int, ...] = ()
    payload: bytes = b""


def _upper(packet: IPv4Packet) -> _Upper:
    if not packet.first_fragment:
        return _Upper()
    try:
        if packet.protocol == IpProtocol.TCP:
            segment = TcpSegment.decode(packet.payload)
            return _Upper((segment.source_port, segment.destination_port), segment.payload)
        if packet.protocol == IpProtocol.UDP:
            datagram = UdpDatagram.decode(packet.payload)
            return _Upper((datagram.source_port, datagram.destination_port), datagram.payload)
    except DecodeError:
        pass
    return _Upper()


def _payload_fits(rule: Filter, payload: bytes) -> bool:
    start = rule.payload_offset or 0
    found = payload[start : start + len(rule.payload)]
    if len(found) < len(rule.payload):
        return False
    mask = rule.payload_mask or b"\xff" * len(rule.payload)
    return all(one & bits == other & bits for one, other, bits in zip(found, rule.payload, mask, strict=True))


def fits(rule: Filter, packet: IPv4Packet, direction: str) -> bool:
    """Whether the packet, moving in `direction` (`c2s` or `s2c`), fits every condition of the rule; chance is not asked."""
    if rule.protocol is not None and packet.protocol != rule.protocol:
        return False
    if packet.protocol in rule.except_protocols:
        return False
    if rule.direction is not None and direction != rule.direction:
        return False
    if rule.longer_than is not None and packet.total_length <= rule.longer_than:
        return False
    if rule.fragments and not is_fragment(packet):
        return False
    if not (rule.ports or rule.except_ports or rule.payload or rule.flow_share < 1):
        return True
    upper = _upper(packet)
    if rule.flow_share < 1 and _flow_hash(packet, upper) >= rule.flow_share:
        return False
    if rule.ports and not set(rule.ports).intersection(upper.ports):
        return False
    if set(rule.except_ports).intersection(upper.ports):
        return False
    return not rule.payload or (bool(upper.ports) and _payload_fits(rule, upper.payload))


def _flow_hash(packet: IPv4Packet, upper: _Upper) -> float:
    """0 to 1, the same for all packets of one direction of a flow; as routers that balance load, it knows ports of TCP and UDP alone."""
    ports = b"".join(port.to_bytes(2, "big") for port in upper.ports)
    # A CRC of few bytes differs in few bits: multiplying spreads them (Knuth's multiplicative hash).
    mixed = zlib.crc32(bytes([packet.protocol]) + packet.source.packed + packet.destination.packed + ports) * 2654435761
    return (mixed >> 16 & 0xFFFF) / 0x10000


class Policer:
    """A token bucket: `packets_per_s` tokens a second, `burst_packets` at most, one a packet."""

    def __init__(self, rule: Filter) -> None:
        self._per_s = rule.packets_per_s or 0.0
        self._most = float(rule.burst_packets)
        self._tokens = self._most
        self._at = 0.0

    def spares(self, now: float) -> bool:
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class FilterChain:
    """The filters of one host, asked in order; the first that acts decides."""

    def __init__(self, name: str, filters: tuple[Filter, ...], *, seed: int, now: Callable[[], float] = float) -> None:
        """`now`: seconds since the network began."""
        self._now = now
        self._flows: dict[tuple[object, ...], int] = defaultdict(int)
        """Packets of each flow so far, counted where some filter asks for them: connections are tracked there."""
        self.tracks = any(rule.at == name and rule.after_packets is not None for rule in filters)
        self._rules = [(rule, random.Random(f"{seed}/filter/{name}/{number}")) for number, rule in enumerate(filters) if rule.at == name]
        self._of_hook = {hook: [one for one in self._rules if one[0].hook is hook] for hook in Hook}
        self._policers = {id(rule): Policer(rule) for rule, _ in self._rules if rule.packets_per_s is not None}

    @property
    def filters(self) -> tuple[Filter, ...]:
        """In the order in which they are asked."""
        return tuple(rule for rule, _ in self._rules)

    def verdict(self, hook: Hook, packet: IPv4Packet, direction: str) -> Filter | None:
        """The filter that acts on the packet in this hook; None: it passes."""
        before = self._count(packet) if self.tracks and hook is not Hook.PREROUTING else 0
        for rule, chance in self._of_hook[hook]:
            if before < (rule.after_packets or 0) or not self._is_up(rule) or not fits(rule, packet, direction):
                continue
            if (policer := self._policers.get(id(rule))) is not None and policer.spares(self._now()):
                continue
            if rule.probability >= 1 or chance.random() < rule.probability:
                return rule
        return None

    def _is_up(self, rule: Filter) -> bool:
        """Whether it acts at this time."""
        return not rule.timed or rule.from_s <= self._now() < (math.inf if rule.to_s is None else rule.to_s)

    def _count(self, packet: IPv4Packet) -> int:
        """Packets of the same flow before this one, as connection tracking counts them: both directions together."""
        upper = _upper(packet)
        flow = (packet.protocol, *sorted(zip((packet.source, packet.destination), upper.ports or (0, 0), strict=True)))
        self._flows[flow] += 1
        return self._flows[flow] - 1
