"""Tables under a line of headings: `tshark -T fields -E header=y`, Wireshark's export, MikroTik's sniffer and torch, and their like.

The headings say what a column is, whatever their order; a table needs both addresses. Where there are bytes of the payload they are read,
and where there are Wireshark's columns Protocol and Info, they are read as its list is. All else are ports and sizes.
"""

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from vpnprobe.capture.printed.clocks import STAMP, Stamp, stamp_of
from vpnprobe.capture.printed.contents.base import LENGTH_LIMIT, NOWHERE, UDP_HEADER_BYTES, Endpoints, cut, datagram, number, port_number
from vpnprobe.capture.printed.contents.table import PROTOCOLS
from vpnprobe.capture.printed.dialects.base import Dialect, Session
from vpnprobe.capture.printed.dialects.shark_list import content_named
from vpnprobe.capture.printed.packets import Beginning, Content, NoPacket, PrintedPacket, Read, Reading, Unread
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment

COLUMNS_LIMIT: Final = 64
TCP_HEADER: Final = 20

NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("frame.time_epoch", "frame.time_relative", "frame.time", "time", "timestamp", "_ws.col.time", "epoch time"), "time"),
    **dict.fromkeys(
        ("ip.src", "ipv6.src", "source", "src", "src-address", "source address", "srcip", "src ip", "_ws.col.source"), "source"
    ),
    **dict.fromkeys(("_ws.col.def_src", "_ws.col.def_dst"), ""),
    **dict.fromkeys(
        ("ip.dst", "ipv6.dst", "destination", "dst", "dst-address", "destination address", "dstip", "dst ip", "_ws.col.destination"),
        "destination",
    ),
    **dict.fromkeys(("udp.srcport", "tcp.srcport", "src-port", "source port", "src port", "sport", "srcport"), "source port"),
    **dict.fromkeys(
        ("udp.dstport", "tcp.dstport", "dst-port", "destination port", "dst port", "dest port", "dport", "dstport"), "destination port"
    ),
    **dict.fromkeys(("ip.proto", "protocol", "_ws.col.protocol", "ip-protocol", "proto", "ipv6.nxt"), "protocol"),
    **dict.fromkeys(("udp.payload", "tcp.payload", "data.data", "data", "payload"), "payload"),
    **dict.fromkeys(("info", "_ws.col.info"), "info"),
    **dict.fromkeys(("length", "frame.len", "size", "len", "bytes", "frame.cap_len"), "frame length"),
    "ip.len": "ip length",
    "udp.length": "udp length",
    "tcp.len": "tcp length",
    **dict.fromkeys(("tcp.seq", "tcp.seq_raw"), "sequence"),
    **dict.fromkeys(("tcp.ack", "tcp.ack_raw"), "acknowledgment"),
    "tcp.flags": "flags",
    **dict.fromkeys(("no.", "no", "#", "frame.number", "num", "number", "interface", "dir", "direction", "cpu", "fp", "ip.id"), ""),
    "tx": "there",
    "rx": "back",
    **dict.fromkeys(("tx-packets", "rx-packets", "mac-protocol", "src-mac", "dst-mac", "vlan", "dscp", "ip.ttl", "packets"), ""),
}
"""What a heading means; empty: nothing that matters here, but a heading all the same."""

_SOURCES: Final = ("src", "source")
_SEPARATORS: Final = ("\t", ",", ";", "|")
_BORDER: Final = re.compile(r"^[\s|+:=-]+$")
_NAME_IN_BRACKETS: Final = re.compile(r" \([\w/+-]{1,32}\)")
_WITH_PORT: Final = re.compile(r"^(?P<address>\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:]{2,45}\]):(?P<port>[\w-]{1,32})$")
_STAMPED: Final = re.compile(STAMP)
_ARROWS: Final = ("->", "<-", "\u2192", ">")
_SOME: Final = re.compile(r"0*\.?0*[1-9]")
"""An amount that is not zero."""


def cells_of(line: str, separator: str | None) -> list[str]:
    """The cells of a row. `separator`: None where columns are told apart by space."""
    if separator is None:
        return [cell for cell in re.split(r"\s{2,}|\t", _NAME_IN_BRACKETS.sub("", line).strip()) if cell][:COLUMNS_LIMIT]
    cells: list[str] = []
    rest = line.strip(" \r\n").strip("|") if separator == "|" else line.strip("\r\n")
    while rest and len(cells) < COLUMNS_LIMIT:
        if rest.startswith('"') and (end := rest.find('"', 1)) > 0:
            cells.append(rest[1:end])
            rest = rest[end + 1 :].removeprefix(separator)
        else:
            cell, found, rest = rest.partition(separator)
            cells.append(cell.strip())
            if found and not rest:
                cells.append("")
    return cells


def headings_of(line: str) -> tuple[str | None, tuple[str, ...]] | None:
    """What separates the columns, and what they are; None: the line has no headings, or no two addresses among them."""
    if len(line) > 2048 or not any(word in line.lower() for word in _SOURCES):
        return None
    text = line.strip().lstrip(">").strip()
    for separator in (*_SEPARATORS, None):
        if separator is not None and separator not in text:
            continue
        cells = [cell.lower() for cell in cells_of(text, separator)]
        if separator is None and len(cells) < len(text.split()):
            one_space = [cell.lower() for cell in text.split()]
            cells = one_space if sum(cell in NAMES for cell in one_space) > sum(cell in NAMES for cell in cells) else cells
        meanings = tuple(NAMES.get(cell, "") for cell in cells)
        known = sum(cell in NAMES for cell in cells)
        if "source" in meanings and "destination" in meanings and known >= max(3, len(cells) / 2):
            return separator, meanings
    return None


def begins_headings(line: str) -> Beginning | None:
    """A line of headings."""
    return Beginning(0, None, 0) if headings_of(line) is not None else None


def read_headings(packet: PrintedPacket, session: Session) -> Reading:
    """Takes the headings for the rows that follow."""
    session.headings = headings_of(packet.lines[0])
    return NoPacket("a line of headings")


_ADDRESS: Final = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}:[0-9a-fA-F:]{2,40})(?![\w.])")


def begins_row(line: str) -> Beginning | None:
    """A row, which has two addresses at least."""
    if _BORDER.match(line):
        return None
    found = _ADDRESS.findall(line[:1024])
    return Beginning(0, None, 0) if len(found) >= 2 else None


def read_row(packet: PrintedPacket, session: Session) -> Reading:
    """A row, by the headings before it."""
    if session.headings is None:
        return Unread("stands in columns without headings")
    separator, meanings = session.headings
    cells = [cell for cell in cells_of(packet.lines[0], separator) if cell not in _ARROWS]
    if separator is None and len(cells) != len(meanings):
        words = [word for word in _NAME_IN_BRACKETS.sub("", packet.lines[0]).split() if word not in _ARROWS]
        cells = _aligned(words if len(words) == len(meanings) or len(cells) < 3 else cells, meanings)
    row: dict[str, str] = {}
    for meaning, cell in zip(meanings, cells, strict=False):
        if meaning and cell:
            row.setdefault(meaning, cell.strip().strip('"'))
    if "source" not in row or "destination" not in row:
        return NoPacket("no IP packet")
    return _packet(row, session)


def _aligned(cells: list[str], meanings: Sequence[str]) -> list[str]:
    """The cells of a row, one for each heading: a column may be empty, or hold a space. The two addresses tell where the row stands.

    What is before them is counted from the left, and what is behind them from the right.
    """
    first, second = sorted((meanings.index("source"), meanings.index("destination")))
    at = [number for number, cell in enumerate(cells) if _is_address(cell)][:2]
    if len(cells) == len(meanings) or len(at) < 2:
        return cells
    parts = (cells[: at[0]][:first], cells[at[0] : at[1]][: second - first], cells[at[1] + 1 :])
    behind = len(meanings) - second - 1
    return [
        *parts[0] + [""] * (first - len(parts[0])),
        *parts[1] + [""] * (second - first - len(parts[1])),
        cells[at[1]],
        *[""] * (behind - len(parts[2])),
        *parts[2][max(0, len(parts[2]) - behind) :],
    ]


def _is_address(cell: str) -> bool:
    found = _WITH_PORT.match(cell)
    try:
        ip_address((found["address"] if found is not None else cell).strip("[]"))
    except ValueError:
        return False
    return True


def _packet(row: Mapping[str, str], session: Session) -> Reading:
    source, source_port = _end(row["source"].split(",")[0], row.get("source port"))
    destination, destination_port = _end(row["destination"].split(",")[0], row.get("destination port"))
    ends = Endpoints(source, source_port, destination, destination_port)
    protocol = _protocol(row, ends)
    if protocol == IpProtocol.UDP and (ends.source_port or ends.destination_port):
        content = _udp(row, ends)
    elif protocol == IpProtocol.TCP and (ends.source_port or ends.destination_port):
        content = _tcp(row, ends)
    elif "info" in row:
        named = content_named(source, destination, row.get("protocol", ""), number(row.get("frame length")), row["info"], session.flows)
        if isinstance(named, NoPacket | Unread):
            return named
        content = named
    elif protocol is not None:
        length = number(row.get("ip length")) - 20 if "ip length" in row else number(row.get("frame length")) - 34
        content = Content(protocol, b"", min(max(1, length), LENGTH_LIMIT))
    else:
        return Unread("has neither ports nor a protocol in its columns")
    both_ways = all(_SOME.match(row.get(way, "")) for way in ("there", "back"))
    read = Read(source, destination, content, stamp=_stamp(row.get("time")), both_ways=both_ways)
    return read if "sequence" in row else session.streams.numbered(read, unnumbered=True)


def _end(text: str, port: str | None) -> tuple[str, int]:
    """Address and port (0: none), which may stand behind the address."""
    found = _WITH_PORT.match(text)
    if found is not None:
        return found["address"].strip("[]"), port_number(found["port"]) or 0
    return text, port_number((port or "").split(",")[0]) or 0


def _protocol(row: Mapping[str, str], ends: Endpoints) -> int | None:
    told = row.get("protocol", "").split(",")[0].strip().rpartition(":")[2]
    if told.isdigit():
        return cut(told, 0xFF)
    if told.upper() in PROTOCOLS and "info" not in row:
        return PROTOCOLS[told.upper()]
    if told.lower() in ("ipsec-esp", "ipsec-ah"):
        return IpProtocol.ESP if told.lower().endswith("esp") else IpProtocol.AH
    if "tcp length" in row or "flags" in row or told.upper() == "TCP":
        return IpProtocol.TCP
    return IpProtocol.UDP if ends.source_port or ends.destination_port else None


def _bytes(text: str | None) -> bytes:
    digits = re.sub(r"[:\s]", "", text or "")
    return bytes.fromhex(digits) if re.fullmatch(r"(?:[0-9a-fA-F]{2}){1,65535}", digits) else b""


def _udp(row: Mapping[str, str], ends: Endpoints) -> Content:
    payload = _bytes(row.get("payload"))
    if "udp length" in row:
        length = number(row["udp length"]) - UDP_HEADER_BYTES
    elif "ip length" in row:
        length = number(row["ip length"]) - 28
    else:
        length = number(row.get("frame length")) - 42
    return datagram(payload, max(length, len(payload), 0), ends)


def _tcp(row: Mapping[str, str], ends: Endpoints) -> Content:
    payload = _bytes(row.get("payload"))
    length = min(max(number(row.get("tcp length")), len(payload)), LENGTH_LIMIT - TCP_HEADER)
    flags = cut(row.get("flags"), 0x3F) or int(TcpFlag.ACK)
    numbers = cut(row.get("sequence")), cut(row.get("acknowledgment"))
    segment = TcpSegment(ends.source_port, ends.destination_port, *numbers, flags, payload=payload[:length])
    return Content(IpProtocol.TCP, segment.encode(NOWHERE, NOWHERE), TCP_HEADER + length)


def _stamp(text: str | None) -> Stamp | None:
    found = _STAMPED.match(text or "")
    return stamp_of(found) if found is not None else None


HEADINGS: Final = Dialect("headings", begins_headings, read_headings)
ROWS: Final = Dialect("columns", begins_row, read_row)
