"""The authority of a server: certificates for the server and its clients, and the list of those that are revoked.

It lies in one folder (`settings.PKI`): `ca.crt`, `ca.key`, `index.jsonl`, `crl.pem`, `issued/NAME.crt`, `private/NAME.key`. Functions
here take what is there and the time, and give an authority and the files to be written; nothing is written here. Private keys are mode 0600
and in no `repr` and no error.

- The revocation list is good as long as the authority is: a list that ends before locks everybody out. What one list has ever had, each
  later one has.
- No certificate outlives its authority. All begin a day before they are made, for clocks that are behind.
- A renewed certificate has a new key; the one before stays good until its end, or until its name is revoked. A renewed authority keeps its
  key and name, so that all certificates stay good.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.pki_index import Entry, Event, Index, Kind, decode_index
from vpnprobe.deployment.settings import KEYS, PKI
from vpnprobe.deployment.steps import ABSENT
from vpnprobe.errors import DecodeError, ExitStatus, UsageError
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
from vpnprobe.provisioning.revocation_lists import Reason, RevocationList, Revoked, build_revocation_list, read_revocation_list

if TYPE_CHECKING:
    from cryptography import x509

    from vpnprobe.provisioning.certificates import PrivateKey

CLOCK_SKEW: Final = timedelta(days=1)
CERTIFICATE: Final = f"{PKI}/ca.crt"
KEY: Final = f"{PKI}/ca.key"
INDEX: Final = f"{PKI}/index.jsonl"
REVOCATION_LIST: Final = f"{PKI}/crl.pem"
SERVED_CERTIFICATE: Final = f"{KEYS}/ca.crt"
SERVED_REVOCATION_LIST: Final = f"{KEYS}/crl.pem"
"""What the running server reads, also after it has dropped its privileges."""
NEW_KEYS: Final = (KeyAlgorithm.EC_P256, KeyAlgorithm.RSA_3072)
"""What new keys may be of: all clients can do them, and they are good for the lifetime of an authority (NIST SP 800-57 part 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One that is to be written, in the place of what is there."""

    path: str
    """On the server itself, absolute."""
    content: bytes = field(repr=False)
    mode: int
    why: str
    secret: bool = False
    before: str | None = None
    """SHA-256 of what it takes the place of, or ABSENT; None: what is there when the steps are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What is there."""

    certificate: bytes
    """PEM."""
    key: bytes = field(repr=False)
    """PEM, perhaps with a passphrase."""
    index: Index
    revocation_lists: tuple[bytes, ...] = ()
    """PEM: its own, and those of the program that it was adopted from."""
    passphrase: bytes | None = field(default=None, repr=False)
    """Of its key; None: it has none."""
    index_read: str = field(default=ABSENT, compare=False)
    """SHA-256 of the index file as it was read: of two changes that began with the same one, only one can be made."""

    @property
    def not_after(self) -> datetime:
        return load_certificate(self.certificate, "the authority's certificate").not_valid_after_utc

    @property
    def revoked(self) -> tuple[Revoked, ...]:
        """By serial number, each once: the index's word goes before a list's."""
        listed = (entry for pem in self.revocation_lists for entry in read_list(pem).entries)
        return tuple({entry.serial: entry for entry in (*listed, *self.index.revoked)}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An authority as it will be, and what has to be written for that."""

    authority: Authority
    files: tuple[File, ...]

    def then(self, later: "Change") -> "Change":
        """Both; what the later one writes goes before."""
        written = {file.path for file in later.files}
        return Change(authority=later.authority, files=(*(file for file in self.files if file.path not in written), *later.files))


def issued_path(name: str) -> str:
    return f"{PKI}/issued/{name}.crt"


def private_path(name: str) -> str:
    return f"{PKI}/private/{name}.key"


def new_authority(*, algorithm: KeyAlgorithm, days: int, now: datetime) -> Change:
    """One that has issued nothing. Raises UsageError for a key that new ones may not have."""
    from cryptography import x509

    key = _new_key(algorithm)
    serial = x509.random_serial_number()
    made = build_certificate(_authority_content(f"vpnprobe authority {serial:x}"[:28], serial, now, now + timedelta(days=days)), key)
    entry = _entry(made, Event.ISSUED, Kind.AUTHORITY, now)
    authority = Authority(certificate=certificate_pem(made), key=key_pem(key), index=Index((entry,)))
    files = (*_certificate_files(authority), File(path=KEY, content=authority.key, mode=0o600, why="The authority's key.", secret=True))
    return Change(authority=authority, files=files).then(with_revocation_list(authority, now))


def issue(
    authority: Authority,
    name: str,
    kind: Kind,
    *,
    algorithm: KeyAlgorithm,
    days: int,
    now: datetime,
    passphrase: bytes | None = None,
    event: Event = Event.ISSUED,
) -> Change:
    """A new key and certificate. `passphrase`: what the private key is encrypted with; None: it is not.

    Raises UsageError where the authority's key cannot be opened, and (REFUSED) where the authority has expired.
    """
    issuer, end = open_issuer(authority), authority.not_after
    if end <= now:
        raise UsageError(f"the authority has expired on {end:%Y-%m-%d}: vpnprobe provision renew ca", status=ExitStatus.REFUSED)
    key = _new_key(algorithm)
    content = _content(name, kind, algorithm, now, min(now + timedelta(days=days), end))
    made = build_certificate(content, key, issuer=issuer)
    after = _noted(authority, _entry(made, event, kind, now))
    files = (
        File(path=issued_path(name), content=certificate_pem(made), mode=0o644, why=f"The certificate of {name}."),
        File(path=private_path(name), content=key_pem(key, passphrase), mode=0o600, why=f"The private key of {name}.", secret=True),
        _index_file(after),
    )
    return Change(authority=after, files=files)


def revoke(authority: Authority, name: str, *, reason: Reason, now: datetime) -> Change:
    """All certificates of the name. Raises UsageError (REFUSED) where there is none to revoke."""
    found = authority.index.of(name)
    if not found:
        raise UsageError(f"there is no client {name!a} to revoke: vpnprobe provision client list shows them", status=ExitStatus.REFUSED)
    at = now.astimezone(UTC).replace(microsecond=0)
    lines = (revoked_entry(entry, at, reason) for entry in found)
    after = replace(authority, index=Index((*authority.index.lines, *lines)))
    return Change(authority=after, files=(_index_file(after),)).then(with_revocation_list(after, now))


def renew_certificate_of_authority(authority: Authority, *, days: int, now: datetime) -> Change:
    """A new certificate for the authority's name and key, so that everything that it has issued stays good.

    An adopted authority keeps its serial number too: what easy-rsa issues names it beside the key (RFC 5280 section 4.2.1.1), and would be
    refused under another one.
    """
    from cryptography import x509

    issuer, old = open_issuer(authority), load_certificate(authority.certificate, "the authority's certificate")
    serial = old.serial_number if authority.index.adoption else x509.random_serial_number()
    end = max(now + timedelta(days=days), old.not_valid_after_utc)
    made = build_certificate(_authority_content(old.subject, serial, now, end), issuer.key)
    entry = _entry(made, Event.RENEWED, Kind.AUTHORITY, now)
    after = replace(_noted(authority, entry), certificate=certificate_pem(made))
    files = (*_certificate_files(after), _index_file(after))
    return Change(authority=after, files=files).then(with_revocation_list(after, now))


def with_revocation_list(authority: Authority, now: datetime) -> Change:
    """A new list of all that is revoked, at each place where a server reads it."""
    lists = [read_list(pem) for pem in authority.revocation_lists]
    end = authority.not_after
    pem = build_revocation_list(
        authority.revoked,
        open_issuer(authority),
        number=max((one.number for one in lists), default=0) + 1,
        this_update=min(now, end) - CLOCK_SKEW,
        next_update=end,
    )
    after = replace(authority, revocation_lists=(pem,))
    return Change(authority=after, files=(*_list_files(after, pem), _index_file(after)))


def _list_files(authority: Authority, pem: bytes) -> Iterator[File]:
    adopted = authority.index.adoption
    why = "The certificates that are revoked; good as long as the authority, since a list that has ended locks everybody out."
    for path in (REVOCATION_LIST, SERVED_REVOCATION_LIST, *(adopted.revocation_lists if adopted else ())):
        yield File(path=path, content=pem, mode=0o644, why=why)


def _certificate_files(authority: Authority) -> Iterator[File]:
    for path in (CERTIFICATE, SERVED_CERTIFICATE):
        yield File(path=path, content=authority.certificate, mode=0o644, why="The certificate of the authority.")


def _index_file(authority: Authority) -> File:
    why = "What the authority has issued and revoked."
    return File(path=INDEX, content=authority.index.encode(), mode=0o600, why=why, before=authority.index_read)


def _noted(authority: Authority, entry: Entry) -> Authority:
    return replace(authority, index=Index((*authority.index.lines, entry)))


def _new_key(algorithm: KeyAlgorithm) -> "PrivateKey":
    if algorithm not in NEW_KEYS:
        raise UsageError(f"new keys are not made of {algorithm}: take {' or '.join(NEW_KEYS)}")
    return make_key(algorithm)


def _authority_content(subject: "str | x509.Name", serial: int, now: datetime, end: datetime) -> CertificateContent:
    return CertificateContent(
        subject=subject,
        serial=serial,
        not_before=now - CLOCK_SKEW,
        not_after=end,
        constraints=BasicConstraints(authority=True, path_length=0),
        key_uses=frozenset((KeyUse.KEY_CERT_SIGN, KeyUse.CRL_SIGN)),
        subject_key_identifier=True,
        authority_key_identifier=True,
    )


def _content(name: str, kind: Kind, algorithm: KeyAlgorithm, now: datetime, end: datetime) -> CertificateContent:
    # RSA may also encipher the secret of the handshake's key (RFC 5280 section 4.2.1.3); up to TLS 1.2 some clients look for it.
    enciphers = kind is Kind.SERVER and algorithm is KeyAlgorithm.RSA_3072
    return CertificateContent(
        subject=name,
        not_before=now - CLOCK_SKEW,
        not_after=end,
        constraints=BasicConstraints(authority=False),
        key_uses=frozenset((KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_ENCIPHERMENT) if enciphers else (KeyUse.DIGITAL_SIGNATURE,)),
        purposes=(KeyPurpose.SERVER_AUTH if kind is Kind.SERVER else KeyPurpose.CLIENT_AUTH,),
        subject_key_identifier=True,
        authority_key_identifier=True,
    )


def revoked_entry(entry: Entry, at: datetime, reason: Reason) -> Entry:
    """The line that revokes the certificate of this one."""
    return replace(entry, at=at, event=Event.REVOKED, reason=reason)


def fingerprint(certificate: "x509.Certificate") -> str:
    """SHA-256, hexadecimal."""
    from cryptography.hazmat.primitives import hashes

    return certificate.fingerprint(hashes.SHA256()).hex()


def _entry(certificate: "x509.Certificate", event: Event, kind: Kind, now: datetime) -> Entry:
    return Entry(
        at=now.astimezone(UTC).replace(microsecond=0),
        event=event,
        kind=kind,
        name=common_name(certificate),
        serial=certificate.serial_number,
        not_after=certificate.not_valid_after_utc,
        fingerprint=fingerprint(certificate),
    )


def common_name(certificate: "x509.Certificate") -> str:
    """Empty: it has none."""
    from cryptography import x509

    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def load_certificate(pem: bytes, what: str) -> "x509.Certificate":
    """Raises UsageError (UNREADABLE)."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as problem:
        raise UsageError(f"{what} cannot be read: {problem}", status=ExitStatus.UNREADABLE) from None


def read_list(pem: bytes) -> RevocationList:
    """Raises UsageError (UNREADABLE)."""
    try:
        return read_revocation_list(pem)
    except DecodeError as problem:
        raise UsageError(f"a revocation list of the authority cannot be read: {problem.problem}", status=ExitStatus.UNREADABLE) from None


def open_issuer(authority: Authority) -> Issuer:
    """Who signs. Raises UsageError: a passphrase is missing or wrong, or (UNREADABLE) the key is none, or another's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    certificate = load_certificate(authority.certificate, "the authority's certificate")
    try:
        key = serialization.load_pem_private_key(authority.key, authority.passphrase)
    except TypeError:
        wrong = "needs its passphrase" if authority.passphrase is None else "has no passphrase, and one was given"
        raise UsageError(f"the authority's key {wrong}") from None
    except ValueError:
        # What the library says could quote the key.
        problem = "cannot be read" if authority.passphrase is None else "cannot be opened: the passphrase is wrong"
        raise UsageError(f"the authority's key {problem}", status=ExitStatus.UNREADABLE) from None
    if key.public_key() != certificate.public_key():
        raise UsageError("the authority's key and certificate do not belong together", status=ExitStatus.UNREADABLE)
    known = [one.value.digest for one in certificate.extensions if isinstance(one.value, x509.SubjectKeyIdentifier)]
    return Issuer(certificate.subject, cast("PrivateKey", key), known[0] if known else None)


def read_authority(root: Path, *, passphrase: bytes | None = None) -> Authority | None:
    """What is there below `root`; None: nothing. Raises UsageError (UNREADABLE) where a part is missing or cannot be read."""
    if not inside(root, CERTIFICATE).exists() and not inside(root, INDEX).exists():
        return None
    index_file = _read(root, INDEX)
    index = decode_index(index_file, file=INDEX)
    adopted = index.adoption
    others = [path for path in (adopted.revocation_lists if adopted else ()) if inside(root, path).exists()]
    return Authority(
        certificate=_read(root, CERTIFICATE),
        key=_read(root, KEY),
        index=index,
        revocation_lists=tuple(_read(root, path) for path in (REVOCATION_LIST, *others)),
        passphrase=passphrase,
        index_read=hashlib.sha256(index_file).hexdigest(),
    )


def _read(root: Path, path: str) -> bytes:
    try:
        return inside(root, path).read_bytes()
    except OSError as problem:
        raise UsageError(f"{path} of the authority cannot be read: {problem.strerror}", status=ExitStatus.UNREADABLE) from None
