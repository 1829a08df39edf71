"""What to run by hand where the firewall's manager is met and not supported, and whether it has been run.

The commands add what is lacking and take nothing out. Rules by hand bear no comment of ours: they are the administrator's, and once they
are there the firewall needs nothing more, whoever manages it.
"""

import json
import shlex
from collections.abc import Iterator

from vpnprobe.deployment.firewall.accepts import accepts
from vpnprobe.deployment.firewall.iptables_steps import Insertion, insertions
from vpnprobe.deployment.firewall.needs import FirewallNeeds, TunnelIpv6
from vpnprobe.deployment.firewall.nft_steps import live_rules
from vpnprobe.firewall.iptables_reader import lines
from vpnprobe.firewall.state import FirewallState, Loaded, Manager


def commands_by_hand(state: FirewallState, needs: FirewallNeeds) -> list[str]:
    """Lines for a shell, as root. Empty: nothing is lacking."""
    if nothing_lacks(state, needs):
        return []
    return list(_firewalld(needs) if state.manager is Manager.FIREWALLD else _filters(state, needs))


def nothing_lacks(state: FirewallState, needs: FirewallNeeds) -> bool:
    """Whether all filters let everything through, and addresses are translated."""
    if accepts(state.native, needs) or any(accepts(found.tables, needs) for found in state.iptables):
        return False
    return all(_translated(state, str(pool)) for version in (4, 6) for _, pool in needs.translated(version))


def _translated(state: FirewallState, pool: str) -> bool:
    texts = [line.text for found in state.iptables for line in lines(found.text) if line.table == "nat" and line.chain]
    if any(f"-s {pool} " in text and ("MASQUERADE" in text or "SNAT" in text) for text in texts):
        return True
    address, _, length = pool.partition("/")
    prefix = json.dumps({"addr": address, "len": int(length)})
    rules = [json.dumps(entry["rule"]) for entry in (state.nft or {}).get("nftables", ()) if "rule" in entry]
    return any(prefix in rule and ("masquerade" in rule or "snat" in rule) for rule in rules)


def _firewalld(needs: FirewallNeeds) -> Iterator[str]:
    """The devices of the default routes are in zones of their own; without one it is the default zone."""
    command = "firewall-cmd --permanent"
    for transport, port in needs.listeners:
        yield f"{command} --add-port={port}/{transport}"
    yield f"{command} --new-zone=vpnprobe"
    for device in needs.devices:
        yield f"{command} --zone=vpnprobe --add-interface={device}"
    yield f"{command} --new-policy=vpnprobe-out"
    yield f"{command} --policy=vpnprobe-out --add-ingress-zone=vpnprobe"
    yield f"{command} --policy=vpnprobe-out --add-egress-zone=ANY"
    yield f"{command} --policy=vpnprobe-out --set-target=ACCEPT"
    yield f"{command} --zone=vpnprobe --add-icmp-block-inversion"
    yield f"{command} --zone=vpnprobe --add-icmp-block=echo-request"
    for version in (4, 6):
        for _, pool in needs.translated(version):
            rule = f"rule family=ipv{version} source address={pool} masquerade"
            yield f"{command} --add-rich-rule={shlex.quote(rule)}"
    yield "firewall-cmd --reload"


def _filters(state: FirewallState, needs: FirewallNeeds) -> Iterator[str]:
    for line in live_rules(accepts(state.native, needs), "").splitlines():
        yield f"nft {shlex.quote(line.removesuffix(' comment ' + chr(34) * 2))}"
    for version in (4, 6):
        backend = state.default_backend(version)
        for found in [f for f in state.iptables if f.backend.version == version] or ([Loaded(backend, "")] if backend else []):
            wanted = insertions(found.tables, needs, version, translates=found.backend == backend)
            yield from _iptables(found, wanted)
            if version == 6 and needs.ipv6 is TunnelIpv6.BLOCKED and found.backend == backend:
                yield from (f"{found.backend.program} -I FORWARD 1 -i {device} -j REJECT" for device in needs.devices)


def _iptables(loaded: Loaded, wanted: list[Insertion]) -> Iterator[str]:
    """Last places first, so that the numbers of those before stay right. Docker heads FORWARD; DOCKER-USER is for others."""
    chains = {name for table in loaded.tables if table.name == "filter" for name in table.chains}
    for insertion in sorted(wanted, key=lambda i: (i.table, i.chain, i.before is not None, -(i.before or 0))):
        rule = insertion.rule.replace(f" -m comment --comment {insertion.comment}", "")
        program = f"{loaded.backend.program} -t {insertion.table}"
        if insertion.table == "filter" and insertion.chain == "FORWARD" and "DOCKER-USER" in chains:
            yield f"{program} -I DOCKER-USER 1 {rule}"
        elif insertion.before is None:
            yield f"{program} -A {insertion.chain} {rule}"
        else:
            yield f"{program} -I {insertion.chain} {insertion.before} {rule}"
