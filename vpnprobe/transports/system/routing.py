"""Which way a packet would take, as the kernel itself says: RTM_GETROUTE of rtnetlink(7), with all that policy routing can ask for.

Rules may choose a table by source address, mark, user, protocol and port; a `Flow` says which of these a packet has. Nothing is sent.
"""

import errno
import os
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address
from typing import Final

from vpnprobe.transports.stack import Address

_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26
_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_UNREACHED: Final = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL))
"""No route, `unreachable`, `prohibit` and `blackhole`."""
_DEADLINE_S: Final = 2.0


class _Attribute(IntEnum):
    """RTA_* of linux/rtnetlink.h."""

    DESTINATION = 1
    SOURCE = 2
    OUTGOING_DEVICE = 4
    GATEWAY = 5
    TABLE = 15
    MARK = 16
    USER = 25
    PROTOCOL = 27
    SOURCE_PORT = 28
    DESTINATION_PORT = 29


class RouteType(IntEnum):
    """RTN_* of linux/rtnetlink.h; what else there is comes as NONE."""

    NONE = 0
    UNICAST = 1
    LOCAL = 2


@dataclass(frozen=True, slots=True)
class Flow:
    """What rules can look at. None: the packet has none, or it makes no difference."""

    destination: Address
    source: Address | None = None
    """One of this host's."""
    mark: int = 0
    user: int | None = None
    protocol: int | None = None
    """TCP, UDP or ICMP."""
    source_port: int | None = None
    port: int | None = None
    """Of the destination."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a packet would go."""

    device: str
    """Empty: nowhere, since there is no route or one that refuses."""
    gateway: Address | None = None
    table: int = 0
    local: bool = False
    """To this host itself."""


def way_of(flow: Flow) -> Way:
    """Raises OSError where the kernel does not take the question (no rtnetlink, an attribute that it does not know).

    A source that is not this host's is no such question: of IPv4 it has no way, of IPv6 it has that which any source has.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_DEADLINE_S)
        sock.send(_request(flow))
        return _answer(sock.recv(65536))


def _request(flow: Flow) -> bytes:
    family = socket.AF_INET if flow.destination.version == 4 else socket.AF_INET6
    bits = flow.destination.max_prefixlen
    asked = [(_Attribute.DESTINATION, flow.destination.packed)]
    if flow.source is not None:
        asked.append((_Attribute.SOURCE, flow.source.packed))
    if flow.mark:
        asked.append((_Attribute.MARK, struct.pack("=I", flow.mark)))
    if flow.user is not None:
        asked.append((_Attribute.USER, struct.pack("=I", flow.user)))
    if flow.protocol is not None:
        asked.append((_Attribute.PROTOCOL, struct.pack("=B", flow.protocol)))
    if flow.source_port is not None:
        asked.append((_Attribute.SOURCE_PORT, struct.pack("!H", flow.source_port)))
    if flow.port is not None:
        asked.append((_Attribute.DESTINATION_PORT, struct.pack("!H", flow.port)))
    body = _ROUTE.pack(family, bits, bits if flow.source is not None else 0, 0, 0, 0, 0, 0, 0)
    body += b"".join(_attribute(kind, value) for kind, value in asked)
    return _HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body


def _attribute(kind: _Attribute, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _answer(message: bytes) -> Way:
    _, kind, _, _, _ = _HEADER.unpack_from(message)
    if kind == _NLMSG_ERROR:
        code = -struct.unpack_from("=i", message, _HEADER.size)[0]
        if code in _UNREACHED:
            return Way("")
        raise OSError(code, os.strerror(code))
    if kind != _RTM_NEWROUTE:
        raise OSError(errno.EPROTO, "rtnetlink answers with something else than a route")
    fields = _ROUTE.unpack_from(message, _HEADER.size)
    found = _attributes(message[_HEADER.size + _ROUTE.size :])
    if fields[7] not in (RouteType.UNICAST, RouteType.LOCAL):
        return Way("")
    (index,) = struct.unpack("=I", found.get(_Attribute.OUTGOING_DEVICE, bytes(4)))
    gateway = found.get(_Attribute.GATEWAY)
    table = struct.unpack("=I", found[_Attribute.TABLE])[0] if _Attribute.TABLE in found else fields[4]
    device = socket.if_indextoname(index) if index else ""
    return Way(device, None if gateway is None else ip_address(gateway), table, fields[7] == RouteType.LOCAL)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found
