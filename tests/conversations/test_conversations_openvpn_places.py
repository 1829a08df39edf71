"""Places of OpenVPN's packets in a stretch of a stream: found where several fit together, and never by chance."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.openvpn_places import LONGEST, find_packets, is_whole_packets, shows_openvpn
from vpnprobe.wire.openvpn import AckV1, ControlV1, DataV1, DataV2, HardResetClientV2, Reliable, frame

RANDOM = random.Random(7)
SESSION = b"\x5a" * 8


def control(number: int, session: bytes = SESSION) -> bytes:
    return frame(ControlV1.plain(session, Reliable((), None, number, RANDOM.randbytes(90))).encode())


def acknowledgment() -> bytes:
    return frame(AckV1.plain(SESSION, Reliable((1,), b"\7" * 8, None)).encode())


def data_v2(peer_id: int = 5) -> bytes:
    return frame(DataV2(peer_id, RANDOM.randbytes(80)).encode())


def aead(number: int) -> bytes:
    return frame(DataV1(number.to_bytes(4, "big") + RANDOM.randbytes(70)).encode())


def cbc() -> bytes:
    return frame(DataV1(RANDOM.randbytes(100)).encode())


LEAD = b"\xee" * 41


@pytest.mark.parametrize(
    ("packets", "in_known", "in_unknown"),
    [
        ([data_v2()], False, False),
        ([data_v2(), data_v2()], True, False),
        ([data_v2(), data_v2(), data_v2()], True, True),
        ([control(1), control(2)], True, False),
        ([control(1), acknowledgment(), control(2)], True, True),
        ([aead(7), aead(8), aead(9)], True, True),
        ([cbc() for _ in range(3)], False, False),
        ([cbc() for _ in range(4)], True, False),
        ([cbc() for _ in range(5)], True, True),
        ([control(1), data_v2()], False, False),
        ([data_v2(1), data_v2(2), data_v2(1)], False, False),
        ([control(1), control(2, b"\7" * 8)], False, False),
        ([frame(HardResetClientV2.plain(SESSION, Reliable()).encode())] * 6, False, False),
        ([frame(DataV2(0, bytes(LONGEST)).encode())] * 6, False, False),
    ],
)
def test_how_many_packets_show_a_place(packets: list[bytes], in_known: bool, in_unknown: bool) -> None:
    stretch = LEAD + b"".join(packets)
    assert find_packets(stretch)[0] is in_known
    assert shows_openvpn(stretch) is in_unknown
    if in_known:
        assert find_packets(stretch) == (True, len(LEAD))


def test_a_row_that_the_stretch_ends_within_is_kept() -> None:
    stretch = LEAD + data_v2() + data_v2()[:30]
    assert find_packets(stretch) == (False, len(LEAD))
    assert find_packets(bytes(100)) == (False, 98)
    assert find_packets(b"") == (False, 0)


def test_a_chunk_of_whole_packets() -> None:
    assert is_whole_packets(data_v2())
    assert is_whole_packets(control(1) + acknowledgment() + aead(3))
    for other in (b"", b"\0\x20", data_v2()[:-1], data_v2() + b"\0", LEAD, b"\0\0\0"):
        assert not is_whole_packets(other)


def test_random_bytes_show_nothing() -> None:
    assert not any(find_packets(RANDOM.randbytes(4096))[0] for _ in range(200))


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_can_be_searched(content: bytes, size: int) -> None:
    found, at = find_packets((content * 20)[:size])
    assert 0 <= at <= size
    assert found or not shows_openvpn((content * 20)[:size])
