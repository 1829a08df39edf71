"""The symmetric cryptography of VPN protocols: AES-GCM and ChaCha20-Poly1305 for data, AES-256-CTR for control channels.

It comes from the Python package cryptography where that is installed, else from the system's libcrypto (OpenSSL 1.1 or later) through
ctypes and its EVP functions, else not at all: `lacking` says so, and what mends it. Both give the same bytes (NIST SP 800-38D and
SP 800-38A, RFC 8439). Nonces have 12 bytes, tags 16. What does not open raises DecodeError and gives out nothing.
"""

import ctypes
import ctypes.util
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import cache
from typing import Final, Protocol

from vpnprobe.errors import CannotRun, DecodeError, ExitStatus

TAG: Final = 16
"""Bytes of an authentication tag."""
NONCE: Final = 12
LACKING: Final = (
    "VPN ciphers need the Python package cryptography or the library libcrypto, and neither is there: "
    "apt install python3-cryptography, or apt install libssl3"
)
LIBRARY_NAMES: Final = ("libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so")

GET_TAG: Final = 0x10
SET_TAG: Final = 0x11
"""Commands of EVP_CIPHER_CTX_ctrl: EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG."""


class Cipher(StrEnum):
    """AEAD ciphers, by the names that OpenSSL has for them."""

    AES_128_GCM = "AES-128-GCM"
    AES_192_GCM = "AES-192-GCM"
    AES_256_GCM = "AES-256-GCM"
    CHACHA20_POLY1305 = "CHACHA20-POLY1305"

    @property
    def key_bytes(self) -> int:
        return {Cipher.AES_128_GCM: 16, Cipher.AES_192_GCM: 24}.get(self, 32)


class Aead(Protocol):
    """A cipher with its key."""

    def seal(self, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        """Ciphertext and then the tag of 16 bytes. The nonce has 12 bytes and is never used twice with a key."""
        ...

    def open(self, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """The plain text; raises DecodeError where the tag does not fit."""
        ...


class Provider(Protocol):
    """Where ciphers come from."""

    def aead(self, cipher: Cipher, key: bytes) -> Aead: ...
    def aes_256_ctr(self, key: bytes, counter_block: bytes, data: bytes) -> bytes: ...


def aead(cipher: Cipher, key: bytes) -> Aead:
    """A cipher with its key of `cipher.key_bytes` bytes. Raises CannotRun (status MISSING) where it cannot be had.

    A key or nonce of another length raises DecodeError, here and wherever it is used.
    """
    return _provider().aead(cipher, key)


def aes_256_ctr(key: bytes, counter_block: bytes, data: bytes) -> bytes:
    """Encrypts or decrypts: key of 32 bytes, first counter block of 16. Raises CannotRun (status MISSING) where it cannot be had."""
    return _provider().aes_256_ctr(key, counter_block, data)


def lacking() -> str:
    """Why there are no ciphers, with what mends it; empty: all is there."""
    try:
        _provider()
    except CannotRun as lack:
        return str(lack)
    return ""


class _CryptographyAead:
    def __init__(self, cipher: Cipher, key: bytes) -> None:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

        _sized("cipher key", key, cipher.key_bytes)
        make = ChaCha20Poly1305 if cipher is Cipher.CHACHA20_POLY1305 else AESGCM
        try:
            self.cipher: AESGCM | ChaCha20Poly1305 = make(key)
        except UnsupportedAlgorithm:
            raise _refused(cipher) from None

    def seal(self, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        return self.cipher.encrypt(_sized("nonce", nonce, NONCE), plain, associated)

    def open(self, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self.cipher.decrypt(_sized("nonce", nonce, NONCE), sealed, associated)
        except InvalidTag:
            raise _wrong_tag(sealed) from None


class _Cryptography:
    """The Python package."""

    def aead(self, cipher: Cipher, key: bytes) -> Aead:
        return _CryptographyAead(cipher, key)

    def aes_256_ctr(self, key: bytes, counter_block: bytes, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
        from cryptography.hazmat.primitives.ciphers import algorithms, modes

        _sized("cipher key", key, 32)
        encryptor = BlockCipher(algorithms.AES(key), modes.CTR(_sized("counter block", counter_block, 16))).encryptor()
        return encryptor.update(data) + encryptor.finalize()


class _Context:
    """One EVP_CIPHER_CTX, freed when it is left."""

    def __init__(self, library: ctypes.CDLL, cipher: int) -> None:
        self.library, self.cipher = library, cipher
        self.pointer = library.EVP_CIPHER_CTX_new()
        _check(bool(self.pointer))

    def __enter__(self) -> "_Context":
        return self

    def __exit__(self, *_: object) -> None:
        self.library.EVP_CIPHER_CTX_free(self.pointer)

    def control(self, command: int, size: int, data: "ctypes.Array[ctypes.c_char] | None" = None) -> None:
        _check(self.library.EVP_CIPHER_CTX_ctrl(self.pointer, command, size, data))

    def begin(self, key: bytes, nonce: bytes, *, encrypt: bool) -> None:
        _check(self.library.EVP_CipherInit_ex(self.pointer, self.cipher, None, key, nonce, int(encrypt)))

    def update(self, data: bytes) -> bytes:
        out, size = ctypes.create_string_buffer(len(data) + TAG), ctypes.c_int(0)
        _check(self.library.EVP_CipherUpdate(self.pointer, out, ctypes.byref(size), data, len(data)))
        return out.raw[: size.value]

    def associate(self, data: bytes) -> None:
        size = ctypes.c_int(0)
        _check(self.library.EVP_CipherUpdate(self.pointer, None, ctypes.byref(size), data, len(data)))

    def finish(self) -> bool:
        """False: the tag does not fit. No cipher here has anything left to give out at its end."""
        out, size = ctypes.create_string_buffer(TAG), ctypes.c_int(0)
        return bool(self.library.EVP_CipherFinal_ex(self.pointer, out, ctypes.byref(size)) == 1)


class _LibcryptoAead:
    def __init__(self, library: ctypes.CDLL, cipher: Cipher, key: bytes) -> None:
        self.library, self.key = library, _sized("cipher key", key, cipher.key_bytes)
        self.cipher = _evp(library, _EVP_NAMES[cipher])

    def seal(self, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        with _Context(self.library, self.cipher) as context:
            context.begin(self.key, _sized("nonce", nonce, NONCE), encrypt=True)
            context.associate(associated)
            out = context.update(plain)
            _check(context.finish())
            tag = ctypes.create_string_buffer(TAG)
            context.control(GET_TAG, TAG, tag)
        return out + tag.raw

    def open(self, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        if len(sealed) < TAG:
            raise _wrong_tag(sealed)
        with _Context(self.library, self.cipher) as context:
            context.begin(self.key, _sized("nonce", nonce, NONCE), encrypt=False)
            context.control(SET_TAG, TAG, ctypes.create_string_buffer(sealed[-TAG:], TAG))
            context.associate(associated)
            out = context.update(sealed[:-TAG])
            if not context.finish():
                raise _wrong_tag(sealed)
        return out


_EVP_NAMES: Final = {
    Cipher.AES_128_GCM: "EVP_aes_128_gcm",
    Cipher.AES_192_GCM: "EVP_aes_192_gcm",
    Cipher.AES_256_GCM: "EVP_aes_256_gcm",
    Cipher.CHACHA20_POLY1305: "EVP_chacha20_poly1305",
}


class _Libcrypto:
    """The system's library, with the types of its functions declared."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
        library.EVP_CIPHER_CTX_new.argtypes, library.EVP_CIPHER_CTX_new.restype = [], pointer
        library.EVP_CIPHER_CTX_free.argtypes, library.EVP_CIPHER_CTX_free.restype = [pointer], None
        for name, arguments in (
            ("EVP_CIPHER_CTX_ctrl", [pointer, number, number, pointer]),
            ("EVP_CipherInit_ex", [pointer, pointer, pointer, text, text, number]),
            ("EVP_CipherUpdate", [pointer, pointer, ctypes.POINTER(number), text, number]),
            ("EVP_CipherFinal_ex", [pointer, pointer, ctypes.POINTER(number)]),
        ):
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, number
        self.library = library

    def aead(self, cipher: Cipher, key: bytes) -> Aead:
        return _LibcryptoAead(self.library, cipher, key)

    def aes_256_ctr(self, key: bytes, counter_block: bytes, data: bytes) -> bytes:
        with _Context(self.library, _evp(self.library, "EVP_aes_256_ctr")) as context:
            context.begin(_sized("cipher key", key, 32), _sized("counter block", counter_block, 16), encrypt=True)
            return context.update(data)


def _evp(library: ctypes.CDLL, name: str) -> int:
    """The address of a cipher's description. Raises CannotRun where this library was built without it."""
    function = getattr(library, name, None)
    if function is not None:
        function.argtypes, function.restype = [], ctypes.c_void_p
    address: int | None = function() if function is not None else None
    if not address:
        raise CannotRun(f"the system's libcrypto has no {name}: choose another cipher", status=ExitStatus.MISSING)
    return address


def _sized(field: str, data: bytes, size: int) -> bytes:
    # libcrypto takes pointers without a length: what is too short must not come so far.
    if len(data) != size:
        raise DecodeError(field, 0, f"is {len(data)} bytes, not {size}")
    return data


def _check(result: int) -> None:
    if result != 1:
        raise CannotRun("the system's libcrypto refused a cipher's operation", status=ExitStatus.MISSING)


def _refused(cipher: Cipher) -> CannotRun:
    return CannotRun(f"this machine's cryptography has no {cipher}: choose another cipher", status=ExitStatus.MISSING)


def _wrong_tag(sealed: bytes) -> DecodeError:
    return DecodeError("authentication tag", max(len(sealed) - TAG, 0), "does not fit: another key, or the packet was changed")


def _load_cryptography() -> Provider | None:
    try:
        import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401
    except ImportError:
        return None
    return _Cryptography()


def _load_libcrypto(names: Sequence[str] = LIBRARY_NAMES) -> Provider | None:
    for name in _library_names(names):
        try:
            return _Libcrypto(ctypes.CDLL(name))
        except (OSError, AttributeError):
            continue
    return None


def _library_names(first: Sequence[str]) -> Iterator[str | None]:
    """find_library comes last, for it starts programs (ldconfig, a compiler); None: this process, which may have it built in."""
    yield from first
    yield ctypes.util.find_library("crypto")


LOADERS: Final = (_load_cryptography, _load_libcrypto)


def _choose(loaders: Sequence[Callable[[], Provider | None]]) -> Provider:
    """The first that is there. Raises CannotRun."""
    for load in loaders:
        if (provider := load()) is not None:
            return provider
    raise CannotRun(LACKING, status=ExitStatus.MISSING)


@cache
def _provider() -> Provider:
    return _choose(LOADERS)
