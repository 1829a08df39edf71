"""IPv4 (RFC 791), UDP (RFC 768) and TCP (RFC 9293) headers both ways, and IPv6 (RFC 8200) headers for reading.

Captures are often cut: a packet whose header promises more bytes than are there decodes as far as it goes, and `missing` says how many
bytes were cut. Checksums are written and never checked by a decoder, since offloading leaves them unset in captures;
`checksum_fits` checks one. `decode(m.encode()) == m` holds for IPv4, UDP and TCP with every field within its range.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor

Address = IPv4Address | IPv6Address

MAXIMUM_PACKET: Final = 65535
_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
_IPV4_IN_NUMBERS: Final = struct.Struct("!BBHHHBBHII")
_TCP: Final = struct.Struct("!HHIIHHHH")
_UDP: Final = struct.Struct("!HHHH")
_SACK_BLOCK: Final = struct.Struct("!II")
_DONT_FRAGMENT: Final = 0x4000
_MORE_FRAGMENTS: Final = 0x2000
_FRAGMENT_OFFSET: Final = 0x1FFF
_IPV4_ADDRESS: Final = lru_cache(maxsize=1024)(IPv4Address)
"""Of its four bytes: a capture shows the same few addresses again and again."""


class IpProtocol(IntEnum):
    """Assigned Internet protocol numbers that matter here."""

    ICMP = 1
    TCP = 6
    UDP = 17
    GRE = 47
    ESP = 50
    AH = 51
    ICMPV6 = 58


class TcpFlag(IntFlag):
    """Control bits of RFC 9293 section 3.1."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10
    URG = 0x20


def internet_checksum(data: bytes) -> int:
    """The 16-bit Internet checksum of RFC 1071; an odd last byte is padded with zero."""
    if len(data) % 2:
        data += b"\0"
    number = int.from_bytes(data, "big")
    # 2**16 is 1 modulo 65535: the remainder is the one's complement sum, whose zero is written 0xFFFF unless all words are zero.
    total = number % 0xFFFF
    return ~(total or (0xFFFF if number else 0)) & 0xFFFF


def _sum_with_pseudo_header(source: Address | int, destination: Address | int, protocol: int, data: bytes) -> int:
    """The one's complement sum, 1 to 0xFFFF, of a segment or datagram behind its pseudo-header.

    RFC 9293 section 3.1 for IPv4, RFC 8200 section 8.1 for IPv6. Its fields add up as they stand: 2**16 is 1 modulo 65535.
    """
    number = int.from_bytes(data, "big") << (8 if len(data) % 2 else 0)
    return (number + int(source) + int(destination) + protocol + len(data)) % 0xFFFF or 0xFFFF


def checksum_fits(source: Address, destination: Address, protocol: int, data: bytes) -> bool:
    """Whether a whole TCP segment or UDP datagram carries the right checksum; a UDP checksum of zero means that none was made."""
    if protocol == IpProtocol.UDP and data[6:8] == b"\0\0":
        return True
    return _sum_with_pseudo_header(source, destination, protocol, data) == 0xFFFF


def checksum_fits_or_is_left(source: Address, destination: Address, protocol: int, data: bytes) -> bool:
    """Whether it carries the right checksum, or the sum of its pseudo-header alone, for its network card to finish.

    So a TCP segment or UDP datagram is captured on its own host, and between virtual machines.
    """
    left = (int(source) + int(destination) + protocol + len(data)) % 0xFFFF or 0xFFFF
    at = 6 if protocol == IpProtocol.UDP else 16
    return checksum_fits(source, destination, protocol, data) or int.from_bytes(data[at : at + 2], "big") == left


def checksum_of(source: Address | int, destination: Address | int, protocol: int, data: bytes) -> int:
    """The right checksum of a whole TCP segment or UDP datagram whose own stands as zero. Addresses may be given as their numbers."""
    checksum = 0xFFFF - _sum_with_pseudo_header(source, destination, protocol, data)
    return checksum or 0xFFFF if protocol == IpProtocol.UDP else checksum


def with_checksum(source: Address, destination: Address, protocol: int, data: bytes, *, offset: int) -> bytes:
    """A whole TCP segment or UDP datagram, whose checksum stands as zero at `offset`, with the right one."""
    checksum = checksum_of(source, destination, protocol, data)
    return data[:offset] + checksum.to_bytes(2, "big") + data[offset + 2 :]


@dataclass(frozen=True, slots=True)
class IPv4Packet:
    """A whole IPv4 packet, or as much of it as a capture or an ICMP quote holds."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    ttl: int = 64
    identification: int = 0
    payload: bytes = b""
    dont_fragment: bool = False
    tos: int = 0
    more_fragments: bool = False
    fragment_offset: int = 0
    """In units of 8 bytes, 0 to 8191."""
    options: bytes = b""
    """As on the wire, a multiple of 4 bytes, at most 40."""
    missing: int = 0
    """Bytes that the total length promises and that are not there."""

    @property
    def truncated(self) -> bool:
        return self.missing > 0

    @property
    def header_length(self) -> int:
        """Bytes."""
        return 20 + len(self.options)

    @property
    def total_length(self) -> int:
        """Bytes of the packet as it was on the wire."""
        return 20 + len(self.options) + len(self.payload) + self.missing

    @property
    def first_fragment(self) -> bool:
        """Whether the payload begins with the header of the upper protocol."""
        return self.fragment_offset == 0

    def encode(self) -> bytes:
        fragment = self.dont_fragment * _DONT_FRAGMENT | self.more_fragments * _MORE_FRAGMENTS | self.fragment_offset
        first, length = 0x40 | self.header_length // 4, min(self.total_length, MAXIMUM_PACKET)
        source, destination = int(self.source), int(self.destination)
        # The one's complement sum of the header's words, of which the addresses are two each: see `_sum_with_pseudo_header`.
        words = (first << 8 | self.tos) + length + self.identification + fragment + (self.ttl << 8 | self.protocol)
        checksum = -(words + source + destination + int.from_bytes(self.options, "big")) % 0xFFFF
        head = (first, self.tos, length, self.identification, fragment, self.ttl, self.protocol, checksum, source, destination)
        return _IPV4_IN_NUMBERS.pack(*head) + self.options + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Bytes after the total length (link padding) are left out.

        A total length shorter than the header (0 in captures taken before segmentation offload) stands for all that is there.
        """
        if len(data) < 20:
            raise DecodeError("IPv4 header", len(data), f"needs 20 bytes, {len(data)} are there")
        first, tos, total, identification, fragment, ttl, protocol, _, source, destination = _IPV4.unpack_from(data)
        if first >> 4 != 4:
            raise DecodeError("version", 0, f"is {first >> 4}, not 4")
        header = (first & 0x0F) * 4
        if header < 20:
            raise DecodeError("IHL", 0, f"is {header} bytes, less than 20")
        if len(data) < header:
            raise DecodeError("options", 20, f"need {header - 20} bytes, {len(data) - 20} are there")
        end = total if total >= header else len(data)
        return cls(
            source=_IPV4_ADDRESS(source),
            destination=_IPV4_ADDRESS(destination),
            protocol=protocol,
            ttl=ttl,
            identification=identification,
            payload=data[header:end],
            dont_fragment=bool(fragment & _DONT_FRAGMENT),
            tos=tos,
            more_fragments=bool(fragment & _MORE_FRAGMENTS),
            fragment_offset=fragment & _FRAGMENT_OFFSET,
            options=data[20:header],
            missing=max(0, end - len(data)),
        )


_HOP_BY_HOP: Final = 0
_ROUTING: Final = 43
_FRAGMENT: Final = 44
_DESTINATION_OPTIONS: Final = 60


@dataclass(frozen=True, slots=True)
class IPv6Packet:
    """An IPv6 packet for reading; extension headers that stand before the upper protocol are walked over."""

    source: IPv6Address
    destination: IPv6Address
    protocol: int
    """The upper protocol: the last next-header value."""
    ttl: int
    """The hop limit."""
    payload: bytes
    fragment_offset: int = 0
    """In units of 8 bytes; 0 as well where there is no fragment header."""
    missing: int = 0
    """Bytes that the payload length promises and that are not there."""

    @property
    def truncated(self) -> bool:
        return self.missing > 0

    @property
    def first_fragment(self) -> bool:
        """Whether the payload begins with the header of the upper protocol."""
        return self.fragment_offset == 0

    @classmethod
    def decode(cls, data: bytes) -> Self:
        cursor = Cursor(data)
        if cursor.u32("version") >> 28 != 6:
            raise cursor.wrong("version", f"is {data[0] >> 4}, not 6", back=4)
        length = cursor.u16("payload length")
        following, hop_limit = cursor.u8("next header"), cursor.u8("hop limit")
        source, destination = IPv6Address(cursor.take(16, "source")), IPv6Address(cursor.take(16, "destination"))
        if length:
            cursor.end = min(len(data), 40 + length)
        missing = max(0, 40 + length - len(data))
        fragment_offset = 0
        while following in (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS) and fragment_offset == 0:
            header, following = following, cursor.u8("next header")
            units = cursor.u8("extension header length")
            if header == _FRAGMENT:
                fragment_offset = int.from_bytes(cursor.take(6, "fragment header")[:2], "big") >> 3
            else:
                cursor.take(6 + 8 * units, "extension header")
        return cls(source, destination, following, hop_limit, cursor.rest(), fragment_offset, missing)


IpPacket = IPv4Packet | IPv6Packet


def tcp_flags(data: bytes) -> int | None:
    """The flags of the TCP segment in an IPv4 packet, read where they stand; 0: it carries another protocol. None: it takes decoding."""
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    if data[9] != IpProtocol.TCP:
        return 0
    at = 4 * (data[0] & 0x0F) + 13
    return data[at] if at < len(data) else None


def decode_ip(data: bytes) -> IpPacket:
    """An IPv4 or IPv6 packet, by its first four bits."""
    if not data:
        raise DecodeError("version", 0, "no bytes")
    return IPv6Packet.decode(data) if data[0] >> 4 == 6 else IPv4Packet.decode(data)


@dataclass(frozen=True, slots=True)
class UdpDatagram:
    """A UDP header and its payload."""

    source_port: int
    destination_port: int
    payload: bytes = b""
    missing: int = 0
    """Bytes that the length field promises and that are not there."""

    @property
    def truncated(self) -> bool:
        return self.missing > 0

    def encode(self, source: Address, destination: Address) -> bytes:
        length = min(8 + len(self.payload) + self.missing, MAXIMUM_PACKET)
        data = _UDP.pack(self.source_port, self.destination_port, length, 0) + self.payload
        return with_checksum(source, destination, IpProtocol.UDP, data, offset=6)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """A length of 0 (segmentation offload, RFC 2675) stands for all that is there."""
        if len(data) < 8:
            raise DecodeError("UDP header", len(data), f"needs 8 bytes, {len(data)} are there")
        source_port, destination_port, length, _ = _UDP.unpack_from(data)
        if 0 < length < 8:
            raise DecodeError("length", 4, f"is {length}, less than 8")
        end = length or len(data)
        return cls(source_port, destination_port, data[8:end], max(0, end - len(data)))


@dataclass(frozen=True, slots=True)
class TcpSegment:
    """A TCP header with its options, and its payload."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgment: int = 0
    flags: int = 0
    """Control bits, see `TcpFlag`; the 12 bits after the data offset."""
    window: int = 65535
    options: bytes = b""
    """As on the wire, a multiple of 4 bytes, at most 40; fewer than the data offset says where the capture was cut."""
    payload: bytes = b""
    urgent_pointer: int = 0
    truncated: bool = False
    """Options were cut. Whether payload was cut only the IP header can tell."""

    def has(self, flag: TcpFlag) -> bool:
        return int.__and__(self.flags, flag) != 0  # As numbers: the operator of IntFlag takes ten times as long.

    @property
    def maximum_segment_size(self) -> int | None:
        """The MSS option (RFC 9293 section 3.7.1), bytes; None: not there."""
        held = self._option(2)
        return int.from_bytes(held, "big") if len(held) == 2 else None

    @property
    def came_again(self) -> tuple[int, int] | None:
        """First sequence number of what the sender of this got once more, and the one behind it, as a D-SACK says (RFC 2883 section 4)."""
        held = self._option(5)
        if len(held) < 8:
            return None
        first, end = _SACK_BLOCK.unpack_from(held)
        return (first, end) if (self.acknowledgment - end) % (1 << 32) < 1 << 31 else None

    def _option(self, asked: int) -> bytes:
        """What the first option of that kind holds; empty: it is not there, or cut."""
        at = 0
        while at + 1 < len(self.options):
            kind, length = self.options[at], self.options[at + 1]
            if kind == 1:
                at += 1
                continue
            if kind == 0 or length < 2:
                break
            if kind == asked and at + length <= len(self.options):
                return self.options[at + 2 : at + length]
            at += length
        return b""

    def encode(self, source: Address, destination: Address) -> bytes:
        word = (20 + len(self.options)) // 4 << 12 | self.flags
        header = _TCP.pack(
            self.source_port, self.destination_port, self.sequence, self.acknowledgment, word, self.window, 0, self.urgent_pointer
        )
        return with_checksum(source, destination, IpProtocol.TCP, header + self.options + self.payload, offset=16)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        if len(data) < 20:
            raise DecodeError("TCP header", len(data), f"needs 20 bytes, {len(data)} are there")
        source_port, destination_port, sequence, acknowledgment, word, window, _, urgent_pointer = _TCP.unpack_from(data)
        header = (word >> 12) * 4
        if header < 20:
            raise DecodeError("data offset", 12, f"is {header} bytes, less than 20")
        return cls(
            source_port,
            destination_port,
            sequence,
            acknowledgment,
            word & 0x0FFF,
            window,
            data[20:header],
            data[header:],
            urgent_pointer,
            truncated=len(data) < header,
        )


def mss_option(size: int) -> bytes:
    """The MSS option for a SYN; `size` in bytes."""
    return b"\x02\x04" + size.to_bytes(2, "big")
