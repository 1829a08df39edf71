"""The authority: usages, lifetimes, serial numbers, revocation that is never taken back; OpenSSL says the same."""

import subprocess
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from deployment_site_support import NOW, content, write

from vpnprobe.deployment import pki
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.pki import Authority, Change, issued_path, private_path
from vpnprobe.deployment.pki_index import Event, Index, Kind
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.provisioning.certificates import KeyAlgorithm, key_pem, make_key
from vpnprobe.provisioning.revocation_lists import Reason, Revoked, read_revocation_list

EC, RSA = KeyAlgorithm.EC_P256, KeyAlgorithm.RSA_3072


def fresh(algorithm: KeyAlgorithm = EC, days: int = 3650) -> Change:
    return pki.new_authority(algorithm=algorithm, days=days, now=NOW)


def issued(authority: Authority, name: str = "anna", kind: Kind = Kind.CLIENT, **more: object) -> Change:
    return pki.issue(authority, name, kind, **{"algorithm": EC, "days": 825, "now": NOW, **more})  # type: ignore[arg-type]


def certificate(change: Change, path: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(content(change.files, path))


def usages(found: x509.Certificate) -> set[str]:
    usage = found.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    names = ("digital_signature", "key_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "data_encipherment")
    return {name for name in names if getattr(usage.value, name)}


def purposes(found: x509.Certificate) -> list[str]:
    return [purpose.dotted_string for purpose in found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value]


def test_a_new_authority_may_sign_certificates_and_lists_and_no_further_authority() -> None:
    found = certificate(fresh(), pki.CERTIFICATE)
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert usages(found) == {"key_cert_sign", "crl_sign"}
    assert found.not_valid_before_utc == NOW - timedelta(days=1)
    assert found.not_valid_after_utc == NOW + timedelta(days=3650)
    found.verify_directly_issued_by(found)


def test_what_is_written_for_it() -> None:
    change = fresh()
    modes = {file.path: (file.mode, file.secret) for file in change.files}
    assert modes == {
        "/etc/openvpn/vpnprobe/ca.crt": (0o644, False),
        "/etc/openvpn/server/vpnprobe/ca.crt": (0o644, False),
        "/etc/openvpn/vpnprobe/ca.key": (0o600, True),
        "/etc/openvpn/vpnprobe/crl.pem": (0o644, False),
        "/etc/openvpn/server/vpnprobe/crl.pem": (0o644, False),
        "/etc/openvpn/vpnprobe/index.jsonl": (0o600, False),
    }


@pytest.mark.parametrize(("kind", "purpose"), [(Kind.SERVER, "1.3.6.1.5.5.7.3.1"), (Kind.CLIENT, "1.3.6.1.5.5.7.3.2")])
def test_a_certificate_is_for_one_end(kind: Kind, purpose: str) -> None:
    change = issued(fresh().authority, kind=kind)
    found = certificate(change, issued_path("anna"))
    authority = x509.load_pem_x509_certificate(change.authority.certificate)
    found.verify_directly_issued_by(authority)
    assert purposes(found) == [purpose]
    assert usages(found) == {"digital_signature"}
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == own.digest
    assert found.serial_number.bit_length() > 64
    assert isinstance(load_pem_private_key(content(change.files, private_path("anna")), None), ec.EllipticCurvePrivateKey)


def test_rsa_on_request() -> None:
    change = issued(fresh().authority, kind=Kind.SERVER, algorithm=RSA)
    key = load_pem_private_key(content(change.files, private_path("anna")), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 3072
    assert usages(certificate(change, issued_path("anna"))) == {"digital_signature", "key_encipherment"}
    assert usages(certificate(issued(fresh().authority, algorithm=RSA), issued_path("anna"))) == {"digital_signature"}


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA_2048, KeyAlgorithm.ED25519])
def test_what_new_keys_are_not_made_of(algorithm: KeyAlgorithm) -> None:
    with pytest.raises(UsageError, match=f"not made of {algorithm}: take ec-p256 or rsa-3072"):
        fresh(algorithm)


def test_no_certificate_outlives_its_authority() -> None:
    authority = fresh(days=100).authority
    assert certificate(issued(authority), issued_path("anna")).not_valid_after_utc == NOW + timedelta(days=100)
    with pytest.raises(UsageError, match="the authority has expired on 2026-06-09: vpnprobe provision renew ca") as refused:
        issued(authority, now=NOW + timedelta(days=100))
    assert refused.value.status is ExitStatus.REFUSED


def test_serial_numbers_are_random() -> None:
    authority = fresh().authority
    assert len({entry.serial for _ in range(20) for entry in issued(authority).authority.index.of("anna")}) == 20


def test_a_passphrase_encrypts_the_key() -> None:
    pem = content(issued(fresh().authority, passphrase=b"open sesame").files, private_path("anna"))
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    load_pem_private_key(pem, b"open sesame")


def test_the_list_is_good_as_long_as_the_authority() -> None:
    change = fresh()
    found = read_revocation_list(content(change.files, pki.REVOCATION_LIST))
    assert found.next_update == NOW + timedelta(days=3650)
    assert (found.entries, found.number) == ((), 1)


def revoked_one() -> Change:
    change = issued(issued(fresh().authority).authority, "bert")
    return pki.revoke(change.authority, "anna", reason=Reason.KEY_COMPROMISE, now=NOW)


def test_what_is_revoked_stays_revoked() -> None:
    change = revoked_one()
    (serial,) = [entry.serial for entry in change.authority.index.entries if entry.name == "anna" and entry.event is Event.ISSUED]
    at = NOW.replace(microsecond=0)
    assert change.authority.revoked == (Revoked(serial=serial, at=at, reason=Reason.KEY_COMPROMISE),)
    later = pki.revoke(issued(change.authority, "anna").authority, "bert", reason=Reason.UNSPECIFIED, now=NOW)
    found = read_revocation_list(content(later.files, pki.SERVED_REVOCATION_LIST))
    assert {entry.serial for entry in found.entries} > {serial}
    assert len(found.entries) == 2
    assert found.number == 3
    assert later.authority.index.of("anna")


def test_what_only_a_list_has_stays_revoked_too() -> None:
    change = revoked_one()
    forgetful = replace(change.authority, index=Index(change.authority.index.lines[:-1]))
    assert pki.with_revocation_list(forgetful, NOW).authority.revoked == change.authority.revoked


def test_a_reason_is_a_code_and_none_is_none() -> None:
    pem = content(revoked_one().files, pki.REVOCATION_LIST)
    (entry,) = list(x509.load_pem_x509_crl(pem))
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise
    change = pki.revoke(issued(fresh().authority).authority, "anna", reason=Reason.UNSPECIFIED, now=NOW)
    (entry,) = list(x509.load_pem_x509_crl(content(change.files, pki.REVOCATION_LIST)))
    assert list(entry.extensions) == []


def test_whom_nobody_knows_cannot_be_revoked() -> None:
    for authority in (fresh().authority, revoked_one().authority):
        with pytest.raises(UsageError, match="there is no client 'anna' to revoke"):
            pki.revoke(authority, "anna", reason=Reason.UNSPECIFIED, now=NOW)


def test_lines_of_the_index_are_only_added() -> None:
    before = issued(fresh().authority).authority.index
    for change in (revoked_one(), issued(fresh().authority)):
        assert content(change.files, pki.INDEX) == change.authority.index.encode()
    after = pki.revoke(issued(fresh().authority).authority, "anna", reason=Reason.UNSPECIFIED, now=NOW).authority.index
    assert [line.event for line in after.entries] == [Event.ISSUED, Event.ISSUED, Event.REVOKED]
    assert len(after.encode().splitlines()) == len(before.encode().splitlines()) + 1


def test_a_renewed_authority_keeps_key_and_name() -> None:
    change = issued(fresh(days=100).authority)
    later = NOW + timedelta(days=90)
    renewed = pki.renew_certificate_of_authority(change.authority, days=3650, now=later)
    old, new = (x509.load_pem_x509_certificate(one.certificate) for one in (change.authority, renewed.authority))
    assert new.subject == old.subject
    assert new.public_key() == old.public_key()
    assert new.serial_number != old.serial_number
    assert new.not_valid_after_utc == later + timedelta(days=3650)
    certificate(change, issued_path("anna")).verify_directly_issued_by(new)
    found = read_revocation_list(content(renewed.files, pki.SERVED_REVOCATION_LIST))
    assert found.next_update == new.not_valid_after_utc
    assert content(renewed.files, pki.SERVED_CERTIFICATE) == renewed.authority.certificate


def test_a_renewed_authority_never_ends_sooner() -> None:
    renewed = pki.renew_certificate_of_authority(fresh(days=3650).authority, days=10, now=NOW)
    assert renewed.authority.not_after == NOW + timedelta(days=3650)


def test_an_authority_that_has_expired_is_renewed() -> None:
    late = NOW + timedelta(days=200)
    renewed = pki.renew_certificate_of_authority(fresh(days=100).authority, days=100, now=late)
    issued(renewed.authority, now=late)


def test_no_key_shows() -> None:
    change = issued(fresh().authority)
    secret = [file.content.decode() for file in change.files if file.secret]
    assert secret
    assert not any("PRIVATE" in shown for shown in (repr(change), repr(change.authority), repr(change.files)))


@pytest.mark.parametrize(
    ("key", "passphrase", "problem"),
    [
        (key_pem(make_key(EC), b"secret"), None, "the authority's key needs its passphrase"),
        (key_pem(make_key(EC), b"secret"), b"wrong", "the authority's key cannot be opened: the passphrase is wrong"),
        (key_pem(make_key(EC)), b"wrong", "the authority's key has no passphrase, and one was given"),
        (b"nothing", None, "the authority's key cannot be read"),
        (key_pem(make_key(EC)), None, "the authority's key and certificate do not belong together"),
    ],
)
def test_a_key_that_does_not_open(key: bytes, passphrase: bytes | None, problem: str) -> None:
    authority = replace(fresh().authority, key=key, passphrase=passphrase)
    with pytest.raises(UsageError, match=problem) as refused:
        issued(authority)
    assert "secret" not in str(refused.value)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert pki.read_authority(tmp_path) is None
    change = fresh()
    change = change.then(issued(change.authority))
    write(change.files, tmp_path)
    assert pki.read_authority(tmp_path) == change.authority


@pytest.mark.parametrize("missing", [pki.KEY, pki.INDEX, pki.REVOCATION_LIST, pki.CERTIFICATE])
def test_a_part_that_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    write(fresh().files, tmp_path)
    inside(tmp_path, missing).unlink()
    with pytest.raises(UsageError, match=f"{missing} of the authority cannot be read: No such file") as refused:
        pki.read_authority(tmp_path)
    assert refused.value.status is ExitStatus.UNREADABLE


def test_a_list_that_is_none() -> None:
    with pytest.raises(UsageError, match="a revocation list of the authority cannot be read"):
        _ = replace(fresh().authority, revocation_lists=(b"nothing",)).revoked
    with pytest.raises(UsageError, match="the authority's certificate cannot be read"):
        _ = replace(fresh().authority, certificate=b"nothing").not_after


@pytest.mark.requires("openssl")
@pytest.mark.parametrize("algorithm", [EC, RSA])
def test_openssl_agrees(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    now = datetime.now(NOW.tzinfo)
    change = pki.new_authority(algorithm=algorithm, days=30, now=now)
    for name, kind in (("server", Kind.SERVER), ("anna", Kind.CLIENT), ("bert", Kind.CLIENT)):
        change = change.then(issued(change.authority, name, kind, algorithm=algorithm, now=now))
    change = change.then(pki.revoke(change.authority, "bert", reason=Reason.SUPERSEDED, now=now))
    write(change.files, tmp_path)

    def verify(name: str, purpose: str) -> str:
        files = [str(inside(tmp_path, path)) for path in (pki.CERTIFICATE, pki.REVOCATION_LIST, issued_path(name))]
        command = ["-x509_strict", "-crl_check", "-purpose", purpose, "-CAfile", files[0], "-CRLfile", *files[1:]]
        done = subprocess.run(["openssl", "verify", *command], capture_output=True, text=True, timeout=10, check=False)
        return done.stderr or done.stdout

    assert verify("server", "sslserver").endswith("server.crt: OK\n")
    assert verify("anna", "sslclient").endswith("anna.crt: OK\n")
    assert "suitable certificate purpose" in verify("anna", "sslserver")
    assert "suitable certificate purpose" in verify("server", "sslclient")
    assert "certificate revoked" in verify("bert", "sslclient")
