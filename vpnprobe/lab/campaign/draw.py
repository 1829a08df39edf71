"""Random networks, out of features that networks have.

A draw follows from the campaign's seed and its number alone, so that it does not matter who draws it, or when. The control connection can
always come up: without it there is no run to judge. Payloads of TCP are filtered on ports that are not the control connection's.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from vpnprobe.agents.simulation import CONTROL_PORT
from vpnprobe.lab.campaign.packet_kinds import ESP, GRE
from vpnprobe.lab.topologies import ICMP, TCP, UDP
from vpnprobe.transports.topology import (
    CLIENT,
    SERVER,
    Action,
    BurstLoss,
    Clock,
    Filter,
    Hook,
    Link,
    Nat,
    Per,
    Stall,
    StatefulFirewall,
    Topology,
)

MOST_ROUTERS: Final = 8
MOST_FEATURES: Final = 3
OPENVPN_PORTS: Final = (1194, 443, 53, 80, 8443, 51194)
UDP_PORTS: Final = (*OPENVPN_PORTS, 500, 4500, 1701, 51820)
TCP_PORTS: Final = (*OPENVPN_PORTS, 1723)
DELAYS_S: Final = ((0.00002, 0.0006), (0.0002, 0.005), (0.001, 0.02), (0.003, 0.1))
"""Ranges that the delays of a draw's links are of: a building, a town, a country, the world."""
RATES_BIT_S: Final = (128_000, 4_000_000)
OPCODES: Final = ("38", "20", "48", "40", "50")
"""First bytes of OpenVPN packets, under the mask of the opcode."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One random network."""

    number: int
    seed: int
    """Of the run in it."""
    topology: Topology
    features: tuple[str, ...]
    """What was planted; empty: nothing but routers and delays."""

    @property
    def description(self) -> str:
        """One line."""
        return f"A random draw: {', '.join(self.features) or 'nothing planted'}."


@dataclass(slots=True)
class Plan:
    """A topology in the making."""

    chance: random.Random
    routers: int
    links: list[dict[str, Any]]
    filters: list[Filter] = field(default_factory=list)
    nats: list[Nat] = field(default_factory=list)
    firewalls: list[StatefulFirewall] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    clocks: list[Clock] = field(default_factory=list)
    black_holes: list[str] = field(default_factory=list)

    def router(self) -> str:
        return f"r{self.chance.randint(1, self.routers)}"

    def hook(self) -> Hook:
        """Most filters forward; some drop before the TTL is looked at."""
        return Hook.PREROUTING if self.chance.random() < 0.25 else Hook.FORWARD

    def direction(self) -> str | None:
        return self.chance.choice((None, None, "c2s", "s2c"))

    def action(self, protocol: int) -> Action:
        refusals = [Action.REJECT_ADMIN, Action.REJECT_PORT, *([Action.REJECT_RST] if protocol == TCP else [])]
        return self.chance.choice(refusals) if self.chance.random() < 0.3 else Action.DROP

    def some(self, ports: tuple[int, ...]) -> tuple[int, ...]:
        """One to all of them."""
        return tuple(sorted(self.chance.sample(ports, self.chance.randint(1, len(ports))), key=ports.index))


def draw(campaign_seed: int, number: int) -> Draw:
    """The network of that number."""
    chance = random.Random(f"{campaign_seed}/draw/{number}")
    routers = chance.randint(1, MOST_ROUTERS)
    low, high = chance.choice(DELAYS_S)
    plan = Plan(chance, routers, [{"delay_s": round(chance.uniform(low, high), 6)} for _ in range(routers + 1)])
    features = sorted(chance.sample(sorted(FEATURES), chance.choice((0, 1, 1, 2, 2, MOST_FEATURES))))
    for feature in features:
        FEATURES[feature](plan)
    speaking = chance.random() < 0.7
    silent = () if speaking else tuple(f"r{one}" for one in range(1, routers + 1) if chance.random() < 0.5)
    topology = Topology(
        routers=routers,
        links=tuple(Link(**values) for values in plan.links),
        filters=tuple(plan.filters),
        nats=tuple(plan.nats),
        firewalls=tuple(plan.firewalls),
        icmp_errors_per_s=chance.choice((0.0, 0.5, 1.0, 10.0)),
        silent_routers=silent,
        stalls=tuple(plan.stalls),
        clocks=tuple(plan.clocks),
        black_holes=tuple(plan.black_holes),
    )
    return Draw(number, chance.randrange(1, 1 << 30), topology, tuple(features))


def _loss(plan: Plan) -> None:
    """Random loss of everything, mostly both ways."""
    for direction in plan.chance.choice((("c2s", "s2c"), ("c2s", "s2c"), ("c2s",), ("s2c",))):
        share = round(plan.chance.choice((plan.chance.uniform(0.01, 0.1), plan.chance.uniform(0.1, 0.35))), 4)
        plan.filters.append(Filter(plan.router(), direction=direction, probability=share))


def _ip_protocol(plan: Plan) -> None:
    protocol = plan.chance.choice((GRE, GRE, ESP, UDP))
    at, direction, action = plan.router(), plan.direction(), plan.action(protocol)
    plan.filters.append(Filter(at, action, plan.hook(), protocol=protocol, direction=direction))


def _ports(plan: Plan) -> None:
    protocol = plan.chance.choice((TCP, UDP))
    ports = plan.some(TCP_PORTS if protocol == TCP else UDP_PORTS)
    plan.filters.append(
        Filter(plan.router(), plan.action(protocol), plan.hook(), protocol=protocol, direction=plan.direction(), ports=ports)
    )


def _tcp_reset(plan: Plan) -> None:
    plan.filters.append(Filter(plan.router(), Action.REJECT_RST, protocol=TCP, ports=plan.some(TCP_PORTS)))


def _only_one_port(plan: Plan) -> None:
    """Nothing passes but the control port and one more."""
    port = plan.chance.choice(OPENVPN_PORTS)
    plan.filters.append(Filter(plan.router(), except_ports=(CONTROL_PORT, port), except_protocols=(ICMP,)))


def _payload(plan: Plan) -> None:
    """A filter that knows a protocol by its bytes."""
    kinds: tuple[Callable[[], Filter], ...] = (
        lambda: _bytes(plan, UDP, 0, plan.chance.choice(OPCODES), "f8"),
        lambda: _bytes(plan, UDP, 0, plan.chance.choice(OPCODES), "f8"),
        lambda: _bytes(plan, TCP, 2, plan.chance.choice(OPCODES), "f8", OPENVPN_PORTS),
        lambda: _bytes(plan, TCP, 4, "1a2b3c4d"),
        lambda: _bytes(plan, UDP, 0, "c802"),
        lambda: _bytes(plan, UDP, 17, plan.chance.choice(("10", "20")), "", (500,)),
        lambda: _bytes(plan, UDP, 0, plan.chance.choice(("01000000", "04000000"))),
    )
    plan.filters.append(plan.chance.choice(kinds)())


def _bytes(plan: Plan, protocol: int, offset: int, payload: str, mask: str = "", ports: tuple[int, ...] = ()) -> Filter:
    action = plan.action(protocol)
    return Filter(
        plan.router(),
        action,
        plan.hook(),
        protocol=protocol,
        direction=plan.direction(),
        ports=ports,
        payload_offset=offset,
        payload=bytes.fromhex(payload),
        payload_mask=bytes.fromhex(mask),
    )


def _cut(plan: Plan) -> None:
    """Flows on the ports of one protocol end after some packets."""
    protocol = plan.chance.choice((UDP, UDP, TCP))
    after = plan.chance.randint(40, 150)
    direction = plan.direction()
    by_bytes = protocol == UDP and plan.chance.random() < 0.4
    told = {"payload_offset": 0, "payload": b"\x48", "payload_mask": b"\xf8"} if by_bytes else {}
    plan.filters.append(Filter(plan.router(), protocol=protocol, direction=direction, ports=OPENVPN_PORTS, after_packets=after, **told))  # type: ignore[arg-type]


def _size(plan: Plan) -> None:
    plan.filters.append(Filter(plan.router(), direction=plan.direction(), longer_than=plan.chance.randint(1220, 1480)))


def _mtu(plan: Plan) -> None:
    plan.chance.choice(plan.links)["mtu"] = plan.chance.randint(1280, 1492)


def _rate(plan: Plan) -> None:
    low, high = RATES_BIT_S
    plan.chance.choice(plan.links)["rate_bit_s"] = round(low * (high / low) ** plan.chance.random())


def _nat(plan: Plan) -> None:
    """One, or two as where a carrier has another."""
    count = min(plan.routers, plan.chance.choice((1, 1, 1, 2)))
    helper, new_ports = plan.chance.random() < 0.4, plan.chance.random() < 0.4
    for position in sorted(plan.chance.sample(range(1, plan.routers + 1), count)):
        plan.nats.append(Nat(f"r{position}", pptp_helper=helper, new_ports=new_ports))


def _stateful_firewall(plan: Plan) -> None:
    plan.firewalls.append(StatefulFirewall(plan.router()))


def _host_firewall(plan: Plan) -> None:
    host = plan.chance.choice((CLIENT, SERVER))
    protocol = plan.chance.choice((UDP, UDP, TCP, GRE, ESP))
    ports = plan.some(TCP_PORTS if protocol == TCP else UDP_PORTS) if protocol in (TCP, UDP) else ()
    plan.filters.append(Filter(host, plan.action(protocol), plan.chance.choice((Hook.INPUT, Hook.OUTPUT)), protocol=protocol, ports=ports))


def _outage(plan: Plan) -> None:
    """The whole path is silent for a moment of the run."""
    begins = round(plan.chance.uniform(0.5, 5.0), 3)
    lasts = round(plan.chance.uniform(0.05, 3.0), 3)
    plan.filters.append(Filter(plan.router(), from_s=begins, to_s=round(begins + lasts, 3)))


def _policer(plan: Plan) -> None:
    protocol = plan.chance.choice((UDP, UDP, GRE))
    per_s = round(plan.chance.uniform(20, 400), 1)
    burst = plan.chance.randint(5, 60)
    plan.filters.append(Filter(plan.router(), protocol=protocol, direction=plan.direction(), packets_per_s=per_s, burst_packets=burst))


def _burst_loss(plan: Plan) -> None:
    """Bad moments of some tens of milliseconds to a second, on one link."""
    bad_s = plan.chance.uniform(0.02, 1.0)
    share = plan.chance.uniform(0.01, 0.15)
    changes = {"to_bad": round(share / (1 - share) / bad_s, 4), "to_good": round(1 / bad_s, 4)}
    plan.chance.choice(plan.links)["burst_loss"] = BurstLoss(**changes, loss_bad=plan.chance.choice((0.7, 1.0)), per=Per.SECOND)


def _disorder(plan: Plan) -> None:
    """Jitter, packets that are overtaken and packets that come twice."""
    link = plan.chance.choice(plan.links)
    link["jitter_s"] = round(link["delay_s"] * plan.chance.uniform(0, 0.5), 6)
    link["reorder"] = round(plan.chance.uniform(0, 0.1), 3)
    link["duplicate"] = round(plan.chance.uniform(0, 0.05), 3)


def _balanced(plan: Plan) -> None:
    """One of two paths that UDP is balanced over is dead."""
    share = plan.chance.choice((0.25, 0.5))
    plan.filters.append(Filter(plan.router(), protocol=UDP, direction=plan.direction(), flow_share=share))


def _stall(plan: Plan) -> None:
    """An end's program does not run for a moment."""
    begins = round(plan.chance.uniform(0.5, 4.0), 3)
    ends = round(begins + plan.chance.uniform(0.05, 1.5), 3)
    plan.stalls.append(Stall(plan.chance.choice((CLIENT, SERVER)), begins, ends))


def _clock(plan: Plan) -> None:
    """An end's clock of the date is wrong."""
    plan.clocks.append(Clock(plan.chance.choice((CLIENT, SERVER)), offset_s=round(plan.chance.uniform(-5000, 5000), 1)))


def _black_hole(plan: Plan) -> None:
    """A small MTU that nobody tells of."""
    _mtu(plan)
    plan.black_holes += [f"r{position}" for position in range(1, plan.routers + 1)]


FEATURES: Final[Mapping[str, Callable[[Plan], None]]] = MappingProxyType(
    {
        "balanced": _balanced,
        "black_hole": _black_hole,
        "burst_loss": _burst_loss,
        "clock": _clock,
        "cut": _cut,
        "disorder": _disorder,
        "host_firewall": _host_firewall,
        "ip_protocol": _ip_protocol,
        "loss": _loss,
        "mtu": _mtu,
        "nat": _nat,
        "only_one_port": _only_one_port,
        "outage": _outage,
        "payload": _payload,
        "policer": _policer,
        "ports": _ports,
        "rate": _rate,
        "size": _size,
        "stall": _stall,
        "stateful_firewall": _stateful_firewall,
        "tcp_reset": _tcp_reset,
    }
)
"""By name: what plants it."""
