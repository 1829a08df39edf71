"""Makes single packets of each kind for TTL-limited copies: what follows the IP header, with a fresh nonce each.

Our own payload in one says that it is for a trace, so that a copy which arrives is not taken for a trial of the path.
"""

from collections.abc import Callable

from vpnprobe.conversations.registry import protocol_of
from vpnprobe.endpoint.ppp_call import Call
from vpnprobe.endpoint.sending import Nonces, ProbePacket, bare_gre, esp
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.attempts import SEQUENCE, SYN, port_key
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Endpoint
from vpnprobe.wire.icmp import EchoRequest
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.nonce import Purpose

ProbePacketMaker = Callable[[int], ProbePacket]
"""From the IP identification that the copy will have to the copy."""


def echo(nonces: Nonces) -> ProbePacketMaker:
    """ICMP echo requests; the sequence number is the IP identification, by which the reply is matched."""

    def make(identification: int) -> ProbePacket:
        payload = nonces.fresh(purpose=Purpose.TRACE)
        request = EchoRequest(nonces.session_tag & 0xFFFF, identification, payload.encode())
        return ProbePacket(int(IpProtocol.ICMP), request.encode(), checks.ICMP_ECHO, payload.key)

    return make


def without_port(nonces: Nonces, check: Check) -> ProbePacketMaker | None:
    """Packets of an IP protocol that has no ports and takes nothing but a nonce; None: the check is about another kind."""
    if check == checks.GRE_BARE:
        return lambda _: bare_gre(nonces.fresh(purpose=Purpose.TRACE))
    if check == checks.ESP:
        return lambda _: esp(nonces.fresh(purpose=Purpose.TRACE), nonces.spi())
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
    """SYNs, each from another port, which is put into `using`; the kernel resets what one of them brings up."""

    def make(_: int) -> ProbePacket:
        number = nonces.fresh().number
        port = 32768 + number % 28000
        using.add((Transport.TCP, port))
        segment = TcpSegment(port, destination.port, number & 0xFFFFFFFF, 0, TcpFlag.SYN)
        payload, detail = segment.encode(source.address, destination.address), {SEQUENCE: segment.sequence}
        return ProbePacket(int(IpProtocol.TCP), payload, check, port_key(port), SYN, detail)

    return make


def in_call(call: Call) -> ProbePacketMaker:
    """LCP Configure-Requests in the enhanced GRE of a call that is up."""

    def make(_: int) -> ProbePacket:
        packet = call.fresh()
        identity = identify.in_call(packet)[0]
        return ProbePacket(int(IpProtocol.GRE), packet.encode(), checks.GRE_IN_CALL, identity.key, identity.message)

    return make
