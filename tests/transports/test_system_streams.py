"""TCP of the operating system, on loopback."""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable

import pytest
from system_support import LOOPBACK, LOOPBACK6, soon, stack

from vpnprobe.transports.stack import Address, ConnectError, ConnectFailure, Endpoint, PortUnavailable, TcpStream
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.system.addresses import has_ipv6
from vpnprobe.transports.system.streams import BUFFERED_BYTES, SocketStream, failure_of

ADDRESSES = [LOOPBACK, pytest.param(LOOPBACK6, marks=pytest.mark.skipif(not has_ipv6(), reason="needs IPv6"))]


async def pair(address: Address = LOOPBACK) -> tuple[SocketStream, TcpStream, Callable[[], None]]:
    """A client stream, the server's stream of the same connection, and what closes the listener."""
    host = SystemStack()
    accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
    listener = await host.listen(accepted.put_nowait, port=0)
    client = await host.connect(Endpoint(address, listener.local.port), deadline_s=2)
    return client, await soon(accepted.get()), listener.close


@pytest.mark.parametrize("address", ADDRESSES)
def test_bytes_go_both_ways_and_the_end_is_seen(address: Address) -> None:
    async def main() -> None:
        client, server, close = await pair(address)
        assert (client.local, client.remote) == (server.remote, server.local)
        await client.send(b"to the server")
        assert await soon(server.receive()) == b"to the server"
        await server.send(b"to the client")
        assert await soon(client.receive(6)) == b"to the"
        assert await soon(client.receive()) == b" client"
        await server.close()
        assert await soon(client.receive()) == b""
        await client.close()
        close()

    asyncio.run(main())


def test_the_local_endpoint_is_told_before_the_first_segment() -> None:
    async def main() -> None:
        host = stack()
        bound: list[Endpoint] = []
        accepted: list[TcpStream] = []

        def on_bound(local: Endpoint) -> None:
            assert not accepted
            bound.append(local)

        listener = await SystemStack().listen(accepted.append, port=0, address=LOOPBACK)
        stream = await host.connect(Endpoint(LOOPBACK, listener.local.port), deadline_s=2, on_bound=on_bound)
        assert bound == [stream.local]
        stream.abort()
        listener.close()

    asyncio.run(main())


def test_what_arrived_before_a_reset_is_delivered_first() -> None:
    async def main() -> None:
        client, server, close = await pair()
        await server.send(b"last words")
        server.abort()
        assert await soon(client.receive()) == b"last words"
        with pytest.raises(ConnectError) as caught:
            await soon(client.receive())
        assert caught.value.failure is ConnectFailure.RESET
        with pytest.raises(ConnectError):
            await client.send(b"anybody?")
        await client.close()
        close()

    asyncio.run(main())


def test_half_closed_by_the_peer_still_takes_data() -> None:
    async def main() -> bytes:
        host = stack()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            stream = await host.connect(Endpoint(LOOPBACK, listening.getsockname()[1]), deadline_s=2)
            peer, _ = listening.accept()
        with peer:
            peer.shutdown(socket.SHUT_WR)
            assert await soon(stream.receive()) == b""
            await stream.send(b"still here")
            await stream.close()
            return peer.recv(100)

    assert asyncio.run(main()) == b"still here"


def test_a_peer_that_never_stops_talking_is_not_read_beyond_the_buffer() -> None:
    async def main() -> int:
        client, server, close = await pair()
        sending = asyncio.ensure_future(server.send(bytes(32 << 20)))
        assert len(await soon(client.receive(1))) == 1
        while not client._stream._paused:
            await asyncio.sleep(0)  # gives the loop its turn
        held = len(client._stream._buffer)
        received = 1
        while received < 32 << 20:
            received += len(await soon(client.receive(1 << 20)))
        await soon(sending)
        await client.close()
        await server.close()
        close()
        return held

    assert BUFFERED_BYTES < asyncio.run(main()) <= 2 * BUFFERED_BYTES + 256 * 1024


def test_refused_and_unanswered_are_told_apart() -> None:
    async def main() -> None:
        host = stack()
        # A full backlog drops further SYNs: silence, as from a filter.
        with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
            with pytest.raises(ConnectError) as refused:
                await host.connect(Endpoint(LOOPBACK, port), deadline_s=2)
            assert refused.value.failure is ConnectFailure.REFUSED
            listening.listen(0)
            for waiting in (first, second):
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
            with pytest.raises(ConnectError) as silent:
                await host.connect(Endpoint(LOOPBACK, port), deadline_s=0.1)
            assert silent.value.failure is ConnectFailure.TIMED_OUT

    asyncio.run(main())


def test_no_route_is_unreachable() -> None:
    async def main() -> None:
        with pytest.raises(ConnectError) as caught:
            await stack().connect(Endpoint(LOOPBACK6.__class__("fe80::1%nowhere"), 9), deadline_s=1)
        assert caught.value.failure is ConnectFailure.UNREACHABLE

    asyncio.run(main())


def test_a_listening_port_in_use_says_so() -> None:
    async def main() -> None:
        host = SystemStack()
        first = await host.listen(lambda stream: None, port=0)
        with pytest.raises(PortUnavailable) as caught:
            await host.listen(lambda stream: None, port=first.local.port)
        assert caught.value.in_use
        first.close()
        (await host.listen(lambda stream: None, port=first.local.port)).close()

    asyncio.run(main())


def test_segments_count_data_and_the_syn() -> None:
    async def main() -> tuple[tuple[int, int] | None, tuple[int, int] | None, tuple[int, int] | None]:
        client, server, close = await pair()
        before = client.segments()
        for _ in range(3):
            await client.send(b"x")
            await soon(server.receive())
        after = client.segments()
        await client.close()
        await server.close()
        close()
        return before, after, client.segments()

    before, after, closed = asyncio.run(main())
    assert before == (1, 0)
    assert after == (4, 0)
    assert closed == (4, 0)


def test_the_segment_size_is_clamped_both_ways() -> None:
    async def main() -> tuple[int, int]:
        host = SystemStack()
        accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
        listener = await host.listen(accepted.put_nowait, port=0, segment_bytes=536)
        client = await host.connect(Endpoint(LOOPBACK, listener.local.port), deadline_s=2)
        server = await soon(accepted.get())
        assert isinstance(server, SocketStream)
        largest = tuple(stream._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) for stream in (client, server))
        client.abort()
        server.abort()
        listener.close()
        return largest[0], largest[1]

    assert all(size <= 536 for size in asyncio.run(main()))


def test_abort_sends_a_reset() -> None:
    async def main() -> None:
        host = stack()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            stream = await host.connect(Endpoint(LOOPBACK, listening.getsockname()[1]), deadline_s=2)
            peer, _ = listening.accept()
        with peer:
            peer.settimeout(2)
            stream.abort()
            await asyncio.to_thread(_expect_reset, peer)

    asyncio.run(main())


def _expect_reset(peer: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        peer.recv(1)


def test_an_accepted_client_that_has_reset_already_harms_nobody() -> None:
    async def main() -> None:
        host = SystemStack()
        accepted: asyncio.Queue[TcpStream] = asyncio.Queue()
        listener = await host.listen(accepted.put_nowait, port=0)
        with socket.create_connection(("127.0.0.1", listener.local.port)) as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
        polite = await host.connect(Endpoint(LOOPBACK, listener.local.port), deadline_s=2)
        streams = [await soon(accepted.get())]
        while streams[-1].remote != polite.local:
            streams.append(await soon(accepted.get()))
        for stream in (*streams, polite):
            await stream.close()
        listener.close()

    asyncio.run(main())


def test_a_listener_that_closes_as_it_accepts_leaves_no_connection_behind() -> None:
    async def main() -> None:
        listener = await SystemStack().listen(lambda _: None, port=0)
        with socket.create_connection(("127.0.0.1", listener.local.port)) as client:
            for listening in listener._sockets:
                listener._accept(listening)
            listener.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            client.settimeout(2)
            assert await asyncio.to_thread(client.recv, 1) == b""

    asyncio.run(main())


@pytest.mark.parametrize(
    ("exc", "failure"),
    [
        (ConnectionRefusedError(), ConnectFailure.REFUSED),
        (TimeoutError(), ConnectFailure.TIMED_OUT),
        (OSError(errno.ETIMEDOUT, ""), ConnectFailure.TIMED_OUT),
        (OSError(errno.EHOSTUNREACH, ""), ConnectFailure.UNREACHABLE),
        (OSError(errno.ENETUNREACH, ""), ConnectFailure.UNREACHABLE),
        (OSError(errno.EACCES, ""), ConnectFailure.UNREACHABLE),
        (ConnectionResetError(), ConnectFailure.RESET),
        (BrokenPipeError(), ConnectFailure.RESET),
        (None, ConnectFailure.RESET),
    ],
)
def test_what_errors_say_about_the_network(exc: BaseException | None, failure: ConnectFailure) -> None:
    assert failure_of(exc) is failure
