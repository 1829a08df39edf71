"""Between which two hops kinds vanish, in simulated networks: many kinds at once, loss, routers that are slow to answer."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from vpnprobe.endpoint.hop_search import LONGEST_BLANK_S, LONGEST_S, HopSearch
from vpnprobe.endpoint.pacer import Pacer
from vpnprobe.endpoint.probe_packets import echo, udp, without_port
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.endpoint.ttl_probe import Copied, IcmpTap
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Check, Vantage
from vpnprobe.evidence.records import TtlTrace
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Direction
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Endpoint
from vpnprobe.transports.topology import CLIENT, Action, Filter, Hook, Link, Topology

GRE, ESP = checks.GRE_BARE, checks.ESP
ROUTERS = 5
CLEAN = Background(0, 200)


def topology(*filters: Filter, loss: float = 0.0, **more: Any) -> Topology:
    links = tuple(Link(loss=loss if number == 1 else 0.0) for number in range(ROUTERS + 1))
    return Topology(routers=ROUTERS, filters=filters, links=links, **more)


def place(trace: TtlTrace) -> tuple[int, int | None]:
    """The last hop that is reached, and the next that is shown not to be."""
    last = max((ttl for ttl, address in trace.hops.items() if address), default=0)
    return last, min((ttl for ttl in (*trace.silent, *trace.refused) if ttl > last), default=None)


def searched(
    where: Topology,
    kinds: Sequence[Check],
    *,
    loss: Background = CLEAN,
    seed: int = 1,
    starved: bool = False,
    before: int = 0,
    bytes_per_s: float = 1e6,
) -> tuple[list[TtlTrace], float, int]:
    """The traces, how long it took, and how many copies it took. `before`: copies that each router has answered just before."""

    async def main() -> tuple[list[TtlTrace], float, int]:
        stack = SimulatedNetwork(where, seed=seed).stack(CLIENT)
        own, peer = where.client_address, where.server_address
        nonces, recorder = Nonces(stack, 7), Recorder(stack, Vantage.CLIENT)
        tap = IcmpTap(stack, lambda *_: None)
        passing = Copied(checks.ICMP_ECHO, echo(nonces))
        copied = []
        for check in kinds:
            make = without_port(nonces, check) or udp(nonces, Endpoint(own, 40000), Endpoint(peer, check.port or 0), check)
            copied.append(Copied(check, make))
        earlier = Copied(checks.ICMP_ECHO, echo(nonces))
        for ttl in range(1, ROUTERS + 1):
            for _ in range(before):
                tap.send(recorder, earlier, source=own, destination=peer, ttl=ttl)
        search = HopSearch(tap, recorder, Direction.C2S, own, peer, ROUTERS + 1, 0.05, loss, Pacer(stack.now, bytes_per_s), starved=starved)
        began = stack.now()
        traces = await search.run(passing, copied)
        return traces, stack.now() - began, len(recorder.packet_records)

    return run_virtual(main())


def udp_ports(count: int) -> list[Check]:
    return [checks.udp_reach(5000 + number) for number in range(count)]


@pytest.mark.parametrize("at", range(1, ROUTERS + 1))
@pytest.mark.parametrize("hook", [Hook.FORWARD, Hook.PREROUTING])
def test_each_hop(at: int, hook: Hook) -> None:
    (passing, failing), took_s, copies = searched(topology(Filter(f"r{at}", protocol=47, hook=hook)), [GRE])
    last = at if hook is Hook.FORWARD else at - 1
    assert passing.passes
    assert passing.reached == ROUTERS + 1
    assert place(failing) == (last, last + 1 if last < ROUTERS else None)
    assert took_s < 0.5
    assert copies < 30


def test_kinds_that_are_lost_at_different_places() -> None:
    filters = (Filter("r2", protocol=47), Filter("r4", protocol=50), Filter("r3", protocol=17, ports=(5000,), hook=Hook.PREROUTING))
    (_, *traces), _, _ = searched(topology(*filters), [GRE, ESP, checks.udp_reach(5000)])
    assert [place(trace) for trace in traces] == [(2, 3), (4, 5), (2, 3)]


def test_many_kinds_at_one_place_take_copies_for_that_place_alone() -> None:
    kinds = udp_ports(12)
    (_, *traces), took_s, copies = searched(topology(Filter("r3", protocol=17), icmp_errors_per_s=0), kinds)
    assert [place(trace) for trace in traces] == [(3, 4)] * 12
    assert took_s < 1
    assert copies < 110


def test_one_among_many_that_is_lost_elsewhere_has_its_own_place() -> None:
    filters = (Filter("r2", protocol=17, ports=(5004,)), Filter("r4", protocol=17))
    (_, *traces), _, _ = searched(topology(*filters, icmp_errors_per_s=10.0), udp_ports(6))
    assert [place(trace) for trace in traces] == [(4, 5), (4, 5), (4, 5), (4, 5), (2, 3), (4, 5)]


@pytest.mark.parametrize("seed", range(3))
def test_routers_that_answer_once_a_second_are_waited_for_and_never_taken_for_a_filter(seed: int) -> None:
    (_, *traces), took_s, _ = searched(topology(Filter("r3", protocol=17)), udp_ports(20), seed=seed)
    places = [place(trace) for trace in traces]
    assert all(last <= 3 and following == 4 for last, following in places)
    assert places.count((3, 4)) >= 8
    assert LONGEST_S <= took_s < LONGEST_BLANK_S


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("at", [1, 3, 5])
def test_loss_is_not_taken_for_a_filter(seed: int, at: int) -> None:
    (_, *traces), _, _ = searched(topology(Filter(f"r{at}", protocol=47), loss=0.2), [GRE], loss=Background(36, 64), seed=seed)
    (found,) = [place(trace) for trace in traces]
    assert found == (at, at + 1 if at < ROUTERS else None)


def test_a_slow_line_is_not_filled_and_takes_longer_alone() -> None:
    (_, failing), took_s, copies = searched(topology(Filter("r3", protocol=47)), [GRE], bytes_per_s=4000.0)
    assert place(failing) == (3, 4)
    assert took_s > copies * 84 / 4000 - 0.5


def test_a_router_that_answers_nothing_is_left_out_of_the_place() -> None:
    (_, failing), _, _ = searched(topology(Filter("r3", protocol=47), silent_routers=("r3", "r4")), [GRE])
    assert place(failing) == (2, 5)


def test_where_no_router_answers_there_is_no_place() -> None:
    quiet = tuple(f"r{number}" for number in range(1, ROUTERS + 1))
    (_, failing), took_s, _ = searched(topology(Filter("r3", protocol=47), silent_routers=quiet), [GRE])
    assert place(failing) == (0, None)
    assert took_s < 3


@pytest.mark.parametrize(("starved", "speaking"), [(True, 5), (False, 0)])
def test_routers_that_have_just_refused_us_are_asked_for_longer(starved: bool, speaking: int) -> None:
    (passing, *_), _, _ = searched(topology(Filter("r3", protocol=47)), [GRE], starved=starved, before=6)
    assert sum(address is not None for address in passing.hops.values()) == speaking


def test_a_refusal_ends_the_search_for_the_next_hop() -> None:
    (_, failing), _, _ = searched(topology(Filter("r3", protocol=47, action=Action.REJECT_ADMIN)), [GRE])
    assert place(failing) == (3, 4)
    assert failing.refused[4] == "10.78.2.2"


def test_without_suspects_what_passes_is_traced_once() -> None:
    (passing,), took_s, copies = searched(topology(), [])
    assert [address for address in passing.hops.values() if address] == [f"10.78.{hop}.2" for hop in range(ROUTERS)]
    assert copies == ROUTERS + 1
    assert took_s < 0.1


def test_the_same_seed_gives_the_same_search() -> None:
    where = topology(Filter("r3", protocol=17))
    one, other = (searched(where, udp_ports(8)) for _ in range(2))
    assert one == other
    assert isinstance(one[0][1].hops, Mapping)
