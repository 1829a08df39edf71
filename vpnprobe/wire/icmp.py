"""ICMP for IPv4 (RFC 792, RFC 1191, RFC 4884), and the errors and echoes of ICMPv6 (RFC 4443) for reading, in the same messages.

An error quotes the packet that it is about: its IP header and at least 8 bytes after it. That quote ties an error to what was sent, by
addresses, protocol, IP identification and first bytes. Lengths inside a quote are not trusted; what is there is read.
`decode_icmp(m.encode()) == m` holds for every message.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from vpnprobe.errors import DecodeError
from vpnprobe.wire.ip import Address, IpPacket, IpProtocol, IPv4Packet, decode_ip, internet_checksum

_HEADER: Final = struct.Struct("!BBHHH")


class IcmpType(IntEnum):
    """ICMPv4 message types."""

    ECHO_REPLY = 0
    DESTINATION_UNREACHABLE = 3
    ECHO_REQUEST = 8
    TIME_EXCEEDED = 11


class Unreachable(IntEnum):
    """Codes of destination unreachable, RFC 792 and RFC 1812 section 5.2.7.1."""

    NET = 0
    HOST = 1
    PROTOCOL = 2
    PORT = 3
    FRAGMENTATION_NEEDED = 4
    NET_PROHIBITED = 9
    HOST_PROHIBITED = 10
    ADMINISTRATIVELY_PROHIBITED = 13


@dataclass(frozen=True, slots=True)
class Quote:
    """The packet that an ICMP error is about, as far as it was quoted."""

    packet: IpPacket

    @property
    def source(self) -> Address:
        """Who had sent the packet, as the quoting host saw it (behind a NAT: translated)."""
        return self.packet.source

    @property
    def destination(self) -> Address:
        return self.packet.destination

    @property
    def protocol(self) -> int:
        return self.packet.protocol

    @property
    def identification(self) -> int | None:
        """IPv4 identification; None: IPv6 has none."""
        return self.packet.identification if isinstance(self.packet, IPv4Packet) else None

    @property
    def first_bytes(self) -> bytes:
        """What was quoted after the IP header: 8 bytes or more unless the capture was cut."""
        return self.packet.payload

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination port of a quoted TCP or UDP header; None: another protocol, or not quoted."""
        data = self.packet.payload
        if self.protocol not in (IpProtocol.TCP, IpProtocol.UDP) or len(data) < 4 or not self.packet.first_fragment:
            return None
        return int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")


@dataclass(frozen=True, slots=True)
class EchoRequest:
    identifier: int
    sequence: int
    data: bytes = b""

    def encode(self) -> bytes:
        return _message(IcmpType.ECHO_REQUEST, 0, self.identifier, self.sequence, self.data)


@dataclass(frozen=True, slots=True)
class EchoReply:
    identifier: int
    sequence: int
    data: bytes = b""

    def encode(self) -> bytes:
        return _message(IcmpType.ECHO_REPLY, 0, self.identifier, self.sequence, self.data)


@dataclass(frozen=True, slots=True)
class TimeExceeded:
    quote: Quote
    code: int = 0
    """0: TTL exceeded in transit; 1: fragment reassembly time exceeded."""

    def encode(self) -> bytes:
        return _message(IcmpType.TIME_EXCEEDED, self.code, 0, 0, _quoted(self.quote))


@dataclass(frozen=True, slots=True)
class DestinationUnreachable:
    code: int
    """See `Unreachable`; codes of ICMPv6 are given as their ICMPv4 counterparts."""
    quote: Quote
    next_hop_mtu: int = 0
    """Bytes of an IP packet, with FRAGMENTATION_NEEDED (RFC 1191 section 4); 0: not told."""

    def encode(self) -> bytes:
        return _message(IcmpType.DESTINATION_UNREACHABLE, self.code, 0, self.next_hop_mtu, _quoted(self.quote))


@dataclass(frozen=True, slots=True)
class OtherIcmp:
    """A message of another type."""

    type: int
    code: int
    rest: bytes
    """From the fifth byte: what follows the checksum."""

    def encode(self) -> bytes:
        return _checksummed(bytes((self.type, self.code, 0, 0)) + self.rest)


Icmp = EchoRequest | EchoReply | TimeExceeded | DestinationUnreachable | OtherIcmp


def _checksummed(data: bytes) -> bytes:
    return data[:2] + internet_checksum(data).to_bytes(2, "big") + data[4:]


def _message(kind: int, code: int, first: int, second: int, rest: bytes) -> bytes:
    return _checksummed(_HEADER.pack(kind, code, 0, first, second) + rest)


def _quoted(quote: Quote) -> bytes:
    if isinstance(quote.packet, IPv4Packet):
        return quote.packet.encode()
    raise TypeError("ICMPv6 is read, not written")


def _quote(data: bytes, *, length: int) -> Quote:
    """`length`: bytes of the quoted datagram where the error says so (RFC 4884 section 5.1), else 0."""
    try:
        return Quote(decode_ip(data[8 : 8 + length] if length else data[8:]))
    except DecodeError as error:
        raise DecodeError(f"quoted {error.field}", 8 + error.offset, error.problem) from error


def decode_icmp(data: bytes) -> Icmp:
    """An ICMPv4 message. Raises DecodeError where it is shorter than its header, or an error without a readable quote."""
    if len(data) < 4:
        raise DecodeError("ICMP header", len(data), f"needs 4 bytes, {len(data)} are there")
    kind, code = data[0], data[1]
    if kind not in _KNOWN:
        return OtherIcmp(kind, code, data[4:])
    if len(data) < 8:
        raise DecodeError("ICMP header", len(data), f"needs 8 bytes, {len(data)} are there")
    _, _, _, first, second = _HEADER.unpack_from(data)
    if kind == IcmpType.ECHO_REQUEST:
        return EchoRequest(first, second, data[8:])
    if kind == IcmpType.ECHO_REPLY:
        return EchoReply(first, second, data[8:])
    quote = _quote(data, length=data[5] * 4)
    if kind == IcmpType.TIME_EXCEEDED:
        return TimeExceeded(quote, code)
    return DestinationUnreachable(code, quote, second if code == Unreachable.FRAGMENTATION_NEEDED else 0)


_KNOWN: Final = frozenset(IcmpType)

_V6_UNREACHABLE: Final = 1
_V6_PACKET_TOO_BIG: Final = 2
_V6_TIME_EXCEEDED: Final = 3
_V6_PARAMETER_PROBLEM: Final = 4
_V6_UNRECOGNISED_NEXT_HEADER: Final = 1
_V6_ECHO_REQUEST: Final = 128
_V6_ECHO_REPLY: Final = 129
_V6_CODES: Final = {
    0: Unreachable.NET,
    1: Unreachable.ADMINISTRATIVELY_PROHIBITED,
    2: Unreachable.HOST,
    3: Unreachable.HOST,
    4: Unreachable.PORT,
    5: Unreachable.ADMINISTRATIVELY_PROHIBITED,
    6: Unreachable.ADMINISTRATIVELY_PROHIBITED,
}
"""RFC 4443 section 3.1 in the codes of ICMPv4."""


def decode_icmpv6(data: bytes) -> Icmp:
    """An ICMPv6 message (RFC 4443) in the terms of ICMPv4: packet too big is FRAGMENTATION_NEEDED, an unrecognised next header PROTOCOL.

    Other types are `OtherIcmp` with the numbers of ICMPv6. Raises DecodeError as `decode_icmp` does.
    """
    if len(data) < 8:
        raise DecodeError("ICMPv6 header", len(data), f"needs 8 bytes, {len(data)} are there")
    kind, code, _, first, second = _HEADER.unpack_from(data)
    match kind:
        case _ if kind == _V6_UNREACHABLE:
            return DestinationUnreachable(_V6_CODES.get(code, Unreachable.HOST), _quote(data, length=data[4] * 8))
        case _ if kind == _V6_PACKET_TOO_BIG:
            mtu = int.from_bytes(data[4:8], "big")
            return DestinationUnreachable(Unreachable.FRAGMENTATION_NEEDED, _quote(data, length=0), mtu)
        case _ if kind == _V6_TIME_EXCEEDED:
            return TimeExceeded(_quote(data, length=data[4] * 8), code)
        case _ if kind == _V6_PARAMETER_PROBLEM and code == _V6_UNRECOGNISED_NEXT_HEADER:
            return DestinationUnreachable(Unreachable.PROTOCOL, _quote(data, length=0))
        case _ if kind == _V6_ECHO_REQUEST:
            return EchoRequest(first, second, data[8:])
        case _ if kind == _V6_ECHO_REPLY:
            return EchoReply(first, second, data[8:])
        case _:
            return OtherIcmp(kind, code, data[4:])
