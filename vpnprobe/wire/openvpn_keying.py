"""Key method 2, the message inside TLS that either end of OpenVPN sends first, and the derivation of data keys from it.

Four zero bytes, the method's number 2, the key source, then strings that are each preceded by a length of two bytes, which counts the NUL
at the string's end (an empty string has length 0): options, username, password, peer info. A server may leave out what follows the options.
Data keys are 256 bytes: exported from TLS where both ends can (EXPORTER_LABEL, RFC 5705), else made from both key sources by the
pseudorandom function of TLS 1.0 (RFC 2246 section 5), as every OpenVPN did until 2.5 (OpenVPN Wire Protocol, sections on the key exchange
message and on the PRF).
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, Self

from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.wire.cursor import Cursor

KEY_METHOD: Final = 2
PRE_MASTER: Final = 48
RANDOM: Final = 32
"""Bytes of each of a key source's randoms."""
DATA_KEYS: Final = 256
TAP_EXTRA: Final = 32
"""Bytes that the options string counts for the head of an Ethernet frame (`tun-mtu-extra`)."""
FRAGMENT_HEADER: Final = 4
"""Bytes that `fragment` adds to a data packet."""
MOST_STRING: Final = 0x4000
"""Bytes that no string of key method 2 reaches: a length beyond is two letters of the message that follows it."""
EXPORTER_LABEL: Final = "EXPORTER-OpenVPN-datakeys"
"""TLS-EKM: the 256 bytes exported under this label, without a context, are the data keys."""
NO_DIGEST: Final = "this Python has no {} (FIPS mode?), which old OpenVPN derives data keys with: use OpenVPN 2.6 or later at both ends"


@dataclass(frozen=True, slots=True)
class KeySource:
    """What one end adds to the data keys."""

    pre_master: bytes
    """48 bytes of a client, none of a server."""
    random_1: bytes
    """32 bytes, for the master secret."""
    random_2: bytes
    """32 bytes, for the key expansion."""

    def encode(self) -> bytes:
        return self.pre_master + self.random_1 + self.random_2


@dataclass(frozen=True, slots=True)
class KeyMethod2:
    """The first message inside TLS of either end."""

    source: KeySource
    options: str
    """OpenVPN's options string (`options_string`)."""
    username: str = ""
    password: str = ""
    peer_info: str = ""
    """Lines of NAME=value (`read_peer_info`); empty: none."""

    def encode(self) -> bytes:
        strings = b"".join(_string(text) for text in (self.options, self.username, self.password, self.peer_info))
        return bytes(4) + bytes([KEY_METHOD]) + self.source.encode() + strings

    @classmethod
    def decode_from_client(cls, data: bytes) -> tuple[Self, int] | None:
        """A client's message at the front of what TLS gave out, and its bytes; None: there is more to come. Raises DecodeError."""
        return cls._decode(data, PRE_MASTER, whole=True)

    @classmethod
    def decode_from_server(cls, data: bytes) -> tuple[Self, int] | None:
        """The same of a server, which may end after any string from the options on: hand over whole TLS records."""
        return cls._decode(data, 0, whole=False)

    @classmethod
    def _decode(cls, data: bytes, pre_master: int, *, whole: bool) -> tuple[Self, int] | None:
        _check_head(data)
        if len(data) < 5 + pre_master + 2 * RANDOM:
            return None
        cursor = Cursor(data, 5)
        source = KeySource(cursor.take(pre_master, "pre-master"), cursor.take(RANDOM, "random 1"), cursor.take(RANDOM, "random 2"))
        options = _read_string(cursor, "options")
        if options is None:
            return None
        rest: list[str] = []
        for field in ("username", "password", "peer info"):
            if not whole and _ends_here(cursor):
                break
            text = _read_string(cursor, field)
            if text is None:
                return None
            rest.append(text)
        return cls(source, options, *rest), cursor.offset


def _check_head(data: bytes) -> None:
    if data[:4] != bytes(len(data[:4])):
        raise DecodeError("key method 2", 0, "does not begin with four zero bytes")
    if len(data) > 4 and data[4] & 0x0F != KEY_METHOD:
        raise DecodeError("key method", 4, f"is {data[4] & 0x0F}, not {KEY_METHOD}")


def _string(text: str) -> bytes:
    """An empty string has no NUL either."""
    data = text.encode("utf-8", "replace") + b"\0" if text else b""
    return len(data).to_bytes(2, "big") + data


def _ends_here(cursor: Cursor) -> bool:
    """Nothing follows, or another message does: those begin with a capital letter, and no string is as long as that would say."""
    return cursor.left == 0 or cursor.data[cursor.offset] >= MOST_STRING >> 8


def _read_string(cursor: Cursor, field: str) -> str | None:
    """The string at the cursor, up to its first NUL; None: it is not whole yet."""
    if cursor.left < 2:
        return None
    length = cursor.u16(f"{field} length")
    if length >= MOST_STRING:
        raise cursor.wrong(f"{field} length", f"is {length}, more than {MOST_STRING - 1}", back=2)
    if cursor.left < length:
        return None
    data = cursor.take(length, field)
    if data and data[-1] != 0:
        raise cursor.wrong(field, "does not end in NUL", back=1)
    return data.partition(b"\0")[0].decode("utf-8", "replace")


def data_keys(client: KeySource, server: KeySource, *, client_session_id: bytes, server_session_id: bytes) -> bytes:
    """The 256 bytes of data keys, by OpenVPN's pseudorandom function. Raises CannotRun where MD5 is not to be had."""
    master = tls1_prf(client.pre_master, b"OpenVPN master secret" + client.random_1 + server.random_1, 48)
    seed = b"OpenVPN key expansion" + client.random_2 + server.random_2 + client_session_id + server_session_id
    return tls1_prf(master, seed, DATA_KEYS)


def tls1_prf(secret: bytes, seed: bytes, length: int) -> bytes:
    """PRF of TLS 1.0 (RFC 2246 section 5): P_MD5 of the secret's first half, exclusive or P_SHA-1 of its second.

    The seed begins with its label; the halves share the middle byte of an odd secret. Raises CannotRun (status MISSING) without MD5.
    """
    half = (len(secret) + 1) // 2
    first, second = _expand("md5", secret[:half], seed, length), _expand("sha1", secret[len(secret) - half :], seed, length)
    return bytes(a ^ b for a, b in zip(first, second, strict=True))


def _expand(digest: str, secret: bytes, seed: bytes, length: int) -> bytes:
    """P_hash: HMAC(secret, A(i) || seed) for i from 1 on, A(i) = HMAC(secret, A(i - 1)), A(0) = seed."""
    keyed = _keyed(digest, secret)

    def mac(data: bytes) -> bytes:
        one = keyed.copy()
        one.update(data)
        return one.digest()

    out, link = b"", seed
    while len(out) < length:
        link = mac(link)
        out += mac(link + seed)
    return out[:length]


def _keyed(digest: str, key: bytes) -> hmac.HMAC:
    # Not hmac.digest: under FIPS it refuses MD5 even for what is no matter of security, as here beside SHA-1 and inside TLS.
    def start(first: bytes = b"") -> "hashlib._Hash":
        return hashlib.new(digest, first, usedforsecurity=False)

    try:
        return hmac.new(key, digestmod=start)
    except ValueError:
        raise CannotRun(NO_DIGEST.format(digest.upper()), status=ExitStatus.MISSING) from None


class IvProto(IntFlag):
    """IV_PROTO of the peer info: what a peer can do beyond the first 2.x. Bit 0 is reserved (OpenVPN Wire Protocol, section Peerinfo)."""

    DATA_V2 = 1 << 1
    """P_DATA_V2 with a peer ID."""
    REQUEST_PUSH = 1 << 2
    """The server may send its PUSH_REPLY unasked."""
    TLS_KEY_EXPORT = 1 << 3
    """Data keys by TLS-EKM."""
    AUTH_PENDING_KW = 1 << 4
    """AUTH_PENDING with keywords after it."""
    NCP_P2P = 1 << 5
    """Negotiation between two peers of which none is a server."""
    DNS_OPTION = 1 << 6
    """The option dns as of 2.6.0; superseded by DNS_OPTION_V2."""
    CC_EXIT_NOTIFY = 1 << 7
    """EXIT over the control channel, and the option protocol-flags."""
    AUTH_FAIL_TEMP = 1 << 8
    """AUTH_FAILED,TEMP."""
    DYN_TLS_CRYPT = 1 << 9
    """A tls-crypt key derived from TLS for renegotiations."""
    DATA_EPOCH = 1 << 10
    """Epoch data keys: 64-bit packet IDs, the tag at the end."""
    DNS_OPTION_V2 = 1 << 11
    PUSH_UPDATE = 1 << 12
    """Options may be changed while connected."""


def peer_info(values: Mapping[str, str]) -> str:
    """The peer info's text: a line of NAME=value each."""
    return "".join(f"{name}={value}\n" for name, value in values.items())


def read_peer_info(text: str) -> dict[str, str]:
    """Names and values; lines without an equals sign are passed over, of a name given twice the last value counts."""
    pairs = (line.partition("=") for line in text.split("\n"))
    return {name: value for name, equals, value in pairs if equals}


def options_string(
    *,
    transport: str,
    cipher: str,
    auth: str,
    server: bool,
    tun_mtu: int = 1500,
    key_direction: int | None = None,
    comp_lzo: bool = False,
    device: str = "tun",
    fragment: bool = False,
) -> str:
    """What the other end compares with its own options and may warn about; 2.4 and later do not end a conversation for it.

    `transport` is "UDPv4", "TCPv4_CLIENT" or "TCPv4_SERVER"; `cipher` OpenVPN's name of it; `auth` the digest, which an AEAD cipher makes
    "[null-digest]"; `tun_mtu` in bytes; `key_direction` 0 or 1 of tls-auth, None: none; `comp_lzo`: payloads are framed for compression;
    `device` "tun" or "tap"; `fragment`: packets are cut.
    """
    tun_mtu += TAP_EXTRA if device == "tap" else 0
    link_mtu = tun_mtu + _link_overhead(transport, cipher) + comp_lzo + (FRAGMENT_HEADER if fragment else 0)
    words = ["V4", f"dev-type {device}", f"link-mtu {link_mtu}", f"tun-mtu {tun_mtu}", f"proto {transport}"]
    if comp_lzo:
        words.append("comp-lzo")
    if fragment:
        words.append("mtu-dynamic")
    if key_direction is not None:
        words.append(f"keydir {key_direction}")
    digest = "[null-digest]" if cipher.endswith(("-GCM", "-POLY1305")) else auth
    words += [f"cipher {cipher}", f"auth {digest}", f"keysize {_key_bits(cipher)}"]
    if key_direction is not None:
        words.append("tls-auth")
    return ",".join([*words, "key-method 2", "tls-server" if server else "tls-client"])


def _link_overhead(transport: str, cipher: str) -> int:
    """Bytes that OpenVPN 2.6 counts as link-mtu beyond tun-mtu for an AEAD cipher: a block more for AES, two bytes of length for TCP."""
    return (34 if cipher.startswith("CHACHA20") else 49) + (0 if transport.startswith("UDP") else 2)


def _key_bits(cipher: str) -> int:
    """128, 192 or 256: AES's names say it, and the others have 256."""
    return next((bits for bits in (128, 192) if f"-{bits}-" in cipher), 256)


def read_options(text: str) -> dict[str, str]:
    """The options string's words, each with what follows it; "" where nothing does."""
    return {name: value for name, _, value in (word.partition(" ") for word in text.split(",")) if name}
