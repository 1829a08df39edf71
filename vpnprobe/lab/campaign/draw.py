"""Random networks, out of features that networks have.

A draw follows from the campaign's seed and its number alone, so that it does not matter who draws it, or when. The control connection can
always come up: without it there is no run to judge. Payloads of TCP are filtered on ports that are not the control connection's.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vpnprobe.lab.campaign import planted_boxes, planted_filters
from vpnprobe.lab.campaign.plan import Plan
from vpnprobe.transports.topology import Topology

MOST_ROUTERS: Final = 8
MOST_FEATURES: Final = 3
DELAYS_S: Final = ((0.00002, 0.0006), (0.0002, 0.005), (0.001, 0.02), (0.003, 0.1))
"""Ranges that the delays of a draw's links are of: a building, a town, a country, the world."""


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


def draw(campaign_seed: int, number: int) -> Draw:
    """The network of that number."""
    chance = random.Random(f"{campaign_seed}/draw/{number}")
    routers = chance.randint(1, MOST_ROUTERS)
    low, high = chance.choice(DELAYS_S)
    plan = Plan(chance, routers, [{"delay_s": round(chance.uniform(low, high), 6)} for _ in range(routers + 1)])
    features = sorted(chance.sample(sorted(FEATURES), chance.choice((0, 1, 1, 2, 2, MOST_FEATURES))))
    for feature in sorted(features, key=lambda feature: feature != "way_back"):
        FEATURES[feature](plan)
    speaking = chance.random() < 0.7
    silent = () if speaking else tuple(router for router in plan.all_routers() if chance.random() < 0.5)
    topology = plan.built(icmp_errors_per_s=chance.choice((0.0, 0.5, 1.0, 10.0)), silent_routers=silent)
    return Draw(number, chance.randrange(1, 1 << 30), topology, tuple(features))


FEATURES: Final[Mapping[str, Callable[[Plan], None]]] = MappingProxyType(
    {
        "balanced": planted_filters.balanced,
        "black_hole": planted_boxes.black_hole,
        "burst_loss": planted_boxes.burst_loss,
        "clock": planted_boxes.clock,
        "clock_goes_wrong": planted_boxes.clock_goes_wrong,
        "cut": planted_filters.cut,
        "disorder": planted_boxes.disorder,
        "end_outage": planted_filters.end_outage,
        "host_firewall": planted_filters.host_firewall,
        "host_firewall_in_part": planted_filters.host_firewall_in_part,
        "ip_protocol": planted_filters.ip_protocol,
        "loss": planted_filters.loss,
        "mtu": planted_boxes.mtu,
        "nat": planted_boxes.nat,
        "only_one_port": planted_filters.only_one_port,
        "other_way": planted_boxes.other_way,
        "outage": planted_filters.outage,
        "outages": planted_filters.outages,
        "payload": planted_filters.payload,
        "policer": planted_filters.policer,
        "ports": planted_filters.ports,
        "rate": planted_boxes.rate,
        "recutting": planted_boxes.recutting,
        "server_firewall": planted_boxes.server_firewall,
        "server_nat": planted_boxes.server_nat,
        "size": planted_filters.size,
        "size_of_some": planted_filters.size_of_some,
        "stall": planted_boxes.stall,
        "stateful_firewall": planted_boxes.stateful_firewall,
        "taken_port": planted_boxes.taken_port,
        "tcp_reset": planted_filters.tcp_reset,
        "way_back": planted_boxes.way_back,
    }
)
"""By name: what plants it."""
