"""Certificate revocation lists of version 2 (RFC 5280 section 5): the one place of the program that builds and reads them.

A list has each revoked certificate's serial number, the time, and the reason where one was given. Its signer is the authority itself.

The package `cryptography` is imported by the functions that need it: importing this module needs the standard library alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from vpnprobe.errors import DecodeError
from vpnprobe.provisioning.certificates import Issuer, authority_key_identifier, signing_digest, x509_name

if TYPE_CHECKING:
    from cryptography import x509


class Reason(StrEnum):
    """Why a certificate was revoked (RFC 5280 section 5.3.1). Those that can be taken back (hold, removal) are not among them."""

    UNSPECIFIED = "unspecified"
    """Stands for no reason code at all, as the standard wants it."""
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Revoked:
    """One entry of a list."""

    serial: int
    at: datetime
    """Aware of its time zone, whole seconds."""
    reason: Reason = Reason.UNSPECIFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """A list that was read."""

    entries: tuple[Revoked, ...]
    number: int
    """CRL number (RFC 5280 section 5.2.3); 0: it has none."""
    next_update: datetime | None
    """After this whoever checks against it refuses everybody; None: it has no end."""


def build_revocation_list(
    entries: Iterable[Revoked], issuer: Issuer, *, number: int, this_update: datetime, next_update: datetime
) -> bytes:
    """PEM. Raises ValueError where the times are in the wrong order."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509_name(issuer.name))
        .last_update(this_update)
        .next_update(next_update)
        .add_extension(authority_key_identifier(issuer), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for entry in sorted(entries):
        builder = builder.add_revoked_certificate(_entry(entry))
    return builder.sign(issuer.key, signing_digest(issuer.key)).public_bytes(serialization.Encoding.PEM)


def _entry(revoked: Revoked) -> "x509.RevokedCertificate":
    from cryptography import x509

    builder = x509.RevokedCertificateBuilder().serial_number(revoked.serial).revocation_date(revoked.at)
    if revoked.reason is not Reason.UNSPECIFIED:
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(revoked.reason.value)), critical=False)
    return builder.build()


def read_revocation_list(pem: bytes) -> RevocationList:
    """Whoever signed it. Raises DecodeError."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_crl(pem)
        numbers = [extension.value.crl_number for extension in found.extensions if isinstance(extension.value, x509.CRLNumber)]
        entries = tuple(Revoked(serial=one.serial_number, at=one.revocation_date_utc, reason=_reason(one)) for one in found)
    except ValueError as problem:
        raise DecodeError("CRL", 0, f"cannot be read: {problem}") from None
    return RevocationList(entries=entries, number=max(numbers, default=0), next_update=found.next_update_utc)


def _reason(entry: "x509.RevokedCertificate") -> Reason:
    """UNSPECIFIED also for a hold: what was revoked stays revoked."""
    from cryptography import x509

    codes = [extension.value.reason.value for extension in entry.extensions if isinstance(extension.value, x509.CRLReason)]
    return next((Reason(code) for code in codes if code in set(Reason)), Reason.UNSPECIFIED)
