"""GRE of both versions: round trips, hostile bytes, cut captures, and scapy's opinion."""

import importlib
import warnings
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.gre import PROTOCOL_EXPERIMENTAL, EnhancedGre, Gre, decode_gre
from vpnprobe.wire.nonce import NoncePayload

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
ENHANCED_ONLY = 0x880B
"""With this protocol type scapy takes any version for enhanced GRE."""
PLAIN = st.builds(
    Gre, U16.filter(lambda protocol: protocol != ENHANCED_ONLY), st.binary(max_size=64), st.none() | U16, st.none() | U32, st.none() | U32
)
ENHANCED = st.builds(
    EnhancedGre,
    call_id=U16,
    sequence_number=st.none() | U32,
    acknowledgment_number=st.none() | U32,
    payload=st.binary(max_size=64),
)


@pytest.fixture(scope="module")
def scapy_l2() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("scapy.layers.ppp")  # what GRE carries
        return importlib.import_module("scapy.layers.l2")


@given(PLAIN | ENHANCED)
def test_round_trip(packet: Gre | EnhancedGre) -> None:
    assert decode_gre(packet.encode()) == packet


@given(ENHANCED, st.integers(0, 64))
def test_a_payload_that_a_capture_cut_is_counted(packet: EnhancedGre, cut: int) -> None:
    cut = min(cut, len(packet.payload))
    data = packet.encode()
    short = EnhancedGre.decode(data[: len(data) - cut])
    assert (short.cut, short.payload_length) == (cut, len(packet.payload))
    assert short.payload == packet.payload[: len(packet.payload) - cut]
    assert EnhancedGre.decode(short.encode()) == short


@given(st.binary(max_size=40) | st.binary(max_size=12).map(lambda tail: b"\x30\x81\x88\x0b" + tail))
def test_hostile_bytes_cause_nothing_but_a_decode_error(data: bytes) -> None:
    try:
        packet = decode_gre(data)
    except DecodeError:
        return
    assert decode_gre(packet.encode()) == packet


def test_the_head_of_enhanced_gre_byte_by_byte() -> None:
    packet = EnhancedGre(0x3370, 1, 0, b"pp")
    assert packet.encode() == bytes.fromhex("3081 880b 0002 3370 00000001 00000000") + b"pp"
    assert EnhancedGre(0x3370, 1, None, b"pp").encode() == bytes.fromhex("3001 880b 0002 3370 00000001") + b"pp"


def test_an_acknowledgment_alone() -> None:
    acknowledgment = EnhancedGre(5, acknowledgment_number=9)
    assert acknowledgment.encode() == bytes.fromhex("2081 880b 0000 0005 00000009")
    assert decode_gre(acknowledgment.encode()) == acknowledgment


def test_bytes_after_the_payload_are_ignored() -> None:
    assert EnhancedGre.decode(EnhancedGre(5, 1, None, b"ppp").encode() + b"padding") == EnhancedGre(5, 1, None, b"ppp")


def test_reserved_bits_are_ignored() -> None:
    assert decode_gre(bytes.fromhex("03f8 0800 01")) == Gre(0x0800, b"\x01")
    assert decode_gre(bytes.fromhex("2f79 880b 0000 0007")) == EnhancedGre(7)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ("", "flags and version"),
        ("0002 0800", "version"),
        ("4000 0800", "flags"),
        ("0800 0800", "flags"),
        ("0400 0800", "flags"),
        ("8000 0800 0000", "Reserved1"),
        ("2000 0800 0000", "Key"),
        ("1000 0800 0000", "Sequence Number"),
        ("1001 880b 0000 0000", "flags"),
        ("a001 880b 0000 0000", "flags"),
        ("6001 880b 0000 0000", "flags"),
        ("2001 0800 0000 0000", "Protocol Type"),
        ("2001 880b 0000", "Call ID"),
        ("2081 880b 0000 0000", "Acknowledgment Number"),
    ],
)
def test_what_cannot_be_read_is_named(data: str, field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_gre(bytes.fromhex(data))
    assert caught.value.field == field


def test_each_version_refuses_the_other() -> None:
    with pytest.raises(DecodeError, match="version"):
        Gre.decode(EnhancedGre(1).encode())
    with pytest.raises(DecodeError, match="version"):
        EnhancedGre.decode(Gre(0x0800).encode())


def test_our_bare_probe_packet() -> None:
    nonce = NoncePayload(7, 9, 40)
    packet = decode_gre(Gre(PROTOCOL_EXPERIMENTAL, nonce.encode()).encode())
    assert isinstance(packet, Gre)
    assert NoncePayload.decode(packet.payload) == nonce


@given(PLAIN)
def test_scapy_agrees_on_version_0(packet: Gre) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.l2 import GRE
        from scapy.packet import Raw
    summed = packet.with_checksum()
    theirs = GRE(
        proto=packet.protocol,
        chksum_present=1,
        key_present=int(packet.key is not None),
        key=packet.key,
        seqnum_present=int(packet.sequence_number is not None),
        sequence_number=packet.sequence_number,
    )
    assert bytes(theirs / Raw(packet.payload)) == summed.encode()
    read = GRE(summed.encode())
    assert (read.proto, read.chksum) == (packet.protocol, summed.checksum)
    assert (read.key, read.sequence_number) == (packet.key, packet.sequence_number)
    assert bytes(read.payload) == packet.payload


@pytest.mark.parametrize(("sequence", "acknowledgment"), [(None, 5), (3, None), (3, 5)])
def test_scapy_agrees_on_version_1(sequence: int | None, acknowledgment: int | None, scapy_l2: ModuleType) -> None:
    ours = EnhancedGre(13008, sequence, acknowledgment, bytes.fromhex("ff03c0210101000a05060000002a"))
    read = scapy_l2.GRE_PPTP(ours.encode())
    assert (read.call_id, read.payload_len, read.version) == (13008, 14, 1)
    assert (read.sequence_number, read.ack_number) == (sequence, acknowledgment)
    assert read.haslayer("PPP_LCP_Configure")
    read.raw_packet_cache = None
    del read.payload_len
    assert EnhancedGre.decode(bytes(read)) == ours
