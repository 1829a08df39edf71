"""OpenVPN's key files: the static key of tls-auth and tls-crypt, and the client and server keys of tls-crypt-v2.

A static key has 2048 bits: two slots of 64 bytes for a cipher and 64 for an HMAC, of which an algorithm uses the first bytes that it needs.
A tls-crypt-v2 server key has two such halves alone, and wraps the static key of each client so that the client carries it to the server:
WKc = T || AES-256-CTR(Ke, T[:16], Kc || metadata) || length, T = HMAC-SHA256(Ka, length || Kc || metadata), the length being that of the
whole WKc. Formats: OpenVPN Wire Protocol (draft-openvpntech-openvpn-wire-protocol), sections on tls-auth and tls-crypt-v2, and files of
OpenVPN 2.6. `decode` is total: any text gives a key or a DecodeError whose offset is a line's number, counted from 1 (0: the whole file).
"""

import base64
import binascii
import hmac
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Self, assert_never

from vpnprobe.errors import DecodeError, UsageError
from vpnprobe.wire.ciphers import aes_256_ctr

STATIC_KEY_BYTES: Final = 256
SERVER_KEY_BYTES: Final = 128
HALF: Final = 64
"""Bytes that a slot has for a cipher, and again for an HMAC."""
TAG_BYTES: Final = 32
LEAST_WRAPPED: Final = TAG_BYTES + STATIC_KEY_BYTES + 2
"""Bytes of a wrapped key without metadata."""
MOST_WRAPPED: Final = 1024
"""Bytes of the longest wrapped key that OpenVPN takes (TLS_CRYPT_V2_MAX_WKC_LEN)."""
METADATA_USER: Final = b"\x00"
"""First byte of metadata that the user chose."""
METADATA_TIMESTAMP: Final = b"\x01"
"""First byte of metadata that is the Unix time of the key's making, 8 bytes; what `openvpn --genkey` writes unless told otherwise."""

STATIC_LABEL: Final = "OpenVPN Static key V1"
CLIENT_LABEL: Final = "OpenVPN tls-crypt-v2 client key"
SERVER_LABEL: Final = "OpenVPN tls-crypt-v2 server key"
HEX_PER_LINE: Final = 32
STATIC_LINES: Final = 16
BASE64_PER_LINE: Final = 64
BASE64_LINE: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*")
"""A line that is not the last: four characters for every three bytes."""


class KeyDirection(Enum):
    """The option key-direction: which slot an end sends with."""

    BIDIRECTIONAL = None
    """The option is absent: slot 0 both ways."""
    NORMAL = 0
    INVERSE = 1

    @property
    def out_slot(self) -> int:
        """The slot whose keys an end of this direction sends with."""
        match self:
            case KeyDirection.BIDIRECTIONAL | KeyDirection.NORMAL:
                return 0
            case KeyDirection.INVERSE:
                return 1
            case _:
                assert_never(self)

    @property
    def in_slot(self) -> int:
        """The slot whose keys what it receives was made with."""
        match self:
            case KeyDirection.BIDIRECTIONAL | KeyDirection.INVERSE:
                return 0
            case KeyDirection.NORMAL:
                return 1
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True)
class StaticKey:
    """The 2048 bits of a static key file."""

    data: bytes = field(repr=False)
    """256 bytes: cipher and HMAC of slot 0, cipher and HMAC of slot 1."""

    def __post_init__(self) -> None:
        if len(self.data) != STATIC_KEY_BYTES:
            raise DecodeError(STATIC_LABEL, 0, f"is {len(self.data)} bytes, not {STATIC_KEY_BYTES}")

    def cipher_key(self, slot: int) -> bytes:
        """64 bytes of slot 0 or 1."""
        return self.data[2 * slot * HALF : (2 * slot + 1) * HALF]

    def hmac_key(self, slot: int) -> bytes:
        """64 bytes of slot 0 or 1."""
        return self.data[(2 * slot + 1) * HALF : (2 * slot + 2) * HALF]

    def encode(self) -> str:
        """The file, as `openvpn --genkey tls-auth` writes it, without its comment."""
        return _armour(STATIC_LABEL, self.data.hex(), HEX_PER_LINE)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Reads a key file; lines outside the key are skipped as OpenVPN does. Raises DecodeError."""
        lines = _between(text, STATIC_LABEL)
        for number, line in lines:
            if not line.isascii() or any(digit not in "0123456789abcdefABCDEF" for digit in line):
                raise DecodeError(STATIC_LABEL, number, "is not hexadecimal")
        digits = "".join(line for _, line in lines)
        if len(digits) == 2 * STATIC_KEY_BYTES:
            return cls(bytes.fromhex(digits))
        last = lines[-1][0] if lines else 0
        if len(lines) != STATIC_LINES:
            raise DecodeError(STATIC_LABEL, last, f"has {len(lines)} lines of key, not {STATIC_LINES}")
        number, line = next(line for line in lines if len(line[1]) != HEX_PER_LINE)
        raise DecodeError(STATIC_LABEL, number, f"has {len(line)} digits on a line, not {HEX_PER_LINE}")


@dataclass(frozen=True, slots=True)
class ClientKeyV2:
    """The tls-crypt-v2 key of one client: its own static key, and the same wrapped for the server."""

    key: StaticKey
    """Kc."""
    wrapped: bytes
    """WKc with its two bytes of length, 290 to 1024 bytes; opaque to the client."""

    def encode(self) -> str:
        """The file, as `openvpn --genkey tls-crypt-v2-client` writes it."""
        return _armour(CLIENT_LABEL, base64.b64encode(self.key.data + self.wrapped).decode(), BASE64_PER_LINE)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Reads a key file. Raises DecodeError, also where the wrapped key is not as long as it says."""
        data = _pem(text, CLIENT_LABEL)
        least = STATIC_KEY_BYTES + LEAST_WRAPPED
        if len(data) < least:
            raise DecodeError(CLIENT_LABEL, 0, f"is {len(data)} bytes, not at least {least}")
        wrapped = data[STATIC_KEY_BYTES:]
        _check_length(wrapped, CLIENT_LABEL)
        return cls(StaticKey(data[:STATIC_KEY_BYTES]), wrapped)


@dataclass(frozen=True, slots=True)
class ServerKeyV2:
    """The tls-crypt-v2 key of a server: wraps and unwraps the keys of its clients."""

    data: bytes = field(repr=False)
    """128 bytes: 64 for the cipher, 64 for the HMAC."""

    def __post_init__(self) -> None:
        if len(self.data) != SERVER_KEY_BYTES:
            raise DecodeError(SERVER_LABEL, 0, f"is {len(self.data)} bytes, not {SERVER_KEY_BYTES}")

    def encode(self) -> str:
        """The file, as `openvpn --genkey tls-crypt-v2-server` writes it."""
        return _armour(SERVER_LABEL, base64.b64encode(self.data).decode(), BASE64_PER_LINE)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Reads a key file. Raises DecodeError."""
        return cls(_pem(text, SERVER_LABEL))

    def wrap(self, key: StaticKey, metadata: bytes = b"") -> ClientKeyV2:
        """The file of a client with this key. Metadata begins with its type, if there is any; UsageError beyond 734 bytes, and CannotRun
        where this machine has no AES (`ciphers.lacking`)."""
        length = LEAST_WRAPPED + len(metadata)
        if length > MOST_WRAPPED:
            raise UsageError(f"metadata of a tls-crypt-v2 key is {len(metadata)} bytes, at most {MOST_WRAPPED - LEAST_WRAPPED} fit")
        plain = key.data + metadata
        tag = self._tag(length, plain)
        return ClientKeyV2(key, tag + self._crypt(tag, plain) + length.to_bytes(2, "big"))

    def unwrap(self, wrapped: bytes) -> tuple[StaticKey, bytes]:
        """A client's key and its metadata. Raises DecodeError where it was not wrapped with this key."""
        _check_length(wrapped, "WKc")
        tag, sealed = wrapped[:TAG_BYTES], wrapped[TAG_BYTES:-2]
        plain = self._crypt(tag, sealed)
        if not hmac.compare_digest(tag, self._tag(len(wrapped), plain)):
            raise DecodeError("WKc", 0, "was not wrapped with this server key")
        return StaticKey(plain[:STATIC_KEY_BYTES]), plain[STATIC_KEY_BYTES:]

    def _tag(self, length: int, plain: bytes) -> bytes:
        return hmac.digest(self.data[HALF : HALF + 32], length.to_bytes(2, "big") + plain, "sha256")

    def _crypt(self, tag: bytes, data: bytes) -> bytes:
        return aes_256_ctr(self.data[:32], tag[:16], data)


def _check_length(wrapped: bytes, field: str) -> None:
    """A WKc says its own length at its end."""
    if not LEAST_WRAPPED <= len(wrapped) <= MOST_WRAPPED:
        raise DecodeError(field, 0, f"has a wrapped key of {len(wrapped)} bytes, not {LEAST_WRAPPED} to {MOST_WRAPPED}")
    said = int.from_bytes(wrapped[-2:], "big")
    if said != len(wrapped):
        raise DecodeError(field, 0, f"has a wrapped key of {len(wrapped)} bytes, which says {said}")


def _armour(label: str, body: str, width: int) -> str:
    lines = [body[start : start + width] for start in range(0, len(body), width)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def _between(text: str, label: str) -> list[tuple[int, str]]:
    """The lines between the first BEGIN of this label and its END, stripped, each with its number; empty ones are left out."""
    begin, end = f"-----BEGIN {label}-----", f"-----END {label}-----"
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    first = next((number for number, line in lines if line == begin), None)
    if first is None:
        raise DecodeError(label, 0, f"has no line {begin}")
    last = next((number for number, line in lines[first:] if line == end), None)
    if last is None:
        raise DecodeError(label, first, f"has no line {end} after it")
    return [(number, line) for number, line in lines[first : last - 1] if line]


def _pem(text: str, label: str) -> bytes:
    lines = _between(text, label)
    try:
        return base64.b64decode("".join(line for _, line in lines), validate=True)
    except (binascii.Error, ValueError):
        number = next((number for number, line in lines if not BASE64_LINE.fullmatch(line)), lines[-1][0])
        raise DecodeError(label, number, "is not base64") from None
