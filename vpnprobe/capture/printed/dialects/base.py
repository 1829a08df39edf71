"""What a dialect is: one way in which a program prints packets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vpnprobe.capture.printed.dialects.shark_flows import Flows
from vpnprobe.capture.printed.packets import Beginning, PrintedPacket, Reading
from vpnprobe.capture.printed.streams import Streams

COPIES_LIMIT: Final = 200_000
"""Most packets that are known again where they are printed once more."""


@dataclass(slots=True)
class Session:
    """What earlier packets of a trace tell about later ones."""

    width: int | None = None
    """Where the text was broken within words, characters; None: it was not."""
    streams: Streams = field(default_factory=Streams)
    flows: Flows = field(default_factory=Flows)
    headings: tuple[str | None, tuple[str, ...]] | None = None
    """What separates the columns that follow, and what they are; None: no line of headings came before."""
    copies: dict[tuple[str, ...], None] = field(default_factory=dict)
    """What was printed once already, of programs that print a packet at each place that it passes."""

    def seen_before(self, key: tuple[str, ...]) -> bool:
        """Whether a packet that is known by this was printed already; from now on it was."""
        known = key in self.copies
        if not known and len(self.copies) < COPIES_LIMIT:
            self.copies[key] = None
        return known


class Dialect(NamedTuple):
    """One way in which a program prints packets."""

    name: str
    begins: Callable[[str], Beginning | None]
    """Where a packet begins in a line; None: none does."""
    read: Callable[[PrintedPacket, Session], Reading]
    """What a whole packet says. Total: whatever is printed."""
    goes_on: Callable[[PrintedPacket, str], bool] = lambda _packet, _line: False
    """Whether a line in which a packet seems to begin is still of this one, as a quoted packet within an ICMP error is."""
