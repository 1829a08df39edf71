"""TLS inside OpenVPN's control channel, over memory buffers of the standard library's `ssl`: one end, and the contexts of both.

The library has no keying-material exporter (RFC 5705), so keys always come from key method 2. What fails is told as a `Failure`
by its code: which check of the certificate, which alert, which version. Key files exist in memory only, where the system lets them.
"""

import hashlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.wire.tls_handshake import agreed_group

RECORD_BYTES: Final = 16384
"""The largest record's plain text (RFC 8446 section 5.1): one read gives at most one record."""
MOST_OPENING: Final = 16384
"""Bytes of a server's first flight that are kept."""
ENDED: Final = "the peer ended TLS"
"""What close_notify says."""
_VERIFY_CODES: Final = {
    2: FailureCode.CERTIFICATE_WRONG_CA,
    9: FailureCode.CERTIFICATE_NOT_YET_VALID,
    10: FailureCode.CERTIFICATE_EXPIRED,
    18: FailureCode.CERTIFICATE_WRONG_CA,
    19: FailureCode.CERTIFICATE_WRONG_CA,
    20: FailureCode.CERTIFICATE_WRONG_CA,
    21: FailureCode.CERTIFICATE_WRONG_CA,
    23: FailureCode.CERTIFICATE_REVOKED,
    26: FailureCode.CERTIFICATE_WRONG_PURPOSE,
    66: FailureCode.CERTIFICATE_WEAK,
    67: FailureCode.CERTIFICATE_WEAK,
    68: FailureCode.CERTIFICATE_WEAK,
}
"""OpenSSL's X509_V_ERR numbers."""
_ALERTS_TO_CLIENT: Final = (
    ("ALERT_CERTIFICATE_EXPIRED", FailureCode.CLIENT_CERTIFICATE_EXPIRED),
    ("ALERT_UNKNOWN_CA", FailureCode.CLIENT_CERTIFICATE_REFUSED),
    ("ALERT_BAD_CERTIFICATE", FailureCode.CLIENT_CERTIFICATE_REFUSED),
    ("ALERT_CERTIFICATE_", FailureCode.CLIENT_CERTIFICATE_REFUSED),
    ("ALERT_UNSUPPORTED_CERTIFICATE", FailureCode.CLIENT_CERTIFICATE_REFUSED),
    ("ALERT_DECRYPT_ERROR", FailureCode.CLIENT_CERTIFICATE_REFUSED),
    ("ALERT_ACCESS_DENIED", FailureCode.CLIENT_CERTIFICATE_REFUSED),
)
"""What a server says of the client's certificate: parts of the library's reason, the first that fits."""
_ALERTS_TO_SERVER: Final = (
    ("ALERT_CERTIFICATE_EXPIRED", FailureCode.CERTIFICATE_EXPIRED),
    ("ALERT_CERTIFICATE_REVOKED", FailureCode.CERTIFICATE_REVOKED),
    ("ALERT_UNKNOWN_CA", FailureCode.CERTIFICATE_WRONG_CA),
    ("ALERT_UNSUPPORTED_CERTIFICATE", FailureCode.CERTIFICATE_WRONG_PURPOSE),
    ("ALERT_BAD_CERTIFICATE", FailureCode.CERTIFICATE_REJECTED),
    ("ALERT_CERTIFICATE_", FailureCode.CERTIFICATE_REJECTED),
)
"""What a client says of the server's certificate."""
_REASONS: Final = (
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", FailureCode.CLIENT_CERTIFICATE_REFUSED),
    ("PROTOCOL_VERSION", FailureCode.TLS_VERSION),
    ("UNSUPPORTED_PROTOCOL", FailureCode.TLS_VERSION),
    ("NO_PROTOCOLS_AVAILABLE", FailureCode.TLS_VERSION),
    ("WRONG_SSL_VERSION", FailureCode.TLS_VERSION),
    ("HANDSHAKE_FAILURE", FailureCode.TLS_NO_COMMON_CIPHER),
    ("NO_SHARED_CIPHER", FailureCode.TLS_NO_COMMON_CIPHER),
    ("INSUFFICIENT_SECURITY", FailureCode.TLS_NO_COMMON_CIPHER),
)
"""What either end says, or finds itself."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key."""

    certificate_pem: bytes
    """With what follows it in the chain."""
    key_pem: bytes = field(repr=False)
    passphrase: str | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the first certificate's DER, 64 lower-case hex digits."""
        text = self.certificate_pem.decode("ascii", "replace")
        end = "-----END CERTIFICATE-----"
        begin = text[text.find("-----BEGIN CERTIFICATE-----") : text.find(end)]
        return certificate_fingerprint(ssl.PEM_cert_to_DER_cert(begin + end))


def certificate_fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, 64 lower-case hex digits."""
    return hashlib.sha256(der).hexdigest()


@dataclass(frozen=True, slots=True)
class TlsLimits:
    """What a TLS context is restricted to."""

    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
    security_level: int = 1
    """OpenSSL's; 1 is what OpenVPN's default `tls-cert-profile legacy` stands for."""
    ciphers: str = "DEFAULT"
    """OpenSSL's list for TLS 1.2 and older; a level in it (`@SECLEVEL=0`) counts more than `security_level`, for certificates too."""
    group: str = ""
    """The one elliptic curve that keys are agreed on over, by OpenSSL's name; empty: those that the library prefers."""


def client_context(*, ca_pem: str | None, identity: Identity | None, limits: TlsLimits | None = None) -> ssl.SSLContext:
    """A client's. `ca_pem` None: the chain is not checked, the caller compares the fingerprint.

    Raises ssl.SSLError or ValueError where a certificate or a key cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, limits or TlsLimits())
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE if ca_pem is None else ssl.CERT_REQUIRED
    if ca_pem is not None:
        context.load_verify_locations(cadata=ca_pem)
    if identity is not None:
        _load(context, identity)
    return context


def server_context(identity: Identity, *, clients_pem: str | None) -> ssl.SSLContext:
    """A server's; `clients_pem`: authority of the clients, or the only client's own certificate. None: none is asked for."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, TlsLimits())
    # What resumes nothing need not send tickets.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    if clients_pem is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients_pem)
    _load(context, identity)
    return context


def _context(protocol: "ssl._SSLMethod", limits: TlsLimits) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    own_level = "@SECLEVEL" in limits.ciphers
    context.set_ciphers(limits.ciphers if own_level else f"{limits.ciphers}:@SECLEVEL={limits.security_level}")
    if limits.group:
        context.set_ecdh_curve(limits.group)
    context.minimum_version, context.maximum_version = limits.minimum, limits.maximum
    # OpenVPN renews keys by a negotiation of its own; one inside TLS would only let the peer make us talk.
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    passphrase = identity.passphrase or ""
    with _as_file(identity.certificate_pem + b"\n" + identity.key_pem) as path:
        # With a passphrase given the library never asks on the terminal.
        context.load_cert_chain(path, password=lambda: passphrase)


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path to read `content` from: in memory on Linux, else a file of mode 0600 that is gone afterwards."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("vpnprobe", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


class TlsFailed(Exception):
    """The handshake, or the stream after it, cannot go on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class TlsEnd:
    """One end of one TLS connection. What it has to say must be fetched with `to_send` even where it has failed: alerts are told."""

    def __init__(self, context: ssl.SSLContext, *, server: bool) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)
        self._server = server
        self.up = False
        """Whether this end's handshake is complete."""
        self.closed = False
        """Whether the peer said close_notify: nothing is read any more."""
        self._opening = b""
        """The peer's first bytes, as far as a server says in them which group was agreed on."""

    @property
    def version(self) -> str:
        """TLSv1.2, TLSv1.3, ...; empty while unknown."""
        return self._tls.version() or ""

    @property
    def cipher_suite(self) -> str:
        """OpenSSL's name of what was agreed on; empty while unknown."""
        agreed = self._tls.cipher()
        return agreed[0] if agreed is not None else ""

    @property
    def group(self) -> int | None:
        """The number of the group that keys were agreed on over (RFC 8446 section 4.2.7), as a server says it; None: not told."""
        return agreed_group(self._opening)

    @property
    def peer_certificate(self) -> bytes | None:
        """DER; None: there is none (yet)."""
        return self._tls.getpeercert(binary_form=True) if self.up else None

    def receive(self, data: bytes) -> None:
        """More of the peer's stream: the handshake goes on as far as it can (a client's begins with no data). Raises TlsFailed."""
        if self.closed:
            return
        self._incoming.write(data)
        if self.up:
            return
        self._opening = (self._opening + data)[:MOST_OPENING]
        with self._failing():
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                return
        self.up = True

    def records(self) -> Iterator[bytes]:
        """The plain text of each record that is whole. Raises TlsFailed, after those that came before."""
        while self.up and not self.closed:
            with self._failing():
                try:
                    record = self._tls.read(RECORD_BYTES)
                except ssl.SSLWantReadError:
                    return
            self.closed = not record
            if record:
                yield record

    def write(self, plain: bytes) -> None:
        """Raises TlsFailed."""
        with self._failing():
            self._tls.write(plain)

    def to_send(self) -> bytes:
        return self._outgoing.read()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLError as error:
            raise TlsFailed(failure_of(error, server=self._server, agreed=self._tls.cipher() is not None)) from error


def failure_of(error: ssl.SSLError, *, server: bool = False, agreed: bool = False) -> Failure:
    """What an error of the library means in OpenVPN's terms; `server`: it is the server that has it, and judges the client.

    `agreed`: a cipher is agreed on. What a server calls a failed handshake then is the lack of a client's certificate (TLS 1.2).
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure(_of_check(error.verify_code, server=server), error.verify_message)
    if isinstance(error, ssl.SSLZeroReturnError):
        return Failure(FailureCode.CLOSED_BY_PEER, ENDED)
    reason = getattr(error, "reason", "") or str(error)
    reasons = (*(_ALERTS_TO_SERVER if server else _ALERTS_TO_CLIENT), *_REASONS)
    code = next((code for part, code in reasons if part in reason), FailureCode.TLS_BROKEN)
    if code is FailureCode.TLS_NO_COMMON_CIPHER and agreed and not server:
        code = FailureCode.CLIENT_CERTIFICATE_REFUSED
    return Failure(code, reason.lower().replace("_", " "))


def _of_check(verify_code: int, *, server: bool) -> FailureCode:
    """What a certificate fails that this end checked."""
    code = _VERIFY_CODES.get(verify_code, FailureCode.CERTIFICATE_REJECTED)
    if not server:
        return code
    expired = code is FailureCode.CERTIFICATE_EXPIRED
    return FailureCode.CLIENT_CERTIFICATE_EXPIRED if expired else FailureCode.CLIENT_CERTIFICATE_REFUSED
