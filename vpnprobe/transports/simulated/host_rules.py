"""The firewall of a host of the simulated network as its administrator would see it: rules of nftables, as `nft -j` tells them."""

from collections.abc import Iterator, Sequence
from typing import Any

from vpnprobe.firewall.state import FirewallState, Manager
from vpnprobe.transports.topology import Action, Filter

FAMILY, TABLE = "inet", "filter"


def firewall_of(filters: Sequence[Filter]) -> FirewallState:
    """The filters that act at a host, each as a rule of the chain of its hook; what looks deeper into packets is not told in full."""
    if not filters:
        return FirewallState(manager=Manager.NONE)
    place = {"family": FAMILY, "table": TABLE}
    document: list[dict[str, Any]] = [{"table": {"family": FAMILY, "name": TABLE}}]
    for hook in dict.fromkeys(rule.hook for rule in filters):
        document.append({"chain": {**place, "name": hook.value, "type": "filter", "hook": hook.value, "policy": "accept"}})
    for number, rule in enumerate(filters, 1):
        for matches in _matches(rule):
            verdict = {"drop" if rule.action is Action.DROP else "reject": None}
            document.append({"rule": {**place, "chain": rule.hook.value, "handle": number, "expr": [*matches, verdict]}})
    return FirewallState(manager=Manager.NFTABLES, nft={"nftables": document})


def _matches(rule: Filter) -> Iterator[list[dict[str, Any]]]:
    """Alternatives: either of the two ports is enough."""
    common = [_match("==", {"meta": {"key": "l4proto"}}, rule.protocol)] if rule.protocol is not None else []
    if rule.except_protocols:
        common.append(_match("!=", {"meta": {"key": "l4proto"}}, {"set": list(rule.except_protocols)}))
    common += [_match("!=", _port(end), {"set": list(rule.except_ports)}) for end in ("sport", "dport") if rule.except_ports]
    if rule.payload or rule.longer_than is not None or rule.after_packets is not None or rule.timed or rule.probability < 1:
        common.append({"xt": None})
    yield from ([*common, _match("==", _port(end), {"set": list(rule.ports)})] for end in ("sport", "dport") if rule.ports)
    if not rule.ports:
        yield common


def _port(end: str) -> dict[str, Any]:
    return {"payload": {"protocol": "th", "field": end}}


def _match(operator: str, left: dict[str, Any], right: object) -> dict[str, Any]:
    return {"match": {"op": operator, "left": left, "right": right}}
