"""The encrypted control stream on loopback: the pinned certificate, strangers, and what else may listen there."""

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest
from system_support import LOOPBACK, soon

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.transports import tls
from vpnprobe.transports.stack import ConnectError, ConnectFailure, Endpoint, PortUnavailable, TcpStream
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.tls import (
    Certificate,
    TlsListener,
    TlsStream,
    client_context,
    connect_tls,
    fingerprint_of,
    listen_tls,
    make_certificate,
    server_context,
)


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return make_certificate()


@pytest.fixture
def context(certificate: Certificate, tmp_path: Path) -> ssl.SSLContext:
    path = tmp_path / "server.pem"
    path.write_bytes(certificate.key_pem + certificate.certificate_pem)
    return server_context(path)


async def connected(listener: TlsListener, fingerprint: str) -> TlsStream:
    return await connect_tls(listener.local._replace(address=LOOPBACK), fingerprint, source=LOOPBACK, deadline_s=5)


def test_bytes_go_both_ways(context: ssl.SSLContext, certificate: Certificate) -> None:
    async def main() -> None:
        accepted: asyncio.Queue[TlsStream] = asyncio.Queue()
        listener = await listen_tls(accepted.put_nowait, port=0, context=context)
        client: TcpStream = await connected(listener, certificate.fingerprint)
        server: TcpStream = await soon(accepted.get())
        assert (client.local, client.remote) == (server.remote, server.local)
        await client.send(b"proof")
        assert await soon(server.receive()) == b"proof"
        await server.send(bytes(100_000))
        received = 0
        while received < 100_000:
            received += len(await soon(client.receive()))
        segments = client.segments()
        assert segments is not None
        assert segments[0] >= 3
        await server.close()
        assert await soon(client.receive()) == b""
        await client.close()
        listener.close()

    asyncio.run(main())


def test_another_certificate_is_refused(context: ssl.SSLContext) -> None:
    async def main() -> None:
        accepted: asyncio.Queue[TlsStream] = asyncio.Queue()
        listener = await listen_tls(accepted.put_nowait, port=0, context=context)
        with pytest.raises(CannotRun, match="not the one that the token names") as caught:
            await connected(listener, "0" * 64)
        assert caught.value.status is ExitStatus.NO_PEER
        server = await soon(accepted.get())
        with contextlib.suppress(ConnectError):
            assert await soon(server.receive()) == b""
        await server.close()
        listener.close()

    asyncio.run(main())


def test_a_server_that_speaks_no_tls_is_named(certificate: Certificate) -> None:
    async def main() -> None:
        async def greet(stream: TcpStream) -> None:
            await stream.send(b"SSH-2.0-OpenSSH_9.2\r\n")
            with contextlib.suppress(ConnectError):
                await stream.receive()
            await stream.close()

        tasks: list[asyncio.Task[None]] = []
        listener = await SystemStack().listen(lambda stream: tasks.append(asyncio.ensure_future(greet(stream))), port=0)
        with pytest.raises(CannotRun, match=r"does not speak TLS 1\.3"):
            await connect_tls(listener.local._replace(address=LOOPBACK), certificate.fingerprint, source=LOOPBACK, deadline_s=5)
        await soon(asyncio.gather(*tasks))
        listener.close()

    asyncio.run(main())


def test_older_tls_is_refused(context: ssl.SSLContext) -> None:
    async def main() -> None:
        listener = await listen_tls(lambda stream: None, port=0, context=context)
        old = client_context()
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("127.0.0.1", listener.local.port, ssl=old, server_hostname="vpnprobe")
        listener.close()

    asyncio.run(main())


def test_refused_silent_and_hung_up(certificate: Certificate) -> None:
    async def main() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            nobody = Endpoint(LOOPBACK, bound.getsockname()[1])
            with pytest.raises(ConnectError) as refused:
                await connect_tls(nobody, certificate.fingerprint, source=LOOPBACK, deadline_s=5)
            assert refused.value.failure is ConnectFailure.REFUSED
        with socket.create_server(("127.0.0.1", 0)) as mute:
            silent = Endpoint(LOOPBACK, mute.getsockname()[1])
            with pytest.raises(CannotRun, match="takes the connection and says nothing"):
                await connect_tls(silent, certificate.fingerprint, source=LOOPBACK, deadline_s=0.2)
        listener = await SystemStack().listen(lambda stream: stream.abort(), port=0)
        with pytest.raises(ConnectError) as reset:
            await connect_tls(listener.local._replace(address=LOOPBACK), certificate.fingerprint, source=LOOPBACK, deadline_s=5)
        assert reset.value.failure is ConnectFailure.RESET
        listener.close()

    asyncio.run(main())


def test_the_oldest_stranger_gives_way_and_admitted_peers_do_not(
    context: ssl.SSLContext, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "STRANGERS", 2)

    async def main() -> None:
        accepted: asyncio.Queue[TlsStream] = asyncio.Queue()
        listener = await listen_tls(accepted.put_nowait, port=0, context=context)
        clients, servers = [], []
        for _ in range(4):
            clients.append(await soon(connected(listener, certificate.fingerprint)))
            servers.append(await soon(accepted.get()))
            if len(servers) == 1:
                servers[0].admit()
                await asyncio.sleep(0)
        assert listener.strangers == 2
        # The second connection was the oldest stranger when the fourth came.
        assert await ended(clients[1])
        await clients[0].send(b"still here")
        assert await soon(servers[0].receive()) == b"still here"
        await clients[3].send(b"and so am I")
        assert await soon(servers[3].receive()) == b"and so am I"
        for stream in (*clients, *servers):
            await stream.close()
        listener.close()

    asyncio.run(main())


async def ended(stream: TlsStream) -> bool:
    """Whether the other end has closed the stream, with a reset or without."""
    try:
        return not await soon(stream.receive())
    except ConnectError:
        return True


def test_a_stranger_that_says_nothing_is_cut_off(context: ssl.SSLContext, certificate: Certificate) -> None:
    async def main() -> None:
        accepted: asyncio.Queue[TlsStream] = asyncio.Queue()
        listener = TlsListener(accepted.put_nowait, port=0, context=context, admission_deadline_s=0.05)
        client = await connected(listener, certificate.fingerprint)
        with contextlib.suppress(ConnectError):
            assert await soon(client.receive()) == b""
        await client.close()
        assert listener.strangers == 0
        assert accepted.qsize() == 1
        listener.close()

    asyncio.run(main())


def test_a_stranger_that_leaves_makes_room(context: ssl.SSLContext, certificate: Certificate) -> None:
    async def main() -> None:
        accepted: asyncio.Queue[TlsStream] = asyncio.Queue()
        listener = await listen_tls(accepted.put_nowait, port=0, context=context)
        with socket.create_connection(("127.0.0.1", listener.local.port)) as rude:
            rude.sendall(b"GET / HTTP/1.0\r\n\r\n")
            rude.settimeout(5)
            await asyncio.to_thread(_until_closed, rude)
        client = await connected(listener, certificate.fingerprint)
        server = await soon(accepted.get())
        assert listener.strangers == 1
        await client.close()
        await server.close()
        listener.close()

    asyncio.run(main())


def _until_closed(sock: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(1000):
            pass


def test_a_port_in_use_says_so(context: ssl.SSLContext) -> None:
    async def main() -> None:
        first = await listen_tls(lambda stream: None, port=0, context=context)
        with pytest.raises(PortUnavailable):
            await listen_tls(lambda stream: None, port=first.local.port, context=context)
        first.close()

    asyncio.run(main())


def test_the_certificate_is_what_it_should_be(certificate: Certificate) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    made = x509.load_pem_x509_certificate(certificate.certificate_pem)
    key = made.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert made.subject.rfc4514_string() == "CN=vpnprobe"
    assert 3650 <= (made.not_valid_after_utc - made.not_valid_before_utc).days <= 3654
    assert fingerprint_of(certificate.key_pem.decode() + certificate.certificate_pem.decode()) == certificate.fingerprint


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----"])
def test_no_certificate_has_no_fingerprint(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        fingerprint_of(text)


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_key_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(content)
    with pytest.raises(CannotRun, match="does not hold a key and its certificate") as caught:
        server_context(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(CannotRun, match="No such file"):
        server_context(tmp_path / "missing.pem")
