"""Makes single packets of each kind for TTL-limited copies: what follows the IP header, with a fresh nonce each.

Our own payload in one says that it is for a trace, so that a copy which arrives is not taken for a trial of the path.
"""

from collections.abc import Callable

from vpnprobe.endpoint import sending
from vpnprobe.endpoint.ppp_call import Call
from vpnprobe.endpoint.sending import Nonces, ProbePacket
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.attempts import SEQUENCE, SYN, port_key
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Endpoint
from vpnprobe.wire.icmp import EchoRequest
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.nonce import Purpose
from vpnprobe.wire.openvpn import HardResetClientV2, Reliable

ProbePacketMaker = Callable[[int], ProbePacket]
"""From the IP identification that the copy will have to the copy."""


def echo(nonces: Nonces) -> ProbePacketMaker:
    """ICMP echo requests; the sequence number is the IP identification, by which the reply is matched."""

    def make(identification: int) -> ProbePacket:
        payload = nonces.fresh(purpose=Purpose.TRACE)
        request = EchoRequest(nonces.session_tag & 0xFFFF, identification, payload.encode())
        return ProbePacket(int(IpProtocol.ICMP), request.encode(), checks.ICMP_ECHO, payload.key)

    return make


def udp_nonce(nonces: Nonces, source: Endpoint, destination: Endpoint, check: Check) -> ProbePacketMaker:
    """UDP datagrams with our payload, from a port that is open."""

    def make(_: int) -> ProbePacket:
        payload = nonces.fresh(purpose=Purpose.TRACE)
        datagram = UdpDatagram(source.port, destination.port, payload.encode())
        return ProbePacket(int(IpProtocol.UDP), datagram.encode(source.address, destination.address), check, payload.key)

    return make


def bare_gre(nonces: Nonces) -> ProbePacketMaker:
    """GRE version 0 with our payload."""
    return lambda _: sending.bare_gre(nonces.fresh(purpose=Purpose.TRACE))


def esp(nonces: Nonces) -> ProbePacketMaker:
    """ESP with our payload, each of an SPI of its own."""
    return lambda _: sending.esp(nonces.fresh(purpose=Purpose.TRACE), nonces.spi())


def openvpn_reset(nonces: Nonces, source: Endpoint, destination: Endpoint, check: Check) -> ProbePacketMaker:
    """Plain hard resets of OpenVPN over UDP, each of a session of its own."""

    def make(_: int) -> ProbePacket:
        session_id = nonces.conversation()
        reset = HardResetClientV2.plain(session_id, Reliable())
        datagram = UdpDatagram(source.port, destination.port, reset.encode())
        return ProbePacket(int(IpProtocol.UDP), datagram.encode(source.address, destination.address), check, session_id.hex(), reset.name)

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
