"""What `nft -j list ruleset` prints, read: as nft 1.0.6 prints it, and as a newer one may."""

from ipaddress import IPv4Network
from typing import Any

import pytest

from vpnprobe.firewall.model import Hook, Packet, Place, needed_accepts
from vpnprobe.firewall.nft_reader import tables

LISTENER = Packet(hook=Hook.INPUT, version=4, protocol="udp", state="new", iif="eth0", dport=1194)
DROP: dict[str, Any] = {"drop": None}
ACCEPT: dict[str, Any] = {"accept": None}


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def payload(header: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": header, "field": field}}


def meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


STATE = {"ct": {"key": "state"}}


def document(*rules: list[dict[str, Any]], policy: str = "accept", family: str = "inet", **named: list[Any]) -> dict[str, Any]:
    place = {"family": family, "table": "filter"}
    return {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": family, "name": "filter"}},
            {"chain": {**place, "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": policy}},
            {"chain": {**place, "name": "other"}},
            *({"set": {**place, "name": name, "elem": elements}} for name, elements in named.items()),
            *({"rule": {**place, "chain": "input", "handle": at, "expr": rule}} for at, rule in enumerate(rules, 10)),
        ]
    }


def places(ruleset: dict[str, Any], packet: Packet = LISTENER) -> list[Place]:
    return [place for table in tables(ruleset) for place in needed_accepts(table, [packet])]


@pytest.mark.parametrize(
    "rule",
    [
        [DROP],
        [{"counter": {"packets": 0, "bytes": 0}}, {"log": {"prefix": "x"}}, {"reject": {"type": "icmpx", "expr": "port-unreachable"}}],
        [match(payload("udp", "dport"), 1194), DROP],
        [match(payload("udp", "dport"), {"range": [1000, 2000]}), DROP],
        [match(payload("udp", "dport"), {"set": [53, {"range": [1000, 2000]}]}), DROP],
        [match(payload("udp", "dport"), "@ports"), DROP],
        [match(payload("th", "dport"), 1194), match(meta("l4proto"), {"set": ["tcp", "udp"]}), DROP],
        [match(payload("udp", "dport"), 53, "!="), DROP],
        [match(meta("iifname"), "eth*"), DROP],
        [match(meta("iif"), "lo", "!="), DROP],
        [match(meta("nfproto"), "ipv4"), DROP],
        [match(payload("ip", "protocol"), "udp"), DROP],
        [match(payload("ip", "saddr"), {"prefix": {"addr": "10.0.0.0", "len": 8}}, "!="), DROP],
        [match(STATE, ["new", "untracked"], "in"), DROP],
        [{"vmap": {"key": STATE, "data": {"set": [["established", ACCEPT], ["new", DROP]]}}}],
        [{"vmap": {"key": payload("udp", "dport"), "data": "@verdicts"}}],
        [match({"concat": [meta("iifname"), payload("udp", "dport")]}, {"set": [{"concat": ["eth0", 1194]}]}), DROP],
        [{"vmap": {"key": {"concat": [meta("iifname"), payload("udp", "dport")]}, "data": {"set": [[{"concat": ["eth0", 1194]}, DROP]]}}}],
        [{"set": {"op": "add", "elem": payload("ip", "saddr"), "set": "@ports"}}, DROP],
        [{"mangle": {"key": meta("mark"), "value": 1}}, DROP],
    ],
    ids=str,
)
def test_what_surely_drops_is_found(rule: list[dict[str, Any]]) -> None:
    ruleset = document([match(STATE, "invalid", "in"), DROP], rule, ports=[22, 1194], verdicts=[[1194, DROP]])
    assert places(ruleset) == [Place("input", 11)]


@pytest.mark.parametrize(
    "rule",
    [
        [ACCEPT],
        [match(payload("udp", "dport"), "@ports"), ACCEPT],
        [{"vmap": {"key": payload("udp", "dport"), "data": {"set": [[1194, ACCEPT]]}}}],
        [match(meta("iifname"), {"set": ["lo", "eth0"]}), {"queue": None}],
    ],
    ids=str,
)
def test_what_surely_accepts_ends_the_chain(rule: list[dict[str, Any]]) -> None:
    assert places(document(rule, [DROP], ports=[1194])) == []


@pytest.mark.parametrize(
    "condition",
    [
        match(payload("tcp", "dport"), 1194),
        match(payload("ip6", "saddr"), "fe80::1"),
        match(payload("icmp", "type"), "echo-request"),
        match(payload("ip", "saddr"), {"set": ["192.0.2.1", {"range": ["192.0.2.7", "192.0.2.9"]}]}),
        match(payload("ip", "saddr"), "@unknown"),
        match({"&": [payload("tcp", "flags"), ["fin", "syn"]]}, "syn", "!="),
        match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, False),
        match({"fib": {"result": "type", "flags": ["daddr"]}}, "local", "!="),
        match({"numgen": {"mode": "random", "mod": 10, "offset": 0}}, 1),
        match(payload("ip", "ttl"), 3, "<"),
        {"limit": {"rate": 5, "per": "minute", "inv": True}},
        {"ct count": {"val": 10, "inv": True}},
        {"something of a newer nft": {"a": 1}},
        match(["something", "else"], 1),
    ],
    ids=str,
)
def test_what_is_no_packet_of_ours_or_perhaps_one_is_an_exception(condition: dict[str, Any]) -> None:
    assert places(document([condition, DROP])) == []
    assert places(document([condition, ACCEPT], policy="drop")) == [Place("input", None)]


def test_icmp_and_addresses() -> None:
    packet = Packet(hook=Hook.INPUT, version=6, protocol="icmp", state="new", source=IPv4Network("10.8.0.0/24"), icmp_type="echo-request")
    assert places(document([match(payload("icmpv6", "type"), "echo-request"), DROP]), packet) == [Place("input", 10)]
    assert places(document([match(meta("l4proto"), "ipv6-icmp"), DROP]), packet) == [Place("input", 10)]
    assert places(document([match(payload("ip6", "nexthdr"), 6), DROP]), packet) == []


def test_other_families_chains_of_nat_and_what_is_ours_are_left_out() -> None:
    assert tables(document([DROP], family="arp")) == []
    ours = document([DROP])
    ours["nftables"][-1]["rule"]["comment"] = "vpnprobe-12345678-accept"
    assert places(ours) == []
    nat = document([DROP])
    nat["nftables"][2]["chain"]["type"] = "nat"
    assert places(nat) == []
    table = document([DROP])
    table["nftables"][1]["table"]["name"] = "vpnprobe_12345678"
    assert tables(table) == []
    assert tables({}) == []
