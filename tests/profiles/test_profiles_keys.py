"""PEM, PKCS#12, static keys, fingerprints, names and passwords: good ones, and each way in which they are broken."""

import base64
from pathlib import Path

import pytest
from profile_support import STATIC, block, client_key, identity, made, parsed, refused, refused_text

from vpnprobe.profiles.model import Credentials
from vpnprobe.profiles.ovpn import parse_profile

HEAD = "client\nremote vpn.example.net\n"


def test_blocks_are_kept_as_they_are() -> None:
    tls = parsed().tls
    assert tls.ca == made().ca.rstrip().encode()
    assert tls.key == made().key.rstrip().encode()
    assert not tls.key_is_encrypted
    assert (tls.passphrase, tls.pkcs12, tls.extra_certs) == (None, None, None)


def test_text_around_pem_and_several_certificates() -> None:
    bundle = f"Certificate:\n    Data: -----\n{made().ca}# and\n{made().cert}"
    assert parsed(block("extra-certs", bundle)).tls.extra_certs == bundle.rstrip().encode()


def test_files_beside_the_profile(tmp_path: Path) -> None:
    (tmp_path / "my ca.crt").write_text(made().ca)
    (tmp_path / "client.crt").write_bytes(made().cert.replace("\n", "\r\n").encode())
    (tmp_path / "client.key").write_text(made().encrypted_key)
    (tmp_path / "pass").write_text("sesame\r\nsecond line\n")
    text = HEAD + 'ca "my ca.crt"\ncert client.crt\nkey client.key\naskpass pass\n'
    tls = parse_profile(text, folder=tmp_path, file="some.ovpn").tls
    assert tls.ca == made().ca.encode()
    assert tls.key_is_encrypted
    assert tls.passphrase == "sesame"
    assert "sesame" not in repr(tls)


@pytest.mark.parametrize("name", ["encrypted_key", "old_encrypted_key"])
def test_a_key_that_asks_for_a_passphrase(name: str) -> None:
    text = block("ca", made().ca) + block("cert", made().cert) + block("key", getattr(made(), name)) + "askpass\n"
    tls = parse_profile(HEAD + text, folder=Path("/nonexistent"), file="some.ovpn").tls
    assert tls.key_is_encrypted
    assert tls.passphrase is None


def test_pkcs12_stands_for_all_three(tmp_path: Path) -> None:
    (tmp_path / "client.p12").write_bytes(made().pkcs12)
    inline = block("pkcs12", base64.encodebytes(made().pkcs12).decode())
    for text in (inline, "pkcs12 client.p12\n"):
        tls = parse_profile(HEAD + text, folder=tmp_path, file="some.ovpn").tls
        assert tls.pkcs12 == made().pkcs12
        assert tls.ca is tls.key is None


def test_a_key_on_a_smart_card_is_noted() -> None:
    profile = parse_profile(HEAD + block("ca", made().ca) + "pkcs11-id 'a/b'\n", folder=Path("/"), file="some.ovpn")
    assert [note.text for note in profile.unsupported] == ["pkcs11-id: the key is kept elsewhere, where vpnprobe cannot use it"]
    assert profile.tls.key is None


def whole(*, ca: str = "", cert: str = "", key: str = "") -> str:
    """A profile whose blocks are these, or the good ones; the first block begins in line 3."""
    return HEAD + block("ca", ca or made().ca) + block("cert", cert or made().cert) + block("key", key or made().key)


FRAME = "-----BEGIN {0}-----\n{1}\n-----END {0}-----"


@pytest.mark.parametrize(
    ("part", "content", "problem"),
    [
        ("ca", "hello", "ca holds no certificate (-----BEGIN CERTIFICATE-----)"),
        ("ca", FRAME.format("CERTIFICATE REQUEST", "MAAA"), "ca holds no certificate (-----BEGIN CERTIFICATE-----)"),
        ("ca", "-----BEGIN CERTIFICATE-----\nMAAA", "ca has no -----END CERTIFICATE-----"),
        ("ca", "-----BEGIN X-----\n-----BEGIN CERTIFICATE-----", "ca has no -----END X----- before the next BEGIN"),
        ("ca", "-----BEGIN A-----\n-----END B-----", "ca has '-----END B-----' where -----END A----- is due"),
        ("ca", "-----END B-----", "ca has '-----END B-----' where -----END (nothing)----- is due"),
        ("ca", FRAME.format("CERTIFICATE", "M..A"), "ca is garbled: not base64"),
        ("ca", FRAME.format("CERTIFICATE", "MAA"), "ca is garbled: not base64"),
        ("ca", FRAME.format("CERTIFICATE", "ø"), "ca is garbled: not base64"),
        ("cert", FRAME.format("CERTIFICATE", ""), "cert is garbled: it does not decode to what a key or certificate begins with"),
        ("cert", FRAME.format("CERTIFICATE", "AAAA"), "cert is garbled: it does not decode to what a key or certificate begins with"),
        ("key", FRAME.format("PUBLIC KEY", "MAAA"), "key holds no private key (-----BEGIN PRIVATE KEY-----)"),
        ("key", FRAME.format("RSA PRIVATE KEY", "AAAA"), "key is garbled: it does not decode to what a key or certificate begins with"),
        ("key", FRAME.format("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\n?"), "key is garbled: not base64"),
    ],
)
def test_broken_pem(part: str, content: str, problem: str) -> None:
    error = refused_text(whole(**{part: content}))
    assert error.problem == problem
    assert (HEAD + whole()).splitlines()[error.line + 1] == f"<{part}>" or error.line > 3


def test_the_line_is_that_of_the_block() -> None:
    text = whole(key="hello")
    assert text.splitlines()[refused_text(text).line - 1] == "<key>"


def test_a_certificate_without_a_key_and_a_key_without_a_certificate() -> None:
    error = refused_text(HEAD + block("ca", made().ca) + block("cert", made().cert))
    assert error.problem == "there is a certificate (cert) and no private key"
    error = refused_text(HEAD + block("key", made().key) + block("ca", made().ca))
    assert (error.line, error.problem) == (3, "there is a private key (key) and no certificate")


def test_nothing_to_know_the_server_or_the_client_by() -> None:
    error = refused_text(HEAD + "auth-user-pass\n")
    assert error.problem == "nothing says how the server is known: no ca, no peer-fingerprint"
    error = refused_text(HEAD + block("ca", made().ca))
    assert error.problem == "nothing says how the client is known: no cert and key, no pkcs12, no auth-user-pass"


@pytest.mark.parametrize(
    "lines",
    ["capath /etc/ssl/certs\nauth-user-pass\n", "peer-fingerprint " + "ab" * 32 + "\nauth-user-pass\n"],
    ids=["capath", "fingerprint"],
)
def test_an_authority_is_not_needed(lines: str) -> None:
    assert parse_profile(HEAD + lines, folder=Path("/"), file="some.ovpn").tls.ca is None


def test_broken_pkcs12(tmp_path: Path) -> None:
    (tmp_path / "client.p12").write_text(made().cert)
    error = refused_text(HEAD + "pkcs12 client.p12", tmp_path)
    assert error.problem == "pkcs12 (file 'client.p12') is garbled: it does not decode to what a key or certificate begins with"
    assert refused_text(HEAD + block("pkcs12", "?")).problem == "pkcs12 is garbled: not base64"


def test_broken_static_keys(tmp_path: Path) -> None:
    lines = STATIC.encode().splitlines()
    short = "\n".join([*lines[:5], *lines[6:]])
    error = refused(block("tls-auth", short))
    assert error.problem == "tls-auth is not an OpenVPN static key: has 15 lines of key, not 16"
    garbled = "\n".join([*lines[:5], "x" * 32, *lines[6:]])
    error = refused(block("tls-crypt", garbled))
    assert (error.line, error.problem) == (3 + 6, "tls-crypt is not an OpenVPN static key: is not hexadecimal")
    (tmp_path / "ta.key").write_text(garbled)
    error = refused("tls-auth ta.key", folder=tmp_path)
    assert (error.line, error.problem) == (3, "tls-auth (file 'ta.key') is not an OpenVPN static key, line 6: is not hexadecimal")
    (tmp_path / "ta.key").write_text("a passphrase, as OpenVPN took it before 2.4")
    error = refused("tls-auth ta.key", folder=tmp_path)
    assert error.problem.startswith("tls-auth (file 'ta.key') is not an OpenVPN static key: has no line -----BEGIN")


def test_broken_tls_crypt_v2_keys() -> None:
    error = refused(block("tls-crypt-v2", STATIC.encode()))
    assert error.problem.startswith("tls-crypt-v2 is not a tls-crypt-v2 client key: has no line")
    lines = client_key().encode().splitlines()
    error = refused(block("tls-crypt-v2", "\n".join(lines[:3] + lines[-1:])))
    assert "bytes, not at least" in error.problem


FINGERPRINT = bytes(range(32))
WRITTEN = FINGERPRINT.hex(":").upper()


@pytest.mark.parametrize(
    "lines",
    [
        f"peer-fingerprint {WRITTEN}",
        f"peer-fingerprint {FINGERPRINT.hex()}",
        f"peer-fingerprint '{WRITTEN.lower()}'",
        block("peer-fingerprint", f"# the server's\n\n  {WRITTEN}"),
    ],
)
def test_fingerprints(lines: str) -> None:
    assert parsed(lines).checks.fingerprints == (FINGERPRINT,)


def test_several_fingerprints_all_count() -> None:
    lines = block("peer-fingerprint", f"{WRITTEN}\n{'00:' * 31}00") + f"peer-fingerprint {'ff' * 32}"
    assert parsed(lines).checks.fingerprints == (FINGERPRINT, bytes(32), b"\xff" * 32)


@pytest.mark.parametrize(
    ("lines", "line"),
    [("peer-fingerprint AB:CD", 3), ("peer-fingerprint xyz", 3), (block("peer-fingerprint", f"{WRITTEN}\n{WRITTEN}:00"), 5)],
)
def test_broken_fingerprints(lines: str, line: int) -> None:
    error = refused(lines)
    assert error.line == line
    assert error.problem.endswith("is no SHA-256 fingerprint: 32 bytes in hexadecimal are")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", Credentials()),
        ("auth-user-pass", Credentials(wanted=True)),
        (block("auth-user-pass", "anna\nsecret word"), Credentials(True, "anna", "secret word")),
        (block("auth-user-pass", "anna"), Credentials(True, "anna")),
        (block("auth-user-pass", "anna\n"), Credentials(True, "anna")),
        (block("auth-user-pass", "anna\nsecret") + "auth-user-pass\n", Credentials(wanted=True)),
        (
            'auth-user-pass\nstatic-challenge "Code from your token" 1',
            Credentials(True, static_challenge="Code from your token", static_challenge_echo=True),
        ),
        ("auth-user-pass\nstatic-challenge Code 0 scrv1", Credentials(True, static_challenge="Code")),
    ],
)
def test_credentials(lines: str, expected: Credentials) -> None:
    assert parsed(lines).credentials == expected


@pytest.mark.parametrize(
    ("content", "username", "password"),
    [
        (b"anna\nsecret\n", "anna", "secret"),
        (b"\xef\xbb\xbfanna\r\nsecret\r\n", "anna", "secret"),
        (b"anna", "anna", None),
        ("änna\nµ\n".encode(), "änna", "µ"),
    ],
)
def test_credentials_in_a_file(tmp_path: Path, content: bytes, username: str, password: str | None) -> None:
    (tmp_path / "login.conf").write_bytes(content)
    profile = parsed("auth-user-pass login.conf", folder=tmp_path)
    assert profile.credentials == Credentials(True, username, password)
    assert "secret" not in repr(profile)


def test_broken_credentials(tmp_path: Path) -> None:
    (tmp_path / "login.conf").write_bytes(b"\nsecret\n")
    error = refused("auth-user-pass login.conf", folder=tmp_path)
    assert error.problem == "auth-user-pass (file 'login.conf') has no user name in its first line"
    (tmp_path / "login.conf").write_bytes(b"anna\n\xff\n")
    error = refused("auth-user-pass login.conf", folder=tmp_path)
    assert error.problem == "auth-user-pass (file 'login.conf') is not UTF-8 text (byte 5)"
    assert refused(block("auth-user-pass", "anna\n\udcff")).problem == "auth-user-pass is not UTF-8 text (byte 5)"


def test_bytes_beyond_utf8_inside_of_pem_do_no_harm() -> None:
    assert parsed(block("extra-certs", "\udce4\n" + made().ca)).tls.extra_certs == b"\xe4\n" + made().ca.rstrip().encode()
    assert parsed(block("extra-certs", "\ud800\n" + made().ca)).tls.extra_certs == b"?\n" + made().ca.rstrip().encode()


def test_the_last_of_several_counts() -> None:
    assert parsed(block("ca", "hello")).tls.ca == made().ca.rstrip().encode()
    assert parsed("ca [inline]\ncert [inline]\nkey [inline]").tls.ca == made().ca.rstrip().encode()
    error = refused_text(HEAD + identity() + "ca [inline]\n" + block("extra-certs", "hello"))
    assert error.problem.startswith("extra-certs holds no certificate")
