"""The drawing of the path, as coordinates."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_samples import BOTH, C2S, GRE, PATH, S2C, SAMPLES, TCP, UDP, clean_result, offline_result, seed_result

from vpnprobe.observations.schema import Cause, Direction, Location, Observation, Outcome
from vpnprobe.report.path import MOST_HOPS, MOST_LANES, Figure, figure, figures, route


def drawn(name: str, direction: Direction) -> Figure:
    found = figure(SAMPLES[name](), direction)
    assert found is not None
    return found


def test_the_route_is_the_longest_trace_without_its_addressee() -> None:
    assert route(seed_result(), C2S) == PATH[C2S]
    assert route(seed_result(), S2C) == PATH[S2C]
    hops = [{"ttl": 1, "address": "10.78.0.2"}, {"ttl": 2, "address": None}, {"ttl": 3, "address": "10.78.3.2"}]
    row = Observation("t", "path", "trace", C2S, UDP, Outcome.PASS, detail={"hops": hops, "reached": 3})
    assert route(replace(seed_result(), observations=(row,)), C2S) == ("10.78.0.2", "")


def test_a_place_says_more_than_a_short_trace() -> None:
    row = Observation("g", "gre", "passthrough", C2S, GRE, Outcome.BLOCKED, location=Location(2, "10.0.0.2", "10.0.0.3"))
    assert route(replace(seed_result(), observations=(row,)), C2S) == ("", "10.0.0.2", "10.0.0.3")


def test_both_figures_have_the_client_above_the_server() -> None:
    for direction in (C2S, S2C):
        hosts = drawn("seed", direction).hosts
        assert (hosts[0].name, hosts[-1].name) == ("client", "server")
        assert [host.y for host in hosts] == sorted(host.y for host in hosts)
    assert [host.address for host in drawn("seed", S2C).hosts[1:-1]] == list(reversed(PATH[S2C]))


@pytest.mark.parametrize(("direction", "above", "below"), [(C2S, "10.78.1.2", "10.78.2.2"), (S2C, "10.78.1.1", "10.78.2.1")])
def test_the_cross_stands_between_the_two_hops(direction: Direction, above: str, below: str) -> None:
    picture = drawn("seed", direction)
    (lost,) = [lane for lane in picture.lanes if lane.lost]
    levels = {host.address: host.y for host in picture.hosts}
    assert lost.name == "GRE"
    assert lost.cross is not None
    assert levels[above] < lost.cross < levels[below]


def test_what_passes_joins_both_ends() -> None:
    picture = drawn("clean", C2S)
    assert [lane.name for lane in picture.lanes] == ["TCP", "UDP", "ESP", "GRE"]
    assert all((lane.start, lane.stop) == (picture.hosts[0].y, picture.hosts[-1].y) for lane in picture.lanes)
    assert "does not arrive" not in picture.title
    assert len(figures(clean_result())) == 2


def test_without_a_trace_the_place_is_open() -> None:
    picture = drawn("offline", C2S)
    lost = next(lane for lane in picture.lanes if lane.lost)
    assert not picture.traced
    assert lost.cross is None
    assert picture.hosts[0].y < lost.stop < picture.hosts[-1].y


def test_a_port_that_is_lost_in_both_ways_is_drawn_where_it_was_measured() -> None:
    row = Observation("t", "tcp", "reach", BOTH, TCP, Outcome.BLOCKED, port=80, cause=Cause.PORT, detail={"lost_direction": "s2c"})
    result = replace(offline_result(), observations=(row,))
    assert figure(result, C2S) is None
    assert figure(result, S2C) is not None


def test_lanes_beyond_the_room_are_counted() -> None:
    rows = tuple(
        Observation(str(hop), "udp", "reach", C2S, UDP, Outcome.BLOCKED, port=hop, location=Location(hop, f"10.0.0.{hop}"))
        for hop in range(1, 10)
    )
    picture = figure(replace(seed_result(), observations=rows), C2S)
    assert picture is not None
    assert (len(picture.lanes), picture.left_out) == (MOST_LANES, 9 - MOST_LANES)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3), lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["ttl", "address"]), x)
    )
)
def test_any_hops_give_a_route_of_bounded_length(hops: object) -> None:
    row = Observation("t", "path", "trace", C2S, UDP, Outcome.PASS, detail={"hops": hops, "reached": hops})
    assert len(route(replace(seed_result(), observations=(row,)), C2S)) <= MOST_HOPS


@given(st.integers(), st.none() | st.text(max_size=3), st.none() | st.text(max_size=3))
def test_any_location_can_be_drawn(last_hop: int, last: str | None, following: str | None) -> None:
    row = Observation("g", "gre", "passthrough", C2S, GRE, Outcome.BLOCKED, location=Location(last_hop, last, following))
    picture = figure(replace(seed_result(), observations=(row,)), C2S)
    assert picture is not None
    assert all(0 <= lane.stop <= picture.height for lane in picture.lanes)
