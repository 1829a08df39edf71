"""What the tests of the simulated network share: two network stacks, collecting callbacks, and packets by hand."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, TypeVar

from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Datagram, Endpoint, NetworkStack, Packet
from vpnprobe.transports.topology import CLIENT, SERVER, Topology
from vpnprobe.wire.icmp import Icmp, TimeExceeded, decode_icmp
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, UdpDatagram

T = TypeVar("T")


@dataclass
class Ends:
    """Both network stacks of a network, with what arrived as ICMP at each."""

    topology: Topology
    client: NetworkStack
    server: NetworkStack
    client_icmp: list[tuple[IPv4Address, Icmp]] = field(default_factory=list)
    server_icmp: list[tuple[IPv4Address, Icmp]] = field(default_factory=list)

    @property
    def client_address(self) -> IPv4Address:
        return self.topology.client_address

    @property
    def server_address(self) -> IPv4Address:
        return self.topology.server_address

    def at_server(self, port: int) -> Endpoint:
        return Endpoint(self.server_address, port)


def icmp_into(kept: list[tuple[IPv4Address, Icmp]]) -> Callable[[Datagram], None]:
    def keep(datagram: Datagram) -> None:
        assert isinstance(datagram.source.address, IPv4Address)
        kept.append((datagram.source.address, decode_icmp(datagram.data)))

    return keep


def simulate(topology: Topology, story: Callable[[Ends], Coroutine[Any, Any, T]], *, seed: int = 1) -> T:
    """Runs the story in virtual time; ICMP is listened for at both ends."""

    async def main() -> T:
        network = SimulatedNetwork(topology, seed=seed)
        ends = Ends(topology, network.stack(CLIENT), network.stack(SERVER))
        ends.client.raw(IpProtocol.ICMP, icmp_into(ends.client_icmp))
        ends.server.raw(IpProtocol.ICMP, icmp_into(ends.server_icmp))
        return await story(ends)

    return run_virtual(main())


def ignore(_: object) -> None:
    """A callback that does nothing."""


def udp_packet(ends: Ends, *, ttl: int = 64, port: int = 500, size: int = 10, dont_fragment: bool = True, identification: int = 1) -> bytes:
    """From the client to the server."""
    payload = UdpDatagram(40000, port, b"x" * size).encode(ends.client_address, ends.server_address)
    packet = IPv4Packet(ends.client_address, ends.server_address, IpProtocol.UDP, ttl, identification, payload, dont_fragment=dont_fragment)
    return packet.encode()


def expired_at(kept: list[tuple[IPv4Address, Icmp]]) -> list[str]:
    """Who sent time-exceeded, in order."""
    return [str(source) for source, message in kept if isinstance(message, TimeExceeded)]


def trace_of(packets: list[Packet]) -> list[tuple[float, bool, bytes]]:
    return [(packet.at, packet.outgoing, packet.data) for packet in packets]


def plain_gre(payload: bytes = b"payload!") -> bytes:
    return b"\x00\x00\x08\x00" + payload


def enhanced_gre(call_id: int, payload: bytes = b"lcp") -> bytes:
    return b"\x30\x01\x88\x0b" + len(payload).to_bytes(2, "big") + call_id.to_bytes(2, "big") + b"\0\0\0\1" + payload
