"""iptables with either packet filter, and iptables-persistent: shown by traffic."""

from pathlib import Path

import pytest
from firewall_support import NEEDS6, SERVER6, WEB6, Hosts, held_open

from vpnprobe.deployment.steps import RunCommand, WriteFile
from vpnprobe.firewall import detect
from vpnprobe.firewall.state import Manager

pytestmark = [pytest.mark.root, pytest.mark.requires("namespaces", "iptables", "ping")]

REJECTING = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "the administrator's" -j ACCEPT
-A INPUT -p ipv6-icmp -j ACCEPT
-A INPUT -m limit --limit 3/min -j LOG --log-prefix "denied "
-A INPUT -j REJECT
-A FORWARD -j REJECT
COMMIT
"""
POLICIES = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
:outside - [0:0]
-A INPUT -p ipv6-icmp -j ACCEPT
-A INPUT -i to-client -j outside
-A OUTPUT -m state --state ESTABLISHED,RELATED -j ACCEPT
-A OUTPUT -p ipv6-icmp -j ACCEPT
-A outside -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A outside -p ipv6-icmp -j ACCEPT
-A outside -p tcp -m multiport --dports 22,80 -j ACCEPT
-A outside ! -s 192.168.0.0/16 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 172.16.0.0/12 -o to-web -j MASQUERADE
COMMIT
"""
EXCEPTIONS = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -s 203.0.113.0/24 -j DROP
-A INPUT -p udp -m udp --dport 1:1199 -j REJECT
-A INPUT -s 198.51.100.0/24 -j DROP
-A INPUT -j REJECT
-A FORWARD -j REJECT
COMMIT
"""
SETS = {"rejecting": REJECTING, "policies": POLICIES}
UNIT = "lib/systemd/system/netfilter-persistent.service"


def load(hosts: Hosts, filter_name: str, text: str) -> None:
    hosts.server(f"iptables-{filter_name}-restore", stdin=of_ipv4(text))
    hosts.server(f"ip6tables-{filter_name}-restore", stdin=of_ipv6(text))


def of_ipv4(text: str) -> str:
    return "".join(line for line in text.splitlines(True) if "ipv6-icmp" not in line)


def of_ipv6(text: str) -> str:
    return text.replace("172.16.0.0/12", "fd17::/16").replace("192.168.0.0/16", "fd99::/16")


@pytest.mark.parametrize("filter_name", ["nft", "legacy"])
@pytest.mark.parametrize("name", SETS)
def test_what_rules_drop_passes_and_all_is_put_back(hosts: Hosts, filter_name: str, name: str) -> None:
    load(hosts, filter_name, SETS[name])
    before = hosts.rulesets()
    assert hosts.detect().manager is Manager.IPTABLES
    with held_open(hosts) as alive:
        assert not hosts.reaches_web()
        assert not hosts.listener_answers()
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


@pytest.mark.parametrize("filter_name", ["nft", "legacy"])
def test_ipv6_inside_the_tunnel_is_translated(hosts: Hosts, filter_name: str) -> None:
    load(hosts, filter_name, POLICIES)
    before = hosts.rulesets()
    undo = hosts.take(hosts.steps(NEEDS6))
    assert hosts.reaches_web(WEB6)
    for one in undo:
        one()
    assert hosts.rulesets() == before


@pytest.mark.parametrize("filter_name", ["nft", "legacy"])
def test_among_the_rules_of_an_earlier_plan_no_exception_is_passed_by(hosts: Hosts, filter_name: str) -> None:
    """Each rule of a later plan stands behind the same rules of the host as without the earlier one's."""
    hosts.server(f"iptables-{filter_name}-restore", stdin=EXCEPTIONS)

    def order(tag: str) -> list[str]:
        listed = hosts.server(f"iptables-{filter_name}", "-S", "INPUT").splitlines()
        return ["ours" if tag in line else line for line in listed if tag in line or "vpnprobe" not in line]

    alone = hosts.take(hosts.steps(NEEDS6))
    (step,) = [step for step in hosts.steps(NEEDS6) if isinstance(step, RunCommand) and step.id == f"firewall-iptables-v4-{filter_name}"]
    tag = step.command.stdin.partition("--comment ")[2][: len("vpnprobe-00000000")]
    wanted = order(tag)
    assert wanted.count("ours") > 1
    for one in alone:
        one()
    before = hosts.rulesets()
    undo = hosts.take(hosts.steps())
    between = hosts.rulesets()
    later = hosts.take(hosts.steps(NEEDS6))
    assert order(tag) == wanted
    for one in later:
        one()
    assert hosts.rulesets() == between
    for one in undo:
        one()
    assert hosts.rulesets() == before


def test_both_filters_and_nftables_may_drop(hosts: Hosts) -> None:
    load(hosts, "nft", REJECTING)
    load(hosts, "legacy", POLICIES)
    hosts.server("nft", "add table inet more; add chain inet more f { type filter hook forward priority 20; policy drop; }")
    before = hosts.rulesets()
    undo = hosts.take(hosts.steps())
    assert hosts.listener_answers()
    assert hosts.reaches_web()
    for one in undo:
        one()
    assert hosts.rulesets() == before


@pytest.mark.parametrize("filter_name", ["nft", "legacy"])
def test_half_of_a_step_is_taken_back(hosts: Hosts, filter_name: str) -> None:
    load(hosts, filter_name, REJECTING)
    before = hosts.rulesets()
    for step in [step for step in hosts.steps() if isinstance(step, RunCommand) and step.id.startswith("firewall-iptables")]:
        first, _, _ = step.command.stdin.partition("COMMIT\n")
        hosts.server(*step.command.argv, stdin=f"{first}COMMIT\n")
        hosts.undo(step.undo)
        assert hosts.rulesets() == before


def persistent(hosts: Hosts, text: str) -> None:
    for path, content in {"etc/iptables/rules.v4": text, "etc/iptables/rules.v6": text, UNIT: ""}.items():
        place: Path = hosts.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(of_ipv6(content) if "v6" in path else of_ipv4(content))
    start_persistent(hosts)


def start_persistent(hosts: Hosts) -> None:
    """As the package's unit does."""
    for version, program in ((4, "iptables-restore"), (6, "ip6tables-restore")):
        hosts.server(program, stdin=(hosts.root / f"etc/iptables/rules.v{version}").read_text())


def as_iptables_says(rulesets: dict[str, str]) -> dict[str, list[str]]:
    """Without the empty chains of NAT, which a file brings along and a single rule does not."""
    return {name: lines for name, lines in as_lines(rulesets).items() if name != "nft"}


def as_lines(rulesets: dict[str, str]) -> dict[str, list[str]]:
    """Tables that are loaded anew come last in a listing."""
    return {name: sorted(text.splitlines()) for name, text in rulesets.items()}


@pytest.mark.parametrize("name", SETS)
def test_iptables_persistent_loads_it_at_boot(hosts: Hosts, name: str) -> None:
    persistent(hosts, SETS[name])
    before = hosts.rulesets()
    assert hosts.detect().manager is Manager.IPTABLES_PERSISTENT
    assert not hosts.reaches_web()
    steps = hosts.steps()
    undo = hosts.take(steps)
    assert hosts.listener_answers()
    assert hosts.reaches_web()
    taken = hosts.rulesets()
    start_persistent(hosts)
    assert as_iptables_says(hosts.rulesets()) == as_iptables_says(taken)
    assert hosts.listener_answers()
    assert hosts.reaches_web()
    hosts.take(hosts.steps())
    assert as_iptables_says(hosts.rulesets()) == as_iptables_says(taken)
    for one in undo:
        one()
    assert as_lines(hosts.rulesets()) == as_lines(before)
    assert {step.path for step in steps if isinstance(step, WriteFile)} >= {"/etc/iptables/rules.v4"}


def test_a_chain_that_iptables_makes_for_the_first_rule_goes_with_it(hosts: Hosts) -> None:
    load(hosts, "nft", REJECTING)
    hosts.server("iptables-nft", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "81", "-j", "REDIRECT", "--to-ports", "80")
    before = hosts.rulesets()
    undo = hosts.take(hosts.steps())
    assert hosts.reaches_web()
    for _ in range(2):
        for one in undo:
            one()
    assert hosts.rulesets() == before


@pytest.mark.parametrize("text", [REJECTING, ""])
def test_without_nft_iptables_translates(hosts: Hosts, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    if text:
        load(hosts, "nft", text)
    before = hosts.rulesets()
    monkeypatch.setattr(detect, "_ruleset", lambda: None)
    steps = hosts.steps()
    assert not any(isinstance(step, RunCommand) and step.command.argv[0] == "nft" for step in steps)
    assert "they last until the next boot" in steps[0].why
    undo = hosts.take(steps)
    assert hosts.listener_answers()
    assert hosts.reaches_web()
    for one in undo:
        one()
    left = {name: text for name, text in hosts.rulesets().items() if "legacy" in name or "ip6" in name}
    assert left == {name: text for name, text in before.items() if name in left}
    assert "vpnprobe" not in hosts.server("iptables-nft-save")
