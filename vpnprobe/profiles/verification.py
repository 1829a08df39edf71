"""What a profile asks of TLS: the context to connect with, and the checks of the server's certificate beyond its chain.

The rules are those of OpenVPN's manual: verify-x509-name, remote-cert-tls, remote-cert-eku, remote-cert-ku, ns-cert-type, peer-fingerprint.
`cryptography` reads the certificate. A check says what is wrong in one `Failure`, with what stands in the certificate.
"""

import hashlib
import ssl
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_tls import Identity, TlsLimits, client_context
from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.model import NameType, Profile, ServerChecks
from vpnprobe.profiles.tls_lists import curve, openssl_list, refused_lists

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name, NameAttribute

EKU_NAMES: Final = {
    "TLS Web Server Authentication": "1.3.6.1.5.5.7.3.1",
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "TLS Web Client Authentication": "1.3.6.1.5.5.7.3.2",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
}
"""OpenSSL's names of extended key usages to their OIDs (RFC 5280 section 4.2.1.12)."""
EKU_OF_TYPE: Final = {"server": "1.3.6.1.5.5.7.3.1", "client": "1.3.6.1.5.5.7.3.2"}
NS_CERT_TYPE: Final = "2.16.840.1.113730.1.1"
NS_BITS: Final = {"client": 0x80, "server": 0x40}
GATED: Final = frozenset({"2.16.840.1.113730.4.1", "1.3.6.1.4.1.311.10.3.3"})
"""Server Gated Cryptography, of Netscape and of Microsoft: extended key usages that OpenSSL takes for a server's too."""
KEY_USAGES_OF_TYPE: Final = {"client": 0x88, "server": 0xA8}
"""Bits of the key usage of which one has to be there, where the extension is: digitalSignature, keyAgreement and a server's
keyEncipherment."""
SHORT_NAMES: Final = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "name",
    "2.5.4.42": "GN",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
"""OpenSSL's short names, with which OpenVPN writes a subject."""
KEY_USAGE_BITS: Final = (
    ("digital_signature", 0x80),
    ("content_commitment", 0x40),
    ("key_encipherment", 0x20),
    ("data_encipherment", 0x10),
    ("key_agreement", 0x08),
    ("key_cert_sign", 0x04),
    ("crl_sign", 0x02),
)
"""RFC 5280 section 4.2.1.3, as `remote-cert-ku` counts them."""
VERSIONS: Final = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
SECURITY_LEVELS: Final = {"insecure": 0, "legacy": 1, "preferred": 2, "suiteb": 3}
"""`tls-cert-profile`, as OpenSSL's security level."""


class RefusedByTls(ProfileError):
    """What the TLS library takes nothing of, so that OpenVPN ends before it sends anything."""


TOO_WEAK: Final = ("TOO_WEAK", "TOO_SMALL", "NO_CIPHER")
"""Parts of the library's reasons for what `tls-cert-profile` and `tls-cipher` are about."""


def unchecked_context(checks: ServerChecks) -> ssl.SSLContext:
    """A context that takes any certificate and shows none of ours: to look at a certificate that was not accepted."""
    return client_context(ca_pem=None, identity=None, limits=_limits(checks))


def _limits(checks: ServerChecks) -> TlsLimits:
    return TlsLimits(
        VERSIONS.get(checks.tls_version_min, ssl.TLSVersion.TLSv1_2),
        VERSIONS.get(checks.tls_version_max, ssl.TLSVersion.MAXIMUM_SUPPORTED),
        SECURITY_LEVELS.get(checks.tls_cert_profile, 1),
        openssl_list(checks),
        curve(checks),
    )


def certificate_facts(der: bytes) -> dict[str, str]:
    """Subject, serial number in hexadecimal and dates of a certificate; empty where it cannot be read."""
    from cryptography import x509

    try:
        with old_certificates():
            certificate = x509.load_der_x509_certificate(der)
            return {
                "certificate_name": subject_of(certificate.subject),
                "certificate_serial": f"{certificate.serial_number:x}",
                "certificate_from": f"{certificate.not_valid_before_utc:%Y-%m-%d}",
                "certificate_until": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
            }
    except ValueError:
        return {}


def told_certificate(facts: Mapping[str, str | float]) -> str:
    """The same as a clause; empty where there is nothing."""
    if not facts:
        return ""
    return (
        f"the certificate is {facts['certificate_name']}, serial number {facts['certificate_serial']}, "
        f"valid from {facts['certificate_from']} until {facts['certificate_until']}"
    )


def tls_context(profile: Profile, *, passphrase: str | None = None) -> ssl.SSLContext:
    """The context to connect with. Raises ProfileError where certificate, key or passphrase cannot be used."""
    checks, tls = profile.checks, profile.tls
    if refused := refused_lists(checks):
        raise RefusedByTls(profile.file, 0, "; ".join(refused), "correct the list, or take it out")
    limits = _limits(checks)
    identity, ca = _identity(profile, passphrase)
    if ca is None and not checks.fingerprints:
        # Without either anybody could pose as the server, and be told the password.
        mend = "put the authority's certificate into ca, or the server's fingerprint into peer-fingerprint"
        raise ProfileError(profile.file, 0, "has nothing by which the server can be known", mend)
    try:
        # With fingerprints alone no authority is asked. What stands around a certificate may be in any tongue.
        return client_context(ca_pem=ca.decode("ascii", "ignore") if ca is not None else None, identity=identity, limits=limits)
    except (ssl.SSLError, ValueError, OSError) as error:
        if any(part in (getattr(error, "reason", "") or "") for part in TOO_WEAK):
            wrong = f"certificate or key is too weak for this profile ({error.reason.lower().replace('_', ' ')})"  # type: ignore[union-attr]
            raise RefusedByTls(profile.file, 0, wrong, "have it issued anew, or say tls-cert-profile insecure until then") from error
        wrong = "the passphrase does not fit the private key" if tls.key_is_encrypted else f"certificate or key cannot be used: {error}"
        raise ProfileError(profile.file, 0, wrong, "get the profile again, or give the right passphrase") from error


def _identity(profile: Profile, passphrase: str | None) -> tuple[Identity | None, bytes | None]:
    """The client's certificate and key, None without; and the authorities."""
    tls = profile.tls
    passphrase = passphrase if passphrase is not None else tls.passphrase
    if tls.pkcs12 is not None:
        return _of_pkcs12(profile, tls.pkcs12, passphrase)
    if tls.cert is None or tls.key is None:
        return None, tls.ca
    return Identity(tls.cert + b"\n" + (tls.extra_certs or b""), tls.key, passphrase), tls.ca


def _of_pkcs12(profile: Profile, data: bytes, passphrase: str | None) -> tuple[Identity, bytes | None]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import pkcs12

    pem = serialization.Encoding.PEM
    try:
        key, certificate, others = pkcs12.load_key_and_certificates(data, passphrase.encode() if passphrase else None)
    except ValueError as error:
        raise ProfileError(profile.file, 0, f"pkcs12 cannot be opened: {error}", "give the right passphrase (askpass FILE)") from error
    if key is None or certificate is None:
        raise ProfileError(profile.file, 0, "pkcs12 holds no key with its certificate", "get the profile again")
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    authorities = b"".join(other.public_bytes(pem) for other in others)
    return Identity(certificate.public_bytes(pem), private), profile.tls.ca or authorities or None


def certificate_check(checks: ServerChecks) -> Callable[[bytes], Failure | None]:
    """What is wrong with a server's certificate (DER) by the profile's own rules; None: nothing."""

    # Here, before a session begins: within one the time that it takes to load would be taken for the network's.
    from cryptography import x509

    def check(der: bytes) -> Failure | None:
        fingerprint = hashlib.sha256(der).digest()
        if checks.fingerprints and fingerprint not in checks.fingerprints:
            return Failure(FailureCode.CERTIFICATE_WRONG_FINGERPRINT, f"it is {fingerprint.hex(':')}")
        try:
            with old_certificates():
                certificate = x509.load_der_x509_certificate(der)
            return _wrong_name(certificate, checks) or _wrong_purpose(certificate, checks)
        except Exception as error:  # Whatever a stranger's certificate makes the library raise: it does not pass.
            return Failure(FailureCode.CERTIFICATE_REJECTED, str(error))

    return check


def pkcs12_is_encrypted(profile: Profile) -> bool:
    """Whether there is a PKCS#12 that does not open without a passphrase."""
    from cryptography.hazmat.primitives.serialization import pkcs12

    if profile.tls.pkcs12 is None:
        return False
    try:
        pkcs12.load_key_and_certificates(profile.tls.pkcs12, None)
    except ValueError:
        return True
    return False


@contextmanager
def old_certificates() -> Iterator[None]:
    """Certificates whose serial number is 0 (RFC 5280 section 4.1.2.2 wants a positive one) are read without a warning: SoftEther's is."""
    from cryptography.utils import CryptographyDeprecationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def subject_of(name: "Name") -> str:
    """As `verify-x509-name ... subject` has it: `C=KG, ST=NA, L=BISHKEK, CN=Server-1`; a part of several values has ` + ` between them."""
    return ", ".join(" + ".join(_attribute(attribute) for attribute in part) for part in name.rdns)


def _attribute(attribute: "NameAttribute[str | bytes]") -> str:
    oid, value = attribute.oid.dotted_string, attribute.value
    shown = value.hex() if isinstance(value, bytes) else "".join(map(_escaped, value))
    return f"{SHORT_NAMES.get(oid, oid)}={shown}"


def _escaped(character: str) -> str:
    """As OpenSSL's ASN1_STRFLGS_ESC_CTRL does."""
    if character == "\\":
        return "\\\\"
    return f"\\{ord(character):02X}" if character < " " or character == "\x7f" else character


def _common_name(name: "Name") -> str:
    """The last one, as OpenVPN takes it; empty: there is none."""
    from cryptography.x509.oid import NameOID

    values = [attribute.value for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return str(values[-1]) if values else ""


def _wrong_name(certificate: "Certificate", checks: ServerChecks) -> Failure | None:
    subject, common = subject_of(certificate.subject), _common_name(certificate.subject)
    if checks.x509_name:
        fits = {
            NameType.SUBJECT: subject == checks.x509_name,
            NameType.NAME: common == checks.x509_name,
            NameType.NAME_PREFIX: common.startswith(checks.x509_name),
        }[checks.x509_name_type]
        if not fits:
            shown = subject if checks.x509_name_type is NameType.SUBJECT else common
            return Failure(FailureCode.CERTIFICATE_WRONG_NAME, f"the profile wants {checks.x509_name}, the certificate says {shown}")
    if checks.tls_remote and checks.tls_remote != subject and not common.startswith(checks.tls_remote):
        return Failure(FailureCode.CERTIFICATE_WRONG_NAME, f"the profile wants {checks.tls_remote}, the certificate says {common}")
    return None


def _wrong_purpose(certificate: "Certificate", checks: ServerChecks) -> Failure | None:
    usages = _extended_usages(certificate)
    wanted = EKU_OF_TYPE.get(checks.certificate_type, EKU_NAMES.get(checks.extended_key_usage, checks.extended_key_usage))
    if wanted and wanted not in usages:
        said = ", ".join(sorted(usages)) or "none"
        return Failure(
            FailureCode.CERTIFICATE_WRONG_PURPOSE, f"the profile wants the extended key usage {wanted}, the certificate has {said}"
        )
    bits = _key_usage(certificate)
    masks = checks.key_usages if checks.key_usages is not None else (() if checks.certificate_type else None)
    if masks is not None and (bits is None or (masks and not any(bits & mask == mask for mask in masks))):
        said = "none" if bits is None else f"{bits:02x}"
        return Failure(FailureCode.CERTIFICATE_WRONG_PURPOSE, f"the key usage in the certificate is {said}")
    if checks.ns_cert_type and not _has_ns_type(certificate, checks.ns_cert_type, usages):
        said = ", ".join(sorted(usages)) or "no extended key usage"
        return Failure(
            FailureCode.CERTIFICATE_WRONG_PURPOSE, f"the profile wants ns-cert-type {checks.ns_cert_type}, the certificate has {said}"
        )
    return None


def _extended_usages(certificate: "Certificate") -> set[str]:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return set()
    return {usage.dotted_string for usage in extension.value}


def _key_usage(certificate: "Certificate") -> int | None:
    from cryptography import x509

    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
    return sum(bit for name, bit in KEY_USAGE_BITS if getattr(usage, name))


def _has_ns_type(certificate: "Certificate", kind: str, usages: set[str]) -> bool:
    """As OpenVPN has it since 2.4: no extension speaks against it (OpenSSL's X509_check_purpose), or Netscape's alone speaks for it."""
    bits, key_usage = _ns_type(certificate), _key_usage(certificate)
    if bits is not None and bits & NS_BITS[kind]:
        return True
    fits_usages = not usages or EKU_OF_TYPE[kind] in usages or (kind == "server" and bool(usages & GATED))
    return bits is None and fits_usages and (key_usage is None or bool(key_usage & KEY_USAGES_OF_TYPE[kind]))


def _ns_type(certificate: "Certificate") -> int | None:
    """The bits of Netscape's extension; None: it is not there."""
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(NS_CERT_TYPE))
    except x509.ExtensionNotFound:
        return None
    value = extension.value
    # A BIT STRING of one byte (tag 3, length 2, unused bits), as Netscape defined it.
    return value.value[3] if isinstance(value, x509.UnrecognizedExtension) and len(value.value) == 4 else 0
