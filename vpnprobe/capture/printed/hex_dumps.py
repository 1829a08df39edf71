"""Hex dumps as `tcpdump -x`, `-X`, `-xx` and `-XX`, `tshark -x`, Wireshark, FortiGate and hexdump print them, and the IP packets in them.

A dump begins at offset 0 and its offsets go on without a gap; where they do not, it ends. It is an IP packet from its first byte on, or a
frame of one of the link layers that `capture.linktypes` reads. Which one is not printed: the first that gives a packet whose length, and
whose addresses where they are known in numbers, fit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from vpnprobe.capture import linktypes
from vpnprobe.errors import DecodeError
from vpnprobe.wire.ip import IPv4Packet, decode_ip

DUMP_LIMIT: Final = 1 << 17
"""Most bytes of one dump."""
RUNS_LIMIT: Final = 64
"""Most dumps behind one packet's line that are kept."""

_TCPDUMP: Final = re.compile(
    r"^\s*0x(?P<offset>[0-9a-fA-F]{3,8}):?\s+(?P<bytes>(?:[0-9a-fA-F]{2}){1,2}(?: {1,2}(?:[0-9a-fA-F]{2}){1,2})*)(?=\s|$)"
)
_SHARK: Final = re.compile(r"^\s*(?P<offset>[0-9a-fA-F]{4,8}):?\s{1,4}(?P<bytes>[0-9a-fA-F]{2}(?: {1,2}[0-9a-fA-F]{2})*)(?=\s|$)")
_HEXDUMP: Final = re.compile(r"^\s*(?P<offset>[0-9a-fA-F]{7,8})\s{2}(?P<bytes>[0-9a-fA-F]{2}(?: {1,2}[0-9a-fA-F]{2})*)\s+\|")
_DIGITS: Final = tuple("0123456789abcdefABCDEF")
_ROW: Final = 16
"""Bytes of a full row in all of them."""
_REST: Final = re.compile(r"^\s*[0-9a-fA-F]{4,8}\s*$")

LINK_TYPES: Final = (12, 1, linktypes.LINUX_SLL, linktypes.LINUX_SLL2, 0, 108, 9, 50, 51)
"""In the order in which a dump is tried: bare IP, Ethernet, `-i any`, loopback, PPP."""


@dataclass(slots=True)
class Dump:
    """Rows of one dump."""

    data: bytearray = field(default_factory=bytearray)

    def take(self, offset: int, row: bytes) -> bool:
        """Whether a row goes on with the dump, and was taken."""
        if offset != len(self.data) or len(self.data) > DUMP_LIMIT:
            return False
        self.data += row
        return True


def row_of(line: str) -> tuple[int, bytes] | None:
    """Offset and bytes of a row of a dump; None: the line is none."""
    if line.lstrip()[:1] not in _DIGITS:
        return None
    for pattern in (_TCPDUMP, _HEXDUMP, _SHARK):
        found = pattern.match(line)
        if found is None:
            continue
        digits = found["bytes"].replace(" ", "")
        # The characters beside the bytes may be letters that are digits too: a row has no more than 16 bytes.
        row = bytes.fromhex(digits[: 2 * _ROW])
        offset = int(found["offset"], 16)
        return None if offset % _ROW else (offset, row)
    return None


def add_row(dumps: list[Dump], offset: int, row: bytes) -> None:
    """Adds a row to the last dump, or begins another one."""
    if dumps and dumps[-1].take(offset, row):
        return
    if offset == 0 and len(dumps) < RUNS_LIMIT:
        dumps.append(Dump(bytearray(row)))


def ip_in(dumps: Sequence[Dump], addresses: tuple[str, str] | None = None) -> bytes | None:
    """The IP packet that one of the dumps holds; None: none does. `addresses`: as they are printed beside it."""
    numbers = _in_numbers(addresses)
    for dump in dumps:
        for linktype in LINK_TYPES:
            packet = linktypes.ip_packet(linktype, bytes(dump.data))
            if packet is not None and _fits(packet, numbers):
                return packet
    return None


def _in_numbers(addresses: tuple[str, str] | None) -> tuple[str, str] | None:
    """The addresses, where both are numbers."""
    if addresses is None:
        return None
    try:
        return str(ip_address(addresses[0].partition("%")[0])), str(ip_address(addresses[1].partition("%")[0]))
    except ValueError:
        return None


def _fits(packet: bytes, addresses: tuple[str, str] | None) -> bool:
    try:
        ip = decode_ip(packet)
    except DecodeError:
        return False
    if addresses is not None:
        return (str(ip.source), str(ip.destination)) == addresses
    # A snapshot may have cut the packet; nothing but padding of the link layer is behind it.
    told = int.from_bytes(packet[2:4], "big") if isinstance(ip, IPv4Packet) else 40 + int.from_bytes(packet[4:6], "big")
    return told >= len(packet) - 46 and (not isinstance(ip, IPv4Packet) or told >= ip.header_length)
