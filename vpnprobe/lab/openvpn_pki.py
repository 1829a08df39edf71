"""Certificates and keys for real OpenVPN servers and clients: the good ones, and for each way to be refused a wrong one.

X.509 version 3 (RFC 5280) with ECDSA on P-256 or RSA of 2048 bits, signed with SHA-256; what is good is valid for one day. Private keys are
written without a passphrase, mode 0600, and are made once in a process for each algorithm and role: certificates with a flaw differ from
the good one in that flaw alone. The keys of tls-auth, tls-crypt and tls-crypt-v2 are of openvpn's own making (`--genkey`).
"""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, assert_never

from vpnprobe.lab.pki import CLOCK_SLACK, LIFETIME

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate, KeyUsage, Name
    from cryptography.x509.oid import ObjectIdentifier

    PrivateKey = EllipticCurvePrivateKey | RSAPrivateKey

RSA_BITS: Final = 2048
OTHER_NAME: Final = "other.vpnprobe.test"
AUTHORITY_NAME: Final = "ca.vpnprobe.test"
OTHER_AUTHORITY_NAME: Final = "other-ca.vpnprobe.test"
GENKEY_DEADLINE_S: Final = 10.0


class Algorithm(StrEnum):
    """Of the authority's key and of those it signs."""

    EC = "ec"
    RSA = "rsa"


class Role(StrEnum):
    """Whom a certificate is for; the value is its file's stem."""

    SERVER = "server"
    CLIENT = "client"

    @property
    def common_name(self) -> str:
        return f"{self.value}.vpnprobe.test"


class Flaw(StrEnum):
    """What is wrong with a certificate."""

    NONE = "none"
    EXPIRED = "expired"
    """Since an hour ago."""
    NOT_YET_VALID = "not-yet-valid"
    """In an hour."""
    OTHER_AUTHORITY = "other-authority"
    """Signed by an authority of another name and key."""
    OTHER_PURPOSE = "other-purpose"
    """The server's has extended key usage clientAuth alone, the client's serverAuth alone."""
    OTHER_NAME = "other-name"
    """Its common name and DNS name are OTHER_NAME; good in all else."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key as PEM files."""

    certificate: Path
    key: Path

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.read_bytes()

    @property
    def key_pem(self) -> bytes:
        return self.key.read_bytes()


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority and what it has signed, in one folder, beside another authority that nobody should trust."""

    folder: Path
    algorithm: Algorithm

    @classmethod
    def make(cls, folder: Path, algorithm: Algorithm) -> Self:
        """Writes all certificates and keys into `folder`, which is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder, algorithm)
        for path, role, name in ((made.certificate, "ca", AUTHORITY_NAME), (made.other_certificate, "other-ca", OTHER_AUTHORITY_NAME)):
            _written(path, _pem(_self_signed(_key(algorithm, role), name)))
        for role in Role:
            for flaw in Flaw:
                identity = made.identity(role, flaw)
                _written(identity.certificate, _pem(_issued(algorithm, role, flaw)))
                _written(identity.key, _key_pem(_key(algorithm, role)))
        return made

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def other_certificate(self) -> Path:
        """Of the authority that signed `Flaw.OTHER_AUTHORITY`."""
        return self.folder / "other-ca.crt"

    @property
    def pem(self) -> bytes:
        return self.certificate.read_bytes()

    @property
    def other_pem(self) -> bytes:
        return self.other_certificate.read_bytes()

    def identity(self, role: Role, flaw: Flaw = Flaw.NONE) -> Identity:
        stem = role.value if flaw is Flaw.NONE else f"{role.value}-{flaw.value}"
        return Identity(self.folder / f"{stem}.crt", self.folder / f"{stem}.key")

    def server(self, flaw: Flaw = Flaw.NONE) -> Identity:
        return self.identity(Role.SERVER, flaw)

    def client(self, flaw: Flaw = Flaw.NONE) -> Identity:
        return self.identity(Role.CLIENT, flaw)


@cache
def _key(algorithm: Algorithm, role: str) -> "PrivateKey":
    """The same key each time for `ca`, `other-ca`, `server` and `client`: making an RSA key takes up to a second."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    match algorithm:
        case Algorithm.EC:
            return ec.generate_private_key(ec.SECP256R1())
        case Algorithm.RSA:
            return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        case _:
            assert_never(algorithm)


def _self_signed(key: "PrivateKey", name: str) -> "Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(_name(name), _name(name), key.public_key(), x509.random_serial_number(), now - CLOCK_SLACK, now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_key_usage(signs=False, certifies=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _issued(algorithm: Algorithm, role: Role, flaw: Flaw) -> "Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    foreign = flaw is Flaw.OTHER_AUTHORITY
    issuer_name = _name(OTHER_AUTHORITY_NAME if foreign else AUTHORITY_NAME)
    issuer_key = _key(algorithm, "other-ca" if foreign else "ca")
    name = OTHER_NAME if flaw is Flaw.OTHER_NAME else role.common_name
    public = _key(algorithm, role).public_key()
    begin, end = _validity(flaw)
    return (
        x509.CertificateBuilder(issuer_name, _name(name), public, x509.random_serial_number(), begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(_key_usage(signs=True, certifies=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_purpose(role, flaw)]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _validity(flaw: Flaw) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    if flaw is Flaw.EXPIRED:
        return now - LIFETIME, now - hour
    if flaw is Flaw.NOT_YET_VALID:
        return now + hour, now + LIFETIME
    return now - CLOCK_SLACK, now + LIFETIME


def _purpose(role: Role, flaw: Flaw) -> "ObjectIdentifier":
    from cryptography.x509.oid import ExtendedKeyUsageOID

    serves = (role is Role.SERVER) != (flaw is Flaw.OTHER_PURPOSE)
    return ExtendedKeyUsageOID.SERVER_AUTH if serves else ExtendedKeyUsageOID.CLIENT_AUTH


def _key_usage(*, signs: bool, certifies: bool) -> "KeyUsage":
    """RFC 5280 section 4.2.1.3."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certifies,
        crl_sign=certifies,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> "Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: "Certificate") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: "PrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _written(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


@dataclass(frozen=True, slots=True)
class WrapKeys:
    """Fresh keys for the control channel, one file for each use."""

    tls_auth: Path
    tls_crypt: Path
    tls_crypt_v2_server: Path
    tls_crypt_v2_client: Path
    """Kc and WKc, wrapped with the server's key."""

    @classmethod
    def make(cls, program: str, folder: Path) -> Self:
        """`program`: the path of openvpn. The folder is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        keys = cls(*(folder / f"{kind}.key" for kind in ("tls-auth", "tls-crypt", "tls-crypt-v2-server", "tls-crypt-v2-client")))
        _genkey(program, "tls-auth", keys.tls_auth)
        _genkey(program, "tls-crypt", keys.tls_crypt)
        _genkey(program, "tls-crypt-v2-server", keys.tls_crypt_v2_server)
        _genkey(program, "tls-crypt-v2-client", keys.tls_crypt_v2_client, "--tls-crypt-v2", str(keys.tls_crypt_v2_server))
        return keys


def _genkey(program: str, kind: str, path: Path, *more: str) -> None:
    subprocess.run([program, *more, "--genkey", kind, str(path)], check=True, capture_output=True, timeout=GENKEY_DEADLINE_S)
