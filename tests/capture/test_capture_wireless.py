"""802.11 frames: what they carry, behind every form of header, and those that are encrypted."""

from pathlib import Path

import pytest
from capture_packets import pcap, udp, written
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture import linktypes
from vpnprobe.capture.reading import read_capture
from vpnprobe.capture.wireless import IEEE_802_11, PPI, RADIOTAP

PACKET = udp(b"payload", 5000, 1194)
SNAP = b"\xaa\xaa\x03\0\0\0\x08\0"
RADIO = bytes.fromhex("0000 0800 00000000")


def frame(
    control: int = 0x08, flags: int = 0x01, *, sequence: int = 0, more: bytes = b"", snap: bytes = SNAP, packet: bytes = PACKET
) -> bytes:
    return bytes((control, flags)) + bytes(20) + bytes((sequence, 0)) + more + snap + packet


PLAIN = frame()


@pytest.mark.parametrize(
    ("linktype", "data"),
    [
        (IEEE_802_11, PLAIN),
        (RADIOTAP, RADIO + PLAIN),
        (RADIOTAP, RADIO + frame(flags=0x02)),
        (RADIOTAP, RADIO + frame(flags=0x03, more=bytes(6))),
        (RADIOTAP, RADIO + frame(0x88, more=bytes(2))),
        (RADIOTAP, RADIO + frame(0x88, 0x81, more=bytes(6))),
        (RADIOTAP, bytes.fromhex("0000 0900 02000000 20") + frame(0x88, more=bytes(4))),
        (RADIOTAP, bytes.fromhex("0000 1900 03000080 00000000") + bytes(4) + bytes(8) + b"\x20" + frame(0x88, more=bytes(4))),
        (PPI, bytes.fromhex("0000 0800 69000000") + PLAIN),
        (RADIOTAP, RADIO + frame(snap=b"\xaa\xaa\x03\0\0\xf8\x08\0")),
    ],
    ids=["bare", "to", "from", "four addresses", "QoS", "HT", "padded", "TSFT", "PPI", "802.1H"],
)
def test_what_a_frame_carries(linktype: int, data: bytes) -> None:
    assert linktypes.ip_packet(linktype, data) == PACKET
    assert not linktypes.is_protected(linktype, data)


@pytest.mark.parametrize(
    "data",
    [
        frame(0x80),
        frame(0x48),
        frame(sequence=1),
        frame(0x88, more=b"\x80\0"),
        frame(snap=b"\xaa\xaa\x03\0\x80\xc2\x08\0"),
        frame(snap=b"\xaa\xaa\x03\0\0\0\x08\x06"),
        frame()[:30],
    ],
    ids=["beacon", "null", "fragment", "aggregate", "other organisation", "ARP", "cut"],
)
def test_what_carries_no_packet(data: bytes) -> None:
    assert linktypes.ip_packet(IEEE_802_11, data) is None


def test_frames_of_an_encrypted_network_are_counted_and_told(tmp_path: Path) -> None:
    protected = RADIO + frame(0x88, 0x41, more=bytes(2))
    read = read_capture(written(tmp_path, pcap([RADIO + PLAIN, protected, RADIO + frame(0x48, 0x41), protected], linktype=RADIOTAP)))
    assert (read.linktype, read.problem) == (
        "IEEE802_11_RADIOTAP",
        "2 of its 4 frames are encrypted (protected 802.11): what they carry cannot be read",
    )
    assert not linktypes.is_protected(1, protected)
    assert not linktypes.is_protected(RADIOTAP, protected[:9])


@given(st.sampled_from((IEEE_802_11, RADIOTAP, PPI)), st.binary(max_size=80))
def test_any_frame_can_be_read(linktype: int, data: bytes) -> None:
    linktypes.ip_packet(linktype, data)
    linktypes.is_protected(linktype, data)
