"""Lines to packets: a packet begins where a dialect says so, and all up to the next one is of it, but for what people wrote between.

A line may hold many packets, and a packet many lines. What stands before a packet in its line is decoration, and taken off its other lines.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from vpnprobe.capture.printed.characters import plain
from vpnprobe.capture.printed.decorations import PREFIX_LIMIT, is_remark, without_prefix, without_suffix
from vpnprobe.capture.printed.dialects.base import Dialect
from vpnprobe.capture.printed.dialects.columns import HEADINGS, ROWS
from vpnprobe.capture.printed.dialects.dumps import DUMPS
from vpnprobe.capture.printed.dialects.table import DIALECTS
from vpnprobe.capture.printed.hex_dumps import add_row, row_of
from vpnprobe.capture.printed.packets import LINES_LIMIT, Beginning, PrintedPacket
from vpnprobe.capture.printed.pairs import pair_in

SEVERAL_FROM: Final = 80
"""A line shorter than this holds one packet."""

_PACKET_STARTS: Final = re.compile(
    r"(?<=\s)(?:\d{4}-\d\d-\d\d[ T])?(?:\d{1,2}:\d\d:\d\d\.\d{1,9}|\d{9,10}\.\d{6,9})\s+(?:[\w.@-]{1,32}\s+)?(?:(?:In|Out|P|B|M)\s+)?"
    r"(?:PPPoE {1,4}\[[^\]]{0,60}\] )?"
    r"(?:IP6? |ARP, |\((?:tos|class|flowlabel|hlim) |(?:[0-9a-f]{2}:){5}[0-9a-f]{2} > |[\w.:%-]{3,255} > [\w.:%-]{3,255}: )"
    r"|(?<=\s)\d{1,9} {1,8}\d{1,9}\.\d{6,9} {1,16}[\w.:%-]{2,64} (?:\u2192|->) [\w.:%-]{2,64} "
    r"|(?<=[^:\s])\s(?=IP6? [\w.:%-]{3,255} > [\w.:%-]{3,255}: )"
)
_NOT_OF_A_PACKET: Final = re.compile(
    r"^\s*(?:\^C|\d+ packets? (?:captured|received|dropped)|listening on |reading from |tcpdump: "
    r"|Capturing on |(?:verbose|data) |filters=\[|interfaces=\[)"
)
_ANOTHER_SOURCE: Final = re.compile(r"^\s*(?:Reassembled|Decrypted|Uncompressed|Decompressed|De-chunked|Unencrypted)\b.*\bbytes?\)?:?\s*$")
_MARKS: Final = re.compile(r"^\s*[>|*]+[\s>|*]*")
_BEGINS_WITH_TIME: Final = re.compile(r"^\s*(?:\d{4}-\d\d-\d\d[ T])?\d\d:\d\d:\d\d\.\d{2,9}\s+\S")


@dataclass(frozen=True, slots=True)
class Prose:
    """A line that is of no packet."""

    line: int
    """1-based."""
    text: str
    like_a_packet: bool = False
    """Whether it has a time or two addresses, so that it may be a packet in a form that is not known."""


def parts_of(line: str) -> list[str]:
    """The line, cut where further packets begin in it."""
    if len(line) < SEVERAL_FROM:
        return [line]
    cuts = [found.start() for found in _PACKET_STARTS.finditer(line.replace("\t", " "))]
    if not cuts:
        return [line]
    if not line[: cuts[0]].strip() or pair_in(line[: cuts[0]]) is None:
        # What stands before the first packet is its decoration.
        cuts = cuts[1:]
    begins = [0, *cuts]
    return [line[begin:end] for begin, end in zip(begins, [*cuts, len(line)], strict=True)]


def assemble(lines: Iterable[str]) -> Iterator[PrintedPacket | Prose]:
    """All packets of a text and what stands between them, in order."""
    assembler = _Assembler()
    for number, raw in enumerate(lines, 1):
        line = plain(raw)
        for part in parts_of(line):
            yield from assembler.take(number, part)
    yield from assembler.end()


class _Assembler:
    def __init__(self) -> None:
        self._packet: PrintedPacket | None = None
        self._prefix = ""
        self._closed = False
        """A blank line came behind a packet that was whole."""
        self._headed = False
        """Headings of columns came before."""
        self._another_source = False
        """The next dump is not of a packet by itself."""

    def take(self, number: int, line: str) -> Iterator[PrintedPacket | Prose]:
        own = without_prefix(line, self._prefix)
        if not own.strip():
            self._closed = self._closed or (self._packet is not None and self._is_whole())
            return
        if (row := row_of(own) or row_of(_MARKS.sub("", line, count=1))) is not None:
            yield from self._row(number, *row)
            return
        for dialect in DIALECTS:
            found = dialect.begins(line)
            if found is None:
                continue
            if self._packet is not None and self._packet.dialect == dialect.name and dialect.goes_on(self._packet, own):
                break
            yield from self._begin(number, line, dialect, found)
            return
        if self._headed and (found := ROWS.begins(own)) is not None:
            yield from self._begin(number, own, ROWS, found)
            return
        yield from self._continue(number, line, own)

    def _is_whole(self) -> bool:
        return self._packet is not None and pair_in(self._packet.joined(None)) is not None

    def _row(self, number: int, offset: int, row: bytes) -> Iterator[PrintedPacket | Prose]:
        alone = self._packet is None or self._packet.dialect == DUMPS.name
        if offset == 0 and alone and not self._another_source:
            yield from self.end()
            self._packet, self._prefix, self._closed = PrintedPacket(number, DUMPS.name, None, [""]), "", False
        self._another_source = self._another_source and offset == 0
        if self._packet is not None:
            add_row(self._packet.dumps, offset, row)

    def _begin(self, number: int, line: str, dialect: Dialect, found: Beginning) -> Iterator[PrintedPacket | Prose]:
        yield from self.end()
        self._headed = dialect is HEADINGS or (self._headed and dialect is ROWS)
        prefix = line[: found.at]
        self._prefix = prefix if len(prefix) <= PREFIX_LIMIT else ""
        text = without_suffix(line[found.text_at :], self._prefix)
        self._packet = PrintedPacket(number, dialect.name, found.stamp, [text], [len(line)])
        self._closed = False

    def _continue(self, number: int, line: str, own: str) -> Iterator[PrintedPacket | Prose]:
        packet = self._packet
        if _ANOTHER_SOURCE.match(own):
            self._another_source = True
            return
        like_a_packet = bool(_BEGINS_WITH_TIME.match(own))
        foreign = like_a_packet or is_remark(own) or bool(_NOT_OF_A_PACKET.match(own))
        if packet is None or packet.dialect == DUMPS.name or foreign or self._closed or (not own[:1].isspace() and is_heading(own)):
            yield from self.end()
            yield Prose(number, own, like_a_packet or pair_in(own) is not None)
        elif len(packet.lines) < LINES_LIMIT:
            packet.lines.append(without_suffix(own, self._prefix))
            packet.widths.append(len(line))

    def end(self) -> Iterator[PrintedPacket]:
        """The packet that is under way, which no further line is of."""
        packet, self._packet, self._prefix, self._closed = self._packet, None, "", False
        if packet is not None:
            yield packet


_COMMAND: Final = re.compile(
    r"(?:^|[\s/$#>])(?:tcpdump|tshark|dumpcap|pktmon|diag(?:nose)? sniffer|monitor traffic|/?tool sniffer|/?tool torch)\s+\S"
)


_HEADING: Final = re.compile(r"^(?=.{2,60}$)[^\W\d_][^\[\]()<>=|{}]* [^\[\]()<>=|{}]*[:\uff1a]\s*$")


def is_command(line: str) -> bool:
    """Whether a line calls a program that prints packets."""
    return bool(_COMMAND.search(line[:400]))


def is_heading(line: str) -> bool:
    """Whether a line is a command, or words that end with a colon."""
    return is_command(line) or bool(_HEADING.match(line))
