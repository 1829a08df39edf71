"""What is dropped in the middle of a session has a place too: the very messages, sizes, streams and flows are copied, from either end."""

from dataclasses import replace
from typing import Any

import pytest

from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.observations.schema import Cause, Direction, Location, Observation, Outcome
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.topology import Filter, Hook, Link, Nat, Service, StatefulFirewall, Topology

ROUTERS = 4
OPENVPN = Settings((1194,), names=frozenset({"openvpn", "udp", "tcp"}))


def rows(settings: Settings, *filters: Filter, seed: int = 1, **more: Any) -> list[Observation]:
    links = tuple(Link(delay_s=0.002) for _ in range(ROUTERS + 1))
    found, _ = measure_simulated(
        Topology(routers=ROUTERS, filters=filters, links=links, **more), seed=seed, settings=settings, tell=lambda _: None
    )
    limited = (row for row in found.observations if row.outcome in (Outcome.BLOCKED, Outcome.REFUSED) or row.location is not None)
    return [row for row in limited if row.probe != "path"]


def test_what_lets_small_packets_through_after_all_is_placed_by_large_ones() -> None:
    """ESP is traced beside GRE while all of it is dropped, before the server speaks; what is said of it later is about its size."""
    all_at_first = Filter("r2", protocol=50, to_s=1.3)
    filters = (Filter("r2", protocol=47), all_at_first, Filter("r3", protocol=50, longer_than=500))
    settings = Settings((1194,), frozenset({"esp", "gre", "udp", "tcp"}), control_port=7117)
    found, _ = measure_simulated(Topology(filters=filters, links=(Link(delay_s=0.01),) * 4), seed=1, settings=settings, tell=lambda _: None)
    there = {row.probe: row for row in found.observations if row.check == "passthrough" and row.direction is Direction.C2S}
    assert (there["gre"].outcome, there["gre"].location) == (Outcome.BLOCKED, C2S_BEHIND_2)
    assert (there["esp"].cause, there["esp"].location) == (Cause.SIZE, Location(3, "10.78.2.2", "10.78.3.2"))


C2S_BEHIND_2 = Location(2, "10.78.1.2", "10.78.2.2")
S2C_BEHIND_2 = Location(2, "10.78.3.1", "10.78.2.1")
"""The routers from the server on are r4, r3, r2, r1: the third router is the second from there."""


@pytest.mark.parametrize(
    ("what", "checks"),
    [
        ({"protocol": 17, "payload_offset": 0, "payload": b"\x20", "payload_mask": b"\xf8"}, {"handshake"}),
        ({"protocol": 17, "payload_offset": 0, "payload": b"\x48", "payload_mask": b"\xf8"}, {"data"}),
        ({"protocol": 17, "longer_than": 900}, {"data", "handshake"}),
        ({"protocol": 17, "after_packets": 40}, {"data"}),
        ({"protocol": 6, "ports": (1194,), "payload_offset": 2, "payload": b"\x48", "payload_mask": b"\xf8"}, {"data"}),
    ],
    ids=["handshake", "data", "size", "cut", "stream"],
)
def test_what_is_dropped_within_a_session(what: dict[str, Any], checks: set[str]) -> None:
    there = rows(OPENVPN, Filter("r2", direction="c2s", **what))
    assert there
    assert {row.check for row in there} <= checks
    assert {row.location for row in there} == {C2S_BEHIND_2}
    back = rows(OPENVPN, Filter("r3", direction="s2c", **what))
    assert back
    assert {row.location for row in back} == {S2C_BEHIND_2}


def test_a_filter_before_the_ttl_is_looked_at_is_the_next_hop() -> None:
    found = rows(OPENVPN, Filter("r3", hook=Hook.PREROUTING, protocol=17, payload_offset=0, payload=b"\x20", payload_mask=b"\xf8"))
    assert {row.location for row in found} == {C2S_BEHIND_2}


def test_the_next_hop_of_the_last_router_is_the_other_end() -> None:
    found = rows(Settings((), names=frozenset({"esp", "udp"})), Filter("r4", direction="c2s", protocol=50))
    assert [row.location for row in found] == [Location(4, "10.78.3.2", "10.78.4.2")]


def test_a_nat_that_refuses_a_call_is_at_its_own_place() -> None:
    """The routers behind it answer the server from the NAT's address."""
    settings = Settings((), names=frozenset({"pptp", "gre", "udp"}))
    found = rows(settings, nats=(Nat("r3", pptp_helper=False), Nat("r4", pptp_helper=False)))
    assert {row.id: row.location for row in found if row.direction == "s2c"} == {
        "gre-passthrough-in-call-gre-s2c": Location(1, "10.78.4.1", None),
        "pptp-lcp-in-call-gre-s2c": Location(1, "10.78.4.1", None),
    }


STATEFUL = StatefulFirewall("r3", protects="server", allows=(Service(6), Service(17)))


def test_what_the_servers_packets_open_has_the_place_that_it_had_before() -> None:
    """Copies that leave afterwards pass the firewall."""
    found = rows(Settings((), names=frozenset({"esp", "gre", "pptp", "tcp", "udp"})), firewalls=(STATEFUL,))
    assert {row.id: row.location for row in found if "after_server" in row.detail} == {
        "esp-passthrough-esp-c2s": Location(3, "10.78.2.2", "10.78.3.2"),
        "gre-passthrough-bare-gre-c2s": Location(3, "10.78.2.2", "10.78.3.2"),
    }


def test_a_udp_port_is_traced_in_a_flow_that_the_server_has_not_opened() -> None:
    found = rows(Settings((), names=frozenset({"ike", "udp"})), firewalls=(replace(STATEFUL, allows=(Service(6),)),))
    opened = [row for row in found if "after_server" in row.detail and row.port in (500, 4500)]
    assert len(opened) == 2
    assert {row.location for row in opened} == {Location(3, "10.78.2.2", "10.78.3.2")}
