"""What the wire shows of ports that are not the server agent's own: it has no socket there, but its capture sees what comes.

Another program's port (a real VPN server) and a port that could not be opened are witnessed alike: our own payloads, the first message of
each UDP protocol by its key, and SYNs. Packets that leave are not read: what a daemon answers is its own business.
"""

from collections.abc import Mapping

from vpnprobe.conversations import ikev1, ikev2, l2tp
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import identify, questions
from vpnprobe.evidence.identify import Identity
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.recorder import Recorder
from vpnprobe.probes.tcp import attempt_key
from vpnprobe.transports.door import Endpoint, Packet
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.openvpn import HardResetClientV2, Opcode, peek


def witness(packet: Packet, recorder: Recorder, ports: Mapping[tuple[Transport, int], PortState]) -> None:
    """Records what an incoming packet is, where it is for a port that is not the agent's own."""
    if packet.outgoing:
        return
    try:
        ip = IPv4Packet.decode(packet.data)
        if ip.protocol == IpProtocol.UDP:
            datagram = UdpDatagram.decode(ip.payload)
            port, source = datagram.destination_port, Endpoint(ip.source, datagram.source_port)
            identity = first_message(port, datagram.payload) if _foreign(ports, Transport.UDP, port) else None
        elif ip.protocol == IpProtocol.TCP:
            segment = TcpSegment.decode(ip.payload)
            port, source = segment.destination_port, Endpoint(ip.source, segment.source_port)
            identity = _opening(segment, source) if _foreign(ports, Transport.TCP, port) else None
        else:
            return
    except DecodeError:
        return
    if identity is not None:
        recorder.received(identity.question, identity.key, message=identity.message, ttl=ip.ttl, source=source)


def _foreign(ports: Mapping[tuple[Transport, int], PortState], transport: Transport, port: int) -> bool:
    return ports.get((transport, port)) in (PortState.DAEMON, PortState.CLOSED)


def _opening(segment: TcpSegment, source: Endpoint) -> Identity | None:
    if not segment.has(TcpFlag.SYN) or segment.has(TcpFlag.ACK):
        return None
    return Identity(questions.tcp_reach(segment.destination_port), attempt_key(source), "SYN")


def first_message(port: int, data: bytes) -> Identity | None:
    """What a datagram for a UDP port of the server begins: our payload, or the first message of a VPN protocol. None: neither."""
    if (ours := identify.nonce(questions.udp_reach(port), data)) is not None:
        return ours
    if port == questions.L2TP_CONTROL.port:
        key = l2tp.opening(data)
        return Identity(questions.L2TP_CONTROL, key, "SCCRQ") if key else None
    if port in (500, 4500):
        marker = port == questions.ESP_IN_UDP.port
        if key := ikev1.opening(data, non_esp_marker=marker):
            return Identity(questions.ikev1_main(port), key, "main")
        key = ikev2.opening(data, non_esp_marker=marker)
        return Identity(questions.ikev2_init(port), key, "sa_init") if key else None
    return _openvpn_reset(port, data)


def _openvpn_reset(port: int, data: bytes) -> Identity | None:
    try:
        opcode, _, session_id = peek(data)
    except DecodeError:
        return None
    if opcode is not Opcode.HARD_RESET_CLIENT_V2 or session_id is None:
        return None
    return Identity(questions.openvpn_reset(Transport.UDP, port), session_id.hex(), HardResetClientV2.name)
