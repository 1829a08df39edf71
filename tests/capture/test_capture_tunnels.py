"""Packets within tunnels that hide nothing, and everything that only looks like one."""

import pytest
from capture_packets import CLIENT, SERVER, decoded, frames, ip, udp
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.tunnels import within
from vpnprobe.wire.gre import EnhancedGre, Gre
from vpnprobe.wire.ip import IpProtocol
from vpnprobe.wire.l2tp import DataMessage
from vpnprobe.wire.openvpn import HardResetClientV2, Reliable

INNER = udp(b"within", 1111, 2222)
ETHERNET = bytes(12) + b"\x08\x00" + INNER
TAGGED = bytes(12) + b"\x81\x00\x00\x05\x08\x00" + INNER
PPP = b"\xff\x03\x00\x21" + INNER


def outer(payload: bytes, port: int) -> bytes:
    return udp(payload, 50000, port)


@pytest.mark.parametrize(
    "packet",
    [
        ip(Gre(0x0800, INNER).encode(), IpProtocol.GRE),
        ip(Gre(0x6558, ETHERNET, key=7).encode(), IpProtocol.GRE),
        ip(EnhancedGre(7, 1, None, PPP).encode(), IpProtocol.GRE),
        outer(b"\x08" + bytes(7) + ETHERNET, 4789),
        outer(b"\x08" + bytes(7) + TAGGED, 4789),
        outer(b"\x00\x00\x65\x58" + bytes(4) + ETHERNET, 6081),
        outer(b"\x01\x00\x08\x00" + bytes(4) + bytes(4) + INNER, 6081),
        outer(DataMessage(1, 2, PPP).encode(), 1701),
    ],
)
def test_what_is_within(packet: bytes) -> None:
    [frame] = frames([packet])
    inner = within(frame)
    assert inner is not None
    assert str(inner.carrier).endswith(f"between {CLIENT} and {SERVER}")
    assert (inner.source, inner.destination, inner.ports, inner.number) == (str(CLIENT), str(SERVER), (1111, 2222), frame.number)
    assert inner.ttl is None


@pytest.mark.parametrize(
    "packet",
    [
        INNER,
        ip(Gre(0x88B5, INNER).encode(), IpProtocol.GRE),
        ip(EnhancedGre(7, 1, None, b"\xff\x03\xc0\x21\x01\x00\x00\x04").encode(), IpProtocol.GRE),
        ip(EnhancedGre(7, None, 3).encode(), IpProtocol.GRE),
        outer(b"\x00" + bytes(7) + ETHERNET, 4789),
        outer(b"\x08" + bytes(7), 4789),
        outer(b"\x80\x00\x65\x58" + bytes(4) + ETHERNET, 6081),
        outer(DataMessage(1, 2, b"\xff\x03\x00\xfd" + INNER).encode(), 1701),
        outer(b"\xc8\x02\x00\x0c" + bytes(8), 1701),
    ],
)
def test_what_holds_none(packet: bytes) -> None:
    [frame] = frames([packet])
    assert within(frame) is None


@given(st.binary(max_size=80), st.sampled_from([4789, 6081, 1701]))
def test_whatever_a_stranger_wrote_raises_nothing(payload: bytes, port: int) -> None:
    for packet in (outer(payload, port), ip(payload, IpProtocol.GRE)):
        for frame in frames([packet]):
            within(frame)


def test_tunnels_within_tunnels_end() -> None:
    packet = INNER
    for _ in range(12):
        packet = ip(Gre(0x0800, packet).encode(), IpProtocol.GRE)
    assert [one.protocol for one in decoded([packet]).conversations()] == ["gre"]


def test_a_conversation_within_a_tunnel_says_so() -> None:
    reset = udp(HardResetClientV2.plain(bytes(range(8)), Reliable()).encode(), 50000, 1194)
    [one] = decoded([outer(b"\x08" + bytes(7) + bytes(12) + b"\x08\x00" + reset, 4789)]).conversations()
    assert (one.protocol, one.findings[0]) == (
        "openvpn-udp",
        f"It was seen inside VXLAN between {CLIENT} and {SERVER}, which carried it here.",
    )
    [bare] = decoded([reset]).conversations()
    assert not any("inside" in finding for finding in bare.findings)
