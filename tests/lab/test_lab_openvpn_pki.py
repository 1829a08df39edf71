"""Certificates for OpenVPN's servers and clients: each has the flaw that it is named for, and no other."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vpnprobe.lab import openvpn_pki
from vpnprobe.lab.openvpn_pki import OTHER_NAME, Algorithm, Authority, Flaw, Identity, Role


@pytest.fixture(scope="module", params=list(Algorithm))
def authority(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("pki") / "made", request.param)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("flaw", Flaw)
def test_a_certificate_has_the_flaw_it_is_named_for_and_no_other(authority: Authority, role: Role, flaw: Flaw) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    identity = authority.identity(role, flaw)
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem)
    assert load_pem_private_key(identity.key_pem, None).public_key() == certificate.public_key()
    signer = authority.other_pem if flaw is Flaw.OTHER_AUTHORITY else authority.pem
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(signer))
    now = datetime.now(UTC)
    assert (certificate.not_valid_after_utc < now) == (flaw is Flaw.EXPIRED)
    assert (certificate.not_valid_before_utc > now) == (flaw is Flaw.NOT_YET_VALID)
    [attribute] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert attribute.value == (OTHER_NAME if flaw is Flaw.OTHER_NAME else role.common_name)
    purposes = {Role.SERVER: ExtendedKeyUsageOID.SERVER_AUTH, Role.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH}
    expected = next(purpose for own, purpose in purposes.items() if (own is role) != (flaw is Flaw.OTHER_PURPOSE))
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [expected]
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_two_authorities_differ_and_only_their_owner_reads_the_keys(authority: Authority) -> None:
    from cryptography import x509

    own, other = (x509.load_pem_x509_certificate(pem) for pem in (authority.pem, authority.other_pem))
    assert own.subject != other.subject
    assert own.public_key() != other.public_key()
    assert own.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert own.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert authority.server().key.stat().st_mode & 0o777 == 0o600


def test_openssl_takes_the_pairs(authority: Authority) -> None:
    for role in Role:
        identity = authority.identity(role)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(identity.certificate, identity.key)
    assert authority.server() == Identity(authority.folder / "server.crt", authority.folder / "server.key")
    assert authority.client(Flaw.EXPIRED).certificate.name == "client-expired.crt"


def test_keys_are_made_once_and_certificates_each_time(authority: Authority, tmp_path: Path) -> None:
    again = Authority.make(tmp_path, authority.algorithm)
    assert again.server().key_pem == authority.server().key_pem
    assert again.server().certificate_pem != authority.server().certificate_pem
    assert openvpn_pki._key(authority.algorithm, "server") is openvpn_pki._key(authority.algorithm, "server")
