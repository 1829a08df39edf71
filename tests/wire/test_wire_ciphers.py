"""Ciphers from either provider: published vectors, each other's bytes, and what is said where they are missing."""

import ctypes.util
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.wire import ciphers
from vpnprobe.wire.ciphers import Cipher, Provider, aead, aes_256_ctr, lacking

GCM_KEY = "feffe9928665731c6d6a8f9467308308"
GCM_PLAIN = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
GCM_NONCE, GCM_ASSOCIATED = "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2"
SUNSCREEN = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."

# The GCM specification's test cases 4, 10 and 16; RFC 8439 section 2.8.2.
VECTORS = (
    (
        Cipher.AES_128_GCM,
        GCM_KEY,
        GCM_NONCE,
        GCM_PLAIN,
        GCM_ASSOCIATED,
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
        "5bc94fbc3221a5db94fae95ae7121a47",
    ),
    (
        Cipher.AES_192_GCM,
        GCM_KEY + GCM_KEY[:16],
        GCM_NONCE,
        GCM_PLAIN,
        GCM_ASSOCIATED,
        "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710"
        "2519498e80f1478f37ba55bd6d27618c",
    ),
    (
        Cipher.AES_256_GCM,
        GCM_KEY + GCM_KEY,
        GCM_NONCE,
        GCM_PLAIN,
        GCM_ASSOCIATED,
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
    (
        Cipher.CHACHA20_POLY1305,
        bytes(range(0x80, 0xA0)).hex(),
        "070000004041424344454647",
        SUNSCREEN.hex(),
        "50515253c0c1c2c3c4c5c6c7",
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
    ),
)
LOADERS = {"cryptography": ciphers._load_cryptography, "libcrypto": ciphers._load_libcrypto}
KEY = bytes(range(32))


@pytest.fixture(params=sorted(LOADERS))
def provider(request: pytest.FixtureRequest, requires: Callable[..., None]) -> Provider:
    found = LOADERS[request.param]()
    if found is None:
        requires(request.param, why="it is not installed")
    assert found is not None
    return found


@pytest.mark.parametrize(("cipher", "key", "nonce", "plain", "associated", "sealed"), VECTORS, ids=[v[0] for v in VECTORS])
def test_published_vectors(provider: Provider, cipher: Cipher, key: str, nonce: str, plain: str, associated: str, sealed: str) -> None:
    made = provider.aead(cipher, bytes.fromhex(key))
    assert cipher.key_bytes == len(key) // 2
    assert made.seal(bytes.fromhex(nonce), bytes.fromhex(plain), bytes.fromhex(associated)).hex() == sealed
    assert made.open(bytes.fromhex(nonce), bytes.fromhex(sealed), bytes.fromhex(associated)).hex() == plain


def test_aes_256_ctr_is_that_of_sp_800_38a(provider: Provider) -> None:
    """Appendix F.5.5 and, the other way, F.5.6."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    plain = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    sealed = bytes.fromhex(
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c52b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )
    block = bytes(range(0xF0, 0x100))
    assert provider.aes_256_ctr(key, block, plain) == sealed
    assert provider.aes_256_ctr(key, block, sealed) == plain
    assert provider.aes_256_ctr(key, block, plain[:21]) == sealed[:21]
    assert provider.aes_256_ctr(key, block, b"") == b""


@pytest.mark.parametrize("cipher", Cipher)
def test_what_was_changed_does_not_open(provider: Provider, cipher: Cipher) -> None:
    made = provider.aead(cipher, KEY[: cipher.key_bytes])
    nonce = bytes(12)
    sealed = made.seal(nonce, b"payload", b"head")
    other = provider.aead(cipher, bytes(cipher.key_bytes))
    for opener, used, data, associated in (
        (made, nonce, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"head"),
        (made, nonce, bytes([sealed[0] ^ 1]) + sealed[1:], b"head"),
        (made, nonce, sealed, b"heaD"),
        (made, bytes(11) + b"\1", sealed, b"head"),
        (made, nonce, sealed[:15], b"head"),
        (made, nonce, b"", b"head"),
        (other, nonce, sealed, b"head"),
    ):
        with pytest.raises(DecodeError, match="authentication tag") as caught:
            opener.open(used, data, associated)
        assert caught.value.offset == max(len(data) - 16, 0)


@pytest.mark.parametrize("cipher", Cipher)
def test_nothing_can_be_sealed_too(provider: Provider, cipher: Cipher) -> None:
    made = provider.aead(cipher, KEY[: cipher.key_bytes])
    sealed = made.seal(bytes(12), b"", b"")
    assert len(sealed) == 16
    assert made.open(bytes(12), sealed, b"") == b""


def test_keys_nonces_and_counters_of_another_length_are_refused(provider: Provider) -> None:
    made = provider.aead(Cipher.AES_256_GCM, KEY)
    for field, attempt in (
        ("cipher key", lambda: provider.aead(Cipher.AES_128_GCM, KEY)),
        ("nonce", lambda: made.seal(bytes(11), b"", b"")),
        ("nonce", lambda: made.open(bytes(13), bytes(16), b"")),
        ("cipher key", lambda: provider.aes_256_ctr(KEY[:16], bytes(16), b"")),
        ("counter block", lambda: provider.aes_256_ctr(KEY, bytes(12), b"")),
    ):
        with pytest.raises(DecodeError) as caught:
            attempt()
        assert caught.value.field == field


@given(st.sampled_from(Cipher), st.binary(min_size=32, max_size=32), st.binary(min_size=12, max_size=12), st.binary(), st.binary())
def test_both_providers_give_the_same_bytes(cipher: Cipher, key: bytes, nonce: bytes, plain: bytes, associated: bytes) -> None:
    both = [found for load in LOADERS.values() if (found := load()) is not None]
    sealed = {provider.aead(cipher, key[: cipher.key_bytes]).seal(nonce, plain, associated) for provider in both}
    assert len(sealed) == 1
    assert {provider.aead(cipher, key[: cipher.key_bytes]).open(nonce, *sealed, associated) for provider in both} == {plain}
    assert len({provider.aes_256_ctr(key, nonce + bytes(4), plain) for provider in both}) == 1


def test_what_is_there_is_used() -> None:
    assert lacking() == ""
    assert (
        aead(Cipher.AES_128_GCM, bytes(16)).open(bytes(12), aead(Cipher.AES_128_GCM, bytes(16)).seal(bytes(12), b"a", b"b"), b"b") == b"a"
    )
    assert aes_256_ctr(KEY, bytes(16), aes_256_ctr(KEY, bytes(16), b"data")) == b"data"


@pytest.fixture
def nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ciphers, "LOADERS", (lambda: None, lambda: None))
    monkeypatch.setattr(ciphers, "_provider", ciphers._provider.__wrapped__)


@pytest.mark.usefixtures("nothing_there")
def test_where_nothing_is_there_it_says_what_mends_it() -> None:
    assert "apt install python3-cryptography" in lacking()
    for attempt in (lambda: aead(Cipher.AES_256_GCM, KEY), lambda: aes_256_ctr(KEY, bytes(16), b"")):
        with pytest.raises(CannotRun, match="libcrypto") as caught:
            attempt()
        assert caught.value.status is ExitStatus.MISSING


def test_without_the_package_the_library_serves(monkeypatch: pytest.MonkeyPatch, requires: Callable[..., None]) -> None:
    if ciphers._load_libcrypto() is None:
        requires("libcrypto", why="it is not installed")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    assert ciphers._load_cryptography() is None
    assert isinstance(ciphers._choose(ciphers.LOADERS), ciphers._Libcrypto)


def test_a_library_is_looked_for_by_name_and_then_by_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ctypes.util.find_library("crypto")
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: found)
    assert (ciphers._load_libcrypto(("no-such-library.so",)) is None) == (found is None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "no-such-library-either.so")
    assert ciphers._load_libcrypto(("no-such-library.so", "libc.so.6")) is None


def test_a_cipher_that_the_library_was_built_without_is_named(requires: Callable[..., None]) -> None:
    provider = ciphers._load_libcrypto()
    if provider is None:
        requires("libcrypto", why="it is not installed")
    assert isinstance(provider, ciphers._Libcrypto)
    with pytest.raises(CannotRun, match="EVP_no_such_cipher"):
        ciphers._evp(provider.library, "EVP_no_such_cipher")


def test_a_cipher_that_the_package_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers import aead as module

    def refuse(key: bytes) -> None:
        raise UnsupportedAlgorithm("not in FIPS mode")

    monkeypatch.setattr(module, "ChaCha20Poly1305", refuse)
    with pytest.raises(CannotRun, match="CHACHA20-POLY1305: choose another"):
        ciphers._Cryptography().aead(Cipher.CHACHA20_POLY1305, KEY)


def test_what_the_library_refuses_is_an_error() -> None:
    ciphers._check(1)
    with pytest.raises(CannotRun, match="refused"):
        ciphers._check(0)
