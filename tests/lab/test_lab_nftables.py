"""Topologies as nftables rulesets: the texts, and that the kernel takes them."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from vpnprobe.errors import CannotRun
from vpnprobe.lab.namespaces import require_tools
from vpnprobe.lab.nftables import ACTS, ruleset, rulesets, timed_rules
from vpnprobe.lab.scenario import load, names
from vpnprobe.transports.topology import Action, Filter, Hook, Link, Nat, Service, StatefulFirewall, Topology, WayBack

RICH = Topology(
    routers=2,
    links=(Link(loss=0.1), Link(loss=0.2), Link(loss=0.3)),
    filters=(
        Filter(at="r1", action=Action.REJECT_ADMIN, protocol=47, longer_than=1000),
        Filter(at="r1", hook=Hook.PREROUTING, action=Action.REJECT_RST, protocol=6, direction="c2s", ports=(1723, 443)),
        Filter(at="r1", payload_offset=3, payload=bytes(range(1, 21)), payload_mask=b"\xf0" * 20),
        Filter(at="r1", payload_offset=0, payload=bytes(range(1, 21)), protocol=17),
        Filter(at="r2", except_ports=(7117, 22), except_protocols=(1, 50), probability=0.25),
        Filter(at="server", hook=Hook.INPUT, protocol=47),
        Filter(at="server", hook=Hook.INPUT, action=Action.REJECT_PORT, protocol=17),
        Filter(at="client", hook=Hook.OUTPUT, protocol=50, direction="c2s"),
        Filter(at="r2", protocol=17, packets_per_s=0.5, burst_packets=3),
    ),
    nats=(Nat(at="r1", pptp_helper=True),),
    firewalls=(StatefulFirewall(at="r2"),),
    silent_routers=("r1",),
)
WIDE = Topology(
    routers=3,
    filters=(
        Filter(at="b1", flow_share=0.5),
        Filter(at="r1", flow_share=0.25, ports=(1194,), direction="s2c", fragments=True),
        Filter(at="r3", protocol=17, direction="c2s", action=Action.REJECT_HOST),
        Filter(at="client", hook=Hook.PREROUTING, protocol=47),
    ),
    nats=(Nat("r2", inside="server", forwards=(Service(6, (7117, 443)), Service(47), Service())), Nat("r1")),
    firewalls=(
        StatefulFirewall("r3", "server", allows=(Service(6, (443,)), Service(17))),
        StatefulFirewall("r1"),
        StatefulFirewall("server", "server", allows=(Service(),)),
    ),
    black_holes=("r2",),
    way_back=WayBack("r3", "r1"),
)


def test_fragments_and_shares_of_flows() -> None:
    below = "jhash ip saddr . ip daddr . ip protocol"
    assert rule_lines(ruleset(WIDE, "b1"))[1:3] == [
        f"meta l4proto {{ tcp, udp }} {below} . th sport . th dport mod 1000000 seed 0x5eed < 500000 counter goto act_0",
        f"meta l4proto != {{ tcp, udp }} {below} mod 1000000 seed 0x5eed < 500000 counter goto act_0",
    ]
    ports = rule_lines(ruleset(WIDE, "r1"))[1]
    assert ports.startswith('iifname { "to-server", "from-back" } ip frag-off & 0x3fff != 0 meta l4proto { tcp, udp } th sport { 1194 }')
    assert "mod 1000000 seed 0x5eed < 250000" in ports


def test_where_the_way_back_leaves_packets_of_a_direction_come_by_two_interfaces() -> None:
    assert 'iifname { "to-client", "to-back" } meta l4proto 17 counter goto act_2' in rule_lines(ruleset(WIDE, "r3"))
    assert "counter reject with icmp type host-prohibited" in ruleset(WIDE, "r3")


def test_a_nat_of_the_server_forwards() -> None:
    assert rule_lines(ruleset(WIDE, "r2")) == [
        'oifname "to-client" counter masquerade comment "acts"',
        'ip daddr 10.78.1.2 meta l4proto 6 th dport { 7117, 443 } counter dnat to 10.78.3.2 comment "acts"',
        'ip daddr 10.78.1.2 meta l4proto 47 counter dnat to 10.78.3.2 comment "acts"',
        'ip daddr 10.78.1.2 meta l4proto != 1 counter dnat to 10.78.3.2 comment "acts"',
        'icmp type destination-unreachable icmp code 4 counter drop comment "acts"',
    ]


def test_firewalls_of_both_sides_and_of_ends() -> None:
    found = [rule for rule in rule_lines(ruleset(WIDE, "r3")) if "ct state" in rule or rule.endswith("accept")]
    outside = 'iifname { "to-client", "to-back" }'
    assert found == [
        f"{outside} ct state established,related counter accept",
        f"{outside} meta l4proto 6 th dport {{ 443 }} counter accept",
        f"{outside} meta l4proto 17 counter accept",
    ]
    assert f"{outside} counter drop {ACTS}" in ruleset(WIDE, "r3")
    own = ruleset(WIDE, "server")
    assert "type filter hook input priority 10; policy accept;" in own
    assert rule_lines(own) == [
        'iifname != "lo" ct state established,related counter accept',
        'iifname != "lo" meta l4proto != 1 counter accept',
        f'iifname != "lo" counter drop {ACTS}',
    ]


def rule_lines(text: str) -> list[str]:
    """Lines that are rules: neither heads nor ends nor what stands in an object."""
    return [line.strip() for line in text.splitlines() if line.startswith("    ") and not line.strip().startswith(("type ", "l3proto "))]


def test_an_unfiltered_chain_needs_no_rules() -> None:
    assert rulesets(Topology()) == {}


def test_only_the_hosts_that_filter_have_rules() -> None:
    assert list(rulesets(RICH)) == ["client", "r1", "r2", "server"]


def test_a_policer_acts_on_what_is_over_its_rate() -> None:
    text = ruleset(Topology(filters=(Filter(at="r1", packets_per_s=100, burst_packets=30),)), "r1")
    assert 'limit rate over 6000/minute burst 30 packets counter drop comment "acts"' in rule_lines(text)


def test_filters_that_come_and_go_have_tables_of_their_own() -> None:
    topology = Topology(
        filters=(Filter(at="r1", protocol=47), Filter(at="r2", from_s=1, to_s=2), Filter(at="client", hook=Hook.INPUT, from_s=3))
    )
    assert list(rulesets(topology)) == ["r1"]
    found = timed_rules(topology)
    assert [(rules.host, rules.table, rules.from_s, rules.to_s) for rules in found] == [
        ("r2", "vpnprobe_timed_1", 1, 2),
        ("client", "vpnprobe_timed_2", 3, None),
    ]
    for rules in found:
        assert rules.text.startswith(f"table ip {rules.table} {{")
        assert any(ACTS in line for line in rule_lines(rules.text))


@pytest.mark.parametrize("host", RICH.names())
def test_every_rule_counts(host: str) -> None:
    rules = rule_lines(ruleset(RICH, host))
    assert rules
    assert all("counter" in rule.split() for rule in rules)


def test_a_protocol_filter_in_one_direction() -> None:
    text = ruleset(Topology(filters=(Filter(at="r3", protocol=47, direction="s2c"),)), "r3")
    assert 'iifname "to-server" meta l4proto 47 counter goto act_0' in rule_lines(text)
    assert "type filter hook forward priority 0; policy accept;" in text


@pytest.mark.parametrize(
    ("action", "verdict"),
    [
        (Action.DROP, "drop"),
        (Action.REJECT_RST, "reject with tcp reset"),
        (Action.REJECT_ADMIN, "reject with icmp type admin-prohibited"),
        (Action.REJECT_PORT, "reject with icmp type port-unreachable"),
    ],
)
def test_each_action_has_its_verdict(action: Action, verdict: str) -> None:
    text = ruleset(Topology(filters=(Filter(at="server", hook=Hook.INPUT, action=action, protocol=6),)), "server")
    assert rule_lines(text)[0] == f'counter {verdict} comment "acts"'


def test_a_nat_that_gives_new_ports_does_so_to_what_has_any() -> None:
    lines = rule_lines(ruleset(Topology(nats=(Nat(at="r1", new_ports=True),)), "r1"))
    assert lines == [
        'oifname "to-server" meta l4proto { tcp, udp } counter masquerade random comment "acts"',
        'oifname "to-server" counter masquerade comment "acts"',
    ]


def test_output_is_told_by_the_interface_that_packets_leave_by() -> None:
    text = ruleset(Topology(filters=(Filter(at="client", hook=Hook.OUTPUT, direction="c2s"),)), "client")
    assert 'oifname "to-server" counter goto act_0' in rule_lines(text)


def test_source_and_destination_port_are_two_rules() -> None:
    text = ruleset(Topology(filters=(Filter(at="r1", ports=(1194,)),)), "r1")
    assert rule_lines(text)[1:3] == [
        "meta l4proto { tcp, udp } th sport { 1194 } counter goto act_0",
        "meta l4proto { tcp, udp } th dport { 1194 } counter goto act_0",
    ]


def test_what_is_spared_returns_before_anything_else() -> None:
    rules = rule_lines(ruleset(Topology(filters=(Filter(at="r1", except_ports=(7117,), except_protocols=(1,)),)), "r1"))
    assert [rule.split()[-1] for rule in rules[1:4]] == ["return"] * 3
    assert rules[4] == "counter goto act_0"


def test_a_payload_is_matched_behind_the_transport_header_in_bits() -> None:
    planted = Filter(at="r2", protocol=17, payload_offset=4, payload=b"\x38", payload_mask=b"\xf8")
    assert "meta l4proto 17 @ih,32,8 & 0xf8 == 0x38 counter goto act_0" in ruleset(Topology(filters=(planted,)), "r2")


def test_a_mask_blanks_the_pattern_too() -> None:
    planted = Filter(at="r2", protocol=17, payload_offset=0, payload=b"\x3f", payload_mask=b"\xf8")
    assert "@ih,0,8 & 0xf8 == 0x38" in ruleset(Topology(filters=(planted,)), "r2")


def test_random_loss_is_a_share_of_a_million() -> None:
    text = ruleset(Topology(filters=(Filter(at="r2", probability=0.2),)), "r2")
    assert 'numgen random mod 1000000 < 200000 counter drop comment "acts"' in rule_lines(text)


def test_each_link_loses_once_in_each_direction() -> None:
    """Never at an end host, whose capture must show what it sent and nothing that was lost."""
    lossy = Topology(routers=2, links=(Link(loss=0.1), Link(loss=0.2), Link(loss=0.3)))
    found = {host: [rule.split(" counter")[0] for rule in rule_lines(text)] for host, text in rulesets(lossy).items()}
    share = "numgen random mod 1000000 <"
    assert found == {
        "r1": [f'iifname "to-client" {share} 100000', f'iifname "to-server" {share} 200000', f'oifname "to-client" {share} 100000'],
        "r2": [f'iifname "to-client" {share} 200000', f'iifname "to-server" {share} 300000', f'oifname "to-server" {share} 300000'],
    }


@pytest.fixture(scope="module")
def empty_namespace() -> Iterator[str]:
    try:
        require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))
    name = f"vplab-nft-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.root
@pytest.mark.parametrize("topology", [RICH, WIDE, *(load(name).topology for name in names())], ids=["rich", "wide", *names()])
def test_the_kernel_takes_every_ruleset(empty_namespace: str, topology: Topology) -> None:
    for host, text in rulesets(topology).items():
        done = subprocess.run(
            ["ip", "netns", "exec", empty_namespace, "nft", "-c", "-f", "-"], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{host}: {done.stderr}\n{text}"


def test_the_first_packets_of_a_flow_are_spared_by_connection_tracking() -> None:
    """It counts both directions of a flow together, the packet itself among them."""
    planted = Filter(at="r2", protocol=17, after_packets=80, payload_offset=0, payload=b"\x48", payload_mask=b"\xf8")
    text = ruleset(Topology(filters=(planted,)), "r2")
    assert "meta l4proto 17 ct packets > 80 @ih,0,8 & 0xf8 == 0x48 counter goto act_0" in rule_lines(text)


def test_none_are_spared_where_nothing_is_said() -> None:
    assert "ct packets" not in ruleset(Topology(filters=(Filter(at="r2", protocol=17),)), "r2")
