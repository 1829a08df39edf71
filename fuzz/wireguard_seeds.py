"""What each fuzz target of WireGuard begins with: messages of real sessions between our own two ends, and scripts."""

import random
from collections.abc import Iterator
from typing import Final

from wireguard_decoding import EPHEMERAL
from wireguard_support import CLIENT_KEY
from wireguard_talking import recorded

ORDERS: Final = (1 << 255) - 19
"""The prime of Curve25519."""
POINTS: Final = (0, 1, ORDERS - 1, ORDERS, ORDERS + 1)
"""Public keys that agree on nothing, as numbers (RFC 7748 section 6.1)."""


def every_message() -> Iterator[bytes]:
    for wants_cookie in (False, True):
        for side in recorded(wants_cookie):
            yield from side[:12]


def messages() -> Iterator[bytes]:
    yield from every_message()
    yield from (kind.to_bytes(4, "little") + bytes(28) for kind in range(6))


def handshake() -> Iterator[bytes]:
    points = [number.to_bytes(32, "little") for number in POINTS]
    for kind in (0, 1, 2, 130, 131, 132):
        yield bytes([kind])
        yield from (bytes([kind, place, 1]) for place in range(0, 148, 4))
    yield from (b"\x03" + point for point in points)
    for key in (CLIENT_KEY, *points):
        for has_half in (0, 1):
            yield b"\x04" + EPHEMERAL[0] + key + bytes([has_half]) + bytes(12)


def data() -> Iterator[bytes]:
    steps = b"".join(bytes([what, 12]) + b"a tunnel pkt" for what in (0, 2, 4, 1, 5, 2, 2, 3, 11, 4, 12, 7, 45, 0))
    yield steps
    for jump in (1, 8000, 8128, 8192, 2**32, 2**63, 2**64 - 1):
        yield steps + b"\x06\x08" + jump.to_bytes(8, "big") + steps
    yield b"\x07\x18" + bytes(24) + b"\x07\x20" + bytes(32)


def session() -> Iterator[bytes]:
    """Every step, before and after the tunnel is up, and random scripts."""
    chance = random.Random(5)
    for first in range(32):
        for up in (0, 0x80):
            yield bytes([first | up])
            for side in (0, 0x80):
                yield bytes([first | up]) + b"".join(bytes([side | step, 3, 0x20, 0, 1, 1]) for step in range(16))
                # Each message of the session comes again, renewals by either end, and both at the same moment.
                yield bytes([first | up]) + b"".join(bytes([side | 8, place, 0, 0, 0]) for place in range(24))
                yield bytes([first | up, 14, 125, side | 11, 0, 0, side | 12, 0, 14, 20, 12, 0x8C, 0, 14, 181, 0x8C, 0])
                yield bytes([first | up, side | 9, 7, 0, 0, 0, 0, side | 9, 9, 0, 0, 0, 1, side | 13, 6, 0, 0, 0, 0, 0])
        yield bytes([first | 0x80]) + chance.randbytes(200)
        yield bytes([first]) + chance.randbytes(200)
