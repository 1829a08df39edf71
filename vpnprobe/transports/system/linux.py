"""Numbers of the Linux socket interface that Python 3.11's socket module does not name, and the structures that go with them.

From linux/in.h, linux/in6.h, asm-generic/socket.h, linux/if_packet.h, linux/errqueue.h and linux/tcp.h. The numbers are those of every
architecture of the kernel but alpha, mips, parisc and sparc, which number socket options (SO_*) their own way.
"""

import socket
import struct
import sys
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

IS_LINUX: Final = sys.platform == "linux"

SOL_IP: Final = 0
IP_TTL: Final = 2
IP_PKTINFO: Final = 8
IP_RECVERR: Final = 11
IP_RECVTTL: Final = 12
SOL_IPV6: Final = 41
IPV6_RECVERR: Final = 25
IPV6_RECVPKTINFO: Final = 49
IPV6_PKTINFO: Final = 50
IPV6_RECVHOPLIMIT: Final = 51
IPV6_HOPLIMIT: Final = 52
MSG_ERRQUEUE: Final = 0x2000
SO_ATTACH_FILTER: Final = 26
SO_RCVBUFFORCE: Final = 33
SO_TIMESTAMPNS: Final = 35
SO_RXQ_OVFL: Final = 40
SOL_PACKET: Final = 263
PACKET_STATISTICS: Final = 6
PACKET_OTHERHOST: Final = 3
PACKET_OUTGOING: Final = 4
ETH_P_ALL: Final = 0x0003

ORIGIN_LOCAL: Final = 1
ORIGIN_ICMP: Final = 2
ORIGIN_ICMP6: Final = 3

_TCP_INFO_BYTES: Final = 256
_TOTAL_RETRANS_AT: Final = 100
_DATA_SEGS_OUT_AT: Final = 156

Ancillary = list[tuple[int, int, bytes]]


class ExtendedError(NamedTuple):
    """struct sock_extended_err: why a packet that was sent came to nothing."""

    errno: int
    origin: int
    """ORIGIN_LOCAL, ORIGIN_ICMP or ORIGIN_ICMP6."""
    type: int
    code: int

    @property
    def port_unreachable(self) -> bool:
        """ICMP type 3 code 3 (RFC 792), ICMPv6 type 1 code 4 (RFC 4443 section 3.1)."""
        return (self.origin, self.type, self.code) in ((ORIGIN_ICMP, 3, 3), (ORIGIN_ICMP6, 1, 4))

    @property
    def from_network(self) -> bool:
        """An ICMP message of either version, not an error of this host."""
        return self.origin in (ORIGIN_ICMP, ORIGIN_ICMP6)


def extended_error(ancillary: Ancillary) -> ExtendedError | None:
    """The error that came with a message of the error queue; None where none did."""
    for level, kind, data in ancillary:
        if (level, kind) in ((SOL_IP, IP_RECVERR), (SOL_IPV6, IPV6_RECVERR)) and len(data) >= 8:
            return ExtendedError(*struct.unpack_from("=IBBB", data))
    return None


def hops(ancillary: Ancillary) -> int | None:
    """The TTL or hop limit that a packet arrived with; None where the kernel did not say."""
    for level, kind, data in ancillary:
        if (level, kind) in ((SOL_IP, IP_TTL), (SOL_IPV6, IPV6_HOPLIMIT)) and len(data) >= 4:
            ttl: int = struct.unpack_from("=i", data)[0]
            return ttl
    return None


def arrived_at(ancillary: Ancillary) -> IPv4Address | IPv6Address | None:
    """The local address that a packet was sent to; None where the kernel did not say."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_IP, IP_PKTINFO) and len(data) >= 12:
            return IPv4Address(data[4:8])
        if (level, kind) == (SOL_IPV6, IPV6_PKTINFO) and len(data) >= 20:
            return IPv6Address(data[:16])
    return None


def overflowed(ancillary: Ancillary) -> bool:
    """Whether the kernel has dropped messages of this socket, since its buffer did not hold them."""
    return any((level, kind) == (socket.SOL_SOCKET, SO_RXQ_OVFL) and any(data) for level, kind, data in ancillary)


def with_ttl(ttl: int, version: int) -> tuple[int, int, bytes]:
    """The control message that sends one packet with a TTL of its own."""
    level, kind = (SOL_IP, IP_TTL) if version == 4 else (SOL_IPV6, IPV6_HOPLIMIT)
    return level, kind, struct.pack("=i", ttl)


def with_source(source: IPv4Address | IPv6Address) -> tuple[int, int, bytes]:
    """The control message that sends one packet from a local address of choice."""
    if source.version == 4:
        return SOL_IP, IP_PKTINFO, struct.pack("=I4s4s", 0, source.packed, bytes(4))
    return SOL_IPV6, IPV6_PKTINFO, struct.pack("=16sI", source.packed, 0)


def segments_sent(sock: socket.socket) -> tuple[int, int] | None:
    """TCP segments that ask for an acknowledgment (data, and the SYN), and how many of them were sent again; None: not known.

    Bare acknowledgments do not count: the kernel never learns of their loss, so they would make a path look better than it is.
    A repeated SYN is in tcpi_total_retrans but not in tcpi_data_segs_out.
    """
    if not IS_LINUX:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return None
    if len(info) < _DATA_SEGS_OUT_AT + 4:
        return None
    (again,) = struct.unpack_from("=I", info, _TOTAL_RETRANS_AT)
    (with_data,) = struct.unpack_from("=I", info, _DATA_SEGS_OUT_AT)
    return max(with_data, again) + 1, again


def enlarge_receive_buffer(sock: socket.socket, size_bytes: int) -> None:
    """As large as the system lets it be; beyond net.core.rmem_max where the privilege is there."""
    if IS_LINUX:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size_bytes)
        except OSError:
            pass
        else:
            return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size_bytes)
