"""The data packets of one session in a capture: which of them are kept, under which keys, and which may be answers.

A capture may hold millions. Of a session that begins in it the first thousand of each direction are kept, and later ones by their number
alone, so that the captures of both ends keep the same. What is encrypted is not read: that a packet which carries something follows one of
the other direction within a second is noted, and counts for something only where nobody captured at the other end (`capture.data_records`).
"""

from typing import Final

from vpnprobe.capture.followers.base import FOLLOWS
from vpnprobe.conversations.contract import Sender

FIRST: Final = 1000
"""Packets of each direction that are kept whatever their number, of a session whose beginning is in the capture."""
EVERY: Final = 1024
"""Of those after them, every so many-th number is kept."""
EVERY_MIDSTREAM: Final = 4
"""The same where the beginning is not there."""
MOST: Final = 2000
"""Packets of each direction that are kept in all."""
ANSWER_WITHIN_S: Final = 1.0


class DataPackets:
    """Both directions of one session."""

    def __init__(self, *, begun: bool) -> None:
        self._every = EVERY if begun else EVERY_MIDSTREAM
        self._first = FIRST if begun else 0
        self._kept: dict[Sender, set[str]] = {sender: set() for sender in Sender}
        self._asked: tuple[float, int] | None = None
        """Time and number of the client's last packet with something in it that nothing has followed yet."""

    def take(self, sender: Sender, *, number: int, suffix: str, carries: bool, at: float) -> dict[str, int | str] | None:
        """The detail of a packet that is kept; None: it is not.

        `number`: what its sender counts it by. `suffix`: what its key has behind that of the session. `carries`: whether there is anything
        in it, so that it is no keepalive.
        """
        follows = self._follows(sender, number, at) if carries else None
        kept = self._kept[sender]
        wanted = len(kept) < self._first or number % self._every == 0
        if suffix in kept or not wanted or len(kept) >= MOST:
            return None
        kept.add(suffix)
        return {} if follows is None else {FOLLOWS: follows}

    def _follows(self, sender: Sender, number: int, at: float) -> int | None:
        if sender is Sender.INITIATOR:
            self._asked = (at, number)
            return None
        asked, self._asked = self._asked, None
        return asked[1] if asked is not None and 0 <= at - asked[0] <= ANSWER_WITHIN_S else None
