"""What Check Point's `fw monitor` prints: a packet at each of its inspection points, in two lines.

    [vs_0][fw_1] eth0:i[60]: 192.0.2.10 -> 198.51.100.20 (TCP) len=60 id=4001
    TCP: 49152 -> 1723 .S.... seq=bf8bc98e ack=00000000

`i` and `I` are before and behind the rules of the interface that it came by, `o` and `O` of the one that it leaves by, `e` and `E` around
encryption. The flags stand in the order FIN, SYN, RST, PSH, ACK, URG.
"""

import re
from typing import Final

from vpnprobe.capture.printed.contents.base import LENGTH_LIMIT, NOWHERE, UDP_HEADER_BYTES, Endpoints, datagram, number, port_number
from vpnprobe.capture.printed.contents.table import PROTOCOLS
from vpnprobe.capture.printed.dialects.base import Dialect, Session
from vpnprobe.capture.printed.packets import Beginning, Content, NoPacket, PrintedPacket, Read, Reading, Unread
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment

IP_HEADER, TCP_HEADER = 20, 20

_BEGINS: Final = re.compile(
    r"(?:\[[\w.:-]{1,32}\]){0,4}\s{0,4}[\w.-]{1,32}:(?P<point>[iIoOeE])\d{0,2}(?: \([^)]{0,64}\))?\[\d{1,6}\]: {0,4}"
    r"(?P<source>[\w.:]{2,64}) -> (?P<destination>[\w.:]{2,64}) \((?P<protocol>\w{1,16})\) len=(?P<length>\d{1,8}) id=(?P<id>\d{1,8})"
)
_PORTS: Final = re.compile(r"\b(?:TCP|UDP): (?P<source>\d{1,5}) -> (?P<destination>\d{1,5})\b")
_NUMBERS: Final = re.compile(r" (?P<flags>[FSRPAU.*]{6}) seq=(?P<sequence>[0-9a-f]{1,8}) ack=(?P<acknowledgment>[0-9a-f]{1,8})")
_FLAGS: Final = (TcpFlag.FIN, TcpFlag.SYN, TcpFlag.RST, TcpFlag.PSH, TcpFlag.ACK, TcpFlag.URG)


def begins(line: str) -> Beginning | None:
    """At the interface, or the firewall instance before it. No time is printed."""
    found = _BEGINS.search(line)
    return Beginning(found.start(), None, found.start()) if found is not None else None


def read(packet: PrintedPacket, session: Session) -> Reading:
    """A packet at one inspection point; at the others it is the same once more."""
    text = packet.joined(session.width)
    found = _BEGINS.search(text)
    if found is None:
        return Unread("ends before its addresses")
    name = found["protocol"].upper()
    protocol = number(name) & 0xFF if name.isdigit() else PROTOCOLS.get(name)
    if protocol is None:
        return Unread(f"has a protocol that is not known: {name}")
    key = (found["source"], found["destination"], name, found["length"], found["id"], text[found.end() :].strip())
    if session.seen_before(key):
        return NoPacket("the same packet at another inspection point")
    ports = _PORTS.search(text, found.end())
    ends = Endpoints(found["source"], 0, found["destination"], 0)
    if ports is not None:
        ends = ends._replace(source_port=port_number(ports["source"]) or 0, destination_port=port_number(ports["destination"]) or 0)
    content = _content(protocol, text, ends, min(max(1, number(found["length"]) - IP_HEADER), LENGTH_LIMIT))
    outgoing = {"o": True, "i": False}.get(found["point"].lower())
    # How long a segment's header is, is not printed; what it carries shows in the numbers behind it.
    told = _NUMBERS.search(text) if protocol == IpProtocol.TCP else None
    carries = told is not None and "P" in told["flags"]
    identification = number(found["id"]) & 0xFFFF or None
    return Read(ends.source, ends.destination, content, identification=identification, outgoing=outgoing, unmeasured=carries)


def _content(protocol: int, text: str, ends: Endpoints, behind: int) -> Content:
    if protocol == IpProtocol.UDP:
        return datagram(b"", max(0, behind - UDP_HEADER_BYTES), ends)
    told = _NUMBERS.search(text)
    if protocol != IpProtocol.TCP or told is None:
        return Content(protocol, b"", behind)
    flags = sum(flag for flag, letter in zip(_FLAGS, told["flags"], strict=True) if letter not in ".*")
    numbers = int(told["sequence"], 16), int(told["acknowledgment"], 16)
    segment = TcpSegment(ends.source_port, ends.destination_port, *numbers, flags)
    return Content(protocol, segment.encode(NOWHERE, NOWHERE), TCP_HEADER)


FW_MONITOR: Final = Dialect("fw-monitor", begins, read)
