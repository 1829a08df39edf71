"""Whether two captures are one recording: the same packets at the same times, whatever format or compression they are kept in.

Two ends never see the same packets at the same microseconds, since a packet takes time from one to the other. A copy that was cut, filtered
or merged with other captures is known too: what both hold has the same times.
"""

import hashlib
from collections.abc import Hashable
from typing import Final

PACKETS_LIMIT: Final = 20_000
"""Most packets of a capture that are compared."""
COMPARED_BYTES: Final = 48
"""Of each IP packet: its header with TTL and checksum, and the beginning of what is in it. A copy may have been cut."""
SAME_MOMENT_S: Final = 1.5e-6
"""How far the times of one packet may be apart: copies may keep microseconds of nanoseconds."""
LEAST_SHARE: Final = 0.9
"""Of the smaller capture's packets."""


class Recording:
    """What tells the recording that a capture is of."""

    def __init__(self) -> None:
        self.times: dict[Hashable, float] = {}
        """When each packet was seen first. Empty for a capture without packets."""
        self._content = hashlib.blake2b(digest_size=16)
        self._has_content = False

    def packet(self, key: Hashable, at: float) -> None:
        """Takes a packet, known by `key`, seen at `at` (seconds)."""
        if len(self.times) < PACKETS_LIMIT:
            self.times.setdefault(key, at)

    def content(self, data: bytes) -> None:
        """Takes bytes of a text, which may have no times."""
        self._has_content = True
        self._content.update(data)

    def is_of(self, other: "Recording") -> bool:
        """Whether both are of one recording. False where neither holds a packet."""
        if not self.times or not other.times:
            return False
        if self._has_content and other._has_content and self._content.digest() == other._content.digest():
            return True
        smaller, larger = sorted((self.times, other.times), key=len)
        # A text without times has 0 for each.
        same = sum(at > 0 and key in larger and abs(larger[key] - at) <= SAME_MOMENT_S for key, at in smaller.items())
        return same >= LEAST_SHARE * len(smaller)
