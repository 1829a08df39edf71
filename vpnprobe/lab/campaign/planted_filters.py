"""Features of random networks that are filters."""

from collections.abc import Callable
from typing import Final

from vpnprobe.agents.simulation import CONTROL_PORT
from vpnprobe.lab.campaign.packet_kinds import ESP, GRE
from vpnprobe.lab.campaign.plan import OPENVPN_PORTS, TCP_PORTS, UDP_PORTS, Plan
from vpnprobe.lab.topologies import ICMP, TCP, UDP
from vpnprobe.transports.topology import CLIENT, SERVER, Action, Filter, Hook

OPCODES: Final = ("38", "20", "48", "40", "50")
"""First bytes of OpenVPN packets, under the mask of the opcode."""


def loss(plan: Plan) -> None:
    """Random loss of everything, mostly both ways."""
    for direction in plan.chance.choice((("c2s", "s2c"), ("c2s", "s2c"), ("c2s",), ("s2c",))):
        share = round(plan.chance.choice((plan.chance.uniform(0.01, 0.1), plan.chance.uniform(0.1, 0.35))), 4)
        plan.filters.append(Filter(plan.router(), direction=direction, probability=share))


def ip_protocol(plan: Plan) -> None:
    protocol = plan.chance.choice((GRE, GRE, ESP, UDP))
    at, direction, action = plan.router(), plan.direction(), plan.action(protocol)
    plan.filters.append(Filter(at, action, plan.hook(), protocol=protocol, direction=direction))


def ports(plan: Plan) -> None:
    protocol = plan.chance.choice((TCP, UDP))
    ports = plan.some(TCP_PORTS if protocol == TCP else UDP_PORTS)
    plan.filters.append(
        Filter(plan.router(), plan.action(protocol), plan.hook(), protocol=protocol, direction=plan.direction(), ports=ports)
    )


def tcp_reset(plan: Plan) -> None:
    plan.filters.append(Filter(plan.router(), Action.REJECT_RST, protocol=TCP, ports=plan.some(TCP_PORTS)))


def only_one_port(plan: Plan) -> None:
    """Nothing passes but the control port and one more."""
    port = plan.chance.choice(OPENVPN_PORTS)
    plan.filters.append(Filter(plan.router(), except_ports=(CONTROL_PORT, port), except_protocols=(ICMP,)))


def payload(plan: Plan) -> None:
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


def cut(plan: Plan) -> None:
    """Flows on the ports of one protocol end after some packets."""
    protocol = plan.chance.choice((UDP, UDP, TCP))
    after = plan.chance.choice((plan.chance.randint(4, 40), plan.chance.randint(40, 150)))
    direction = plan.direction()
    by_bytes = protocol == UDP and plan.chance.random() < 0.4
    told = {"payload_offset": 0, "payload": b"\x48", "payload_mask": b"\xf8"} if by_bytes else {}
    plan.filters.append(Filter(plan.router(), protocol=protocol, direction=direction, ports=OPENVPN_PORTS, after_packets=after, **told))  # type: ignore[arg-type]


def size(plan: Plan) -> None:
    plan.filters.append(Filter(plan.router(), direction=plan.direction(), longer_than=plan.chance.randint(1220, 1480)))


def host_firewall(plan: Plan) -> None:
    host = plan.chance.choice((CLIENT, SERVER))
    protocol = plan.chance.choice((UDP, UDP, TCP, GRE, ESP))
    ports = plan.some(TCP_PORTS if protocol == TCP else UDP_PORTS) if protocol in (TCP, UDP) else ()
    plan.filters.append(Filter(host, plan.action(protocol), plan.chance.choice((Hook.INPUT, Hook.OUTPUT)), protocol=protocol, ports=ports))


def outage(plan: Plan) -> None:
    """The whole path is silent for a moment of the run."""
    begins = round(plan.chance.uniform(0.5, 5.0), 3)
    lasts = round(plan.chance.uniform(0.05, 3.0), 3)
    plan.filters.append(Filter(plan.router(), from_s=begins, to_s=round(begins + lasts, 3)))


def policer(plan: Plan) -> None:
    """Few or many packets a second. A whole protocol is policed, or some ports; the control connection never hard."""
    protocol = plan.chance.choice((UDP, UDP, TCP, TCP, GRE))
    ports = _some_ports(plan, protocol) if protocol == TCP or plan.chance.random() < 0.5 else ()
    per_s = round(plan.chance.choice((plan.chance.uniform(5, 20), plan.chance.uniform(20, 400))), 1)
    if protocol == TCP and plan.chance.random() < 0.3:
        ports, per_s = (), per_s + 100
    limits = {"packets_per_s": per_s, "burst_packets": plan.chance.randint(5, 60)}
    plan.filters.append(Filter(plan.router(), protocol=protocol, direction=plan.direction(), ports=ports, **limits))  # type: ignore[arg-type]


def _some_ports(plan: Plan, protocol: int) -> tuple[int, ...]:
    """Of a protocol that has ports, mostly few."""
    if protocol not in (TCP, UDP):
        return ()
    ports = TCP_PORTS if protocol == TCP else UDP_PORTS
    return (plan.chance.choice(ports),) if plan.chance.random() < 0.4 else plan.some(ports)


def balanced(plan: Plan) -> None:
    """One of two paths that UDP is balanced over is dead."""
    share = plan.chance.choice((0.25, 0.5))
    plan.filters.append(Filter(plan.router(), protocol=UDP, direction=plan.direction(), flow_share=share))


def outages(plan: Plan) -> None:
    """Several, at one place."""
    at, begins = plan.router(), plan.chance.uniform(0.1, 2.0)
    for _ in range(plan.chance.randint(2, 5)):
        lasts = plan.chance.uniform(0.05, 0.5)
        plan.filters.append(Filter(at, from_s=round(begins, 3), to_s=round(begins + lasts, 3)))
        begins += lasts + plan.chance.uniform(0.1, 1.5)


def end_outage(plan: Plan) -> None:
    """An end's own link is down for a moment of the run."""
    host = plan.chance.choice((CLIENT, SERVER))
    begins = plan.chance.uniform(0.2, 5.0)
    times = {"from_s": round(begins, 3), "to_s": round(begins + plan.chance.uniform(0.05, 3.0), 3)}
    plan.filters += [Filter(host, hook=hook, **times) for hook in (Hook.INPUT, Hook.OUTPUT)]  # type: ignore[arg-type]


def host_firewall_in_part(plan: Plan) -> None:
    """An end's own firewall takes some of what comes in."""
    protocol = plan.chance.choice((UDP, UDP, TCP))
    parts = ({"probability": round(plan.chance.uniform(0.2, 0.8), 3)}, {"longer_than": plan.chance.randint(620, 1300)})
    host, ports = plan.chance.choice((CLIENT, SERVER)), _some_ports(plan, protocol)
    plan.filters.append(Filter(host, hook=Hook.INPUT, protocol=protocol, ports=ports, **plan.chance.choice(parts)))


def size_of_some(plan: Plan) -> None:
    """A limit for one protocol, mostly on some ports. Packets that have no ports are tried in one size each."""
    protocol = plan.chance.choice((UDP, UDP, TCP, GRE, ESP))
    longest = plan.chance.randint(1220, 1480) if protocol in (TCP, UDP) else plan.chance.randint(40, 90)
    ports = _some_ports(plan, protocol) if plan.chance.random() < 0.7 else ()
    plan.filters.append(Filter(plan.router(), protocol=protocol, direction=plan.direction(), ports=ports, longer_than=longest))
