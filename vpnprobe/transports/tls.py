"""Encrypted streams for the control channel: TLS 1.3 (RFC 8446) with a pinned certificate.

There is no certificate authority and no name to check: the client knows the SHA-256 of the server's certificate, and TLS 1.3 proves that
the server holds its key. Segments are clamped before connecting and listening, so that the channel also works where large packets
vanish without a word. The handshake and the time until the peer is admitted are bounded, and so is the number of strangers.
"""

import asyncio
import hashlib
import hmac
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.provisioning.certificates import CertificateContent, KeyAlgorithm, build_certificate, certificate_pem, key_pem, make_key
from vpnprobe.transports.stack import Address, ConnectError, Endpoint
from vpnprobe.transports.system.addresses import from_socket
from vpnprobe.transports.system.streams import (
    ByteStream,
    Listener,
    SocketStream,
    accepted_stream,
    connected_socket,
    failure_of,
    listening_sockets,
)

SEGMENT_BYTES: Final = 536
"""The largest TCP segment both ways: what every IPv4 path must carry (RFC 9293 section 3.7.1)."""
HANDSHAKE_DEADLINE_S: Final = 10.0
"""Seconds from accepting to the end of the handshake."""
ADMISSION_DEADLINE_S: Final = 10.0
"""Seconds from the handshake until the peer has to be admitted."""
STRANGERS: Final = 64
"""Connections whose peer has not been admitted yet, at once; the oldest gives way to a further one."""
_LIFETIME_DAYS: Final = 3653
_NAME: Final = "vpnprobe"
_DER_SEQUENCE: Final = b"\x30"
"""How every certificate begins (RFC 5280 section 4.1)."""


class Certificate(NamedTuple):
    """A server's identity, newly made."""

    certificate_pem: bytes
    key_pem: bytes
    fingerprint: str
    """SHA-256 of the certificate's DER, 64 lower-case hex digits."""


class TlsStream(SocketStream):
    """An encrypted `TcpStream`. On the server's side the peer is a stranger until `admit` is called."""

    def __init__(self, sock: socket.socket, stream: ByteStream, *, remote: Endpoint, on_admitted: Callable[[], None] | None = None) -> None:
        super().__init__(sock, stream, local=from_socket(sock.getsockname()), remote=remote)
        self._on_admitted = on_admitted

    def admit(self) -> None:
        """The peer has proven who it is: its connection counts as a stranger's no more, and may last."""
        if self._on_admitted is not None:
            self._on_admitted()
            self._on_admitted = None


OnTlsConnection = Callable[[TlsStream], None]


def make_certificate() -> Certificate:
    """ECDSA P-256, self-signed, valid for ten years. Raises CannotRun (status MISSING) where `cryptography` is not installed."""
    key = make_key(KeyAlgorithm.EC_P256)
    # A day back: the clocks of the two hosts need not agree, and nobody checks but the fingerprint.
    start = datetime.now(UTC) - timedelta(days=1)
    content = CertificateContent(subject=_NAME, not_before=start, not_after=start + timedelta(days=_LIFETIME_DAYS))
    pem = certificate_pem(build_certificate(content, key))
    return Certificate(pem, key_pem(key), fingerprint_of(pem.decode()))


def fingerprint_of(pem: str) -> str:
    """SHA-256 of the first certificate in a PEM text, 64 lower-case hex digits. Raises ValueError where there is none."""
    begin, end = pem.find("-----BEGIN CERTIFICATE-----"), pem.find("-----END CERTIFICATE-----")
    if begin < 0 or end < begin:
        raise ValueError("no certificate")
    der = ssl.PEM_cert_to_DER_cert(pem[begin:end] + "-----END CERTIFICATE-----\n")
    if not der.startswith(_DER_SEQUENCE):
        raise ValueError("no certificate")
    return hashlib.sha256(der).hexdigest()


def server_context(pem_path: Path) -> ssl.SSLContext:
    """From a file with key and certificate. Raises CannotRun where it cannot be read as such."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # No session tickets: nothing resumes, and a client that only reads its answer need not take two more records.
    context.num_tickets = 0
    try:
        context.load_cert_chain(pem_path)
    except OSError as exc:  # ssl.SSLError is one too
        problem = exc.reason if isinstance(exc, ssl.SSLError) else exc.strerror
        message = f"{pem_path} does not hold a key and its certificate ({problem}): remove it and the token beside it"
        raise CannotRun(f"{message}, new ones are made at the next start", status=ExitStatus.UNREADABLE) from exc
    return context


def client_context() -> ssl.SSLContext:
    """TLS 1.3 only, no authority and no name: `connect_tls` compares the fingerprint before a byte is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def connect_tls(
    remote: Endpoint,
    fingerprint: str,
    *,
    source: Address,
    deadline_s: float,
    segment_bytes: int | None = SEGMENT_BYTES,
) -> TlsStream:
    """Connects from the local address `source`, `deadline_s` seconds for TCP and TLS together.

    Raises ConnectError where the path or the host refuses, CannotRun (status NO_PEER) where something else than the server of that
    fingerprint answers.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + deadline_s
    sock = await connected_socket(remote, source=source, deadline_s=deadline_s, segment_bytes=segment_bytes)
    stream = ByteStream(encrypted=True)
    try:
        async with asyncio.timeout_at(until):
            transport, _ = await loop.create_connection(lambda: stream, sock=sock, ssl=client_context(), server_hostname=_NAME)
    except OSError as exc:
        stream.abort()
        raise _handshake_error(exc, remote) from exc
    except BaseException:
        # The event loop has the socket and closes it; closed under its feet, another socket could get the number that it still watches.
        stream.abort()
        raise
    tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
    shown = hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()
    if not hmac.compare_digest(shown, fingerprint):
        transport.abort()
        raise CannotRun(f"the server at {remote} is not the one that the token names (another certificate): fetch its token again")
    return TlsStream(sock, stream, remote=remote)


def _handshake_error(exc: OSError, remote: Endpoint) -> CannotRun | ConnectError:
    if isinstance(exc, TimeoutError):
        return CannotRun(
            f"what listens at {remote} takes the connection and says nothing: is it `vpnprobe serve`, or is that host overloaded?"
        )
    if isinstance(exc, ssl.SSLError):
        reason = (exc.reason or "unknown error").replace("_", " ").lower()
        return CannotRun(
            f"what listens at {remote} does not speak TLS 1.3 ({reason}): is it `vpnprobe serve`, and is this its control port?"
        )
    return ConnectError(failure_of(exc), remote)


class TlsListener:
    """Accepts TLS connections until closed; `on_connection` is called after the handshake. Raises PortUnavailable."""

    def __init__(
        self,
        on_connection: OnTlsConnection,
        *,
        port: int,
        context: ssl.SSLContext,
        address: Address | None = None,
        segment_bytes: int | None = SEGMENT_BYTES,
        admission_deadline_s: float = ADMISSION_DEADLINE_S,
    ) -> None:
        self._on_connection = on_connection
        self._context = context
        self._admission_deadline_s = admission_deadline_s
        self._waiting: dict[asyncio.Task[None], None] = {}
        """In the order in which they came."""
        self._listener = Listener(listening_sockets(port=port, address=address, segment_bytes=segment_bytes), self._welcome)

    @property
    def local(self) -> Endpoint:
        return self._listener.local

    @property
    def strangers(self) -> int:
        """How many connections wait to be admitted."""
        return len(self._waiting)

    def close(self) -> None:
        """Stops accepting; connections that were handed over live on."""
        self._listener.close()

    async def _welcome(self, sock: socket.socket, remote: Endpoint) -> None:
        """Where too many wait to be admitted, who has waited longest gives up its place: idle strangers keep nobody out."""
        if len(self._waiting) >= STRANGERS:
            next(iter(self._waiting)).cancel()
        task = asyncio.current_task()
        assert task is not None
        self._waiting[task] = None
        try:
            await self._handshake_and_admission(sock, remote)
        except asyncio.CancelledError:
            sock.close()
        finally:
            del self._waiting[task]

    async def _handshake_and_admission(self, sock: socket.socket, remote: Endpoint) -> None:
        stream = await accepted_stream(sock, tls=self._context, handshake_deadline_s=HANDSHAKE_DEADLINE_S)
        if stream is None:
            return
        settled = asyncio.Event()
        stream.on_lost = settled.set
        tls = TlsStream(sock, stream, remote=remote, on_admitted=settled.set)
        try:
            self._on_connection(tls)
            await asyncio.wait_for(settled.wait(), self._admission_deadline_s)
        except TimeoutError:
            tls.abort()
        except BaseException:
            tls.abort()
            raise


async def listen_tls(
    on_connection: OnTlsConnection,
    *,
    port: int,
    context: ssl.SSLContext,
    address: Address | None = None,
    segment_bytes: int | None = SEGMENT_BYTES,
) -> TlsListener:
    """Raises PortUnavailable."""
    return TlsListener(on_connection, port=port, context=context, address=address, segment_bytes=segment_bytes)
