"""Checksums that a NAT broke, told from those that no card has made yet."""

from ipaddress import IPv4Address

import pytest
from capture_packets import CLIENT, SERVER, frames, udp

from vpnprobe.capture.checksums import LEAST, Checksums
from vpnprobe.capture.printed.traces import lines_in, parse
from vpnprobe.wire.ip import IpProtocol


def broken(packet: bytes) -> bytes:
    return packet[:26] + bytes((packet[26] ^ 0x55, packet[27])) + packet[28:]


def wrong(packets: list[bytes], source: IPv4Address = SERVER, destination: IPv4Address = CLIENT) -> int:
    checksums = Checksums()
    for frame in frames(packets):
        checksums.take(frame)
    return checksums.wrong(str(source), str(destination), IpProtocol.UDP)


THERE, BACK = udp(b"question", 4500, 4500, ttl=60), udp(b"answer", 4500, 4500, back=True, ttl=60)


def test_right_ones_are_right() -> None:
    assert wrong([THERE, BACK] * 3) == 0


def test_one_direction_alone_is_broken() -> None:
    assert wrong([THERE, broken(BACK)] * LEAST) == LEAST
    assert wrong([THERE, broken(BACK)] * LEAST, CLIENT, SERVER) == 0


@pytest.mark.parametrize(
    "packets",
    [
        [THERE, broken(BACK)],
        [broken(THERE), broken(BACK)] * 3,
        [THERE, broken(BACK), BACK] * 3,
        [THERE, broken(udp(b"answer", 4500, 4500, back=True, ttl=64))] * 3,
    ],
    ids=["one may be chance", "virtual interfaces make none", "some are right", "no router has forwarded them"],
)
def test_what_says_nothing_of_a_nat(packets: list[bytes]) -> None:
    assert wrong(packets) == 0


def test_a_datagram_without_a_checksum_is_right() -> None:
    none = BACK[:26] + b"\0\0" + BACK[28:]
    assert wrong([THERE, none] * 3) == 0


def test_names_and_cut_packets_are_passed_over() -> None:
    checksums = Checksums()
    [frame] = frames([broken(BACK)])
    for _ in range(3):
        checksums.take(frame.__class__(**{**frame.__dict__, "source": "gw.example.net"}))
        checksums.take(frame.__class__(**{**frame.__dict__, "length": 500}))
    assert checksums.wrong(str(SERVER), str(CLIENT), IpProtocol.UDP) == 0


@pytest.mark.parametrize(("printed", "count"), [("[udp sum ok] ", 0), ("[bad udp cksum 0x8d1e -> 0x4e31!] ", 2), ("", 0)])
def test_of_a_printed_packet_what_was_printed_counts(printed: str, count: int) -> None:
    """Its bytes are made of words."""
    head = "10:00:0{}.0 IP (tos 0x0, ttl {}, id 1, offset 0, flags [none], proto UDP (17), length 40)"
    lines = [
        f"{head.format(n, 57)} 198.51.100.20.500 > 192.0.2.10.500: {printed}isakmp 1.0 msgid 00000000: phase 1 R ident: [|sa]"
        for n in (1, 2)
    ]
    lines += [f"{head.format(3, 57)} 192.0.2.10.500 > 198.51.100.20.500: [udp sum ok] isakmp 1.0 msgid 00000000: phase 1 I ident: [|sa]"]
    checksums = Checksums()
    for frame in parse(lines_in("\n".join(lines))).traces[0].frames:
        checksums.take(frame)
    assert checksums.wrong("198.51.100.20", "192.0.2.10", IpProtocol.UDP) == count
