"""Ethernet II frames without tags (IEEE 802.3 clause 3) and the address resolution of IPv4 over them (RFC 826), for tunnels of frames."""

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final, Self

from vpnprobe.wire.cursor import Cursor

ADDRESS: Final = 6
"""Bytes of a hardware address."""
HEADER: Final = 14
"""Bytes in front of what a frame carries."""
BROADCAST: Final = b"\xff" * ADDRESS
UNKNOWN: Final = bytes(ADDRESS)
"""The target's hardware address in a request."""
_ETHERNET, _IPV4 = 1, 0x0800
"""ar$hrd and ar$pro of RFC 826."""


class EtherType(IntEnum):
    """What a frame carries."""

    IPV4 = 0x0800
    ARP = 0x0806


@dataclass(frozen=True, slots=True)
class EthernetFrame:
    """One frame, without its check sequence."""

    destination: bytes
    """6 bytes."""
    source: bytes
    """6 bytes."""
    ethertype: int
    payload: bytes

    def encode(self) -> bytes:
        return self.destination + self.source + self.ethertype.to_bytes(2, "big") + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises DecodeError."""
        cursor = Cursor(data)
        return cls(cursor.take(ADDRESS, "destination"), cursor.take(ADDRESS, "source"), cursor.u16("EtherType"), cursor.rest())


class Operation(IntEnum):
    """ar$op."""

    REQUEST = 1
    REPLY = 2


@dataclass(frozen=True, slots=True)
class Arp:
    """Who has an IPv4 address, and the answer."""

    operation: Operation
    sender: bytes
    """Hardware address, 6 bytes."""
    sender_ip: IPv4Address
    target: bytes
    """Hardware address, 6 bytes; UNKNOWN in a request."""
    target_ip: IPv4Address

    def encode(self) -> bytes:
        head = b"".join(part.to_bytes(2, "big") for part in (_ETHERNET, _IPV4, ADDRESS << 8 | 4, self.operation))
        return head + self.sender + self.sender_ip.packed + self.target + self.target_ip.packed

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """What follows (Ethernet pads short frames) is left alone. Raises DecodeError, also for other kinds of addresses."""
        cursor = Cursor(data)
        kinds = cursor.u16("hardware type"), cursor.u16("protocol type"), cursor.u16("address lengths")
        if kinds != (_ETHERNET, _IPV4, ADDRESS << 8 | 4):
            raise cursor.wrong("hardware type", f"{kinds} is not that of IPv4 over Ethernet", back=6)
        operation = cursor.u16("operation")
        if operation not in tuple(Operation):
            raise cursor.wrong("operation", f"{operation} is neither request nor reply", back=2)
        return cls(
            Operation(operation),
            cursor.take(ADDRESS, "sender hardware address"),
            IPv4Address(cursor.take(4, "sender protocol address")),
            cursor.take(ADDRESS, "target hardware address"),
            IPv4Address(cursor.take(4, "target protocol address")),
        )
