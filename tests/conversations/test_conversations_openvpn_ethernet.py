"""One station in a tunnel's Ethernet: it finds the gateway, answers for itself, and leaves everything else alone."""

from ipaddress import IPv4Address

import pytest

from vpnprobe.conversations.openvpn_ethernet import ASK_AGAIN_S, MOST_QUESTIONS, Station
from vpnprobe.wire.ethernet import BROADCAST, UNKNOWN, Arp, EthernetFrame, EtherType, Operation

OWN, GATEWAY, OTHER = IPv4Address("10.8.0.2"), IPv4Address("10.8.0.1"), IPv4Address("10.8.0.9")
ROUTER = bytes.fromhex("0a0b0c0d0e0f")


def station() -> Station:
    return Station(OWN, GATEWAY, b"\x01\x02\x03\x04\x05")


def arp(operation: Operation, sender: IPv4Address, target: IPv4Address) -> bytes:
    return EthernetFrame(BROADCAST, ROUTER, EtherType.ARP, Arp(operation, ROUTER, sender, UNKNOWN, target).encode()).encode()


def test_it_asks_until_it_is_answered() -> None:
    one = station()
    assert one.question(0.0) is None
    one.begin(1.0)
    asked = one.question(1.0)
    assert asked is not None
    frame = EthernetFrame.decode(asked)
    assert (frame.destination, frame.source, frame.ethertype) == (BROADCAST, bytes.fromhex("020102030405"), EtherType.ARP)
    assert Arp.decode(frame.payload) == Arp(Operation.REQUEST, one.hardware, OWN, UNKNOWN, GATEWAY)
    assert one.question(1.0) is None
    assert one.question(1.0 + ASK_AGAIN_S) is not None
    assert one.take(arp(Operation.REPLY, GATEWAY, OWN)) == (None, None)
    assert (one.gateway_hardware, one.due, one.given_up) == (ROUTER, None, False)
    assert EthernetFrame.decode(one.framed(b"packet")).destination == ROUTER


def test_it_gives_up() -> None:
    one, now = station(), 0.0
    one.begin(now)
    while one.due is not None:
        one.question(now)
        now += ASK_AGAIN_S
    assert (one.asked, one.given_up) == (MOST_QUESTIONS, True)
    assert EthernetFrame.decode(one.framed(b"packet")).destination == BROADCAST


def test_it_answers_for_itself_alone() -> None:
    one = station()
    packet, answer = one.take(arp(Operation.REQUEST, GATEWAY, OWN))
    assert packet is None
    assert answer is not None
    frame = EthernetFrame.decode(answer)
    assert frame.destination == ROUTER
    assert Arp.decode(frame.payload) == Arp(Operation.REPLY, one.hardware, OWN, ROUTER, GATEWAY)
    assert one.take(arp(Operation.REQUEST, OTHER, GATEWAY)) == (None, None)


@pytest.mark.parametrize(
    ("frame", "packet"),
    [
        (EthernetFrame(BROADCAST, ROUTER, EtherType.IPV4, b"packet"), b"packet"),
        (EthernetFrame(BROADCAST, ROUTER, 0x86DD, b"packet"), None),
        (EthernetFrame(BROADCAST, ROUTER, EtherType.ARP, b"broken"), None),
    ],
)
def test_what_a_frame_carries(frame: EthernetFrame, packet: bytes | None) -> None:
    assert station().take(frame.encode()) == (packet, None)
    assert station().take(b"short") == (None, None)
