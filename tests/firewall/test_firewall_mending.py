"""Commands that let through what a host's own firewall keeps: in the words of whoever manages it, and where the packet is dropped."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vpnprobe.firewall.detect import by_marks, detect
from vpnprobe.firewall.mending import Kept, commands, mends
from vpnprobe.firewall.state import Backend, FirewallState, Loaded, Manager
from vpnprobe.lab.namespaces import entered

NFT = Backend("nft", 4, "iptables")
PPTP, GRE = Kept(False, "tcp", 1723), Kept(False, "gre")
ANSWERS = Kept(True, "udp", 1194)
AT_CLIENT = Kept(False, "udp", 1194, at_server=False)
ASKING = Kept(True, "tcp", 1723, at_server=False)
DROPS = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n{}COMMIT\n"
UFW = DROPS.format(":ufw-user-input - [0:0]\n-A INPUT -j ufw-user-input\n")
DENIED = UFW.replace("COMMIT", "-A ufw-user-input -p tcp -m tcp --dport 1723 -j DROP\nCOMMIT")


def state(manager: Manager, text: str) -> FirewallState:
    return FirewallState(manager=manager, iptables=(Loaded(NFT, text),))


@pytest.mark.parametrize(
    ("kept", "command"),
    [
        (PPTP, "ufw allow 1723/tcp"),
        (GRE, "ufw allow proto gre from any"),
        (ANSWERS, "ufw allow out proto udp from any port 1194"),
        (AT_CLIENT, "ufw allow proto udp from any port 1194"),
        (ASKING, "ufw allow out 1723/tcp"),
        (Kept(True, "esp"), "ufw allow out proto esp to any"),
    ],
)
def test_of_ufw(kept: Kept, command: str) -> None:
    assert commands(state(Manager.UFW, UFW), kept) == (command,)


def test_before_what_ufw_was_told_to_deny() -> None:
    assert commands(state(Manager.UFW, DENIED), PPTP) == ("ufw prepend allow 1723/tcp",)


@pytest.mark.parametrize(
    ("kept", "command"),
    [
        (PPTP, "firewall-cmd --add-port=1723/tcp"),
        (GRE, "firewall-cmd --add-protocol=gre"),
        (AT_CLIENT, "firewall-cmd --add-source-port=1194/udp"),
        (ANSWERS, "firewall-cmd --direct --add-rule ipv4 filter OUTPUT 0 -p udp --sport 1194 -j ACCEPT"),
    ],
)
def test_of_firewalld(kept: Kept, command: str) -> None:
    assert commands(state(Manager.FIREWALLD, DROPS.format("")), kept) == (command,)


@pytest.mark.parametrize(
    ("rules", "command"),
    [
        ("", "iptables -I INPUT -p gre -j ACCEPT"),
        ("-A INPUT -p tcp -j ACCEPT\n-A INPUT -p 47 -j DROP\n", "iptables -I INPUT 2 -p gre -j ACCEPT"),
        ("-A INPUT -p gre -j REJECT --reject-with icmp-port-unreachable\n", "iptables -I INPUT 1 -p gre -j ACCEPT"),
    ],
)
def test_of_iptables(rules: str, command: str) -> None:
    assert commands(state(Manager.IPTABLES, DROPS.format(rules)), GRE) == (command,)


@pytest.mark.parametrize(
    "takes",
    [
        "-p gre -m length --length 500:65535 -j DROP",
        "-p gre -m statistic --mode random --probability 0.5 -j DROP",
        "-p gre -m hashlimit --hashlimit-above 5/sec --hashlimit-name x -j DROP",
    ],
)
def test_of_what_takes_a_part_of_them(takes: str) -> None:
    """It looks at more than headers: that alone is no reason to stand before it, and is one where some are known to be taken."""
    rules = DROPS.format(f"-A INPUT -p gre -s 192.0.2.0/24 -j DROP\n-A INPUT {takes}\n").replace("INPUT DROP", "INPUT ACCEPT")
    found = state(Manager.IPTABLES, rules)
    assert commands(found, GRE) == ()
    assert commands(found, replace(GRE, in_part=True)) == ("iptables -I INPUT 2 -p gre -j ACCEPT",)
    assert commands(found, replace(PPTP, in_part=True)) == ()


def test_of_a_chain_that_some_go_to_and_none_comes_back_from() -> None:
    rules = DROPS.format(":large - [0:0]\n-A INPUT -p gre -m length --length 500:65535 -g large\n-A large -j DROP\n")
    found = state(Manager.IPTABLES, rules.replace("INPUT DROP", "INPUT ACCEPT"))
    assert commands(found, GRE) == ()
    assert commands(found, replace(GRE, in_part=True)) == ("iptables -I large 1 -p gre -j ACCEPT",)


def test_of_a_limit_behind_which_all_is_dropped() -> None:
    rules = DROPS.format("-A INPUT -p gre -m limit --limit 5/sec -j ACCEPT\n")
    assert commands(state(Manager.IPTABLES, rules), replace(GRE, in_part=True)) == ("iptables -I INPUT -p gre -j ACCEPT",)


def test_of_the_packet_filter_that_is_not_the_systems_own() -> None:
    nft, legacy = Backend("nft", 4, "iptables-nft"), Backend("legacy", 4, "iptables-legacy")
    for backend, program in ((nft, "iptables"), (legacy, "iptables-legacy")):
        found = FirewallState(manager=Manager.IPTABLES, iptables=(Loaded(backend, DROPS.format("")),), backends=(nft, legacy))
        assert commands(found, GRE) == (f"{program} -I INPUT -p gre -j ACCEPT",)


def test_what_no_rule_keeps_has_no_command() -> None:
    accepting = DROPS.format("-A INPUT -p gre -j ACCEPT\n")
    assert commands(state(Manager.IPTABLES, accepting), GRE) == ()
    assert mends(state(Manager.IPTABLES, accepting), [GRE]).commands == {}
    assert commands(FirewallState(manager=Manager.NONE), GRE) == ()


def test_a_connection_that_is_known_passes_and_a_new_one_does_not() -> None:
    rules = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
    assert commands(state(Manager.IPTABLES, DROPS.format(rules)), PPTP) == ("iptables -I INPUT -p tcp --dport 1723 -j ACCEPT",)


def test_the_device_that_a_rule_names() -> None:
    rules = state(
        Manager.IPTABLES,
        DROPS.format("").replace("INPUT DROP", "INPUT ACCEPT").replace("COMMIT", "-A INPUT -i eth0 -p gre -j DROP\nCOMMIT"),
    )
    assert mends(rules, [GRE], device="eth0").commands == {GRE: ("iptables -I INPUT 1 -p gre -j ACCEPT",)}
    assert mends(rules, [GRE], device="eth1").commands == {}


@pytest.mark.parametrize(
    ("manager", "met", "name"),
    [
        (Manager.NONE, "", ""),
        (Manager.IPTABLES_PERSISTENT, "", "iptables"),
        (Manager.OTHER, "Shorewall (its chain net-fw)", "Shorewall"),
        (Manager.UFW, "", "ufw"),
    ],
)
def test_who_manages_it(manager: Manager, met: str, name: str) -> None:
    assert mends(FirewallState(manager=manager, met=met), []).manager == name


def test_whose_rules_may_not_be_read_is_known_by_its_marks(tmp_path: Path) -> None:
    (tmp_path / "etc/ufw").mkdir(parents=True)
    (tmp_path / "etc/ufw/ufw.conf").write_text("ENABLED=yes\n")
    found = by_marks(tmp_path)
    assert (found.manager, found.read) == (Manager.UFW, False)
    assert commands(found, PPTP) == ("ufw allow 1723/tcp",)
    (tmp_path / "etc/ufw/ufw.conf").write_text("ENABLED=no\n")
    assert commands(by_marks(tmp_path), PPTP) == ()
    assert commands(FirewallState(manager=Manager.FIREWALLD, read=False), PPTP) == ("firewall-cmd --add-port=1723/tcp",)


@pytest.fixture
def host() -> Iterator[str]:
    name = "vpmend-host"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


INPUT = "chain input { type filter hook input priority 0; policy"
EARLY = "chain early { type filter hook prerouting priority -150; policy accept;"
RULESETS = {
    "policy": f"{INPUT} drop; ct state established,related accept; }}",
    "rule": f"{INPUT} accept; ip protocol esp accept\n meta l4proto {{ gre, tcp }} drop\n }}",
    "prerouting": f"{EARLY} meta l4proto 47 drop\n tcp dport 1723 reject\n }}",
    "chains": f"chain open {{ tcp dport 22 accept; }}\n {INPUT} drop; jump open; }}",
}


@pytest.mark.root
@pytest.mark.requires("namespaces")
@pytest.mark.parametrize("kept", [GRE, PPTP], ids=lambda kept: kept.protocol)
@pytest.mark.parametrize("rules", RULESETS.values(), ids=RULESETS)
def test_nftables_takes_them_and_keeps_nothing_after_them(host: str, rules: str, kept: Kept) -> None:
    """The kernel's own rules, and the real nft that runs what is told."""
    assert shutil.which("nft")
    inside = ["ip", "netns", "exec", host]
    text = f"table inet own {{\n{rules}\n}}\n"
    subprocess.run([*inside, "nft", "-f", "-"], input=text, text=True, check=True)
    with entered(host):
        found = commands(detect(), kept)
    assert len(found) == 1
    assert found[0].startswith(("nft add rule inet own ", "nft insert rule inet own "))
    subprocess.run([*inside, "sh", "-ec", *found], check=True)
    with entered(host):
        assert commands(detect(), kept) == ()
