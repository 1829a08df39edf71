"""WireGuard's handshake and data as its keys make them (whitepaper section 5.4): Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, MACs and cookies.

Ephemeral keys, indices and times are arguments, so that nothing here is random. X25519 and ChaCha20-Poly1305 (RFC 7748, RFC 8439) come from
the Python package cryptography, XChaCha20-Poly1305 of cookies from pycryptodome, BLAKE2s and HMAC (RFC 7693, RFC 2104) from the standard
library. Keys, hashes and secrets have 32 bytes, tags 16. What does not open raises DecodeError and gives out nothing.
"""

import base64
import hashlib
import hmac
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.wire.ciphers import TAG, Cipher, aead
from vpnprobe.wire.replay_window import ReplayWindow
from vpnprobe.wire.wireguard import BLOCK, SIZES, CookieReply, HandshakeInitiation, HandshakeResponse, TransportData

if TYPE_CHECKING:
    from Crypto.Cipher.ChaCha20_Poly1305 import ChaCha20Poly1305Cipher
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

Message = TypeVar("Message", HandshakeInitiation, HandshakeResponse)
CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1: Final = b"mac1----"
LABEL_COOKIE: Final = b"cookie--"
KEY: Final = 32
MAC: Final = 16
"""Bytes of mac1, mac2 and a cookie."""
NO_MAC: Final = bytes(MAC)
NO_PRESHARED_KEY: Final = bytes(KEY)
REPLAY_WINDOW: Final = 8128
"""Counters below the highest one that may still come, as real peers keep."""
TAI64_EPOCH: Final = (1 << 62) + 10
"""The label of 1970-01-01 00:00:00 UTC."""
ZERO_NONCE: Final = bytes(12)
LACKING: Final = "WireGuard needs the Python package cryptography: apt install python3-cryptography, or pip install cryptography"
LACKING_COOKIES: Final = (
    "WireGuard's cookies need the Python package pycryptodome: apt install python3-pycryptodome, or pip install pycryptodome"
)


def lacking() -> str:
    """Why there is no cryptography for handshakes, data and cookies, with what mends it; empty: it is there."""
    try:
        import cryptography.hazmat.primitives.asymmetric.x25519  # noqa: F401
    except ImportError:
        return LACKING
    try:
        _xchacha_module()
    except CannotRun as lack:
        return str(lack)
    return ""


def public_key(private: bytes) -> bytes:
    """The public key of a private one, both 32 bytes. Raises CannotRun (status MISSING) where the cryptography cannot be had."""
    return _private(private).public_key().public_bytes_raw()


def _private(private: bytes) -> "X25519PrivateKey":
    try:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    except ImportError:
        raise CannotRun(LACKING, status=ExitStatus.MISSING) from None
    return X25519PrivateKey.from_private_bytes(private)


def agree(private: bytes, public: bytes, name: str) -> bytes:
    """The secret that two keys share. Raises DecodeError, about `name`, where the public one is a point that gives none."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    own = _private(private)
    try:
        secret: bytes = own.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise DecodeError(name, 0, "is no key that a secret can be agreed with") from None
    return secret


def key_text(key: bytes) -> str:
    """A key as wg writes it, in base64."""
    return base64.b64encode(key).decode()


def key_of_text(text: str, name: str = "key") -> bytes:
    """The 32 bytes of a key that is written so, and in no other form: wg takes none. Raises DecodeError, about `name`, without the key."""
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if key and len(key) != KEY:
        raise DecodeError(name, 0, f"is {len(key)} bytes, not {KEY}")
    if not key or key_text(key) != text:
        raise DecodeError(name, 0, f"is no base64 of {KEY} bytes ({len(key_text(bytes(KEY)))} characters with = at the end)")
    return key


def digest(*parts: bytes) -> bytes:
    """HASH: BLAKE2s with 32 bytes."""
    return hashlib.blake2s(b"".join(parts)).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """MAC: keyed BLAKE2s with 16 bytes."""
    return hashlib.blake2s(data, key=key, digest_size=MAC).digest()


def derive(count: int, key: bytes, data: bytes) -> list[bytes]:
    """KDF1 to KDF3: as many keys of 32 bytes, from HMAC-BLAKE2s (RFC 5869)."""
    secret = hmac.digest(key, data, hashlib.blake2s)
    keys: list[bytes] = []
    for number in range(1, count + 1):
        keys.append(hmac.digest(secret, (keys[-1] if keys else b"") + bytes([number]), hashlib.blake2s))
    return keys


def tai64n(unix_time: float) -> bytes:
    """The time in 12 bytes, never later than `unix_time`: a peer refuses all initiations that are not later than the last it took."""
    seconds = int(unix_time)
    return (TAI64_EPOCH + seconds).to_bytes(8, "big") + int((unix_time - seconds) * 1e9).to_bytes(4, "big")


@dataclass(frozen=True)
class Identity:
    """One end's long-lived keys, and what it knows of the other end."""

    private: bytes = field(repr=False)
    peer: bytes
    """The peer's public key."""
    preshared: bytes = field(default=NO_PRESHARED_KEY, repr=False)
    """Zeros where none is configured."""

    @cached_property
    def public(self) -> bytes:
        """The public key of `private`. Raises CannotRun (status MISSING) where the cryptography cannot be had."""
        return public_key(self.private)


@dataclass(frozen=True, slots=True)
class Handshake:
    """A handshake under way: Noise's chaining key and hash, with the key that the last agreement gave."""

    chaining_key: bytes = field(repr=False)
    hash: bytes = field(repr=False)
    key: bytes = field(default=b"", repr=False)
    index: int = 0
    """The sender index of the initiation."""
    ephemeral: bytes = field(default=b"", repr=False)
    """This end's private key of the handshake, or the peer's public one: whichever the next message needs."""
    peer: bytes = b""
    """The initiator's public key, as its initiation proves it."""
    timestamp: bytes = b""
    """Of the initiation, 12 bytes: what is not later than the last one is a replay."""

    @classmethod
    def begun(cls, responder: bytes) -> Self:
        """Before the first message to the responder with that public key."""
        chaining_key = digest(CONSTRUCTION)
        return cls(chaining_key, digest(digest(chaining_key, IDENTIFIER), responder))

    def mixed(self, data: bytes) -> Self:
        """With a part of a message in the hash."""
        return replace(self, hash=digest(self.hash, data))

    def keyed(self, secret: bytes) -> Self:
        """With a secret, or an ephemeral public key, in the chaining key."""
        chaining_key, key = derive(2, self.chaining_key, secret)
        return replace(self, chaining_key=chaining_key, key=key)

    def preshared(self, key: bytes) -> Self:
        """With the preshared key in both."""
        chaining_key, mixed, secret = derive(3, self.chaining_key, key)
        return replace(self, chaining_key=chaining_key, key=secret, hash=digest(self.hash, mixed))

    def seal(self, plain: bytes) -> tuple[bytes, Self]:
        """A part, encrypted, and what follows."""
        sealed = aead(Cipher.CHACHA20_POLY1305, self.key).seal(ZERO_NONCE, plain, self.hash)
        return sealed, self.mixed(sealed)

    def open(self, sealed: bytes, name: str) -> tuple[bytes, Self]:
        """The part, and what follows. Raises DecodeError, about `name`, where it does not open."""
        try:
            return aead(Cipher.CHACHA20_POLY1305, self.key).open(ZERO_NONCE, sealed, self.hash), self.mixed(sealed)
        except DecodeError:
            raise DecodeError(name, 0, "does not open: the keys are others, or the message was changed") from None

    def transport_keys(self) -> tuple[bytes, bytes]:
        """Those of the initiator's data and of the responder's."""
        initiator, responder = derive(2, self.chaining_key, b"")
        return initiator, responder


def initiation(identity: Identity, *, ephemeral: bytes, index: int, timestamp: bytes) -> tuple[HandshakeInitiation, Handshake]:
    """The first message, without mac2, and the handshake after it. `ephemeral`: a fresh private key."""
    point = public_key(ephemeral)
    state = Handshake.begun(identity.peer).mixed(point).keyed(point)
    static, state = state.keyed(agree(ephemeral, identity.peer, "peer's public key")).seal(identity.public)
    sealed, state = state.keyed(agree(identity.private, identity.peer, "peer's public key")).seal(timestamp)
    message = HandshakeInitiation(index, point, static, sealed, NO_MAC, NO_MAC)
    return replace(message, mac1=mac1(message, identity.peer)), replace(state, index=index, ephemeral=ephemeral)


def read_initiation(message: HandshakeInitiation, private: bytes) -> Handshake:
    """The handshake after the first message, at the responder with that private key. Raises DecodeError."""
    own = public_key(private)
    check_mac1(message, own)
    state = Handshake.begun(own).mixed(message.ephemeral).keyed(message.ephemeral)
    static, state = state.keyed(agree(private, message.ephemeral, "ephemeral")).open(message.static, "static")
    timestamp, state = state.keyed(agree(private, static, "static")).open(message.timestamp, "timestamp")
    return replace(state, index=message.sender_index, ephemeral=message.ephemeral, peer=static, timestamp=timestamp)


def response(state: Handshake, preshared: bytes, *, ephemeral: bytes, index: int) -> tuple[HandshakeResponse, Handshake]:
    """The answer to an initiation that was read, without mac2, and the handshake after it. `ephemeral`: a fresh private key."""
    point = public_key(ephemeral)
    state = state.mixed(point).keyed(point)
    state = state.keyed(agree(ephemeral, state.ephemeral, "ephemeral")).keyed(agree(ephemeral, state.peer, "static"))
    empty, state = state.preshared(preshared).seal(b"")
    message = HandshakeResponse(index, state.index, point, empty, NO_MAC, NO_MAC)
    return replace(message, mac1=mac1(message, state.peer)), state


def read_response(message: HandshakeResponse, state: Handshake, identity: Identity) -> Handshake:
    """The handshake after the answer, at the initiator. Raises DecodeError."""
    check_mac1(message, identity.public)
    state = state.mixed(message.ephemeral).keyed(message.ephemeral)
    state = state.keyed(agree(state.ephemeral, message.ephemeral, "ephemeral"))
    state = state.keyed(agree(identity.private, message.ephemeral, "ephemeral"))
    return state.preshared(identity.preshared).open(message.empty, "empty")[1]


def mac1(message: HandshakeInitiation | HandshakeResponse, receiver: bytes) -> bytes:
    """What shows that its sender knows the receiver's public key, over all before it."""
    return mac(digest(LABEL_MAC1, receiver), message.encode()[: -2 * MAC])


def check_mac1(message: HandshakeInitiation | HandshakeResponse, own: bytes) -> None:
    """Raises DecodeError where the message is not for the public key `own`: then nothing may be said to it, not even a cookie."""
    if not hmac.compare_digest(message.mac1, mac1(message, own)):
        raise DecodeError("mac1", SIZES[message.TYPE] - 2 * MAC, "is not for our public key")


def with_cookie(message: Message, cookie: bytes) -> Message:
    """The message with the mac2 that the receiver's cookie makes."""
    return replace(message, mac2=mac(cookie, message.encode()[:-MAC]))


def cookie_reply(message: HandshakeInitiation | HandshakeResponse, own: bytes, *, cookie: bytes, nonce: bytes) -> CookieReply:
    """What an end under load answers a message with. `own`: its public key; `nonce`: 24 fresh bytes."""
    cipher = _xchacha(digest(LABEL_COOKIE, own), nonce)
    cipher.update(message.mac1)
    sealed, tag = cipher.encrypt_and_digest(cookie)
    return CookieReply(message.sender_index, nonce, sealed + tag)


def read_cookie(reply: CookieReply, mac1: bytes, peer: bytes) -> bytes:
    """The cookie in the answer to the message with that mac1. `peer`: the public key of who sent it. Raises DecodeError."""
    cipher = _xchacha(digest(LABEL_COOKIE, peer), reply.nonce)
    cipher.update(mac1)
    try:
        cookie: bytes = cipher.decrypt_and_verify(reply.cookie[:-TAG], reply.cookie[-TAG:])
    except ValueError:
        raise DecodeError("cookie", 32, "does not open: it answers another message, or another key made it") from None
    return cookie


def _xchacha(key: bytes, nonce: bytes) -> "ChaCha20Poly1305Cipher":
    cipher: ChaCha20Poly1305Cipher = _xchacha_module().new(key=key, nonce=nonce)
    return cipher


def _xchacha_module() -> ModuleType:
    """pycryptodome's, which Debian's package has under another name. Raises CannotRun (status MISSING)."""
    for package in ("Crypto", "Cryptodome"):
        with suppress(ImportError):
            return import_module(f"{package}.Cipher.ChaCha20_Poly1305")
    raise CannotRun(LACKING_COOKIES, status=ExitStatus.MISSING)


class TransportSession:
    """The data of one handshake's keys: counters, and a window against replays (sections 5.4.6 and 6.4)."""

    def __init__(self, *, sending: bytes, receiving: bytes, local_index: int, remote_index: int) -> None:
        self.local_index = local_index
        """What the peer's data names this session by."""
        self.remote_index = remote_index
        self.sent = 0
        """Messages so far, and the counter of the next one."""
        self._window = ReplayWindow(first=0, field="counter", width=REPLAY_WINDOW)
        self._sending = aead(Cipher.CHACHA20_POLY1305, sending)
        self._receiving = aead(Cipher.CHACHA20_POLY1305, receiving)

    def seal(self, packet: bytes, *, largest: int) -> TransportData:
        """A message with an IP packet, padded to whole blocks, but to no more than `largest` bytes; nothing is a keepalive."""
        counter, self.sent = self.sent, self.sent + 1
        padded = packet + bytes(max(0, min(-len(packet) % BLOCK, largest - len(packet))))
        return TransportData(self.remote_index, counter, self._sending.seal(_nonce(counter), padded, b""))

    def open(self, message: TransportData) -> bytes:
        """The padded IP packet; empty: a keepalive. Raises DecodeError where it does not open, or came before."""
        packet = self._receiving.open(_nonce(message.counter), message.packet, b"")
        self._window.accept(message.counter, 8)
        return packet


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "little")
