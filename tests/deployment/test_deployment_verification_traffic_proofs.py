"""From what was seen to outcomes: path, leaks, IPv6, DNS; and up, data, beyond, size, throughput, restored."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from verification_support import FULL, SPLIT

from vpnprobe.deployment.verification import proofs, traffic_proofs
from vpnprobe.deployment.verification.asked import Asked, asked_of
from vpnprobe.deployment.verification.beyond import Host, Reached
from vpnprobe.deployment.verification.model import Leak, Outcome, Proof, TunnelFacts, WatchFacts
from vpnprobe.deployment.verification.naming import Resolvers
from vpnprobe.deployment.verification.traffic_proofs import Ways
from vpnprobe.deployment.verification.trials import Beyond, Data, Size, Speed
from vpnprobe.deployment.verification.way_out import Answer, Question
from vpnprobe.transports.system.routing import Flow, Way

GATEWAY, OUT, OUT6 = ip_address("10.8.0.1"), "203.0.113.9", "2001:db8::9"
WATCH = WatchFacts(
    watched_s=3.0,
    devices=("eth0",),
    traffic={"tunnel": 90, "arp": 2},
    provoked={"udp": 8},
    through_tunnel={"sent": 40, "received": 30, "provoked": 24, "queries": 8, "answers": 4},
    dropped=0,
)
LEAK = Leak(
    destination=OUT,
    protocol="udp",
    port=53,
    device="eth0",
    why="an address outside",
    count=2,
    first_at=9.0,
    first_after_s=0.5,
    process="dig (77)",
)
FULL6 = asked_of([], "PUSH_REPLY,redirect-gateway def1 ipv6")
TUNNEL = TunnelFacts(
    device="tun0", addresses=("10.8.0.2",), gateway="10.8.0.1", mtu_bytes=1500, server="198.51.100.7", port=1194, transport="udp",
    up_after_s=0.8, full=True, routes=(), around=(), dns=(), pushed=(),
)  # fmt: skip


def ways(asked: Asked, *ways: tuple[str, str, str]) -> Ways:
    """Destination, device, and what it is about."""
    return Ways("tun0", tuple(Answer(Question(Flow(ip_address(to)), because), Way(device)) for to, device, because in ways), asked)


def outcome(proof: Proof, *words: str) -> Outcome:
    assert all(word in f"{proof.sentence} {proof.todo}" for word in words), proof
    return proof.outcome


def test_the_path_of_a_full_tunnel() -> None:
    assert outcome(traffic_proofs.path(ways(FULL, (OUT, "tun0", "")), broke=False), "tun0") is Outcome.SHOWN
    astray = ways(FULL, (OUT, "tun0", ""), ("192.0.2.1", "eth0", "the route 192.0.2.0/24 dev eth0"))
    assert outcome(traffic_proofs.path(astray, broke=False), "192.0.2.1 on eth0", "the route", "net_gateway") is Outcome.FAILED
    assert traffic_proofs.path(ways(FULL, (OUT, "", "")), broke=False).outcome is Outcome.FAILED
    excepted = replace(FULL, around=(ip_network("192.0.2.0/24"),))
    assert traffic_proofs.path(replace(astray, asked=excepted), broke=False).outcome is Outcome.SHOWN


def test_the_path_of_a_split_tunnel() -> None:
    assert traffic_proofs.path(ways(SPLIT, ("10.9.0.1", "tun0", ""), (OUT, "eth0", "")), broke=False).outcome is Outcome.SHOWN
    assert traffic_proofs.path(ways(SPLIT, ("10.9.0.1", "eth0", "")), broke=False).outcome is Outcome.FAILED
    assert traffic_proofs.path(ways(SPLIT, ("10.9.0.1", "", "")), broke=False).outcome is Outcome.FAILED


def test_leaks_are_named() -> None:
    assert outcome(traffic_proofs.leaks([], WATCH, broke=False), "24 packets", "2 arp") is Outcome.SHOWN
    named = ("2 packets", "udp to 203.0.113.9 port 53 on eth0 by dig (77)")
    assert outcome(traffic_proofs.leaks([LEAK], WATCH, broke=False), *named) is Outcome.FAILED
    assert outcome(traffic_proofs.leaks([replace(LEAK, process="", provoked=True)], WATCH, broke=True), "sent to see") is Outcome.FAILED


def test_silence_is_no_proof() -> None:
    assert traffic_proofs.leaks([], replace(WATCH, through_tunnel={"sent": 0, "received": 0}), broke=False).outcome is Outcome.UNKNOWN
    assert traffic_proofs.leaks([], replace(WATCH, dropped=3), broke=False).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("asked", "device", "state", "expected"),
    [
        (FULL, "", "absent", Outcome.SHOWN),
        (FULL, "eth0", "leaks", Outcome.FAILED),
        (FULL6, "tun0", "covered", Outcome.SHOWN),
        (replace(FULL6, blocks6=True), "tun0", "blocked", Outcome.SHOWN),
        (SPLIT, "eth0", "not-asked", Outcome.UNKNOWN),
    ],
)
def test_ipv6(asked: Asked, device: str, state: str, expected: Outcome) -> None:
    found = traffic_proofs.ipv6(ways(asked, (OUT6, device, "")), [])
    assert (found.outcome, found.numbers["state"]) == (expected, state)


def test_ipv6_that_was_seen_to_leave() -> None:
    assert traffic_proofs.ipv6(ways(FULL6, (OUT6, "tun0", "")), [replace(LEAK, destination=OUT6)]).outcome is Outcome.FAILED


def test_dns() -> None:
    asked, here = replace(FULL, dns=(GATEWAY,)), Resolvers((ip_address("9.9.9.9"),), ())
    quiet = replace(WATCH, through_tunnel={"sent": 1, "received": 0, "queries": 0})
    assert outcome(traffic_proofs.dns(here, asked, WATCH, [], []), "answered there", "10.8.0.1", "script-security") is Outcome.SHOWN
    assert outcome(traffic_proofs.dns(here, FULL, WATCH, [LEAK], []), OUT) is Outcome.FAILED
    assert outcome(traffic_proofs.dns(here, FULL, WATCH, [], ["9.9.9.9 on eth0"]), "9.9.9.9 on eth0") is Outcome.FAILED
    assert outcome(traffic_proofs.dns(here, FULL, quiet, [], []), "No query") is Outcome.UNKNOWN
    assert outcome(traffic_proofs.dns(here, SPLIT, quiet, [], ["9.9.9.9 on eth0"]), "as before") is Outcome.UNKNOWN
    assert outcome(traffic_proofs.dns(Resolvers((), ()), FULL, quiet, [], []), "no resolver") is Outcome.UNKNOWN
    unanswered = replace(WATCH, through_tunnel={**WATCH.through_tunnel, "answers": 0})
    assert outcome(traffic_proofs.dns(here, FULL, unanswered, [], []), "no resolver answered") is Outcome.UNKNOWN


def test_up() -> None:
    assert outcome(proofs.up(TUNNEL, None, "SUCCESS"), "0.80 s", "10.8.0.2", "tun0") is Outcome.SHOWN
    assert outcome(proofs.up(TUNNEL, None, "ROUTE_ERROR"), "route error") is Outcome.SHOWN
    assert outcome(proofs.up(TUNNEL, 1.24, "SUCCESS"), "broke 1.2 s later") is Outcome.FAILED
    assert outcome(proofs.not_up("AUTH_FAILED", interrupted=False), "user name") is Outcome.FAILED
    assert outcome(proofs.not_up("TLS Error: TLS key negotiation failed", interrupted=False), "revoked") is Outcome.FAILED
    assert outcome(proofs.not_up("no", interrupted=False), "--solo --profile") is Outcome.FAILED


def test_an_interruption_before_it_is_up() -> None:
    assert proofs.not_up("it was interrupted", interrupted=True).outcome is Outcome.UNKNOWN


def test_data() -> None:
    assert outcome(proofs.data(Data(GATEWAY, 3, 3, 0.02, "echo reply"), 9), "10.8.0.1", "20.0 ms") is Outcome.SHOWN
    assert outcome(proofs.data(Data(None, 9, 0, None, ""), 4), "4 packets") is Outcome.SHOWN
    assert outcome(proofs.data(Data(None, 9, 0, None, ""), 0), "not known") is Outcome.UNKNOWN


def test_beyond() -> None:
    host, before, now = Host("web", 80), ip_address("203.0.113.9"), ip_address("198.51.100.7")
    assert outcome(proofs.beyond(Beyond(before, 2, ""), [], [], None), "hop 2", "--seen-by") is Outcome.SHOWN
    assert outcome(proofs.beyond(None, [before], [], None), "203.0.113.9") is Outcome.SHOWN
    assert outcome(proofs.beyond(Beyond(None, 0, ""), [], [], None), "--beyond") is Outcome.UNKNOWN
    assert outcome(proofs.beyond(Beyond(None, 0, "unreachable (0)"), [], [], None), "unreachable (0)") is Outcome.UNKNOWN
    assert outcome(proofs.beyond(None, [], [], None), "nobody beyond it was named") is Outcome.UNKNOWN
    assert outcome(proofs.beyond(None, [], [Reached(host, True, "connected")], None), "web port 80") is Outcome.SHOWN
    assert outcome(proofs.beyond(None, [], [Reached(host, False, "no answer")], None), "NAT") is Outcome.FAILED
    assert outcome(proofs.beyond(None, [], [], (before, now, True)), "198.51.100.7") is Outcome.SHOWN
    assert outcome(proofs.beyond(None, [], [], (before, before, False)), "as without") is Outcome.FAILED
    assert outcome(proofs.beyond(None, [], [], (before, "echo does not answer", None)), "echo does not answer") is Outcome.UNKNOWN


def test_size() -> None:
    assert proofs.size(Size(1500, 1500), FULL, "udp", "").outcome is Outcome.SHOWN
    assert outcome(proofs.size(Size(1500, 1228), FULL, "udp", ""), "1228", "tun-mtu 1228", "mssfix 1252") is Outcome.FAILED
    assert outcome(proofs.size(Size(1500, 1228), replace(FULL, segment_bytes=1228), "udp", ""), "TCP passes") is Outcome.SHOWN
    assert outcome(proofs.size(None, FULL, "udp", proofs.SILENT), "answers no echo request") is Outcome.UNKNOWN


def test_throughput_is_a_number_with_its_method() -> None:
    found = proofs.throughput(Speed(43.2, 900, 910, 0.7), Speed(95.0, 400, 400, 0.4), "")
    assert outcome(found, "43.2 Mbit/s", "95 beside it") is Outcome.SHOWN
    assert (found.numbers["lost"], found.numbers["tunnel_megabits_s"]) == (10, 43.2)
    assert outcome(proofs.throughput(Speed(None, 0, 8, 0.0), None, proofs.SILENT), "not known") is Outcome.UNKNOWN


def test_restored() -> None:
    assert proofs.restored([], []).outcome is Outcome.SHOWN
    assert outcome(proofs.restored([], ["address 10.0.0.9/24 dev eth0 is new"]), "something else", "10.0.0.9") is Outcome.SHOWN
    assert outcome(proofs.restored(["route 0.0.0.0/1 is new"], []), "0.0.0.0/1") is Outcome.FAILED
