"""`NetworkStack` on a host of the simulated network: the probes cannot tell it from the operating system's."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Final, NoReturn, TypeVar

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.firewall.mending import Kept, Mends, mends
from vpnprobe.transports.heartbeat import Heartbeat
from vpnprobe.transports.simulated.host import Host, RawSocket, Tap, UdpSocket
from vpnprobe.transports.simulated.host_rules import firewall_of
from vpnprobe.transports.simulated.stalls import Program
from vpnprobe.transports.stack import (
    Address,
    Capability,
    Closable,
    ConnectError,
    ConnectFailure,
    Datagram,
    Endpoint,
    LocalPort,
    NetworkStack,
    OnConnection,
    OnDatagram,
    OnLate,
    OnPacket,
    PortUnavailable,
    RawPort,
    TcpStream,
    UdpPort,
)
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, UdpDatagram

_FIRST_FREE_PORT: Final = 1024
BUFFERED: Final = 256
"""Datagrams that wait for a program to read a socket; Linux holds about so many short ones (net.core.rmem_default)."""
Told = TypeVar("Told")


class _UdpPort:
    def __init__(self, host: Host, socket: UdpSocket) -> None:
        self._host = host
        self._socket = socket

    @property
    def local(self) -> Endpoint:
        return Endpoint(self._host.address, self._socket.port)

    def send(self, data: bytes, to: Endpoint, *, ttl: int | None = None) -> bool:
        open_now = self._host.sockets.udp.get(self._socket.port) is self._socket
        if not open_now or not isinstance(to.address, IPv4Address):
            return False
        datagram = UdpDatagram(self._socket.port, to.port, data)
        return self._host.send(IpProtocol.UDP, datagram.encode(self._host.address, to.address), to.address, ttl=ttl)

    def close(self) -> None:
        if self._host.sockets.udp.get(self._socket.port) is self._socket:
            del self._host.sockets.udp[self._socket.port]


class _RawPort:
    def __init__(self, host: Host, socket: RawSocket) -> None:
        self._host = host
        self._socket = socket

    def send(self, payload: bytes, to: Address, *, ttl: int | None = None) -> bool:
        return self._socket in self._host.sockets.raw and self._host.send(self._socket.protocol, payload, to, ttl=ttl)

    def close(self) -> None:
        if self._socket in self._host.sockets.raw:
            self._host.sockets.raw.remove(self._socket)


class _Closing:
    """Closes what `close` closes, once."""

    def __init__(self, close: Callable[[], object]) -> None:
        self._close: Callable[[], object] | None = close

    def close(self) -> None:
        if self._close is not None:
            self._close()
            self._close = None


class SimulatedStack:
    """One end's access to the simulated network."""

    def __init__(self, host: Host, capabilities: frozenset[Capability], chance: random.Random, program: Program | None = None) -> None:
        """`program`: who calls, where it may be starved; None: it never is."""
        self._host = host
        self._program = program
        self._capabilities = capabilities
        self._chance = chance

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    def now(self) -> float:
        return self._host.events.now()

    def unix_time(self) -> float:
        return self._host.unix_time()

    def entropy(self, count: int) -> bytes:
        return self._chance.randbytes(count)

    def source_address(self, remote: Address) -> Address:
        return self._host.address

    async def udp(
        self,
        on_datagram: OnDatagram,
        *,
        port: int = 0,
        address: Address | None = None,
        on_refused: Callable[[Endpoint], None] | None = None,
    ) -> UdpPort:
        sockets = self._host.sockets.udp
        self._check_port(port, address, taken=port in sockets)
        socket = UdpSocket(
            port or self._host.spare_port(sockets.__contains__),
            self._reading(on_datagram),
            self._late(on_refused) if on_refused is not None else None,
        )
        sockets[socket.port] = socket
        return _UdpPort(self._host, socket)

    async def connect(
        self,
        remote: Endpoint,
        *,
        deadline_s: float,
        on_bound: Callable[[Endpoint], None] | None = None,
        segment_bytes: int | None = None,
    ) -> TcpStream:
        """`segment_bytes`: the largest TCP segment in either direction; None: as the link and the path have it."""
        if not isinstance(remote.address, IPv4Address):
            raise ConnectError(ConnectFailure.UNREACHABLE, remote)
        connection = self._host.open_connection(self._host.spare_port(self._host.tcp_port_taken), remote, segment_bytes)
        if on_bound is not None:
            on_bound(connection.local)
        try:
            async with asyncio.timeout(deadline_s):
                await connection.connect()
        except TimeoutError:
            connection.give_up()
            raise ConnectError(ConnectFailure.TIMED_OUT, remote) from None
        except asyncio.CancelledError:
            connection.give_up()
            raise
        return connection

    async def listen(
        self, on_connection: OnConnection, *, port: int, address: Address | None = None, segment_bytes: int | None = None
    ) -> Closable:
        listeners = self._host.sockets.listeners
        self._check_port(port, address, taken=port in listeners)
        port = port or self._host.spare_port(self._host.tcp_port_taken)
        listeners[port] = self._late(on_connection)
        sizes = self._host.sockets.segment_bytes
        if segment_bytes is not None:
            sizes[port] = segment_bytes

        def close() -> None:
            listeners.pop(port, None)
            sizes.pop(port, None)

        return _Closing(close)

    def raw(self, protocol: int, on_datagram: OnDatagram, *, version: int = 4) -> RawPort:
        self._require(Capability.RAW_IP, f"open a raw socket for IP protocol {protocol}")
        socket = RawSocket(protocol, self._reading(on_datagram) if version == 4 else _nothing)
        self._host.sockets.raw.append(socket)
        return _RawPort(self._host, socket)

    def send_packet(self, packet: bytes) -> bool:
        self._require(Capability.RAW_IP, "send a whole IP packet")
        whole = IPv4Packet.decode(packet)
        return self._host.send_packet(
            replace(
                whole,
                source=self._host.address if whole.source.is_unspecified else whole.source,
                identification=whole.identification or self._host.next_identification(),
                missing=0,
            )
        )

    def watch_lateness(self, on_late: OnLate) -> Closable:
        if self._program is None:
            return _Closing(lambda: None)
        heartbeat: Heartbeat = self._program.context.run(Heartbeat, on_late, self.now)
        return heartbeat

    def capture(self, peer: Address, on_packet: OnPacket) -> Closable:
        self._require(Capability.CAPTURE, "see the packets on the wire")
        taps = self._host.sockets.taps
        tap = Tap(peer, self._late(on_packet))
        taps.append(tap)
        return _Closing(lambda: taps.remove(tap))

    def _late(self, callback: Callable[[Told], None]) -> Callable[[Told], None]:
        """The callback, called when the program runs."""
        program = self._program
        return callback if program is None else lambda told: program.call(lambda: callback(told))

    def _reading(self, on_datagram: OnDatagram) -> OnDatagram:
        """The same of a socket: its datagrams are as late as they are read, and what its buffer does not hold is lost."""
        program = self._program
        if program is None:
            return on_datagram
        now, waiting, overflowed = self._host.events.now, 0, False

        def read(datagram: Datagram) -> None:
            nonlocal waiting
            waiting -= 1
            on_datagram(replace(datagram, at=now(), overflowed=overflowed))

        def arrive(datagram: Datagram) -> None:
            nonlocal waiting, overflowed
            if waiting < BUFFERED:
                waiting += 1
                program.call(lambda: read(datagram))
            else:
                overflowed = True

        return arrive

    async def own_firewall(self, kept: Sequence[Kept], peer: Address) -> Mends:
        return mends(firewall_of(self._host.filters), kept)

    async def holders(self, ports: Sequence[LocalPort]) -> Mapping[LocalPort, str]:
        return {port: self._host.programs[port] for port in ports if port in self._host.programs}

    def _check_port(self, port: int, address: Address | None, *, taken: bool) -> None:
        if address is not None and not address.is_unspecified and address != self._host.address:
            raise PortUnavailable(port, in_use=False)
        if 0 < port < _FIRST_FREE_PORT and Capability.LOW_PORTS not in self._capabilities:
            raise PortUnavailable(port, in_use=False)
        if taken:
            raise PortUnavailable(port, in_use=True)

    def _require(self, capability: Capability, what: str) -> None:
        if capability not in self._capabilities:
            _refuse(capability, what)


def _refuse(capability: Capability, what: str) -> NoReturn:
    raise CannotRun(f"cannot {what}: this end of the simulated network lacks {capability}", status=ExitStatus.MISSING)


def _nothing(datagram: Datagram) -> None:
    """A raw IPv6 socket never gets anything here."""


STACK: Final[type[NetworkStack]] = SimulatedStack
"""For the type checker: it is a whole `NetworkStack`."""
