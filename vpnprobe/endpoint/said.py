"""What the conversations of one end have said, as bytes: what TTL-limited copies of their messages are made of.

A message in the middle of a session cannot be made afresh, for it is encrypted and numbered; it can be sent again as it was. The newest
of each message are kept, by the keys that records have them under, since it is known of some that they were lost.
"""

from collections.abc import Iterable
from typing import Final

from vpnprobe.evidence.packet_records import Check

KEPT_OF_A_MESSAGE: Final = 512
"""A few sessions' data: of a stream that stalls it is the first packet that is lost, with many behind it."""
MOST_BYTES: Final = 8 << 20
"""Of all: how much is said is in a stranger's hands at the server."""


class Said:
    """Datagrams, or pieces of a stream, by check, message and key."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Check, str], dict[str, bytes]] = {}
        self._bytes = 0

    def keep(self, check: Check, message: str, key: str, data: bytes) -> None:
        """The newest stays; where all is too much, what is older of its kind goes, or it is not kept."""
        newest = self._kept.setdefault((check, message), {})
        self._bytes -= len(newest.pop(key, b""))
        while newest and (len(newest) >= KEPT_OF_A_MESSAGE or self._bytes + len(data) > MOST_BYTES):
            self._bytes -= len(newest.pop(next(iter(newest))))
        if self._bytes + len(data) <= MOST_BYTES:
            newest[key] = data
            self._bytes += len(data)

    def first_of(self, check: Check, wanted: Iterable[tuple[str, str]]) -> bytes | None:
        """Of these messages and keys, the first that is kept; None: none is."""
        return next((data for message, key in wanted if (data := self._kept.get((check, message), {}).get(key)) is not None), None)


def taken(said: list[bytes], size: int, length_bytes: int) -> bytes | None:
    """Takes what one recorded step put on the wire out of what was said with it; None: nothing fits.

    `size`: bytes that the step has told; 0: none, and then the first is meant. `length_bytes`: of the length before it in a stream.
    """
    for place, data in enumerate(said):
        if not size or len(data) in (size, size + length_bytes):
            return said.pop(place)
    return None
