"""Traces from tcpdump's printed text, as people paste them: indented, quoted, with comments between, with names for addresses.

Reads the one-line form of `tcpdump` with any time stamp and with `-n`, `-e` and `-i any`, the two-line form of `-v`, and the TCP lines of
versions before 4. A text may hold several traces: a new one begins at a `tcpdump` command, at a short heading that names an end, or where
time goes back. Lines that cannot be read are counted and never fatal; a text without one packet line is not a trace.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from vpnprobe.capture.frames import Frame
from vpnprobe.capture.tcpdump_lines import Endpoints, content_of, has_ports, port_number
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.wire.ip import IpProtocol

LINE_LIMIT: Final = 4096
"""Most characters of a line that are looked at."""
CONTINUATION_LIMIT: Final = 80
"""Most further lines of one packet in the `-v` form."""
FRAMES_LIMIT: Final = 1_000_000
DAY_S: Final = 86_400.0
HEADING_LIMIT: Final = 40
"""Most characters of a line that names an end."""

_LEAD: Final = re.compile(r"^[\s>|]*")
_TIME: Final = re.compile(
    r"(?:(?P<date>\d{4}-\d\d-\d\d)[ T])?(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?P<fraction>\.\d+)?\s+|(?P<unix>\d{9,10}\.\d+)\s+"
)
_LINK: Final = re.compile(r"^(?:\S+ > \S+, )?ethertype IPv(?P<version>[46]) \(0x\w+\), length \d+: ")
_INTERFACE: Final = re.compile(r"^(?P<name>\S+)\s+(?P<way>In|Out|P|B|M)\s+(?=(?:\S+ )?IP6? )")
_IP: Final = re.compile(r"^IP6? ?")
_VERBOSE: Final = re.compile(r"^\((?:tos|class|flowlabel|hlim)\b[^()]*(?:\([^()]*\)[^()]*)*\)\s*")
_PAIR: Final = re.compile(r"^(?P<source>[\w.:%-]+)\s*>\s*(?P<destination>[\w.:%-]+?):\s+(?P<rest>\S.*)$")
_COMMAND: Final = re.compile(r"(?:^|[\s/$#])tcpdump\s+\S")
_NAMES_CLIENT: Final = re.compile(r"\bclient\b|客户端|客户機|クライアント", re.IGNORECASE)
_NAMES_SERVER: Final = re.compile(r"\bserver\b|服务器|服务端|伺服器|サーバ", re.IGNORECASE)


@dataclass(slots=True)
class TcpdumpTrace:
    """One run of tcpdump, as printed."""

    frames: list[Frame] = field(default_factory=list)
    named: Vantage | None = None
    """The end that a heading before it names; None: none does."""
    dated: bool = False
    """Whether its time stamps have dates; without, times are since midnight of the text's first day."""


@dataclass(frozen=True, slots=True)
class TcpdumpText:
    """All traces of one text."""

    traces: tuple[TcpdumpTrace, ...]
    packet_lines: int
    """Lines that show a packet, read or not."""
    unread: int
    """Of those, the ones that could not be read."""


def parse(lines: Iterable[str]) -> TcpdumpText:
    """Reads a text; without a packet line the result has no traces."""
    reader = _Reader()
    for line in _whole_packets(lines):
        reader.take(line)
        if reader.packet_lines >= FRAMES_LIMIT:
            break
    return TcpdumpText(tuple(trace for trace in reader.traces if trace.frames), reader.packet_lines, reader.unread)


def _whole_packets(lines: Iterable[str]) -> Iterator[str]:
    """Joins the lines of the `-v` form; other lines stay as they are."""
    packet: list[str] = []
    for raw in lines:
        line = raw[:LINE_LIMIT].rstrip("\r\n")
        text = _LEAD.sub("", line)
        if packet and text and not _TIME.match(text) and not text.startswith(("//", "#", "$")) and len(packet) < CONTINUATION_LIMIT:
            packet.append(text)
            continue
        if packet:
            yield " ".join(packet)
            packet = []
        if _TIME.match(text) and ("(tos 0x" in text or "(flowlabel" in text or "(hlim" in text or "(class" in text):
            packet = [text]
        else:
            yield text
    if packet:
        yield " ".join(packet)


class _Reader:
    def __init__(self) -> None:
        self.traces: list[TcpdumpTrace] = [TcpdumpTrace()]
        self.packet_lines = 0
        self.unread = 0
        self._days = 0
        self._last_at: float | None = None
        self._first_sequences: dict[tuple[str, int, str, int], int] = {}

    def take(self, line: str) -> None:
        time = _TIME.match(line)
        if time is None:
            self._heading(line)
            return
        frame = self._frame(line[time.end() :], time)
        if frame is not None:
            self.traces[-1].frames.append(frame)
            self.traces[-1].dated = time["date"] is not None or time["unix"] is not None

    def _heading(self, line: str) -> None:
        named = _named_end(line)
        if named is not None or _COMMAND.search(line):
            self._begin(named if named is not None else self._heading_so_far())

    def _heading_so_far(self) -> Vantage | None:
        return None if self.traces[-1].frames else self.traces[-1].named

    def _begin(self, named: Vantage | None) -> None:
        if self.traces[-1].frames:
            self.traces.append(TcpdumpTrace())
            self._first_sequences.clear()
        self.traces[-1].named = named

    def _frame(self, text: str, time: re.Match[str]) -> Frame | None:
        outgoing: bool | None = None
        if interface := _INTERFACE.match(text):
            outgoing = {"Out": True, "In": False}.get(interface["way"])
            text = text[interface.end() :]
        text = _LINK.sub("IP ", text, count=1)
        if not _IP.match(text):
            return None
        text = _IP.sub("", text, count=1)
        verbose = _VERBOSE.match(text)
        if verbose:
            text = text[verbose.end() :]
        pair = _PAIR.match(text)
        if pair is None:
            return None
        self.packet_lines += 1
        frame = self._packet(pair, self._at(time), verbose[0] if verbose else "", outgoing)
        self.unread += frame is None
        return frame

    def _packet(self, pair: re.Match[str], at: float, verbose: str, outgoing: bool | None) -> Frame | None:
        rest = pair["rest"]
        with_ports = has_ports(rest)
        source, destination = _endpoint(pair["source"], with_ports), _endpoint(pair["destination"], with_ports)
        if source is None or destination is None:
            return None
        ends = Endpoints(*source, *destination)
        content = content_of(rest, ends)
        if content is None:
            return None
        data = content.data
        if content.protocol == IpProtocol.TCP:
            data = self._with_absolute_numbers(data, ends)
        ttl, identification = re.search(r"\b(?:ttl|hlim) (\d+)", verbose), re.search(r"\bid (\d+)", verbose)
        return Frame(
            number=self.packet_lines,
            at=at,
            source=ends.source,
            destination=ends.destination,
            protocol=content.protocol,
            data=data,
            length=content.length,
            ttl=int(ttl[1]) if ttl else None,
            identification=int(identification[1]) if identification else None,
            outgoing=outgoing,
        )

    def _with_absolute_numbers(self, header: bytes, ends: Endpoints) -> bytes:
        """tcpdump prints the first sequence number of each direction as it is and later ones relative to it."""
        there = (ends.source, ends.source_port, ends.destination, ends.destination_port)
        back = (ends.destination, ends.destination_port, ends.source, ends.source_port)
        sequence, acknowledgment = int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:12], "big")
        if header[13] & 0x02:
            self._first_sequences[there] = sequence
        elif there in self._first_sequences:
            if header[13] & 0x05 or sequence or len(header) > 20:
                sequence += self._first_sequences[there]
            if back in self._first_sequences:
                acknowledgment += self._first_sequences[back]
        return header[:4] + (sequence & 0xFFFFFFFF).to_bytes(4, "big") + (acknowledgment & 0xFFFFFFFF).to_bytes(4, "big") + header[12:]

    def _at(self, time: re.Match[str]) -> float:
        """Seconds; a time of day that falls far back is past midnight, one that falls back a little begins another trace."""
        if time["unix"]:
            at = float(time["unix"])
        else:
            at = int(time["hour"]) * 3600 + int(time["minute"]) * 60 + int(time["second"]) + float(time["fraction"] or 0)
            if time["date"]:
                at += _midnight(time["date"])
            else:
                at += self._days * DAY_S
                if self._last_at is not None and at < self._last_at - DAY_S / 2:
                    self._days += 1
                    at += DAY_S
        if self._last_at is not None and at < self._last_at - 1.0:
            self._begin(None)
        self._last_at = at
        return at


def _midnight(date: str) -> float:
    """Unix time; 0 for a date that does not exist. tcpdump prints local time and not its zone: taken as UTC."""
    try:
        return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _named_end(line: str) -> Vantage | None:
    """The one end that a short heading names."""
    if len(line) > HEADING_LIMIT or not line.strip():
        return None
    client, server = bool(_NAMES_CLIENT.search(line)), bool(_NAMES_SERVER.search(line))
    if client == server:
        return None
    return Vantage.CLIENT if client else Vantage.SERVER


def _endpoint(text: str, with_port: bool) -> tuple[str, int] | None:
    """Address or name, and port (0: none). None where a port is due and is not there."""
    if not with_port:
        return text, 0
    address, _, last = text.rpartition(".")
    port = port_number(last)
    if not address or port is None:
        return None
    return address, port
