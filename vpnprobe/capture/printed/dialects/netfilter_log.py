"""What Linux' firewall writes of packets into the log: the LOG target of iptables, `log` of nftables, ufw and firewalld on top of them.

    IN=eth0 OUT= MAC=... SRC=192.0.2.10 DST=198.51.100.20 LEN=60 TOS=0x00 TTL=64 ID=7 DF PROTO=TCP SPT=49152 DPT=1723 ... SYN URGP=0

IN and OUT are interfaces, so that a packet is known to have come, to leave, or to pass on. An ICMP error quotes its packet in brackets. A
packet that several rules log stands there several times. That it is there says that the host saw it, and not what became of it.
"""

import re
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.capture.printed.clocks import STAMP, Stamp, stamp_of
from vpnprobe.capture.printed.contents.base import LENGTH_LIMIT, NOWHERE, UDP_HEADER_BYTES, Endpoints, cut, datagram, number, port_number
from vpnprobe.capture.printed.contents.table import PROTOCOLS
from vpnprobe.capture.printed.dialects.base import Dialect, Session
from vpnprobe.capture.printed.packets import Beginning, Content, NoPacket, PrintedPacket, Read, Reading, Unread
from vpnprobe.wire.icmp import DestinationUnreachable, Quote, TimeExceeded
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment

IP_HEADER, IP6_HEADER, TCP_HEADER = 20, 40, 20
ICMP_UNREACHABLE, ICMP_EXCEEDED = 3, 11

_BEGINS: Final = re.compile(r"\bIN=[\w.@:-]{0,32} OUT=[\w.@:-]{0,32} (?=.{0,400}\bSRC=\S{2,64} DST=\S{2,64} )")
_SINCE_BOOT: Final = re.compile(r"\[ {0,8}(?P<seconds>\d{1,9}\.\d{1,9})\]")
_STAMP: Final = re.compile(rf"(?<![\d:.]){STAMP}(?![\d:])")
_FIELD: Final = re.compile(r"(?P<name>[A-Z0-9]{2,10})=(?P<value>\S{0,64})")
_QUOTED: Final = re.compile(r"\[(?P<quoted>SRC=[^\]]{0,400})\]")
_STOPPED: Final = re.compile(r"(?<![a-z])(?:block(?:ed)?|drop(?:ped)?|den(?:y|ied)|reject(?:ed)?)(?![a-z])", re.IGNORECASE)
"""What stands before a packet that went no further."""
_FLAGS: Final = re.compile(r"\b(?:SYN|ACK|FIN|RST|PSH|URG)\b")


def begins(line: str) -> Beginning | None:
    """At the word that says what became of it, where one stands before its interfaces; the rest is the log's own, with its time."""
    found = _BEGINS.search(line)
    if found is None:
        return None
    before = line[: found.start()]
    at = stopped.start() if (stopped := _STOPPED.search(before)) is not None else found.start()
    return Beginning(at, _stamp(before), at)


def _stamp(before: str) -> Stamp | None:
    """The kernel's own time, which is finer, else that of the log."""
    if (since_boot := _SINCE_BOOT.search(before)) is not None:
        return Stamp(float(since_boot["seconds"]), dated=False, of_day=False)
    found = _STAMP.search(before)
    return stamp_of(found) if found is not None else None


def _fields(text: str) -> dict[str, str]:
    """The first value of each field; the second LEN, of the datagram, as `DATAGRAM`."""
    found: dict[str, str] = {}
    for field in _FIELD.finditer(text):
        name = "DATAGRAM" if field["name"] == "LEN" and "LEN" in found else field["name"]
        found.setdefault(name, field["value"])
    return found


def read(packet: PrintedPacket, session: Session) -> Reading:
    """One line of the log."""
    text = packet.joined(session.width)
    quoted = _QUOTED.search(text)
    told = _fields(text[: quoted.start()] + text[quoted.end() :] if quoted is not None else text)
    name = told.get("PROTO", "").upper()
    protocol = cut(name, 0xFF) if name.isdigit() else PROTOCOLS.get(name)
    if protocol is None:
        return Unread("has no protocol that is known")
    key = tuple(told.get(field, "") for field in ("ID", "SRC", "DST", "PROTO", "SPT", "DPT", "LEN", "SEQ"))
    source, destination = told.get("SRC"), told.get("DST")
    if not source or not destination:
        return Unread("has no addresses but those that it quotes")
    if number(told.get("ID")) and session.seen_before(key):
        return NoPacket("the same packet once more")
    ends = Endpoints(source, port_number(told.get("SPT", "")) or 0, destination, port_number(told.get("DPT", "")) or 0)
    content = _content(protocol, told, text, ends, quoted["quoted"] if quoted is not None else "")
    outgoing = None if bool(told.get("IN")) == bool(told.get("OUT")) else bool(told.get("OUT"))
    found = Read(
        ends.source,
        ends.destination,
        content,
        ttl=cut(told.get("TTL") or told.get("HOPLIMIT"), 0xFF) or None,
        identification=cut(told.get("ID"), 0xFFFF) or None,
        outgoing=outgoing,
        blocked=_STOPPED.match(text) is not None,
        unmeasured=protocol == IpProtocol.TCP and bool(set(_FLAGS.findall(text)) & {"PSH"}),
    )
    return found if "SEQ" in told else session.streams.numbered(found, unnumbered=True)


def _content(protocol: int, told: dict[str, str], text: str, ends: Endpoints, quoted: str) -> Content:
    behind = number(told.get("LEN")) - (IP6_HEADER if ":" in ends.source else IP_HEADER)
    behind = min(max(1, behind), LENGTH_LIMIT)
    if protocol == IpProtocol.UDP:
        return datagram(b"", max(0, min(number(told.get("DATAGRAM")) or behind, LENGTH_LIMIT) - UDP_HEADER_BYTES), ends)
    if protocol == IpProtocol.TCP:
        flags = sum(TcpFlag[name] for name in set(_FLAGS.findall(text)))
        numbers = cut(told.get("SEQ")), cut(told.get("ACK"))
        segment = TcpSegment(ends.source_port, ends.destination_port, *numbers, flags)
        return Content(protocol, segment.encode(NOWHERE, NOWHERE), TCP_HEADER)
    if protocol == IpProtocol.ICMP:
        return _icmp(told, quoted)
    if protocol == IpProtocol.ESP and "SPI" in told:
        return Content(protocol, cut(told["SPI"]).to_bytes(4, "big"), max(4, behind))
    return Content(protocol, b"", behind)


def _icmp(told: dict[str, str], quoted: str) -> Content:
    """With the packet that it is about, where that is quoted in IPv4's terms."""
    about = _fields(quoted)
    name, kind = about.get("PROTO", "").upper(), number(told.get("TYPE"))
    protocol = cut(name, 0xFF) if name.isdigit() else PROTOCOLS.get(name, 0)
    try:
        addresses = IPv4Address(about.get("SRC", "")), IPv4Address(about.get("DST", ""))
    except ValueError:
        return Content(IpProtocol.ICMP, bytes((kind & 0xFF, 0, 0, 0)), 8)
    ports = b"".join((port_number(about.get(end, "")) or 0).to_bytes(2, "big") for end in ("SPT", "DPT"))
    has_ports = protocol in (IpProtocol.UDP, IpProtocol.TCP)
    ttl, identification = cut(about.get("TTL"), 0xFF), cut(about.get("ID"), 0xFFFF)
    quote = Quote(IPv4Packet(*addresses, protocol, ttl, identification, payload=ports + bytes(4) if has_ports else b""))
    if kind == ICMP_EXCEEDED:
        data = TimeExceeded(quote).encode()
    elif kind == ICMP_UNREACHABLE:
        data = DestinationUnreachable(cut(told.get("CODE"), 0xFF), quote).encode()
    else:
        data = bytes((kind & 0xFF, 0, 0, 0))
    return Content(IpProtocol.ICMP, data, max(8, len(data)))


NETFILTER_LOG: Final = Dialect("netfilter-log", begins, read)
