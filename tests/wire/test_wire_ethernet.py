"""Ethernet frames and address resolution against their descriptions, and hostile bytes."""

import contextlib
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.ethernet import BROADCAST, UNKNOWN, Arp, EthernetFrame, EtherType, Operation

OURS, THEIRS = bytes.fromhex("020102030405"), bytes.fromhex("0a0b0c0d0e0f")
REQUEST = Arp(Operation.REQUEST, OURS, IPv4Address("10.8.0.2"), UNKNOWN, IPv4Address("10.8.0.1"))


def test_a_request_is_as_described() -> None:
    """RFC 826: hardware 1, protocol 0x0800, lengths 6 and 4, operation 1, then sender and target."""
    assert REQUEST.encode().hex() == "0001080006040001" + "020102030405" + "0a080002" + "000000000000" + "0a080001"
    frame = EthernetFrame(BROADCAST, OURS, EtherType.ARP, REQUEST.encode())
    assert frame.encode()[:14].hex() == "ffffffffffff0201020304050806"
    assert EthernetFrame.decode(frame.encode()) == frame
    assert Arp.decode(REQUEST.encode() + bytes(18)) == REQUEST


@pytest.mark.parametrize(
    ("encoded", "problem"),
    [
        ("0006080006040001", "hardware type at offset 0: (6, 2048, 1540) is not that of IPv4 over Ethernet"),
        ("0001080006040009", "operation at offset 6: 9 is neither request nor reply"),
        ("000108000604000102", "sender hardware address at offset 8: needs 6 bytes, 1 are left"),
    ],
)
def test_what_is_something_else_says_so(encoded: str, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        Arp.decode(bytes.fromhex(encoded))
    assert str(caught.value) == problem


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_decode_error(data: bytes) -> None:
    for kind in (EthernetFrame, Arp):
        with contextlib.suppress(DecodeError):
            kind.decode(data)
