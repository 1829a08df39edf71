"""A throw-away certificate authority with one server certificate, for servers that live as long as a test.

ECDSA on P-256; valid for one day; keys are written without a passphrase, mode 0600.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from vpnprobe.provisioning.certificates import (
    BasicConstraints,
    CertificateContent,
    Issuer,
    KeyAlgorithm,
    KeyPurpose,
    build_certificate,
    certificate_pem,
    key_pem,
    make_key,
)

LIFETIME: Final = timedelta(days=1)
CLOCK_SLACK: Final = timedelta(minutes=5)
_AUTHORITY_NAME: Final = "vpnprobe lab authority"
_SERVER_NAME: Final = "vpnprobe lab server"


@dataclass(frozen=True, slots=True)
class Identity:
    """Three PEM files."""

    authority: Path
    certificate: Path
    key: Path


def server_identity(folder: Path) -> Identity:
    """Makes an authority and a server certificate signed by it, in `folder`."""
    authority_key, server_key = make_key(KeyAlgorithm.EC_P256), make_key(KeyAlgorithm.EC_P256)
    authority = build_certificate(_content(_AUTHORITY_NAME, authority=True), authority_key)
    server = build_certificate(_content(_SERVER_NAME, authority=False), server_key, issuer=Issuer(_AUTHORITY_NAME, authority_key))
    return Identity(
        authority=written(folder / "ca.crt", certificate_pem(authority)),
        certificate=written(folder / "server.crt", certificate_pem(server)),
        key=written(folder / "server.key", key_pem(server_key)),
    )


def _content(name: str, *, authority: bool) -> CertificateContent:
    now = datetime.now(UTC)
    return CertificateContent(
        subject=name,
        not_before=now - CLOCK_SLACK,
        not_after=now + LIFETIME,
        constraints=BasicConstraints(authority=authority),
        purposes=() if authority else (KeyPurpose.SERVER_AUTH,),
        subject_key_identifier=True,
        authority_key_identifier=True,
    )


def written(path: Path, content: bytes) -> Path:
    """Writes the file, which its owner alone may read, and gives its path back."""
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path
