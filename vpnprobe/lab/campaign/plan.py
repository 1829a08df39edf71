"""A random network in the making: what has been planted so far, and what chance has to choose from."""

import random
from dataclasses import dataclass, field
from typing import Any, Final

from vpnprobe.lab.topologies import TCP
from vpnprobe.transports.topology import (
    Action,
    Clock,
    Filter,
    Hook,
    Link,
    Nat,
    Recutting,
    Stall,
    StatefulFirewall,
    TakenPort,
    Topology,
    WayBack,
)

OPENVPN_PORTS: Final = (1194, 443, 53, 80, 8443, 51194)
UDP_PORTS: Final = (*OPENVPN_PORTS, 500, 4500, 1701, 51820)
TCP_PORTS: Final = (*OPENVPN_PORTS, 1723)


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
    recuttings: list[Recutting] = field(default_factory=list)
    taken_ports: list[TakenPort] = field(default_factory=list)
    links_back: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By number of a link: in what it differs from the server to the client."""
    way_back: WayBack | None = None

    def built(self, *, icmp_errors_per_s: float, silent_routers: tuple[str, ...]) -> Topology:
        return Topology(
            routers=self.routers,
            links=tuple(self._link(number) for number in range(self.routers + 1)),
            filters=tuple(self.filters),
            nats=tuple(self.nats),
            firewalls=tuple(self.firewalls),
            icmp_errors_per_s=icmp_errors_per_s,
            silent_routers=silent_routers,
            black_holes=tuple(self.black_holes),
            way_back=self.way_back,
            recuttings=tuple(self.recuttings),
            stalls=tuple(self.stalls),
            clocks=tuple(self.clocks),
            taken_ports=tuple(self.taken_ports),
        )

    def _link(self, number: int) -> Link:
        values, back = self.links[number], self.links_back.get(number)
        return Link(**values) if back is None else Link(**values, s2c=Link(**{**values, **back}))

    def router(self) -> str:
        """Any, also one that packets of one direction alone cross."""
        return self.chance.choice(self.all_routers())

    def all_routers(self) -> list[str]:
        beside = self.way_back.routers if self.way_back is not None else 0
        return [*(f"r{number}" for number in range(1, self.routers + 1)), *(f"b{number}" for number in range(1, beside + 1))]

    def of_both_ways(self) -> list[str]:
        """The routers that packets of both directions cross: what tracks connections has to see both."""
        apart = range(0)
        if self.way_back is not None:
            apart = range(int(self.way_back.joins[1:]) + 1, int(self.way_back.leaves[1:]))
        return [f"r{number}" for number in range(1, self.routers + 1) if number not in apart]

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
