"""One socket that carries datagrams (UDP or raw IP) of one address family: what both kinds have in common.

Invariants: sending never raises for what the network or the kernel does with a packet, and an ICMP error that an earlier packet brought
home never costs a later one. Answers leave with the address that the check was sent to, so that a host with several addresses is
recognised by its peer.
"""

import asyncio
import contextlib
import errno
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from vpnprobe.transports.stack import Address, Endpoint
from vpnprobe.transports.system import linux
from vpnprobe.transports.system.addresses import ANY, from_socket, to_socket

RECEIVE_BUFFER_BYTES: Final = 4 << 20
LARGEST: Final = 65_535
"""Bytes: no IP packet without jumbo options is longer."""
_BATCH: Final = 64
"""Datagrams that are read before other work gets its turn."""
_ATTEMPTS: Final = 4
"""Sends of one datagram: each failed one takes an error off the socket that an earlier packet left there."""
_LEFT_BY_OTHERS: Final = frozenset(
    (
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EACCES,
        errno.EMSGSIZE,
        errno.EPROTO,
        errno.EHOSTDOWN,
    )
)
"""What ICMP errors turn into; also what the packet at hand may meet, and then every attempt fails alike."""
_SOURCES: Final = 4096
"""Peers whose way in is remembered; the ones unheard of for longest are forgotten first."""


class Arrival(NamedTuple):
    """One message as it came off the socket."""

    data: bytes
    source: Endpoint
    ttl: int | None
    overflowed: bool = False
    """Whether the kernel says that it dropped others before it, for want of room."""


class DatagramSocket:
    """Reads on the current event loop until closed; every message goes to `on_arrival`."""

    def __init__(
        self, sock: socket.socket, *, version: int, on_arrival: Callable[[Arrival], None], on_refused: Callable[[Endpoint], None] | None
    ) -> None:
        self._sock = sock
        self._version = version
        self._on_arrival = on_arrival
        self._on_refused = on_refused
        self._sources: OrderedDict[Address, Address] = OrderedDict()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        linux.enlarge_receive_buffer(sock, RECEIVE_BUFFER_BYTES)
        if linux.IS_LINUX:
            self._ask_for_particulars()
        self._loop.add_reader(sock, self._readable)

    def _ask_for_particulars(self) -> None:
        level, ttl, packet_info, errors = (
            (linux.SOL_IP, linux.IP_RECVTTL, linux.IP_PKTINFO, linux.IP_RECVERR)
            if self._version == 4
            else (linux.SOL_IPV6, linux.IPV6_RECVHOPLIMIT, linux.IPV6_RECVPKTINFO, linux.IPV6_RECVERR)
        )
        self._sock.setsockopt(level, ttl, 1)
        self._sock.setsockopt(level, packet_info, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, linux.SO_RXQ_OVFL, 1)
        if self._on_refused is not None:
            self._sock.setsockopt(level, errors, 1)

    @property
    def local(self) -> Endpoint:
        return from_socket(self._sock.getsockname())

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def send(self, data: bytes, to: Endpoint, *, ttl: int | None) -> bool:
        """Whether the kernel took it; raises nothing."""
        for _ in range(_ATTEMPTS):
            if self._closed:
                return False
            try:
                self._send_once(data, to, ttl)
            except OSError as exc:
                if exc.errno in (errno.EINVAL, errno.EADDRNOTAVAIL) and self._sources.pop(to.address, None) is not None:
                    continue  # The address that this peer came in by has gone: let routing choose.
                if exc.errno not in _LEFT_BY_OTHERS:
                    return False
            else:
                return True
        return False

    def _send_once(self, data: bytes, to: Endpoint, ttl: int | None) -> None:
        if not linux.IS_LINUX:
            return self._send_plainly(data, to, ttl)
        ancillary = [] if ttl is None else [linux.with_ttl(ttl, self._version)]
        source = self._sources.get(to.address)
        if source is not None:
            ancillary.append(linux.with_source(source))
        self._sock.sendmsg([data], ancillary, 0, to_socket(to))

    def _send_plainly(self, data: bytes, to: Endpoint, ttl: int | None) -> None:
        level, option = (socket.IPPROTO_IP, socket.IP_TTL) if self._version == 4 else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
        usual = self._sock.getsockopt(level, option)
        if ttl is not None:
            self._sock.setsockopt(level, option, ttl)
        try:
            self._sock.sendto(data, to_socket(to))
        finally:
            if ttl is not None:
                self._sock.setsockopt(level, option, usual)

    def _readable(self) -> None:
        if self._on_refused is not None and linux.IS_LINUX:
            self._read_errors(self._on_refused)
        for _ in range(_BATCH):
            if self._closed:
                return
            try:
                data, ancillary, _, source = self._sock.recvmsg(LARGEST, 256)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # An ICMP error that is reported a second time; the error queue had its particulars.
            self._arrived(data, ancillary, from_socket(source))

    def _arrived(self, data: bytes, ancillary: linux.Ancillary, source: Endpoint) -> None:
        arrived_at = linux.arrived_at(ancillary)
        if arrived_at is not None and not arrived_at.is_multicast and arrived_at != ANY[self._version]:
            self._sources[source.address] = arrived_at
            self._sources.move_to_end(source.address)
            if len(self._sources) > _SOURCES:
                self._sources.popitem(last=False)
        self._on_arrival(Arrival(data, source, linux.hops(ancillary), linux.overflowed(ancillary)))

    def _read_errors(self, on_refused: Callable[[Endpoint], None]) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            for _ in range(_BATCH):
                if self._closed:
                    return
                _, ancillary, _, destination = self._sock.recvmsg(64, 512, linux.MSG_ERRQUEUE)
                error = linux.extended_error(ancillary)
                if error is not None and error.port_unreachable and destination:
                    on_refused(from_socket(destination))
