"""What readers of printed packets share: addresses, fields, ports, and the bytes that they come to."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from vpnprobe.capture.followers.registry import FOLLOWERS

NOWHERE: Final = IPv4Address(0)
"""Stands in for addresses in checksums, which nobody reads."""


class Endpoints(NamedTuple):
    """Both ends of a printed line."""

    source: str
    source_port: int
    """0: the protocol has no ports."""
    destination: str
    destination_port: int


class Content(NamedTuple):
    """The payload of one IP packet, as far as it was printed."""

    protocol: int
    data: bytes
    length: int
    """Bytes on the wire, at least `len(data)`."""


_FIELD: Final = re.compile(r"\*?(?P<name>[A-Z][A-Z_]+)\((?P<value>[^)]*)\)")


def number(text: str | None) -> int:
    """The leading number of a printed field, decimal or hex; 0 where there is none."""
    found = re.match(r"0x[0-9a-fA-F]+|\d+", text or "")
    return int(found[0], 0 if found[0].startswith("0x") else 10) if found else 0


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
        return int(text) if int(text) <= 0xFFFF else None
    return SERVICES.get(text)
