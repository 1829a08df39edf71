"""UDP ports of the operating system, over one address family or both.

With no address given a port is the same number in both families, and a host without IPv6 has it in IPv4 alone. SO_REUSEADDR is never
set: a port that a daemon already has must show itself as in use.
"""

import errno
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from vpnprobe.errors import UsageError
from vpnprobe.transports.stack import Address, Datagram, Endpoint, OnDatagram, PortUnavailable
from vpnprobe.transports.system.addresses import ANY, FAMILIES, has_ipv6, to_socket
from vpnprobe.transports.system.datagrams import Arrival, DatagramSocket

_FREE_PORT_ATTEMPTS: Final = 16
"""Tries to find a number that is free in both families."""


def bound_sockets(kind: socket.SocketKind, *, port: int, address: Address | None, reuse: bool) -> dict[int, socket.socket]:
    """Bound sockets by IP version, all on one port number. Raises PortUnavailable, and UsageError for an address that is not ours."""
    if address is not None:
        return {address.version: _bound(kind, Endpoint(address, port), reuse=reuse)}
    attempts = 1 if port else _FREE_PORT_ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            return _bound_in_both(kind, port=port, reuse=reuse)
        except PortUnavailable as exc:
            if not exc.in_use or attempt == attempts:
                raise
    raise AssertionError("the last attempt returns or raises")


def _bound_in_both(kind: socket.SocketKind, *, port: int, reuse: bool) -> dict[int, socket.socket]:
    with ExitStack() as on_error:
        found = {4: on_error.enter_context(_bound(kind, Endpoint(ANY[4], port), reuse=reuse))}
        if has_ipv6():
            same_port = found[4].getsockname()[1]
            found[6] = on_error.enter_context(_bound(kind, Endpoint(ANY[6], same_port), reuse=reuse))
        on_error.pop_all()
    return found


def _bound(kind: socket.SocketKind, endpoint: Endpoint, *, reuse: bool) -> socket.socket:
    version = endpoint.address.version
    sock = socket.socket(FAMILIES[version], kind)
    try:
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(to_socket(endpoint))
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"{endpoint.address} is not an address of this host: name one that `ip address` lists") from exc
        raise PortUnavailable(endpoint.port, in_use=exc.errno == errno.EADDRINUSE) from exc
    return sock


class SystemUdpPort:
    """A UDP port; datagrams of both families come to one callback."""

    def __init__(
        self,
        on_datagram: OnDatagram,
        *,
        port: int,
        address: Address | None,
        on_refused: Callable[[Endpoint], None] | None,
        clock: Callable[[], float],
    ) -> None:
        def arrived(arrival: Arrival) -> None:
            on_datagram(Datagram(arrival.data, arrival.source, clock(), arrival.ttl, arrival.overflowed))

        self._sockets = {
            version: DatagramSocket(sock, version=version, on_arrival=arrived, on_refused=on_refused)
            for version, sock in bound_sockets(socket.SOCK_DGRAM, port=port, address=address, reuse=False).items()
        }
        self._local = next(iter(self._sockets.values())).local

    @property
    def local(self) -> Endpoint:
        """The address is 0.0.0.0 where the port has all addresses."""
        return self._local

    def send(self, data: bytes, to: Endpoint, *, ttl: int | None = None) -> bool:
        sock = self._sockets.get(to.address.version)
        return sock is not None and sock.send(data, to, ttl=ttl)

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
