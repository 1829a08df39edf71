"""Identifiers that a client gives its conversations, and by which the server agent knows whose they are.

Several clients may be behind one address, and a NAT may change ports: what no NAT changes is the identifier inside the message (a session
ID, an SPI, a sender index, a nonce in a host name). It carries the paired session's tag of 32 bits. The fresh bytes
come first, so that a filter that looks at the first byte meets another one each time.

Eight bytes and more end in the tag itself. Shorter ones end in a digest of the fresh bytes and the tag: of two clients behind one address
the wrong one is taken with a chance of one in 2**(8 * bytes of digest).
"""

import hashlib
from collections.abc import Callable
from typing import Final

TAG: Final = 4
"""Bytes of a session tag."""
SHORTEST: Final = 4
"""Bytes of the shortest identifier."""
WHOLE: Final = 8
"""Bytes from which on an identifier holds the whole tag."""


def identifier(tag: int, size: int, entropy: Callable[[int], bytes]) -> bytes:
    """A fresh identifier of `size` bytes, at least SHORTEST, of the session with that tag (0 to 2**32 - 1)."""
    fresh = entropy(size - TAG if size >= WHOLE else size // 2)
    return fresh + _ending(tag, fresh, size)


def carries(identifier: bytes, tag: int) -> bool:
    """Whether an identifier is of the session with that tag."""
    size = len(identifier)
    if size < SHORTEST:
        return False
    fresh = identifier[: size - TAG if size >= WHOLE else size // 2]
    return identifier == fresh + _ending(tag, fresh, size)


def key_carries(key: str, tag: int) -> bool:
    """The same of a conversation's key: an identifier in hex."""
    try:
        return carries(bytes.fromhex(key), tag)
    except (ValueError, OverflowError):
        return False


def _ending(tag: int, fresh: bytes, size: int) -> bytes:
    whole = tag.to_bytes(TAG, "big")
    return whole if size >= WHOLE else hashlib.sha256(whole + fresh).digest()[: size - len(fresh)]
