"""The throw-away certificate authority."""

from pathlib import Path

import pytest

from vpnprobe.lab.pki import server_identity


def test_the_server_certificate_is_the_authority_s_and_fits_its_key(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID

    identity = server_identity(tmp_path)
    authority = x509.load_pem_x509_certificate(identity.authority.read_bytes())
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    certificate.verify_directly_issued_by(authority)
    with pytest.raises((InvalidSignature, ValueError)):
        authority.verify_directly_issued_by(certificate)
    assert load_pem_private_key(identity.key.read_bytes(), None).public_key() == certificate.public_key()
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_key_is_the_owner_s_alone(tmp_path: Path) -> None:
    assert server_identity(tmp_path).key.stat().st_mode & 0o777 == 0o600
