"""TCP connections in captures: how each came up, and the VPN protocols within.

Every SYN, SYN-ACK and RST is a captured message of its port's reach. A connection is read on while its first bytes may still be of a VPN
protocol, in whatever segments they come; the segments of others are counted and dropped.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from vpnprobe.capture.account import Fact
from vpnprobe.capture.followers.acknowledged import Acknowledged
from vpnprobe.capture.followers.base import CapturedMessage, SizedStream, StreamFollower, captured
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.followers.recognition import Recognised, Recognition, Waiting
from vpnprobe.capture.followers.registry import FollowerSpec
from vpnprobe.capture.followers.tcp_opening import Opening
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.streams import StreamChunk, TcpConnection, TcpEnd, chunks_of, connection_key, connection_of, frame_of_chunk
from vpnprobe.conversations.tcp_reassembly import SEQUENCE_SPACE
from vpnprobe.evidence import identify
from vpnprobe.evidence.attempts import SYN, SYN_ACK
from vpnprobe.evidence.checks import tcp_reach
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire import fingerprint
from vpnprobe.wire.ip import TcpFlag

RESET: Final = "RST"
"""The message of a captured message that is a refusal of a SYN."""
HANDSHAKE_BITS: Final = int(TcpFlag.SYN | TcpFlag.RST)
SEEN_LEAST: Final = 3
"""Bytes of a segment by which any protocol is known. A snap length of 68, as tcpdump long had, leaves 2 behind a TCP header with times."""
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
    opening: Opening = field(default_factory=Opening)
    acknowledged: Acknowledged[TcpEnd] = field(default_factory=Acknowledged)
    waiting: Waiting = field(default_factory=Waiting)
    """What was read until then."""
    sized: SizedStream | None = None
    """What may be in it by the lengths of its segments, as long as no byte of it was seen."""
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
        followed.opening.take(frame, segment, from_opener=sender == (followed.connection.opener or sender))
        behind = (segment.sequence + frame.tcp_payload_length + segment.has(TcpFlag.SYN)) % SEQUENCE_SPACE
        if segment.flags & HANDSHAKE_BITS:
            yield from _noted(followed, self._handshake(followed, frame), sender, behind)
        if not followed.given_up:
            yield from self._content(followed, frame, sender, behind)
        if segment.has(TcpFlag.ACK) and not segment.has(TcpFlag.RST):  # A firewall resets in another's name.
            followed.acknowledged.acknowledges(followed.connection.other(sender), segment.acknowledgment)

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

    def _content(self, followed: _Followed, frame: Frame, sender: TcpEnd, behind: int) -> Iterable[CapturedMessage]:
        """`behind`: the sequence number that follows the frame."""
        if followed.stream is not None:
            followed.stream.flow.count(frame, sender)
        else:
            followed.frames[sender] = followed.frames.get(sender, 0) + 1
            followed.cut += frame.cut
            followed.first = followed.first or frame
            followed.last = frame
            if frame.tcp is not None and _is_unseen(len(frame.tcp.payload), frame.tcp_payload_length):
                yield from _noted(followed, self._of_length(followed, frame, sender), sender, behind)
        for chunk in chunks_of(followed.connection, frame):
            its_frame = frame_of_chunk(frame, chunk)
            if followed.stream is not None:
                yield from _noted(followed, followed.stream.take(its_frame, chunk), chunk.sender, chunk.end)
            elif not followed.given_up and not _is_unseen(len(chunk.data), len(chunk.data) + chunk.missing):
                yield from self._recognise(followed, its_frame, chunk)
        if followed.stream is None and frame.cut and frame.tcp_payload_length:
            self._unseen(followed, frame, sender)
        if followed.stream is not None:
            yield from _noted(followed, followed.stream.after(frame, followed.connection), sender, behind)

    def _of_length(self, followed: _Followed, frame: Frame, sender: TcpEnd) -> Iterable[CapturedMessage]:
        """What the length of a segment shows of which no byte is known."""
        length = frame.tcp_payload_length
        if followed.sized is None:
            made = (spec.sized_stream(sender, followed.connection.other(sender), length) for spec in self._specs if spec.sized_stream)
            followed.sized = next((stream for stream in made if stream.may_be), None)
        return followed.sized.take_unseen(frame, sender, length) if followed.sized is not None else ()

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
            ours_too = captured(frame, tcp_reach, ours.key, "payload", at=chunk.at, from_client=chunk.sender == connection.opener, own=True)
            yield from _noted(followed, (ours_too,), chunk.sender, chunk.end)
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
            yield from _noted(followed, followed.stream.take(frame, chunk), chunk.sender, chunk.end)

    def receipts(self) -> Iterable[int]:
        """Numbers of frames that completed messages which are proved to have come to the other end."""
        for followed in (*self._finished, *self._followed.values()):
            yield from followed.acknowledged.proved
            if followed.stream is not None:
                yield from followed.stream.receipts()

    def summaries(self) -> Iterable[ConversationSummary]:
        for followed in (*self._finished, *self._followed.values()):
            if followed.waiting.chunks and (found := self._recognition.at_last(followed.waiting)) is not None:
                list(self._follow(followed, found))
            summary = followed.stream.summary() if followed.stream is not None else self._guessed(followed) or self._silent(followed)
            if summary is not None:
                yield _with_unseen(summary, followed.connection)

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
        if followed.given_up or followed.first is None:
            return None
        if connection.opener is not None:
            return self._opening(followed, connection.opener)
        for spec in self._specs:
            if spec.stream is not None and _on_port(connection, spec):
                stream = spec.stream(connection, connection.ends[0], followed.first.number, b"")
                stream.flow.adopt(followed.frames, followed.first, followed.last, followed.cut)
                return stream.summary()
        return None

    def _opening(self, followed: _Followed, opener: TcpEnd) -> ConversationSummary | None:
        """A connection to a protocol's own port that carried nothing; None: it is to another port, or nothing stopped it."""
        server = followed.connection.other(opener)
        of = next((spec.name for spec in self._specs if spec.stream is not None and server[1] in spec.tcp_ports | spec.server_ports), "")
        facts = followed.opening.facts(server[0])
        if not of or not facts:
            return None
        flow = Flow("tcp", Transport.TCP, opener, server)
        flow.client = opener
        flow.adopt(followed.frames, followed.first, followed.last)
        return flow.summary(followed.opening.stage, {"of": of, "facts": facts})


def _is_unseen(seen_bytes: int, length: int) -> bool:
    """Whether so little of a segment's payload was captured that nothing but its length tells what it is."""
    return seen_bytes < min(SEEN_LEAST, length)


def _noted(followed: _Followed, messages: Iterable[CapturedMessage], sender: TcpEnd, end: int) -> Iterator[CapturedMessage]:
    """The messages, of which the sender's are noted: they came when `end`, the sequence number behind them, is acknowledged."""
    for message in messages:
        if message.source == sender:
            followed.acknowledged.sent(sender, end, message.number)
        yield message


def _with_unseen(summary: ConversationSummary, connection: TcpConnection) -> ConversationSummary:
    """The summary with what the capture lacks of a stream though the other end has acknowledged it: that came, and was only not seen."""
    facts: list[Fact] = []
    for by, to, end in (("client", "server", summary.client), ("server", "client", summary.server)):
        direction = connection.directions.get((end.address, end.port or 0))
        if direction is not None and direction.unseen_bytes:
            facts.append({"fact": "acknowledged-unseen", "by": by, "to": to, "times": 1, "bytes": direction.unseen_bytes, "frames": []})
    return replace(summary, detail={**summary.detail, "facts": [*summary.detail.get("facts", ()), *facts]}) if facts else summary


def _on_port(connection: TcpConnection, spec: FollowerSpec) -> bool:
    return any(port in spec.tcp_ports for _, port in connection.ends)
