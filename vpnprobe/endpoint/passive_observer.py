"""What the wire shows of ports that are not the server agent's own: it has no socket there, but its capture sees what comes and goes.

Another program's port (a real VPN server) and a port that could not be opened are observed alike: our own payloads, SYNs, and the messages
of each protocol's opening in both directions, by the key that the client gave the conversation. Where another program has tcp/1723, so is
GRE in the calls that it granted us (RFC 2637). What a daemon sends is recorded as sent by the server's end: it left there. What comes has
come to the host: whether its own firewall lets it in, only an answer shows.

Conversations without a key of their own (other clients' PPTP, wrapped OpenVPN) are left out. Total: bytes that cannot be read give nothing.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from vpnprobe.conversations import isakmp, l2tp, openvpn, pptp
from vpnprobe.conversations.contract import Sender
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.attempts import SEQUENCE, SYN, SYN_ACK, port_key
from vpnprobe.evidence.identify import PacketIdentity
from vpnprobe.evidence.messages import describe
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Endpoint, Packet
from vpnprobe.wire import fingerprint
from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ikev1 import decode_ikev1
from vpnprobe.wire.ikev2 import decode_ikev2
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.isakmp import IsakmpMessage
from vpnprobe.wire.openvpn import ControlPacket, HardResetClientV2, decode_openvpn, split_frames
from vpnprobe.wire.pptp import PORT as PPTP_PORT
from vpnprobe.wire.pptp import SUCCESSFUL, OutgoingCallReply

Ports = Mapping[tuple[Transport, int], PortState]
SlotT = TypeVar("SlotT")
FlowT = TypeVar("FlowT")

FOREIGN: Final = frozenset({PortState.DAEMON, PortState.CLOSED})
IKE_PORTS: Final = (500, 4500)
HIGHEST_LIMITED_TTL: Final = 32
"""No system begins with a TTL this small."""
MOST_FLOWS: Final = 512
"""Client ports that are followed at once; the oldest is forgotten."""
SEQUENCES: Final = 1 << 32
"""Sequence numbers of TCP, which wrap around."""
MOST_PENDING: Final = 16
"""TCP segments of one direction that are held until the one before them comes."""


class Stream:
    """One direction of a TCP connection, put in order as far as the wire showed it from its SYN on."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._pending: dict[int, bytes] = {}

    def began(self, sequence: int) -> None:
        """A SYN was seen."""
        self._next = (sequence + 1) % SEQUENCES

    def put(self, sequence: int, payload: bytes) -> bytes:
        """What a segment completes; empty: nothing new, or a gap stands before it."""
        if self._next is None or not payload:
            return b""
        if len(self._pending) < MOST_PENDING or sequence == self._next:
            self._pending[sequence] = payload
        whole = b""
        while (start := self._due(self._next)) is not None:
            new = self._pending.pop(start)[(self._next - start) % SEQUENCES :]
            whole += new
            self._next = (self._next + len(new)) % SEQUENCES
        return whole

    def _due(self, sequence: int) -> int | None:
        """Where a segment begins that holds this sequence number or lies before it; None: all lie behind."""
        return next((start for start in self._pending if (sequence - start) % SEQUENCES < SEQUENCES // 2), None)


@dataclass(slots=True)
class TcpFlow:
    """One connection to a port that is not ours."""

    streams: dict[Sender, Stream] = field(default_factory=lambda: {sender: Stream() for sender in Sender})
    heard: set[Sender] = field(default_factory=set)
    """Who has sent any payload."""
    control: pptp.PptpTracker = field(default_factory=pptp.PptpTracker)
    frames: dict[Sender, bytes] = field(default_factory=lambda: dict.fromkeys(Sender, b""))
    """OpenVPN: what is left of each stream behind its last whole packet."""
    key: str = ""


class PassiveObserver:
    """Follows what one client's packets show at ports that are not the server agent's."""

    def __init__(self, recorder: Recorder, ports: Ports) -> None:
        self._recorder = recorder
        self._ports = ports
        self._tcp: dict[tuple[int, int], TcpFlow] = {}
        self._tunnels: dict[int, l2tp.L2tpTracker] = {}
        """By the client's port."""
        self.endpoints: dict[Check, Endpoint] = {}
        """By UDP check: where the client's payloads came from last."""
        self.on_wire: dict[Check, int] = {}
        """Packets of ours that came for the agent's own UDP ports."""
        self.calls: list[tuple[int, int]] = []
        """Calls that another program granted to our client: its own Call ID and the client's, as both stand at this end."""

    @property
    def call_ids(self) -> frozenset[int]:
        """Both ends' Call IDs of these calls."""
        return frozenset(call_id for call in self.calls for call_id in call)

    def __call__(self, packet: Packet) -> None:
        """Records what a packet is, where it is for or from a port that is not the agent's own."""
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
            elif sender is Sender.INITIATOR and (Transport.UDP, server) in self._ports:
                self._note(server, datagram.payload)
        elif ip.protocol == IpProtocol.TCP:
            segment = TcpSegment.decode(ip.payload)
            client, server = _client_first(sender, segment.source_port, segment.destination_port)
            if self._foreign(Transport.TCP, server):
                yield from ((identity, client) for identity in self._of_segment(server, client, segment, sender, ip))
            elif (Transport.TCP, server) in self._ports and segment.has(TcpFlag.SYN):
                yield _handshake(server, client, ip, sender), client

    def _note(self, port: int, data: bytes) -> None:
        """Keeps in mind that a packet of ours came for a port of the agent's own, whether or not its socket gets it."""
        ours = identify.nonce(checks.udp_reach(port), data)
        if ours is None and port == checks.ESP_IN_UDP.port:
            ours = identify.esp(checks.ESP_IN_UDP, data)
        if ours is not None and ours.session_tag is not None:
            self.on_wire[ours.check] = self.on_wire.get(ours.check, 0) + 1

    def dropped_on_input(self, heard: Container[Check]) -> list[Check]:
        """Checks whose packets came to this host, LEAST_TRIALS or more, of which the agent's sockets `heard` none."""
        return [check for check, count in self.on_wire.items() if count >= LEAST_TRIALS and check not in heard]

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
        from_client = sender is Sender.INITIATOR
        if from_client and (ours := identify.nonce(checks.udp_reach(port), data)) is not None:
            yield ours
        elif port in IKE_PORTS:
            yield from _isakmp_or_esp(port, data)
        elif port == checks.L2TP_CONTROL.port:
            yield from self._l2tp(client, data, sender)
        else:
            yield from _openvpn(checks.openvpn_reset(Transport.UDP, port), data, sender)

    def _l2tp(self, client: int, data: bytes, sender: Sender) -> Iterator[PacketIdentity]:
        tunnel = self._tunnels.get(client)
        if tunnel is None or (sender is Sender.INITIATOR and l2tp.opening(data) not in ("", tunnel.key)):
            tunnel = _kept(self._tunnels, client, l2tp.L2tpTracker())
        message = tunnel.saw_datagram(sender, data, now=0.0)
        name, detail = describe(message)
        if tunnel.key and not isinstance(message, DecodeError):
            yield PacketIdentity(checks.L2TP_CONTROL, tunnel.key, name, detail)

    def _of_segment(self, port: int, client: int, segment: TcpSegment, sender: Sender, ip: IPv4Packet) -> Iterator[PacketIdentity]:
        slot = (client, port)
        if segment.has(TcpFlag.SYN):
            yield _handshake(port, client, ip, sender)
            if sender is Sender.INITIATOR and slot not in self._tcp:
                _kept(self._tcp, slot, TcpFlow())
            if slot in self._tcp:
                self._tcp[slot].streams[sender].began(segment.sequence)
            return
        flow = self._tcp.get(slot)
        if flow is None:
            return
        if segment.payload:
            flow.heard.add(sender)
        chunk = flow.streams[sender].put(segment.sequence, segment.payload)
        if chunk:
            yield from self._pptp(flow, chunk, sender) if port == PPTP_PORT else _openvpn_stream(flow, port, chunk, sender)
        refused = segment.has(TcpFlag.FIN) and sender is Sender.RESPONDER and Sender.RESPONDER not in flow.heard
        if refused and flow.key and port != PPTP_PORT:
            yield PacketIdentity(checks.openvpn_reset(Transport.TCP, port), flow.key, openvpn.StreamClosed.name)

    def _pptp(self, flow: TcpFlow, chunk: bytes, sender: Sender) -> Iterator[PacketIdentity]:
        for message in flow.control.saw_chunk(sender, chunk, now=0.0):
            flow.key = flow.key or pptp.key_of(message)
            if not flow.key:
                continue
            name, detail = describe(message)
            yield PacketIdentity(checks.PPTP_CONTROL, flow.key, name, detail)
            if isinstance(message, OutgoingCallReply) and message.result_code == SUCCESSFUL and len(self.calls) < MOST_FLOWS:
                self.calls.append((message.call_id, message.peer_call_id))


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


def _isakmp_or_esp(port: int, data: bytes) -> Iterator[PacketIdentity]:
    """IKE by its initiator's SPI; on 4500 also ESP with our own payload."""
    try:
        message = isakmp.bare(data, non_esp_marker=port == checks.ESP_IN_UDP.port)
    except DecodeError:
        esp = identify.esp(checks.ESP_IN_UDP, data)
        if esp is not None and esp.session_tag is not None:
            yield esp
        return
    for check, decode in ((checks.ikev1_main(port), decode_ikev1), (checks.ikev2_init(port), decode_ikev2)):
        decoded = isakmp.read(message, decode)
        if isinstance(decoded, IsakmpMessage):
            name, detail = describe(decoded)
            yield PacketIdentity(check, decoded.key, name, detail)


def _openvpn(check: Check, data: bytes, sender: Sender) -> Iterator[PacketIdentity]:
    """A packet of the control channel by the client's session ID, where it stands in clear."""
    packet = decode_openvpn(data)
    if not isinstance(packet, ControlPacket):
        return
    session_id = packet.session_id if sender is Sender.INITIATOR else packet.remote_session_id()
    if session_id is not None:
        yield PacketIdentity(check, session_id.hex(), packet.name)


def _openvpn_stream(flow: TcpFlow, port: int, chunk: bytes, sender: Sender) -> Iterator[PacketIdentity]:
    packets, flow.frames[sender] = split_frames(flow.frames[sender] + chunk)
    for data in packets:
        for identity in _openvpn(checks.openvpn_reset(Transport.TCP, port), data, sender):
            if identity.message == HardResetClientV2.name:
                flow.key = identity.key
            yield identity
