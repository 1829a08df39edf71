"""Certificates and keys as blocks: the same content, in lines that OpenVPN reads as a whole, and none of the text that they came in."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from vpnprobe.conversations.openvpn_session_keys import make_session_keys
from vpnprobe.profiles.blocks import OWN_CONTENT, READ
from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.known import KNOWN
from vpnprobe.profiles.lexing import statements
from vpnprobe.profiles.one_remote import with_one_remote
from vpnprobe.profiles.ovpn import parse_profile
from vpnprobe.wire.openvpn_keys import StaticKey

MATERIAL = make_session_keys(os.urandom)
CA = MATERIAL.server.identity.certificate_pem.decode()
CERT, KEY = MATERIAL.identity.certificate_pem.decode(), MATERIAL.identity.key_pem.decode()
STATIC = StaticKey(bytes(range(256))).encode()
IDENTITY = f"<ca>\n{CA}</ca>\n<cert>\n{CERT}</cert>\n<key>\n{KEY}</key>\n"
HASH = ":".join(["ab"] * 32)


def made(text: str, folder: Path = Path(), *, number: int = 0) -> tuple[str, list[str]]:
    """What is written, and the options that are left out."""
    profile = parse_profile(f"client\n{text}", folder=folder, file=str(folder / "x.ovpn"))
    written = with_one_remote(profile, profile.remotes[number], keeps=lambda one: one.option in ("client", "remote"))
    return written.text, [one.option for one in written.left_out]


def content(text: str, option: str) -> str:
    return next(one.content or "" for one in statements(text, file="x") if one.option == option)


def test_they_are_options() -> None:
    assert READ | OWN_CONTENT <= KNOWN


def test_content_is_the_same_and_what_stands_around_it_is_gone() -> None:
    one_line = "".join(CERT.splitlines()[1:3])[:200]
    around = CERT.replace("".join(CERT.splitlines(keepends=True)[1:3]), f"{one_line[:100]}\n{one_line[100:]}\n")
    text, left_out = made(f"remote a 1\n<ca>\nsubject: x\n{CA}plugin /x\n</ca>\n<cert>\n{around}</cert>\n<key>\n{KEY}</key>\n")
    assert [content(text, name) + "\n" for name in ("ca", "cert", "key")] == [CA, CERT, KEY]
    assert "plugin" not in text
    assert left_out == []


def test_an_old_encrypted_key_keeps_its_headers() -> None:
    old = (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.BestAvailableEncryption(b"x")
        )
        .decode()
    )
    text, _ = made(f"remote a 1\n<ca>\n{CA}</ca>\n<cert>\n{CERT}</cert>\n<key>\n{old}</key>\n")
    assert content(text, "key") + "\n" == old
    with pytest.raises(ProfileError, match="a header that OpenSSL does not know"):
        made(f"remote a 1\n<ca>\n{CA}</ca>\n<cert>\n{CERT}</cert>\n<key>\n{old.replace('DEK-Info', 'Evil')}</key>\n")


def test_a_label_cannot_close_the_block(tmp_path: Path) -> None:
    label = f"{'A' * 255}</key>{'x' * 250} PRIVATE KEY"
    (tmp_path / "k").write_text(KEY.replace("PRIVATE KEY", label))
    with pytest.raises(ProfileError, match="a label that OpenSSL does not know"):
        made(f"remote a 1\n<ca>\n{CA}</ca>\n<cert>\n{CERT}</cert>\nkey k\n", tmp_path)


def test_a_pkcs12_file_becomes_a_block(tmp_path: Path) -> None:
    from cryptography import x509

    key, certificate = serialization.load_pem_private_key(KEY.encode(), None), x509.load_pem_x509_certificate(CERT.encode())
    data = pkcs12.serialize_key_and_certificates(b"me", key, certificate, None, serialization.NoEncryption())  # type: ignore[arg-type]
    (tmp_path / "me.p12").write_bytes(data)
    text, _ = made(f"remote a 1\n<ca>\n{CA}</ca>\npkcs12 me.p12\n", tmp_path)
    profile = parse_profile(text, folder=tmp_path, file="x")
    assert profile.tls.pkcs12 == data
    assert "me.p12" not in text


@pytest.mark.parametrize("direction", ["", "0", "1"])
def test_what_wraps_a_remote_is_its_own(tmp_path: Path, direction: str) -> None:
    (tmp_path / "ta.key").write_text(f"# plugin\n{STATIC}")
    block = f"<connection>\nremote b 2 udp\ntls-auth ta.key {direction}\n</connection>\n"
    text, left_out = made(f"remote a 1\n<tls-crypt>\n{STATIC}</tls-crypt>\n{block}{IDENTITY}", tmp_path)
    assert content(text, "tls-auth") + "\n" == STATIC
    assert "tls-crypt" not in text
    assert ("key-direction" in text, f"key-direction {direction}" in text) == (bool(direction), bool(direction))
    assert left_out == []


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (f"verify-hash {HASH}", f"verify-hash {HASH}\n"),
        (f"verify-hash {HASH} SHA256", f"verify-hash {HASH} SHA256\n"),
        (f"<verify-hash>\n {HASH}\n</verify-hash>", f"<verify-hash>\n{HASH}\n</verify-hash>\n"),
        (f"verify-hash {HASH} SHA256 /x", ""),
        ("verify-hash /x", ""),
        ("verify-hash", ""),
        ("<verify-hash>\n/x\n</verify-hash>", ""),
        ("crl-verify /x", ""),
        ("crl-verify /x dir", ""),
        (f"<crl-verify>\n{CA}</crl-verify>", ""),
    ],
)
def test_what_else_has_content(line: str, kept: str) -> None:
    text, left_out = made(f"remote a 1\n{line}\n{IDENTITY}")
    assert text.count(kept) if kept else line.split()[0].strip("<>") not in text
    assert left_out == ([] if kept else [line.split()[0].strip("<>")])


def test_the_last_static_key_counts() -> None:
    text, _ = made(f"remote a 1\nsecret other\n<secret>\n{STATIC}</secret>\nkey-direction 1\n{IDENTITY}")
    assert content(text, "secret") + "\n" == STATIC
    assert "other" not in text
    assert "key-direction 1" in text


def test_fingerprints_are_lines() -> None:
    text, _ = made(f"remote a 1\n<peer-fingerprint>\n# x\n{HASH}\n</peer-fingerprint>\n{IDENTITY}")
    assert f"peer-fingerprint {HASH}\n" in text
