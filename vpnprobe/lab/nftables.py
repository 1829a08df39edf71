"""A topology's filters, NATs, stateful firewalls, silent routers and link losses as nftables rulesets, one text per host. Pure.

Every rule counts. The rules that act on a packet carry the comment `acts`, so that a run can show that its filters met something.
Interfaces are called `to-client` and `to-server` on every host, `to-back` and `from-back` where a way back leaves the chain and joins it.
IPv4 alone, as the topology is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, assert_never

from vpnprobe.transports.topology import CLIENT, SERVER, Action, Filter, Hook, Nat, Service, StatefulFirewall, Topology

TO_CLIENT: Final = "to-client"
TO_SERVER: Final = "to-server"
TO_BACK: Final = "to-back"
"""Where the way of what goes to the client parts from the chain: to the routers beside it."""
FROM_BACK: Final = "from-back"
"""Where it joins the chain again."""
ACTS: Final = 'comment "acts"'
TABLE: Final = "vpnprobe"

PARTS: Final = 1_000_000
"""A share of packets is `numgen random mod PARTS < share * PARTS`."""

_WITH_PORTS: Final = "meta l4proto { tcp, udp }"
_WITHOUT_PORTS: Final = "meta l4proto != { tcp, udp }"
_LONGEST_MATCH_BYTES: Final = 8
"""Longer payloads are matched in pieces: a raw payload expression has a largest width."""


def rulesets(topology: Topology) -> dict[str, str]:
    """The ruleset of each host that needs one."""
    texts = {host: ruleset(topology, host) for host in topology.hosts()}
    return {host: text for host, text in texts.items() if text}


@dataclass(frozen=True, slots=True)
class TimedRules:
    """A filter that comes and goes: a table of its own."""

    host: str
    table: str
    text: str
    from_s: float
    to_s: float | None


def timed_rules(topology: Topology) -> tuple[TimedRules, ...]:
    """Filters that do not act all the time; `rulesets` leaves them out."""
    found = []
    for number, planted in enumerate(topology.filters):
        if planted.timed:
            table = f"{TABLE}_timed_{number}"
            alone = replace(planted, from_s=0.0, to_s=None)
            whole = Topology(topology.routers, filters=(alone,), way_back=topology.way_back)
            found.append(TimedRules(planted.at, table, ruleset(whole, planted.at, table=table), planted.from_s, planted.to_s))
    return tuple(found)


def ruleset(topology: Topology, host: str, *, table: str = TABLE) -> str:
    """What `nft -f -` in the host's namespace takes; empty: no rules."""
    blocks = [
        *_filters(topology, host),
        *chain.from_iterable(_nat(topology, nat) for nat in topology.nats if nat.at == host),
        *(_firewall(topology, firewall) for firewall in topology.firewalls if firewall.at == host),
        *(_silence() for router in topology.silent_routers if router == host),
        *(_black_hole() for router in topology.black_holes if router == host),
        *_losses(topology, host),
    ]
    return "\n".join([f"table ip {table} {{", *blocks, "}", ""]) if blocks else ""


def _block(head: str, *lines: str) -> str:
    """A chain or an object of the table; each rule ends in a newline, which nft demands before the brace."""
    return "\n".join([f"  {head} {{", *(f"    {line}" for line in lines), "  }"])


def _base_chain(name: str, hook: str, *rules: str, kind: str = "filter", priority: int = 0) -> str:
    return _block(f"chain {name}", f"type {kind} hook {hook} priority {priority}; policy accept;", *rules)


def _filters(topology: Topology, host: str) -> Iterator[str]:
    """A chain for each filter, before the base chains that jump to them in the order of the file."""
    numbered = [(number, planted) for number, planted in enumerate(topology.filters) if planted.at == host and not planted.timed]
    for number, planted in numbered:
        yield from _filter(topology, number, planted)
    for hook in Hook:
        jumps = [f"counter jump filter_{number}" for number, planted in numbered if planted.hook is hook]
        if jumps:
            yield _base_chain(f"on_{hook}", hook, *jumps)


def _filter(topology: Topology, number: int, planted: Filter) -> Iterator[str]:
    """What is spared returns; what fits goes to the action, once even where both its ports fit."""
    spared = [f"meta l4proto {{ {_set(planted.except_protocols)} }} counter return"] if planted.except_protocols else []
    spared += [f"{match} counter return" for match in _ports(planted.except_ports)]
    either = _ports(planted.ports) or [""]
    either = [f"{match} {share}".strip() for match in either for share in _shares_of_flows(planted)]
    matches = [" ".join([*_conditions(topology, planted), match]).strip() for match in either]
    yield _block(f"chain act_{number}", *_actions(planted))
    yield _block(f"chain filter_{number}", *spared, *(f"{match} counter goto act_{number}".strip() for match in matches))


def _ports(ports: Sequence[int]) -> list[str]:
    """Two matches, either of which is enough: source and destination. Conditions on both in one rule would mean both."""
    return [f"{_WITH_PORTS} th {end} {{ {_set(ports)} }}" for end in ("sport", "dport")] if ports else []


def _shares_of_flows(planted: Filter) -> list[str]:
    """A hash with ports and one without, whichever the packet has."""
    if planted.flow_share >= 1:
        return [""]
    below = f"mod {PARTS} seed 0x{0x5EED:x} < {round(planted.flow_share * PARTS)}"
    with_ports = f"{_WITH_PORTS} jhash ip saddr . ip daddr . ip protocol . th sport . th dport {below}"
    return [with_ports] if planted.ports else [with_ports, f"{_WITHOUT_PORTS} jhash ip saddr . ip daddr . ip protocol {below}"]


def _conditions(topology: Topology, planted: Filter) -> Iterator[str]:
    if planted.direction is not None:
        yield _direction(topology, planted, planted.direction)
    if planted.protocol is not None:
        yield f"meta l4proto {planted.protocol}"
    if planted.longer_than is not None:
        yield f"meta length > {planted.longer_than}"
    if planted.fragments:
        yield "ip frag-off & 0x3fff != 0"
    if planted.after_packets is not None:
        yield f"ct packets > {planted.after_packets}"
    if planted.payload and planted.payload_offset is not None:
        yield from _payload(planted, planted.payload_offset)


def _direction(topology: Topology, planted: Filter, direction: str) -> str:
    """The interface that packets of a direction come from or, for what the host itself sends, leave by."""
    match planted.hook:
        case Hook.OUTPUT:
            return f'oifname "{TO_SERVER if direction == "c2s" else TO_CLIENT}"'
        case Hook.FORWARD | Hook.PREROUTING | Hook.INPUT:
            return f"iifname {_coming(topology, planted.at, direction)}"
        case _:
            assert_never(planted.hook)


def _coming(topology: Topology, host: str, direction: str) -> str:
    """The interfaces by which packets of a direction come to a host."""
    usual = TO_CLIENT if direction == "c2s" else TO_SERVER
    way_back = topology.way_back
    if way_back is not None and (host, direction) == (way_back.joins, "s2c"):
        return f'{{ "{usual}", "{FROM_BACK}" }}'
    if way_back is not None and (host, direction) == (way_back.leaves, "c2s"):
        return f'{{ "{usual}", "{TO_BACK}" }}'
    return f'"{usual}"'


def _payload(planted: Filter, offset: int) -> Iterator[str]:
    """`@ih` is what follows the TCP or UDP header; offsets and lengths are in bits."""
    if planted.protocol is None:
        yield _WITH_PORTS
    mask = planted.payload_mask or b"\xff" * len(planted.payload)
    for start in range(0, len(planted.payload), _LONGEST_MATCH_BYTES):
        piece = slice(start, start + _LONGEST_MATCH_BYTES)
        bits = int.from_bytes(mask[piece])
        wanted = int.from_bytes(planted.payload[piece]) & bits
        field = f"@ih,{8 * (offset + start)},{8 * len(mask[piece])}"
        yield f"{field} == {wanted:#x}" if set(mask[piece]) == {0xFF} else f"{field} & {bits:#x} == {wanted:#x}"


def _actions(planted: Filter) -> Iterator[str]:
    yield f"{_over_rate(planted)}{_share(planted.probability)}counter {_verdict(planted.action)} {ACTS}"


def _over_rate(planted: Filter) -> str:
    """What is within a policer's rate does not match."""
    if planted.packets_per_s is None:
        return ""
    return f"limit rate over {max(1, round(60 * planted.packets_per_s))}/minute burst {planted.burst_packets} packets "


def _share(probability: float) -> str:
    return "" if probability >= 1 else f"numgen random mod {PARTS} < {round(probability * PARTS)} "


def _verdict(action: Action) -> str:
    match action:
        case Action.DROP:
            return "drop"
        case Action.REJECT_RST:
            return "reject with tcp reset"
        case Action.REJECT_ADMIN:
            return "reject with icmp type admin-prohibited"
        case Action.REJECT_HOST:
            return "reject with icmp type host-prohibited"
        case Action.REJECT_PORT:
            return "reject with icmp type port-unreachable"
        case _:
            assert_never(action)


def _nat(topology: Topology, nat: Nat) -> Iterator[str]:
    out = f'oifname "{TO_SERVER if nat.inside == CLIENT else TO_CLIENT}"'
    new_ports = [f"{out} {_WITH_PORTS} counter masquerade random {ACTS}"] if nat.new_ports else []
    yield _base_chain("nat_out", "postrouting", *new_ports, f"{out} counter masquerade {ACTS}", kind="nat", priority=100)
    if nat.forwards:
        outside, inner = topology.outside_and_inner(nat)
        rules = [f"ip daddr {outside} {match} counter dnat to {inner} {ACTS}" for match in map(_service, nat.forwards)]
        yield _base_chain("nat_in", "prerouting", *rules, kind="nat", priority=-100)
    if nat.pptp_helper:
        yield _block("ct helper pptp_alg", 'type "pptp" protocol tcp;', "l3proto ip;")
        # After connection tracking (-200), which must know the flow before a helper can be set for it.
        yield _base_chain("nat_alg", "prerouting", 'tcp dport 1723 counter ct helper set "pptp_alg"', priority=-150)


def _service(service: Service) -> str:
    protocol = "meta l4proto != 1" if service.protocol is None else f"meta l4proto {service.protocol}"
    return f"{protocol} th dport {{ {_set(service.ports)} }}" if service.ports else protocol


def _firewall(topology: Topology, firewall: StatefulFirewall) -> str:
    """Later than the filters: what they drop opens no flow."""
    own = firewall.at in (CLIENT, SERVER)
    outside = 'iifname != "lo"' if own else f"iifname {_coming(topology, firewall.at, 's2c' if firewall.protects == CLIENT else 'c2s')}"
    return _base_chain(
        "firewall",
        "input" if own else "forward",
        f"{outside} ct state established,related counter accept",
        *(f"{outside} {_service(service)} counter accept" for service in firewall.allows),
        f"{outside} counter drop {ACTS}",
        priority=10,
    )


def _silence() -> str:
    errors = "{ destination-unreachable, time-exceeded, parameter-problem }"
    return _base_chain("silence", "output", f"icmp type {errors} counter drop {ACTS}")


def _black_hole() -> str:
    return _base_chain("black_hole", "output", f"icmp type destination-unreachable icmp code 4 counter drop {ACTS}")


def _losses(topology: Topology, host: str) -> Iterator[str]:
    """Link loss, at the router beside the link: an end host's own capture must still show what it sent, and nothing that was lost.

    A router loses what comes in over a link to another router or from an end host, and what goes out to an end host.
    """
    if host not in topology.names()[1:-1]:
        return
    position = topology.names().index(host)
    nearer, farther = topology.link(position - 1), topology.link(position)
    incoming = [_loss("iifname", TO_CLIENT, nearer.loss), _loss("iifname", TO_SERVER, farther.towards("s2c").loss)]
    outgoing = [
        _loss("oifname", TO_CLIENT, nearer.towards("s2c").loss if position == 1 else 0),
        _loss("oifname", TO_SERVER, farther.loss if position == topology.routers else 0),
    ]
    for hook, rules in (("prerouting", incoming), ("postrouting", outgoing)):
        if any(rules):
            yield _base_chain(f"loss_{hook}", hook, *filter(None, rules), priority=-300)


def _loss(key: str, interface: str, share: float) -> str:
    return f'{key} "{interface}" {_share(share)}counter drop {ACTS}' if share > 0 else ""


def _set(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
