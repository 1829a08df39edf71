"""Our own probe payload: a fixed head and a fresh nonce, padded to the size that is to be tried.

Layout (all sizes in bytes): magic 2 ("vp"), session tag 4, number 8, padding to the wanted size. The highest bit of the number tells an
answer to a payload, and the next one is 0. The four bits below say what the payload is for (`Purpose`); 58 are fresh, and of what leaves in
a block the highest sixteen of these are the number of the block. The shortest is 14 bytes, the size of the shortest first packet of a VPN,
so a decoy of every one can be made. The first byte, 0x76, is outside the opcodes, message types and headers that VPN protocols begin with
(0x00 to 0x5f, and 0xc8), so that a filter that looks for those does not hit it by chance. The padding is drawn from the nonce (SHA-256 in
counter mode), so both ends can tell it from an altered packet, and it does not compress.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
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
PURPOSE_SHIFT: Final = 58
"""Bits 58 to 61 of the number are the purpose."""
PURPOSE_MASK: Final = 0xF << PURPOSE_SHIFT
FRESH_MASK: Final = (1 << PURPOSE_SHIFT) - 1
"""The bits of the number that are drawn anew for every payload."""
KEY_DIGITS: Final = 24
"""Of a payload's key."""
BLOCK_SHIFT: Final = 42
"""Bits 42 to 57 of the number of what leaves in a block are the block's."""
MOST_BLOCKS: Final = 1 << (PURPOSE_SHIFT - BLOCK_SHIFT)
BLOCK_MASK: Final = (MOST_BLOCKS - 1) << BLOCK_SHIFT
REQUEST_SHIFT: Final = 34
"""Bits 34 to 41 of the number of a prompt are the number of the request that it is about."""
MOST_REQUESTS: Final = 1 << (BLOCK_SHIFT - REQUEST_SHIFT)
REQUEST_MASK: Final = (MOST_REQUESTS - 1) << REQUEST_SHIFT


class Purpose(IntEnum):
    """What a payload is sent for. A large packet, one of a fast train and a TTL-limited copy answer other questions than plain reach."""

    REACH = 0
    """Does a packet of this kind get through?"""
    DECOY = 1
    """The control of that question: it looks in size or place like another protocol's packet."""
    SIZE = 2
    """Does a packet of this size get through?"""
    RATE = 3
    """How many a second get through?"""
    IDLE = 4
    """Does one get through after a pause?"""
    TRACE = 5
    """A TTL-limited copy: it may expire on the way, and says nothing of the path where it does."""
    CONTROL = 6
    """Beside packets of a kind that does not get through, in random order with them: what the path does to others at that moment."""
    REPEAT = 7
    """A second packet of a control's flow, in the block after: whether fates follow flows. But for that its number is the control's."""
    PROMPT = 8
    """In the place of a control: the server sends a packet of another kind in the place of the answer."""
    GREETING = 9
    """Whether controls get through to a port, before any are sent."""
    MAPPING = 10
    """From one port to several: what does a NAT make of that port?"""
    BEHIND = 11
    """Behind the messages of a conversation and from its port: does anything of its flow get through still?"""
    STREAM = 12
    """In a TCP stream of our own, beside a conversation that gets stuck: how far does a flow on that port come?"""
    UNSOLICITED = 13
    """From a port of the server's that passes, to one of the client's that has sent nothing: does a stateful firewall keep it out?"""
    OTHER = 15
    """Of a newer vpnprobe, for something that this one does not know: it is ours, and counts for nothing."""


IN_BLOCKS: Final = frozenset({Purpose.CONTROL, Purpose.REPEAT, Purpose.PROMPT})
"""What leaves in a block and bears its number."""
PURPOSES_OF_REACH: Final = frozenset({Purpose.REACH, Purpose.DECOY})
"""Packets that count where it is asked whether a kind gets through."""
_PURPOSES: Final = {purpose.value: purpose for purpose in Purpose}


@lru_cache(maxsize=1 << 13)
def block_of(key: str) -> int | None:
    """The number of the block that a payload left in, by its key (`NoncePayload.key`); None: it left in none."""
    payload = of_key(key)
    return payload.block if payload is not None else None


@lru_cache(maxsize=1 << 13)
def control_of(repeat: str) -> str | None:
    """The key of the control whose flow a repeat is of, by the repeat's; None: it is no repeat's."""
    payload = of_key(repeat)
    if payload is None or payload.purpose is not Purpose.REPEAT:
        return None
    return replace(payload, number=payload.number & ~PURPOSE_MASK | Purpose.CONTROL << PURPOSE_SHIFT).key


def of_key(key: str) -> "NoncePayload | None":
    """The shortest payload of that key; None: it is no payload's."""
    try:
        return NoncePayload(int(key[:8], 16), int(key[8:], 16)) if len(key) == KEY_DIGITS else None
    except ValueError:
        return None


@lru_cache(maxsize=256)
def padding(head: bytes, size: int) -> bytes:
    """`size` bytes that follow from `head` and look random."""
    sha256 = hashlib.sha256
    return b"".join([sha256(head + counter.to_bytes(4, "big")).digest() for counter in range((size + 31) // 32)])[:size]


@dataclass(frozen=True, slots=True)
class NoncePayload:
    """One numbered probe payload."""

    session_tag: int
    """0 to 2**32 - 1: which paired session it belongs to."""
    number: int
    """0 to 2**64 - 1: fresh for every trial, but for what its six highest bits tell."""
    size: int = SHORTEST
    """Bytes in all, at least `SHORTEST`."""

    @property
    def key(self) -> str:
        """What both ends know this packet by: session tag and number in hex, 24 digits."""
        return f"{self.session_tag:08x}{self.number:016x}"

    @property
    def purpose(self) -> Purpose:
        """What it is for; an answer is for what the payload that it answers is for. A value that is not known here: OTHER."""
        return _PURPOSES.get((self.number & PURPOSE_MASK) >> PURPOSE_SHIFT, Purpose.OTHER)

    @property
    def block(self) -> int | None:
        """The number of the block that it left in, 0 to MOST_BLOCKS - 1; None: it left in none."""
        return (self.number >> BLOCK_SHIFT) % MOST_BLOCKS if self.purpose in IN_BLOCKS else None

    @property
    def request(self) -> int | None:
        """The number of the request that a prompt is about, 0 to MOST_REQUESTS - 1; None: it is no prompt."""
        return (self.number >> REQUEST_SHIFT) % MOST_REQUESTS if self.purpose is Purpose.PROMPT else None

    @property
    def is_answer(self) -> bool:
        return bool(self.number & ANSWER)

    def answer(self) -> Self:
        """What the other end sends back: the same size, another number."""
        return replace(self, number=self.number | ANSWER)

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
