"""Whose a packet is that leaves beside the tunnel."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verification_support import OUTSIDE, OUTSIDE6, OWN, ROUTER, SERVER, SPLIT, ipv4, ipv6, surroundings, tcp, udp

from vpnprobe.deployment.verification.traffic import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Judged, Kind, headers, judged
from vpnprobe.transports.system.packet_socket import SeenPacket
from vpnprobe.wire.icmp import DestinationUnreachable, EchoRequest, Quote
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, UdpDatagram

HERE = surroundings()
assert isinstance(SERVER, IPv4Address)
assert isinstance(ROUTER, IPv4Address)
assert isinstance(OUTSIDE, IPv4Address)
assert isinstance(OWN, IPv4Address)
SOLICITATION = bytes((135, 0, 0, 0)) + bytes(20)
QUOTED = Quote(IPv4Packet(SERVER, OWN, IpProtocol.UDP, payload=UdpDatagram(1194, 50000).encode(SERVER, OWN)))
REFUSAL = DestinationUnreachable(3, QUOTED).encode()


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        (udp(SERVER, 1194), Kind.TUNNEL),
        (ipv4(SERVER, IpProtocol.UDP, bytes(20), fragment_offset=185), Kind.TUNNEL),
        (ipv4(SERVER, IpProtocol.ICMP, REFUSAL), Kind.TUNNEL),
        (SeenPacket("eth0", ETHERTYPE_ARP, bytes(28), 1.0, True), Kind.ARP),
        (SeenPacket("eth0", 0x88CC, bytes(60), 1.0, True), Kind.LINK),
        (SeenPacket("eth0", ETHERTYPE_IPV4, b"\x45", 1.0, True), Kind.LINK),
        (ipv6(OUTSIDE6, IpProtocol.ICMPV6, SOLICITATION, ttl=255), Kind.NEIGHBOUR_DISCOVERY),
        (udp(IPv4Address("255.255.255.255"), 67, source_port=68), Kind.DHCP),
        (udp(OUTSIDE, 67, source_port=68), Kind.DHCP),
        (udp(IPv6Address("ff02::1:2"), 547, source_port=546), Kind.DHCP),
        (udp(IPv4Address("224.0.0.251"), 5353), Kind.MULTICAST),
        (udp(IPv4Address("239.255.255.250"), 1900), Kind.MULTICAST),
        (udp(IPv4Address("192.168.1.255"), 137), Kind.MULTICAST),
        (udp(IPv6Address("ff02::fb"), 5353), Kind.MULTICAST),
        (udp(ROUTER, 123), Kind.LOCAL),
        (udp(IPv4Address("192.168.1.77"), 22), Kind.LOCAL),
        (udp(IPv6Address("fe80::1"), 123), Kind.LOCAL),
    ],
)
def test_what_is_no_leak(packet: SeenPacket, kind: Kind) -> None:
    assert judged(packet, HERE).kind is kind


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (udp(OUTSIDE, 123), "an address outside"),
        (tcp(OUTSIDE, 443), "an address outside"),
        (ipv4(OUTSIDE, IpProtocol.ICMP, EchoRequest(7, 1).encode()), "an address outside"),
        (ipv4(OUTSIDE, IpProtocol.GRE, bytes(8)), "an address outside"),
        (udp(OUTSIDE6, 443), "an address outside"),
        (ipv6(OUTSIDE6, IpProtocol.ICMPV6, SOLICITATION, ttl=64), "an address outside"),
        (udp(IPv4Address("224.0.1.1"), 123), "an address outside"),
        (udp(SERVER, 1195), "another port"),
        (tcp(SERVER, 1194), "another port"),
        (ipv4(SERVER, IpProtocol.ICMP, EchoRequest(7, 1).encode()), "another port"),
        (udp(ROUTER, 53), "a resolver of the local network"),
        (tcp(ROUTER, 853), "a resolver of the local network"),
        (udp(IPv4Address("10.8.0.1"), 80), "a network that goes through the tunnel"),
    ],
)
def test_what_is_a_leak(packet: SeenPacket, words: str) -> None:
    found = judged(packet, HERE)
    assert found.kind is Kind.LEAK
    assert words in found.why


def test_beside_a_split_tunnel_only_its_own_networks_leak() -> None:
    here = surroundings(SPLIT)
    assert judged(udp(OUTSIDE, 80), here).kind is Kind.DIRECT
    assert judged(udp(OUTSIDE6, 80), here).kind is Kind.DIRECT
    assert judged(udp(ROUTER, 53), here).kind is Kind.LOCAL
    assert judged(udp(SERVER, 22), here).kind is Kind.DIRECT
    assert judged(udp(IPv4Address("10.9.1.1"), 80), here).kind is Kind.LEAK


def test_what_is_excepted_is_no_leak() -> None:
    here = surroundings(around=(ip_network("203.0.113.0/24"),))  # type: ignore[arg-type]
    assert judged(udp(OUTSIDE, 80), here).kind is Kind.EXCEPTED
    assert judged(udp(IPv4Address("203.0.112.1"), 80), here).kind is Kind.LEAK


def test_the_local_network_may_be_blocked() -> None:
    here = surroundings(blocks_local=True)
    assert judged(udp(IPv4Address("192.168.1.77"), 22), here).kind is Kind.LEAK
    assert judged(udp(ROUTER, 22), here).kind is Kind.LOCAL


def test_headers_of_what_goes_through_the_tunnel() -> None:
    found = headers(ipv4(OUTSIDE, IpProtocol.ICMP, EchoRequest(7, 1).encode()))
    assert found is not None
    assert (found.destination, found.identifier, found.port, found.source) == (OUTSIDE, 7, None, OWN)
    assert headers(SeenPacket("tun0", ETHERTYPE_ARP, bytes(28), 1.0, True)) is None
    assert headers(SeenPacket("tun0", ETHERTYPE_IPV6, b"\x60", 1.0, True)) is None


@given(st.sampled_from((ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP, 0x88CC)), st.binary(max_size=100))
def test_any_frame_is_judged(ethertype: int, data: bytes) -> None:
    assert isinstance(judged(SeenPacket("eth0", ethertype, data, 1.0, True), HERE), Judged)
