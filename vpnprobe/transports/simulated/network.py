"""The chain client - r1 - ... - rN - server of a topology, as real IPv4 packets in virtual time.

Everything random comes from generators seeded by `seed` and a purpose, so a run can be repeated packet by packet. The network lives on
the event loop that is running when its first packet moves; where programs are starved, that must be one of `loop_factory`.
"""

import contextvars
import random
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Address

from vpnprobe.errors import UsageError
from vpnprobe.transports.simulated.clock import EventQueue, VirtualEventLoop
from vpnprobe.transports.simulated.filters import FilterChain
from vpnprobe.transports.simulated.firewall import Firewall
from vpnprobe.transports.simulated.host import Host
from vpnprobe.transports.simulated.links import LinkQueue, Shortcut
from vpnprobe.transports.simulated.nat import Masquerade
from vpnprobe.transports.simulated.other_programs import take_port
from vpnprobe.transports.simulated.recutting import Recutter
from vpnprobe.transports.simulated.replies import ErrorLimit
from vpnprobe.transports.simulated.router import C2S, S2C, Boxes, Hop, Router
from vpnprobe.transports.simulated.stack import SimulatedStack
from vpnprobe.transports.simulated.stalls import Program, StallingEventLoop
from vpnprobe.transports.stack import Capability
from vpnprobe.transports.topology import CLIENT, SERVER, Link, Topology
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
        self._wires = topology.wires()
        self._links = {
            (nearer, farther): {C2S: self._link(nearer, farther, C2S, number), S2C: self._link(farther, nearer, S2C, number)}
            for number, (nearer, farther) in enumerate(self._wires)
        }
        busy = {one.at for one in topology.filters} | {one.at for one in topology.nats}
        busy |= {one.at for one in topology.firewalls} | {one.at for one in topology.recuttings}
        routers = (*topology.names()[1:-1], *topology.back_names())
        self._only_forward = frozenset(routers) - busy
        """Routers that do nothing to packets but forward them."""
        self._routes = {name: self._routes_of(name) for name in routers}
        """By router: the way to every address of another host."""
        for name in routers:
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

        return LinkQueue(link.towards(direction), self.events, chance, arrive, partial(self._shortcut, receiver))

    def _shortcut(self, receiver: str, address: IPv4Address) -> Shortcut | None:
        """To an address past the routers from `receiver` on that only forward; None: there is none."""
        passed: list[LinkQueue] = []
        while receiver in self._only_forward and (hop := self._routes[receiver].get(address)) is not None and hop.link.only_delays:
            passed.append(hop.link)
            receiver = hop.receiver
        if not passed:
            return None
        return Shortcut(len(passed), sum(link.delay_s for link in passed), min(link.mtu for link in passed), passed[-1].deliver)

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
            nat=Masquerade(nat, *topology.outside_and_inner(nat), self.events.now) if nat else None,
            inside=nat.inside if nat else CLIENT,
            firewall=firewall,
            protects=protects,
            recutter=Recutter(recutting, self.events) if recutting else None,
        )
        return Router(
            self._routes[name],
            own,
            self._filters(name),
            self._limit(),
            boxes,
            silent=name in topology.silent_routers,
            black_hole=name in topology.black_holes,
            now=self.events.now,
        )

    def _routes_of(self, name: str) -> dict[IPv4Address, Hop]:
        """From a router to every address of another host."""
        found = {}
        for wire_addresses in self._wires.values():
            for owner, address in wire_addresses.items():
                if owner != name:
                    neighbour, direction = self.topology.next_host(name, owner)
                    wire = (name, neighbour) if direction == C2S else (neighbour, name)
                    found[address] = Hop(direction, self._links[wire][direction], self._wires[wire][name], neighbour)
        return found
