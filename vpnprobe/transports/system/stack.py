"""SystemStack: one host's access to the real network."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Final, TypeVar

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.firewall.mending import Kept, Mends
from vpnprobe.transports import capabilities
from vpnprobe.transports.heartbeat import Heartbeat
from vpnprobe.transports.stack import (
    Address,
    Capability,
    ConnectError,
    ConnectFailure,
    Endpoint,
    LocalPort,
    OnConnection,
    OnDatagram,
    OnLate,
    OnPacket,
)
from vpnprobe.transports.system.addresses import FAMILIES, from_socket, to_socket
from vpnprobe.transports.system.capturing import capture_peer
from vpnprobe.transports.system.holders import holders
from vpnprobe.transports.system.own_firewall import own_firewall
from vpnprobe.transports.system.packet_socket import PacketSocket
from vpnprobe.transports.system.raw import PacketSender, SystemRawPort
from vpnprobe.transports.system.sockets import SystemUdpPort
from vpnprobe.transports.system.streams import Listener, SocketStream, connect_stream, listen_plain

T = TypeVar("T")
_LOOKING_S: Final = 3.0
"""How long a look at this host may take: without it a run says less, and nothing wrong."""
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
        self._sources: dict[Address, Address] = {}
        """By where it led: this host's address on the last route there was."""

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
        """That of the last route where a link is down for a while. Raises CannotRun (status NO_PEER) where no route has ever led there."""
        try:
            with socket.socket(FAMILIES[remote.version], socket.SOCK_DGRAM) as sock:
                # Connecting a UDP socket asks the routing table and sends nothing.
                sock.connect(to_socket(Endpoint(remote, _ANY_PORT)))
                self._sources[remote] = from_socket(sock.getsockname()).address
        except OSError as exc:
            if remote in self._sources:
                return self._sources[remote]
            raise CannotRun(f"no route to {remote}: {exc.strerror}; check that this host is online") from exc
        return self._sources[remote]

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

    async def own_firewall(self, kept: Sequence[Kept], peer: Address) -> Mends:
        return await _apart(own_firewall, kept, peer, otherwise=Mends())

    async def holders(self, ports: Sequence[LocalPort]) -> Mapping[LocalPort, str]:
        nobody: Mapping[LocalPort, str] = {}
        return await _apart(holders, ports, otherwise=nobody)

    def close(self) -> None:
        """Gives back what the network stack itself holds; ports, streams and captures are closed by who opened them."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None


async def _apart(work: Callable[..., T], *arguments: object, otherwise: T) -> T:
    """What takes a while, in a thread of its own: that begins in the network namespace of this one, which one of a pool may not be in.

    `otherwise`: what is given where it takes longer than a run may wait for it.
    """
    thread = ThreadPoolExecutor(1)
    try:
        async with asyncio.timeout(_LOOKING_S):
            return await asyncio.get_running_loop().run_in_executor(thread, work, *arguments)
    except TimeoutError:
        return otherwise
    finally:
        thread.shutdown(wait=False)
