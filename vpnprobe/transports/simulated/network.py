"""The chain client - r1 - ... - rN - server of a topology, as real IPv4 packets in virtual time.

Everything random comes from generators seeded by `seed` and a purpose, so a run can be repeated packet by packet. The network lives on
the event loop that is running when its first packet moves.
"""

import random
from collections.abc import Mapping
from functools import partial
from ipaddress import IPv4Address

from vpnprobe.errors import UsageError
from vpnprobe.transports.simulated.clock import EventQueue
from vpnprobe.transports.simulated.filters import FilterChain
from vpnprobe.transports.simulated.firewall import Firewall
from vpnprobe.transports.simulated.host import Host
from vpnprobe.transports.simulated.links import LinkQueue, Shortcut
from vpnprobe.transports.simulated.nat import Masquerade
from vpnprobe.transports.simulated.replies import ErrorLimit
from vpnprobe.transports.simulated.router import C2S, S2C, Router, Sides
from vpnprobe.transports.simulated.stack import SimulatedStack
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.topology import CLIENT, SERVER, Topology
from vpnprobe.wire.ip import IPv4Packet

ALL_CAPABILITIES = frozenset(Capability)


class SimulatedNetwork:
    """Both ends of a topology and what lies between."""

    def __init__(self, topology: Topology, *, seed: int, capabilities: Mapping[str, frozenset[Capability]] | None = None) -> None:
        """`capabilities`: by the name of the end; an end that is not named has them all."""
        self.topology = topology
        self.events = EventQueue()
        self._seed = seed
        self._places = {address: index + side for index, pair in enumerate(topology.addresses()) for side, address in enumerate(pair)}
        """Every address, by the position of its host in the chain."""
        self._links = [{direction: self._link(index, direction) for direction in (C2S, S2C)} for index in range(topology.routers + 1)]
        self._routers = [self._router(position) for position in range(1, topology.routers + 1)]
        self._hosts = {CLIENT: self._host(CLIENT, C2S), SERVER: self._host(SERVER, S2C)}
        for index, link in enumerate(self._links):
            for direction, queue in link.items():
                queue.shortcut = self._shortcut(index, direction)
        granted = capabilities or {}
        self._doors = {
            name: SimulatedStack(host, granted.get(name, ALL_CAPABILITIES), random.Random(f"{seed}/entropy/{name}"))
            for name, host in self._hosts.items()
        }

    def stack(self, name: str) -> SimulatedStack:
        """The network stack of `CLIENT` or `SERVER`."""
        if name not in self._doors:
            raise UsageError(f"no end of the network is called {name}: there are {CLIENT} and {SERVER}")
        return self._doors[name]

    def _link(self, index: int, direction: str) -> LinkQueue:
        receiver = index + 1 if direction == C2S else index
        chance = random.Random(f"{self._seed}/loss/{index}/{direction}")
        return LinkQueue(self.topology.link(index), self.events, chance, partial(self._arrive, receiver, direction))

    def _shortcut(self, index: int, direction: str) -> Shortcut | None:
        """Past the routers behind a link that do nothing but forward; None: there is none."""
        step = 1 if direction == C2S else -1
        passed: list[LinkQueue] = []
        position = index + (direction == C2S)
        while self._only_forwards(position) and (following := self._links[position - (direction == S2C)][direction]).plain:
            passed.append(following)
            position += step
        if not passed:
            return None
        beyond = frozenset(address for address, place in self._places.items() if (place - position) * step >= 0)
        delay_s, mtu = sum(link.delay_s for link in passed), min(link.mtu for link in passed)
        return Shortcut(len(passed), delay_s, mtu, beyond, partial(self._arrive, position, direction))

    def _only_forwards(self, position: int) -> bool:
        """Whether the host there is a router with nothing of its own: no filter, no NAT, no firewall."""
        if not 0 < position <= self.topology.routers:
            return False
        topology, name = self.topology, self.topology.names()[position]
        busy = {one.at for one in topology.filters} | {one.at for one in topology.nats} | {one.at for one in topology.firewalls}
        return name not in busy

    def _arrive(self, position: int, direction: str, packet: IPv4Packet) -> None:
        if position == 0:
            self._hosts[CLIENT].receive(packet)
        elif position == self.topology.routers + 1:
            self._hosts[SERVER].receive(packet)
        else:
            self._routers[position - 1].receive(packet, direction)

    def _limit(self) -> ErrorLimit:
        return ErrorLimit(self.events.now, errors_per_s=self.topology.icmp_errors_per_s)

    def _filters(self, name: str) -> FilterChain:
        return FilterChain(name, self.topology.filters, seed=self._seed, now=self.events.elapsed)

    def _host(self, name: str, outgoing: str) -> Host:
        address = self.topology.client_address if name == CLIENT else self.topology.server_address
        link = self._links[0 if name == CLIENT else -1][outgoing]
        chance = random.Random(f"{self._seed}/host/{name}")
        return Host(address, link, self.events, self._filters(name), self._limit(), chance, outgoing=outgoing)

    def _router(self, position: int) -> Router:
        name = self.topology.names()[position]
        addresses = self.topology.addresses()
        sides = Sides(
            client=self._links[position - 1][S2C],
            server=self._links[position][C2S],
            client_address=addresses[position - 1][1],
            server_address=addresses[position][0],
        )
        nat = next((nat for nat in self.topology.nats if nat.at == name), None)
        return Router(
            sides,
            partial(self._way, position),
            self._filters(name),
            self._limit(),
            silent=name in self.topology.silent_routers,
            nat=Masquerade(sides.server_address, self.events.now, pptp_helper=nat.pptp_helper, new_ports=nat.new_ports) if nat else None,
            firewall=Firewall(self.events.now) if any(firewall.at == name for firewall in self.topology.firewalls) else None,
        )

    def _way(self, position: int, address: IPv4Address) -> str | None:
        place = self._places.get(address)
        if place is None:
            return None
        return C2S if place > position else S2C
