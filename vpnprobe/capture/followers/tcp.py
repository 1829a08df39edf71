"""TCP connections in captures: how each came up, and the VPN protocols within.

Every SYN, SYN-ACK and RST is a captured message of its port's reach. A connection is read on while its first bytes may still be of a VPN
protocol; the segments of others are counted and dropped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.capture.followers.base import CapturedMessage, HostPort, SizedStream, StreamFollower, captured
from vpnprobe.capture.followers.registry import FollowerSpec
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.streams import StreamChunk, TcpConnection, TcpEnd, chunks_of, connection_key, connection_of
from vpnprobe.evidence import identify
from vpnprobe.evidence.attempts import SYN, SYN_ACK
from vpnprobe.evidence.checks import tcp_reach
from vpnprobe.observations.schema import ConversationSummary
from vpnprobe.wire import fingerprint
from vpnprobe.wire.ip import TcpFlag

RESET: Final = "RST"
"""The message of a captured message that is a refusal of a SYN."""
HANDSHAKE_BITS: Final = int(TcpFlag.SYN | TcpFlag.RST)
CONNECTIONS_LIMIT: Final = 50_000
"""Most connections that are remembered in one capture."""


@dataclass(slots=True)
class _Followed:
    connection: TcpConnection
    frames: dict[HostPort, int] = field(default_factory=dict)
    """Counted before the protocol is known."""
    first: Frame | None = None
    last: Frame | None = None
    stream: StreamFollower | None = None
    """None: the protocol is not known yet."""
    sized: SizedStream | None = None
    """What may be in it by the lengths of its segments, as long as no byte of it was seen."""
    given_up: bool = False
    """The first bytes were seen and are of no VPN protocol."""


class TcpFollower:
    """All TCP of a capture. `specs`: the protocols that may be in it, in the order in which a connection is offered to them."""

    def __init__(self, specs: Sequence[FollowerSpec]) -> None:
        self._specs = specs
        self._followed: dict[object, _Followed] = {}
        self._finished: list[_Followed] = []

    def take(self, frame: Frame) -> Iterable[CapturedMessage]:
        segment, slot = frame.tcp, connection_key(frame)
        if segment is None or slot is None:
            return
        followed = self._followed.get(slot)
        sender: TcpEnd = (frame.source, segment.source_port)
        if followed is not None and followed.connection.begins_another(sender, sequence=segment.sequence, flags=segment.flags):
            self._finished.append(followed)
            followed = None
        if followed is None:
            if len(self._followed) + len(self._finished) >= CONNECTIONS_LIMIT:
                return
            followed = self._followed[slot] = _Followed(connection_of(frame))
        if segment.flags & HANDSHAKE_BITS:
            yield from self._handshake(followed, frame)
        if not followed.given_up:
            yield from self._content(followed, frame, sender)

    def _handshake(self, followed: _Followed, frame: Frame) -> Iterable[CapturedMessage]:
        segment = frame.tcp
        assert segment is not None
        if (initial := fingerprint.initial_sequence(segment)) is not None:
            message = SYN_ACK if segment.has(TcpFlag.ACK) else SYN
            yield captured(frame, tcp_reach, fingerprint.attempt(initial), message, from_client=message == SYN)
        elif segment.has(TcpFlag.RST) and followed.connection.opener is not None:
            opener = followed.connection.directions[followed.connection.opener]
            server = followed.connection.directions[followed.connection.other(opener.sender)]
            from_server = (frame.source, segment.source_port) == server.sender
            if from_server and server.first_sequence is None and opener.first_sequence is not None:
                yield captured(frame, tcp_reach, fingerprint.attempt(opener.first_sequence), RESET, from_client=False)

    def _content(self, followed: _Followed, frame: Frame, sender: TcpEnd) -> Iterable[CapturedMessage]:
        if followed.stream is not None:
            followed.stream.flow.count(frame, sender)
        else:
            followed.frames[sender] = followed.frames.get(sender, 0) + 1
            followed.first = followed.first or frame
            followed.last = frame
            if frame.tcp is not None and not frame.tcp.payload and frame.tcp_payload_length:
                yield from self._unseen(followed, frame, sender)
        for chunk in chunks_of(followed.connection, frame):
            if followed.stream is None:
                yield from self._recognise(followed, frame, chunk)
            if followed.stream is not None:
                yield from followed.stream.take(frame, chunk)
        if followed.stream is not None:
            yield from followed.stream.after(frame, followed.connection)

    def _unseen(self, followed: _Followed, frame: Frame, sender: TcpEnd) -> Iterable[CapturedMessage]:
        """What the length of a segment shows of which no byte is known."""
        length = frame.tcp_payload_length
        if followed.sized is None:
            made = (spec.sized_stream(sender, followed.connection.other(sender), length) for spec in self._specs if spec.sized_stream)
            followed.sized = next((stream for stream in made if stream.may_be), None)
        return followed.sized.take_unseen(frame, sender, length) if followed.sized is not None else ()

    def _recognise(self, followed: _Followed, frame: Frame, chunk: StreamChunk) -> Iterable[CapturedMessage]:
        """Finds the protocol by its first bytes, or by its port."""
        connection = followed.connection
        for spec in self._specs:
            if spec.stream is not None and (spec.begins_stream(chunk.data) or _on_port(connection, spec)):
                followed.stream = spec.stream(connection, chunk.sender, frame.number)
                followed.stream.flow.adopt(followed.frames, followed.first)
                return
        ours = identify.nonce(tcp_reach(chunk.sender[1]), chunk.data)
        if ours is not None:
            yield captured(frame, tcp_reach, ours.key, "payload", at=chunk.at, from_client=chunk.sender == connection.opener, own=True)
        else:
            followed.given_up = True

    def summaries(self) -> Iterable[ConversationSummary]:
        for followed in (*self._finished, *self._followed.values()):
            summary = followed.stream.summary() if followed.stream is not None else self._guessed(followed) or self._silent(followed)
            if summary is not None:
                yield summary

    def _guessed(self, followed: _Followed) -> ConversationSummary | None:
        """What the lengths of a connection's segments show of which no byte was seen; None: nothing."""
        sized = followed.sized
        if sized is None:
            return None
        sized.flow.counts.update(dict.fromkeys(sized.flow.counts, 0))
        sized.flow.adopt(followed.frames, followed.first, followed.last)
        if followed.connection.opener is not None:
            sized.flow.client = followed.connection.opener
        return sized.summary()

    def _silent(self, followed: _Followed) -> ConversationSummary | None:
        """A connection on a protocol's own port that came up before the capture and carries no data in it."""
        connection = followed.connection
        if followed.given_up or connection.opener is not None or followed.first is None:
            return None
        for spec in self._specs:
            if spec.stream is not None and _on_port(connection, spec):
                stream = spec.stream(connection, connection.ends[0], followed.first.number)
                stream.flow.adopt(followed.frames, followed.first, followed.last)
                return stream.summary()
        return None


def _on_port(connection: TcpConnection, spec: FollowerSpec) -> bool:
    return any(port in spec.tcp_ports for _, port in connection.ends)
