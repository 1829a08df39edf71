"""TCP connections in captures: how each came up, and the VPN protocols within.

Every SYN, SYN-ACK and RST is a captured message of its port's reach. A connection is read on while its first bytes may still be of a VPN
protocol, in whatever segments they come; the segments of others are counted and dropped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.capture.followers.base import CapturedMessage, HostPort, StreamFollower, captured
from vpnprobe.capture.followers.recognition import Recognised, Recognition, Waiting
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
    cut: int = 0
    """Of them."""
    first: Frame | None = None
    last: Frame | None = None
    stream: StreamFollower | None = None
    """None: the protocol is not known yet."""
    waiting: Waiting = field(default_factory=Waiting)
    """What was read until then."""
    given_up: bool = False
    """The first bytes were seen and are of no VPN protocol."""


class TcpFollower:
    """All TCP of a capture. `specs`: the protocols that may be in it, in the order in which a connection is offered to them."""

    def __init__(self, specs: Sequence[FollowerSpec]) -> None:
        self._specs = specs
        self._recognition = Recognition(tuple(specs))
        self._followed: dict[object, _Followed] = {}
        self._finished: list[_Followed] = []

    def take(self, frame: Frame) -> Iterable[CapturedMessage]:
        segment, slot = frame.tcp, connection_key(frame)
        if segment is None or slot is None:
            return
        followed = self._followed.get(slot)
        sender: TcpEnd = (frame.source, segment.source_port)
        if followed is not None and followed.connection.begins_another(sender, sequence=segment.sequence, flags=segment.flags):
            self._recognition.forget(followed.waiting)
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
            followed.cut += frame.cut
            followed.first = followed.first or frame
            followed.last = frame
        for chunk in chunks_of(followed.connection, frame):
            if followed.stream is not None:
                yield from followed.stream.take(frame, chunk)
            elif not followed.given_up:
                yield from self._recognise(followed, frame, chunk)
        if followed.stream is None and frame.cut and frame.tcp_payload_length:
            self._unseen(followed, frame, sender)
        if followed.stream is not None:
            yield from followed.stream.after(frame, followed.connection)

    def _unseen(self, followed: _Followed, frame: Frame, sender: TcpEnd) -> None:
        """A segment of which the capture left perhaps no payload: on a protocol's own port it is followed by what else shows."""
        for spec in self._specs:
            if spec.stream is not None and _on_port(followed.connection, spec):
                followed.stream = spec.stream(followed.connection, sender, frame.number, b"")
                followed.stream.flow.adopt(followed.frames, followed.first, followed.last, followed.cut)
                return

    def _recognise(self, followed: _Followed, frame: Frame, chunk: StreamChunk) -> Iterable[CapturedMessage]:
        """Finds the protocol by its first bytes, or by its port; then it gets all that waited for that."""
        connection, waiting = followed.connection, followed.waiting
        ours = None if waiting.chunks else identify.nonce(tcp_reach(chunk.sender[1]), chunk.data)
        if ours is not None and not chunk.gap:
            yield captured(frame, tcp_reach, ours.key, "payload", at=chunk.at, from_client=chunk.sender == connection.opener, own=True)
            return
        found = self._recognition.take(waiting, frame, chunk, frozenset(port for _, port in connection.ends))
        if isinstance(found, Recognised):
            yield from self._follow(followed, found)
        elif found is not None:
            followed.given_up = True
            self._recognition.forget(waiting)

    def _follow(self, followed: _Followed, found: Recognised) -> Iterable[CapturedMessage]:
        assert found.spec.stream is not None
        waited = tuple(followed.waiting.chunks)
        self._recognition.forget(followed.waiting)
        followed.stream = found.spec.stream(followed.connection, found.sender, waited[-1][0].number, found.head)
        followed.stream.flow.adopt(followed.frames, followed.first, followed.last, followed.cut)
        for frame, chunk in waited:
            yield from followed.stream.take(frame, chunk)

    def summaries(self) -> Iterable[ConversationSummary]:
        for followed in (*self._finished, *self._followed.values()):
            if followed.waiting.chunks and (found := self._recognition.at_last(followed.waiting)) is not None:
                list(self._follow(followed, found))
            summary = self._silent(followed) if followed.stream is None else followed.stream.summary()
            if summary is not None:
                yield summary

    def _silent(self, followed: _Followed) -> ConversationSummary | None:
        """A connection on a protocol's own port that came up before the capture and carries no data in it."""
        connection = followed.connection
        if followed.given_up or connection.opener is not None or followed.first is None:
            return None
        for spec in self._specs:
            if spec.stream is not None and _on_port(connection, spec):
                stream = spec.stream(connection, connection.ends[0], followed.first.number, b"")
                stream.flow.adopt(followed.frames, followed.first, followed.last, followed.cut)
                return stream.summary()
        return None


def _on_port(connection: TcpConnection, spec: FollowerSpec) -> bool:
    return any(port in spec.tcp_ports for _, port in connection.ends)
