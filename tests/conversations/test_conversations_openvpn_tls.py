"""TLS inside OpenVPN: every check of a certificate, alert and version that fails, by its code at both ends; contexts and their files."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from openvpn_support import (
    Pair,
    authority,
    certificate,
    good_client_context,
    good_server_context,
    identity,
    key_of,
    key_pem,
    make_pair,
    rsa_certificate,
)

from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session import Stage
from vpnprobe.conversations.openvpn_tls import Identity, TlsEnd, TlsFailed, TlsLimits, client_context, failure_of, server_context

TLS_1_2 = TlsLimits(maximum=ssl.TLSVersion.TLSv1_2)
TLS_1_3 = TlsLimits(minimum=ssl.TLSVersion.TLSv1_3)
EITHER_VERSION = pytest.mark.parametrize("limits", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])


def outcome(client: ssl.SSLContext, server: ssl.SSLContext) -> Pair:
    return make_pair(contexts=(client, server)).complete()


def codes(pair: Pair) -> tuple[FailureCode | None, FailureCode | None]:
    ours, theirs = pair.client.failure, pair.server.failure
    return ours.code if ours else None, theirs.code if theirs else None


def client_with(limits: TlsLimits | None = None, *, ca_pem: str | None = "", who: Identity | None = None) -> ssl.SSLContext:
    return client_context(
        ca_pem=authority() if ca_pem == "" else ca_pem, identity=who or identity("client", purpose="client"), limits=limits
    )


def server_with(who: Identity) -> ssl.SSLContext:
    return server_context(who, clients_pem=authority())


@EITHER_VERSION
def test_either_version_comes_up(limits: TlsLimits) -> None:
    pair = outcome(client_with(limits), good_server_context())
    assert codes(pair) == (None, None)
    assert pair.client.stage is Stage.DATA
    negotiation = pair.client._negotiations[0]
    assert negotiation.tls is not None
    assert negotiation.tls.version == ("TLSv1.2" if limits is TLS_1_2 else "TLSv1.3")
    assert negotiation.tls.peer_certificate == ssl.PEM_cert_to_DER_cert(certificate("server", purpose="server"))


@EITHER_VERSION
@pytest.mark.parametrize(
    ("who", "code", "at_server"),
    [
        (
            identity("server", purpose="server", days=(-9, -1)),
            FailureCode.CERTIFICATE_EXPIRED,
            FailureCode.CERTIFICATE_EXPIRED,
        ),
        (
            identity("server", purpose="server", days=(1, 9)),
            FailureCode.CERTIFICATE_NOT_YET_VALID,
            FailureCode.CERTIFICATE_REJECTED,
        ),
        (
            identity("server", issuer="another authority", purpose="server"),
            FailureCode.CERTIFICATE_WRONG_CA,
            FailureCode.CERTIFICATE_WRONG_CA,
        ),
        (identity("self-signed", issuer="self-signed"), FailureCode.CERTIFICATE_WRONG_CA, FailureCode.CERTIFICATE_WRONG_CA),
        (
            identity("server", purpose="client"),
            FailureCode.CERTIFICATE_WRONG_PURPOSE,
            FailureCode.CERTIFICATE_WRONG_PURPOSE,
        ),
    ],
    ids=["expired", "not yet valid", "wrong authority", "self-signed", "wrong purpose"],
)
def test_a_servers_certificate_that_the_client_refuses(limits: TlsLimits, who: Identity, code: FailureCode, at_server: FailureCode) -> None:
    pair = outcome(client_with(limits), server_with(who))
    assert codes(pair) == (code, at_server)
    assert pair.client.failure is not None
    assert pair.client.failure.detail
    assert pair.client.stage is Stage.TLS_BEGUN


def test_a_revoked_certificate(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    leaf = x509.load_pem_x509_certificate(certificate("server", purpose="server").encode())
    revoked = x509.RevokedCertificateBuilder().serial_number(leaf.serial_number).revocation_date(now - timedelta(hours=1)).build()
    revocations = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
        .last_update(now - timedelta(hours=1))
        .next_update(now + timedelta(days=1))
        .add_revoked_certificate(revoked)
        .sign(key_of("authority"), hashes.SHA256())
    )
    path = tmp_path / "revocations.pem"
    path.write_bytes(revocations.public_bytes(serialization.Encoding.PEM))
    context = client_with()
    context.load_verify_locations(path)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    assert codes(outcome(context, good_server_context())) == (FailureCode.CERTIFICATE_REVOKED, FailureCode.CERTIFICATE_REVOKED)


def test_a_certificate_too_weak_for_the_profile() -> None:
    # What the profile allows is an RSA key of 3072 bits, or one of 256 bits on a curve.
    client = client_context(ca_pem=rsa_certificate()[0], identity=None, limits=TlsLimits(security_level=3))
    pem, key = rsa_certificate()
    server = server_context(Identity(pem.encode(), key.encode()), clients_pem=None)
    assert codes(outcome(client, server)) == (FailureCode.CERTIFICATE_WEAK, FailureCode.CERTIFICATE_REJECTED)


def test_a_certificate_whose_issuer_is_no_authority() -> None:
    pair = outcome(client_with(ca_pem=certificate("nobody", issuer="nobody")), server_with(identity("server", issuer="nobody")))
    assert codes(pair)[0] is FailureCode.CERTIFICATE_REJECTED


@EITHER_VERSION
def test_a_client_certificate_that_the_server_refuses(limits: TlsLimits) -> None:
    expired = identity("client", purpose="client", days=(-9, -1))
    foreign = identity("client", issuer="another authority", purpose="client")
    early = identity("client", purpose="client", days=(1, 9))
    for who, code in (
        (expired, FailureCode.CLIENT_CERTIFICATE_EXPIRED),
        (foreign, FailureCode.CLIENT_CERTIFICATE_REFUSED),
        (early, FailureCode.CLIENT_CERTIFICATE_REFUSED),
        (identity("client", purpose="server"), FailureCode.CLIENT_CERTIFICATE_REFUSED),
    ):
        assert codes(outcome(client_with(limits, who=who), good_server_context())) == (code, code)


@EITHER_VERSION
def test_no_client_certificate_where_one_is_wanted(limits: TlsLimits) -> None:
    context = client_context(ca_pem=authority(), identity=None, limits=limits)
    refused = FailureCode.CLIENT_CERTIFICATE_REFUSED
    assert codes(outcome(context, good_server_context())) == (refused, refused)


def test_no_client_certificate_where_none_is_wanted() -> None:
    client = client_context(ca_pem=None, identity=None)
    pair = outcome(client, server_context(identity("self-signed", issuer="self-signed"), clients_pem=None))
    assert codes(pair) == (None, None)
    assert pair.client.run.all_answered


def test_no_common_version() -> None:
    new, old = good_server_context(), good_server_context()
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for client, server in ((client_with(TLS_1_2), new), (client_with(TLS_1_3), old)):
        assert codes(outcome(client, server)) == (FailureCode.TLS_VERSION, FailureCode.TLS_VERSION)


def test_no_common_cipher() -> None:
    server = good_server_context()
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    # The server's key is no RSA key.
    server.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    assert codes(outcome(good_client_context(), server)) == (FailureCode.TLS_NO_COMMON_CIPHER, FailureCode.TLS_NO_COMMON_CIPHER)


def test_an_error_of_no_other_kind() -> None:
    assert failure_of(ssl.SSLError(1, "unknown to the table")) == Failure(FailureCode.TLS_BROKEN, "unknown to the table")


def ends() -> tuple[TlsEnd, TlsEnd]:
    """A client's and a server's, both up."""
    client, server = TlsEnd(good_client_context(), server=False), TlsEnd(good_server_context(), server=True)
    assert client.version in ("", "TLSv1.3")
    assert client.peer_certificate is None
    client.receive(b"")
    for _ in range(3):
        server.receive(client.to_send())
        client.receive(server.to_send())
    assert client.up
    assert server.up
    return client, server


def test_records_come_one_by_one_and_what_came_before_an_error_is_told() -> None:
    client, server = ends()
    client.write(b"one")
    client.write(b"two")
    sent = client.to_send()
    for at in range(len(sent) - 1):
        server.receive(sent[at : at + 1])
    assert list(server.records()) == [b"one"]
    server.receive(sent[-1:])
    assert list(server.records()) == [b"two"]
    client.write(b"three")
    server.receive(client.to_send() + b"garbage that is no record")
    records = server.records()
    assert next(records) == b"three"
    with pytest.raises(TlsFailed) as failed:
        next(records)
    assert failed.value.failure.code is FailureCode.TLS_BROKEN


def test_half_a_record_is_kept() -> None:
    client, server = ends()
    client.write(b"x" * 1000)
    server.receive(client.to_send()[:500])
    assert list(server.records()) == []


def test_nothing_is_kept_after_the_peer_has_closed() -> None:
    client, server = ends()
    client.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        client._tls.unwrap()
    server.receive(client.to_send())
    assert list(server.records()) == [b"last words"]
    assert server.closed
    server.receive(b"x" * 100_000)
    assert server._incoming.pending == 0
    assert list(server.records()) == []


def test_writing_before_the_handshake_fails() -> None:
    with pytest.raises(TlsFailed):
        TlsEnd(good_server_context(), server=True).write(b"early")


def test_no_handshake_within_tls() -> None:
    assert good_client_context().options & ssl.OP_NO_RENEGOTIATION
    assert good_server_context().options & ssl.OP_NO_RENEGOTIATION


def test_a_key_with_a_passphrase_is_read_and_never_asked_for() -> None:
    pem = certificate("client", purpose="client").encode()
    client_context(ca_pem=None, identity=Identity(pem, key_pem("client", "secret"), "secret"))
    for wrong in (None, "wrong"):
        with pytest.raises(ssl.SSLError):
            client_context(ca_pem=None, identity=Identity(pem, key_pem("client", "secret"), wrong))
    with pytest.raises(ssl.SSLError):
        client_context(ca_pem=None, identity=Identity(pem, key_pem("server")))


def test_files_in_memory_are_not_to_be_had_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    good_server_context()


def test_a_fingerprint_is_the_first_certificates() -> None:
    pem = certificate("client", purpose="client")
    expected = x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()
    assert Identity(("words before\n" + pem + authority()).encode(), b"").fingerprint == expected
    with pytest.raises(ValueError, match="PEM"):
        _ = Identity(b"none", b"").fingerprint
