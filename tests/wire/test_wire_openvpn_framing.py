"""Framing between tunnel packet and data channel: fragment headers as described, parts in any order, and what shows a framing."""

import contextlib
import random
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.ip import IPv4Packet
from vpnprobe.wire.openvpn_data import OPTIONS_REQUEST, PING, Compression
from vpnprobe.wire.openvpn_framing import MOST_OPEN, FragmentHeader, Framing, Part, framing_of

PACKET = IPv4Packet(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), 17, 64, 7, bytes(100)).encode()


@pytest.mark.parametrize(
    ("header", "encoded"),
    [
        (FragmentHeader(Part.WHOLE), "00000000"),
        (FragmentHeader(Part.MORE, 1, 0), "00000005"),
        (FragmentHeader(Part.MORE, 255, 31), "00007ffd"),
        (FragmentHeader(Part.LAST, 2, 1, 724), "005a840a"),
    ],
)
def test_headers_are_as_described(header: FragmentHeader, encoded: str) -> None:
    assert header.encode().hex() == encoded
    assert FragmentHeader.read(Cursor(bytes.fromhex(encoded))) == header


@pytest.mark.parametrize(
    ("encoded", "problem"),
    [
        ("2a187bf3", "fragment header at offset 0: says 3, which no packet is"),
        ("00000004", "fragment header at offset 0: numbers a packet that is whole"),
        ("0000", "fragment header at offset 0: needs 4 bytes, 2 are left"),
    ],
)
def test_what_is_no_header_says_so(encoded: str, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        FragmentHeader.read(Cursor(bytes.fromhex(encoded)))
    assert str(caught.value) == problem


def test_without_fragment_there_is_one_packet() -> None:
    framing = Framing(Compression.LZO_NO)
    assert framing.add(PING, channel=24) == [b"\xfa" + PING]
    assert framing.remove(b"\xfa" + PING) == PING
    assert (framing.overhead, Framing().overhead, Framing(Compression.STUB, 1300).overhead) == (1, 0, 5)
    assert Framing(fragment=1300).remove(b"") == b""


@given(st.integers(1, 3000), st.integers(60, 1500), st.sampled_from(Compression), st.randoms(use_true_random=False))
def test_parts_are_joined_in_whatever_order_they_come(size: int, fragment: int, compression: Compression, chance: random.Random) -> None:
    sender, receiver = Framing(compression, fragment), Framing(compression, fragment)
    payload = bytes(chance.randrange(256) for _ in range(size))
    parts = sender.add(payload, channel=24)
    assert all(len(part) + 24 <= fragment for part in parts) or size + 1 > 32 * ((fragment - 28) // 4 * 4)
    chance.shuffle(parts)
    found = [receiver.remove(part) for part in parts]
    assert found[:-1] == [None] * (len(parts) - 1)
    assert found[-1] == payload


def test_packets_that_never_become_whole_give_way() -> None:
    framing = Framing(fragment=576)
    for number in range(MOST_OPEN + 5):
        assert framing.remove(FragmentHeader(Part.MORE, number, 0).encode() + b"part") is None
    assert len(framing._open) == MOST_OPEN
    assert min(framing._open) == 5


@pytest.mark.parametrize("payload", [PING, OPTIONS_REQUEST, PACKET])
@pytest.mark.parametrize("fragment", [None, 1300])
@pytest.mark.parametrize("compression", [Compression.NONE, Compression.STUB, Compression.LZO_NO])
def test_what_is_known_shows_its_framing(compression: Compression, fragment: int | None, payload: bytes) -> None:
    (framed,) = Framing(compression, fragment).add(payload, channel=24)
    assert framing_of(framed) == (compression, fragment is not None)


def test_what_is_not_known_shows_nothing() -> None:
    assert framing_of(b"\x66" + bytes(40)) is None
    assert framing_of(b"") is None
    assert framing_of(PACKET[:-1]) is None
    assert framing_of(FragmentHeader(Part.MORE, 1, 0).encode() + PING) is None
    assert framing_of(b"\x60" + bytes(60)) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_unframed_or_a_decode_error(payload: bytes) -> None:
    framing_of(payload)
    for compression in Compression:
        with contextlib.suppress(DecodeError):
            Framing(compression, 1300).remove(payload)
