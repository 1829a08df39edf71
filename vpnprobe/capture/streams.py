"""The TCP segments of a capture, given to `vpnprobe.conversations.tcp_reassembly` connection by connection."""

from dataclasses import replace

from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.tcp_reassembly import Chunk, TcpReassembly

TcpEnd = tuple[str, int]
"""Address and port of an end of a connection."""
StreamChunk = Chunk[TcpEnd]
TcpConnection = TcpReassembly[TcpEnd]


def connection_of(frame: Frame) -> TcpConnection:
    """The connection that a TCP frame is the first of; nothing of it is taken yet."""
    segment = frame.tcp
    assert segment is not None
    return TcpReassembly((frame.source, segment.source_port), (frame.destination, segment.destination_port))


def chunks_of(connection: TcpConnection, frame: Frame) -> list[StreamChunk]:
    """The chunks of both directions that a frame of the connection completes, in their order."""
    segment = frame.tcp
    assert segment is not None
    return connection.take(
        (frame.source, segment.source_port),
        sequence=segment.sequence,
        acknowledgment=segment.acknowledgment,
        flags=segment.flags,
        payload=segment.payload,
        length=frame.tcp_payload_length,
        at=frame.at,
        number=frame.number,
    )


def frame_of_chunk(frame: Frame, chunk: StreamChunk) -> Frame:
    """The frame that a chunk was in, as far as it is known when a later one, `frame`, shows that it comes next."""
    return frame if chunk.number == frame.number else replace(frame, number=chunk.number, at=chunk.at, ttl=None, identification=None)


def connection_key(frame: Frame) -> tuple[TcpEnd, TcpEnd] | None:
    """The same for both directions of a connection; None: no TCP."""
    segment = frame.tcp
    if segment is None:
        return None
    first, second = (frame.source, segment.source_port), (frame.destination, segment.destination_port)
    return (first, second) if first <= second else (second, first)
