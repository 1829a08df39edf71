"""Keeps the packets of a run as one end's wire showed them: those of the probes and nothing else.

Everything to and from the peer is held in memory while the run lasts (bounded); which of it belongs to the probes is decided at the
end, when all ports and Call IDs are known. A tunnel, a web page or a shell between the same two hosts is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from vpnprobe.conversations.registry import ProtocolSpec, at_port, registered_ports
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.own_queues import OwnQueue, own_queues
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.gre import EnhancedGre, decode_gre
from vpnprobe.wire.icmp import DestinationUnreachable, EchoReply, EchoRequest, TimeExceeded, decode_icmp
from vpnprobe.wire.ip import IpProtocol, decode_ip
from vpnprobe.wire.nonce import MAGIC

MOST_BYTES: Final = 32 << 20
"""Held in memory of one run at one end."""
IPV4_WITHOUT_OPTIONS: Final = 0x45
IPV4_HEADER: Final = 20
PORTS_END: Final = IPV4_HEADER + 4
UDP_HEADER: Final = 8
TCP_HEADER_LEAST: Final = 20
TRANSPORTS: Final = {int(IpProtocol.TCP): Transport.TCP, int(IpProtocol.UDP): Transport.UDP}


@dataclass(frozen=True, slots=True)
class Scope:
    """What belongs to the probes of one run, as one end sees it."""

    peer: str
    """The other end's address as it is seen here."""
    server_ports: frozenset[tuple[Transport, int]]
    client_ports: frozenset[tuple[Transport, int]]
    """As they are seen here."""
    call_ids: frozenset[int]


class RunCapture:
    """Takes packets from a capture."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.listeners: list[Callable[[Packet], None]] = []
        self.left_out = 0
        """Packets beyond MOST_BYTES that were not kept."""
        self._bytes = 0
        self._scope: Scope | None = None
        self._within: list[Packet] = []
        """The packets of the probes among the first `_read`, by that scope."""
        self._read = 0

    def __call__(self, packet: Packet) -> None:
        for listener in self.listeners:
            listener(packet)
        if self._bytes + len(packet.data) > MOST_BYTES:
            self.left_out += 1
            return
        self._bytes += len(packet.data)
        self.packets.append(packet)

    def own_queues(self, bytes_per_s: float, *, began_unix: float) -> tuple[OwnQueue, ...]:
        """When what left to the peer stood in a queue before a line that carries so much, the control channel's bytes among it.

        Seconds since `began_unix`, Unix time.
        """
        return own_queues(((p.at - began_unix, len(p.data) + p.cut) for p in self.packets if p.outgoing), bytes_per_s)

    def within(self, scope: Scope) -> list[Packet]:
        """The packets of the probes, in the order in which they were seen, without ciphertext that nobody can read."""
        if scope != self._scope:
            self._scope, self._within, self._read = scope, [], 0
        known: dict[Flow, bool] = {}
        for packet in self.packets[self._read :]:
            flow = _flow_of(packet)
            belonging = known.get(flow) if flow is not None else None
            if belonging is None:
                belonging = belongs(packet.data, scope, outgoing=packet.outgoing)
                if flow is not None:
                    known[flow] = belonging
            if belonging:
                self._within.append(without_ciphertext(packet))
        self._read = len(self.packets)
        return list(self._within)


Flow = tuple[bool, int, bytes]
"""Whether it leaves, IP protocol, addresses and ports as they stand in the packet."""


def _flow_of(packet: Packet) -> Flow | None:
    """What decides whether a TCP segment or UDP datagram is of the probes; None: another packet, or one that takes reading."""
    data = packet.data
    if len(data) < PORTS_END or data[0] != IPV4_WITHOUT_OPTIONS or data[9] not in TRANSPORTS:
        return None
    if int.from_bytes(data[2:4], "big") < PORTS_END:
        return None
    return packet.outgoing, data[9], data[12:PORTS_END]


def without_ciphertext(packet: Packet) -> Packet:
    """The same packet without what its protocol encrypts: that is most of a capture, and tells nothing.

    Over TCP only where a segment holds one whole packet, so that where the next begins stays known.
    """
    data = packet.data
    if len(data) < IPV4_HEADER + TCP_HEADER_LEAST or data[0] != IPV4_WITHOUT_OPTIONS or data[9] not in TRANSPORTS:
        return packet
    transport = TRANSPORTS[data[9]]
    start = IPV4_HEADER + (UDP_HEADER if transport is Transport.UDP else (data[IPV4_HEADER + 12] >> 4) * 4)
    spec = _spec_of(transport, data[IPV4_HEADER : IPV4_HEADER + 4])
    if spec is None:
        return packet
    if transport is Transport.TCP:
        length, start = data[start : start + spec.length_bytes], start + spec.length_bytes
        if int.from_bytes(length, "big") != len(data) - start:
            return packet
    end = start + spec.head_bytes(data[start:])
    return Packet(data[:end], packet.at, packet.outgoing, len(data) - end) if end < len(data) else packet


@lru_cache(maxsize=4096)
def _spec_of(transport: Transport, ports: bytes) -> ProtocolSpec | None:
    """The protocol of a packet between these two ports (4 bytes), where one lives there that has packets of its own."""
    both = (int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big"))
    if any(port in registered_ports(transport) for port in both):
        return None
    return next(iter(at_port(transport, both[0])), None)


def belongs(data: bytes, scope: Scope, *, outgoing: bool) -> bool:
    """Whether an IP packet is one of the probes', or an ICMP message about one."""
    try:
        packet = decode_ip(data)
    except DecodeError:
        return False
    if packet.protocol == IpProtocol.ICMP:
        return _icmp_belongs(packet.payload, scope, outgoing=outgoing)
    if str(packet.destination if outgoing else packet.source) != scope.peer:
        return False
    return _belongs(packet.protocol, packet.payload, scope)


def _belongs(protocol: int, payload: bytes, scope: Scope) -> bool:
    if protocol in TRANSPORTS:
        return _ports_fit(protocol, payload, scope)
    if protocol == IpProtocol.GRE:
        return _gre_belongs(payload, scope)
    if protocol == IpProtocol.ESP:
        found = identify.esp(checks.ESP, payload)
        # A quote in an ICMP message may hold no more than SPI and sequence number.
        return found is not None and (found.session_tag is not None or len(payload) <= 8)
    return False


def _ports_fit(protocol: int, payload: bytes, scope: Scope) -> bool:
    if len(payload) < 4:
        return False
    transport = TRANSPORTS[protocol]
    first, second = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
    for server, client in ((first, second), (second, first)):
        if (transport, client) in scope.client_ports and (transport, server) in scope.server_ports:
            return True
    return False


def _gre_belongs(payload: bytes, scope: Scope) -> bool:
    try:
        packet = decode_gre(payload)
    except DecodeError:
        return False
    if isinstance(packet, EnhancedGre):
        return packet.call_id in scope.call_ids
    return packet.protocol == identify.BARE_PROTOCOL


def _icmp_belongs(payload: bytes, scope: Scope, *, outgoing: bool) -> bool:
    try:
        message = decode_icmp(payload)
    except DecodeError:
        return False
    match message:
        case EchoRequest(data=data) | EchoReply(data=data):
            return data.startswith(MAGIC)
        case TimeExceeded(quote=quote) | DestinationUnreachable(quote=quote):
            # The quote of a packet that came in for us has our address as its destination, of one that we sent as its source.
            other = quote.source if outgoing else quote.destination
            return str(other) == scope.peer and _belongs(quote.protocol, quote.first_bytes, scope)
        case _:
            return False
