"""By what a server knows a client: a profile compared with what another client was started with."""

import base64
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from profile_support import block, made, parsed

from vpnprobe.profiles.identity import MOST_STATEMENTS, ClientIdentity, identity_in, identity_of, is_client, is_server, statements_in
from vpnprobe.profiles.lexing import Statement
from vpnprobe.profiles.model import TlsMaterial
from vpnprobe.profiles.ovpn import parse_profile
from vpnprobe.provisioning.certificates import CertificateContent, KeyAlgorithm, build_certificate, certificate_pem, make_key

REMOTE = "remote vpn.example.net 1194\n"
CERT, P12 = made().cert, base64.encodebytes(made().pkcs12).decode()
FILES = {"anna.txt": b"\xef\xbb\xbfanna\r\nsecret\r\n", "c.crt": CERT.encode(), "c.p12": made().pkcs12, "garbled": b"\xff\x00"}


@cache
def another() -> str:
    """A certificate of somebody else."""
    old = x509.load_pem_x509_certificate(made().cert.encode())
    content = CertificateContent(subject="another", not_before=old.not_valid_before_utc, not_after=old.not_valid_after_utc)
    return certificate_pem(build_certificate(content, make_key(KeyAlgorithm.EC_P256))).decode()


def read(statement: Statement) -> bytes | None:
    if statement.content is not None:
        return statement.content.encode("utf-8", "surrogateescape")
    return FILES.get(statement.arguments[0]) if statement.arguments else None


def started_with(text: str) -> ClientIdentity:
    return identity_in(statements_in(text, "other.ovpn"), read)


def profile_with(text: str) -> ClientIdentity:
    return identity_of(parse_profile(f"client\n{text}{block('ca', made().ca)}", folder=Path("/nonexistent"), file="some.ovpn"))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (REMOTE + block("cert", CERT), True),
        ("remote elsewhere.example.net\n" + block("cert", "Certificate:\n  Data:\n" + CERT.replace("\n", "\r\n")), True),
        (REMOTE + block("cert", CERT + another()), True),
        (REMOTE + "cert [inline]\n" + block("cert", CERT), True),
        (REMOTE + "cert c.crt\n", True),
        (REMOTE + block("cert", another()) + "cert c.crt\n", True),
        (REMOTE + block("cert", another()), False),
        (REMOTE + "auth-user-pass\n", False),
        (REMOTE, False),
        # What cannot be read may be the same where it goes to the same server.
        (REMOTE + "cert unreadable.crt\n", None),
        (REMOTE + "cert\n", None),
        (REMOTE + "cert garbled\n", None),
        (REMOTE + "pkcs12 c.p12\n", None),
        (REMOTE + "pkcs11-id abc\n", None),
        ("remote VPN.example.NET\ncert unreadable.crt\n", None),
        ("remote elsewhere.example.net\ncert unreadable.crt\n", False),
    ],
)
def test_by_the_certificate(other: str, expected: bool | None) -> None:
    assert identity_of(parsed()).same_as(started_with(other)) is expected


@pytest.mark.parametrize(
    ("other", "passphrase", "expected"),
    [
        (REMOTE + "pkcs12 c.p12\n", None, True),
        (block("pkcs12", P12), None, True),
        (REMOTE + block("pkcs12", "?"), None, None),
        (REMOTE + block("cert", CERT), None, None),
        (REMOTE + block("cert", CERT), "sesame", True),
        (REMOTE + block("cert", another()), "sesame", False),
        ("remote elsewhere.example.net\n" + block("cert", CERT), "wrong", False),
    ],
)
def test_by_pkcs12(other: str, passphrase: str | None, expected: bool | None) -> None:
    profile = parse_profile(f"client\n{REMOTE}{block('pkcs12', P12)}", folder=Path("/nonexistent"), file="some.ovpn")
    profile = replace(profile, tls=replace(profile.tls, passphrase=passphrase))
    assert identity_of(profile).same_as(started_with(other)) is expected


def test_what_does_not_open_is_not_known() -> None:
    profile = replace(parsed(), tls=TlsMaterial(pkcs12=b"\x30garbled"))
    assert identity_of(profile).certificate is None
    assert identity_of(profile).has_certificate


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (REMOTE + block("auth-user-pass", "anna\nother"), True),
        (REMOTE + "auth-user-pass anna.txt\n", True),
        (REMOTE + block("auth-user-pass", "bert\nsecret"), False),
        ("remote elsewhere.example.net\n" + block("auth-user-pass", "anna\nsecret"), False),
        (REMOTE + "auth-user-pass\n", None),
        (REMOTE + "auth-user-pass unreadable\n", None),
        (REMOTE + "auth-user-pass anna.txt\ncert c.crt\n", False),
        (REMOTE + "secret static.key\n", False),
        ("remote elsewhere.example.net\nauth-user-pass\n", False),
        # Only the first server is compared, and where there are blocks only theirs count.
        ("remote elsewhere.example.net\n" + REMOTE + "auth-user-pass anna.txt\n", False),
        ("remote elsewhere.example.net\n" + block("connection", REMOTE) + "auth-user-pass anna.txt\n", True),
    ],
)
def test_without_a_certificate_by_server_and_user_name(other: str, expected: bool | None) -> None:
    assert profile_with(REMOTE + block("auth-user-pass", "anna\nsecret")).same_as(started_with(other)) is expected


def test_a_user_name_that_is_to_be_asked_cannot_be_compared() -> None:
    assert profile_with(REMOTE + "auth-user-pass\n").same_as(started_with(REMOTE + "auth-user-pass anna.txt\n")) is None


def test_a_key_that_is_elsewhere_is_a_certificate_that_cannot_be_read() -> None:
    profile = profile_with(REMOTE + "pkcs11-id abc\n")
    assert (profile.has_certificate, profile.certificate, profile.has_user) == (True, None, False)
    assert profile.same_as(started_with(REMOTE + block("cert", CERT))) is None


@pytest.mark.parametrize(
    ("text", "client", "server"),
    [
        ("client\n" + REMOTE, True, False),
        (block("connection", REMOTE), True, False),
        ("server 10.8.0.0 255.255.255.0\n", False, True),
        ("mode server\n", False, True),
        ("mode p2p\ntls-server\n" + REMOTE, False, True),
        ("genkey secret x\n", False, False),
        ("remote\n", False, False),
        # As far as it can be read.
        (REMOTE + "<ca>\nnever closed\n", True, False),
        (REMOTE + '"\ntls-server\n', True, False),
    ],
)
def test_who_is_a_client(text: str, client: bool, server: bool) -> None:
    listed = statements_in(text, "x")
    assert (is_client(listed), is_server(listed)) == (client, server)


def test_no_text_is_read_for_ever() -> None:
    assert len(statements_in("float\n" * (2 * MOST_STATEMENTS), "x")) == MOST_STATEMENTS


LINE = st.sampled_from(
    ["cert c.crt", "cert", "pkcs12 c.p12", "<cert>", "</cert>", "<pkcs12>", "</pkcs12>", "auth-user-pass garbled", REMOTE, "<connection>"]
)


@given(st.lists(st.one_of(LINE, st.binary(max_size=40).map(lambda data: data.decode("utf-8", "surrogateescape")))).map("\n".join))
def test_whatever_stands_there_it_is_compared(text: str) -> None:
    assert identity_of(parsed()).same_as(started_with(text)) in (True, False, None)
