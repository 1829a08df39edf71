"""Campaigns: the truth about what single features of random networks do."""

from dataclasses import replace

import pytest

from vpnprobe.lab.campaign.comparing import compare_rows
from vpnprobe.lab.campaign.crossing import is_slow, obstacles
from vpnprobe.lab.campaign.draw import draw
from vpnprobe.lab.campaign.findings import Comparison, Wrong
from vpnprobe.lab.campaign.packet_kinds import PacketKind, Step, steps_of
from vpnprobe.lab.campaign.places import place_of, wrong_place
from vpnprobe.lab.campaign.protocol_truth import truth_of_protocol
from vpnprobe.lab.campaign.routes import route_of
from vpnprobe.lab.campaign.truth import Passing, Truth, truth_of
from vpnprobe.lab.topologies import TCP, UDP
from vpnprobe.observations.schema import Cause, Direction, Feasibility, Location, Observation, Outcome, Transport
from vpnprobe.transports.topology import (
    CLIENT,
    SERVER,
    Filter,
    Hook,
    Link,
    Nat,
    Recutting,
    Service,
    StatefulFirewall,
    TakenPort,
    Topology,
    WayBack,
)

C2S, S2C, BOTH = Direction.C2S, Direction.S2C, Direction.BOTH
FEASIBLE, DEGRADED, INFEASIBLE = Feasibility.FEASIBLE, Feasibility.DEGRADED, Feasibility.INFEASIBLE
GRE, ESP = 47, 50


def truth(network: Topology, probe: str, check: str, port: int | None = None, variant: str = "", way: Direction = BOTH) -> Truth:
    return truth_of(network, steps_of(probe, check, transport_of(probe), port, variant, way))


def transport_of(probe: str) -> Transport:
    return Transport.TCP if probe in ("tcp", "pptp") else Transport.UDP


def right(network: Topology, protocol: str) -> frozenset[Feasibility]:
    found = truth_of_protocol(network, protocol, (1194, 443), 7117)
    assert found is not None
    return found.right


def wrong(network: Topology, row: Observation) -> list[Wrong]:
    comparison = Comparison()
    compare_rows(comparison, network, [row])
    return [finding.wrong for finding in comparison.findings]


# Asymmetric routes

WAY_BACK = Topology(routers=4, way_back=WayBack("r4", "r1", 3))
ESP_PACKET = PacketKind(ESP, smallest=84, largest=84)


def test_an_asymmetric_route_leaves_the_chain_and_joins_it_again() -> None:
    assert route_of(WAY_BACK, C2S).names == ("client", "r1", "r2", "r3", "r4", "server")
    assert route_of(WAY_BACK, S2C).names == ("server", "r4", "b1", "b2", "b3", "r1", "client")
    links = tuple(Link(delay_s=1.0 + number) for number in range(5))
    assert [link.delay_s for link in route_of(replace(WAY_BACK, links=links), S2C).links] == [5.0, 0.0001, 0.0001, 0.0001, 0.0001, 1.0]


def test_routers_of_one_direction_take_nothing_of_the_other() -> None:
    beside = replace(WAY_BACK, filters=(Filter("b2", protocol=ESP), Filter("r3", protocol=ESP)))
    assert [one.position for one in obstacles(beside, ESP_PACKET, C2S)] == [3]
    assert [one.position for one in obstacles(beside, ESP_PACKET, S2C)] == [3]
    assert obstacles(replace(WAY_BACK, filters=(Filter("r2", protocol=ESP, direction="s2c"),)), ESP_PACKET, S2C) == ()


@pytest.mark.parametrize(
    ("told", "right"),
    [
        (Location(3, "10.79.1.1", "10.79.2.1"), True),
        (Location(2, "10.79.0.1", "10.79.1.1"), True),
        (Location(1, "10.78.4.1", "10.79.0.1"), False),
        (Location(3, "10.78.2.1"), True),  # of a router that no packet of this direction meets: it says nothing
        (Location(4, "10.79.2.1"), False),
    ],
)
def test_places_beside_the_chain(told: Location, right: bool) -> None:
    network = replace(WAY_BACK, filters=(Filter("b2", protocol=ESP),))
    (stop,) = obstacles(network, ESP_PACKET, S2C)
    place = place_of(network, stop, S2C)
    assert (place.hop, place.hops) == (3, 6)
    assert (wrong_place(network, place, told) == "") is right


# Ends


def test_an_end_whose_link_is_down_for_a_while_has_no_firewall() -> None:
    down = Topology(filters=tuple(Filter(CLIENT, hook=hook, from_s=1, to_s=2) for hook in (Hook.INPUT, Hook.OUTPUT)))
    found = truth(down, "openvpn", "handshake", 1194)
    assert (found.passing, found.clean) == (Passing.YES, False)
    assert found.causes == {Cause.TIME, Cause.LOSS}
    assert right(down, "openvpn-udp") == {FEASIBLE, DEGRADED}


def test_an_ends_firewall_that_takes_some_of_it_is_not_the_path() -> None:
    some = Topology(filters=(Filter(SERVER, hook=Hook.INPUT, protocol=UDP, probability=0.5),))
    assert truth(some, "udp", "reach", 53, way=C2S).causes == {Cause.HOST_FIREWALL}
    assert right(some, "openvpn-udp") == {FEASIBLE}
    reach = Observation("x", "udp", "reach", C2S, Transport.UDP, Outcome.BLOCKED, 53, Cause.PORT, sent=10, received=5)
    assert wrong(some, reach) == [Wrong.BLOCKED]
    assert wrong(some, replace(reach, outcome=Outcome.DEGRADED, cause=Cause.HOST_FIREWALL)) == [Wrong.DEGRADED]
    assert wrong(some, replace(reach, outcome=Outcome.DEGRADED, cause=Cause.PORT)) == [Wrong.DEGRADED]


def test_an_ends_firewall_that_takes_what_is_long_is_not_the_path() -> None:
    long = Topology(filters=(Filter(CLIENT, hook=Hook.INPUT, longer_than=700),))
    assert truth(long, "openvpn", "handshake", 1194).passing is Passing.HOST, "the server's certificate fills a packet"
    assert truth(long, "wireguard", "handshake", 51820).passing is Passing.YES
    assert right(long, "wireguard") == {FEASIBLE}
    assert right(long, "openvpn-udp") == frozenset()
    assert right(long, "openvpn-tcp") == {FEASIBLE, DEGRADED}, "streams are ambiguous, and no fault of the path"
    data = Observation("x", "openvpn", "data", S2C, Transport.TCP, Outcome.BLOCKED, 443, Cause.SIZE, sent=10, received=5)
    assert wrong(long, data) == [Wrong.BLOCKED]
    assert wrong(long, replace(data, outcome=Outcome.DEGRADED)) == [Wrong.CAUSE], "it is the host's own firewall"


@pytest.mark.parametrize(("at", "hook", "expected"), [(CLIENT, Hook.INPUT, {FEASIBLE}), ("r2", Hook.FORWARD, {FEASIBLE, DEGRADED})])
def test_loss_of_messages_that_are_repeated_before_the_data_need_not_be_felt(at: str, hook: Hook, expected: set[Feasibility]) -> None:
    lost = Topology(filters=(Filter(at, hook=hook, protocol=UDP, ports=(500, 4500), probability=0.5),))
    assert right(lost, "l2tp-ipsec") == expected


@pytest.mark.parametrize(("protocol", "port", "verdict"), [(TCP, 1723, "pptp"), (UDP, 1701, "l2tp")])
def test_what_a_vpn_would_meet_on_a_port_of_another_program_is_not_known(protocol: int, port: int, verdict: str) -> None:
    taken = Topology(taken_ports=(TakenPort(SERVER, protocol, port),))
    assert right(taken, verdict) == frozenset()
    assert right(taken, "openvpn-udp") == {FEASIBLE}
    blocked = Observation("x", "l2tp", "control", BOTH, Transport.UDP, Outcome.BLOCKED, 1701, Cause.PORT, sent=10, received=0)
    assert wrong(taken, blocked) == [Wrong.BLOCKED]


# Filters


@pytest.mark.parametrize(
    ("planted", "passing"),
    [
        (Filter("r2", protocol=GRE, longer_than=79), Passing.NO),
        (Filter("r2", protocol=GRE, longer_than=80), Passing.YES),
        (Filter("r2", protocol=ESP, longer_than=79), Passing.YES),
    ],
)
def test_a_limit_of_size_for_packets_of_one_size_stops_all_of_them_or_none(planted: Filter, passing: Passing) -> None:
    found = truth(Topology(filters=(planted,)), "gre", "passthrough", way=C2S)
    assert found.passing is passing
    assert found.causes == ({Cause.SIZE, Cause.IP_PROTOCOL} if passing is Passing.NO else frozenset())


def test_a_limit_of_size_for_packets_of_several_sizes_leaves_the_small_ones() -> None:
    found = truth(Topology(filters=(Filter("r2", protocol=ESP, longer_than=1000),)), "esp", "passthrough", way=C2S)
    assert (found.passing, found.largest, found.causes) == (Passing.YES, 1000, {Cause.SIZE})


def test_flows_that_are_cut_at_some_bytes_may_be_called_filtered_by_them() -> None:
    cut = Filter("r2", protocol=UDP, after_packets=6, payload_offset=0, payload=b"\x48", payload_mask=b"\xf8")
    found = truth(Topology(filters=(cut,)), "openvpn", "data", 1194, way=C2S)
    assert found.passing is Passing.CUT
    assert found.causes == {Cause.PACKETS, Cause.TIME, Cause.PAYLOAD}


def test_a_few_packets_at_the_end_of_a_short_flow_may_have_been_lost_as_well_as_cut_off() -> None:
    cut = Topology(filters=(Filter("r2", protocol=UDP, ports=(53,), after_packets=10),))
    reach = Observation("x", "udp", "reach", S2C, Transport.UDP, Outcome.DEGRADED, 53, Cause.LOSS, sent=6, received=4)
    assert wrong(cut, reach) == []
    assert wrong(cut, replace(reach, sent=20, received=10)) == [Wrong.CAUSE]
    assert wrong(cut, replace(reach, cause=Cause.PAYLOAD)) == [Wrong.CAUSE]


# Streams that are cut anew

DATA_OVER_TCP = Filter("r3", protocol=TCP, payload_offset=2, payload=b"\x48", payload_mask=b"\xf8")


def stream(*filters: Filter, recutting: Recutting) -> Truth:
    network = Topology(filters=filters, recuttings=(recutting,))
    return truth_of(network, steps_of("openvpn", "data", Transport.TCP, 443, "", C2S)[:1])


def test_a_filter_behind_a_router_that_joins_segments_knows_their_beginnings_or_not() -> None:
    joined, split = Recutting("r2", merge_s=0.01), Recutting("r2", most_bytes=100)
    assert stream(DATA_OVER_TCP, recutting=joined).passing is Passing.MAYBE
    assert stream(DATA_OVER_TCP, recutting=split).passing is Passing.NO
    assert stream(replace(DATA_OVER_TCP, at="r1"), recutting=joined).passing is Passing.NO


def test_what_a_router_splits_is_small_behind_it() -> None:
    size = Filter("r3", longer_than=1300)
    assert stream(size, recutting=Recutting("r2", most_bytes=1000)).clean
    assert stream(replace(size, at="r1"), recutting=Recutting("r2", most_bytes=1000)).passing is Passing.MAYBE


def test_what_is_joined_is_as_large_as_the_next_link_carries_whatever_the_ends_said() -> None:
    network = Topology(links=(Link(), Link(), Link(mtu=1300), Link(mtu=1200)), recuttings=(Recutting("r1", merge_s=0.01),))
    steps = steps_of("openvpn", "data", Transport.TCP, 443, "", C2S)
    assert truth_of(network, steps).passing is Passing.MAYBE
    assert truth_of(replace(network, recuttings=()), steps).passing is Passing.YES


# NATs and stateful firewalls before the server

SOME = (Service(TCP), Service(UDP, (1194,)))
SERVER_NAT = Topology(nats=(Nat("r3", inside=SERVER, forwards=SOME),))
SERVER_FIREWALL = Topology(firewalls=(StatefulFirewall("r3", protects=SERVER, allows=SOME),))


@pytest.mark.parametrize(("network", "cause"), [(SERVER_NAT, Cause.NAT), (SERVER_FIREWALL, Cause.STATE)])
def test_the_server_is_reached_on_what_is_let_in(network: Topology, cause: Cause) -> None:
    for port, passing in ((1194, Passing.YES), (443, Passing.NO)):
        found = truth(network, "udp", "reach", port, way=C2S)
        assert (found.passing, found.causes) == (passing, {cause, Cause.PORT} if passing is Passing.NO else frozenset())
        assert truth(network, "udp", "reach", port, way=S2C).passing is Passing.YES
    assert truth(network, "tcp", "reach", 443).passing is Passing.YES
    assert truth(network, "esp", "passthrough", way=C2S).causes == {cause, Cause.IP_PROTOCOL}
    assert right(network, "openvpn-udp") == {FEASIBLE}
    assert right(network, "l2tp") == {INFEASIBLE}
    assert right(network, "wireguard") == {FEASIBLE, DEGRADED}, "on the port that is let in"


def test_a_server_behind_a_nat_that_forwards_all_is_reached_by_all() -> None:
    network = Topology(nats=(Nat("r3", inside=SERVER, forwards=(Service(),)),))
    for protocol in ("pptp", "l2tp", "l2tp-ipsec", "openvpn-udp", "wireguard"):
        assert right(network, protocol) == {FEASIBLE}


@pytest.mark.parametrize(("at", "causes"), [("r1", {Cause.IP_PROTOCOL}), ("r3", {Cause.IP_PROTOCOL, Cause.NAT})])
def test_what_a_nats_own_router_drops_may_be_what_it_does_not_forward(at: str, causes: set[Cause]) -> None:
    network = Topology(filters=(Filter(at, protocol=ESP),), nats=(Nat("r3", inside=SERVER, forwards=(Service(),)),))
    assert truth(network, "esp", "passthrough", way=C2S).causes == causes
    assert truth(network, "esp", "passthrough", way=S2C).causes == {Cause.IP_PROTOCOL}


def test_a_nat_that_answers_for_the_server_may_be_told_as_what_comes_next() -> None:
    network = replace(SERVER_NAT, icmp_errors_per_s=0.5)
    stop = next(one for one in obstacles(network, ESP_PACKET, C2S) if Cause.NAT in one.causes)
    place = place_of(network, stop, C2S)
    assert wrong_place(network, place, Location(1, "10.78.0.2", "10.78.2.2")) == ""
    assert wrong_place(network, place, Location(3, "10.78.2.2")) == ""
    assert wrong_place(network, place, Location(4, "10.78.2.2")) == "too far"
    assert wrong_place(network, place, Location(1, "10.78.0.2")) == "not far enough"


# Links and draws


def test_a_link_may_differ_by_direction() -> None:
    network = Topology(links=(Link(s2c=Link(loss=0.2, rate_bit_s=100_000.0)), Link(), Link(), Link()))
    steps = (Step(C2S, ESP_PACKET),), (Step(S2C, ESP_PACKET),)
    assert [truth_of(network, one).loss for one in steps] == [0.0, pytest.approx(0.2)]
    assert is_slow(network)
    assert not is_slow(Topology())


def test_what_tracks_connections_stands_where_both_directions_pass() -> None:
    drawn = [one for one in (draw(6, number) for number in range(600)) if "way_back" in one.features]
    tracked = [one for one in drawn if one.topology.nats or one.topology.firewalls]
    assert tracked
    for one in tracked:
        both = set(route_of(one.topology, C2S).names) & set(route_of(one.topology, S2C).names)
        assert {*(nat.at for nat in one.topology.nats), *(firewall.at for firewall in one.topology.firewalls)} <= both
