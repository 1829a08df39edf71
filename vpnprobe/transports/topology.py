"""A network as data: hosts in a chain of routers, links, NATs and filters. Nothing of what must come out is in it.

Read by the simulated network (`vpnprobe.transports.simulated`) and by the namespace builder (`vpnprobe.lab`), so that one scenario
file runs in both. The chain is client - r1 - ... - rN - server. Addresses are those of `addresses()` in both networks.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Final

CLIENT: Final = "client"
SERVER: Final = "server"


class Action(StrEnum):
    DROP = "drop"
    REJECT_RST = "reject-rst"
    """Answers a TCP segment with RST in the addressee's name."""
    REJECT_ADMIN = "reject-admin"
    """Answers with ICMP communication administratively prohibited, from the router's own address."""
    REJECT_HOST = "reject-host"
    """Answers with ICMP host administratively prohibited, from the router's own address: the last rule of many hosts' firewalls."""
    REJECT_PORT = "reject-port"
    """Answers with ICMP port unreachable, whatever the protocol, from the router's own address: nftables' and iptables' plain `reject`."""


class Hook(StrEnum):
    FORWARD = "forward"
    """On a router, after the TTL check: the router itself still answers time-exceeded for what it drops."""
    PREROUTING = "prerouting"
    """On a router, before the TTL check: it does not. On an end host, before its connection tracking."""
    INPUT = "input"
    """On an end host: its own firewall, what comes in."""
    OUTPUT = "output"
    """On an end host: what goes out."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Drops or rejects what fits every condition that is given; None: any."""

    at: str
    """`client`, `server`, or `r1` to `rN`."""
    action: Action = Action.DROP
    hook: Hook = Hook.FORWARD
    protocol: int | None = None
    """IP protocol number."""
    direction: str | None = None
    """`c2s` or `s2c`."""
    ports: tuple[int, ...] = ()
    """TCP or UDP: source or destination port is one of these."""
    except_ports: tuple[int, ...] = ()
    """TCP or UDP: packets with one of these as source or destination port are spared."""
    except_protocols: tuple[int, ...] = ()
    """IP protocols that are spared."""
    payload_offset: int | None = None
    """Bytes into the TCP or UDP payload at which `payload` is looked for."""
    payload: bytes = b""
    payload_mask: bytes = b""
    """As long as `payload`; empty: all bits."""
    longer_than: int | None = None
    """Bytes of the IP packet: what is longer fits."""
    fragments: bool = False
    """Fragments alone fit. Where connections are tracked they are put together first, so nothing fits there."""
    flow_share: float = 1.0
    """The share of flows that fit, by a hash of protocol, addresses and, of TCP and UDP, ports: one of two paths that flows are
    balanced over. Each direction of a flow has a hash of its own, as it has a path of its own."""
    after_packets: int | None = None
    """Spares the first so many packets of each TCP or UDP flow, whatever they are, both directions counted together."""
    from_s: float = 0.0
    """It acts from so many seconds on after the network began."""
    to_s: float | None = None
    """And no longer than until so many seconds after that; None: to the end. Of everything, that is an outage."""
    packets_per_s: float | None = None
    """A policer: spares so many fitting packets a second, after `burst_packets`; None: spares none for their rate."""
    burst_packets: int = 5
    """Fitting packets that a policer spares at once."""
    probability: float = 1.0
    """Random loss: the share of fitting packets that it acts on, 0 to 1."""

    @property
    def timed(self) -> bool:
        """Whether it does not act all the time."""
        return self.from_s > 0 or self.to_s is not None


class Mapping(StrEnum):
    """Which flows of one inside address and port share an outside port (RFC 4787 section 4.1)."""

    FLOW = "address-and-port-dependent"
    """None do, where ports are not kept: a symmetric NAT."""
    ENDPOINT = "endpoint-independent"
    """All do, whomever they go to."""


class Filtering(StrEnum):
    """Whose packets are let in to an outside port that a flow has (RFC 4787 section 5)."""

    FLOW = "address-and-port-dependent"
    """Those of the address and port that the flow goes to, as Linux does."""
    ADDRESS = "address-dependent"
    ENDPOINT = "endpoint-independent"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a flow is remembered after its last packet, seconds; None: Linux's own time-outs."""

    tcp_s: float | None = None
    udp_s: float | None = None
    """Before and after something came back alike."""
    gre_s: float | None = None
    other_s: float | None = None
    """ESP among them."""


@dataclass(frozen=True, slots=True)
class Service:
    """What one rule of a port forward or of a firewall names."""

    protocol: int | None = None
    """IP protocol number; None: any but ICMP."""
    ports: tuple[int, ...] = ()
    """TCP or UDP: the destination port is one of these; empty: any."""


@dataclass(frozen=True, slots=True)
class Nat:
    """Source NAT (masquerade) of what leaves a router by its outside."""

    at: str
    inside: str = CLIENT
    """The end that sits behind it, `client` or `server`. The server behind one is reached at the NAT's outside address."""
    forwards: tuple[Service, ...] = ()
    """Of what comes to its outside address and belongs to no flow: what goes on to the end behind it. The rest is for the router itself."""
    pptp_helper: bool = False
    """With the PPTP application-level gateway: Call IDs are rewritten and tracked. Without it enhanced GRE of the server finds no entry."""
    new_ports: bool = False
    """It gives TCP and UDP flows other source ports, as carriers' NATs do (RFC 4787 section 4.2.1). Otherwise ports are kept where they
    are free."""
    mapping: Mapping = Mapping.FLOW
    filtering: Filtering = Filtering.FLOW
    timeouts: Timeouts = Timeouts()


@dataclass(frozen=True, slots=True)
class StatefulFirewall:
    """Passes to the side that it protects only what belongs to a flow that this side opened, and what it allows."""

    at: str
    """A router; or an end host, whose own firewall it is and which it protects."""
    protects: str = CLIENT
    """The end on whose side flows may be opened."""
    allows: tuple[Service, ...] = ()
    timeouts: Timeouts = Timeouts()


class Per(StrEnum):
    """What the chances of a change of state are told by."""

    PACKET = "packet"
    SECOND = "second"
    """On average so many changes in a second of that state."""


@dataclass(frozen=True, slots=True)
class BurstLoss:
    """Loss in bursts: the model of Gilbert and Elliott. A link is good or bad, begins good, and loses another share in each state."""

    to_bad: float
    """Chance of a good link to become bad."""
    to_good: float
    """Chance of a bad link to become good."""
    loss_bad: float = 1.0
    """Share of packets that a bad link loses, 0 to 1."""
    loss_good: float = 0.0
    per: Per = Per.PACKET


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain. Link 0 joins the client and the first router. Directions share what it is and no state."""

    delay_s: float = 0.0001
    """One way, seconds. Namespaces add none of their own: a scenario for both networks leaves it out."""
    jitter_s: float = 0.0
    """Each packet is delayed by up to so much more or less, at random; packets that are closer together overtake each other."""
    loss: float = 0.0
    """Share of packets lost at random in each direction, 0 to 1."""
    burst_loss: BurstLoss | None = None
    """Beside `loss`; None: none."""
    reorder: float = 0.0
    """Share of packets that are delayed by `reorder_s` more, so that later ones overtake them."""
    reorder_s: float = 0.01
    duplicate: float = 0.0
    """Share of packets that come twice."""
    mtu: int = 1500
    """Bytes of an IP packet."""
    rate_bit_s: float | None = None
    """None: no limit."""
    queue_s: float = 0.1
    """With a rate: what would have to wait longer for its turn, seconds, is dropped (tail drop)."""
    s2c: "Link | None" = None
    """The link from the server to the client, where it differs (an asymmetric line); None: the same both ways."""

    def towards(self, direction: str) -> "Link":
        """What it is in a direction, `c2s` or `s2c`."""
        return self.s2c if direction == "s2c" and self.s2c is not None else self


@dataclass(frozen=True, slots=True)
class WayBack:
    """An asymmetric route: what goes from the server to the client takes other routers between two of the chain.

    They are `b1`, `b2` and so on, in the order in which such a packet meets them. Those of the chain in between see what goes to the server
    alone. Their links are plain; filters, firewalls and silence are planted on them as on any router, NATs on the chain alone.
    """

    leaves: str
    """The router of the chain, the one nearer to the server, from which on it differs."""
    joins: str
    """The router of the chain at which it is the same again."""
    routers: int = 1


@dataclass(frozen=True, slots=True)
class Recutting:
    """A router that cuts the TCP streams that cross it into other segments, as proxies and offloads do."""

    at: str
    most_bytes: int | None = None
    """Payloads longer than this are split; None: none is."""
    merge_s: float = 0.0
    """Segments are held so long, seconds, and joined with those that follow within it, up to the MTU of the next link; 0: none is."""


@dataclass(frozen=True, slots=True)
class Stall:
    """An end whose program does not run for a while: packets come to its host and its captures in time, to its program late."""

    at: str
    """`client` or `server`."""
    from_s: float
    """Seconds after the network began."""
    to_s: float
    every_s: float | None = None
    """It comes again so long after it began, and again; None: once."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How an end's clock of the date (Unix time) goes; timers do not go by it."""

    at: str
    offset_s: float = 0.0
    """Seconds ahead of the true time; negative: behind."""
    drift: float = 0.0
    """Seconds that it gains in a second; negative: loses."""
    jump_s: float = 0.0
    """By how much it is set forward (negative: back), once, ..."""
    jump_at_s: float = 0.0
    """... so many seconds after the network began."""


@dataclass(frozen=True, slots=True)
class TakenPort:
    """A port that another program of an end has open."""

    at: str
    """`client` or `server`."""
    protocol: int
    """6: TCP, 17: UDP."""
    port: int
    answer: bytes = b""
    """What it says to each datagram, or to the first data of each connection; empty: it is silent."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole chain."""

    routers: int = 3
    """How many routers, 1 to 20."""
    links: tuple[Link, ...] = ()
    """`routers + 1` of them; empty: all as `Link()`."""
    filters: tuple[Filter, ...] = ()
    nats: tuple[Nat, ...] = ()
    firewalls: tuple[StatefulFirewall, ...] = ()
    icmp_errors_per_s: float = 1.0
    """Each router's rate limit for ICMP errors to one asker, a second, after a burst of 6 (Linux: icmp_ratelimit 1000 ms); 0: no limit."""
    silent_routers: tuple[str, ...] = ()
    """Routers that send no ICMP errors at all."""
    black_holes: tuple[str, ...] = ()
    """Routers that do not say that a packet with DF is too large for the next link (RFC 2923 section 2.1), and else what others say."""
    way_back: WayBack | None = None
    """None: packets of the server go the same way as those of the client."""
    recuttings: tuple[Recutting, ...] = ()
    stalls: tuple[Stall, ...] = ()
    clocks: tuple[Clock, ...] = ()
    taken_ports: tuple[TakenPort, ...] = ()

    def names(self) -> tuple[str, ...]:
        """The hosts of the chain, in its order."""
        return (CLIENT, *(f"r{number}" for number in range(1, self.routers + 1)), SERVER)

    def back_names(self) -> tuple[str, ...]:
        """The routers beside the chain, in the order in which packets to the client meet them."""
        return tuple(f"b{number}" for number in range(1, self.way_back.routers + 1)) if self.way_back else ()

    def hosts(self) -> tuple[str, ...]:
        """All hosts."""
        return (*self.names(), *self.back_names())

    def link(self, index: int) -> Link:
        return self.links[index] if self.links else Link()

    def addresses(self) -> tuple[tuple[IPv4Address, IPv4Address], ...]:
        """Per link: the address of its end towards the client and of its end towards the server.

        Link i is 10.78.i.0/24 with .1 on the client's side and .2 on the server's, so the client is 10.78.0.1 and the server
        10.78.N.2 with N routers.
        """
        return tuple((IPv4Address(f"10.78.{index}.1"), IPv4Address(f"10.78.{index}.2")) for index in range(self.routers + 1))

    def outside_and_inner(self, nat: Nat) -> tuple[IPv4Address, IPv4Address]:
        """A NAT's outside address, and where its port forwards go: the outside of the next NAT of that side, or the end itself."""
        names, addresses = self.names(), self.addresses()
        place = names.index(nat.at)
        outside = addresses[place][0] if nat.inside == CLIENT else addresses[place - 1][1]
        inwards = (self.client_address if nat.inside == CLIENT else self.server_address, *self.outside_addresses(nat.inside))
        return outside, inwards[inwards.index(outside) - 1]

    def back_addresses(self) -> tuple[tuple[IPv4Address, IPv4Address], ...]:
        """Per link of the way back, as packets meet them: the address of its end towards the client and of its end towards the server.

        Link i is 10.79.i.0/24.
        """
        links = len(self.back_names()) + 1 if self.way_back else 0
        return tuple((IPv4Address(f"10.79.{index}.1"), IPv4Address(f"10.79.{index}.2")) for index in range(links))

    def wires(self) -> dict[tuple[str, str], dict[str, IPv4Address]]:
        """Each link of the chain and then of the way back, by the hosts that it joins, the nearer to the client first; their addresses."""
        pairs = list(pairwise(self.names()))
        if self.way_back is not None:
            along = (self.way_back.leaves, *self.back_names(), self.way_back.joins)
            pairs += [(nearer, farther) for farther, nearer in pairwise(along)]
        addresses = (*self.addresses(), *self.back_addresses())
        return {pair: dict(zip(pair, both, strict=True)) for pair, both in zip(pairs, addresses, strict=True)}

    def next_host(self, here: str, there: str) -> tuple[str, str]:
        """The neighbour to which a host sends what goes to another, and the direction in which that lies, `c2s` or `s2c`."""
        names, beside, way_back = self.names(), self.back_names(), self.way_back
        if way_back is None:
            return _along(names, here, there)
        joins, leaves = names.index(way_back.joins), names.index(way_back.leaves)
        around = (way_back.joins, *reversed(beside), way_back.leaves)
        if here in beside:
            if there in names:
                there = way_back.leaves if names.index(there) > joins else way_back.joins
            return _along(around, here, there)
        at = names.index(here)
        if there in names and not (at >= leaves and names.index(there) <= joins):
            return _along(names, here, there)
        if at == leaves or (at == joins and there in beside):
            return _along(around, here, there if there in beside else way_back.joins)
        return _along(names, here, way_back.joins if at < joins else way_back.leaves)

    def public_address(self, end: str) -> IPv4Address:
        """Where an end is reached from the other side: the outside of the outermost NAT that it sits behind, or its own address."""
        outsides = self.outside_addresses(end)
        return outsides[-1] if outsides else (self.client_address if end == CLIENT else self.server_address)

    def outside_addresses(self, end: str) -> tuple[IPv4Address, ...]:
        """Of the NATs that an end sits behind, the nearest first."""
        names, addresses = self.names(), self.addresses()
        places = sorted((names.index(nat.at) for nat in self.nats if nat.inside == end), reverse=end == SERVER)
        return tuple(addresses[place][0] if end == CLIENT else addresses[place - 1][1] for place in places)

    @property
    def client_address(self) -> IPv4Address:
        return self.addresses()[0][0]

    @property
    def server_address(self) -> IPv4Address:
        return self.addresses()[-1][1]


def _along(names: tuple[str, ...], here: str, there: str) -> tuple[str, str]:
    """`names`: from the client's side to the server's."""
    at = names.index(here)
    return (names[at + 1], "c2s") if names.index(there) > at else (names[at - 1], "s2c")
