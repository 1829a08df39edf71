"""Which messages of a TCP connection are proved to have come, by the acknowledgments of the other end (RFC 9293 section 3.4)."""

from collections import deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from vpnprobe.conversations.tcp_reassembly import ahead

WAITING_LIMIT: Final = 4096
"""Most messages of one direction whose acknowledgment is waited for: the latest."""
PROVED_LIMIT: Final = 100_000
"""Most that are remembered of one connection."""

EndT = TypeVar("EndT", bound=Hashable)


class Acknowledged(Generic[EndT]):
    """Both directions of one connection."""

    def __init__(self) -> None:
        self._waiting: dict[EndT, deque[tuple[int, int]]] = {}
        """By sender: the sequence number behind a message, and its frame."""
        self.proved: set[int] = set()
        """Frames of messages that came."""

    def sent(self, sender: EndT, end: int, number: int) -> None:
        """A message that ends before sequence number `end` was seen, complete with the frame of that number."""
        self._waiting.setdefault(sender, deque(maxlen=WAITING_LIMIT)).append((end, number))

    def acknowledges(self, sender: EndT, acknowledgment: int) -> None:
        """What `sender` sent was acknowledged up to there by the other end."""
        waiting = self._waiting.get(sender)
        while waiting and ahead(acknowledgment, waiting[0][0]) >= 0:
            _, number = waiting.popleft()
            if len(self.proved) < PROVED_LIMIT:
                self.proved.add(number)
