"""An end host: its own firewall, its captures, raw sockets, UDP sockets, TCP, and what its kernel answers by itself.

Captures stand between link and firewall: they see what comes in before INPUT drops it, and not what OUTPUT drops. Packets leave with DF
set, as Linux sends them; one that is longer than the MTU of the first link is lost. ICMP errors are rate limited like a router's.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from typing import Final, assert_never

from vpnprobe.errors import DecodeError
from vpnprobe.transports.simulated.clock import EventQueue
from vpnprobe.transports.simulated.conntrack import icmp_error
from vpnprobe.transports.simulated.filters import FilterChain
from vpnprobe.transports.simulated.links import LinkQueue
from vpnprobe.transports.simulated.replies import ErrorLimit, echo_reply, may_be_answered, reset_for, unreachable
from vpnprobe.transports.simulated.tcp import TcpConnection
from vpnprobe.transports.stack import (
    Address,
    Datagram,
    Endpoint,
    OnDatagram,
    OnLate,
    OnPacket,
    Packet,
    PortUnavailable,
)
from vpnprobe.transports.topology import Action, Filter, Hook
from vpnprobe.wire.icmp import DestinationUnreachable, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram, checksum_fits

EPHEMERAL_PORTS: Final = range(32768, 61000)
DEFAULT_TTL: Final = 64
EPOCH: Final = 1767225600.0
"""Unix time at which every simulated network starts: 2026-01-01T00:00:00Z."""


@dataclass(eq=False, slots=True)
class UdpSocket:
    port: int
    on_datagram: OnDatagram
    on_refused: Callable[[Endpoint], None] | None


@dataclass(eq=False, slots=True)
class RawSocket:
    protocol: int
    on_datagram: OnDatagram


@dataclass(eq=False, slots=True)
class Tap:
    """A capture."""

    peer: Address
    on_packet: OnPacket


OnAccepted = Callable[[TcpConnection], None]
ConnectionKey = tuple[int, Endpoint]
"""Local port and the other end."""


@dataclass(slots=True)
class Sockets:
    """What is open on a host."""

    udp: dict[int, UdpSocket] = field(default_factory=dict)
    raw: list[RawSocket] = field(default_factory=list)
    taps: list[Tap] = field(default_factory=list)
    listeners: dict[int, OnAccepted] = field(default_factory=dict)
    connections: dict[ConnectionKey, TcpConnection] = field(default_factory=dict)


class Host:
    """The client or the server."""

    def __init__(
        self,
        address: IPv4Address,
        link: LinkQueue,
        events: EventQueue,
        filters: FilterChain,
        limit: ErrorLimit,
        chance: random.Random,
        *,
        outgoing: str,
    ) -> None:
        """`outgoing`: the direction in which what this host sends moves, `c2s` or `s2c`."""
        self.address = address
        self.events = events
        self.sockets = Sockets()
        self._link = link
        self._filters = filters
        self._limit = limit
        self._chance = chance
        self._outgoing = outgoing
        self._incoming = "s2c" if outgoing == "c2s" else "c2s"
        self._identification = chance.randrange(65536)
        self.late_watchers: list[OnLate] = []
        """Who is told when this end's program did not run: whatever holds it back calls them at the end of that."""

    def next_identification(self) -> int:
        self._identification = (self._identification + 1) & 0xFFFF or 1
        return self._identification

    def initial_sequence_number(self) -> int:
        return self._chance.getrandbits(32)

    def spare_port(self, taken: Callable[[int], bool]) -> int:
        """A random ephemeral port that is not taken. Raises PortUnavailable when all are."""
        start = self._chance.randrange(len(EPHEMERAL_PORTS))
        for step in range(len(EPHEMERAL_PORTS)):
            port = EPHEMERAL_PORTS[(start + step) % len(EPHEMERAL_PORTS)]
            if not taken(port):
                return port
        raise PortUnavailable(0, in_use=True)

    def tcp_port_taken(self, port: int) -> bool:
        return port in self.sockets.listeners or any(port == key[0] for key in self.sockets.connections)

    # Sending

    def send(self, protocol: int, payload: bytes, to: Address, *, ttl: int | None = None) -> bool:
        """A packet of our own; whether the kernel took it. Nothing goes to an IPv6 address: there is no route."""
        if not isinstance(to, IPv4Address):
            return False
        identification = self.next_identification()
        packet = IPv4Packet(self.address, to, protocol, DEFAULT_TTL if ttl is None else ttl, identification, payload, dont_fragment=True)
        return self.send_packet(packet)

    def send_packet(self, packet: IPv4Packet) -> bool:
        """A packet with its header as given; whether the kernel took it: not where its own firewall drops it, or it is too long."""
        rule = self._filters.verdict(Hook.OUTPUT, packet, self._outgoing)
        if rule is not None:
            answer = self._refusal(rule, packet)
            if answer is not None:
                self._loop_back(answer)
            return False
        if packet.destination == self.address:
            self._loop_back(packet)
            return True
        if packet.total_length > self._link.mtu:
            return False
        self._tap(packet, outgoing=True)
        self._link.send(packet)
        return True

    def _loop_back(self, packet: IPv4Packet) -> None:
        self.events.after(0.0, partial(self._deliver, packet))

    def _tap(self, packet: IPv4Packet, *, outgoing: bool) -> None:
        seen: Packet | None = None
        for tap in tuple(self.sockets.taps):
            if packet.protocol == IpProtocol.ICMP or tap.peer in (packet.source, packet.destination):
                seen = seen or Packet(packet.encode(), EPOCH + self.events.elapsed(), outgoing)
                tap.on_packet(seen)

    # Receiving

    def receive(self, packet: IPv4Packet) -> None:
        """A packet that came over the link."""
        self._tap(packet, outgoing=False)
        rule = self._filters.verdict(Hook.PREROUTING, packet, self._incoming) or self._filters.verdict(Hook.INPUT, packet, self._incoming)
        if rule is not None:
            answer = self._refusal(rule, packet)
            if answer is not None:
                self.send_packet(answer)
        elif packet.destination == self.address and packet.first_fragment and not packet.more_fragments:
            self._deliver(packet)

    def _refusal(self, rule: Filter, packet: IPv4Packet) -> IPv4Packet | None:
        match rule.action:
            case Action.DROP:
                return None
            case Action.REJECT_RST:
                return reset_for(packet) if packet.protocol == IpProtocol.TCP else None
            case Action.REJECT_ADMIN:
                return self._error(packet, Unreachable.ADMINISTRATIVELY_PROHIBITED)
            case Action.REJECT_HOST:
                return self._error(packet, Unreachable.HOST_PROHIBITED)
            case Action.REJECT_PORT:
                return self._error(packet, Unreachable.PORT)
            case _:
                assert_never(rule.action)

    def _error(self, packet: IPv4Packet, code: Unreachable) -> IPv4Packet | None:
        if not may_be_answered(packet) or not self._limit.allows(packet.source):
            return None
        return unreachable(packet, code, sender=self.address)

    def _deliver(self, packet: IPv4Packet) -> None:
        """Copies go to the raw sockets, then the protocol has its turn."""
        raw = [socket for socket in self.sockets.raw if socket.protocol == packet.protocol]
        if raw:
            datagram = Datagram(packet.payload, Endpoint(packet.source, 0), self.events.now(), packet.ttl)
            for socket in raw:
                socket.on_datagram(datagram)
        answer: IPv4Packet | None = None
        if packet.protocol == IpProtocol.ICMP:
            answer = echo_reply(packet)
            self._icmp_error(packet)
        elif packet.protocol == IpProtocol.UDP:
            answer = self._udp(packet)
        elif packet.protocol == IpProtocol.TCP:
            answer = self._tcp(packet)
        elif not raw:
            answer = self._error(packet, Unreachable.PROTOCOL)
        if answer is not None:
            self.send_packet(answer)

    def _udp(self, packet: IPv4Packet) -> IPv4Packet | None:
        try:
            datagram = UdpDatagram.decode(packet.payload)
        except DecodeError:
            return None
        if datagram.truncated or not checksum_fits(packet.source, packet.destination, IpProtocol.UDP, packet.payload):
            return None
        socket = self.sockets.udp.get(datagram.destination_port)
        if socket is None:
            return self._error(packet, Unreachable.PORT)
        source = Endpoint(packet.source, datagram.source_port)
        socket.on_datagram(Datagram(datagram.payload, source, self.events.now(), packet.ttl))
        return None

    def _tcp(self, packet: IPv4Packet) -> IPv4Packet | None:
        try:
            segment = TcpSegment.decode(packet.payload)
        except DecodeError:
            return None
        if not checksum_fits(packet.source, packet.destination, IpProtocol.TCP, packet.payload):
            return None
        remote = Endpoint(packet.source, segment.source_port)
        connection = self.sockets.connections.get((segment.destination_port, remote))
        if connection is not None:
            connection.receive_segment(segment)
            return None
        accepted = self.sockets.listeners.get(segment.destination_port)
        if accepted is None or not segment.has(TcpFlag.SYN) or segment.has(TcpFlag.ACK) or segment.has(TcpFlag.RST):
            return reset_for(packet)
        self.open_connection(segment.destination_port, remote).answer(segment, accepted)
        return None

    def _icmp_error(self, packet: IPv4Packet) -> None:
        """Tells the socket that sent the quoted packet."""
        related = icmp_error(packet)
        if related is None or related[1].source != self.address:
            return
        error, quoted = related
        ports = error.quote.ports
        if ports is None:
            return
        remote = Endpoint(quoted.destination, ports[1])
        if quoted.protocol == IpProtocol.TCP and len(quoted.payload) >= 8:
            connection = self.sockets.connections.get((ports[0], remote))
            if connection is not None:
                connection.receive_error(error, int.from_bytes(quoted.payload[4:8], "big"))
            return
        socket = self.sockets.udp.get(ports[0]) if quoted.protocol == IpProtocol.UDP else None
        refused = isinstance(error, DestinationUnreachable) and error.code == Unreachable.PORT
        if socket is not None and socket.on_refused is not None and refused:
            socket.on_refused(remote)

    # TCP

    def open_connection(self, port: int, remote: Endpoint) -> TcpConnection:
        """A connection that has sent nothing yet; it leaves the table when it is over."""
        key = (port, remote)

        def send_segment(segment: TcpSegment) -> None:
            self.send(IpProtocol.TCP, segment.encode(self.address, remote.address), remote.address)

        def forget() -> None:
            self.sockets.connections.pop(key, None)

        local = Endpoint(self.address, port)
        connection = TcpConnection(local, remote, self.events, send_segment, forget, initial_sequence=self.initial_sequence_number())
        self.sockets.connections[key] = connection
        return connection
