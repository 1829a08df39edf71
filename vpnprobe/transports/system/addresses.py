"""Endpoints to and from the tuples of the socket module, for both address families."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from vpnprobe.transports.stack import Address, Endpoint

SocketAddress = tuple[str, int] | tuple[str, int, int, int]

ANY: Final[dict[int, Address]] = {4: IPv4Address(0), 6: IPv6Address(0)}
"""All addresses of a family, by IP version."""
FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


def to_socket(endpoint: Endpoint) -> SocketAddress:
    """Raises OSError where a link-local address names an interface that is not there."""
    address = endpoint.address
    if isinstance(address, IPv4Address):
        return str(address), endpoint.port
    scope = socket.if_nametoindex(address.scope_id) if address.scope_id and not address.scope_id.isdigit() else int(address.scope_id or 0)
    return str(IPv6Address(address.packed)), endpoint.port, 0, scope


def from_socket(address: tuple[object, ...]) -> Endpoint:
    """The endpoint of what `getsockname`, `accept` or `recvmsg` gave; IPv4-mapped IPv6 addresses become IPv4."""
    host, port = address[0], address[1]
    found = ip_address(str(host))
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return Endpoint(found, int(str(port)))


def has_ipv6() -> bool:
    """Whether sockets of IPv6 can be bound here (the kernel may lack it, or have it switched off)."""
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::", 0))
    except OSError:
        return False
    return True
