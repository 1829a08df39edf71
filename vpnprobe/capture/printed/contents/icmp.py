"""ICMP lines: what was refused or expired on the way, as far as it is printed in numbers."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.capture.printed.contents.base import Content, Endpoints, port_number
from vpnprobe.wire.icmp import DestinationUnreachable, Quote, TimeExceeded, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet

_ICMP_PORT: Final = re.compile(r"ICMP (?P<host>\S+) (?P<transport>udp|tcp) port (?P<port>\S+) unreachable")
_ICMP_PROTOCOL: Final = re.compile(r"ICMP (?P<host>\S+) protocol (?P<protocol>\d+)(?: port \d+)? unreachable")
_ICMP_PROHIBITED: Final = re.compile(r"ICMP host (?P<host>\S+) unreachable - admin prohibited")
_ICMP_UNREACHABLE: Final = re.compile(r"ICMP host (?P<host>\S+) unreachable")

_SMALL: Final = re.compile(r"^icmp:?\s+")
_QUOTED: Final = re.compile(
    r"\(tos \S+, ttl (?P<ttl>\d+), id (?P<id>\d+),.{0,80}?proto \S+ \((?P<protocol>\d+)\), length \d+\)"
    r"\s+(?P<source>[\d.]+) > (?P<destination>[\d.]+)"
)


def icmp(text: str, ends: Endpoints) -> Content | None:
    """An ICMP message; what it quotes is filled in where it is printed in numbers. tcpdump 3 and FortiGate write its name small."""
    text = _SMALL.sub("ICMP ", text, count=1)
    quote = _icmp_quote(text, ends)
    if quote is None:
        return Content(IpProtocol.ICMP, bytes((255, 0, 0, 0)), 8)
    if "time exceeded" in text:
        data = TimeExceeded(quote).encode()
    elif _ICMP_PORT.match(text):
        data = DestinationUnreachable(Unreachable.PORT, quote).encode()
    elif _ICMP_PROTOCOL.match(text):
        data = DestinationUnreachable(Unreachable.PROTOCOL, quote).encode()
    elif _ICMP_PROHIBITED.match(text):
        data = DestinationUnreachable(Unreachable.ADMINISTRATIVELY_PROHIBITED, quote).encode()
    else:
        data = DestinationUnreachable(Unreachable.HOST, quote).encode()
    return Content(IpProtocol.ICMP, data, len(data))


def _icmp_quote(text: str, ends: Endpoints) -> Quote | None:
    """What the error is about, where that was printed with addresses in numbers; None otherwise."""
    try:
        shown = _QUOTED.search(text)
        if shown:
            pair = IPv4Address(shown["source"]), IPv4Address(shown["destination"])
            return Quote(IPv4Packet(*pair, int(shown["protocol"]) & 0xFF, int(shown["ttl"]) & 0xFF, int(shown["id"]) & 0xFFFF))
        for pattern in (_ICMP_PORT, _ICMP_PROTOCOL, _ICMP_PROHIBITED, _ICMP_UNREACHABLE):
            if found := pattern.match(text):
                return _quote_of(found.groupdict(), ends)
    except ValueError:
        return None
    return None


def _quote_of(printed: Mapping[str, str], ends: Endpoints) -> Quote:
    source, destination = IPv4Address(ends.destination), IPv4Address(printed["host"])
    if "transport" in printed:
        protocol = IpProtocol.UDP if printed["transport"] == "udp" else IpProtocol.TCP
        payload = bytes(2) + (port_number(printed["port"]) or 0).to_bytes(2, "big") + bytes(4)
        return Quote(IPv4Packet(source, destination, protocol, payload=payload))
    return Quote(IPv4Packet(source, destination, int(printed.get("protocol", "0")) & 0xFF))
