"""A network as data: hosts in a chain of routers, links, NATs and filters. Nothing of what must come out is in it.

Read by the simulated network (`vpnprobe.transports.simulated`) and by the namespace builder (`vpnprobe.lab`), so that one scenario
file runs in both. The chain is client - r1 - ... - rN - server. Addresses are those of `addresses()` in both networks.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final

CLIENT: Final = "client"
SERVER: Final = "server"


class Action(StrEnum):
    DROP = "drop"
    REJECT_RST = "reject-rst"
    """Answers a TCP segment with RST in the addressee's name."""
    REJECT_ADMIN = "reject-admin"
    """Answers with ICMP communication administratively prohibited, from the router's own address."""
    REJECT_PORT = "reject-port"
    """Answers with ICMP port unreachable, whatever the protocol, from the router's own address: nftables' and iptables' plain `reject`."""


class Hook(StrEnum):
    FORWARD = "forward"
    """After the TTL check: the router itself still answers time-exceeded for what it drops."""
    PREROUTING = "prerouting"
    """Before the TTL check: it does not."""
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


@dataclass(frozen=True, slots=True)
class Nat:
    """Source NAT (masquerade) of what leaves a router towards the server."""

    at: str
    pptp_helper: bool = False
    """With the PPTP application-level gateway: Call IDs are rewritten and tracked. Without it enhanced GRE of the server finds no entry."""
    new_ports: bool = False
    """It gives every TCP and UDP flow another source port, as carriers' NATs do (RFC 4787 section 4.2.1). Otherwise ports are kept where
    they are free."""


@dataclass(frozen=True, slots=True)
class StatefulFirewall:
    """Passes from the server's side only what belongs to a flow that the client's side opened."""

    at: str


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain, the same both ways. Link 0 joins the client and the first router."""

    delay_s: float = 0.0001
    """One way, seconds. Namespaces add none of their own: a scenario for both networks leaves it out."""
    loss: float = 0.0
    """Share of packets lost at random in each direction, 0 to 1."""
    mtu: int = 1500
    """Bytes of an IP packet."""
    rate_bit_s: float | None = None
    """None: no limit."""


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

    def names(self) -> tuple[str, ...]:
        """All hosts, in the order of the chain."""
        return (CLIENT, *(f"r{number}" for number in range(1, self.routers + 1)), SERVER)

    def link(self, index: int) -> Link:
        return self.links[index] if self.links else Link()

    def addresses(self) -> tuple[tuple[IPv4Address, IPv4Address], ...]:
        """Per link: the address of its end towards the client and of its end towards the server.

        Link i is 10.78.i.0/24 with .1 on the client's side and .2 on the server's, so the client is 10.78.0.1 and the server
        10.78.N.2 with N routers.
        """
        return tuple((IPv4Address(f"10.78.{index}.1"), IPv4Address(f"10.78.{index}.2")) for index in range(self.routers + 1))

    @property
    def client_address(self) -> IPv4Address:
        return self.addresses()[0][0]

    @property
    def server_address(self) -> IPv4Address:
        return self.addresses()[-1][1]
