"""Whether rules let a packet pass: tables are written as iptables writes them, which is the shortest form."""

import dataclasses
from ipaddress import IPv4Network

import pytest

from vpnprobe.firewall import iptables_reader
from vpnprobe.firewall.model import Answer, Condition, Field, Hook, Packet, Place, needed_accepts

LISTENER = Packet(hook=Hook.INPUT, version=4, protocol="udp", state="new", iif="eth0", dport=1194)
TUNNEL = Packet(hook=Hook.FORWARD, version=4, protocol="tcp", state="new", iif="tun0", source=IPv4Network("10.8.0.0/24"))


def places(packet: Packet, *rules: str, policy: str = "ACCEPT", chains: str = "") -> list[Place]:
    heads = "".join(f":{chain} - [0:0]\n" for chain in chains.split())
    text = f"*filter\n:INPUT {policy} [0:0]\n:FORWARD {policy} [0:0]\n{heads}{''.join(f'-A {rule}{chr(10)}' for rule in rules)}COMMIT\n"
    (table,) = iptables_reader.tables(text, 4)
    return needed_accepts(table, [packet])


@pytest.mark.parametrize(
    ("rules", "before"),
    [
        (["INPUT -j DROP"], 1),
        (["INPUT -i lo -j ACCEPT", "INPUT -p tcp --dport 22 -j ACCEPT", "INPUT -j REJECT --reject-with icmp-host-prohibited"], 3),
        (["INPUT -m conntrack --ctstate INVALID -j DROP", "INPUT -p udp -j DROP"], 2),
        (["INPUT -s 192.0.2.0/24 -j DROP", "INPUT -m limit --limit 3/min -j LOG", "INPUT -j DROP"], 3),
        (["INPUT ! -s 192.0.2.0/24 -j DROP"], 1),
        (["INPUT ! -i eth0 -j DROP", "INPUT -i eth+ -j DROP"], 2),
        (["INPUT -p udp -m multiport ! --dports 53,67 -j DROP"], 1),
        (["INPUT -p udp -m udp --dport 1000:2000 -j REJECT"], 1),
        (["INPUT -m set ! --match-set friends src -j DROP"], 1),
        (["INPUT -m conntrack --ctstate NEW -j DROP"], 1),
        (["INPUT -j DROP -p udp"], 1),
    ],
    ids=str,
)
def test_an_accept_goes_before_what_surely_drops(rules: list[str], before: int) -> None:
    assert places(LISTENER, *rules) == [Place("INPUT", before)]


@pytest.mark.parametrize(
    "rules",
    [
        [],
        ["INPUT -p udp --dport 1194 -j ACCEPT", "INPUT -j DROP"],
        ["INPUT -p udp -m multiport --dports 53,1194 -j ACCEPT", "INPUT -j DROP"],
        ["INPUT -i eth0 -j ACCEPT", "INPUT -j DROP"],
        ["INPUT -m conntrack --ctstate INVALID -j DROP"],
        ["INPUT -s 192.0.2.1 -j DROP"],
        ["INPUT -m set --match-set bad src -j DROP"],
        ["INPUT -m hashlimit --hashlimit-above 9/sec --hashlimit-name x -j DROP"],
        ["INPUT -p tcp ! --syn -m state --state NEW -j DROP"],
        ["INPUT -m addrtype ! --dst-type LOCAL -j DROP"],
        ["INPUT -m mark --mark 0x1 -j DROP"],
        ["INPUT -j RETURN", "INPUT -j DROP"],
        ["INPUT -j NFQUEUE --queue-num 1", "INPUT -j DROP"],
        ["INPUT -m comment --comment vpnprobe-12345678-1 -j DROP"],
    ],
    ids=str,
)
def test_what_passes_or_is_an_exception_needs_none(rules: list[str]) -> None:
    assert places(LISTENER, *rules) == []


def test_a_policy_drops_what_is_left_at_the_end() -> None:
    assert places(LISTENER, policy="DROP") == [Place("INPUT", None)]
    assert places(LISTENER, "INPUT -p tcp -j ACCEPT", policy="DROP") == [Place("INPUT", None)]
    assert places(LISTENER, "INPUT -p udp -j RETURN", "INPUT -p udp --dport 1194 -j ACCEPT", policy="DROP") == [Place("INPUT", 1)]


def test_chains_that_are_jumped_to() -> None:
    jump = "INPUT -i eth0 -j outside"
    assert places(LISTENER, jump, "outside -j DROP", chains="outside") == [Place("outside", 1)]
    assert places(LISTENER, jump, "outside -p udp -j RETURN", "outside -j DROP", chains="outside") == []
    assert places(LISTENER, jump, "outside -p udp -j ACCEPT", "INPUT -j DROP", chains="outside") == []
    assert places(LISTENER, jump, "INPUT -j DROP", chains="outside") == [Place("INPUT", 2)]
    assert places(LISTENER, "INPUT -g outside", "INPUT -j ACCEPT", policy="DROP", chains="outside") == [Place("INPUT", 1)]
    assert places(LISTENER, "INPUT -j a", "a -j b", "b -j REJECT", chains="a b") == [Place("b", 1)]
    assert places(LISTENER, "INPUT -j nowhere", chains="") == []


def test_under_a_condition_a_chain_that_only_drops_is_an_exception_and_one_that_accepts_is_a_policy() -> None:
    assert places(LISTENER, "INPUT -s 192.0.2.0/24 -j log", "log -j LOG", "log -j DROP", chains="log") == []
    policy = ["INPUT -d 198.51.100.1 -j public", "public -p tcp --dport 22 -j ACCEPT", "public -j DROP"]
    assert places(LISTENER, *policy, chains="public") == [Place("public", 2)]
    nested = ["INPUT -d 198.51.100.1 -j public", "public -j more", "more -p tcp -j ACCEPT", "public -j DROP"]
    assert places(LISTENER, *nested, chains="public more") == [Place("public", 2)]


def test_pools_are_inside_networks_or_overlap_them() -> None:
    assert places(TUNNEL, "FORWARD -s 10.0.0.0/8 -j ACCEPT", "FORWARD -j DROP") == []
    assert places(TUNNEL, "FORWARD -s 10.8.0.7 -j ACCEPT", "FORWARD -j DROP") == [Place("FORWARD", 2)]
    assert places(TUNNEL, "FORWARD ! -s 10.0.0.0/8 -j DROP") == []
    assert places(TUNNEL, "FORWARD -i tun+ -j REJECT") == [Place("FORWARD", 1)]


def test_each_place_is_named_once_and_only_at_the_packets_hook_and_version() -> None:
    (table,) = iptables_reader.tables("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n", 4)
    assert needed_accepts(table, [LISTENER, dataclasses.replace(LISTENER, state="established"), TUNNEL]) == [Place("INPUT", 1)]
    assert needed_accepts(table, [dataclasses.replace(LISTENER, version=6)]) == []


def test_a_device_that_is_not_known_is_none_of_those_that_are() -> None:
    elsewhere = dataclasses.replace(LISTENER, iif=None, apart_from=frozenset({"lo", "tun0"}))
    assert places(elsewhere, "INPUT -i tun0 -j DROP") == []
    assert places(elsewhere, "INPUT ! -i lo -j DROP") == [Place("INPUT", 1)]
    assert places(elsewhere, "INPUT -i eth1 -j DROP", "INPUT -j DROP") == [Place("INPUT", 2)]


def test_a_condition_on_what_is_not_known_fits_perhaps() -> None:
    assert Condition(Field.MARK, ("1",)).answer(LISTENER) is Answer.MAYBE
    assert Condition(Field.MARK, ("1",), negated=True).answer(LISTENER) is Answer.YES
    assert Condition(Field.OTHER, negated=True).answer(LISTENER) is Answer.MAYBE
    assert Condition(Field.DESTINATION_PORT).answer(LISTENER) is Answer.MAYBE
