"""Keys and X.509 certificates of version 3 (RFC 5280): the one place of the program that builds them.

A `CertificateContent` says what stands in a certificate, `make_key` makes its key, and `build_certificate` signs it: with its own key, or
as an `Issuer`. An extension is in the certificate only where the content asks for it. Given a serial number, fixed times and an Ed25519
key made of given bytes, the certificate is the same to the byte each time. EC and RSA keys sign with SHA-256; Ed25519 has its own digest.

The package `cryptography` is imported by the functions that need it: importing this module needs the standard library alone.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, assert_never

from vpnprobe.errors import CannotRun, ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    PrivateKey = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey

RSA_PUBLIC_EXPONENT: Final = 65537
ED25519_SEED_BYTES: Final = 32
"""Length of an Ed25519 private key (RFC 8032 section 5.1.5)."""


class KeyAlgorithm(StrEnum):
    """What a key is of."""

    EC_P256 = "ec-p256"
    """ECDSA on the curve P-256 (FIPS 186-5)."""
    RSA_2048 = "rsa-2048"
    """RSA of 2048 bits. Making one takes up to a second."""
    RSA_3072 = "rsa-3072"
    """RSA of 3072 bits, as strong as P-256 (NIST SP 800-57 part 1, table 2). Making one takes some seconds."""
    ED25519 = "ed25519"
    """Ed25519 (RFC 8032). Its signatures have one size, and the same content always gets the same signature."""


class KeyUse(StrEnum):
    """A bit of the key usage extension (RFC 5280 section 4.2.1.3)."""

    DIGITAL_SIGNATURE = "digital_signature"
    CONTENT_COMMITMENT = "content_commitment"
    KEY_ENCIPHERMENT = "key_encipherment"
    DATA_ENCIPHERMENT = "data_encipherment"
    KEY_AGREEMENT = "key_agreement"
    KEY_CERT_SIGN = "key_cert_sign"
    CRL_SIGN = "crl_sign"
    ENCIPHER_ONLY = "encipher_only"
    """Has a meaning beside KEY_AGREEMENT alone, and is refused without it."""
    DECIPHER_ONLY = "decipher_only"
    """As ENCIPHER_ONLY."""


class KeyPurpose(StrEnum):
    """A purpose of the extended key usage extension, by its object identifier (RFC 5280 section 4.2.1.12)."""

    SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicConstraints:
    """The basic constraints extension (RFC 5280 section 4.2.1.9), always critical here."""

    authority: bool
    """Whether the key may sign certificates."""
    path_length: int | None = None
    """How many authorities may follow below this one; None: any number, and for what is no authority."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawExtension:
    """An extension that has no field of its own in `CertificateContent`."""

    oid: str
    """Its object identifier, dotted."""
    value: bytes
    """Its value, as it stands in the octet string of the certificate."""
    critical: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateContent:
    """What stands in a certificate. Extensions that are not asked for are not in it."""

    subject: "str | x509.Name"
    """A string is a common name and nothing else."""
    not_before: datetime
    """Aware of its time zone, as `not_after`. Fractions of a second are cut off."""
    not_after: datetime
    serial: int | None = None
    """Positive, at most 159 bits; None: a fresh random one (RFC 5280 section 4.1.2.2)."""
    constraints: BasicConstraints | None = None
    key_uses: frozenset[KeyUse] = frozenset()
    """Of the key usage extension, always critical here. Empty: there is none."""
    purposes: tuple[KeyPurpose, ...] = ()
    """Of the extended key usage extension. Empty: there is none."""
    dns_names: tuple[str, ...] = ()
    """Of the subject alternative name extension (RFC 5280 section 4.2.1.6), before the addresses."""
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    """Of the same extension."""
    subject_key_identifier: bool = False
    """SHA-1 of the subject's public key (RFC 5280 section 4.2.1.2, method 1)."""
    authority_key_identifier: bool = False
    """The key that signs, by its identifier (RFC 5280 section 4.2.1.1)."""
    raw_extensions: tuple[RawExtension, ...] = ()
    """They stand behind all others."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs a certificate for somebody else."""

    name: "str | x509.Name"
    """The subject of the issuer's own certificate; a string is a common name and nothing else."""
    key: "PrivateKey"
    key_identifier: bytes | None = None
    """Subject key identifier of the issuer's certificate, where that is to be named; None: SHA-1 of its public key, which most have."""


def make_key(algorithm: KeyAlgorithm, *, seed: bytes | None = None) -> "PrivateKey":
    """A private key.

    `seed`: the 32 bytes that an Ed25519 key is to be made of; None: fresh from the system's randomness. The other algorithms take no seed.
    Raises CannotRun (status MISSING) where the package `cryptography` is not installed, and ValueError for a seed that does not fit.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    except ImportError as exc:
        raise CannotRun("the Python package cryptography is not installed: pip install cryptography", status=ExitStatus.MISSING) from exc
    if seed is not None and (algorithm is not KeyAlgorithm.ED25519 or len(seed) != ED25519_SEED_BYTES):
        raise ValueError(f"a key of {algorithm} is not made of {len(seed)} given bytes")
    match algorithm:
        case KeyAlgorithm.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyAlgorithm.RSA_2048:
            return rsa.generate_private_key(RSA_PUBLIC_EXPONENT, 2048)
        case KeyAlgorithm.RSA_3072:
            return rsa.generate_private_key(RSA_PUBLIC_EXPONENT, 3072)
        case KeyAlgorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate() if seed is None else ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        case _:
            assert_never(algorithm)


def build_certificate(content: CertificateContent, key: "PrivateKey", *, issuer: Issuer | None = None) -> "x509.Certificate":
    """A certificate for the public half of `key`.

    `issuer`: who signs it; None: it is self-signed. Raises ValueError where the content cannot stand in a certificate: times in the wrong
    order, a serial number that is not positive, an extension that is there twice.
    """
    from cryptography import x509

    signer = Issuer(content.subject, key) if issuer is None else issuer
    builder = (
        x509.CertificateBuilder()
        .issuer_name(x509_name(signer.name))
        .subject_name(x509_name(content.subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number() if content.serial is None else content.serial)
        .not_valid_before(content.not_before)
        .not_valid_after(content.not_after)
    )
    for extension, critical in _extensions(content, key, signer):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer.key, signing_digest(signer.key))


def signing_digest(key: "PrivateKey") -> "hashes.SHA256 | None":
    """What is signed; None: the algorithm has its own digest."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()


def x509_name(name: "str | x509.Name") -> "x509.Name":
    """A string is a common name and nothing else."""
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) if isinstance(name, str) else name


def authority_key_identifier(issuer: Issuer) -> "x509.AuthorityKeyIdentifier":
    """The extension of what this issuer signs, with its key identifier alone (RFC 5280 section 4.2.1.1)."""
    from cryptography import x509

    if issuer.key_identifier is None:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return x509.AuthorityKeyIdentifier(issuer.key_identifier, None, None)


def _extensions(content: CertificateContent, key: "PrivateKey", signer: Issuer) -> "Iterator[tuple[x509.ExtensionType, bool]]":
    """Each with whether it is critical."""
    from cryptography import x509

    if content.constraints is not None:
        yield x509.BasicConstraints(content.constraints.authority, content.constraints.path_length), True
    if content.subject_key_identifier:
        yield x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
    if content.authority_key_identifier:
        yield authority_key_identifier(signer), False
    if content.key_uses:
        yield x509.KeyUsage(**{use.value: use in content.key_uses for use in KeyUse}), True
    if content.purposes:
        yield x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose) for purpose in content.purposes]), False
    if content.dns_names or content.addresses:
        names = [*map(x509.DNSName, content.dns_names), *map(x509.IPAddress, content.addresses)]
        yield x509.SubjectAlternativeName(names), False
    for raw in content.raw_extensions:
        yield x509.UnrecognizedExtension(x509.ObjectIdentifier(raw.oid), raw.value), raw.critical


def certificate_pem(certificate: "x509.Certificate") -> bytes:
    """PEM (RFC 7468 section 5)."""
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: "PrivateKey", passphrase: bytes | None = None) -> bytes:
    """PKCS #8 (RFC 5208) as PEM. Without a passphrase whoever reads it has the key; with one, that is what encrypts it (section 6)."""
    from cryptography.hazmat.primitives import serialization

    encryption = serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
