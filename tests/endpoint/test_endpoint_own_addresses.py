"""At which of its addresses a host is sent to, as its wire shows."""

from ipaddress import IPv4Address

from vpnprobe.endpoint.own_addresses import MOST, OwnAddresses
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.ip import IpProtocol, IPv4Packet

CLIENT, OWN, OTHER = (IPv4Address(f"10.0.0.{number}") for number in (1, 2, 3))


def coming(protocol: int, to: IPv4Address = OWN, *, outgoing: bool = False) -> Packet:
    return Packet(IPv4Packet(CLIENT, to, protocol, payload=bytes(8)).encode(), 0.0, outgoing)


def noted(*packets: Packet) -> dict[Transport, list[str]]:
    addresses = OwnAddresses()
    for packet in packets:
        addresses(packet)
    return addresses.by_transport()


def test_each_protocol_has_its_own() -> None:
    found = noted(coming(IpProtocol.UDP), coming(IpProtocol.ESP, OTHER), coming(IpProtocol.UDP, OTHER), coming(IpProtocol.UDP))
    assert found == {Transport.UDP: ["10.0.0.2", "10.0.0.3"], Transport.ESP: ["10.0.0.3"]}


def test_what_leaves_and_what_has_no_such_protocol_says_nothing() -> None:
    assert noted(coming(IpProtocol.UDP, outgoing=True), coming(IpProtocol.ICMP), Packet(b"", 0.0, False), Packet(b"E", 0.0, False)) == {}


def test_ipv6_is_left_out() -> None:
    assert noted(Packet(b"\x60" + bytes(8) + bytes([IpProtocol.UDP]) + bytes(38), 0.0, False)) == {}


def test_only_so_many_are_kept() -> None:
    many = [coming(IpProtocol.TCP, IPv4Address(number)) for number in range(1, MOST + 5)]
    assert len(noted(*many)[Transport.TCP]) == MOST
