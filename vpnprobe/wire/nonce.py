"""Our own probe payload: a fixed head and a fresh nonce, padded to the size that is to be tried.

Layout (all sizes in bytes): magic 2 ("vp"), session tag 4, number 8, padding to the wanted size. The two highest bits of the number tell
an answer to a payload, and a payload that was sent before anything had opened the way for it. The shortest is 14 bytes, the size of the
shortest first packet of a VPN, so a decoy of every one can be made. The first byte, 0x76, is outside the opcodes, message types and
headers that VPN protocols begin with (0x00 to 0x5f, and 0xc8), so that a filter that looks for those does not hit it by chance. The
padding is drawn from the nonce (SHA-256 in counter mode), so both ends can tell it from an altered packet, and it does not compress.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Final, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor

MAGIC: Final = b"vp"
SHORTEST: Final = 14
"""Bytes: magic, session tag and number without padding."""
STREAM_BYTES: Final = 32
"""Of a payload in a TCP stream, where nothing else tells where it ends."""
ANSWER: Final = 1 << 63
"""Bit of the number: this answers the payload with the same number without it. Not an echo, so a reflected packet is no answer."""
UNSOLICITED: Final = 1 << 62
"""Bit of the number: sent towards the client before the client had sent any of its kind: a stateful firewall may drop these alone."""


def padding(head: bytes, size: int) -> bytes:
    """`size` bytes that follow from `head` and look random."""
    blocks = (hashlib.sha256(head + counter.to_bytes(4, "big")).digest() for counter in range((size + 31) // 32))
    return b"".join(blocks)[:size]


@dataclass(frozen=True, slots=True)
class NoncePayload:
    """One numbered probe payload."""

    session_tag: int
    """0 to 2**32 - 1: which paired session it belongs to."""
    number: int
    """0 to 2**64 - 1: fresh for every trial."""
    size: int = SHORTEST
    """Bytes in all, at least `SHORTEST`."""

    @property
    def key(self) -> str:
        """What both ends know this packet by: session tag and number in hex, 24 digits."""
        return f"{self.session_tag:08x}{self.number:016x}"

    @property
    def is_answer(self) -> bool:
        return bool(self.number & ANSWER)

    @property
    def is_unsolicited(self) -> bool:
        return bool(self.number & UNSOLICITED)

    def answer(self) -> Self:
        """What the other end sends back: the same size, another number."""
        return replace(self, number=self.number | ANSWER)

    def asked_key(self) -> str:
        """The key of the payload that this one answers (its own, where it is no answer)."""
        return replace(self, number=self.number & ~ANSWER).key

    def encode(self) -> bytes:
        head = MAGIC + self.session_tag.to_bytes(4, "big") + self.number.to_bytes(8, "big")
        return head + padding(head, self.size - SHORTEST)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises DecodeError where the magic, or the padding that follows from the nonce, is not there."""
        cursor = Cursor(data)
        if cursor.take(2, "magic") != MAGIC:
            raise DecodeError("magic", 0, "is not a vpnprobe payload")
        payload = cls(cursor.u32("session tag"), cursor.u64("number"), len(data))
        if cursor.rest() != padding(data[:SHORTEST], len(data) - SHORTEST):
            raise DecodeError("padding", SHORTEST, "does not follow from the nonce")
        return payload
