"""A machine with one link, a server beyond it, and packets that leave."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from vpnprobe.deployment.verification.asked import Asked, asked_of
from vpnprobe.deployment.verification.process import Endpoint
from vpnprobe.deployment.verification.traffic import ETHERTYPE_IPV4, ETHERTYPE_IPV6, Surroundings
from vpnprobe.deployment.verification.way_out import Links
from vpnprobe.transports.stack import Address
from vpnprobe.transports.system.packet_socket import SeenPacket
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpSegment, UdpDatagram

OWN, ROUTER, SERVER, OUTSIDE = (ip_address(f) for f in ("192.168.1.2", "192.168.1.1", "198.51.100.7", "203.0.113.9"))
OWN6, OUTSIDE6 = IPv6Address("2001:db8:1::2"), IPv6Address("2001:db8:2::9")
FULL = asked_of([], "PUSH_REPLY,redirect-gateway def1,ifconfig 10.8.0.2 255.255.255.0")
SPLIT = asked_of([], "PUSH_REPLY,route 10.9.0.0 255.255.0.0,ifconfig 10.8.0.2 255.255.255.0")
LINKS = Links((ip_network("192.168.1.0/24"), ip_network("2001:db8:1::/64")), frozenset({ROUTER}), frozenset({OWN, OWN6}))


def surroundings(asked: Asked = FULL, **changes: bool) -> Surroundings:
    return Surroundings(
        asked=replace(asked, **changes),
        links=LINKS,
        servers=frozenset({Endpoint(SERVER, 1194, "udp")}),
        inside=(ip_network("10.8.0.0/24"),),
    )


def udp(to: Address, port: int, *, source_port: int = 40000, ttl: int = 64, payload: bytes = b"x") -> SeenPacket:
    if isinstance(to, IPv4Address):
        assert isinstance(OWN, IPv4Address)
        return ipv4(to, IpProtocol.UDP, UdpDatagram(source_port, port, payload).encode(OWN, to), ttl=ttl)
    return ipv6(to, IpProtocol.UDP, UdpDatagram(source_port, port, payload).encode(OWN6, to), ttl=ttl)


def tcp(to: IPv4Address, port: int) -> SeenPacket:
    assert isinstance(OWN, IPv4Address)
    return ipv4(to, IpProtocol.TCP, TcpSegment(40000, port, 1).encode(OWN, to))


def ipv4(to: IPv4Address, protocol: int, payload: bytes, *, ttl: int = 64, fragment_offset: int = 0) -> SeenPacket:
    assert isinstance(OWN, IPv4Address)
    packet = IPv4Packet(OWN, to, protocol, ttl=ttl, payload=payload, fragment_offset=fragment_offset)
    return SeenPacket("eth0", ETHERTYPE_IPV4, packet.encode(), 1.0, True)


def ipv6(to: IPv6Address, protocol: int, payload: bytes, *, ttl: int = 64) -> SeenPacket:
    header = (6 << 28).to_bytes(4, "big") + len(payload).to_bytes(2, "big") + bytes((protocol, ttl))
    return SeenPacket("eth0", ETHERTYPE_IPV6, header + OWN6.packed + to.packed + payload, 1.0, True)
