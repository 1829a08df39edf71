"""Makes single packets of each kind for TTL-stepped copies: what follows the IP header, with a fresh nonce each."""

from collections.abc import Callable

from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.call import Call
from vpnprobe.probes.sending import Crafted, Nonces
from vpnprobe.transports.stack import Endpoint
from vpnprobe.wire.icmp import EchoRequest
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment, UdpDatagram
from vpnprobe.wire.openvpn import HardResetClientV2, Reliable

Crafter = Callable[[int], Crafted]
"""From the IP identification that the copy will have to the copy."""


def echo(nonces: Nonces) -> Crafter:
    """ICMP echo requests; the sequence number is the IP identification, by which the reply is matched."""

    def craft(identification: int) -> Crafted:
        payload = nonces.fresh()
        request = EchoRequest(nonces.session_tag & 0xFFFF, identification, payload.encode())
        return Crafted(int(IpProtocol.ICMP), request.encode(), checks.ICMP_ECHO, payload.key)

    return craft


def udp_nonce(nonces: Nonces, source: Endpoint, destination: Endpoint, check: Check) -> Crafter:
    """UDP datagrams with our payload, from a port that is open."""

    def craft(_: int) -> Crafted:
        payload = nonces.fresh()
        datagram = UdpDatagram(source.port, destination.port, payload.encode())
        return Crafted(int(IpProtocol.UDP), datagram.encode(source.address, destination.address), check, payload.key)

    return craft


def openvpn_reset(nonces: Nonces, source: Endpoint, destination: Endpoint, check: Check) -> Crafter:
    """Plain hard resets of OpenVPN over UDP, each of a session of its own."""

    def craft(_: int) -> Crafted:
        session_id = nonces.conversation()
        reset = HardResetClientV2.plain(session_id, Reliable())
        datagram = UdpDatagram(source.port, destination.port, reset.encode())
        return Crafted(int(IpProtocol.UDP), datagram.encode(source.address, destination.address), check, session_id.hex(), reset.name)

    return craft


def tcp_syn(nonces: Nonces, source: Endpoint, destination: Endpoint, check: Check, *, using: set[tuple[Transport, int]]) -> Crafter:
    """SYNs, each from another port, which is put into `using`; the kernel resets what one of them brings up."""

    def craft(_: int) -> Crafted:
        number = nonces.fresh().number
        port = 32768 + number % 28000
        using.add((Transport.TCP, port))
        segment = TcpSegment(port, destination.port, number & 0xFFFFFFFF, 0, TcpFlag.SYN)
        return Crafted(int(IpProtocol.TCP), segment.encode(source.address, destination.address), check, f"port-{port}", "SYN")

    return craft


def in_call(call: Call) -> Crafter:
    """LCP Configure-Requests in the enhanced GRE of a call that is up."""

    def craft(_: int) -> Crafted:
        packet = call.fresh()
        identity = identify.in_call(packet)[0]
        return Crafted(int(IpProtocol.GRE), packet.encode(), checks.GRE_IN_CALL, identity.key, identity.message)

    return craft
