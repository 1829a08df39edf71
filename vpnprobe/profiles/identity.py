"""By what an OpenVPN client is known to its server: its certificate, and without one its user name.

A server without `duplicate-cn` ends the older of two sessions with the same identity. What is read here is compared, and nothing is
refused: a profile that a running client was started with may be one that `vpnprobe.profiles.ovpn` would not take.
"""

import base64
import binascii
import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.known import ELSEWHERE, SERVERS
from vpnprobe.profiles.lexing import Statement, statements
from vpnprobe.profiles.model import Profile
from vpnprobe.profiles.options import is_placeholder

CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END")
MOST_STATEMENTS: Final = 5000
"""Of one text: more than any profile has, and soon read."""
Read = Callable[[Statement], bytes | None]
"""What an option brings, its block's content or its file; None: it cannot be read."""


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """What is known of it. All is None or empty where it is not there or cannot be read."""

    has_certificate: bool
    has_user: bool
    certificate: bytes | None = None
    """SHA-256 of its DER."""
    pkcs12: bytes | None = None
    """SHA-256 of the file that holds it."""
    username: str | None = None
    host: str = ""
    """Of the first server, in small letters."""

    def same_as(self, other: "ClientIdentity") -> bool | None:
        """None: both go to the same server, and whether it knows them as one cannot be told."""
        if self.has_certificate or other.has_certificate:
            return self.has_certificate and other.has_certificate and self._same_certificate(other)
        if self.host != other.host or not self.has_user or not other.has_user:
            return False
        return None if self.username is None or other.username is None else self.username == other.username

    def _same_certificate(self, other: "ClientIdentity") -> bool | None:
        if self.pkcs12 is not None and self.pkcs12 == other.pkcs12:
            return True
        if self.certificate is not None and other.certificate is not None:
            return self.certificate == other.certificate
        return None if self.host == other.host else False


def identity_of(profile: Profile) -> ClientIdentity:
    """A profile's. One whose key is elsewhere (a smart card) has a certificate that cannot be read."""
    tls, credentials = profile.tls, profile.credentials
    return ClientIdentity(
        has_certificate=tls.cert is not None or tls.pkcs12 is not None or not credentials.wanted,
        has_user=credentials.wanted,
        certificate=_first_certificate(tls.cert) or _opened(tls.pkcs12, tls.passphrase),
        pkcs12=_digest(tls.pkcs12),
        username=credentials.username,
        host=profile.remotes[0].host.lower(),
    )


def identity_in(listed: Sequence[Statement], read: Read) -> ClientIdentity:
    """What statements say, the last of each option counting."""
    last = {one.option: one for one in listed if not is_placeholder(one)}
    cert, pkcs12, user = (last.get(option) for option in ("cert", "pkcs12", "auth-user-pass"))
    bundle = None if pkcs12 is None else read(pkcs12)
    if bundle is not None and pkcs12 is not None and pkcs12.content is not None:
        bundle = _from_base64(bundle)
    return ClientIdentity(
        has_certificate=any(option in last for option in ("cert", "pkcs12", *ELSEWHERE)),
        has_user=user is not None,
        certificate=None if cert is None else _first_certificate(read(cert)),
        pkcs12=_digest(bundle),
        username=None if user is None else _first_line(read(user)),
        host=next(_hosts(listed), "").lower(),
    )


def is_client(listed: Sequence[Statement]) -> bool:
    """Whether there is a server to go to."""
    return not is_server(listed) and any(_hosts(listed))


def is_server(listed: Iterable[Statement]) -> bool:
    return any(one.option in SERVERS or (one.option == "mode" and one.arguments == ("server",)) for one in listed)


def _hosts(listed: Sequence[Statement]) -> Iterator[str]:
    """Remotes outside of `<connection>` blocks are passed over where there are blocks."""
    blocks = [one for one in listed if one.option == "connection" and one.content is not None]
    inside = chain.from_iterable(statements_in(block.content or "", block.place.file) for block in blocks)
    return (one.arguments[0] for one in (inside if blocks else listed) if one.option == "remote" and one.arguments)


def statements_in(text: str, file: str) -> list[Statement]:
    """The statements of a text as far as it can be read, MOST_STATEMENTS at most."""
    found: list[Statement] = []
    with suppress(ProfileError):
        for statement in islice(statements(text, file=file), MOST_STATEMENTS):
            found.append(statement)
    return found


def _first_certificate(pem: bytes | None) -> bytes | None:
    """The client's own comes first, those that it is signed by behind it."""
    found = CERTIFICATE.search(pem or b"")
    return None if found is None else _digest(_from_base64(found[1]))


def _from_base64(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _digest(data: bytes | None) -> bytes | None:
    return None if data is None else hashlib.sha256(data).digest()


def _first_line(data: bytes | None) -> str | None:
    line = (data or b"").decode("utf-8-sig", "surrogateescape").partition("\n")[0].removesuffix("\r")
    return line or None


def _opened(pkcs12: bytes | None, passphrase: str | None) -> bytes | None:
    """The certificate of a PKCS#12 file, where it opens without asking."""
    if pkcs12 is None:
        return None
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, certificate, _ = load_key_and_certificates(pkcs12, passphrase.encode() if passphrase else None)
    except Exception:  # Whatever a file makes the library raise: it does not open.
        return None
    return None if certificate is None else _digest(certificate.public_bytes(Encoding.DER))
