"""Certificates and keys for real OpenVPN servers and clients: the good ones, and for each way to be refused a wrong one.

ECDSA on P-256 or RSA of 2048 bits; what is good is valid for one day. Private keys are written without a passphrase, mode 0600, and are
made once in a process for each algorithm and role: certificates with a flaw differ from the good one in that flaw alone. The keys of
tls-auth, tls-crypt and tls-crypt-v2 are of openvpn's own making (`--genkey`).
"""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, assert_never

from vpnprobe.lab.pki import CLOCK_SLACK, LIFETIME, written
from vpnprobe.provisioning.certificates import (
    BasicConstraints,
    CertificateContent,
    Issuer,
    KeyAlgorithm,
    KeyPurpose,
    KeyUse,
    build_certificate,
    certificate_pem,
    key_pem,
    make_key,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from vpnprobe.provisioning.certificates import PrivateKey

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
            written(path, certificate_pem(_self_signed(_key(algorithm, role), name)))
        for role in Role:
            for flaw in Flaw:
                identity = made.identity(role, flaw)
                written(identity.certificate, certificate_pem(_issued(algorithm, role, flaw)))
                written(identity.key, key_pem(_key(algorithm, role)))
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
    match algorithm:
        case Algorithm.EC:
            return make_key(KeyAlgorithm.EC_P256)
        case Algorithm.RSA:
            return make_key(KeyAlgorithm.RSA_2048)
        case _:
            assert_never(algorithm)


def _self_signed(key: "PrivateKey", name: str) -> "Certificate":
    now = datetime.now(UTC)
    content = CertificateContent(
        subject=name,
        not_before=now - CLOCK_SLACK,
        not_after=now + LIFETIME,
        constraints=BasicConstraints(authority=True),
        key_uses=frozenset((KeyUse.KEY_CERT_SIGN, KeyUse.CRL_SIGN)),
        subject_key_identifier=True,
    )
    return build_certificate(content, key)


def _issued(algorithm: Algorithm, role: Role, flaw: Flaw) -> "Certificate":
    foreign = flaw is Flaw.OTHER_AUTHORITY
    issuer = Issuer(OTHER_AUTHORITY_NAME if foreign else AUTHORITY_NAME, _key(algorithm, "other-ca" if foreign else "ca"))
    name = OTHER_NAME if flaw is Flaw.OTHER_NAME else role.common_name
    begin, end = _validity(flaw)
    content = CertificateContent(
        subject=name,
        not_before=begin,
        not_after=end,
        constraints=BasicConstraints(authority=False),
        key_uses=frozenset((KeyUse.DIGITAL_SIGNATURE,)),
        purposes=(_purpose(role, flaw),),
        dns_names=(name,),
        subject_key_identifier=True,
        authority_key_identifier=True,
    )
    return build_certificate(content, _key(algorithm, role), issuer=issuer)


def _validity(flaw: Flaw) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    if flaw is Flaw.EXPIRED:
        return now - LIFETIME, now - hour
    if flaw is Flaw.NOT_YET_VALID:
        return now + hour, now + LIFETIME
    return now - CLOCK_SLACK, now + LIFETIME


def _purpose(role: Role, flaw: Flaw) -> KeyPurpose:
    serves = (role is Role.SERVER) != (flaw is Flaw.OTHER_PURPOSE)
    return KeyPurpose.SERVER_AUTH if serves else KeyPurpose.CLIENT_AUTH


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
