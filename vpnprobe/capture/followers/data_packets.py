"""The data packets of one session in a capture: which of them are kept, under which keys, and which may be answers.

A capture may hold millions. Of a session that begins in it the first thousand of each direction are kept, and later ones by their number
alone, so that the captures of both ends keep the same. Where the beginning is not there, packets are kept by their number from the first
on. What a capture does not keep says nothing (`capture.data_records`). What is encrypted is not read: that a packet which carries something
follows one of the other direction within a second is noted, and counts for something only where nobody captured at the other end.
"""

from typing import Final

from vpnprobe.capture.followers.base import FOLLOWS, MIDSTREAM
from vpnprobe.conversations.contract import Sender
from vpnprobe.evidence.packet_counts import session_part

FIRST: Final = 1000
"""Packets of each direction that are kept one after another."""
EVERY_MIDSTREAM: Final = 4
"""Of a session whose beginning is not in the capture, every so many-th number is among them."""
EVERY: Final = 1024
"""Of those after them, every so many-th number is kept."""
MOST: Final = 2000
"""Packets of each direction that are kept in all."""
ANSWER_WITHIN_S: Final = 1.0


class DataPackets:
    """Both directions of one session."""

    def __init__(self, *, begun: bool) -> None:
        self._every = 1 if begun else EVERY_MIDSTREAM
        self._detail: dict[str, int | str] = {} if begun else {MIDSTREAM: 1}
        self._kept: dict[Sender, set[str]] = {sender: set() for sender in Sender}
        self._asked: tuple[float, str] | None = None
        """Time and session of the client's last packet with something in it that nothing has followed yet."""

    def take(self, sender: Sender, *, number: int, key: str, carries: bool, at: float) -> dict[str, int | str] | None:
        """The detail of a packet that is kept; None: it is not.

        `number`: what its sender counts it by. `key`: the packet's, which begins with that of its session. `carries`: whether there is
        anything in it, so that it is no keepalive.
        """
        follows = self._follows(sender, session_part(key), at) if carries else None
        kept = self._kept[sender]
        wanted = number % EVERY == 0 or (len(kept) < FIRST and number % self._every == 0)
        if key in kept or not wanted or len(kept) >= MOST:
            return None
        kept.add(key)
        return self._detail if follows is None else {**self._detail, FOLLOWS: follows}

    def _follows(self, sender: Sender, session: str, at: float) -> str | None:
        if sender is Sender.INITIATOR:
            self._asked = (at, session)
            return None
        asked, self._asked = self._asked, None
        return asked[1] if asked is not None and 0 <= at - asked[0] <= ANSWER_WITHIN_S else None
