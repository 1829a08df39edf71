"""SystemStack: one host's access to the real network."""

import os
import socket
import time
from collections.abc import Callable
from functools import cached_property
from typing import Final

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.transports import capabilities
from vpnprobe.transports.heartbeat import Heartbeat
from vpnprobe.transports.stack import (
    Address,
    Capability,
    ConnectError,
    ConnectFailure,
    Endpoint,
    OnConnection,
    OnDatagram,
    OnLate,
    OnPacket,
)
from vpnprobe.transports.system.addresses import FAMILIES, from_socket, to_socket
from vpnprobe.transports.system.capturing import capture_peer
from vpnprobe.transports.system.packet_socket import PacketSocket
from vpnprobe.transports.system.raw import PacketSender, SystemRawPort
from vpnprobe.transports.system.sockets import SystemUdpPort
from vpnprobe.transports.system.streams import Listener, SocketStream, connect_stream, listen_plain

_ANY_PORT: Final = 9
"""Discard (RFC 863)."""


class SystemStack:
    """The `NetworkStack` of the operating system. Raises CannotRun on systems without BSD sockets."""

    def __init__(self) -> None:
        if not hasattr(socket.socket, "recvmsg"):
            raise CannotRun(
                "live probing needs Linux or macOS; `vpnprobe demo` and `vpnprobe analyze` work here", status=ExitStatus.MISSING
            )
        self._sender: PacketSender | None = None

    @cached_property
    def capabilities(self) -> frozenset[Capability]:
        return capabilities.found()

    def now(self) -> float:
        return time.monotonic()

    def unix_time(self) -> float:
        return time.time()

    def entropy(self, count: int) -> bytes:
        return os.urandom(count)

    def source_address(self, remote: Address) -> Address:
        """Raises CannotRun (status NO_PEER) where no route leads there."""
        try:
            with socket.socket(FAMILIES[remote.version], socket.SOCK_DGRAM) as sock:
                # Connecting a UDP socket asks the routing table and sends nothing.
                sock.connect(to_socket(Endpoint(remote, _ANY_PORT)))
                return from_socket(sock.getsockname()).address
        except OSError as exc:
            raise CannotRun(f"no route to {remote}: {exc.strerror}; check that this host is online") from exc

    async def udp(
        self,
        on_datagram: OnDatagram,
        *,
        port: int = 0,
        address: Address | None = None,
        on_refused: Callable[[Endpoint], None] | None = None,
    ) -> SystemUdpPort:
        return SystemUdpPort(on_datagram, port=port, address=address, on_refused=on_refused, clock=self.now)

    async def connect(
        self,
        remote: Endpoint,
        *,
        deadline_s: float,
        on_bound: Callable[[Endpoint], None] | None = None,
        segment_bytes: int | None = None,
    ) -> SocketStream:
        """`segment_bytes`: the largest TCP segment in either direction; None: the system's choice."""
        try:
            source = self.source_address(remote.address)
        except CannotRun as exc:
            raise ConnectError(ConnectFailure.UNREACHABLE, remote) from exc
        return await connect_stream(remote, source=source, deadline_s=deadline_s, on_bound=on_bound, segment_bytes=segment_bytes)

    async def listen(
        self, on_connection: OnConnection, *, port: int, address: Address | None = None, segment_bytes: int | None = None
    ) -> Listener:
        return listen_plain(on_connection, port=port, address=address, segment_bytes=segment_bytes)

    def raw(self, protocol: int, on_datagram: OnDatagram, *, version: int = 4) -> SystemRawPort:
        if Capability.RAW_IP not in self.capabilities:
            raise capabilities.lacking(Capability.RAW_IP)
        return SystemRawPort(protocol, on_datagram, version=version, clock=self.now)

    def send_packet(self, packet: bytes) -> bool:
        if self._sender is None:
            if Capability.RAW_IP not in self.capabilities:
                raise capabilities.lacking(Capability.RAW_IP)
            self._sender = PacketSender()
        return self._sender.send(packet)

    def watch_lateness(self, on_late: OnLate) -> Heartbeat:
        return Heartbeat(on_late, self.now)

    def capture(self, peer: Address, on_packet: OnPacket) -> PacketSocket:
        return capture_peer(peer, on_packet, unix_time=self.unix_time)

    def close(self) -> None:
        """Gives back what the network stack itself holds; ports, streams and captures are closed by who opened them."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None
