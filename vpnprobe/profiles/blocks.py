"""Certificates and keys of a profile as inline blocks, written anew from what was read: no byte of the text that they came in goes on.

OpenVPN reads a block's lines in pieces of 255 bytes, and one that begins with the closing tag ends the block. The lines here are those of
PEM (RFC 7468: 64 characters) and of OpenVPN's static keys. Files that the profile names come as blocks, so that nobody opens them again.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from vpnprobe.profiles.errors import Place, ProfileError
from vpnprobe.profiles.files import content_of
from vpnprobe.profiles.keys import CERTIFICATES, decoded, pem_blocks, static_key
from vpnprobe.profiles.lexing import Statement
from vpnprobe.profiles.model import Profile, Remote
from vpnprobe.profiles.options import Options
from vpnprobe.wire.openvpn_keys import KeyDirection
from vpnprobe.wire.openvpn_wrap import Wrap

BASE64_PER_LINE: Final = 64
REVOKED: Final = frozenset({"X509 CRL"})
_KEY: Final = re.compile(r"[A-Z0-9 ]{0,40}PRIVATE KEY")
_HEADER: Final = re.compile(r"(?:Proc-Type|DEK-Info): [A-Za-z0-9, -]{1,100}")
"""Of a key that OpenSSL encrypted before PKCS#8 (RFC 1421)."""
_DIGEST: Final = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){15,63}")
_ALGORITHMS: Final = frozenset({"SHA1", "SHA256"})
READ: Final = frozenset(
    {"ca", "cert", "key", "pkcs12", "extra-certs", "peer-fingerprint", "tls-auth", "tls-crypt", "tls-crypt-v2", "key-direction", "askpass"}
)
"""Options that are written from what the profile's reader made of them, and not as they stand. A passphrase is given otherwise."""
OWN_CONTENT: Final = frozenset({"crl-verify", "secret", "verify-hash"})
"""Options whose content the reader passes over, and that is read here."""


class Block(NamedTuple):
    """One inline block."""

    option: str
    lines: tuple[str, ...]

    def written(self) -> Iterator[str]:
        yield f"<{self.option}>"
        yield from self.lines
        yield f"</{self.option}>"


def material(profile: Profile, remote: Remote) -> Iterator[str]:
    """The lines of all that `READ` has: who the server and the client are, and what wraps the control channel of this remote."""
    tls = profile.tls
    for option, data in (("ca", tls.ca), ("cert", tls.cert), ("extra-certs", tls.extra_certs)):
        if data is not None:
            yield from Block(option, tuple(_certificates(data, CERTIFICATES | REVOKED, profile.file))).written()
    if tls.key is not None:
        yield from Block("key", tuple(_private_key(tls.key, profile.file))).written()
    if tls.pkcs12 is not None:
        yield from Block("pkcs12", tuple(_base64(tls.pkcs12))).written()
    for fingerprint in profile.checks.fingerprints:
        yield f"peer-fingerprint {fingerprint.hex(':')}"
    wrapping = remote.wrapping
    if wrapping.kind is not Wrap.NONE and wrapping.key is not None:
        yield from Block(wrapping.kind.value, tuple(wrapping.key.encode().splitlines())).written()
    if wrapping.kind is Wrap.TLS_AUTH:
        yield from _direction(wrapping.direction)


def own_content(statement: Statement, options: Options, folder: Path) -> tuple[str, ...] | None:
    """The lines of an option of `OWN_CONTENT`; None: it cannot be written. Raises ProfileError for what is no static key."""
    if statement is not options.last(statement.option):
        return ()  # The last one counts.
    match statement.option:
        case "secret":
            return tuple(_static(statement, options, folder))
        case "verify-hash":
            return _hashes(statement)
        case _:
            return _revoked(statement, folder)


def _static(statement: Statement, options: Options, folder: Path) -> Iterator[str]:
    yield from Block("secret", tuple(static_key(statement, folder).encode().splitlines())).written()
    told = statement.arguments[1] if len(statement.arguments) > 1 else options.word("key-direction")
    if told in ("0", "1"):
        yield f"key-direction {told}"


def _direction(direction: KeyDirection) -> Iterator[str]:
    if direction.value is not None:
        yield f"key-direction {direction.value}"


def _hashes(statement: Statement) -> tuple[str, ...] | None:
    if statement.content is not None:
        lines = tuple(line.strip() for line in statement.content.split("\n") if line.strip())
        return tuple(Block("verify-hash", lines).written()) if lines and all(map(_DIGEST.fullmatch, lines)) else None
    digest, *algorithm = statement.arguments or ("",)
    if not _DIGEST.fullmatch(digest) or not (len(algorithm) <= 1 and _ALGORITHMS.issuperset(algorithm)):
        return None
    return (" ".join(("verify-hash", digest, *algorithm)),)


def _revoked(statement: Statement, folder: Path) -> tuple[str, ...] | None:
    """A folder of lists (`crl-verify DIR dir`), and what is no list, is not written."""
    if statement.content is None and len(statement.arguments) != 1:
        return None
    try:
        lines = tuple(_certificates(content_of(statement, folder), REVOKED, statement.place.file))
    except ProfileError:
        return None
    return tuple(Block("crl-verify", lines).written()) if lines else None


def _certificates(data: bytes, labels: frozenset[str], file: str) -> Iterator[str]:
    for label, body in pem_blocks(data, _made_up(file)):
        if label in labels:
            yield from _armoured(label, (), decoded(body, _made_up(file)))


def _private_key(data: bytes, file: str) -> Iterator[str]:
    label, body = next((label, body) for label, body in pem_blocks(data, _made_up(file)) if label.endswith("PRIVATE KEY"))
    if not _KEY.fullmatch(label):
        raise Place(file, 0).wrong("the private key has a label that OpenSSL does not know", "get the profile again")
    headers = [line for line in body if ":" in line]
    if not all(map(_HEADER.fullmatch, headers)):
        raise Place(file, 0).wrong("the private key has a header that OpenSSL does not know", "get the profile again")
    yield from _armoured(label, headers, decoded([line for line in body if ":" not in line], _made_up(file)))


def _armoured(label: str, headers: Iterable[str], data: bytes) -> Iterator[str]:
    yield f"-----BEGIN {label}-----"
    if headers:
        yield from (*headers, "")
    yield from _base64(data)
    yield f"-----END {label}-----"


def _base64(data: bytes) -> Iterator[str]:
    text = base64.b64encode(data).decode()
    return (text[at : at + BASE64_PER_LINE] for at in range(0, len(text), BASE64_PER_LINE))


def _made_up(file: str) -> Statement:
    """What an error would name; the reader has raised it already."""
    return Statement(Place(file, 0), "certificate or key", (), "", "")
