"""Steps of whole plans: what is refused, what they say, and that any ruleset of many lets the VPN's packets pass with them."""

import dataclasses
import random
from pathlib import Path

import pytest
from firewall_support import NEEDS, NEEDS6, SSH, Hosts, held_open

from vpnprobe.deployment.firewall.accepts import tag
from vpnprobe.deployment.firewall.planning import UNIT_FILE, firewall_steps
from vpnprobe.deployment.steps import ManageUnit, RunCommand, WriteFile
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.firewall.state import FirewallState, Manager
from vpnprobe.observations.schema import Transport

EMPTY = FirewallState(manager=Manager.NONE, nft={"nftables": []})
PARTS = (
    "ct state invalid drop",
    "ct state established,related accept",
    "ct state vmap { established : accept, invalid : drop }",
    "iif lo accept",
    "ip saddr 192.0.2.0/24 drop",
    "ip saddr { 198.51.100.1, 198.51.100.2 } counter drop",
    "tcp dport { 25, 137 } reject",
    "udp dport 1194 drop",
    "udp dport 1000-2000 reject",
    "meta l4proto udp drop",
    "meta l4proto icmp drop",
    'iifname "to-client" drop',
    'iifname != "lo" udp dport != 53 drop',
    'iifname "vpn0" drop',
    'oifname "to-web" counter',
    "ip saddr 10.8.0.0/16 reject",
    "ip saddr != 192.168.0.0/16 drop",
    "ip daddr 10.8.0.0/24 ct state established drop",
    'limit rate 3/minute log prefix "x"',
    "jump last",
    "jump some",
    'iifname "to-client" goto some',
    "udp dport vmap { 1194 : jump last, 53 : accept }",
    "counter drop",
    "reject",
    "return",
)


def random_ruleset(chance: random.Random) -> str:
    """ssh is open first of all; what else comes is by chance."""
    first = "tcp dport 22 accept; tcp sport 22 accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
    chains = ["chain last { counter drop; }", f"chain some {{ {'; '.join(chance.sample(PARTS[:10], 2))}; }}"]
    for number, hook in enumerate(("input", "forward", "forward", "input", "output", "prerouting", "postrouting")):
        fitting = [part for part in PARTS if fits(hook, part)]
        parts = chance.sample(fitting, chance.randrange(min(6, len(fitting))))
        head = f"type filter hook {hook} priority {number}; policy {chance.choice(('accept', 'drop'))}"
        chains.append(f"chain base{number} {{ {'; '.join([head, first, *parts])}; }}")
    return "table inet by_chance {\n" + "\n".join(chains) + "\n}\n"


def fits(hook: str, part: str) -> bool:
    """Whether nft takes a rule at a hook: not every one has both devices, or a refusal."""
    if hook in ("input", "prerouting") and "oif" in part:
        return False
    return hook in ("input", "forward") or not any(word in part for word in ("iif", "reject", "some"))


@pytest.mark.root
@pytest.mark.requires("namespaces", "ping")
def test_whatever_a_ruleset_drops_passes_with_the_steps(hosts: Hosts) -> None:
    with held_open(hosts) as alive:
        for seed in range(25):
            ruleset = random_ruleset(random.Random(seed))
            hosts.server("nft", "-f", "-", stdin=f"flush ruleset\n{ruleset}")
            before = hosts.rulesets()
            undo = hosts.take(hosts.steps())
            assert (hosts.listener_answers(), hosts.reaches_web(), alive()) == (True,) * 3, (
                f"{seed}: {hosts.server('nft', 'list', 'ruleset')}"
            )
            for one in undo:
                one()
            assert hosts.rulesets() == before


def test_a_listener_takes_no_port_by_which_the_server_is_reached() -> None:
    needs = dataclasses.replace(NEEDS, listeners=((Transport.TCP, SSH),))
    with pytest.raises(UsageError, match=r"TCP port 22 is one by which this server is reached now: choose another \(--listen\)") as error:
        firewall_steps(EMPTY, needs)
    assert error.value.status is ExitStatus.REFUSED
    assert firewall_steps(EMPTY, dataclasses.replace(NEEDS, listeners=((Transport.UDP, SSH),)))


def test_without_a_program_to_translate_with_it_is_refused() -> None:
    with pytest.raises(UsageError, match="apt install nftables"):
        firewall_steps(FirewallState(manager=Manager.NONE), NEEDS)


def test_other_needs_have_other_names(tmp_path: Path) -> None:
    assert tag(NEEDS) == tag(dataclasses.replace(NEEDS))
    assert tag(NEEDS) != tag(NEEDS6)
    steps = firewall_steps(EMPTY, NEEDS, root=tmp_path)
    assert len({step.id for step in steps}) == len(steps)
    (run,) = (step for step in steps if isinstance(step, RunCommand))
    assert tag(NEEDS).removeprefix("vpnprobe-") in run.command.stdin


def test_the_unit_is_started_where_there_is_systemd(tmp_path: Path) -> None:
    steps = firewall_steps(dataclasses.replace(EMPTY, systemd=True), NEEDS, root=tmp_path)
    assert [step.unit for step in steps if isinstance(step, ManageUnit)] == ["vpnprobe-firewall.service"]
    assert not any(isinstance(step, ManageUnit) for step in firewall_steps(EMPTY, NEEDS, root=tmp_path))
    (unit,) = (step.content.decode() for step in steps if isinstance(step, WriteFile) and step.path == UNIT_FILE)
    assert "ReloadPropagatedFrom=nftables.service" in unit
