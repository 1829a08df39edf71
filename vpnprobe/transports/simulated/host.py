"""An end host: its own firewall, its captures, raw sockets, UDP sockets, TCP, and what its kernel answers by itself.

Captures stand between link and firewall: they see what comes in before INPUT drops it, and not what OUTPUT drops. Packets leave with DF
set, as Linux sends them, those that are longer than what is known of the path's MTU (RFC 1191) as fragments; a packet with a header of
its sender's own that is longer than the MTU of the first link is lost. ICMP errors are rate limited like a router's.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address
from typing import Final, assert_never

from vpnprobe.errors import DecodeError
from vpnprobe.transports.fragments import Reassembly, fragmented, is_fragment
from vpnprobe.transports.simulated.clock import EventQueue
from vpnprobe.transports.simulated.conntrack import icmp_error
from vpnprobe.transports.simulated.filters import FilterChain
from vpnprobe.transports.simulated.firewall import Firewall
from vpnprobe.transports.simulated.links import LinkQueue
from vpnprobe.transports.simulated.replies import ErrorLimit, echo_reply, may_be_answered, reset_for, unreachable
from vpnprobe.transports.simulated.tcp import TcpConnection
from vpnprobe.transports.stack import (
    Address,
    Datagram,
    Endpoint,
    LocalPort,
    OnDatagram,
    OnPacket,
    Packet,
    PortUnavailable,
)
from vpnprobe.transports.topology import Action, Clock, Filter, Hook
from vpnprobe.wire.icmp import DestinationUnreachable, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram, checksum_fits

EPHEMERAL_PORTS: Final = range(32768, 61000)
TCP_HEADERS: Final = 40
"""Bytes of IPv4 and TCP without options."""
DEFAULT_TTL: Final = 64
SMALLEST_PATH_MTU: Final = 552
"""Bytes; no router is believed that tells of less (Linux net.ipv4.route.min_pmtu)."""
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
    segment_bytes: dict[int, int] = field(default_factory=dict)
    """Bytes of the largest TCP segment, by port of a listener that has it set (TCP_MAXSEG)."""


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
        firewall: Firewall | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`outgoing`: the direction in which what this host sends moves, `c2s` or `s2c`; `firewall`: its own stateful one."""
        self.address = address
        self.events = events
        self.sockets = Sockets()
        self.programs: dict[LocalPort, str] = {}
        """Names of programs by the ports that they have; whoever opens a port may give one."""
        self._link = link
        self._filters = filters
        self._limit = limit
        self._chance = chance
        self._outgoing = outgoing
        self._firewall = firewall
        self._clock = clock
        self._reassembly = Reassembly(events.now)
        self._tracks = firewall is not None or filters.tracks
        self._path_mtu: dict[IPv4Address, int] = {}
        """Bytes, by destination: what routers have told."""
        self._identification = chance.randrange(65536)

    def unix_time(self) -> float:
        """Seconds since 1970 by this host's own clock."""
        elapsed_s = self.events.elapsed()
        clock = self._clock
        if clock is None:
            return EPOCH + elapsed_s
        jumped_s = clock.jump_s if elapsed_s >= clock.jump_at_s else 0.0
        return EPOCH + elapsed_s * (1 + clock.drift) + clock.offset_s + jumped_s

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

    @property
    def filters(self) -> tuple[Filter, ...]:
        """Of its own firewall."""
        return self._filters.filters

    # Sending

    def send(self, protocol: int, payload: bytes, to: Address, *, ttl: int | None = None) -> bool:
        """A packet of our own; whether the kernel took it. Nothing goes to an IPv6 address: there is no route."""
        if not isinstance(to, IPv4Address):
            return False
        identification = self.next_identification()
        packet = IPv4Packet(self.address, to, protocol, DEFAULT_TTL if ttl is None else ttl, identification, payload, dont_fragment=True)
        mtu = self._path_mtu.get(to, self._link.mtu) if self._path_mtu else self._link.mtu
        return self._send_fragments(replace(packet, dont_fragment=False), mtu) if packet.total_length > mtu else self.send_packet(packet)

    def send_packet(self, packet: IPv4Packet) -> bool:
        """A packet with its header as given; whether the kernel took it: not where its own firewall drops it, or it is too long."""
        if not self._leaves(packet):
            return False
        if packet.destination == self.address:
            self._loop_back(packet)
            return True
        fits = packet.total_length <= self._link.mtu
        if fits:
            self._transmit(packet)
        return fits

    def _send_fragments(self, packet: IPv4Packet, mtu: int) -> bool:
        """A packet of our own that is longer than `mtu`: its firewall sees it whole, the wire in pieces. Whether it left."""
        if not self._leaves(packet):
            return False
        for piece in fragmented(packet, mtu):
            self._transmit(piece)
        return True

    def _leaves(self, packet: IPv4Packet) -> bool:
        """Whether the host's own firewall lets it out."""
        rule = self._filters.verdict(Hook.OUTPUT, packet, self._outgoing)
        if rule is not None:
            answer = self._refusal(rule, packet)
            if answer is not None:
                self._loop_back(answer)
            return False
        return self._firewall is None or self._firewall.passes(packet, from_inside=True)

    def _transmit(self, packet: IPv4Packet) -> None:
        self._tap(packet, outgoing=True)
        self._link.send(packet)

    def _loop_back(self, packet: IPv4Packet) -> None:
        self.events.after(0.0, partial(self._deliver, packet))

    def _tap(self, packet: IPv4Packet, *, outgoing: bool) -> None:
        seen: Packet | None = None
        for tap in tuple(self.sockets.taps):
            if packet.protocol == IpProtocol.ICMP or tap.peer in (packet.source, packet.destination):
                seen = seen or Packet(packet.encode(), self.unix_time(), outgoing)
                tap.on_packet(seen)

    # Receiving

    def receive(self, packet: IPv4Packet, direction: str) -> None:
        """A packet that came over the link, moving in `direction`."""
        self._tap(packet, outgoing=False)
        if self._tracks and is_fragment(packet):
            whole = self._reassembly.take(packet)
            if whole is None:
                return
            packet = whole.packet
        rule = self._filters.verdict(Hook.PREROUTING, packet, direction)
        if rule is not None:
            self._answer(self._refusal(rule, packet))
        elif packet.destination == self.address:
            self._receive_ours(packet, direction)

    def _receive_ours(self, packet: IPv4Packet, direction: str) -> None:
        """INPUT sees whole packets alone."""
        if is_fragment(packet):
            whole = self._reassembly.take(packet)
            if whole is None:
                return
            packet = whole.packet
        rule = self._filters.verdict(Hook.INPUT, packet, direction)
        if rule is not None:
            self._answer(self._refusal(rule, packet))
        elif self._firewall is None or self._firewall.passes(packet, from_inside=False):
            self._deliver(packet)

    def _answer(self, answer: IPv4Packet | None) -> None:
        if answer is not None:
            self.send_packet(answer)

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
        self._answer(answer)

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
        if isinstance(error, DestinationUnreachable) and error.code == Unreachable.FRAGMENTATION_NEEDED and self._is_open(quoted, ports):
            known = self._path_mtu.get(quoted.destination, self._link.mtu)
            self._path_mtu[quoted.destination] = max(SMALLEST_PATH_MTU, min(known, error.next_hop_mtu))
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

    def _is_open(self, quoted: IPv4Packet, ports: tuple[int, int] | None) -> bool:
        """Whether a socket of ours can have sent what an error quotes: no other error is believed."""
        if any(socket.protocol == quoted.protocol for socket in self.sockets.raw):
            return True
        if ports is None:
            return False
        udp = quoted.protocol == IpProtocol.UDP and ports[0] in self.sockets.udp
        tcp = quoted.protocol == IpProtocol.TCP and (ports[0], Endpoint(quoted.destination, ports[1])) in self.sockets.connections
        return udp or tcp

    # TCP

    def open_connection(self, port: int, remote: Endpoint, segment_bytes: int | None = None) -> TcpConnection:
        """A connection that has sent nothing yet; it leaves the table when it is over.

        `segment_bytes`: of its largest segment, either way; None: what the link and the path, as far as it is known, carry.
        """
        key = (port, remote)

        def send_segment(segment: TcpSegment) -> None:
            self.send(IpProtocol.TCP, segment.encode(self.address, remote.address), remote.address)

        def forget() -> None:
            self.sockets.connections.pop(key, None)

        local = Endpoint(self.address, port)
        assert isinstance(remote.address, IPv4Address)
        # As Linux does: what the link carries is announced, and what the path does, as far as it is known, is sent.
        announced = min(self._link.mtu - TCP_HEADERS, segment_bytes or self.sockets.segment_bytes.get(port, self._link.mtu))
        sends_up_to = min(announced, self._path_mtu.get(remote.address, self._link.mtu) - TCP_HEADERS)
        connection = TcpConnection(
            local,
            remote,
            self.events,
            send_segment,
            forget,
            initial_sequence=self.initial_sequence_number(),
            segment_size=announced,
            sends_up_to=sends_up_to,
        )
        self.sockets.connections[key] = connection
        return connection
