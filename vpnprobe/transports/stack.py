"""What a probe or an agent sees of a network: one host's sockets, raw IP, captures and clock.

Two implementations: `vpnprobe.transports.system.SystemStack` on the operating system, `vpnprobe.transports.simulated.SimulatedStack` in
virtual time. All of it runs on the asyncio event loop that is current; callbacks are called on it. Standard library alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Protocol

from vpnprobe.firewall.mending import Kept, Mends

Address = IPv4Address | IPv6Address


class Endpoint(NamedTuple):
    address: Address
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


class LocalPort(NamedTuple):
    """A port of this host, over TCP or UDP."""

    port: int
    tcp: bool


class Capability(StrEnum):
    RAW_IP = "raw-ip"
    """May open raw IP sockets (GRE, ESP, ICMP) and set IP headers: CAP_NET_RAW."""
    CAPTURE = "capture"
    """May see the packets on the wire: CAP_NET_RAW on Linux."""
    LOW_PORTS = "low-ports"
    """May listen below port 1024: CAP_NET_BIND_SERVICE."""


class ConnectFailure(StrEnum):
    REFUSED = "refused"
    """RST in answer to our SYN."""
    UNREACHABLE = "unreachable"
    """ICMP unreachable or prohibited in answer to our SYN."""
    TIMED_OUT = "timed-out"
    """Silence until the deadline."""
    RESET = "reset"
    """RST after the connection was up."""


class ConnectError(OSError):
    """A TCP connection could not be had. A fact about the network: probes record it."""

    def __init__(self, failure: ConnectFailure, remote: Endpoint) -> None:
        super().__init__(f"{remote}: {failure}")
        self.failure = failure
        self.remote = remote


class PortUnavailable(OSError):
    """A local port cannot be had: `in_use` by another program, or else not permitted."""

    def __init__(self, port: int, *, in_use: bool) -> None:
        super().__init__(f"port {port} is in use" if in_use else f"port {port} may not be opened")
        self.port = port
        self.in_use = in_use


@dataclass(frozen=True, slots=True)
class Datagram:
    """What arrived: a UDP payload, or the payload of an IP packet (raw)."""

    data: bytes
    source: Endpoint
    """The port is 0 for raw IP."""
    at: float
    """`NetworkStack.now()` at arrival, seconds."""
    ttl: int | None = None
    overflowed: bool = False
    """The kernel has dropped others before it, which the socket's buffer did not hold."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A whole IP packet as seen on the wire by a capture."""

    data: bytes
    """From the first byte of the IP header."""
    at: float
    """Unix time, seconds."""
    outgoing: bool
    cut: int = 0
    """Bytes at its end that are left out of `data`."""


class UdpPort(Protocol):
    """A UDP socket. Datagrams go to the callback it was opened with."""

    @property
    def local(self) -> Endpoint: ...
    def send(self, data: bytes, to: Endpoint, *, ttl: int | None = None) -> bool:
        """Whether the kernel took it; what it refuses has not left (no route, a full queue, too large, this host's own firewall).

        Never raises for what the network or the kernel does with it, nor for an earlier packet's ICMP error.
        """
        ...

    def close(self) -> None: ...


class TcpStream(Protocol):
    """A connected TCP stream."""

    @property
    def local(self) -> Endpoint: ...
    @property
    def remote(self) -> Endpoint: ...
    async def send(self, data: bytes) -> None:
        """Hands the bytes over; raises ConnectError where the connection is gone."""
        ...

    async def receive(self, limit: int = 65536) -> bytes:
        """The next chunk; empty at the end of the stream. Raises ConnectError(RESET)."""
        ...

    def segments(self) -> tuple[int, int] | None:
        """Segments sent and, of those, sent again (TCP_INFO): what the path lost; None: not known."""
        ...

    async def close(self) -> None: ...
    def abort(self) -> None:
        """Closes at once (RST)."""
        ...


class Closable(Protocol):
    def close(self) -> None: ...


class RawPort(Protocol):
    """A raw socket of one IP protocol: keeps the kernel from refusing it, gets every packet of it."""

    def send(self, payload: bytes, to: Address, *, ttl: int | None = None) -> bool:
        """Whether the kernel took it, as `UdpPort.send` says."""
        ...

    def close(self) -> None: ...


OnDatagram = Callable[[Datagram], None]
OnConnection = Callable[[TcpStream], None]
OnPacket = Callable[[Packet], None]
OnLate = Callable[[float, float], None]


class NetworkStack(Protocol):
    """One host's access to a network."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...
    def now(self) -> float:
        """Seconds on a clock that only goes forward."""
        ...

    def unix_time(self) -> float:
        """Seconds since 1970, for captures and documents."""
        ...

    def entropy(self, count: int) -> bytes:
        """`count` random bytes (seeded in the simulated network)."""
        ...

    def source_address(self, remote: Address) -> Address:
        """The local address that packets to `remote` leave with."""
        ...

    async def udp(
        self,
        on_datagram: OnDatagram,
        *,
        port: int = 0,
        address: Address | None = None,
        on_refused: Callable[[Endpoint], None] | None = None,
    ) -> UdpPort:
        """Opens a UDP socket; `on_refused(remote)` is called where the kernel reports an ICMP port-unreachable for what was sent there.

        `address`: the local address (None: any). Raises PortUnavailable.
        """
        ...

    async def connect(self, remote: Endpoint, *, deadline_s: float, on_bound: Callable[[Endpoint], None] | None = None) -> TcpStream:
        """Connects; `on_bound(local)` is told the local endpoint before the first SYN leaves. Raises ConnectError."""
        ...

    async def listen(self, on_connection: OnConnection, *, port: int, address: Address | None = None) -> Closable:
        """Listens on `address` (None: all); raises PortUnavailable."""
        ...

    def raw(self, protocol: int, on_datagram: OnDatagram, *, version: int = 4) -> RawPort:
        """Opens a raw socket of an IP protocol (47 GRE, 50 ESP, 1 ICMP). The payload is what follows the IP header.

        Raises CannotRun (status MISSING) without Capability.RAW_IP.
        """
        ...

    def send_packet(self, packet: bytes) -> bool:
        """Sends a whole IPv4 packet with the header as given (checksums of the IP header are filled in): for TTL-limited copies.

        Returns whether the kernel took it.

        Raises CannotRun (status MISSING) without Capability.RAW_IP.
        """
        ...

    def watch_lateness(self, on_late: OnLate) -> Closable:
        """Calls `on_late(from_s, to_s)`, seconds by `now`, whenever this end's program did not run though it was to, until closed."""
        ...

    async def own_firewall(self, kept: Sequence[Kept], peer: Address) -> Mends:
        """What lets through what this host's own firewall keeps of the packets to and from `peer`, by reading its rules.

        Without commands where they may not be read, or where nothing of what was read keeps it.
        """
        ...

    async def holders(self, ports: Sequence[LocalPort]) -> Mapping[LocalPort, str]:
        """The names of the programs of this host that have ports; a port that nobody is seen to have is not there."""
        ...

    def capture(self, peer: Address, on_packet: OnPacket) -> Closable:
        """Every IP packet to or from `peer` and every ICMP packet, both directions, until closed.

        Raises CannotRun (status MISSING) without Capability.CAPTURE.
        """
        ...
