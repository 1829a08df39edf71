"""Bytes of an input that may be a file, a pipe or a device, plain or compressed, read forward and in bounded pieces.

Nothing is believed about the size of an input. A pipe that stays silent is given up (`capture.pipes`), gzip (RFC 1952) and zstd (RFC 8878)
are taken off as a stream, and what is not a plain file ends at `LIMIT_BYTES`: a small file may unpack to an endless one.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from vpnprobe.capture.pipes import Pipe, unreadable
from vpnprobe.errors import DecodeError

HEAD_BYTES: Final = 4096
"""How much is looked at to recognise a format."""
CHUNK_BYTES: Final = 1 << 16
LIMIT_BYTES: Final = 4 << 30
"""Most bytes taken from a pipe, a device or a compressed file."""

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
ZSTD_WINDOW_BYTES: Final = 1 << 27
"""The most that a frame may ask to look back: what the program zstd takes too."""
ZSTD_PIECE_BYTES: Final = 1 << 10
"""Compressed bytes taken at once. A block of 4 bytes unpacks to 128 KiB at most (RFC 8878 section 3.1.1.2), so a piece to 32 MiB."""


class _Reads(Protocol):
    def read(self, count: int, /) -> bytes: ...


class _Gunzip:
    """A gzip stream of one or several members; ends with DecodeError where the compressed data is damaged or cut off."""

    def __init__(self, compressed: _Reads) -> None:
        self._compressed = compressed
        self._inflate = zlib.decompressobj(wbits=31)
        self._waiting = b""
        self._taken = 0

    def read(self, count: int, /) -> bytes:
        while True:
            waiting = self._waiting
            if not waiting:
                waiting = self._compressed.read(CHUNK_BYTES)
                self._taken += len(waiting)
            if not waiting:
                if not self._inflate.eof:
                    raise DecodeError("gzip stream", self._taken, "ends early")
                return b""
            if self._inflate.eof:
                if not waiting.startswith(GZIP_MAGIC[:1]):
                    return b""  # RFC 1952 members may be followed by padding
                self._inflate = zlib.decompressobj(wbits=31)
            try:
                data = self._inflate.decompress(waiting, count)
            except zlib.error as error:
                raise DecodeError("gzip stream", self._taken, "is damaged") from error
            self._waiting = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if data:
                return data


class _Unzstd:
    """A zstd stream of one or several frames; ends with DecodeError where the compressed data is damaged or cut off.

    Raises ImportError where the package `zstandard` is not installed.
    """

    def __init__(self, compressed: _Reads) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
        self._frame = self._decompressor.decompressobj()
        self._compressed = compressed
        self._waiting = b""
        self._taken = 0

    def read(self, _count: int, /) -> bytes:
        """What the next piece unpacks to: it may be more than was asked for, and is empty only at the end."""
        while True:
            waiting = self._waiting
            if not waiting:
                waiting = self._compressed.read(ZSTD_PIECE_BYTES)
                self._taken += len(waiting)
            if not waiting:
                if not self._frame.eof:
                    raise DecodeError("zstd stream", self._taken, "ends early")
                return b""
            if self._frame.eof:
                self._frame = self._decompressor.decompressobj()
            try:
                data = self._frame.decompress(waiting)
            except self._error as error:
                raise DecodeError("zstd stream", self._taken, "is damaged") from error
            self._waiting = self._frame.unused_data
            if data:
                return data


class _Prefixed:
    """Bytes that were read already, and what comes behind them."""

    def __init__(self, first: bytes, rest: _Reads, failure: DecodeError | None) -> None:
        self._first = first
        self._rest = rest
        self._failure = failure

    def read(self, count: int, /) -> bytes:
        if self._first:
            data, self._first = self._first[:count], self._first[count:]
            return data
        if self._failure is not None:
            raise self._failure
        return self._rest.read(count)


class Source:
    """An opened input. `head` is the first bytes, uncompressed; `take` and `skip` go forward from the start."""

    def __init__(self, path: Path) -> None:
        """Opens `path`. Raises UsageError, status UNREADABLE, where that cannot be done."""
        self.path = path
        self.compression: str | None = None
        """`gzip` or `zstd`; None: neither."""
        self.offset = 0
        """Bytes given out so far, uncompressed."""
        self._close: list[Callable[[], None]] = []
        try:
            pipe = Pipe(path)
            self._close.append(pipe.close)
            self._bounded = pipe.is_file
            self._reads: _Reads = pipe
            self._buffer, self._at = b"", 0
            self.failure: DecodeError | None = None
            """Why nothing more can be read behind what is ready; None: it can, or it is the end."""
            self._unpack()
            self.head = self._read_head()
        except OSError as error:
            self.close()
            raise unreadable(path, f"cannot be opened: {(error.strerror or str(error)).lower()}") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        while self._close:
            self._close.pop()()

    def take(self, count: int, field: str) -> bytes:
        """Exactly `count` bytes. Raises DecodeError with the file offset where fewer are left."""
        data = self.take_up_to(count)
        if len(data) < count:
            raise self.failure or DecodeError(field, self.offset - len(data), f"needs {count} bytes, {len(data)} are left")
        return data

    def take_up_to(self, count: int) -> bytes:
        """At most `count` bytes, fewer only at the end of what can be read. Raises DecodeError where damage leaves nothing more."""
        if self.offset + count > LIMIT_BYTES and not self._bounded:
            raise DecodeError("input", self.offset, f"is longer than {LIMIT_BYTES >> 30} GiB; cut it with editcap and analyse the part")
        if len(self._buffer) - self._at < count:
            self._fill(count)
        data = self._buffer[self._at : self._at + count]
        if not data and count and self.failure is not None:
            raise self.failure
        self._at += len(data)
        self.offset += len(data)
        return data

    def _fill(self, count: int) -> None:
        """Makes `count` bytes ready, or as many as can be read; a failure is kept for whoever needs more."""
        pieces = [self._buffer[self._at :]]
        ready = len(pieces[0])
        while ready < count and self.failure is None:
            try:
                more = self._reads.read(max(CHUNK_BYTES, count - ready))
            except DecodeError as failure:
                self.failure = failure
                break
            if not more:
                break
            pieces.append(more)
            ready += len(more)
        self._buffer, self._at = b"".join(pieces), 0

    def skip(self, count: int, field: str) -> None:
        """Passes over `count` bytes in pieces."""
        while count > 0:
            count -= len(self.take(min(count, CHUNK_BYTES), field))

    def _unpack(self) -> None:
        """Takes compression off, where the first bytes show it."""
        self._fill(len(ZSTD_MAGIC))
        whole = _Prefixed(self._buffer, self._reads, self.failure)
        magic = self._buffer
        if magic.startswith(GZIP_MAGIC):
            self.compression, self._reads = "gzip", _Gunzip(whole)
        elif magic.startswith(ZSTD_MAGIC):
            self.compression, self._reads = "zstd", self._zstd(whole)
        else:
            return
        self._bounded, self._buffer, self.failure = False, b"", None

    def _zstd(self, compressed: _Reads) -> _Reads:
        try:
            return _Unzstd(compressed)
        except ImportError as error:
            raise unreadable(
                self.path, "is zstd-compressed, and reading that needs the Python package zstandard: pip install 'vpnprobe[zstd]'"
            ) from error

    def _read_head(self) -> bytes:
        self._fill(HEAD_BYTES)
        return self._buffer[:HEAD_BYTES]
