"""Fuzz targets: WireGuard's messages, and what its keys open. Each takes any bytes and returns, or shows a bug.

Allowed is `DecodeError`. Beside that, a message that was read is written again as it was, what was changed does not open, and data opens
once.
"""

import io
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Final, TypeVar

from wireguard_support import AT_CLIENT, AT_SERVER, PRESHARED, UNIX_TIME

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.wireguard import WireguardTracker, describe, key_of, opening
from vpnprobe.conversations.wireguard_observer import WireguardObserver
from vpnprobe.errors import DecodeError
from vpnprobe.wire.wireguard import MESSAGES, CookieReply, HandshakeInitiation, HandshakeResponse, TransportData, decode_wireguard
from vpnprobe.wire.wireguard_noise import (
    MAC,
    NO_MAC,
    Handshake,
    Message,
    TransportSession,
    agree,
    cookie_reply,
    initiation,
    mac1,
    public_key,
    read_cookie,
    read_initiation,
    read_response,
    response,
    tai64n,
)

AnyT = TypeVar("AnyT", HandshakeInitiation, HandshakeResponse, CookieReply)
EPHEMERAL: Final = (b"\x11" * 32, b"\x22" * 32)
INDICES: Final = (0x01020304, 0x05060708)
COOKIE: Final = b"c" * MAC
LARGEST: Final = 1420
HIGHEST: Final = 2**64 - 2**13 - 1
"""The highest counter that an end uses (whitepaper section 6.1)."""


def messages(data: bytes) -> None:
    """One datagram, read by everybody who has no keys."""
    tracker = WireguardTracker()
    for sender in Sender:
        message = tracker.saw_datagram(sender, data, now=1.0)
        seen = list(WireguardObserver().saw(sender, data))
        assert bool(seen) == (not isinstance(message, DecodeError | TransportData))
        describe(message)
        if not isinstance(message, DecodeError):
            assert message.encode() == data
            assert key_of(message)
    for kind in MESSAGES.values():
        with suppress(DecodeError):
            assert kind.decode(data) == decode_wireguard(data)
    assert bool(opening(data)) == isinstance(tracker.steps[0].message, HandshakeInitiation)


@cache
def genuine() -> tuple[HandshakeInitiation, Handshake, HandshakeResponse, CookieReply]:
    """A handshake's messages, and the initiator's handshake after the first."""
    first, state = initiation(AT_CLIENT, ephemeral=EPHEMERAL[0], index=INDICES[0], timestamp=tai64n(UNIX_TIME))
    read = read_initiation(first, AT_SERVER.private)
    second, _ = response(read, PRESHARED, ephemeral=EPHEMERAL[1], index=INDICES[1])
    return first, state, second, cookie_reply(first, public_key(AT_SERVER.private), cookie=COOKIE, nonce=bytes(24))


def signed(message: Message) -> Message:
    """With the mac1 that fits: whoever knows the receiver's public key can make it."""
    receiver = AT_CLIENT.peer if isinstance(message, HandshakeInitiation) else AT_SERVER.peer
    return replace(message, mac1=mac1(message, receiver))


def handshake(data: bytes) -> None:
    """The first byte is the kind: a genuine message of which bytes are changed, one of any fields, or an initiation to any static key."""
    kind, rest = data[0] if data else 0, data[1:]
    first, _, second, cookie = genuine()
    with suppress(DecodeError):
        match kind % 5:
            case 0:
                _initiation(_changed(first, rest), fits=bool(kind & 0x80))
            case 1:
                _response(_changed(second, rest), fits=bool(kind & 0x80))
            case 2:
                changed = _changed(cookie, rest)
                assert read_cookie(changed, first.mac1, AT_CLIENT.peer) == COOKIE
                assert replace(changed, receiver_index=cookie.receiver_index) == cookie
            case 3:
                _any(rest)
            case _:
                _from_stranger(rest)


def _changed(message: AnyT, data: bytes) -> AnyT:
    """Bytes of it as pairs of place and change say. Raises DecodeError where it has no longer the form of its kind."""
    made = bytearray(message.encode())
    for place, value in zip(data[::2], data[1::2], strict=False):
        made[place % len(made)] ^= value
    return type(message).decode(bytes(made))


def _initiation(message: HandshakeInitiation, *, fits: bool) -> None:
    """It opens as long as nothing that is encrypted, or goes into the hash, is another."""
    known = genuine()[0]
    read = read_initiation(signed(message) if fits else message, AT_SERVER.private)
    if not fits:
        assert replace(message, mac2=NO_MAC) == known
    assert replace(message, sender_index=known.sender_index, mac1=known.mac1, mac2=NO_MAC) == known
    assert (read.peer, read.index) == (AT_SERVER.peer, message.sender_index)


def _response(message: HandshakeResponse, *, fits: bool) -> None:
    _, state, known, _ = genuine()
    read_response(signed(message) if fits else message, state, AT_CLIENT)
    if not fits:
        assert replace(message, mac2=NO_MAC) == known
    indexed = replace(message, sender_index=known.sender_index, receiver_index=known.receiver_index)
    assert replace(indexed, mac1=known.mac1, mac2=NO_MAC) == known


def _any(data: bytes) -> None:
    """Fields of any bytes, with the mac1 that fits."""
    reader = io.BytesIO(data + bytes(148))
    fields = [reader.read(size) for size in (32, 48, 28, 16, 24, 32)]
    first, state, _, _ = genuine()
    with suppress(DecodeError):
        read_cookie(CookieReply(INDICES[0], fields[4], fields[5]), first.mac1, AT_CLIENT.peer)
        raise AssertionError("a cookie opens that nobody made")
    with suppress(DecodeError):
        read_response(signed(HandshakeResponse(1, 2, fields[0], fields[3], NO_MAC, NO_MAC)), state, AT_CLIENT)
        raise AssertionError("a response opens that nobody made")
    read_initiation(signed(HandshakeInitiation(1, fields[0], fields[1], fields[2], NO_MAC, NO_MAC)), AT_SERVER.private)
    raise AssertionError("an initiation opens that nobody made")


def _from_stranger(data: bytes) -> None:
    """Who knows the server's public key alone can send it any static key, and with the private half of that, any timestamp."""
    reader = io.BytesIO(data + bytes(77))
    ephemeral, key, has_half = reader.read(32), reader.read(32), bool(reader.read(1)[0] & 1)
    static = public_key(key) if has_half else key
    point = public_key(ephemeral)
    state = Handshake.begun(AT_CLIENT.peer).mixed(point).keyed(point)
    sealed, state = state.keyed(agree(ephemeral, AT_CLIENT.peer, "peer's public key")).seal(static)
    secret = agree(key, AT_CLIENT.peer, "peer's public key") if has_half else bytes(32)
    timestamp, state = state.keyed(secret).seal(reader.read(12))
    read = read_initiation(signed(HandshakeInitiation(1, point, sealed, timestamp, NO_MAC, NO_MAC)), AT_SERVER.private)
    assert has_half
    assert read.peer == static
    response(read, PRESHARED, ephemeral=EPHEMERAL[1], index=2)


def data(script: bytes) -> None:
    """Steps of two bytes and a payload: sealed and opened, changed, again, after others, and from any bytes."""
    reader = io.BytesIO(script)
    keys = (b"k" * 32, b"K" * 32)
    ours = TransportSession(sending=keys[0], receiving=keys[1], local_index=1, remote_index=2)
    theirs = TransportSession(sending=keys[1], receiving=keys[0], local_index=2, remote_index=1)
    opened: list[TransportData] = []
    late: list[TransportData] = []
    while len(head := reader.read(2)) == 2 and len(opened) + len(late) < 128:
        what, payload = head[0], reader.read(head[1])
        match what & 7:
            case 0 | 1:
                message = ours.seal(payload, largest=LARGEST)
                packet = theirs.open(message)
                assert packet[: len(payload)] == payload
                assert len(packet) % 16 == 0 <= len(packet) - len(payload) < 16
                opened.append(message)
            case 2:
                late.append(ours.seal(payload, largest=LARGEST))
            case 3 if late:
                message = late.pop((what >> 3) % len(late))
                with suppress(DecodeError):  # It may be too late by now.
                    theirs.open(message)
                opened.append(message)
            case 4 if opened:
                _refused(theirs, opened[(what >> 3) % len(opened)])
            case 5:
                message = ours.seal(payload, largest=LARGEST)
                at = (what >> 3) % len(message.packet)
                _refused(theirs, replace(message, packet=message.packet[:at] + bytes([message.packet[at] ^ 1]) + message.packet[at + 1 :]))
                _refused(theirs, replace(message, counter=message.counter ^ 1 << (what >> 3)))
            case 6:
                ours.sent = min(HIGHEST - 128, ours.sent + int.from_bytes(payload[:8], "big"))
            case _:
                with suppress(DecodeError):
                    _refused(theirs, TransportData.decode(b"\x04\0\0\0\x02\0\0\0" + payload))


def _refused(session: TransportSession, message: TransportData) -> None:
    try:
        session.open(message)
    except DecodeError:
        return
    raise AssertionError(f"data that was not sealed, or was seen before, is taken: {message}")
