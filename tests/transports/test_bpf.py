"""The capture filter: run on a small model of the machine, against the plain sentence that it stands for."""

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.transports.bpf import NOTHING, WHOLE_PACKET, Line, Opcode, assemble, peer_program
from vpnprobe.transports.stack import Address

PEER4, PEER6 = IPv4Address("192.0.2.7"), IPv6Address("2001:db8::7")
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
ANCILLARY = 0xFFFFF000


def kept(program: bytes, packet: bytes, *, link_protocol: int, vlan_tag: int = 0) -> int:
    """Bytes that the kernel would keep of the packet (linux/Documentation/networking/filter.rst)."""
    lines = list(struct.iter_unpack("=HBBI", program))
    accumulator, place = 0, 0
    while True:
        code, if_true, if_false, operand = lines[place]
        place += 1
        match Opcode(code):
            case Opcode.RETURN:
                return int(operand)
            case Opcode.JUMP_EQUAL:
                place += if_true if accumulator == operand else if_false
            case Opcode.JUMP_SET:
                place += if_true if accumulator & operand else if_false
            case load:
                if operand >= ANCILLARY:
                    accumulator = {0: link_protocol, 44: vlan_tag}[operand - ANCILLARY]
                    continue
                size = {Opcode.LOAD_BYTE: 1, Opcode.LOAD_HALF: 2, Opcode.LOAD_WORD: 4}[load]
                if operand + size > len(packet):
                    return 0  # A load beyond the end drops the packet.
                accumulator = int.from_bytes(packet[operand : operand + size], "big")


def ipv4(source: IPv4Address, destination: IPv4Address, protocol: int) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20, 0, 0, 64, protocol, 0, source.packed, destination.packed)


def ipv6(source: IPv6Address, destination: IPv6Address, protocol: int) -> bytes:
    return struct.pack("!IHBB16s16s", 0x60000000, 0, protocol, 64, source.packed, destination.packed)


addresses4 = st.one_of(st.just(PEER4), st.sampled_from([IPv4Address("192.0.2.6"), IPv4Address("7.2.0.192")]), st.ip_addresses(v=4))
# Neighbours that differ from the peer in one word only.
near = [IPv6Address(int(PEER6) ^ (1 << shift)) for shift in (0, 33, 70, 127)]
addresses6 = st.one_of(st.just(PEER6), st.sampled_from(near), st.ip_addresses(v=6))


@given(addresses4, addresses4, st.sampled_from([1, 6, 17, 47, 50, 58]))
def test_ipv4_to_or_from_the_peer_or_icmp(source: IPv4Address, destination: IPv4Address, protocol: int) -> None:
    wanted = PEER4 in (source, destination) or protocol == 1
    found = kept(peer_program(PEER4), ipv4(source, destination, protocol), link_protocol=IPV4)
    assert found == (WHOLE_PACKET if wanted else 0)


@given(addresses6, addresses6, st.sampled_from([1, 6, 17, 47, 50, 58]))
def test_ipv6_to_or_from_the_peer_or_icmp(source: IPv6Address, destination: IPv6Address, protocol: int) -> None:
    wanted = PEER6 in (source, destination) or protocol == 58
    found = kept(peer_program(PEER6), ipv6(source, destination, protocol), link_protocol=IPV6)
    assert found == (WHOLE_PACKET if wanted else 0)


@pytest.mark.parametrize("peer", [PEER4, PEER6])
def test_another_link_protocol_is_dropped(peer: Address) -> None:
    packet = ipv4(PEER4, PEER4, 1) + ipv6(PEER6, PEER6, 58)
    other = IPV6 if peer.version == 4 else IPV4
    assert kept(peer_program(peer), packet, link_protocol=ARP) == 0
    assert kept(peer_program(peer), packet, link_protocol=other) == 0


@pytest.mark.parametrize(("tag", "wanted"), [(0, True), (0x2000, True), (5, False), (0x6005, False)])
def test_a_tagged_copy_below_a_vlan_is_dropped_and_a_priority_tag_is_not(tag: int, wanted: bool) -> None:
    assert bool(kept(peer_program(PEER4), ipv4(PEER4, PEER4, 47), link_protocol=IPV4, vlan_tag=tag)) is wanted


@given(st.binary(max_size=60))
def test_any_bytes_end_the_program(data: bytes) -> None:
    for peer, protocol in ((PEER4, IPV4), (PEER6, IPV6)):
        assert kept(peer_program(peer), data, link_protocol=protocol) in (0, WHOLE_PACKET)


def test_nothing_is_nothing() -> None:
    assert kept(NOTHING, ipv4(PEER4, PEER4, 1), link_protocol=IPV4) == 0


def test_a_jump_to_no_label_is_an_error() -> None:
    with pytest.raises(KeyError):
        assemble([Line(Opcode.JUMP_EQUAL, 0, "nowhere"), Line(Opcode.RETURN, 0)])
