"""What one capture holds by the pairs of hosts that it is between, so that each pair is judged in the time that its own packets take.

A conversation an end of which has moved belongs to each pair that it was between. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vpnprobe.capture.ends import Ends, Pair
from vpnprobe.capture.followers.base import CapturedMessage
from vpnprobe.capture.moves import Moves
from vpnprobe.evidence.records import RefusalKind
from vpnprobe.wire.icmp import Quote


@dataclass(frozen=True, slots=True)
class IcmpError:
    """A time-exceeded or unreachable message."""

    number: int
    at: float
    source: str
    """Who sent it."""
    destination: str
    kind: RefusalKind | None
    """None: time exceeded."""
    quote: Quote


class HostPairs:
    """Messages and ICMP errors by pair of hosts, as of `frames` frames."""

    def __init__(self, frames: int, captured_messages: Iterable[CapturedMessage], errors: Iterable[IcmpError], moves: Moves) -> None:
        self.frames = frames
        self.moves = moves
        self._messages: dict[Pair, list[CapturedMessage]] = {}
        for captured in captured_messages:
            for pair in moves.pairs(captured):
                self._messages.setdefault(pair, []).append(captured)
        self._errors: dict[Pair, list[IcmpError]] = {}
        for error in errors:
            self._errors.setdefault(frozenset((str(error.quote.source), str(error.quote.destination))), []).append(error)

    @property
    def pairs(self) -> Iterable[Pair]:
        """All pairs that there are messages between, in the order of their first ones."""
        return self._messages.keys()

    def messages(self, ends: Ends) -> Sequence[CapturedMessage]:
        """The messages of conversations that are or were between these two, as they were captured, in their order."""
        return self._messages.get(frozenset((ends.client, ends.server)), ())

    def icmp_errors(self, ends: Ends) -> Sequence[IcmpError]:
        """The errors that quote packets between these two."""
        return self._errors.get(frozenset((ends.client, ends.server)), ())
