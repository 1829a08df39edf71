"""What wraps OpenVPN's control channel: nothing, tls-auth (an HMAC), tls-crypt (encryption too), tls-crypt-v2 (a key of the client's own).

tls-auth:  head || HMAC || packet ID || time || body, the HMAC being over packet ID || time || head || body.
tls-crypt: head || packet ID || time || tag || ciphertext, tag = HMAC-SHA256(Ka, head || packet ID || time || body) and
ciphertext = AES-256-CTR(Ke, tag[:16], body). The head is the byte of opcode and key ID, and the session ID. A tls-crypt-v2 client appends
its wrapped key to P_CONTROL_HARD_RESET_CLIENT_V3, and to P_CONTROL_WKC_V1 where the server asks for it (OpenVPN Wire Protocol, sections on
tls-auth, tls-crypt and client-specific keys). A wrapper counts what it sends and judges no replays: it keeps the last packet ID it saw.
"""

import hashlib
import hmac
from enum import StrEnum
from typing import Final, Protocol

from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.wire.ciphers import aes_256_ctr
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.openvpn import SESSION_ID
from vpnprobe.wire.openvpn_keys import LEAST_WRAPPED, MOST_WRAPPED, TAG_BYTES, KeyDirection, StaticKey

HEAD: Final = 1 + SESSION_ID
"""Bytes that stand in clear before all else: opcode and key ID, session ID."""
LONG_PACKET_ID: Final = 8
"""Bytes of packet ID and Unix time."""
EARLY_NEGOTIATION: Final = 0x0F000000
"""Packet IDs of a tls-crypt-v2 client that can send its wrapped key again begin here; OpenVPN 2.6 sends the next one first."""
RESEND_WRAPPED_KEY: Final = bytes.fromhex("0001 0002 0001")
"""Payload of a P_CONTROL_HARD_RESET_SERVER_V2 that asks the client for its wrapped key once more: type 1, length 2, flag 1."""
EARLY_FLAGS: Final = 1
"""The type of the flags in the list that a server's reset may carry."""
FLAG_RESEND_WRAPPED_KEY: Final = 0x0001

DIGESTS: Final = {"BLAKE2B512": "blake2b", "BLAKE2S256": "blake2s", "SHA512-224": "sha512_224", "SHA512-256": "sha512_256"}
"""OpenVPN's names that Python spells otherwise by more than case and dashes."""


class Wrap(StrEnum):
    """The ways to wrap a control channel, by their options' names."""

    NONE = "none"
    TLS_AUTH = "tls-auth"
    TLS_CRYPT = "tls-crypt"
    TLS_CRYPT_V2 = "tls-crypt-v2"


class Wrapper(Protocol):
    """One end's wrapping."""

    peer_packet_id: int | None
    """The packet ID of the last packet that was unwrapped; None: none yet, or the wrapping has no packet IDs."""

    def wrap(self, head: bytes, body: bytes, *, unix_time: int) -> bytes:
        """The whole packet. `head` is opcode byte and session ID, 9 bytes; `unix_time` in seconds, of which 32 bits are sent."""
        ...

    def unwrap(self, packet: bytes) -> bytes:
        """The plain body (the reliability layer and its payload). Raises DecodeError, with the field HMAC where the keys do not fit."""
        ...


class PlainWrapper:
    """No wrapping: the body stands in clear."""

    def __init__(self) -> None:
        self.peer_packet_id: int | None = None

    def wrap(self, head: bytes, body: bytes, *, unix_time: int) -> bytes:
        return head + body

    def unwrap(self, packet: bytes) -> bytes:
        cursor = Cursor(packet)
        cursor.take(HEAD, "head")
        return cursor.rest()


class TlsAuthWrapper:
    """tls-auth. `digest` is the name that the option `auth` has ("SHA1", "SHA256", "SHA512"...); CannotRun where it cannot be had."""

    def __init__(self, digest: str, key: StaticKey, direction: KeyDirection, *, first_packet_id: int = 1) -> None:
        self.digest, self.digest_bytes = _digest(digest)
        self.out_key = key.hmac_key(direction.out_slot)[: self.digest_bytes]
        self.in_key = key.hmac_key(direction.in_slot)[: self.digest_bytes]
        self.next_packet_id = first_packet_id
        self.peer_packet_id: int | None = None

    def wrap(self, head: bytes, body: bytes, *, unix_time: int) -> bytes:
        replay = _long_packet_id(self.next_packet_id, unix_time)
        self.next_packet_id += 1
        return head + hmac.digest(self.out_key, replay + head + body, self.digest) + replay + body

    def unwrap(self, packet: bytes) -> bytes:
        cursor = Cursor(packet)
        head = cursor.take(HEAD, "head")
        seal = cursor.take(self.digest_bytes, "HMAC")
        replay = cursor.take(LONG_PACKET_ID, "packet ID")
        body = cursor.rest()
        if not hmac.compare_digest(seal, hmac.digest(self.in_key, replay + head + body, self.digest)):
            raise DecodeError("HMAC", HEAD, "does not fit the tls-auth key, its direction or the digest")
        self.peer_packet_id = int.from_bytes(replay[:4], "big")
        return body


class TlsCryptWrapper:
    """tls-crypt, and tls-crypt-v2 with the client's own key: a server sends with slot 0, a client with slot 1."""

    def __init__(self, key: StaticKey, *, server: bool, first_packet_id: int = 1) -> None:
        direction = KeyDirection.NORMAL if server else KeyDirection.INVERSE
        self.out_cipher, self.out_hmac = key.cipher_key(direction.out_slot)[:32], key.hmac_key(direction.out_slot)[:32]
        self.in_cipher, self.in_hmac = key.cipher_key(direction.in_slot)[:32], key.hmac_key(direction.in_slot)[:32]
        self.next_packet_id = first_packet_id
        self.peer_packet_id: int | None = None

    def wrap(self, head: bytes, body: bytes, *, unix_time: int) -> bytes:
        clear = head + _long_packet_id(self.next_packet_id, unix_time)
        self.next_packet_id += 1
        tag = hmac.digest(self.out_hmac, clear + body, "sha256")
        return clear + tag + aes_256_ctr(self.out_cipher, tag[:16], body)

    def unwrap(self, packet: bytes) -> bytes:
        cursor = Cursor(packet)
        clear = cursor.take(HEAD, "head") + cursor.take(LONG_PACKET_ID, "packet ID")
        tag = cursor.take(TAG_BYTES, "HMAC")
        body = aes_256_ctr(self.in_cipher, tag[:16], cursor.rest())
        if not hmac.compare_digest(tag, hmac.digest(self.in_hmac, clear + body, "sha256")):
            raise DecodeError("HMAC", HEAD + LONG_PACKET_ID, "does not fit the tls-crypt key")
        self.peer_packet_id = int.from_bytes(clear[HEAD : HEAD + 4], "big")
        return body


def with_wrapped_key(packet: bytes, wrapped: bytes) -> bytes:
    """A wrapped packet as it goes out with the client's WKc."""
    return packet + wrapped


def split_wrapped_key(packet: bytes) -> tuple[bytes, bytes]:
    """The packet without its WKc, and the WKc: of P_CONTROL_HARD_RESET_CLIENT_V3 and P_CONTROL_WKC_V1. Raises DecodeError."""
    cursor = Cursor(packet, max(len(packet) - 2, 0))
    length = cursor.u16("WKc length")
    if not LEAST_WRAPPED <= length <= MOST_WRAPPED:
        raise cursor.wrong("WKc length", f"is {length}, not {LEAST_WRAPPED} to {MOST_WRAPPED}", back=2)
    if length > len(packet) - HEAD:
        raise cursor.wrong("WKc length", f"is {length}, {max(len(packet) - HEAD, 0)} bytes are there", back=2)
    return packet[:-length], packet[-length:]


def early_flags(payload: bytes) -> int:
    """The flags of early negotiation in the payload of a server's reset; 0 where there are none. Raises DecodeError for a broken list.

    The payload is a list of type, length (2 bytes each) and value. Types that are not known are passed over.
    """
    cursor, flags = Cursor(payload), 0
    while cursor.left:
        kind, length = cursor.u16("TLV type"), cursor.u16("TLV length")
        value = cursor.take(length, "TLV value")
        if kind == EARLY_FLAGS:
            if length != 2:
                raise cursor.wrong("TLV length", f"of the flags is {length}, not 2", back=length + 2)
            flags = int.from_bytes(value, "big")
    return flags


def _long_packet_id(packet_id: int, unix_time: int) -> bytes:
    return (packet_id & 0xFFFFFFFF).to_bytes(4, "big") + (unix_time & 0xFFFFFFFF).to_bytes(4, "big")


def digest_lack(name: str) -> str:
    """Why a digest cannot be tls-auth's here; empty: it can."""
    try:
        _digest(name)
    except CannotRun as lack:
        return str(lack)
    return ""


def _digest(name: str) -> tuple[str, int]:
    """Python's name of a digest, and its bytes."""
    known = DIGESTS.get(name.upper(), name.lower().replace("-", "_"))
    try:
        size = hashlib.new(known, usedforsecurity=False).digest_size
        if size == 0:
            raise ValueError("not of fixed length")
        hmac.digest(b"", b"", known)
    except ValueError:
        raise CannotRun(
            f"the digest {name} of tls-auth is not to be had here: set `auth SHA256` at both ends", status=ExitStatus.MISSING
        ) from None
    return known, size
