"""Which way packets to addresses outside would take while the tunnel is up, as the kernel says; nothing is sent.

Asked are addresses all over the Internet, and one of every route and for every rule of the machine, since a single more specific route or a
rule of policy routing is enough to lead around the tunnel. The networks of the machine's own links are no way out.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any, Final

from vpnprobe.deployment.verification.asked import Network
from vpnprobe.deployment.verification.network_state import entries
from vpnprobe.transports.stack import Address
from vpnprobe.transports.system.routing import Flow, Way, way_of
from vpnprobe.wire.ip import IpProtocol

OUTSIDE: Final = tuple(
    map(
        ip_address,
        ("192.0.2.1", "198.51.100.1", "203.0.113.1", "1.0.0.1", "8.8.8.8", "100.64.0.1", "129.0.0.1", "172.16.255.1", "223.255.255.1"),
    )
)
"""Those that documentation uses (RFC 5737), and some in both halves: looking a way up sends nothing there."""
OUTSIDE6: Final = tuple(map(ip_address, ("2001:db8::1", "2001:db8:ffff::1", "2606:4700::1", "2a00::1", "3fff::1")))
TO_SEND_TO: Final = OUTSIDE[:3]
"""Nobody has these."""
TO_SEND_TO6: Final = OUTSIDE6[:2]
USUAL_TABLES: Final = frozenset(("local", "main", "default"))
MOST_QUESTIONS: Final = 512
PROTOCOLS: Final = {
    "tcp": int(IpProtocol.TCP),
    "udp": int(IpProtocol.UDP),
    "icmp": int(IpProtocol.ICMP),
    "ipv6-icmp": int(IpProtocol.ICMPV6),
}


@dataclass(frozen=True, slots=True)
class Links:
    """The machine's own networks."""

    networks: tuple[Network, ...]
    """Of its addresses, on all devices but the tunnel's."""
    neighbours: frozenset[Address]
    """Gateways: a single address on a link, where no network has it."""
    own: frozenset[Address]

    def has(self, address: Address) -> bool:
        """Whether the address is on a link of this machine."""
        return address in self.neighbours or address in self.own or address.is_link_local or any(address in net for net in self.networks)


@dataclass(frozen=True, slots=True)
class Question:
    """A packet whose way is looked up."""

    flow: Flow
    because: str
    """A noun phrase: the route or rule that it is about; empty: an address outside."""


@dataclass(frozen=True, slots=True)
class Answer:
    """And the way it takes."""

    question: Question
    way: Way


def links_of(tunnel: str) -> Links:
    """`tunnel`: its device."""
    networks, own = set[Network](), set[Address]()
    for link in entries("addr", "show"):
        for address in link.get("addr_info", ()) if link.get("ifname") != tunnel else ():
            own.add(ip_address(address["local"]))
            network = ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
            networks.add(ip_network(f"{address['address']}/{address['prefixlen']}", strict=False) if "address" in address else network)
    gateways = {ip_address(route["gateway"]) for route in _routes() if route.get("gateway") and route.get("dev") != tunnel}
    wide = [network for network in networks if network.prefixlen > 0]
    return Links(tuple(sorted(wide, key=str)), frozenset(gateways), frozenset(own))


def _routes() -> Iterator[dict[str, Any]]:
    for version in ("-4", "-6"):
        for route in entries(version, "route", "show", "table", "all"):
            hops = route.get("nexthops") or [{}]
            yield from ({**route, **{name: hop[name] for name in ("gateway", "dev") if name in hop}} for hop in hops)


def ways(tunnel: str, links: Links, through: Iterable[Network], *, server: Address) -> list[Answer]:
    """The ways of all that is asked. `through`: networks that are to go through the tunnel.

    Packets from an address that is gone by now have no way of their own, whatever the kernel answers: they are left out.
    """
    found = []
    asked = [Question(Flow(address), f"the network {network}") for network in through if (address := _one_of(network, links)) is not None]
    for question in list(dict.fromkeys((*asked, *_questions(tunnel, links, server))))[:MOST_QUESTIONS]:
        try:
            way = way_of(question.flow)
        except OSError:
            continue  # A question that the kernel does not take.
        if not way.local:
            found.append(Answer(question, way))
    return _without_gone(found)


def _without_gone(answers: list[Answer]) -> list[Answer]:
    if all(answer.question.flow.source is None for answer in answers):
        return answers
    here = {ip_address(address["local"]) for link in entries("addr", "show") for address in link.get("addr_info", ())}
    return [answer for answer in answers if answer.question.flow.source is None or answer.question.flow.source in here]


def _questions(tunnel: str, links: Links, server: Address) -> Iterator[Question]:
    yield from (Question(Flow(address), "") for address in (*OUTSIDE, *OUTSIDE6) if not links.has(address))
    routes = [route for route in _routes() if route.get("type", "unicast") == "unicast" and route.get("dev") not in (tunnel, "lo", None)]
    specific = [question for route in routes for question in _of_route(route, links, server)]
    yield from specific
    for rule in (*entries("-4", "rule"), *entries("-6", "rule")):
        yield from _of_rule(rule, links)


def _of_route(route: Mapping[str, Any], links: Links, server: Address) -> Iterator[Question]:
    network = _network(route)
    address = _one_of(network, links)
    if address is None or address == server or network.is_link_local or network.is_multicast:
        return
    yield Question(Flow(address), f"the route {route.get('dst')} dev {route['dev']}" if network.prefixlen else "")


def _network(route: Mapping[str, Any]) -> Network:
    destination = str(route.get("dst", "default"))
    if destination == "default":
        destination = "0.0.0.0/0" if route["family"] == 4 else "::/0"
    return ip_network(destination, strict=False)


def _one_of(network: Network, links: Links) -> Address | None:
    """An address of a network that no link has; None: all that were looked at have one."""
    if network.prefixlen == 0:
        return None  # The addresses outside stand for it.
    last = network.num_addresses - 1
    return next((address for offset in (1, 0, last // 2, last) if offset <= last and not links.has(address := network[offset])), None)


def _of_rule(rule: Mapping[str, Any], links: Links) -> Iterator[Question]:
    """What a rule asks for, to addresses outside. Those about other packets than this machine's own are passed over."""
    if rule.keys() & {"not", "oif", "l3mdev"} or rule.get("iif", "lo") != "lo":
        return
    if str(rule.get("table", "")) in USUAL_TABLES and not rule.keys() & {"fwmark", "dst", "uid_start", "dport", "ipproto"}:
        return
    name = f"the rule {rule.get('priority')}"
    outside = OUTSIDE[:2] if rule["family"] == 4 else OUTSIDE6[:2]
    destinations: Iterable[Address] = outside
    if "dst" in rule and rule["dst"] != "all":
        network = ip_network(f"{rule['dst']}/{rule.get('dstlen', 32 if rule['family'] == 4 else 128)}", strict=False)
        destinations = [address] if (address := _one_of(network, links)) is not None else []
    for destination in destinations:
        flow = Flow(
            destination,
            mark=int(str(rule.get("fwmark", 0)), 0),
            user=rule.get("uid_start"),
            protocol=PROTOCOLS.get(str(rule.get("ipproto", "")), int(IpProtocol.UDP) if "dport" in rule or "sport" in rule else None),
            source_port=_port(rule, "sport"),
            port=_port(rule, "dport"),
        )
        sources = [own for own in links.own if own.version == destination.version and _is_from(rule, own)] if "src" in rule else []
        if rule.get("src", "all") == "all":
            yield Question(flow, name)
        else:
            yield from (Question(replace(flow, source=own), name) for own in sorted(sources, key=str))


def _port(rule: Mapping[str, Any], name: str) -> int | None:
    value = rule.get(name, rule.get(f"{name}_start"))
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else None


def _is_from(rule: Mapping[str, Any], own: Address) -> bool:
    if rule["src"] == "all":
        return False
    return own in ip_network(f"{rule['src']}/{rule.get('srclen', own.max_prefixlen)}", strict=False)
