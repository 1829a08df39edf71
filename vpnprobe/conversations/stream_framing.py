"""One direction of a TCP stream cut into a protocol's own messages: the one framing loop of every protocol that has such a stream.

A live end gives the chunks of its socket, a watcher those of `vpnprobe.conversations.tcp_reassembly`, of which parts may not have been
seen. Each message begins with its length; how it is read is the protocol's, which gives the function that splits the front of a buffer.

A stream that cannot be cut is `broken`, and the rest of it is ignored. A watcher who has not seen a part of it may only have lost the
place: then reading goes on with the first chunk that begins like a message, or where messages are found to follow each other, whatever
segments they come in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vpnprobe.errors import DecodeError

LENGTH_BYTES: Final = 2
"""Of the length that every message begins with."""
FILLED_BYTES: Final = 1 << 16
"""Longest part of one message that may not have been seen."""
SEARCHED_BYTES: Final = 1 << 13
"""Most bytes in which a message is looked for at once."""
SEARCH_AGAIN: Final = 64
"""A stretch is searched again once it has grown by one part in so many, so that tiny segments take no more time than their bytes do."""


@dataclass(frozen=True, slots=True)
class Delimiting:
    """How a protocol's messages follow each other in a stream."""

    split: Callable[[bytes], tuple[list[bytes], bytes]]
    """The whole messages at the front of a buffer, and what is left of it.

    Raises DecodeError where the buffer begins with what cannot be cut; trouble behind whole messages is left in the rest.
    """
    begins: Callable[[bytes], bool]
    """Whether a chunk begins like a message, so that it need not be searched for one. Zeros stand for what was cut off it."""
    find: Callable[[bytes], tuple[bool, int]]
    """Looks for a message in a stretch of the stream that may begin within one.

    Whether one is found, and where; if none is yet, from where on one may still be once more bytes are there. It never raises.
    """
    head_bytes: int
    """Bytes at the front of a message without which it says nothing: one of which fewer were seen is left out."""


class StreamFraming:
    """One direction."""

    def __init__(self, delimiting: Delimiting) -> None:
        self.broken: DecodeError | None = None
        """Why the stream cannot be cut any further; None: it can, or the place was only lost."""
        self._delimiting = delimiting
        self._rest = b""
        """The message that has begun."""
        self._seen = 0
        """Bytes at the front of `_rest` before the first one that was not seen."""
        self._watched = False
        """A part of the stream was not seen, as only happens to a watcher."""
        self._lost = False
        """Where the next message begins is not known."""
        self._stretch = b""
        """What is searched for the next message then."""
        self._unsearched = 0
        """Bytes of it that came since it was searched."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the message that has begun."""
        return len(self._rest)

    def take(self, chunk: bytes, *, gap: int = 0, missing: int = 0) -> list[bytes]:
        """The messages that a chunk completes, in their order.

        `gap`, `missing`: bytes before and behind the chunk that were not seen, as in `tcp_reassembly.Chunk`; there are none for a live end.
        Zeros stand in their place where they lie within one message, so that the message behind it is found. A message whose head was
        seen is given out with such zeros.
        """
        messages = self._unseen(gap) if gap else []
        if self._lost:
            chunk = self._found(chunk, missing)
        if not self._lost and self.broken is None:
            messages += self._of_chunk(chunk)
        return messages + self._unseen(missing) if missing else messages

    def _found(self, chunk: bytes, missing: int) -> bytes:
        """The stream from the next message on, if the chunk shows where that begins."""
        if self._delimiting.begins(chunk + bytes(min(missing, FILLED_BYTES))):
            self._lost, self._stretch = False, b""
            return chunk
        self._stretch += chunk
        self._unsearched += len(chunk)
        if self._unsearched * SEARCH_AGAIN < len(self._stretch):
            return b""
        found, at = self._delimiting.find(self._stretch)
        self._unsearched = 0
        if found:
            self._lost, behind, self._stretch = False, self._stretch[at:], b""
            return behind
        self._stretch = self._stretch[max(at, len(self._stretch) - SEARCHED_BYTES) :]
        return b""

    def _of_chunk(self, chunk: bytes) -> list[bytes]:
        whole = self._seen == len(self._rest)
        counts = whole or self._seen >= self._delimiting.head_bytes
        messages: list[bytes] = []
        buffer = self._rest + chunk
        try:
            while (split := self._delimiting.split(buffer))[0]:
                found, buffer = split
                messages += found if counts else found[1:]
                counts = whole = True
        except DecodeError as error:
            self.broken = None if self._watched else error
            self._lose_place()
            return messages
        self._rest = buffer
        if whole:
            self._seen = len(buffer)
        return messages

    def _unseen(self, count: int) -> list[bytes]:
        """The message, if any, that ends in `count` bytes which were not seen."""
        self._watched, self.broken, self._stretch = True, None, b""
        if self._seen < LENGTH_BYTES:
            self._lose_place()
            return []
        try:
            found, rest = self._delimiting.split(self._rest + bytes(min(count, FILLED_BYTES)))
        except DecodeError:
            self._lose_place()
            return []
        counts = self._seen >= self._delimiting.head_bytes
        if found and rest:
            self._lose_place()  # The message behind it begins in what was not seen.
        elif found:
            self._rest, self._seen = b"", 0
        else:
            self._rest = rest
        return found if counts else []

    def _lose_place(self) -> None:
        self._rest, self._seen, self._lost, self._stretch = b"", 0, True, b""
