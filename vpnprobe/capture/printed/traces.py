"""The traces of a printed text: its packets read one after another, with times and numbers that need those before.

A text may hold several traces: a new one begins at a command that prints packets, at a short heading that names an end, or where time goes
back. Lines that cannot be read are counted and never fatal, and the first of them are kept; a text without one packet is not a trace.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Final

from vpnprobe.capture.files import CapturedPacket
from vpnprobe.capture.frames import Frame, frame_of
from vpnprobe.capture.pcap import LATEST_S
from vpnprobe.capture.printed.assembly import Prose, assemble, is_command
from vpnprobe.capture.printed.clocks import Clock, Stamp, are_deltas
from vpnprobe.capture.printed.dialects.base import Session
from vpnprobe.capture.printed.dialects.table import BY_NAME
from vpnprobe.capture.printed.hex_dumps import ip_in
from vpnprobe.capture.printed.lengths import with_lengths
from vpnprobe.capture.printed.packets import NoPacket, PrintedPacket, Read, Reading, Unread
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.wire.ip import IpProtocol

FRAMES_LIMIT: Final = 300_000
"""Most packets of one text that are read: no more are judged of one capture."""
SAMPLE: Final = 2000
"""Packets and other lines by which it is decided how the text was printed and broken."""
HEADING_LIMIT: Final = 40
"""Most characters of a line that names an end."""
MISSES_KEPT: Final = 8
"""Most lines that were not understood of which the text is kept."""
SHOWN: Final = 100
"""Most characters of such a line that are kept."""
BROKEN_LEAST: Final = 2
"""So many lines go on behind the widest place where a text was broken at a width."""
SURE_FROM: Final = 12
"""Breaks of which one at least would be beside a space."""
TRIED: Final = 200
"""Packets on which it is tried how the text was broken."""
NARROWEST: Final = 40
"""Characters."""

_NAMES_CLIENT: Final = re.compile(r"\bclient\b|客户端|客户機|クライアント", re.IGNORECASE)
_NAMES_SERVER: Final = re.compile(r"\bserver\b|服务器|服务端|伺服器|サーバ", re.IGNORECASE)
_DROPPED: Final = re.compile(r"\W*(\d{1,9}) packets? dropped by (?:kernel|interface)\b")


@dataclass(slots=True)
class PrintedTrace:
    """One run of a program that printed packets."""

    frames: list[Frame] = field(default_factory=list)
    named: Vantage | None = None
    """The end that a heading before it names; None: none does."""
    unmeasured: set[int] = field(default_factory=set)
    """Places in `frames` of TCP segments whose length was not printed."""
    dated: bool = False
    """Whether its time stamps have dates; without, times are since midnight of the text's first day, or since the first packet."""


@dataclass(frozen=True, slots=True)
class Miss:
    """A line that seems to be of a packet and was not understood."""

    line: int
    """1-based."""
    text: str
    """Its beginning."""
    why: str


@dataclass(frozen=True, slots=True)
class PrintedText:
    """All traces of one text."""

    traces: tuple[PrintedTrace, ...]
    packets: int
    """Packets that the text shows, read or not."""
    unread: int
    """Of those, the ones that were not understood."""
    misses: tuple[Miss, ...] = ()
    """The first of them."""
    other_lines: int = 0
    """Lines that are of no packet: prose, commands, and what the program says besides."""
    dropped: int = 0
    """Packets that the program which captured says that it dropped."""
    cut: bool = False
    """Whether the text holds more packets than are read."""

    @property
    def problem(self) -> str | None:
        """What was not understood, with the nearest miss; None: everything was."""
        if self.cut:
            return f"only its first {self.packets} packets were read: it holds very many"
        if not self.unread:
            return None
        first = self.misses[0]
        kinds = Counter(miss.why for miss in self.misses)
        why = kinds.most_common(1)[0][0] if len(kinds) == 1 else first.why
        return f"{self.unread} of {self.packets} packet lines were not understood; line {first.line}: {first.text!r} {why}"


def parse(lines: Iterable[str]) -> PrintedText:
    """Reads a text; without a packet the result has no traces."""
    events = assemble(lines)
    sample = list(islice(events, SAMPLE))
    reader = _Reader(deltas=are_deltas(_stamps(sample)), width=_width(sample))
    for event in chain(sample, events):
        reader.take(event)
        if reader.packets >= FRAMES_LIMIT:
            break
    traces = tuple(trace for trace in reader.traces if trace.frames)
    for trace in traces:
        trace.frames = with_lengths(trace.frames, trace.unmeasured)
    cut = reader.packets >= FRAMES_LIMIT
    return PrintedText(traces, reader.packets, reader.unread, tuple(reader.misses), reader.other_lines, reader.dropped, cut)


def _stamps(sample: Iterable[PrintedPacket | Prose]) -> list[Stamp]:
    return [event.stamp for event in sample if isinstance(event, PrintedPacket) and event.stamp is not None]


def _width(sample: Iterable[PrintedPacket | Prose]) -> int | None:
    """At how many characters the text was broken within words, as a terminal does; None: it was not.

    Words that were wrapped may end at one place too. But what breaks words also breaks beside spaces, which wrapping takes away: where that
    shows nothing, both are tried, and only what leaves fewer packets unread counts.
    """
    packets = [event for event in sample if isinstance(event, PrintedPacket) and len(event.lines) > 1][:TRIED]
    ends = Counter(width for packet in packets for width in packet.widths[:-1])
    widest = max((width for packet in packets for width in packet.widths), default=0)
    if ends[widest] < BROKEN_LEAST or widest < NARROWEST:
        return None
    beside_space = sum(_breaks_beside_space(packet, widest) for packet in packets)
    if not beside_space and ends[widest] >= SURE_FROM:
        return None
    gained = _unread(packets, None) - _unread(packets, widest)
    return widest if gained > 0 or (gained == 0 and beside_space) else None


def _breaks_beside_space(packet: PrintedPacket, width: int) -> int:
    """Lines of a packet that end at a width, and there with a space, or before one."""
    lines = zip(packet.lines, packet.lines[1:], packet.widths, strict=False)
    return sum(place == width and (line[-1:] == " " or (after[:1] == " " and after[1:2] != " ")) for line, after, place in lines)


def _unread(packets: Iterable[PrintedPacket], width: int | None) -> int:
    session = Session(width)
    return sum(isinstance(BY_NAME[packet.dialect].read(packet, session), Unread) for packet in packets)


class _Reader:
    def __init__(self, *, deltas: bool, width: int | None) -> None:
        self.traces: list[PrintedTrace] = [PrintedTrace()]
        self.packets = 0
        self.unread = 0
        self.misses: list[Miss] = []
        self.other_lines = 0
        self.dropped = 0
        self._deltas = deltas
        self._elapsed = 0.0
        self._width = width
        self._clock = Clock()
        self._session = Session(width)

    def take(self, event: PrintedPacket | Prose) -> None:
        if isinstance(event, Prose):
            self._prose(event)
            return
        reading, frame = self._read(event)
        if isinstance(reading, NoPacket):
            return
        self.packets += 1
        if frame is None:
            self._miss(event.line, event.joined(None), reading.why if isinstance(reading, Unread) else "has bytes that are no IP packet")
            return
        stamp = event.stamp or (reading.stamp if isinstance(reading, Read) else None)
        at = self._at(stamp)
        frame = replace(frame, number=self.packets, at=at)
        if isinstance(reading, Read) and reading.unmeasured and frame.composed:
            self.traces[-1].unmeasured.add(len(self.traces[-1].frames))
        self.traces[-1].frames += [frame, _returned(frame)] if isinstance(reading, Read) and reading.both_ways else [frame]
        self.traces[-1].dated = stamp is not None and stamp.dated

    def _read(self, packet: PrintedPacket) -> tuple[Reading, Frame | None]:
        """What a packet says, and its frame: of its bytes where those are printed, else of its text."""
        reading = BY_NAME[packet.dialect].read(packet, self._session)
        if packet.dumps and not isinstance(reading, NoPacket):
            known = (reading.source, reading.destination) if isinstance(reading, Read) else None
            data = ip_in(packet.dumps, known) or ip_in(packet.dumps)
            if data is not None:
                frame = frame_of(CapturedPacket(1, 0.0, data, len(data)))
                outgoing = reading.outgoing if isinstance(reading, Read) else None
                return (NoPacket("a later fragment"), None) if frame is None else (reading, replace(frame, outgoing=outgoing))
        return reading, _frame(reading) if isinstance(reading, Read) else None

    def _at(self, stamp: Stamp | None) -> float:
        if self._deltas and stamp is not None:
            self._elapsed = min(self._elapsed + stamp.seconds, LATEST_S)
            return self._elapsed
        at, begins = self._clock.at(stamp)
        if begins:
            self._begin(None)
        return min(at, LATEST_S)

    def _miss(self, line: int, text: str, why: str) -> None:
        self.unread += 1
        if len(self.misses) < MISSES_KEPT:
            self.misses.append(Miss(line, " ".join(text[: 2 * SHOWN].split())[:SHOWN], why))

    def _prose(self, prose: Prose) -> None:
        self.other_lines += 1
        if dropped := _DROPPED.match(prose.text):
            # The same summary may be quoted again, and may say of kernel and interface what is one number.
            self.dropped = max(self.dropped, int(dropped[1]))
        named = _named_end(prose.text)
        if named is not None or is_command(prose.text):
            self._begin(named if named is not None else self._heading_so_far())
        elif prose.like_a_packet:
            self.packets += 1
            self._miss(prose.line, prose.text, "looks like a packet in a form that is not known")

    def _heading_so_far(self) -> Vantage | None:
        return None if self.traces[-1].frames else self.traces[-1].named

    def _begin(self, named: Vantage | None) -> None:
        if self.traces[-1].frames:
            self.traces.append(PrintedTrace())
            self._session = Session(self._width)
        self.traces[-1].named = named


def _frame(read: Read) -> Frame:
    content = read.content
    return Frame(
        number=1,
        at=0.0,
        source=read.source,
        destination=read.destination,
        protocol=content.protocol,
        data=content.data,
        length=max(content.length, len(content.data)),
        ttl=read.ttl,
        identification=read.identification,
        outgoing=read.outgoing,
        composed=True,
        sum_right=read.sum_right,
        logged_as_blocked=read.blocked,
    )


def _returned(frame: Frame) -> Frame:
    """The same packet from the other end."""
    data = frame.data
    if frame.protocol in (IpProtocol.UDP, IpProtocol.TCP):
        data = data[2:4] + data[:2] + data[4:]
    return replace(frame, source=frame.destination, destination=frame.source, data=data)


def _named_end(line: str) -> Vantage | None:
    """The one end that a short heading names."""
    if len(line) > HEADING_LIMIT or not line.strip():
        return None
    client, server = bool(_NAMES_CLIENT.search(line)), bool(_NAMES_SERVER.search(line))
    if client == server:
        return None
    return Vantage.CLIENT if client else Vantage.SERVER


def lines_in(text: str) -> Iterator[str]:
    """The lines of a text that is one string."""
    yield from text.splitlines()
