"""Copies of a mirror port count once, and nothing else is taken for one."""

from dataclasses import replace
from pathlib import Path

import pytest
from capture_packets import CLIENT, SERVER, frames, ip, tcp, udp
from derived_captures import decoder_of, mirrored, named, packets_of, snapped

from vpnprobe.capture.copies import REMEMBERED, Copies
from vpnprobe.capture.frames import Frame
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment

DATA = Path(__file__).parent.parent / "data"
CAPTURES = [*sorted(path.name for path in (DATA / "lab").iterdir()), "../pptp-real-client.pcap"]


def copied(first: bytes, second: bytes, *, apart_s: float = 0.001) -> bool:
    one, other = frames([first, second], apart_s=apart_s)
    copies = Copies()
    assert not copies.is_copy(one)
    return copies.is_copy(other)


@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize("ttl_less", [0, 1])
def test_what_a_mirror_port_doubles_is_counted_once(name: str, ttl_less: int) -> None:
    packets = packets_of(DATA / "lab" / name)
    whole, twice = decoder_of(packets), decoder_of(mirrored(packets, ttl_less=ttl_less))
    assert whole.copies.count == 0
    assert twice.copies.count == len(packets)
    assert [(named(one), one.frames_c2s, one.frames_s2c) for one in twice.conversations()] == [
        (named(one), one.frames_c2s, one.frames_s2c) for one in whole.conversations()
    ]
    told = twice.copies.told(twice.frames)
    assert told is not None
    assert "mirror port (SPAN)" in told
    assert ("lower TTL" in told) is bool(ttl_less)


@pytest.mark.parametrize("name", CAPTURES)
def test_copies_with_another_tag_before_them_are_cut_shorter(name: str) -> None:
    packets = packets_of(DATA / "lab" / name)
    cut = snapped(packets, 96)
    tagged = [replace(packet, data=packet.data[:78]) for packet in cut]
    both = decoder_of(one for pair in zip(cut, tagged, strict=True) for one in pair)
    assert both.copies.count == len(packets)


def test_what_may_differ_between_copies() -> None:
    whole = udp(b"payload", 5000, 1194)
    assert copied(whole, udp(b"payload", 5000, 1194, ttl=62))
    offloaded = whole[:26] + b"\x12\x34" + whole[28:]
    assert copied(whole, offloaded)
    syn = TcpSegment(1, 2, 3, flags=int(TcpFlag.SYN), options=b"\x02\x04\x05\xb4")
    clamped = replace(syn, options=b"\x02\x04\x05\x14")
    packets = [ip(one.encode(CLIENT, SERVER), IpProtocol.TCP) for one in (syn, clamped)]
    assert copied(*packets)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (udp(b"payload", 5000, 1194), udp(b"another", 5000, 1194)),
        (udp(b"payload", 5000, 1194), udp(b"payload", 5000, 1194, identification=2)),
        (udp(b"payload", 5000, 1194), udp(b"payload", 5000, 1194, ttl=40)),
        (udp(b"payload", 5000, 1194, ttl=9), udp(b"payload", 5000, 1194, ttl=8)),
        (tcp(sequence=1, payload=b"x"), tcp(sequence=2, payload=b"x")),
        (udp(b"payload", 5000, 1194)[:24], udp(b"payload", 5000, 1194)[:24]),
        (ip(b"", IpProtocol.ESP), ip(b"", IpProtocol.ESP)),
    ],
    ids=["content", "identification", "far TTL", "small TTL", "sequence number", "cut too short", "empty"],
)
def test_what_is_no_copy(first: bytes, second: bytes) -> None:
    assert not copied(first, second)


def test_what_is_sent_again_is_no_copy() -> None:
    whole = udp(b"payload", 5000, 1194)
    assert not copied(whole, whole, apart_s=0.02)
    copies = Copies()
    assert copies.told(10) is None


def test_what_is_remembered_is_bounded() -> None:
    copies = Copies()
    many: list[Frame] = frames((udp(b"payload", 5000, 1194, identification=n) for n in range(1, REMEMBERED + 100)), apart_s=0.0)
    assert not any(copies.is_copy(frame) for frame in many)
    assert copies.is_copy(many[-1])
    assert not copies.is_copy(many[0])
    assert copies.told(5000) == "1 of its 5000 packets are copies of others in it: each packet counts once"


def test_a_copy_of_another_protocol() -> None:
    esp = ip(bytes(range(40)), IpProtocol.ESP)
    assert copied(esp, replace(IPv4Packet.decode(esp), ttl=63).encode())
