"""An authority that easy-rsa 3 has made goes on as the server's: its certificate, key, index and revocation list are taken over.

Read are `ca.crt`, `private/ca.key` (perhaps with a passphrase, which stays on it), `index.txt`, `certs_by_serial/` and `crl.pem`. In
easy-rsa's folder nothing is changed but the revocation lists that its servers read: each new list is written there too, so that what is
revoked here is refused there. What easy-rsa revokes later and puts into those lists is taken over with the next change.

`index.txt` is OpenSSL's (ca(1)): a line a certificate, six fields parted by tabs: V, R or E; its end; when it was revoked, with the reason;
the serial number; a file; the subject.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vpnprobe.deployment import pki
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.pki import Authority, Change, File, load_certificate
from vpnprobe.deployment.pki_index import Adoption, Entry, Event, Index, Kind
from vpnprobe.deployment.settings import PKI
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.provisioning.certificates import KeyPurpose
from vpnprobe.provisioning.revocation_lists import Reason

if TYPE_CHECKING:
    from cryptography import x509

REVOCATION_LIST: Final = "crl.pem"
_COMMON_NAME: Final = re.compile(r"/CN=([^/]*)")
_REASONS: Final = {reason.value.lower(): reason for reason in Reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Of `index.txt`."""

    serial: int
    not_after: datetime
    name: str
    revoked_at: datetime | None
    reason: Reason


def adopt(root: Path, folder: str, *, now: datetime, served: Sequence[str] = (), passphrase: bytes | None = None) -> Change:
    """Takes over the authority in `folder` (easy-rsa's `pki`, a path on the server).

    `served`: where its servers read their revocation list, besides `crl.pem` in the folder where that is. `passphrase`: of its key.
    Raises UsageError: UNREADABLE for what cannot be read, REFUSED where there is an authority already.
    """
    if pki.read_authority(root) is not None:
        raise UsageError(f"there is an authority in {PKI} already: nothing was adopted", status=ExitStatus.REFUSED)
    certificate, key = _read(root, f"{folder}/ca.crt"), _read(root, f"{folder}/private/ca.key")
    _check_authority(load_certificate(certificate, f"{folder}/ca.crt"), folder)
    own = f"{folder}/{REVOCATION_LIST}"
    lists = tuple(dict.fromkeys((*((own,) if inside(root, own).exists() else ()), *served)))
    at = now.astimezone(UTC).replace(microsecond=0)
    entries = tuple(_entries(root, folder, at))
    authority = Authority(
        certificate=certificate,
        key=key,
        index=Index((Adoption(at=at, folder=folder, revocation_lists=lists), *entries)),
        revocation_lists=tuple(_read(root, path) for path in lists if inside(root, path).exists()),
        passphrase=passphrase,
    )
    files = (
        File(path=pki.CERTIFICATE, content=certificate, mode=0o644, why=f"The certificate of the authority, from {folder}."),
        File(path=pki.SERVED_CERTIFICATE, content=certificate, mode=0o644, why="The certificate of the authority."),
        File(path=pki.KEY, content=key, mode=0o600, why=f"The authority's key, from {folder}.", secret=True),
    )
    return Change(authority=authority, files=files).then(pki.with_revocation_list(authority, now))


def _check_authority(certificate: "x509.Certificate", folder: str) -> None:
    from cryptography import x509

    found = [one.value.ca for one in certificate.extensions if isinstance(one.value, x509.BasicConstraints)]
    if found != [True]:
        raise UsageError(f"{folder}/ca.crt is no certificate of an authority", status=ExitStatus.UNREADABLE)


def _entries(root: Path, folder: str, at: datetime) -> Iterator[Entry]:
    """A line for each certificate, and behind it one for its revocation."""
    for line in _lines(_read(root, f"{folder}/index.txt"), f"{folder}/index.txt"):
        made = _certificate(root, folder, line)
        name = line.name if made is None else pki.common_name(made)
        entry = Entry(
            at=at,
            event=Event.ISSUED,
            kind=Kind.CLIENT if made is None else _kind(made),
            name=name,
            serial=line.serial,
            not_after=line.not_after,
            fingerprint="" if made is None else pki.fingerprint(made),
        )
        yield entry
        if line.revoked_at is not None:
            yield pki.revoked_entry(entry, line.revoked_at, line.reason)


def _lines(data: bytes, file: str) -> Iterator[_Line]:
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), start=1):
        if line.strip():
            try:
                yield _line(line.rstrip("\r"))
            except ValueError as problem:
                raise UsageError(f"line {number} of {file} cannot be read: {problem}", status=ExitStatus.UNREADABLE) from None


def _line(text: str) -> _Line:
    """Raises ValueError."""
    fields = text.split("\t")
    if len(fields) != 6 or fields[0] not in ("V", "R", "E"):
        raise ValueError("it is none of OpenSSL's index")
    status, end, revoked, serial, _, subject = fields
    at, _, reason = revoked.partition(",")
    found = _COMMON_NAME.findall(subject)
    return _Line(
        serial=int(serial, 16),
        not_after=_time(end),
        name=found[-1] if found else "",
        revoked_at=_time(at) if status == "R" else None,
        reason=_REASONS.get(reason.lower(), Reason.UNSPECIFIED),
    )


def _time(text: str) -> datetime:
    """UTCTime or GeneralizedTime; of the former, years from 50 on are of the last century (RFC 5280 section 4.1.2.5.1)."""
    if len(text) == len("YYMMDDHHMMSSZ"):
        text = f"{'19' if text[:1] >= '5' else '20'}{text}"
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _certificate(root: Path, folder: str, line: _Line) -> "x509.Certificate | None":
    """From where easy-rsa keeps a copy of each; None: it has none, or it is another's."""
    serial = f"{line.serial:X}"
    serial = serial.zfill(len(serial) + len(serial) % 2)
    for place in (f"certs_by_serial/{serial}.pem", f"revoked/certs_by_serial/{serial}.crt", f"renewed/certs_by_serial/{serial}.crt"):
        path = inside(root, f"{folder}/{place}")
        if path.is_file():
            made = load_certificate(_read(root, f"{folder}/{place}"), str(path))
            return made if made.serial_number == line.serial else None
    return None


def _kind(certificate: "x509.Certificate") -> Kind:
    from cryptography import x509

    found = [one.value for one in certificate.extensions if isinstance(one.value, x509.ExtendedKeyUsage)]
    purposes = {purpose.dotted_string for value in found for purpose in value}
    return Kind.SERVER if purposes == {KeyPurpose.SERVER_AUTH.value} else Kind.CLIENT


def _read(root: Path, path: str) -> bytes:
    try:
        return inside(root, path).read_bytes()
    except OSError as problem:
        what = f"{path} cannot be read: {problem.strerror}. An authority of easy-rsa 3 is adopted from its folder pki"
        raise UsageError(what, status=ExitStatus.UNREADABLE) from None
