"""WireGuard's cryptography: published values, handshakes between two ends, MACs and cookies, and data under keys."""

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.wire import wireguard_noise
from vpnprobe.wire.wireguard import CookieReply, HandshakeInitiation, HandshakeResponse, TransportData
from vpnprobe.wire.wireguard_noise import (
    KEY,
    MAC,
    NO_MAC,
    REPLAY_WINDOW,
    Handshake,
    Identity,
    TransportSession,
    agree,
    cookie_reply,
    derive,
    initiation,
    key_of_text,
    key_text,
    lacking,
    public_key,
    read_cookie,
    read_initiation,
    read_response,
    response,
    tai64n,
    with_cookie,
)

ENTROPY = random.Random(1).randbytes
CLIENT, SERVER, PRESHARED = ENTROPY(32), ENTROPY(32), ENTROPY(32)
AT_CLIENT, AT_SERVER = Identity(CLIENT, public_key(SERVER), PRESHARED), Identity(SERVER, public_key(CLIENT), PRESHARED)
LARGEST = 1420


def began(identity: Identity = AT_CLIENT) -> tuple[HandshakeInitiation, Handshake]:
    return initiation(identity, ephemeral=ENTROPY(32), index=7, timestamp=tai64n(1.8e9))


def answered(message: HandshakeInitiation, identity: Identity = AT_SERVER) -> tuple[HandshakeResponse, Handshake]:
    return response(read_initiation(message, identity.private), identity.preshared, ephemeral=ENTROPY(32), index=9)


def test_keys_are_derived_as_published() -> None:
    """The values of the reference implementation's own test."""
    assert [key.hex() for key in derive(3, b"test-key", b"test-input")] == [
        "6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
        "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
        "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24",
    ]


def test_keys_agree_as_published() -> None:
    """RFC 7748 section 6.1."""
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    assert public_key(alice).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert agree(alice, public_key(bob), "peer").hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    with pytest.raises(DecodeError, match="peer at offset 0: is no key"):
        agree(alice, bytes(32), "peer")


@pytest.mark.parametrize(
    ("unix_time", "label"),
    [(0.0, "400000000000000a00000000"), (1.5, "400000000000000b1dcd6500"), (1_800_000_000.25, "400000006b49d20a0ee6b280")],
)
def test_a_time_is_never_later_than_it_is(unix_time: float, label: str) -> None:
    assert tai64n(unix_time).hex() == label
    assert tai64n(unix_time) < tai64n(unix_time + 0.001)


def test_two_ends_come_to_the_same_keys() -> None:
    message, state = began()
    read = read_initiation(message, SERVER)
    assert (read.peer, read.index, read.timestamp) == (public_key(CLIENT), 7, tai64n(1.8e9))
    answer, at_server = answered(message)
    assert (answer.sender_index, answer.receiver_index) == (9, 7)
    keys = read_response(answer, state, AT_CLIENT).transport_keys()
    assert keys == at_server.transport_keys()
    assert len({*keys}) == 2
    assert (message.mac2, answer.mac2) == (NO_MAC, NO_MAC)


def test_what_is_secret_is_not_shown() -> None:
    message, state = began()
    shown = repr(AT_CLIENT) + repr(state) + repr(answered(message)[1])
    assert not any(str(secret) in shown for secret in (CLIENT, PRESHARED, state.chaining_key, state.key))


Changed = Callable[[HandshakeInitiation], HandshakeInitiation]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda m: replace(m, mac1=bytes(MAC)), "mac1"),
        (lambda m: replace(m, sender_index=8), "mac1"),
        (lambda m: resealed(replace(m, ephemeral=bytes(32))), "ephemeral"),
        (lambda m: resealed(replace(m, static=bytes(48))), "static"),
        (lambda m: resealed(replace(m, timestamp=bytes(28))), "timestamp"),
    ],
)
def test_an_initiation_that_was_changed(change: Changed, field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        read_initiation(change(began()[0]), SERVER)
    assert caught.value.field == field


def resealed(message: HandshakeInitiation) -> HandshakeInitiation:
    """With the mac1 that fits: whoever knows the public key can make it."""
    return replace(message, mac1=wireguard_noise.mac1(message, public_key(SERVER)))


def test_an_initiation_for_another_key() -> None:
    with pytest.raises(DecodeError, match="mac1"):
        read_initiation(began()[0], CLIENT)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda m: replace(m, mac1=bytes(MAC)), "mac1"),
        (lambda m: signed(replace(m, ephemeral=bytes(32))), "ephemeral"),
        (lambda m: signed(replace(m, empty=bytes(16))), "empty"),
    ],
)
def test_an_answer_that_was_changed(change: Callable[[HandshakeResponse], HandshakeResponse], field: str) -> None:
    message, state = began()
    with pytest.raises(DecodeError) as caught:
        read_response(change(answered(message)[0]), state, AT_CLIENT)
    assert caught.value.field == field


def signed(message: HandshakeResponse) -> HandshakeResponse:
    return replace(message, mac1=wireguard_noise.mac1(message, public_key(CLIENT)))


def test_another_preshared_key_does_not_open_the_answer() -> None:
    message, state = began()
    answer, _ = answered(message, replace(AT_SERVER, preshared=bytes(32)))
    with pytest.raises(DecodeError, match="empty at offset 0: does not open"):
        read_response(answer, state, AT_CLIENT)


def test_a_cookie_is_for_one_message_and_makes_its_mac2() -> None:
    message, _ = began()
    cookie, own = ENTROPY(MAC), public_key(SERVER)
    reply = cookie_reply(message, own, cookie=cookie, nonce=ENTROPY(24))
    assert reply.receiver_index == 7
    assert read_cookie(reply, message.mac1, own) == cookie
    for mac1, key in ((bytes(MAC), own), (message.mac1, public_key(CLIENT))):
        with pytest.raises(DecodeError, match="cookie"):
            read_cookie(reply, mac1, key)
    again = with_cookie(message, cookie)
    assert again.mac1 == message.mac1
    assert again.mac2 not in (NO_MAC, with_cookie(replace(message, mac1=bytes(MAC)), cookie).mac2)
    answer, _ = answered(message)
    assert with_cookie(answer, cookie).mac2 != NO_MAC


def pair() -> tuple[TransportSession, TransportSession]:
    one, other = ENTROPY(32), ENTROPY(32)
    return (
        TransportSession(sending=one, receiving=other, local_index=1, remote_index=2),
        TransportSession(sending=other, receiving=one, local_index=2, remote_index=1),
    )


def test_data_is_padded_and_opened_once() -> None:
    ours, theirs = pair()
    messages = [ours.seal(b"x" * size, largest=LARGEST) for size in (0, 1, 16, 1419, 1420)]
    assert [(m.receiver_index, m.counter, len(m.encode())) for m in messages] == [
        (2, 0, 32), (2, 1, 48), (2, 2, 48), (2, 3, 1452), (2, 4, 1452),
    ]  # fmt: skip
    assert [theirs.open(message) for message in messages[:2]] == [b"", b"x" + bytes(15)]
    with pytest.raises(DecodeError, match="counter at offset 8"):
        theirs.open(messages[1])
    with pytest.raises(DecodeError, match="authentication tag"):
        theirs.open(replace(messages[2], counter=9))
    assert theirs.open(messages[2]) == b"x" * 16


def test_what_came_late_is_taken_within_the_window() -> None:
    ours, theirs = pair()
    first, second = ours.seal(b"", largest=LARGEST), ours.seal(b"", largest=LARGEST)
    ours.sent = REPLAY_WINDOW
    assert theirs.open(ours.seal(b"", largest=LARGEST)) == b""
    assert theirs.open(second) == b""
    with pytest.raises(DecodeError, match="counter"):
        theirs.open(first)


def test_what_is_lacking_is_told_with_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacking() == ""
    message, _ = began()
    for package in ("Crypto.Cipher.ChaCha20_Poly1305", "Cryptodome.Cipher.ChaCha20_Poly1305"):
        monkeypatch.setitem(sys.modules, package, None)
    assert "pip install pycryptodome" in lacking()
    with pytest.raises(CannotRun, match="pip install pycryptodome"):
        cookie_reply(message, bytes(32), cookie=bytes(MAC), nonce=bytes(24))
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.x25519", None)
    assert "pip install cryptography" in lacking()
    with pytest.raises(CannotRun, match="pip install"):
        public_key(CLIENT)


def test_debians_name_of_the_package_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from Crypto.Cipher import ChaCha20_Poly1305

    monkeypatch.setitem(sys.modules, "Crypto.Cipher.ChaCha20_Poly1305", None)
    for name in ("Cryptodome", "Cryptodome.Cipher"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "Cryptodome.Cipher.ChaCha20_Poly1305", ChaCha20_Poly1305)
    assert lacking() == ""
    message, _ = began()
    reply = cookie_reply(message, AT_CLIENT.peer, cookie=bytes(MAC), nonce=bytes(24))
    assert read_cookie(reply, message.mac1, AT_CLIENT.peer) == bytes(MAC)


@given(st.binary(min_size=KEY, max_size=KEY))
def test_keys_are_written_and_read(key: bytes) -> None:
    text = key_text(key)
    assert (len(text), key_of_text(text)) == (44, key)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no base64 of 32 bytes"),
        ("A" * 43, "no base64 of 32 bytes"),
        ("A" * 42 + "B=", "no base64 of 32 bytes"),
        (key_text(bytes(KEY)) + "\n", "no base64 of 32 bytes"),
        ("é" * 44, "no base64 of 32 bytes"),
        (key_text(bytes(KEY - 1)), "31 bytes, not 32"),
        (key_text(bytes(KEY + 1)), "33 bytes, not 32"),
    ],
)
def test_what_is_no_key(text: str, problem: str) -> None:
    with pytest.raises(DecodeError, match=f"PublicKey at offset 0: is {problem}"):
        key_of_text(text, "PublicKey")


def of(*sizes: int) -> list[st.SearchStrategy[bytes]]:
    return [st.binary(min_size=size, max_size=size) for size in sizes]


INDEX = st.integers(0, 2**32 - 1)


@given(st.builds(HandshakeInitiation, INDEX, *of(32, 48, 28, 16, 16)))
def test_an_initiation_that_no_key_made_is_refused(message: HandshakeInitiation) -> None:
    for made in (message, resealed(message)):
        with pytest.raises(DecodeError):
            read_initiation(made, SERVER)


@given(st.builds(HandshakeResponse, INDEX, INDEX, *of(32, 16, 16, 16)))
def test_a_response_that_no_key_made_is_refused(message: HandshakeResponse) -> None:
    for made in (message, signed(message)):
        with pytest.raises(DecodeError):
            read_response(made, began()[1], AT_CLIENT)


@given(st.builds(CookieReply, INDEX, *of(24, 32)))
def test_a_cookie_that_no_key_made_is_refused(reply: CookieReply) -> None:
    with pytest.raises(DecodeError, match="cookie"):
        read_cookie(reply, began()[0].mac1, AT_CLIENT.peer)


@given(st.builds(TransportData, INDEX, st.integers(0, 2**64 - 1), st.binary(min_size=16, max_size=80)))
def test_data_that_no_key_made_is_refused(message: TransportData) -> None:
    with pytest.raises(DecodeError):
        pair()[1].open(message)


@given(st.lists(st.integers(0, 20), max_size=60))
def test_data_opens_once_in_any_order(order: list[int]) -> None:
    """Changed data takes no counter from what was not changed."""
    ours, theirs = pair()
    messages = [ours.seal(bytes([number]), largest=LARGEST) for number in range(21)]
    opened: set[int] = set()
    for number in order:
        message = messages[number]
        with pytest.raises(DecodeError, match="authentication tag"):
            theirs.open(replace(message, packet=message.packet[:-1] + bytes([message.packet[-1] ^ 1])))
        if number in opened:
            with pytest.raises(DecodeError, match="counter"):
                theirs.open(message)
        else:
            assert theirs.open(message)[0] == number
            opened.add(number)
