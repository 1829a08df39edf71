"""Features of random networks that are not filters: links, NATs, stateful firewalls, routes, and the ends themselves."""

from typing import Any, Final

from vpnprobe.agents.simulation import CONTROL_PORT
from vpnprobe.lab.campaign.plan import TCP_PORTS, UDP_PORTS, Plan
from vpnprobe.lab.topologies import TCP, UDP
from vpnprobe.transports.topology import (
    CLIENT,
    SERVER,
    BurstLoss,
    Clock,
    Filtering,
    Mapping,
    Nat,
    Per,
    Recutting,
    Service,
    Stall,
    StatefulFirewall,
    TakenPort,
    Timeouts,
    WayBack,
)

RATES_BIT_S: Final = (128_000, 4_000_000)


def mtu(plan: Plan) -> None:
    plan.chance.choice(plan.links)["mtu"] = plan.chance.randint(1280, 1492)


def rate(plan: Plan) -> None:
    low, high = RATES_BIT_S
    plan.chance.choice(plan.links)["rate_bit_s"] = round(low * (high / low) ** plan.chance.random())


def way_back(plan: Plan) -> None:
    """What the server sends takes other routers for a part of the way. It is planted before what stands on routers."""
    if plan.routers == 1:
        plan.routers = 2
        plan.links.append(dict(plan.links[0]))
    joins, leaves = sorted(plan.chance.sample(range(1, plan.routers + 1), 2))
    plan.way_back = WayBack(f"r{leaves}", f"r{joins}", plan.chance.randint(1, 4))


def nat(plan: Plan) -> None:
    """One, or two as where a carrier has another."""
    places = plan.of_both_ways()
    count = min(len(places), plan.chance.choice((1, 1, 1, 2)))
    variants = _variants(plan)
    helper, new_ports = plan.chance.random() < 0.4, plan.chance.random() < 0.4
    for place in sorted(plan.chance.sample(range(len(places)), count)):
        plan.nats.append(Nat(places[place], pptp_helper=helper, new_ports=new_ports, **variants))


def _variants(plan: Plan) -> dict[str, Any]:
    """Other than Linux's: how ports are mapped, whose packets are let in, how long flows are remembered."""
    choices: tuple[dict[str, Any], ...] = (
        {},
        {"mapping": Mapping.ENDPOINT, "filtering": plan.chance.choice((Filtering.ADDRESS, Filtering.ENDPOINT))},
        {"filtering": plan.chance.choice((Filtering.ADDRESS, Filtering.ENDPOINT))},
        {"timeouts": Timeouts(udp_s=round(plan.chance.uniform(1, 60), 1))},
        {"timeouts": Timeouts(gre_s=round(plan.chance.uniform(5, 60), 1), other_s=round(plan.chance.uniform(5, 60), 1))},
    )
    return plan.chance.choice(choices)


def server_nat(plan: Plan) -> None:
    """The server is behind a NAT that forwards all, TCP and UDP, or some ports to it; NATs of the client are nearer to the client."""
    places = plan.of_both_ways()
    place = plan.chance.randrange(len(places))
    plan.nats = [nat for nat in plan.nats if nat.at in places[:place]]
    plan.nats.append(Nat(places[place], inside=SERVER, forwards=plan.chance.choice(((Service(),), _services(plan), _services(plan)))))


def server_firewall(plan: Plan) -> None:
    """Lets in what it allows, and what the server has asked for."""
    plan.firewalls.append(StatefulFirewall(plan.chance.choice(plan.of_both_ways()), protects=SERVER, allows=_services(plan)))


def _services(plan: Plan) -> tuple[Service, ...]:
    """Of TCP and UDP all ports or some; the control connection always."""
    tcp_ports = (CONTROL_PORT, *plan.some(TCP_PORTS)) if plan.chance.random() < 0.5 else ()
    udp_ports = plan.some(UDP_PORTS) if plan.chance.random() < 0.6 else ()
    return Service(TCP, tcp_ports), Service(UDP, udp_ports)


def stateful_firewall(plan: Plan) -> None:
    plan.firewalls.append(StatefulFirewall(plan.chance.choice(plan.of_both_ways())))


def burst_loss(plan: Plan) -> None:
    """Bad moments of some tens of milliseconds to a second, on one link."""
    bad_s = plan.chance.uniform(0.02, 1.0)
    share = plan.chance.uniform(0.01, 0.15)
    changes = {"to_bad": round(share / (1 - share) / bad_s, 4), "to_good": round(1 / bad_s, 4)}
    plan.chance.choice(plan.links)["burst_loss"] = BurstLoss(**changes, loss_bad=plan.chance.choice((0.7, 1.0)), per=Per.SECOND)


def disorder(plan: Plan) -> None:
    """Jitter, packets that are overtaken and packets that come twice."""
    link = plan.chance.choice(plan.links)
    link["jitter_s"] = round(link["delay_s"] * plan.chance.uniform(0, 0.5), 6)
    link["reorder"] = round(plan.chance.uniform(0, 0.1), 3)
    link["duplicate"] = round(plan.chance.uniform(0, 0.05), 3)


def stall(plan: Plan) -> None:
    """An end's program does not run for a moment."""
    begins = round(plan.chance.uniform(0.5, 4.0), 3)
    ends = round(begins + plan.chance.uniform(0.05, 1.5), 3)
    plan.stalls.append(Stall(plan.chance.choice((CLIENT, SERVER)), begins, ends))


def clock(plan: Plan) -> None:
    """An end's clock of the date is wrong."""
    plan.clocks.append(Clock(plan.chance.choice((CLIENT, SERVER)), offset_s=round(plan.chance.uniform(-5000, 5000), 1)))


def black_hole(plan: Plan) -> None:
    """A small MTU that nobody tells of."""
    mtu(plan)
    plan.black_holes += [f"r{position}" for position in range(1, plan.routers + 1)]


def clock_goes_wrong(plan: Plan) -> None:
    """An end's clock of the date is set during the run, or goes too fast or too slow."""
    jump = round(plan.chance.choice((-1, 1)) * 10 ** plan.chance.uniform(-2, 1), 3) if plan.chance.random() < 0.7 else 0.0
    drift = round(plan.chance.uniform(-5e-4, 5e-4), 6) if plan.chance.random() < 0.5 or not jump else 0.0
    at_s = round(plan.chance.uniform(0.1, 4.0), 3) if jump else 0.0
    plan.clocks.append(Clock(plan.chance.choice((CLIENT, SERVER)), drift=drift, jump_s=jump, jump_at_s=at_s))


def recutting(plan: Plan) -> None:
    """A router that splits TCP segments, joins them, or both."""
    split, merge = plan.chance.choice(((True, False), (False, True), (True, True)))
    most = plan.chance.randint(80, 1000) if split else None
    plan.recuttings.append(Recutting(plan.router(), most, round(plan.chance.uniform(0.0005, 0.02), 4) if merge else 0.0))


def taken_port(plan: Plan) -> None:
    """Another program of the server has a port open, and says something or nothing."""
    protocol = plan.chance.choice((TCP, UDP))
    port = plan.chance.choice(TCP_PORTS if protocol == TCP else UDP_PORTS)
    plan.taken_ports.append(TakenPort(SERVER, protocol, port, plan.chance.choice((b"", b"220 ready\r\n"))))


def other_way(plan: Plan) -> None:
    """A link that differs from the server to the client: farther, slower or with loss."""
    number = plan.chance.randrange(plan.routers + 1)
    changes = (
        ("delay_s", round(plan.links[number]["delay_s"] * plan.chance.uniform(1.5, 10), 6)),
        ("rate_bit_s", round(plan.chance.uniform(*RATES_BIT_S))),
        ("loss", round(plan.chance.uniform(0.01, 0.2), 3)),
    )
    plan.links_back[number] = dict(plan.chance.sample(changes, plan.chance.randint(1, 3)))
