"""What readers of printed packets share: addresses, fields, ports, and the bytes that they come to."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from vpnprobe.capture.followers.registry import FOLLOWERS
from vpnprobe.capture.printed.packets import Content
from vpnprobe.wire.ip import IpProtocol, UdpDatagram

__all__ = ["LENGTH_LIMIT", "NOWHERE", "Content", "Endpoints", "cut", "datagram", "fields", "number", "port_number"]

NOWHERE: Final = IPv4Address(0)
"""Stands in for addresses in checksums, which nobody reads."""
LENGTH_LIMIT: Final = 0xFFFF
"""No IP packet is longer, bytes: what is printed beyond it is a mistake or a trap."""


class Endpoints(NamedTuple):
    """Both ends of a printed line."""

    source: str
    source_port: int
    """0: the protocol has no ports."""
    destination: str
    destination_port: int
    length: int | None = None
    """Bytes behind the IP header, where the line says so elsewhere; None: it does not."""


UDP_HEADER_BYTES: Final = 8
_FIELD: Final = re.compile(r"(?P<name>[A-Z][A-Z_]{1,30})\((?P<value>[^)]{0,200})\)")


def number(text: str | None) -> int:
    """The leading number of a printed field, decimal or hex; 0 where there is none."""
    found = re.match(r"0x[0-9a-fA-F]{1,32}|\d{1,32}", text or "")
    return int(found[0], 0 if found[0].startswith("0x") else 10) if found else 0


def cut(text: str | None, most: int = 0xFFFFFFFF) -> int:
    """The leading number of a printed field, of which no more is left than the field on the wire holds; `most`: its highest value."""
    return number(text) & most


def fields(text: str) -> dict[str, str]:
    return {found["name"]: found["value"] for found in _FIELD.finditer(text)}


SERVICES: Final[Mapping[str, int]] = {
    **{name: port for spec in FOLLOWERS for name, port in spec.service_names.items()},
    "https": 443,
    "http": 80,
    "domain": 53,
    "pcsync-https": 8443,
    "http-alt": 8080,
    "webcache": 8080,
    "ssh": 22,
    "ntp": 123,
    "sunrpc": 111,
}
"""Names that tcpdump prints for ports that matter here."""


def port_number(text: str) -> int | None:
    """The port that a number or a service name stands for; None: neither."""
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= 5 and int(text) <= 0xFFFF else None
    return SERVICES.get(text)


def datagram(payload: bytes, length: int, ends: Endpoints) -> Content:
    """A UDP datagram of which `payload` is known, the first bytes of `length` on the wire."""
    length = min(length, LENGTH_LIMIT - UDP_HEADER_BYTES)
    datagram = UdpDatagram(ends.source_port, ends.destination_port, payload, max(0, length - len(payload)))
    return Content(IpProtocol.UDP, datagram.encode(NOWHERE, NOWHERE), UDP_HEADER_BYTES + max(length, len(payload)))
