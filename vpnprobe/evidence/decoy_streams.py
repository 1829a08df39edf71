"""Streams of our own beside conversations over TCP that get stuck: how far a flow on that port comes, whatever is said in it.

Behind what a path drops nothing of a TCP connection passes any more, so that nothing sent behind a stuck conversation could tell whether
its flow has ended or what it says is filtered. A decoy is a connection of its own: more packets than a handshake takes, small ones first,
and then some as large as a handshake's largest, so that in the end more bytes have passed as well. Where one comes to its end, neither
the number nor the size nor the bytes of the conversation's packets are what is limited. Pure.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from vpnprobe.evidence.statistics import LEAST_TRIALS

SMALL_TURNS: Final = 30
"""Each way, and each with an acknowledgment. A handshake takes fewer, even where some of it is sent again."""
LARGE: Final = 37
"""Payloads in a large turn: 1184 bytes, as a flight of TLS has in one packet."""
TURNS: Final = (*(1 for _ in range(SMALL_TURNS)), *(LARGE for _ in range(4)))
"""Payloads that are sent, and answered, at once."""
SAME_PLACE: Final = 0.7
"""Streams that are cut end after about as many packets; the least of them after this share of the most. Chance is not so even."""


class DecoyStream(NamedTuple):
    """How far one came."""

    answered: int
    """Turns, 0 to len(TURNS)."""
    closed: bool = False
    """Whether it was closed or reset in the server's name before its end."""

    @property
    def whole(self) -> bool:
        return self.answered >= len(TURNS)


def one_passes(streams: Iterable[DecoyStream]) -> bool:
    """Whether any came to its end."""
    return any(stream.whole for stream in streams)


def all_are_cut(streams: Iterable[DecoyStream]) -> bool:
    """Whether several began and all fell silent after about as many small packets: neither what they say nor their size is why."""
    answered = [0 if stream.closed else stream.answered for stream in streams]
    return len(answered) >= LEAST_TRIALS and SAME_PLACE * max(answered) <= min(answered) > 0 and max(answered) < SMALL_TURNS
