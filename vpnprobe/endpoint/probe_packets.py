"""Makes single packets of each kind for TTL-limited copies: what follows the IP header, with a fresh nonce each.

Our own payload in one says that it is for a trace, so that a copy which arrives is not taken for a trial of the path.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.conversations.registry import protocol_of
from vpnprobe.endpoint.passive_observer import HIGHEST_LIMITED_TTL
from vpnprobe.endpoint.ppp_call import Call
from vpnprobe.endpoint.said import Said
from vpnprobe.endpoint.sending import ESP_CARRIER_BYTES, PAYLOAD_BYTES, UDP_CARRIER_BYTES, Nonces, ProbePacket, bare_gre, esp
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.attempts import SEQUENCE, SYN, port_key
from vpnprobe.evidence.packet_records import Check, Vantage
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Endpoint, Packet
from vpnprobe.wire.icmp import EchoRequest
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.nonce import Purpose

ProbePacketMaker = Callable[[int], ProbePacket]
"""From the IP identification that the copy will have to the copy."""
Upper = TcpSegment | UdpDatagram
PROTOCOLS: Final = {Transport.TCP: int(IpProtocol.TCP), Transport.UDP: int(IpProtocol.UDP)}
IPV4_HEADER: Final = 20
FIRST_PORT: Final = 32768
PORTS: Final = 28000
"""From the first on: those that SYNs are copied from."""
HEAD_BYTES: Final = 24
"""Of a message in a stream: enough to know the segment that carries it by."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A kind of packet that fails, to be copied."""

    check: Check
    lost: tuple[tuple[str, str], ...] = ()
    """Message and key of packets that were lost, those first that copies are best made of; empty: none is known by a key."""
    outer_bytes: int = 0
    """Of the IP packets that fail, where it is their size; 0: whatever their size."""


def echo(nonces: Nonces) -> ProbePacketMaker:
    """ICMP echo requests; the sequence number is the IP identification, by which the reply is matched."""

    def make(identification: int) -> ProbePacket:
        payload = nonces.fresh(purpose=Purpose.TRACE)
        request = EchoRequest(nonces.session_tag & 0xFFFF, identification, payload.encode())
        return ProbePacket(int(IpProtocol.ICMP), request.encode(), checks.ICMP_ECHO, payload.key)

    return make


def without_port(nonces: Nonces, check: Check, outer_bytes: int = 0) -> ProbePacketMaker | None:
    """Packets of an IP protocol that has no ports and takes nothing but a nonce; None: the check is about another kind.

    `outer_bytes`: of the IP packet, where the kind is tried in several sizes; 0: the usual.
    """
    if check == checks.GRE_BARE:
        return lambda _: bare_gre(nonces.fresh(purpose=Purpose.TRACE))
    if check == checks.ESP:
        size = outer_bytes - ESP_CARRIER_BYTES if outer_bytes else PAYLOAD_BYTES
        return lambda _: esp(nonces.fresh(size, purpose=Purpose.TRACE), nonces.spi())
    return echo(nonces) if check == checks.ICMP_ECHO else None


def udp(nonces: Nonces, source: Endpoint, destination: Endpoint, check: Check) -> ProbePacketMaker:
    """UDP datagrams from a port that is open: payloads of ours, or the first packets of conversations where the check is about these."""
    spec = protocol_of(check.probe, check.name)

    def make(_: int) -> ProbePacket:
        if spec is not None and spec.first_packet is not None:
            own = nonces.conversation(spec.identifier_bytes)
            (data, message), key = spec.first_packet(own, nonces.entropy), own.hex()
        else:
            payload = nonces.fresh(purpose=Purpose.TRACE)
            data, message, key = payload.encode(), "", payload.key
        datagram = UdpDatagram(source.port, destination.port, data)
        return ProbePacket(int(IpProtocol.UDP), datagram.encode(source.address, destination.address), check, key, message)

    return make


def tcp_syn(
    nonces: Nonces, source: Endpoint, destination: Endpoint, check: Check, *, using: set[tuple[Transport, int]]
) -> ProbePacketMaker:
    """SYNs, each from a port that the run has not had yet, which is put into `using`; the kernel resets what one of them brings up."""

    def make(_: int) -> ProbePacket:
        number = nonces.fresh().number
        port = next((port for port in _ports_from(number) if (Transport.TCP, port) not in using), FIRST_PORT)
        using.add((Transport.TCP, port))
        segment = TcpSegment(port, destination.port, number & 0xFFFFFFFF, 0, TcpFlag.SYN)
        payload, detail = segment.encode(source.address, destination.address), {SEQUENCE: segment.sequence}
        return ProbePacket(int(IpProtocol.TCP), payload, check, port_key(port), SYN, detail)

    return make


def _ports_from(number: int) -> Iterator[int]:
    """All ports that copies may come from, the first drawn by a random number."""
    return (FIRST_PORT + (number + step) % PORTS for step in range(PORTS))


def in_call(call: Call, outer_bytes: int = 0) -> ProbePacketMaker:
    """LCP Configure-Requests in the enhanced GRE of a call that is up. `outer_bytes`: of the IP packet; 0: the usual."""

    def make(_: int) -> ProbePacket:
        packet = call.fresh(outer_bytes)
        identity = identify.in_call(packet)[0]
        return ProbePacket(int(IpProtocol.GRE), packet.encode(), checks.GRE_IN_CALL, identity.key, identity.message)

    return make


def said_again(
    packets: Sequence[Packet], said: Said, check: Check, lost: Iterable[tuple[str, str]], own: Vantage, outer_bytes: int = 0
) -> ProbePacketMaker | None:
    """A packet that carried one of these messages (name and key), else the newest payload of ours that asks the check; None: there is none.

    `packets`: the capture of the end `own`. `outer_bytes`: of the IP packet with the payload; 0: any.
    Like all that sends a packet again, only for TTLs with which it does not arrive: its like has a record.
    """
    data = said.first_of(check, lost)
    if data is None:
        return _again(packets, check, own, lambda upper: isinstance(upper, UdpDatagram) and _asks(upper, check, outer_bytes))
    head = data[:HEAD_BYTES]
    return _again(packets, check, own, lambda upper: head in upper.payload if isinstance(upper, TcpSegment) else upper.payload == data)


def syn_ack_again(packets: Sequence[Packet], check: Check) -> ProbePacketMaker | None:
    """An answer to a SYN once more; None: none was sent from that port."""
    both = TcpFlag.SYN | TcpFlag.ACK
    return _again(packets, check, Vantage.SERVER, lambda upper: isinstance(upper, TcpSegment) and upper.flags & both == both)


def segment_again(packets: Sequence[Packet], check: Check, own_port: int, other_port: int) -> ProbePacketMaker | None:
    """The newest segment of a connection that is up once more; None: its segments are not in the capture."""
    ends = {TcpFlag.SYN, TcpFlag.FIN, TcpFlag.RST}

    def fits(upper: Upper) -> bool:
        if not isinstance(upper, TcpSegment) or (upper.source_port, upper.destination_port) != (own_port, other_port):
            return False
        return not any(upper.has(flag) for flag in ends)

    return _again(packets, check, Vantage.CLIENT, fits)


def _asks(datagram: UdpDatagram, check: Check, outer_bytes: int) -> bool:
    if outer_bytes and len(datagram.payload) + UDP_CARRIER_BYTES != outer_bytes:
        return False
    found = identify.datagram(check.port or 0, datagram.payload)
    return found is not None and found.check == check


def _again(packets: Sequence[Packet], check: Check, own: Vantage, fits: Callable[[Upper], bool]) -> ProbePacketMaker | None:
    """The newest packet that left by the check's transport to or from its port at the server, and that `fits` takes."""
    place = IPV4_HEADER + (2 if own is Vantage.CLIENT else 0)
    port = slice(place, place + 2), check.port.to_bytes(2, "big") if check.port is not None else None
    for packet in reversed(packets):
        if packet.outgoing and (found := _outgoing(packet.data, check, port, fits)) is not None:
            return lambda _: found
    return None


def _outgoing(data: bytes, check: Check, port: tuple[slice, bytes | None], fits: Callable[[Upper], bool]) -> ProbePacket | None:
    """The packet with fresh checksums, which offloading leaves unset in captures; None: it is another. `port`: where it has which."""
    protocol, (place, number) = PROTOCOLS[check.transport], port
    if len(data) < IPV4_HEADER or data[9] != protocol or (number is not None and data[place] != number):
        return None
    try:
        ip = IPv4Packet.decode(data)
        upper = TcpSegment.decode(ip.payload) if check.transport is Transport.TCP else UdpDatagram.decode(ip.payload)
    except DecodeError:
        return None
    if ip.ttl <= HIGHEST_LIMITED_TTL or not fits(upper):
        return None
    return ProbePacket(protocol, upper.encode(ip.source, ip.destination), check, "", dont_fragment=ip.dont_fragment)
