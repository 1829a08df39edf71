"""What inline blocks and key files hold: PEM (RFC 7468), PKCS#12 in base64, OpenVPN's static keys, fingerprints, names and passwords.

PEM is checked for its frame, its base64 and the first byte of its DER, which finds what was cut off, pasted into the wrong block or garbled
on the way; certificates are not looked into.
"""

import base64
import binascii
from pathlib import Path
from typing import Final

from vpnprobe.errors import DecodeError
from vpnprobe.profiles.errors import Place, ProfileError
from vpnprobe.profiles.files import content_of, is_below, read_named
from vpnprobe.profiles.known import ELSEWHERE
from vpnprobe.profiles.lexing import Statement
from vpnprobe.profiles.model import Credentials, TlsMaterial
from vpnprobe.profiles.options import Options
from vpnprobe.wire.openvpn_keys import ClientKeyV2, StaticKey

CERTIFICATES: Final = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
"""Labels that OpenSSL takes for a certificate."""
SEQUENCE: Final = 0x30
"""The first byte of what DER structures begin with."""
FINGERPRINT_BYTES: Final = 32


def tls_material(options: Options, *, folder: Path, file: str) -> TlsMaterial:
    """Certificates and keys of a profile, checked as far as that goes without looking into them. Raises ProfileError."""
    ca, extra = (_certificates(options.last(option), folder) for option in ("ca", "extra-certs"))
    cert, key = options.last("cert"), options.last("key")
    if not any(option in options for option in ELSEWHERE):
        _check_pair(cert, key)
    key_data, encrypted = _private_key(key, folder)
    material = TlsMaterial(
        ca=ca,
        cert=_certificates(cert, folder),
        key=key_data,
        pkcs12=_pkcs12(options.last("pkcs12"), folder),
        extra_certs=extra,
        key_is_encrypted=encrypted,
        passphrase=_passphrase(options.last("askpass"), folder),
    )
    _check_whole(material, options, Place(file, 0))
    return material


def _check_pair(cert: Statement | None, key: Statement | None) -> None:
    """A certificate is of no use without its key, nor the other way round."""
    if cert and not key:
        raise cert.place.wrong("there is a certificate (cert) and no private key", "add the key between <key> and </key>")
    if key and not cert:
        raise key.place.wrong("there is a private key (key) and no certificate", "add the certificate between <cert> and </cert>")


def _check_whole(material: TlsMaterial, options: Options, place: Place) -> None:
    """What OpenVPN will not begin without."""
    if material.pkcs12 is not None or "secret" in options or any(option in options for option in ELSEWHERE):
        return
    if material.ca is None and "capath" not in options and "peer-fingerprint" not in options:
        raise place.wrong("nothing says how the server is known: no ca, no peer-fingerprint", "add the authority between <ca> and </ca>")
    if material.cert is None and "auth-user-pass" not in options:
        raise place.wrong(
            "nothing says how the client is known: no cert and key, no pkcs12, no auth-user-pass",
            "add <cert> and <key>, or auth-user-pass where the server asks for a password",
        )


def _certificates(statement: Statement | None, folder: Path) -> bytes | None:
    if statement is None:
        return None
    data = content_of(statement, folder)
    found = [block for label, block in pem_blocks(data, statement) if label in CERTIFICATES]
    if not found:
        raise _wrong(statement, "holds no certificate (-----BEGIN CERTIFICATE-----)", "in PEM")
    for block in found:
        _check_der(decoded(block, statement), statement)
    return data


def _private_key(statement: Statement | None, folder: Path) -> tuple[bytes | None, bool]:
    """The key's file, and whether it is encrypted."""
    if statement is None:
        return None, False
    data = content_of(statement, folder)
    found = [(label, block) for label, block in pem_blocks(data, statement) if label.endswith("PRIVATE KEY")]
    if not found:
        raise _wrong(statement, "holds no private key (-----BEGIN PRIVATE KEY-----)", "in PEM")
    label, block = found[0]
    # RFC 1421 headers, which OpenSSL wrote before PKCS#8.
    headers = [line for line in block if ":" in line]
    der = decoded([line for line in block if ":" not in line], statement)
    if any(header.startswith("Proc-Type:") and "ENCRYPTED" in header for header in headers):
        return data, True
    _check_der(der, statement)
    return data, label == "ENCRYPTED PRIVATE KEY"


def _pkcs12(statement: Statement | None, folder: Path) -> bytes | None:
    if statement is None:
        return None
    data = content_of(statement, folder)
    if statement.content is not None:
        data = decoded(statement.content.splitlines(), statement)
    _check_der(data, statement)
    return data


def pem_blocks(data: bytes, statement: Statement) -> list[tuple[str, list[str]]]:
    """The label and the lines of each PEM block; what stands around them is free text (RFC 7468 section 2). Raises ProfileError."""
    blocks: list[tuple[str, list[str]]] = []
    inside = ""
    for line in map(str.strip, data.decode("latin-1").split("\n")):
        if line.startswith("-----BEGIN ") and line.endswith("-----"):
            if inside:
                raise _wrong(statement, f"has no -----END {inside}----- before the next BEGIN", "complete")
            inside = line[11:-5]
            blocks.append((inside, []))
        elif line.startswith("-----END "):
            if line != f"-----END {inside}-----":
                raise _wrong(statement, f"has {line[:60]!r} where -----END {inside or '(nothing)'}----- is due", "complete")
            inside = ""
        elif inside:
            blocks[-1][1].append(line)
    if inside:
        raise _wrong(statement, f"has no -----END {inside}-----", "complete")
    return blocks


def decoded(lines: list[str], statement: Statement) -> bytes:
    """The bytes of base64. Raises ProfileError."""
    try:
        return base64.b64decode("".join("".join(lines).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(statement, "is garbled: not base64", "unchanged") from error


def _check_der(data: bytes, statement: Statement) -> None:
    if data[:1] != bytes([SEQUENCE]):
        raise _wrong(statement, "is garbled: it does not decode to what a key or certificate begins with", "unchanged")


def _wrong(statement: Statement, problem: str, how: str, *, lines_below: int = 0) -> ProfileError:
    where = "" if statement.content is not None else f" (file {statement.arguments[0]!r})"
    place = Place(statement.place.file, statement.line + lines_below)
    return place.wrong(f"{statement.option}{where} {problem}", f"put it there {how}, as whoever runs the server gave it out")


def static_key(statement: Statement, folder: Path) -> StaticKey:
    """The key of `tls-auth` or `tls-crypt`. Raises ProfileError."""
    try:
        return StaticKey.decode(content_of(statement, folder).decode("latin-1"))
    except DecodeError as error:
        raise _wrong_key(statement, "an OpenVPN static key", error) from error


def client_key_v2(statement: Statement, folder: Path) -> ClientKeyV2:
    """The key of `tls-crypt-v2`. Raises ProfileError."""
    try:
        return ClientKeyV2.decode(content_of(statement, folder).decode("latin-1"))
    except DecodeError as error:
        raise _wrong_key(statement, "a tls-crypt-v2 client key", error) from error


def _wrong_key(statement: Statement, kind: str, error: DecodeError) -> ProfileError:
    """Where the key is in the profile itself, the place is the key's own line."""
    if statement.content is None:
        where = f", line {error.offset}" if error.offset else ""
        return _wrong(statement, f"is not {kind}{where}: {error.problem}", "unchanged")
    return _wrong(statement, f"is not {kind}: {error.problem}", "unchanged", lines_below=error.offset)


def fingerprints(options: Options) -> tuple[bytes, ...]:
    """All SHA-256 fingerprints of `peer-fingerprint`, lines and blocks. Raises ProfileError."""
    found: list[bytes] = []
    for statement in options.all("peer-fingerprint"):
        written = statement.arguments if statement.content is None else statement.content.split("\n")
        for offset, line in enumerate(written, start=0 if statement.content is None else 1):
            bare = line.strip()
            if bare and bare[0] not in "#;":
                found.append(_fingerprint(bare, Place(statement.place.file, statement.line + offset)))
    return tuple(found)


def _fingerprint(written: str, place: Place) -> bytes:
    try:
        value = bytes.fromhex(written.replace(":", ""))
    except ValueError:
        value = b""
    if len(value) != FINGERPRINT_BYTES:
        raise place.wrong(
            f"{written[:40]!r} is no SHA-256 fingerprint: {FINGERPRINT_BYTES} bytes in hexadecimal are",
            "take it from: openssl x509 -noout -fingerprint -sha256 -in server.crt",
        )
    return value


def _passphrase(statement: Statement | None, folder: Path) -> str | None:
    """The first line of the file that `askpass` names; None: to be asked."""
    if statement is None or not statement.arguments:
        return None
    return _lines(read_named(statement.arguments[0], statement.option, folder=folder, place=statement.place), statement)[0]


def credentials(options: Options, folder: Path) -> Credentials:
    """What `auth-user-pass` and `static-challenge` say. Raises ProfileError."""
    challenge = options.last("static-challenge")
    username, password = _user_and_password(options.last("auth-user-pass"), folder)
    return Credentials(
        wanted="auth-user-pass" in options,
        username=username,
        password=password,
        static_challenge=challenge.arguments[0] if challenge else "",
        static_challenge_echo=challenge is not None and challenge.arguments[1] == "1",
    )


def _user_and_password(statement: Statement | None, folder: Path) -> tuple[str | None, str | None]:
    if statement is None or (statement.content is None and not statement.arguments):
        return None, None
    if statement.content is None and not is_below(statement.arguments[0], folder):
        # A stranger's profile may name any file, and what is in this one goes to the server.
        raise statement.place.wrong(
            f"auth-user-pass names the file {statement.arguments[0]!r}, which is not below {folder}: its lines would be sent to the server",
            "copy it there, put its lines between <auth-user-pass> and </auth-user-pass>, or leave the name out to be asked on a terminal",
        )
    username, password, *_ = [*_lines(content_of(statement, folder), statement), "", ""]
    if not username:
        raise _wrong(statement, "has no user name in its first line", "in two lines (user name, password)")
    return username, password or None


def _lines(data: bytes, statement: Statement) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(statement, f"is not UTF-8 text (byte {error.start})", "saved as UTF-8") from error
    return [line.removesuffix("\r") for line in text.split("\n")]
