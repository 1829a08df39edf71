"""A throw-away certificate authority with one server certificate, for servers that live as long as a test.

X.509 version 3 (RFC 5280) with ECDSA on P-256; valid for one day; keys are written without a passphrase, mode 0600.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, Name

LIFETIME: Final = timedelta(days=1)
CLOCK_SLACK: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Identity:
    """Three PEM files."""

    authority: Path
    certificate: Path
    key: Path


def server_identity(folder: Path) -> Identity:
    """Makes an authority and a server certificate signed by it, in `folder`."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name, server_name = _name("vpnprobe lab authority"), _name("vpnprobe lab server")
    authority = _certificate(authority_name, authority_key, authority_name, authority_key, authority=True)
    certificate = _certificate(server_name, server_key, authority_name, authority_key, authority=False)
    pem = serialization.Encoding.PEM
    private = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Identity(
        authority=_written(folder / "ca.crt", authority.public_bytes(pem)),
        certificate=_written(folder / "server.crt", certificate.public_bytes(pem)),
        key=_written(folder / "server.key", private),
    )


def _name(common_name: str) -> "Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(
    subject: "Name", subject_key: "EllipticCurvePrivateKey", issuer: "Name", issuer_key: "EllipticCurvePrivateKey", *, authority: bool
) -> "Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, subject_key.public_key(), x509.random_serial_number(), now - CLOCK_SLACK, now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _written(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path
