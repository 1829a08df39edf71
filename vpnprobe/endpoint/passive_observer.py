"""What the wire shows of ports that are not the server agent's own: it has no socket there, but its capture sees what comes and goes.

Another program's port (a real VPN server) and a port that could not be opened are observed alike: our own payloads, SYNs, and the messages
of each protocol's opening in both directions, by the key that the client gave the conversation. So is GRE in the calls that the other
program granted us (RFC 2637). What a daemon sends is recorded as sent by the server's end: it left there. What comes has come to the host:
whether its own firewall lets it in, only an answer shows.

Conversations without a key of their own (other clients', wrapped ones) are left out. Total: bytes that cannot be read give nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.observing import MessageSeen, Observer
from vpnprobe.conversations.registry import at_port
from vpnprobe.conversations.tcp_reassembly import TcpReassembly
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.run_capture import IPV4_HEADER, IPV4_WITHOUT_OPTIONS, TRANSPORTS
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.attempts import SEQUENCE, SYN, SYN_ACK, port_key
from vpnprobe.evidence.identify import PacketIdentity
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Endpoint, Packet
from vpnprobe.wire import fingerprint
from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram, tcp_flags

Ports = Mapping[tuple[Transport, int], PortState]
SlotT = TypeVar("SlotT")
FlowT = TypeVar("FlowT")

SYN_BIT: Final = TcpFlag.SYN.value
FOREIGN: Final = frozenset({PortState.DAEMON, PortState.CLOSED})
HIGHEST_LIMITED_TTL: Final = 32
"""No system begins with a TTL this small."""
MOST_FLOWS: Final = 512
"""Client ports that are followed at once; the oldest is forgotten."""
HELD_BYTES: Final = 1 << 15
"""Of one direction of a connection that wait for an earlier segment."""


class Observed(NamedTuple):
    """One protocol that may be spoken at a port, and what reads it there."""

    check: Check
    """The first of its checks."""
    observer: Observer


def observed(transport: Transport, port: int) -> list[Observed]:
    """Fresh observers of all that may be spoken at a port."""
    specs = (spec for spec in at_port(transport, port) if spec.observer is not None)
    return [Observed(Check(spec.probe, spec.checks[0], transport, port), spec.observer(transport, port)) for spec in specs if spec.observer]


class ObservedConnection(NamedTuple):
    """One connection to a port that is not ours, from its SYN on."""

    observers: Sequence[Observed]
    reassembly: TcpReassembly[Sender]
    heard: set[Sender]
    """Who has sent any payload."""


class PassiveObserver:
    """Follows what one client's packets show at ports that are not the server agent's."""

    def __init__(self, recorder: Recorder, ports: Ports) -> None:
        self._recorder = recorder
        self._ports = ports
        self._connections: dict[tuple[int, int], ObservedConnection] = {}
        """By the client's port and the server's."""
        self._datagrams: dict[tuple[int, int], Sequence[Observed]] = {}
        """The same of UDP."""
        self.endpoints: dict[Check, Endpoint] = {}
        """By check on UDP: where the client's payloads came from last."""
        self.calls: list[tuple[int, int]] = []
        """Calls that another program granted to our client: its own Call ID and the client's, as both stand at this end."""

    @property
    def call_ids(self) -> frozenset[int]:
        """Both ends' Call IDs of these calls."""
        return frozenset(call_id for call in self.calls for call_id in call)

    def __call__(self, packet: Packet) -> None:
        """Records what a packet is, where it is for or from a port that is not the agent's own."""
        if self._is_the_agents(packet):
            return
        try:
            ip = IPv4Packet.decode(packet.data)
            if packet.outgoing and ip.ttl <= HIGHEST_LIMITED_TTL:
                return  # A TTL-limited copy of the agent's own, recorded where it was sent.
            sender = Sender.RESPONDER if packet.outgoing else Sender.INITIATOR
            for identity, client_port in self._identified(ip, sender):
                client = Endpoint(ip.destination if packet.outgoing else ip.source, client_port)
                self._record(identity, sender, client, ip.ttl)
        except DecodeError:
            return

    def _is_the_agents(self, packet: Packet) -> bool:
        """Whether it is surely for or from a port that is the agent's own, and no SYN: most of a run are, and need not be read."""
        data, flags = packet.data, tcp_flags(packet.data)
        if flags is None or len(data) < IPV4_HEADER + 4 or data[0] != IPV4_WITHOUT_OPTIONS or flags & SYN_BIT:
            return False
        transport = TRANSPORTS.get(data[9])
        at = IPV4_HEADER if packet.outgoing else IPV4_HEADER + 2
        return transport is not None and not self._foreign(transport, int.from_bytes(data[at : at + 2], "big"))

    def _record(self, identity: PacketIdentity, sender: Sender, client: Endpoint, ttl: int) -> None:
        if sender is Sender.RESPONDER:
            self._recorder.sent(identity.check, identity.key, message=identity.message, to=client, detail=identity.detail)
        else:
            if identity.session_tag is not None:
                self.endpoints[identity.check] = client
            self._recorder.received(
                identity.check,
                identity.key,
                message=identity.message,
                ttl=ttl,
                source=client,
                detail=identity.detail,
                purpose=identity.purpose,
            )

    def _identified(self, ip: IPv4Packet, sender: Sender) -> Iterator[tuple[PacketIdentity, int]]:
        """What a packet is, with the client's port."""
        if ip.protocol == IpProtocol.GRE and sender is Sender.RESPONDER:
            yield from ((identity, 0) for identity in self.in_call(ip.payload, sender))
        elif ip.protocol == IpProtocol.UDP:
            datagram = UdpDatagram.decode(ip.payload)
            client, server = _client_first(sender, datagram.source_port, datagram.destination_port)
            if self._foreign(Transport.UDP, server):
                yield from ((identity, client) for identity in self._of_datagram(server, client, datagram.payload, sender))
        elif ip.protocol == IpProtocol.TCP:
            segment = TcpSegment.decode(ip.payload)
            client, server = _client_first(sender, segment.source_port, segment.destination_port)
            if self._foreign(Transport.TCP, server):
                yield from ((identity, client) for identity in self._of_segment(server, client, segment, sender, ip))
            elif (Transport.TCP, server) in self._ports and segment.has(TcpFlag.SYN):
                yield _handshake(server, client, ip, sender), client

    def _foreign(self, transport: Transport, port: int) -> bool:
        return self._ports.get((transport, port)) in FOREIGN

    def in_call(self, data: bytes, sender: Sender) -> tuple[PacketIdentity, ...]:
        """GRE of a call that another program granted to our client; empty: it is none.

        What comes is to be taken from a raw socket: it gets only what this host's own firewall lets in, as the other program does.
        """
        try:
            packet = EnhancedGre.decode(data)
        except DecodeError:
            return ()
        # GRE carries the Call ID of the end that it is for.
        position = 0 if sender is Sender.INITIATOR else 1
        return identify.in_call(packet) if any(call[position] == packet.call_id for call in self.calls) else ()

    def _of_datagram(self, port: int, client: int, data: bytes, sender: Sender) -> Iterator[PacketIdentity]:
        ours = identify.datagram(port, data)
        if ours is not None and ours.session_tag is not None:
            if sender is Sender.INITIATOR or ours.check != checks.udp_reach(port):
                yield ours
            return
        slot = (client, port)
        if slot not in self._datagrams:
            _kept(self._datagrams, slot, observed(Transport.UDP, port))
        for one in self._datagrams[slot]:
            yield from self._shown(one, one.observer.saw(sender, data))

    def _of_segment(self, port: int, client: int, segment: TcpSegment, sender: Sender, ip: IPv4Packet) -> Iterator[PacketIdentity]:
        slot = (client, port)
        if segment.has(TcpFlag.SYN):
            yield _handshake(port, client, ip, sender)
            if sender is Sender.INITIATOR and self._begins(slot, segment):
                reassembly = TcpReassembly(Sender.INITIATOR, Sender.RESPONDER, held_bytes=HELD_BYTES)
                _kept(self._connections, slot, ObservedConnection(observed(Transport.TCP, port), reassembly, set()))
        connection = self._connections.get(slot)
        if connection is None:
            return
        if segment.payload:
            connection.heard.add(sender)
        chunks = connection.reassembly.take(
            sender,
            sequence=segment.sequence,
            acknowledgment=segment.acknowledgment,
            flags=segment.flags,
            payload=segment.payload,
            length=len(segment.payload),
            at=0.0,
        )
        for one in connection.observers:
            for chunk in chunks:
                yield from self._shown(one, one.observer.saw(chunk.sender, chunk.data, gap=chunk.gap))
            if segment.has(TcpFlag.FIN) and sender not in connection.heard:
                yield from self._shown(one, one.observer.closed(sender))

    def _begins(self, slot: tuple[int, int], segment: TcpSegment) -> bool:
        """Whether the client's SYN begins a connection that is not followed yet: the first of its port, or a later one."""
        known = self._connections.get(slot)
        return known is None or known.reassembly.begins_another(Sender.INITIATOR, sequence=segment.sequence, flags=segment.flags)

    def _shown(self, one: Observed, messages: Iterable[MessageSeen]) -> Iterator[PacketIdentity]:
        """Messages as what they are to us; calls that one of them grants are kept."""
        for message in messages:
            if message.call_ids is not None and len(self.calls) < MOST_FLOWS:
                self.calls.append(message.call_ids)
            yield PacketIdentity(one.check._replace(name=message.check), message.key, message.name, message.detail)


def _handshake(port: int, client: int, ip: IPv4Packet, sender: Sender) -> PacketIdentity:
    """A SYN of the client's, or the answer to one, with the initial sequence number of the attempt."""
    initial = fingerprint.initial_sequence(TcpSegment.decode(ip.payload))
    detail = {} if initial is None else {SEQUENCE: initial}
    return PacketIdentity(checks.tcp_reach(port), port_key(client), SYN if sender is Sender.INITIATOR else SYN_ACK, detail)


def _client_first(sender: Sender, source: int, destination: int) -> tuple[int, int]:
    return (source, destination) if sender is Sender.INITIATOR else (destination, source)


def _kept(flows: dict[SlotT, FlowT], slot: SlotT, flow: FlowT) -> FlowT:
    """Puts a flow among the others, and the oldest out where they are too many."""
    if len(flows) >= MOST_FLOWS:
        flows.pop(next(iter(flows)))
    flows[slot] = flow
    return flow
