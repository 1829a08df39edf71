"""What passes between the steps of reading a printed text: packets as they stand there, and what was read of them."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vpnprobe.capture.printed.clocks import Stamp
from vpnprobe.capture.printed.hex_dumps import Dump

LINES_LIMIT: Final = 400
"""Most lines of one packet that are kept."""
TEXT_LIMIT: Final = 1 << 14
"""Most characters of one packet's text that are read."""


class Beginning(NamedTuple):
    """Where and how a packet begins in a line."""

    at: int
    """Where it begins: all before it is not the program's."""
    stamp: Stamp | None
    """None: no time is printed, or not in this line."""
    text_at: int
    """Where its text begins: behind the time."""


@dataclass(slots=True)
class PrintedPacket:
    """One packet as it stands in a text."""

    line: int
    """1-based number of its first line."""
    dialect: str
    """The name of the one that it is printed in."""
    stamp: Stamp | None
    lines: list[str]
    """Its text, line by line, without what stands before it in the text, without its time and without dumps of its bytes."""
    widths: list[int] = field(default_factory=list)
    """Of each of those lines, how long it stood in the text."""
    dumps: list[Dump] = field(default_factory=list)

    def joined(self, width: int | None) -> str:
        """Its text in one line. `width`: where the text was broken within words, at that many characters; None: between words."""
        pieces = [self.lines[0]]
        for line, before in zip(self.lines[1:], self.widths, strict=False):
            pieces.append(line if width is not None and before == width else " " + line.lstrip())
        return "".join(pieces)[:TEXT_LIMIT]


class Content(NamedTuple):
    """The payload of one IP packet, as far as it was printed."""

    protocol: int
    data: bytes
    length: int
    """Bytes on the wire, at least `len(data)`."""


class Read(NamedTuple):
    """A packet that was understood."""

    source: str
    destination: str
    content: Content
    ttl: int | None = None
    identification: int | None = None
    outgoing: bool | None = None
    stamp: Stamp | None = None
    """Its time, where that does not stand at its beginning."""
    both_ways: bool = False
    """Whether it stands for packets of the other direction too, as a row of a table of flows does."""
    unmeasured: bool = False
    """Whether it is a TCP segment that carries something, and how much is not printed."""
    sum_right: bool | None = None
    """Whether its UDP or TCP checksum is right; None: that is not printed."""
    blocked: bool = False
    """Whether it is of a firewall's log, which says that it was stopped."""


class NoPacket(NamedTuple):
    """A line that was understood and is none of the packets that count: no IP, a later fragment, the same packet once more."""

    why: str


class Unread(NamedTuple):
    """A packet that was not understood."""

    why: str


Reading = Read | NoPacket | Unread
