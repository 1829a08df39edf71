"""What `nft -j list ruleset` says, as tables of the model. Pure.

Expressions that are not looked into (marks of connections, limits, `fib`, xt modules and whatever a newer nft may print) are conditions
that fit perhaps. Tables of other families than ip, ip6 and inet are left out, and so are chains of NAT, where nothing is dropped.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network, summarize_address_range
from itertools import product
from typing import Any, Final

from vpnprobe.firewall.model import (
    OUR_TABLES,
    OURS,
    UNKNOWN,
    Chain,
    Condition,
    Field,
    Hook,
    Rule,
    Table,
    Value,
    Verdict,
)

Json = Any
Row = tuple[Condition, ...]
FAMILIES: Final = ("ip", "ip6", "inet")
_HOOKS: Final = {str(hook): hook for hook in Hook}
_META: Final = {
    "iif": Field.IIF,
    "iifname": Field.IIF,
    "oif": Field.OIF,
    "oifname": Field.OIF,
    "l4proto": Field.PROTOCOL,
    "nfproto": Field.VERSION,
    "protocol": Field.VERSION,
    "mark": Field.MARK,
}
_PAYLOAD: Final = {
    "saddr": Field.SOURCE,
    "daddr": Field.DESTINATION,
    "sport": Field.SOURCE_PORT,
    "dport": Field.DESTINATION_PORT,
    "protocol": Field.PROTOCOL,
    "nexthdr": Field.PROTOCOL,
    "type": Field.ICMP_TYPE,
}
_IMPLIED: Final[Mapping[str, Row]] = {
    "ip": (Condition(Field.VERSION, (4,)),),
    "ip6": (Condition(Field.VERSION, (6,)),),
    "icmp": (Condition(Field.VERSION, (4,)), Condition(Field.PROTOCOL, ("icmp",))),
    "icmpv6": (Condition(Field.VERSION, (6,)), Condition(Field.PROTOCOL, ("icmp",))),
    "th": (),
}
"""What a condition on a header says besides; of others the protocol has the header's name."""
_WORDS: Final[Mapping[tuple[Field, object], Value]] = {
    (Field.VERSION, "ipv4"): 4,
    (Field.VERSION, "ip"): 4,
    (Field.VERSION, "ipv6"): 6,
    (Field.VERSION, "ip6"): 6,
    (Field.PROTOCOL, "ipv6-icmp"): "icmp",
    (Field.PROTOCOL, "icmpv6"): "icmp",
    (Field.PROTOCOL, 1): "icmp",
    (Field.PROTOCOL, 6): "tcp",
    (Field.PROTOCOL, 17): "udp",
    (Field.PROTOCOL, 47): "gre",
    (Field.PROTOCOL, 50): "esp",
}
_VERDICTS: Final = {
    "accept": Verdict.ACCEPT,
    "drop": Verdict.DROP,
    "reject": Verdict.DROP,
    "queue": Verdict.ACCEPT,
    "return": Verdict.RETURN,
    "jump": Verdict.JUMP,
    "goto": Verdict.GOTO,
}
_SIDE_EFFECTS: Final = frozenset({"counter", "log", "mangle", "notrack", "ct helper", "flow", "ct timeout", "ct expectation"})
"""Statements that every packet passes."""


def tables(document: Json) -> list[Table]:
    """Those of a ruleset, ours left out. Rules that bear our comment are left out too."""
    listed: Sequence[Mapping[str, Json]] = document.get("nftables", ())
    sets = {(s["family"], s["table"], s["name"]): s.get("elem", ()) for s in _of(listed, "set", "map")}
    found: dict[tuple[str, str], dict[str, Chain]] = {
        (table["family"], table["name"]): {}
        for table in _of(listed, "table")
        if table["family"] in FAMILIES and not table["name"].startswith(OUR_TABLES)
    }
    rules: dict[tuple[str, str, str], list[Rule]] = {}
    for rule in _of(listed, "rule"):
        key = (rule["family"], rule["table"], rule["chain"])
        if not str(rule.get("comment", "")).startswith(OURS):
            rules.setdefault(key, []).extend(_rules(rule, _Sets(sets, key[:2])))
    for chain in _of(listed, "chain"):
        chains = found.get((chain["family"], chain["table"]))
        if chains is not None:
            chains[chain["name"]] = _chain(chain, rules)
    return [Table(family, name, chains) for (family, name), chains in found.items()]


def _of(listed: Iterable[Mapping[str, Json]], *kinds: str) -> Iterator[Json]:
    return (entry[kind] for entry in listed for kind in kinds if kind in entry)


def _chain(chain: Json, rules: Mapping[tuple[str, str, str], list[Rule]]) -> Chain:
    key = (chain["family"], chain["table"], chain["name"])
    hook = _HOOKS.get(chain.get("hook", "")) if chain.get("type") in ("filter", "route") else None
    return Chain(chain["name"], tuple(rules.get(key, ())), hook, drops=chain.get("policy") == "drop")


class _Sets:
    """The named sets and maps of one table."""

    def __init__(self, sets: Mapping[tuple[str, str, str], Json], table: tuple[str, str]) -> None:
        self._sets, self._table = sets, table

    def elements(self, right: Json) -> Sequence[Json] | None:
        """What stands at the right of a comparison, one by one; None: not known."""
        if isinstance(right, str) and right.startswith("@"):
            named = self._sets.get((*self._table, right[1:]))
            return None if not named else [_bare(element) for element in named]
        if isinstance(right, Mapping) and "set" in right:
            return [_bare(element) for element in right["set"]]
        return right if isinstance(right, list) else [right]


def _bare(element: Json) -> Json:
    """Without its timeout, counter and the like."""
    return element["elem"]["val"] if isinstance(element, Mapping) and "elem" in element else element


def _rules(rule: Json, sets: _Sets) -> Iterator[Rule]:
    """The rules of the model that one rule is: as many as it has alternatives and verdicts."""
    alternatives: list[list[Row]] = []
    for expression in rule.get("expr", ()):
        kind, content = next(iter(expression.items()))
        if kind == "vmap":
            for row, verdict, target in _vmap(content, sets):
                yield from _combined(rule["handle"], [*alternatives, [row]], verdict, target)
        elif kind in _VERDICTS:
            target = content["target"] if kind in ("jump", "goto") else ""
            yield from _combined(rule["handle"], alternatives, _VERDICTS[kind], target)
        elif kind == "match":
            alternatives.append(_match(content, sets))
        elif kind == "set" and "stmt" not in content:
            continue
        elif kind not in _SIDE_EFFECTS:
            alternatives.append([(UNKNOWN,)])


def _combined(handle: int, alternatives: Sequence[Sequence[Row]], verdict: Verdict, target: str) -> Iterator[Rule]:
    for rows in product(*alternatives):
        yield Rule(handle, tuple(condition for row in rows for condition in row), verdict, target)


def _vmap(content: Json, sets: _Sets) -> Iterator[tuple[Row, Verdict, str]]:
    for element in sets.elements(content["data"]) or ():
        key, action = element
        kind, inner = next(iter(action.items()))
        if kind in _VERDICTS:
            target = inner["target"] if kind in ("jump", "goto") else ""
            yield _row(content["key"], [_bare(key)], negated=False), _VERDICTS[kind], target


def _match(content: Json, sets: _Sets) -> list[Row]:
    """Alternatives: any of these rows."""
    operator, left, right = content["op"], content["left"], content["right"]
    negated = operator == "!="
    if operator not in ("==", "!=", "in"):
        return [(*_implied(left), UNKNOWN)]
    elements = sets.elements(right)
    if isinstance(left, Mapping) and "concat" in left:
        return [(UNKNOWN,)] if negated or elements is None else [_concatenated(left["concat"], element) for element in elements]
    return [_row(left, elements, negated=negated)]


def _concatenated(lefts: Sequence[Json], element: Json) -> Row:
    parts = element["concat"] if isinstance(element, Mapping) and "concat" in element else [element]
    return tuple(condition for left, part in zip(lefts, parts, strict=False) for condition in _row(left, [part], negated=False))


def _row(left: Json, elements: Sequence[Json] | None, *, negated: bool) -> Row:
    """One comparison, with what it implies."""
    if isinstance(left, Mapping) and "concat" in left:
        return _concatenated(left["concat"], elements[0]) if elements else (UNKNOWN,)
    field = _field(left)
    if field is Field.OTHER:
        return (*_implied(left), UNKNOWN)
    values = tuple(value for element in elements or () for value in _values(field, element))
    return (*_implied(left), Condition(field, values, negated))


def _field(left: Json) -> Field:
    if not isinstance(left, Mapping):
        return Field.OTHER
    match left:
        case {"meta": {"key": str(key)}}:
            return _META.get(key, Field.OTHER)
        case {"ct": {"key": "state"}}:
            return Field.STATE
        case {"payload": {"field": str(name)}}:
            return _PAYLOAD.get(name, Field.OTHER)
        case {"fib": {"result": "type", "flags": ["daddr"] | "daddr"}}:
            return Field.TO
        case _:
            return Field.OTHER


def _implied(left: Json) -> Row:
    match left:
        case {"payload": {"protocol": str(header)}}:
            return _IMPLIED.get(header, (Condition(Field.PROTOCOL, (header,)),))
        case {"&": [inner, *_]}:
            return _implied(inner)
        case _:
            return ()


def _values(field: Field, element: Json) -> Iterable[Value]:
    """One element at the right of a comparison; nothing where it is not understood."""
    try:
        if field in (Field.SOURCE, Field.DESTINATION):
            return _networks(element)
        if isinstance(element, Mapping) and "range" in element:
            low, high = element["range"]
            return (range(int(low), int(high) + 1),)
    except (KeyError, TypeError, ValueError):
        return ()
    return (_WORDS.get((field, element), element),) if isinstance(element, str | int) else ()


def _networks(element: Json) -> Iterable[Value]:
    match element:
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            return (ip_network(f"{address}/{length}", strict=False),)
        case {"range": [str(first), str(last)]}:
            ends = ip_address(first), ip_address(last)
            return tuple(summarize_address_range(ends[0], ends[1]))
        case str():
            return (ip_network(element),)
        case _:
            return ()
