"""Bytes of an input that may be a file, a pipe or a device, plain or compressed, read forward and in bounded pieces.

Nothing is believed about the size of an input. A pipe that stays silent is given up, gzip (RFC 1952) and zstd (RFC 8878) are taken off as
a stream, and what is not a plain file ends at `LIMIT_BYTES`: a small file may unpack to an endless one.
"""

import io
import os
import select
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from vpnprobe.errors import DecodeError, ExitStatus, UsageError

HEAD_BYTES: Final = 4096
"""How much is looked at to recognise a format."""
CHUNK_BYTES: Final = 1 << 16
LIMIT_BYTES: Final = 4 << 30
"""Most bytes taken from a pipe, a device or a compressed file."""
SILENCE_S: Final = 5.0
"""How long a pipe may stay silent before its first byte."""

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
            self._file, self._bounded = self._open()
            magic = self._file.peek(4)[:4]
            self._reads = self._unpacked(magic)
            self._buffer, self._at = b"", 0
            self._failure: DecodeError | None = None
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
            raise self._failure or DecodeError(field, self.offset - len(data), f"needs {count} bytes, {len(data)} are left")
        return data

    def take_up_to(self, count: int) -> bytes:
        """At most `count` bytes, fewer only at the end of what can be read."""
        if self.offset + count > LIMIT_BYTES and not self._bounded:
            raise DecodeError("input", self.offset, f"is longer than {LIMIT_BYTES >> 30} GiB; cut it with editcap and analyse the part")
        if len(self._buffer) - self._at < count:
            self._fill(count)
        data = self._buffer[self._at : self._at + count]
        self._at += len(data)
        self.offset += len(data)
        return data

    def _fill(self, count: int) -> None:
        """Makes `count` bytes ready, or as many as can be read; a failure is kept for whoever needs more."""
        pieces = [self._buffer[self._at :]]
        ready = len(pieces[0])
        while ready < count and self._failure is None:
            try:
                more = self._reads.read(max(CHUNK_BYTES, count - ready))
            except DecodeError as failure:
                self._failure = failure
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

    def _open(self) -> tuple[io.BufferedReader, bool]:
        mode = os.stat(self.path).st_mode
        if stat.S_ISDIR(mode):
            raise unreadable(self.path, "is a folder")
        if stat.S_ISSOCK(mode):
            raise unreadable(self.path, "is a socket, not a capture")
        # A pipe that nobody writes to would block the opening itself.
        descriptor = os.open(self.path, os.O_RDONLY | (os.O_NONBLOCK if stat.S_ISFIFO(mode) else 0))
        file = os.fdopen(descriptor, "rb")
        self._close.append(file.close)
        if not stat.S_ISREG(mode):
            readable, _, _ = select.select([descriptor], [], [], SILENCE_S)
            if not readable:
                raise unreadable(self.path, f"gave nothing in {SILENCE_S:.0f} s")
            os.set_blocking(descriptor, True)
        return file, stat.S_ISREG(mode)

    def _unpacked(self, magic: bytes) -> _Reads:
        if magic.startswith(GZIP_MAGIC):
            self.compression, self._bounded = "gzip", False
            return _Gunzip(self._file)
        if magic.startswith(ZSTD_MAGIC):
            self.compression, self._bounded = "zstd", False
            return self._zstd()
        return self._file

    def _zstd(self) -> _Reads:
        try:
            return _Unzstd(self._file)
        except ImportError as error:
            raise unreadable(
                self.path, "is zstd-compressed, and reading that needs the Python package zstandard: pip install 'vpnprobe[zstd]'"
            ) from error

    def _read_head(self) -> bytes:
        head = self.take_up_to(HEAD_BYTES)
        self._at, self.offset = 0, 0
        return head


def unreadable(path: Path | str, problem: str) -> UsageError:
    """The error of an input that is not what it should be: one line, status UNREADABLE."""
    return UsageError(f"{path}: {problem}", status=ExitStatus.UNREADABLE)
