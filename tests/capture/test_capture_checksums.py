"""Checksums that a NAT broke, told from those that no card has made yet."""

from ipaddress import IPv4Address

import pytest
from capture_packets import CLIENT, SERVER, frames, udp

from vpnprobe.capture.checksums import LEAST, Checksums
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
