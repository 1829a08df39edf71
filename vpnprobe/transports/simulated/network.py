"""The chain client - r1 - ... - rN - server of a topology, as real IPv4 packets in virtual time.

Everything random comes from generators seeded by `seed` and a purpose, so a run can be repeated packet by packet. The network lives on
the event loop that is running when its first packet moves; where programs are starved, that must be one of `loop_factory`.
"""

import contextvars
import random
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from itertools import pairwise

from vpnprobe.errors import UsageError
from vpnprobe.transports.simulated.clock import EventQueue, VirtualEventLoop
from vpnprobe.transports.simulated.filters import FilterChain
from vpnprobe.transports.simulated.firewall import Firewall
from vpnprobe.transports.simulated.host import Host
from vpnprobe.transports.simulated.links import LinkQueue
from vpnprobe.transports.simulated.nat import Masquerade
from vpnprobe.transports.simulated.other_programs import take_port
from vpnprobe.transports.simulated.recutting import Recutter
from vpnprobe.transports.simulated.replies import ErrorLimit
from vpnprobe.transports.simulated.router import C2S, S2C, Boxes, Hop, Router
from vpnprobe.transports.simulated.stack import SimulatedStack
from vpnprobe.transports.simulated.stalls import Program, StallingEventLoop
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.topology import CLIENT, SERVER, Link, Nat, Topology
from vpnprobe.wire.ip import IPv4Packet

ALL_CAPABILITIES = frozenset(Capability)


class SimulatedNetwork:
    """Both ends of a topology and what lies between."""

    def __init__(self, topology: Topology, *, seed: int, capabilities: Mapping[str, frozenset[Capability]] | None = None) -> None:
        """`capabilities`: by the name of the end; an end that is not named has them all."""
        self.topology = topology
        self.events = EventQueue()
        self._seed = seed
        self._receivers: dict[str, Callable[[IPv4Packet, str], None]] = {}
        """By host: what takes a packet that moves in a direction."""
        self._wires = _wires(topology)
        self._links = {
            (nearer, farther): {C2S: self._link(nearer, farther, C2S, number), S2C: self._link(farther, nearer, S2C, number)}
            for number, (nearer, farther) in enumerate(self._wires)
        }
        for name in (*topology.names()[1:-1], *topology.back_names()):
            self._receivers[name] = self._router(name).receive
        self._programs = {end: self._program(end) for end in (CLIENT, SERVER)}
        granted = capabilities or {}
        self._doors: dict[str, SimulatedStack] = {}
        for name, outgoing in ((CLIENT, C2S), (SERVER, S2C)):
            host = self._host(name, outgoing)
            self._receivers[name] = host.receive
            entropy = random.Random(f"{seed}/entropy/{name}")
            self._doors[name] = SimulatedStack(host, granted.get(name, ALL_CAPABILITIES), entropy, self._programs[name])

    @property
    def loop_factory(self) -> type[VirtualEventLoop]:
        """The loop that it needs."""
        return StallingEventLoop if self.topology.stalls else VirtualEventLoop

    def stack(self, name: str) -> SimulatedStack:
        """The network stack of `CLIENT` or `SERVER`."""
        if name not in self._doors:
            raise UsageError(f"no end of the network is called {name}: there are {CLIENT} and {SERVER}")
        return self._doors[name]

    def context(self, name: str) -> contextvars.Context:
        """What the program of an end runs in, so that it stands still where it is starved."""
        program = self._programs[name]
        return contextvars.copy_context() if program is None else program.context.copy()

    def _program(self, name: str) -> Program | None:
        stalls = tuple(stall for stall in self.topology.stalls if stall.at == name)
        return Program(stalls, lambda: self.events.now() - self.events.elapsed()) if stalls else None

    def _link(self, sender: str, receiver: str, direction: str, number: int) -> LinkQueue:
        """`number`: as `Topology.links` counts; those of the way back come behind them and are plain."""
        topology = self.topology
        link = topology.link(number) if number <= topology.routers else Link()
        chance = random.Random(f"{self._seed}/loss/{number}/{direction}")

        def arrive(packet: IPv4Packet) -> None:
            self._receivers[receiver](packet, direction)

        return LinkQueue(link.towards(direction), self.events, chance, arrive)

    def _limit(self) -> ErrorLimit:
        return ErrorLimit(self.events.now, errors_per_s=self.topology.icmp_errors_per_s)

    def _filters(self, name: str) -> FilterChain:
        return FilterChain(name, self.topology.filters, seed=self._seed, now=self.events.elapsed)

    def _firewall(self, name: str) -> tuple[Firewall | None, str]:
        """The stateful one of a host, and the end that it protects."""
        planted = next((firewall for firewall in self.topology.firewalls if firewall.at == name), None)
        return (Firewall(planted, self.events.now), planted.protects) if planted else (None, CLIENT)

    def _host(self, name: str, outgoing: str) -> Host:
        topology = self.topology
        address = topology.client_address if name == CLIENT else topology.server_address
        wire = list(self._wires)[0 if name == CLIENT else topology.routers]
        clock = next((clock for clock in topology.clocks if clock.at == name), None)
        host = Host(
            address,
            self._links[wire][outgoing],
            self.events,
            self._filters(name),
            self._limit(),
            random.Random(f"{self._seed}/host/{name}"),
            outgoing=outgoing,
            firewall=self._firewall(name)[0],
            clock=clock,
        )
        for taken in topology.taken_ports:
            if taken.at == name:
                take_port(host, taken)
        return host

    def _router(self, name: str) -> Router:
        topology = self.topology
        own = frozenset(addresses[name] for addresses in self._wires.values() if name in addresses)
        firewall, protects = self._firewall(name)
        nat = next((nat for nat in topology.nats if nat.at == name), None)
        recutting = next((recutting for recutting in topology.recuttings if recutting.at == name), None)
        boxes = Boxes(
            nat=self._masquerade(nat) if nat else None,
            inside=nat.inside if nat else CLIENT,
            firewall=firewall,
            protects=protects,
            recutter=Recutter(recutting, self.events) if recutting else None,
        )
        return Router(
            self._routes(name),
            own,
            self._filters(name),
            self._limit(),
            boxes,
            silent=name in topology.silent_routers,
            black_hole=name in topology.black_holes,
            now=self.events.now,
        )

    def _masquerade(self, nat: Nat) -> Masquerade:
        """Its port forwards go to the next NAT of that side, or to the end itself."""
        topology = self.topology
        place = topology.names().index(nat.at)
        nearer, farther = topology.addresses()[place - 1][1], topology.addresses()[place][0]
        outside = farther if nat.inside == CLIENT else nearer
        end = topology.client_address if nat.inside == CLIENT else topology.server_address
        nearest_first = (end, *topology.outside_addresses(nat.inside))
        return Masquerade(nat, outside, nearest_first[nearest_first.index(outside) - 1], self.events.now)

    def _routes(self, name: str) -> dict[IPv4Address, Hop]:
        """From a router to every address of another host."""
        found = {}
        for wire_addresses in self._wires.values():
            for owner, address in wire_addresses.items():
                if owner != name:
                    neighbour, direction = _next_host(self.topology, name, owner)
                    wire = (name, neighbour) if direction == C2S else (neighbour, name)
                    found[address] = Hop(direction, self._links[wire][direction], self._wires[wire][name])
        return found


def _wires(topology: Topology) -> dict[tuple[str, str], dict[str, IPv4Address]]:
    """Each link of the chain and then of the way back, by the hosts that it joins, the one nearer to the client first; their addresses."""
    pairs = list(pairwise(topology.names()))
    if topology.way_back is not None:
        along = (topology.way_back.leaves, *topology.back_names(), topology.way_back.joins)
        pairs += [(nearer, farther) for farther, nearer in pairwise(along)]
    addresses = (*topology.addresses(), *topology.back_addresses())
    return {pair: dict(zip(pair, both, strict=True)) for pair, both in zip(pairs, addresses, strict=True)}


def _next_host(topology: Topology, here: str, there: str) -> tuple[str, str]:
    """The neighbour to which a router sends what goes to another host, and the direction in which that lies."""
    names, beside, way_back = topology.names(), topology.back_names(), topology.way_back
    if way_back is None:
        return _along(names, here, there)
    joins, leaves = names.index(way_back.joins), names.index(way_back.leaves)
    # As the chain is: from the client's side to the server's.
    around = (way_back.joins, *reversed(beside), way_back.leaves)
    if here in beside:
        towards_server = there in names and names.index(there) > joins
        return _along(around, here, way_back.leaves if towards_server else way_back.joins if there in names else there)
    at = names.index(here)
    goes_round = there in beside or (at >= leaves and names.index(there) <= joins)
    if not goes_round:
        return _along(names, here, there)
    if at == leaves or (at == joins and there in beside):
        return _along(around, here, there if there in beside else way_back.joins)
    return _along(names, here, way_back.joins if at < joins else way_back.leaves)


def _along(names: tuple[str, ...], here: str, there: str) -> tuple[str, str]:
    at = names.index(here)
    return (names[at + 1], C2S) if names.index(there) > at else (names[at - 1], S2C)
