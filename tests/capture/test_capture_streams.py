"""The segments of captures, as the reassembly of TCP gets them: who sends, what the capture cut, and when it was."""

from capture_packets import CLIENT, SERVER, frames, tcp, udp

from vpnprobe.capture.streams import StreamChunk, chunks_of, connection_key, connection_of
from vpnprobe.wire.ip import TcpFlag

HEADERS = 40
"""Bytes of the IP and TCP headers of these packets."""


def chunks(packets: list[bytes]) -> list[StreamChunk]:
    found = frames(packets)
    connection = connection_of(found[0])
    return [chunk for frame in found for chunk in chunks_of(connection, frame)]


def test_a_chunk_has_the_sender_and_the_time_of_its_own_frame() -> None:
    late, first = tcp(sequence=4, payload=b"two"), tcp(sequence=1, payload=b"one")
    found = chunks([tcp(sequence=0, flags=TcpFlag.SYN), late, first, tcp(sequence=1, payload=b"back", back=True)])
    assert [(chunk.sender, chunk.data, round(chunk.at - 1e9, 2)) for chunk in found] == [
        ((str(CLIENT), 40000), b"one", 0.03),
        ((str(CLIENT), 40000), b"two", 0.02),
        ((str(SERVER), 1723), b"back", 0.04),
    ]


def test_what_the_capture_cut_off_a_segment_is_missing() -> None:
    one, two = tcp(sequence=1, payload=b"0123456789"), tcp(sequence=11, payload=b"next")
    found = chunks([tcp(sequence=0, flags=TcpFlag.SYN), one[: HEADERS + 4], two])
    assert [(chunk.data, chunk.gap, chunk.missing) for chunk in found] == [(b"0123", 0, 6), (b"next", 0, 0)]


def test_the_opener_is_known_from_a_syn_ack_alone() -> None:
    (frame,) = frames([tcp(sequence=9, acknowledgment=2, flags=TcpFlag.SYN | TcpFlag.ACK, back=True)])
    connection = connection_of(frame)
    chunks_of(connection, frame)
    assert connection.opener == (str(CLIENT), 40000)


def test_both_directions_have_one_key() -> None:
    there, back, other = frames([tcp(sequence=1), tcp(sequence=1, back=True), udp(b"x", 1, 2)])
    assert connection_key(there) == connection_key(back) == ((str(CLIENT), 40000), (str(SERVER), 1723))
    assert connection_key(other) is None
