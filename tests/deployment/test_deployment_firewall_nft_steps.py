"""nftables, and hosts without any firewall: shown by traffic before the steps, after them and once they are taken back."""

import dataclasses
import shlex

import pytest
from firewall_support import NEEDS6, SERVER6, WEB6, Hosts, held_open, run

from vpnprobe.deployment.firewall.needs import TunnelIpv6
from vpnprobe.deployment.steps import RunCommand
from vpnprobe.firewall.state import Manager

pytestmark = [pytest.mark.root, pytest.mark.requires("namespaces", "ping")]

NOTHING = ""
POLICY = """
table inet filter {
  set blocked { type ipv4_addr; elements = { 192.0.2.9 }; }
  map verdicts { type inet_service : verdict; elements = { 25 : drop }; }
  counter hits { }
  chain input {
    type filter hook input priority 0; policy drop;
    ct state invalid counter drop comment "nonsense"
    ct state vmap { established : accept, related : accept }
    iif lo accept
    ip saddr @blocked drop
    tcp dport vmap @verdicts
    tcp dport { 22, 80 } counter name hits accept comment "the administrator's own"
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
  }
  chain output { type filter hook output priority 0; policy accept; }
}
"""
REJECTS = """
table inet filter {
  chain input {
    type filter hook input priority filter; policy accept;
    ct state established,related accept
    tcp dport 22 accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    limit rate 3/minute log prefix "denied "
    counter reject with icmpx type admin-prohibited
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    counter reject
  }
}
"""
TWO_BASE_CHAINS = """
table inet early {
  chain input { type filter hook input priority -10;
    tcp dport 22 accept; udp dport 1194 accept; tcp dport 8443 accept; }
  chain forward { type filter hook forward priority -10; policy accept; iifname "vpn0" accept; }
}
table inet late {
  chain input { type filter hook input priority 10; policy drop;
    tcp dport 22 accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }
  chain forward { type filter hook forward priority 10; policy drop; ct state established accept; }
}
"""
MIXED_FAMILIES = """
table ip four {
  chain in { type filter hook input priority 0; policy drop; tcp dport 22 accept; ct state established accept; }
  chain out { type filter hook output priority 0; policy drop; ct state established,related accept; }
}
table ip6 six {
  chain in { type filter hook input priority 0; policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }
}
table inet both {
  chain forward { type filter hook forward priority 5; meta nfproto ipv4 drop; meta l4proto { icmp, icmpv6 } drop; }
}
"""
OWN_CHAINS = """
table inet filter {
  chain log_and_drop { log prefix "dropped "; counter drop; }
  chain outside {
    ct state established,related accept; tcp dport 22 accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    goto log_and_drop
  }
  chain between { iifname "eth9" accept; jump log_and_drop; }
  chain input {
    type filter hook input priority 0; policy accept; iifname vmap { "lo" : accept, "to-client" : jump outside }
    ip saddr 10.8.0.0/24 drop
  }
  chain forward { type filter hook forward priority 0; policy accept; jump between; }
}
"""
ONLY_NAMED = """
table inet filter {
  chain input {
    type filter hook input priority 0;
    iifname != "lo" tcp dport != { 22, 443 } drop
    iifname "to-client" udp dport != 53 drop
    ip saddr 10.8.0.0/16 reject
  }
  chain forward { type filter hook forward priority 0; oifname != "to-client" ip saddr != 192.168.0.0/16 drop; }
}
"""
DROPPING = {
    "policy": POLICY,
    "rejects": REJECTS,
    "two-base-chains": TWO_BASE_CHAINS,
    "mixed-families": MIXED_FAMILIES,
    "own-chains": OWN_CHAINS,
    "only-named": ONLY_NAMED,
}


def test_without_a_firewall_only_translation_is_lacking(hosts: Hosts) -> None:
    before = hosts.rulesets()
    assert hosts.detect().manager is Manager.NONE
    assert hosts.listener_answers()
    assert not hosts.reaches_web()
    undo = hosts.take(hosts.steps())
    assert hosts.reaches_web()
    assert hosts.listener_answers()
    for one in undo:
        one()
    assert hosts.rulesets() == before
    assert not hosts.reaches_web()


@pytest.mark.parametrize("name", DROPPING)
def test_what_a_ruleset_drops_passes_and_all_is_put_back(hosts: Hosts, name: str) -> None:
    hosts.server("nft", "-f", "-", stdin=DROPPING[name])
    before = hosts.rulesets()
    assert hosts.detect().manager is Manager.NFTABLES
    with held_open(hosts) as alive:
        assert alive()
        assert not hosts.reaches_web()
        assert name == "two-base-chains" or not hosts.listener_answers()
        undo = hosts.take(hosts.steps())
        assert (hosts.listener_answers(), hosts.listener_answers(SERVER6), hosts.reaches_web(), hosts.echoes_in_tunnel()) == (True,) * 4
        assert alive()
        taken = hosts.rulesets()
        assert all(hosts.succeeds(step.done_when) for step in hosts.steps() if isinstance(step, RunCommand) and step.done_when)
        hosts.take(hosts.steps())
        assert hosts.rulesets() == taken
        for _ in range(2):
            for one in undo:
                one()
        assert hosts.rulesets() == before
        assert alive()
        assert not hosts.reaches_web()


def boot(hosts: Hosts, administrators: str) -> None:
    """As after a boot: the host's own rules anew, then what the unit starts."""
    hosts.server("nft", "-f", "-", stdin=f"flush ruleset\n{administrators}")
    start_unit(hosts)


def start_unit(hosts: Hosts) -> None:
    unit = (hosts.root / "etc/systemd/system/vpnprobe-firewall.service").read_text()
    for line in unit.splitlines():
        if line.startswith("ExecStart="):
            hosts.server(*shlex.split(line.removeprefix("ExecStart=").replace("/etc/vpnprobe", f"{hosts.root}/etc/vpnprobe")))


@pytest.mark.parametrize("name", ["policy", "rejects", "own-chains"])
def test_after_a_boot_it_passes_from_what_is_on_disk(hosts: Hosts, name: str) -> None:
    hosts.server("nft", "-f", "-", stdin=DROPPING[name])
    undo = hosts.take(hosts.steps())
    taken = hosts.rulesets()["nft"]
    boot(hosts, DROPPING[name])
    assert hosts.rulesets()["nft"] == taken
    start_unit(hosts)
    assert hosts.rulesets()["nft"] == taken
    assert hosts.listener_answers()
    assert hosts.reaches_web()
    for one in undo:
        one()
    left = hosts.rulesets()["nft"]
    hosts.server("nft", "-f", "-", stdin=f"flush ruleset\n{DROPPING[name]}")
    assert hosts.rulesets()["nft"] == left


@pytest.mark.parametrize("number", [0, 1, 2])
def test_half_of_a_step_is_taken_back(hosts: Hosts, number: int) -> None:
    hosts.server("nft", "-f", "-", stdin=POLICY)
    before = hosts.rulesets()
    (step,) = (step for step in hosts.steps() if isinstance(step, RunCommand))
    lines = [line for line in step.command.stdin.splitlines(True) if line.startswith(("insert", "add"))]
    hosts.server("nft", "-f", "-", stdin="".join(lines[:number]))
    hosts.undo(step.undo)
    assert hosts.rulesets() == before


def test_an_accept_stands_in_front_of_what_drops_and_behind_the_exceptions(hosts: Hosts) -> None:
    hosts.server("nft", "-f", "-", stdin=REJECTS)
    hosts.take(hosts.steps())
    chain = hosts.server("nft", "list", "chain", "inet", "filter", "input").splitlines()
    what = ["ours" if "vpnprobe-" in line else line.split()[0] for line in chain]
    assert what[-7:] == ["limit", "ours", "ours", "ours", "counter", "}", "}"]


@pytest.mark.parametrize("ruleset", [NOTHING, POLICY, MIXED_FAMILIES])
def test_ipv6_inside_the_tunnel_is_translated(hosts: Hosts, ruleset: str) -> None:
    hosts.server("nft", "-f", "-", stdin=ruleset)
    before = hosts.rulesets()
    assert not hosts.reaches_web(WEB6)
    undo = hosts.take(hosts.steps(NEEDS6))
    assert hosts.reaches_web(WEB6)
    assert hosts.reaches_web()
    for one in undo:
        one()
    assert hosts.rulesets() == before


def test_ipv6_inside_the_tunnel_is_routed_where_there_is_a_prefix(hosts: Hosts) -> None:
    hosts.server("nft", "-f", "-", stdin=POLICY)
    run("ip", "-n", f"{hosts.prefix}-web", "-6", "route", "add", "fd08::/64", "via", "fd79:2::1")
    assert not hosts.reaches_web(WEB6)
    steps = hosts.steps(dataclasses.replace(NEEDS6, ipv6=TunnelIpv6.ROUTED))
    hosts.take(steps)
    assert hosts.reaches_web(WEB6)
    assert "IPv6 inside the tunnel is routed" in steps[0].why


def test_ipv6_inside_the_tunnel_is_blocked_and_said_where_there_is_none(hosts: Hosts) -> None:
    run("ip", "-n", f"{hosts.prefix}-web", "-6", "route", "add", "fd08::/64", "via", "fd79:2::1")
    assert hosts.reaches_web(WEB6)
    steps = hosts.steps()
    undo = hosts.take(steps)
    assert not hosts.reaches_web(WEB6)
    assert hosts.reaches_web()
    assert "IPv6 inside the tunnel is blocked" in steps[0].why
    for one in undo:
        one()
    assert hosts.reaches_web(WEB6)
