"""TCP of the operating system: connecting, accepting, and byte streams, which TLS rides on too.

Invariants: what arrived before a reset is delivered before the reset is reported; what ends a connection is one of `ConnectFailure`; a
refusal by ICMP is told from one by RST (RFC 9293 section 3.10.7.3) where the system keeps an error queue for TCP (Linux 5.9).
"""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Final

from vpnprobe.transports.stack import Address, ConnectError, ConnectFailure, Endpoint, OnConnection, PortUnavailable
from vpnprobe.transports.system import linux
from vpnprobe.transports.system.addresses import FAMILIES, from_socket, to_socket
from vpnprobe.transports.system.sockets import bound_sockets

if TYPE_CHECKING:
    import ssl  # Small builds of Python come without it, and only TLS needs it.

BUFFERED_BYTES: Final = 256 * 1024
"""Unread bytes at which reading pauses: a peer that never stops talking must not fill the memory."""
CLOSING_S: Final = 2.0
"""Seconds that a polite close may take; then RST."""
_BACKLOG: Final = 128
_OUT_OF_SOCKETS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_PAUSE_S: Final = 0.5
"""Seconds without accepting once sockets have run out."""
_UNREACHABLE: Final = frozenset(
    (
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EACCES,
        errno.EPERM,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,
        errno.EINVAL,
    )
)
"""What ICMP errors, a missing route and addresses that nobody can have turn into."""


def failure_of(exc: BaseException | None) -> ConnectFailure:
    """What an exception of a connection says about the network."""
    match exc:
        case ConnectionRefusedError():
            return ConnectFailure.REFUSED
        case TimeoutError():
            return ConnectFailure.TIMED_OUT
        case OSError(errno=errno.ETIMEDOUT):
            return ConnectFailure.TIMED_OUT
        case OSError() if exc.errno in _UNREACHABLE:
            return ConnectFailure.UNREACHABLE
        case _:
            return ConnectFailure.RESET


class ByteStream(asyncio.Protocol):
    """The receiving end of an asyncio transport as a buffer to read from. Plain or encrypted, as the transport is."""

    def __init__(self, *, encrypted: bool = False) -> None:
        self.on_lost: Callable[[], None] | None = None
        """Called once, when the connection has ended for both directions."""
        self._encrypted = encrypted
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._ended = False
        self._lost = False
        self._failure: ConnectFailure | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > BUFFERED_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._readable.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._readable.set()
        return not self._encrypted  # A plain stream can still be written to; TLS 1.3 over asyncio cannot.

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._lost = True
        if exc is not None:
            self._failure = failure_of(exc)
        for event in (self._readable, self._writable, self._gone):
            event.set()
        if self.on_lost is not None:
            self.on_lost()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def write(self, data: bytes) -> None:
        if not self._lost and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> ConnectFailure | None:
        """Waits until the transport takes more; what has ended the connection, or None while it lives."""
        await self._writable.wait()
        if self._lost or self._transport is None or self._transport.is_closing():
            return self._failure or ConnectFailure.RESET
        return None

    async def chunk(self, limit: int) -> bytes | ConnectFailure:
        """The next bytes; empty at the end; the failure once all that came before it has been read."""
        while not self._buffer and not self._ended:
            self._readable.clear()
            await self._readable.wait()
        if not self._buffer:
            return self._failure or b""
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        if self._paused and len(self._buffer) <= BUFFERED_BYTES // 2 and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def close(self) -> None:
        if self._transport is None:
            return
        self._transport.close()
        try:
            await asyncio.wait_for(self._gone.wait(), CLOSING_S)
        except TimeoutError:
            self._transport.abort()
            await self._gone.wait()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class SocketStream:
    """A `TcpStream` over a socket of this host."""

    def __init__(self, sock: socket.socket, stream: ByteStream, *, local: Endpoint, remote: Endpoint) -> None:
        self._sock = sock
        self._stream = stream
        self._local = local
        self._remote = remote
        self._last_segments: tuple[int, int] | None = None

    @property
    def local(self) -> Endpoint:
        return self._local

    @property
    def remote(self) -> Endpoint:
        return self._remote

    async def send(self, data: bytes) -> None:
        self._stream.write(data)
        failure = await self._stream.drained()
        if failure is not None:
            raise ConnectError(failure, self._remote)

    async def receive(self, limit: int = 65536) -> bytes:
        chunk = await self._stream.chunk(limit)
        if isinstance(chunk, ConnectFailure):
            raise ConnectError(chunk, self._remote)
        return chunk

    def segments(self) -> tuple[int, int] | None:
        """Of a closed stream: as it was when `close` or `abort` was called."""
        if self._sock.fileno() >= 0:
            self._last_segments = linux.segments_sent(self._sock) or self._last_segments
        return self._last_segments

    async def close(self) -> None:
        self.segments()
        await self._stream.close()

    def abort(self) -> None:
        self.segments()
        if self._sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
        self._stream.abort()


def prepare(sock: socket.socket, segment_bytes: int | None) -> None:
    """Sets what has to be set before connecting or listening. `segment_bytes`: the largest TCP segment, both ways; None: the system's."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if segment_bytes is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment_bytes)


def _watch_icmp(sock: socket.socket, version: int, *, on: bool) -> None:
    if linux.IS_LINUX:
        level, option = (linux.SOL_IP, linux.IP_RECVERR) if version == 4 else (linux.SOL_IPV6, linux.IPV6_RECVERR)
        sock.setsockopt(level, option, int(on))


def _refused_by_icmp(sock: socket.socket) -> bool:
    """Whether an ICMP error, and no RST, ended the attempt. Some of them (port unreachable) look like a RST otherwise."""
    if not linux.IS_LINUX:
        return False
    try:
        ancillary = sock.recvmsg(64, 512, linux.MSG_ERRQUEUE)[1]
    except OSError:
        return False
    error = linux.extended_error(ancillary)
    return error is not None and error.from_network


async def connected_socket(
    remote: Endpoint,
    *,
    source: Address,
    deadline_s: float,
    on_bound: Callable[[Endpoint], None] | None = None,
    segment_bytes: int | None = None,
) -> socket.socket:
    """A connected, non-blocking socket. Raises ConnectError."""
    version = remote.address.version
    sock = socket.socket(FAMILIES[version], socket.SOCK_STREAM)
    try:
        prepare(sock, segment_bytes)
        _watch_icmp(sock, version, on=True)
        sock.bind(to_socket(Endpoint(source, 0)))
        if on_bound is not None:
            on_bound(from_socket(sock.getsockname()))
        async with asyncio.timeout(deadline_s):
            await asyncio.get_running_loop().sock_connect(sock, to_socket(remote))
        # On a connection that is up, ICMP errors stay soft (RFC 5461): TCP sends again.
        _watch_icmp(sock, version, on=False)
    except OSError as exc:
        failure = ConnectFailure.UNREACHABLE if _refused_by_icmp(sock) else failure_of(exc)
        sock.close()
        raise ConnectError(failure, remote) from exc
    except BaseException:
        sock.close()
        raise
    return sock


async def connect_stream(
    remote: Endpoint,
    *,
    source: Address,
    deadline_s: float,
    on_bound: Callable[[Endpoint], None] | None,
    segment_bytes: int | None,
) -> SocketStream:
    """Raises ConnectError."""
    sock = await connected_socket(remote, source=source, deadline_s=deadline_s, on_bound=on_bound, segment_bytes=segment_bytes)
    local = from_socket(sock.getsockname())
    _, stream = await asyncio.get_running_loop().create_connection(ByteStream, sock=sock)
    return SocketStream(sock, stream, local=local, remote=remote)


async def accepted_stream(
    sock: socket.socket, *, tls: "ssl.SSLContext | None" = None, handshake_deadline_s: float | None = None
) -> ByteStream | None:
    """The stream on an accepted socket; None (and the socket closed) where the connection, or the TLS handshake on it, came to nothing."""
    loop = asyncio.get_running_loop()
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, stream = await loop.connect_accepted_socket(
            lambda: ByteStream(encrypted=tls is not None), sock, ssl=tls, ssl_handshake_timeout=handshake_deadline_s
        )
    except OSError:
        sock.close()
        return None
    except BaseException:
        sock.close()
        raise
    return stream


class Listener:
    """Accepts on one or more bound sockets until closed, and hands each connection to a coroutine of its own, which owns the socket then.

    Raises PortUnavailable.
    """

    def __init__(self, sockets: list[socket.socket], welcome: Callable[[socket.socket, Endpoint], Coroutine[None, None, None]]) -> None:
        self._sockets = sockets
        self._welcome = welcome
        self._loop = asyncio.get_running_loop()
        self._sockets_of: dict[asyncio.Task[None], socket.socket] = {}
        """By the task that welcomes it: an accepted connection."""
        self._resume: dict[socket.socket, asyncio.TimerHandle] = {}
        self._local = from_socket(sockets[0].getsockname())
        self._listen()

    @property
    def local(self) -> Endpoint:
        return self._local

    def _listen(self) -> None:
        for sock in self._sockets:
            try:
                sock.listen(_BACKLOG)
            except OSError as exc:  # With SO_REUSEADDR, bind alone does not see another listener that came in between.
                self.close()
                raise PortUnavailable(self._local.port, in_use=exc.errno == errno.EADDRINUSE) from exc
            self._loop.add_reader(sock, self._accept, sock)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_BACKLOG):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                if exc.errno in _OUT_OF_SOCKETS:
                    return self._pause(listening)
                continue  # That client had gone before it was accepted.
            task = self._loop.create_task(self._welcome(sock, from_socket(address)))
            self._sockets_of[task] = sock
            task.add_done_callback(self._welcomed)

    def _welcomed(self, task: "asyncio.Task[None]") -> None:
        sock = self._sockets_of.pop(task)
        if task.cancelled():
            sock.close()  # One that is cancelled before it ran has not closed it.

    def _pause(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening)
        self._resume[listening] = self._loop.call_later(_PAUSE_S, self._loop.add_reader, listening, self._accept, listening)

    def close(self) -> None:
        """Stops accepting; connections that were handed over live on."""
        for timer in self._resume.values():
            timer.cancel()
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        for task in self._sockets_of:
            task.cancel()


def listening_sockets(*, port: int, address: Address | None, segment_bytes: int | None) -> list[socket.socket]:
    """Bound and prepared, not yet listening. Raises PortUnavailable."""
    sockets = list(bound_sockets(socket.SOCK_STREAM, port=port, address=address, reuse=True).values())
    for sock in sockets:
        prepare(sock, segment_bytes)
    return sockets


def listen_plain(on_connection: OnConnection, *, port: int, address: Address | None, segment_bytes: int | None) -> Listener:
    """Raises PortUnavailable."""

    async def welcome(sock: socket.socket, remote: Endpoint) -> None:
        stream = await accepted_stream(sock)
        if stream is not None:
            on_connection(SocketStream(sock, stream, local=from_socket(sock.getsockname()), remote=remote))

    return Listener(listening_sockets(port=port, address=address, segment_bytes=segment_bytes), welcome)
