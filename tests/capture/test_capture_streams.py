"""TCP reassembly: order, repetition, overlap, holes, and the end of the sequence space."""

import random

from capture_packets import frames, tcp
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.capture.followers.base import ends_of
from vpnprobe.capture.streams import HELD_SEGMENTS, Chunk, Connection, ahead
from vpnprobe.wire.ip import TcpFlag


def chunks(packets: list[bytes]) -> list[Chunk]:
    found = frames(packets)
    connection = Connection(found[0])
    return [chunk for frame in found for chunk in connection.take(frame)]


def data_of(packets: list[bytes]) -> bytes:
    return b"".join(chunk.data for chunk in chunks(packets))


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(0, 2**32 - 1), st.randoms())
def test_segments_in_any_order_and_several_times_give_the_stream(data: bytes, sizes: list[int], first: int, chance: random.Random) -> None:
    segments, at = [], 0
    while at < len(data):
        size = sizes[len(segments) % len(sizes)]
        segments.append((at, data[at : at + size + chance.randrange(5)]))  # with overlaps
        at += size
    shuffled = segments + chance.choices(segments, k=3)
    chance.shuffle(shuffled)
    packets = [tcp(sequence=(first + 1 + at) % 2**32, payload=payload) for at, payload in shuffled]
    syn = tcp(sequence=first, flags=TcpFlag.SYN)
    assert data_of([syn, *packets]) == data


def test_a_hole_that_the_other_end_has_acknowledged_is_the_captures() -> None:
    found = chunks(
        [
            tcp(sequence=0, flags=TcpFlag.SYN),
            tcp(sequence=1, payload=b"one"),
            tcp(sequence=8, payload=b"three"),
            tcp(sequence=1, acknowledgment=13, back=True),
        ]
    )
    assert [(chunk.data, chunk.after_gap) for chunk in found] == [(b"one", False), (b"three", True)]


def test_too_much_that_waits_is_taken_without_what_it_waits_for() -> None:
    late = [tcp(sequence=100 + number, payload=b"x") for number in range(HELD_SEGMENTS + 1)]
    found = chunks([tcp(sequence=0, flags=TcpFlag.SYN), *late])
    assert found[0].after_gap
    assert sum(len(chunk.data) for chunk in found) == HELD_SEGMENTS + 1


def test_a_capture_that_begins_in_the_middle() -> None:
    assert data_of([tcp(sequence=7777, payload=b"mid"), tcp(sequence=7780, payload=b"stream")]) == b"midstream"


def test_the_opener_is_known_from_a_syn_ack_alone() -> None:
    found = frames([tcp(sequence=9, acknowledgment=2, flags=TcpFlag.SYN | TcpFlag.ACK, back=True)])
    connection = Connection(found[0])
    connection.take(found[0])
    assert connection.opener == ends_of(found[0])[1]


def test_distances_are_modulo_the_sequence_space() -> None:
    assert ahead(5, 2**32 - 5) == 10
    assert ahead(2**32 - 5, 5) == -10
