"""Keys and certificates made for the tests, and a profile that they are put into."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.model import Profile
from vpnprobe.profiles.ovpn import parse_profile
from vpnprobe.provisioning.certificates import CertificateContent, KeyAlgorithm, build_certificate, certificate_pem, key_pem, make_key
from vpnprobe.wire.openvpn_keys import ClientKeyV2, ServerKeyV2, StaticKey

STATIC = StaticKey(bytes(range(256)))
OTHER_STATIC = StaticKey(bytes(reversed(range(256))))


@dataclass(frozen=True)
class Made:
    """PEM as text, PKCS#12 as DER."""

    ca: str
    cert: str
    key: str
    encrypted_key: str
    """PKCS#8, passphrase `sesame`."""
    old_encrypted_key: str
    """As OpenSSL wrote it before PKCS#8."""
    pkcs12: bytes


@cache
def made() -> Made:
    """One certificate that stands for all."""
    key = make_key(KeyAlgorithm.EC_P256)
    now = datetime.now(UTC)
    content = CertificateContent(subject="vpnprobe tests", not_before=now - timedelta(hours=1), not_after=now + timedelta(days=1))
    certificate = build_certificate(content, key)
    pem = serialization.Encoding.PEM
    pkcs8, old = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
    secret = serialization.BestAvailableEncryption(b"sesame")
    return Made(
        ca=certificate_pem(certificate).decode(),
        cert=certificate_pem(certificate).decode(),
        key=key_pem(key).decode(),
        encrypted_key=key.private_bytes(pem, pkcs8, secret).decode(),
        old_encrypted_key=key.private_bytes(pem, old, secret).decode(),
        pkcs12=pkcs12.serialize_key_and_certificates(b"client", key, certificate, [certificate], secret),
    )


@cache
def client_key() -> ClientKeyV2:
    """A tls-crypt-v2 client key, wrapped for a server."""
    return ServerKeyV2(bytes(range(128))).wrap(STATIC)


def block(tag: str, content: str) -> str:
    return f"<{tag}>\n{content.rstrip()}\n</{tag}>\n"


def identity() -> str:
    """The blocks that every client has."""
    return block("ca", made().ca) + block("cert", made().cert) + block("key", made().key)


def parsed(extra: str = "", *, head: str = "client\nremote vpn.example.net\n", folder: Path = Path("/nonexistent")) -> Profile:
    """A whole profile, with these lines behind its head and before its keys."""
    return parse_profile(head + extra + "\n" + identity(), folder=folder, file="some.ovpn")


def refused(extra: str = "", *, head: str = "client\nremote vpn.example.net\n", folder: Path = Path("/nonexistent")) -> ProfileError:
    """What is said of a whole profile with these lines, the first of which is line 3."""
    with pytest.raises(ProfileError) as caught:
        parsed(extra, head=head, folder=folder)
    assert "\n" not in str(caught.value)
    assert caught.value.mend
    return caught.value


def refused_text(text: str, folder: Path = Path("/nonexistent")) -> ProfileError:
    """What is said of a text."""
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, folder=folder, file="some.ovpn")
    return caught.value
