"""Which protocol a TCP connection carries, by the first bytes of either direction, in whatever segments they come.

A protocol may need more than one segment to be sure, so the chunks of a connection wait here until one of the list knows it for its own, or
none can any more. What waits is bounded, for each direction and for a capture as a whole. Where the beginning of a direction was not seen,
the protocols are asked whether a stretch from its middle shows them.
"""

from dataclasses import dataclass, field
from typing import Final

from vpnprobe.capture.followers.registry import FollowerSpec
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.streams import StreamChunk, TcpEnd

HEAD_LIMIT_BYTES: Final = 1 << 13
"""Most bytes of one direction that wait."""
SEARCH_AGAIN: Final = 16
"""A stretch from the middle is looked at again once it has grown by one part in so many, so that tiny segments take no more time than their
bytes do."""
WAITING_LIMIT_BYTES: Final = 1 << 26
"""Most memory that the waiting chunks of all connections take, about."""
CHUNK_BYTES: Final = 1 << 10
"""What one waiting chunk takes besides its data."""


@dataclass(slots=True)
class _Head:
    """What is known of one direction."""

    from_beginning: bool
    data: bytes = b""
    missing: int = 0
    """Bytes right behind `data` that were cut off."""
    asked_at: int = 0
    """Length of `data` when the protocols were asked last."""


@dataclass(slots=True)
class Waiting:
    """The chunks of one connection whose protocol is not known yet."""

    chunks: list[tuple[Frame, StreamChunk]] = field(default_factory=list)
    heads: dict[TcpEnd, _Head] = field(default_factory=dict)
    size: int = 0
    """Memory, about."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """The protocol of a connection."""

    spec: FollowerSpec
    sender: TcpEnd
    """Whose bytes show it."""
    head: bytes
    """These bytes, from the first that was seen of that direction."""


class Recognition:
    """All connections of a capture. `specs`: the protocols that may be in them, in the order in which a connection is offered to them."""

    def __init__(self, specs: tuple[FollowerSpec, ...]) -> None:
        self._specs = tuple(spec for spec in specs if spec.stream is not None)
        self._waiting_bytes = 0

    def take(self, waiting: Waiting, frame: Frame, chunk: StreamChunk, ports: frozenset[int]) -> Recognised | bool | None:
        """The protocol that a connection turns out to carry; None: it cannot be told yet; False: it is of none of the list.

        `ports`: of both ends.
        """
        head = self._kept(waiting, frame, chunk)
        for spec in self._specs:
            if ports & spec.tcp_ports:
                return Recognised(spec, chunk.sender, head.data)
        if not head.from_beginning and not self._is_due(head):
            return None
        open_questions = False
        for spec in self._specs:
            shown = self._shown(spec, head)
            if shown:
                return Recognised(spec, chunk.sender, head.data)
            open_questions = open_questions or shown is None
        return None if open_questions and self._waiting_bytes < WAITING_LIMIT_BYTES else False

    def at_last(self, waiting: Waiting) -> Recognised | None:
        """The protocol that all shows which was seen of a connection; None: of none of the list, as far as that goes."""
        for sender, head in waiting.heads.items():
            for spec in self._specs:
                if self._shown(spec, head):
                    return Recognised(spec, sender, head.data)
        return None

    def _kept(self, waiting: Waiting, frame: Frame, chunk: StreamChunk) -> _Head:
        head = waiting.heads.get(chunk.sender)
        if head is None or chunk.gap:
            # Behind what was not seen nothing joins what came before: it is a stretch from the middle.
            head = waiting.heads[chunk.sender] = _Head(from_beginning=head is None and not chunk.gap)
        elif head.missing:
            head.data += bytes(min(head.missing, HEAD_LIMIT_BYTES))
        head.data += chunk.data
        head.missing = chunk.missing
        waiting.chunks.append((frame, chunk))
        size = CHUNK_BYTES + len(chunk.data)
        waiting.size += size
        self._waiting_bytes += size
        return head

    @staticmethod
    def _is_due(head: _Head) -> bool:
        """Whether a stretch has grown enough to be looked at again."""
        if (len(head.data) - head.asked_at) * SEARCH_AGAIN < len(head.data):
            return False
        head.asked_at = len(head.data)
        return True

    @staticmethod
    def _shown(spec: FollowerSpec, head: _Head) -> bool | None:
        shown = spec.begins_stream(head.data, head.missing) if head.from_beginning else spec.goes_on_stream(head.data) or None
        return False if shown is None and len(head.data) >= HEAD_LIMIT_BYTES else shown

    def forget(self, waiting: Waiting) -> None:
        """Lets go of what waited."""
        self._waiting_bytes -= waiting.size
        waiting.chunks.clear()
        waiting.heads.clear()
        waiting.size = 0
