"""What both ends of a paired run need to speak OpenVPN to the end: certificates and keys, made by the client for this one run.

The server's half goes over the control channel, which has proven both ends to each other, so nothing else has to be trusted: each end
accepts the one certificate of the other. The server agent needs no more than the standard library to use it.
"""

import base64
import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vpnprobe.conversations.openvpn_session import Wrapping
from vpnprobe.conversations.openvpn_tls import Identity
from vpnprobe.errors import DecodeError
from vpnprobe.provisioning.certificates import (
    ED25519_SEED_BYTES,
    CertificateContent,
    KeyAlgorithm,
    RawExtension,
    build_certificate,
    certificate_pem,
    key_pem,
    make_key,
)
from vpnprobe.wire.openvpn_keys import ClientKeyV2, ServerKeyV2, StaticKey
from vpnprobe.wire.openvpn_wrap import Wrap

WRAPS: Final = (Wrap.TLS_CRYPT_V2, Wrap.TLS_CRYPT)
"""Tried besides plain, the one that differs most from it first."""
VALID: Final = (datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC), datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC))
"""For ever, as certificates go: the clocks of the two hosts need not agree, and either end accepts this one certificate alone."""
FILLER_BYTES: Final = 500
"""The server's certificate is as large as those of real servers, so that a control packet of full size is tried."""
MOST_PEM_BYTES: Final = 16384
_COMMENT: Final = "2.16.840.1.113730.1.13"
"""Netscape's certificate comment: an extension that nobody acts on."""


@dataclass(frozen=True, slots=True)
class ServerSessionKeys:
    """What the server agent gets."""

    identity: Identity
    client_certificate_pem: bytes
    tls_crypt: StaticKey
    server_key: ServerKeyV2

    def wrapping(self, wrap: Wrap) -> Wrapping:
        return Wrapping(wrap, key=self.tls_crypt, server_key=self.server_key)

    def encode(self) -> dict[str, str]:
        """As a part of a control message."""
        parts = {
            "certificate": self.identity.certificate_pem,
            "key": self.identity.key_pem,
            "client_certificate": self.client_certificate_pem,
            "tls_crypt": self.tls_crypt.data,
            "tls_crypt_v2": self.server_key.data,
        }
        return {name: base64.b64encode(part).decode() for name, part in parts.items()}

    @classmethod
    def decode(cls, message: Mapping[str, object]) -> "ServerSessionKeys":
        """Raises DecodeError."""

        def part(name: str) -> bytes:
            text = message.get(name)
            if not isinstance(text, str) or len(text) > MOST_PEM_BYTES:
                raise DecodeError(name, 0, "is missing or too long")
            try:
                return base64.b64decode(text, validate=True)
            except ValueError as error:
                raise DecodeError(name, 0, str(error)) from error

        return cls(
            Identity(part("certificate"), part("key")),
            part("client_certificate"),
            StaticKey(part("tls_crypt")),
            ServerKeyV2(part("tls_crypt_v2")),
        )


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """Both halves."""

    server: ServerSessionKeys
    identity: Identity
    """The client's."""
    client_key: ClientKeyV2

    def handed_over(self) -> dict[str, str]:
        """The server's half, as a part of a control message."""
        return self.server.encode()

    def wrapping(self, wrap: Wrap) -> Wrapping:
        """The client's."""
        return Wrapping(wrap, key=self.server.tls_crypt, client_key=self.client_key)


def make_session_keys(entropy: Callable[[int], bytes]) -> SessionKeys:
    """Fresh, for one run. Needs `cryptography`."""
    server_key = ServerKeyV2(entropy(128))
    identity = _self_signed("vpnprobe client", entropy, filler=b"")
    half = ServerSessionKeys(
        identity=_self_signed("vpnprobe server", entropy, filler=entropy(FILLER_BYTES)),
        client_certificate_pem=identity.certificate_pem,
        tls_crypt=StaticKey(entropy(256)),
        server_key=server_key,
    )
    return SessionKeys(half, identity, server_key.wrap(StaticKey(entropy(256))))


def _self_signed(name: str, entropy: Callable[[int], bytes], *, filler: bytes) -> Identity:
    """Ed25519: its signatures have one size, so that a simulated run repeats itself to the byte."""
    key = make_key(KeyAlgorithm.ED25519, seed=entropy(ED25519_SEED_BYTES))
    content = CertificateContent(
        subject=name,
        not_before=VALID[0],
        not_after=VALID[1],
        serial=1 + int.from_bytes(entropy(8), "big"),
        raw_extensions=(RawExtension(oid=_COMMENT, value=filler),) if filler else (),
    )
    return Identity(certificate_pem(build_certificate(content, key)), key_pem(key))
