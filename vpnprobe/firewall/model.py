"""A firewall's rules, and whether they let a packet pass: one model for nftables and iptables. Pure.

A packet is known in part: who will connect, for one, is not. So a rule fits it surely, surely not, or perhaps. What perhaps drops it (a
list of blocked addresses, a limit of the rate, `ct state invalid`) is meant as an exception and stays in front of ours; what surely drops
it needs an accept before it. Two things count as sure that are not quite: a rule for all but named addresses, devices or marks, and the
last rules of a chain of its own that is jumped to under a condition and accepts some packets: that is a policy for them, not an
exception.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Final, assert_never

OURS: Final = "vpnprobe-"
"""What comments on our rules begin with. Rules that bear one are read as if they were not there."""
OUR_TABLES: Final = "vpnprobe_"
"""What names of our tables begin with; they are not read either."""

Network = IPv4Network | IPv6Network
Value = str | int | range | Network


class Answer(IntEnum):
    """Whether a packet fits."""

    NO = 0
    MAYBE = 1
    YES = 2


class Hook(StrEnum):
    """Where a packet meets base chains."""

    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


class Field(StrEnum):
    """What conditions are about."""

    VERSION = "version"
    """Of IP: 4 or 6."""
    IIF = "iif"
    OIF = "oif"
    PROTOCOL = "protocol"
    """`tcp`, `udp`, `gre`, `esp`, `icmp` for ICMP and ICMPv6."""
    SOURCE = "source"
    DESTINATION = "destination"
    SOURCE_PORT = "sport"
    DESTINATION_PORT = "dport"
    STATE = "state"
    """Of its connection: `new`, `established`."""
    ICMP_TYPE = "icmp-type"
    TO = "to"
    """Kind of its destination: `local`."""
    MARK = "mark"
    OTHER = "other"
    """Something that is not looked into: it fits perhaps, negated or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One that has to pass. None: any."""

    hook: Hook
    version: int
    protocol: str
    state: str
    iif: str | None = None
    oif: str | None = None
    source: Network | None = None
    destination: Network | None = None
    sport: int | None = None
    dport: int | None = None
    icmp_type: str | None = None
    apart_from: frozenset[str] = frozenset()
    """Devices that one which is not known is none of."""
    in_part: bool = False
    """Some packets like it are known to be dropped and others to pass: then it is what looks at more than headers that drops them."""

    def value(self, field: Field) -> Value | None:
        """None: not known."""
        match field:
            case Field.VERSION:
                return self.version
            case Field.IIF:
                return self.iif
            case Field.OIF:
                return self.oif
            case Field.PROTOCOL:
                return self.protocol
            case Field.SOURCE:
                return self.source
            case Field.DESTINATION:
                return self.destination
            case Field.SOURCE_PORT:
                return self.sport
            case Field.DESTINATION_PORT:
                return self.dport
            case Field.STATE:
                return self.state
            case Field.ICMP_TYPE:
                return self.icmp_type
            case Field.TO:
                return "local" if self.hook is Hook.INPUT else None
            case Field.MARK | Field.OTHER:
                return None
            case _:
                assert_never(field)


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the values, or none of them."""

    field: Field
    values: tuple[Value, ...] = ()
    """Empty: they are not known."""
    negated: bool = False

    def answer(self, packet: Packet) -> Answer:
        """Whether a packet fits."""
        value = packet.value(self.field)
        if self.field is Field.OTHER:
            return Answer.MAYBE
        if value is None and self.field in (Field.IIF, Field.OIF) and self.values and packet.apart_from.issuperset(self.values):
            return Answer.YES if self.negated else Answer.NO
        if value is None or not self.values:
            return Answer.YES if self.negated else Answer.MAYBE
        found = max(_fits(value, wanted) for wanted in self.values)
        return Answer(Answer.YES - found) if self.negated else found


UNKNOWN: Final = Condition(Field.OTHER)


def _fits(value: Value, wanted: Value) -> Answer:
    if isinstance(value, IPv4Network | IPv6Network):
        return _inside(value, wanted) if isinstance(wanted, IPv4Network | IPv6Network) else Answer.MAYBE
    if isinstance(wanted, range):
        return Answer.YES if value in wanted else Answer.NO
    if isinstance(value, str) and isinstance(wanted, str) and wanted[-1:] in ("*", "+"):
        return Answer.YES if value.startswith(wanted[:-1]) else Answer.NO
    return Answer.YES if value == wanted else Answer.NO


def _inside(value: Network, wanted: Network) -> Answer:
    if value.version != wanted.version or not value.overlaps(wanted):
        return Answer.NO
    return Answer.YES if value.prefixlen >= wanted.prefixlen else Answer.MAYBE


class Verdict(StrEnum):
    """What a rule does."""

    ACCEPT = "accept"
    DROP = "drop"
    """Or reject."""
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"
    CONTINUE = "continue"
    """It counts, logs, marks and the like."""


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions have to fit. One rule of a firewall with several verdicts or alternatives is several of these, with one place."""

    place: int
    """nftables: its handle; iptables: its number in the chain, from 1."""
    conditions: tuple[Condition, ...]
    verdict: Verdict
    target: str = ""
    """Chain of a JUMP or GOTO."""

    def answer(self, packet: Packet) -> Answer:
        """Whether a packet fits."""
        return min((condition.answer(packet) for condition in self.conditions), default=Answer.YES)

    def looks_deeper(self, packet: Packet) -> bool:
        """Whether a packet fits but for what is not looked into: its size, chance, a limit on rate."""
        known = [condition for condition in self.conditions if condition.field is not Field.OTHER]
        return len(known) < len(self.conditions) and all(condition.answer(packet) is Answer.YES for condition in known)


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order. What nothing in a base chain decides meets the policy."""

    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None
    """None: a chain that is jumped to, or a base chain that drops nothing of ours (NAT)."""
    drops: bool = False
    """The policy is drop."""


@dataclass(frozen=True, slots=True)
class Table:
    """A namespace of chains."""

    family: str
    """nftables: `ip`, `ip6`, `inet`; iptables: `ip`, `ip6`."""
    name: str
    chains: Mapping[str, Chain]

    def carries(self, version: int) -> bool:
        """Whether packets of an IP version meet it."""
        return self.family in ("inet", {4: "ip", 6: "ip6"}[version])


@dataclass(frozen=True, slots=True)
class Place:
    """Where an accept has to stand."""

    chain: str
    before: int | None
    """Place of the rule it goes before; None: at the end of the chain."""


@dataclass(frozen=True, slots=True)
class _Left:
    """A chain was left with nothing decided."""

    before: int | None
    """The rule that returned; None: its end was reached."""


_Outcome = Place | _Left | Verdict
"""Verdict.ACCEPT: accepted."""


def needed_accepts(table: Table, packets: Iterable[Packet]) -> list[Place]:
    """Where in a table accepts have to stand for all these packets to pass it, each place once, in the order in which packets need them."""
    found: list[Place] = []
    for packet in packets:
        for chain in table.chains.values():
            if chain.hook is packet.hook and table.carries(packet.version):
                place = where_dropped(table, chain, packet)
                if place is not None and place not in found:
                    found.append(place)
    return found


def where_dropped(table: Table, base: Chain, packet: Packet) -> Place | None:
    """The place before what drops a packet in a base chain; None: it passes."""
    outcome = _walk(table, base, packet)
    if isinstance(outcome, Place):
        return outcome
    return Place(base.name, outcome.before) if isinstance(outcome, _Left) and base.drops else None


def _walk(table: Table, chain: Chain, packet: Packet) -> _Outcome:
    for rule in chain.rules:
        outcome = _step(table, chain, rule, packet)
        if outcome is not None:
            return outcome
    return _Left(None)


def _step(table: Table, chain: Chain, rule: Rule, packet: Packet) -> _Outcome | None:
    """What one rule makes of a packet; None: the next one goes on."""
    answer = rule.answer(packet)
    if answer is Answer.NO:
        return None
    match rule.verdict:
        case Verdict.JUMP | Verdict.GOTO:
            return _enter(table, chain, rule, packet, answer)
        case Verdict.CONTINUE:
            return None
        case Verdict.ACCEPT:
            return Verdict.ACCEPT if answer is Answer.YES else None
        case Verdict.DROP:
            return Place(chain.name, rule.place) if answer is Answer.YES or (packet.in_part and rule.looks_deeper(packet)) else None
        case Verdict.RETURN:
            return _Left(rule.place) if answer is Answer.YES else None
        case _:
            assert_never(rule.verdict)


def _enter(table: Table, chain: Chain, rule: Rule, packet: Packet, answer: Answer) -> _Outcome | None:
    target = table.chains.get(rule.target)
    if target is None:
        return None
    outcome = _walk(table, target, packet)
    if answer is Answer.MAYBE:
        if packet.in_part and rule.looks_deeper(packet) and isinstance(outcome, Place):
            return outcome
        return outcome if isinstance(outcome, Place) and _accepts(table, target.rules) else None
    if isinstance(outcome, _Left):
        return _Left(rule.place) if rule.verdict is Verdict.GOTO else None
    return outcome


def _accepts(table: Table, rules: Sequence[Rule]) -> bool:
    """Whether some packets are accepted in a chain or in those that it leads to."""
    return any(
        rule.verdict is Verdict.ACCEPT
        or (
            rule.verdict in (Verdict.JUMP, Verdict.GOTO)
            and rule.target in table.chains
            and _accepts(table, table.chains[rule.target].rules)
        )
        for rule in rules
    )
