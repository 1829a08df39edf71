"""Steps for nftables: accepts in the host's own chains, and a table of ours, in one transaction; and what loads both again at boot.

Our table has what no other table can undo: translation of addresses, and the refusal of IPv6 from tunnels that have none. Its name is
unique to the needs, so a later plan's stands beside it until this one is taken back. At boot a unit of ours loads it after the host's own
rules, of which no file is touched: accepts go to the same numbers in the same chains, for handles of rules are given anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vpnprobe.deployment.firewall.accepts import Accept, accepts, count_is, tag
from vpnprobe.deployment.firewall.needs import FirewallNeeds, TunnelIpv6
from vpnprobe.deployment.steps import Command, RunCommand, UndoCommand, UndoNftRules
from vpnprobe.firewall.model import OUR_TABLES, OURS
from vpnprobe.firewall.state import FirewallState

LISTING: Final = "nft list ruleset"
OWN_FILE: Final = "/etc/vpnprobe/firewall.nft"
ACCEPTS_FILE: Final = "/etc/vpnprobe/firewall-accepts.nft"


def own_table_name(needs: FirewallNeeds) -> str:
    """Of the family inet."""
    return OUR_TABLES + tag(needs).removeprefix(OURS)


def accept_comment(needs: FirewallNeeds) -> str:
    """Of accepts in the host's own chains."""
    return f"{tag(needs)}-accept"


def own_table(needs: FirewallNeeds, *, translates: bool) -> str:
    """Commands for `nft -f` that make our table, or make it anew; empty: it would have no rules."""
    bears = f'comment "{tag(needs)}-table"'
    chains = [
        ("nat", "type nat hook postrouting priority 100; policy accept;", _masquerades(needs, bears) if translates else []),
        ("tunnels", "type filter hook forward priority 0; policy accept;", _refusals(needs, bears)),
    ]
    blocks = [f"\tchain {name} {{\n\t\t{head}\n{_lines(rules)}\t}}\n" for name, head, rules in chains if rules]
    name = own_table_name(needs)
    return f"table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n{''.join(blocks)}}}\n" if blocks else ""


def _lines(rules: Sequence[str]) -> str:
    return "".join(f"\t\t{rule}\n" for rule in rules)


def _masquerades(needs: FirewallNeeds, bears: str) -> list[str]:
    elsewhere = f"oifname != {_devices(needs)}"
    return [
        f"{'ip' if version == 4 else 'ip6'} saddr {pool} {elsewhere} masquerade {bears}"
        for version in (4, 6)
        for _, pool in needs.translated(version)
    ]


def _refusals(needs: FirewallNeeds, bears: str) -> list[str]:
    if needs.ipv6 is not TunnelIpv6.BLOCKED or not needs.tunnels:
        return []
    return [f"iifname {_devices(needs)} meta nfproto ipv6 reject with icmpv6 type admin-prohibited {bears}"]


def _devices(needs: FirewallNeeds) -> str:
    names = [f'"{device}"' for device in needs.devices]
    return names[0] if len(names) == 1 else f"{{ {', '.join(names)} }}"


def live_rules(found: Sequence[Accept], comment: str) -> str:
    """Commands that put accepts where they belong now."""
    return "".join(
        f"{_verb(accept)} {'' if accept.place.before is None else f'handle {accept.place.before} '}{_body(accept, comment)}\n"
        for accept in found
    )


def boot_rules(found: Sequence[Accept], needs: FirewallNeeds, document: Mapping[str, Any]) -> str:
    """The same for a ruleset that has been loaded again. The last come first: numbers count what the same transaction has put in."""
    order = _order(document)
    inserted = sorted((a for a in found if a.place.before is not None), key=lambda a: _index(a, order))
    comment = accept_comment(needs)
    first = [f"{_verb(accept)} index {_index(accept, order)} {_body(accept, comment)}\n" for accept in reversed(inserted)]
    return "".join([*first, *(f"{_verb(a)} {_body(a, comment)}\n" for a in found if a.place.before is None)])


def _verb(accept: Accept) -> str:
    verb = "add" if accept.place.before is None else "insert"
    return f"{verb} rule {accept.table.family} {accept.table.name} {accept.place.chain}"


def _body(accept: Accept, comment: str) -> str:
    return f'{accept.opening.nft()} accept comment "{comment}"'


def _index(accept: Accept, order: Mapping[tuple[str, str, str], Sequence[int | None]]) -> int:
    """Number of the rule that it goes before."""
    return order[accept.table.family, accept.table.name, accept.place.chain].index(accept.place.before)


def _order(document: Mapping[str, Any]) -> dict[tuple[str, str, str], list[int | None]]:
    """Handles of a chain's rules, in order, without ours."""
    found: dict[tuple[str, str, str], list[int | None]] = {}
    for entry in document.get("nftables", ()):
        rule = entry.get("rule")
        if rule is not None and not str(rule.get("comment", "")).startswith(OURS):
            found.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule["handle"])
    return found


def nft_steps(state: FirewallState, needs: FirewallNeeds, *, translates: bool) -> Iterator[RunCommand]:
    """The one step, where there is an nft and anything to be done. `translates`: whether our table does."""
    if state.nft is None:
        return
    comment = accept_comment(needs)
    found = accepts(state.native, needs)
    own = own_table(needs, translates=translates)
    text = own + live_rules(found, comment)
    if not text:
        return
    yield RunCommand(
        id="firewall-nft",
        why=_why(state, needs, found, translates=translates),
        command=Command(("nft", "-f", "-"), text),
        check=Command(("nft", "-c", "-f", "-"), text),
        done_when=count_is(LISTING, tag(needs), text.count(f'comment "{tag(needs)}-')),
        undo=(*_table_undo(needs, own), *([UndoNftRules(comment)] if found else [])),
    )


def _table_undo(needs: FirewallNeeds, own: str) -> Iterator[UndoCommand]:
    if own:
        table = ("table", "inet", own_table_name(needs))
        yield UndoCommand(Command(("nft", "delete", *table)), when=Command(("nft", "list", *table)))


def _why(state: FirewallState, needs: FirewallNeeds, found: Sequence[Accept], *, translates: bool) -> str:
    parts = []
    if found:
        chains = dict.fromkeys(f"{a.table.family} {a.table.name} {a.place.chain}" for a in found)
        parts.append(f"the host's own rules drop what the VPN needs: accepts go in front of what drops it, in {', '.join(chains)}")
    if translates and needs.translated(4):
        parts.append("the clients' IPv4 addresses are translated to the server's, since nobody else has a route to them")
    if translates and needs.translated(6):
        parts.append("so are their IPv6 addresses, since the server has no prefix that is routed to it")
    parts.append(ipv6_why(needs))
    return "; ".join(filter(None, parts))


def ipv6_why(needs: FirewallNeeds) -> str:
    """What becomes of IPv6 inside the tunnel, said where nothing of it is translated."""
    match needs.ipv6:
        case TunnelIpv6.BLOCKED:
            return "IPv6 inside the tunnel is blocked, since the server has no IPv6 prefix for it"
        case TunnelIpv6.ROUTED:
            return "IPv6 inside the tunnel is routed, since the server has a prefix for it"
        case TunnelIpv6.NATED:
            return ""
