"""Moments in which a path lost everything: told apart from loss, from a full queue, and from the end of a flow that is cut."""

import random
from dataclasses import replace

import pytest
from evidence_support import C2S, CLIENT, RECEIVED, SENT, SERVER
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence import checks
from vpnprobe.evidence.judging.base import MOST_OUTAGES, Judge
from vpnprobe.evidence.judging.facts import outages_of
from vpnprobe.evidence.outages import LEAST_LOST, Fate, Outage, outages, shared
from vpnprobe.evidence.packet_records import PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.observations.schema import Transport

UDP, GRE = Transport.UDP, Transport.GRE


def steady(*, from_s: float, to_s: float, every_s: float = 0.01, transports: tuple[Transport, ...] = (UDP, GRE)) -> list[Fate]:
    """A packet every `every_s` for a second, of which those between the two times are lost."""
    return [
        Fate(round(number * every_s, 6), not from_s <= number * every_s <= to_s, transports[number % len(transports)])
        for number in range(round(1 / every_s))
    ]


@pytest.mark.parametrize(("flows", "ends_s", "told"), [(("a", "b"), 1.0, True), (("a", "b"), 0.5, False), (("a",), 1.0, False)])
def test_several_sessions_that_go_on_after_it_show_an_outage(flows: tuple[str, ...], ends_s: float, told: bool) -> None:
    """Of one protocol alone: flows that are cut after as many packets end at the same time too, and for good."""
    every = [(number / 100, flows[number % len(flows)]) for number in range(int(ends_s * 100))]
    fates = [Fate(at, not 0.3 <= at <= 0.6, UDP, flow=flow) for at, flow in every]
    assert bool(outages(fates)) is told


def test_sessions_that_follow_those_that_are_cut_show_none() -> None:
    """Each to the same two ports, and each cut after thirty packets."""
    every = [(number / 100, f"{number // 120}-{number % 2}", number % 120 < 60) for number in range(600)]
    assert outages([Fate(at, came, UDP, flow=flow) for at, flow, came in every]) == ()


def test_an_outage_is_from_the_first_to_the_last_that_it_took() -> None:
    (found,) = outages(steady(from_s=0.3, to_s=0.5))
    assert (found.from_s, found.to_s, found.lost) == (0.3, 0.5, 21)
    assert found.takes(0.4)
    assert not found.takes(0.29)
    assert not found.takes(0.51)


def test_there_may_be_several_and_one_at_the_end() -> None:
    fates = steady(from_s=0.1, to_s=0.2) + [Fate(1 + one.at, one.came, one.transport) for one in steady(from_s=0.85, to_s=2)]
    assert [(one.from_s, round(one.to_s, 2)) for one in outages(fates)] == [(0.1, 0.2), (1.85, 1.99)]


def test_a_flow_that_is_cut_is_none() -> None:
    """All that is lost is of one protocol, and nothing else was sent then."""
    assert outages(steady(from_s=0.3, to_s=2, transports=(UDP,))) == ()


def test_a_block_of_controls_that_is_lost_whole_makes_one_of_it() -> None:
    cut = steady(from_s=0.3, to_s=0.6, transports=(UDP,))
    assert outages([*cut, *(Fate(0.41 + number / 100, False, UDP, 7) for number in range(3))]) != ()
    assert outages([*cut, *(Fate(0.41 + number / 100, number == 1, UDP, 7) for number in range(3))]) == ()


def test_where_anything_came_over_tcp_meanwhile_it_is_none() -> None:
    whole = [*steady(from_s=0.3, to_s=0.6, transports=(UDP,)), *(Fate(0.41 + number / 100, False, UDP, 7) for number in range(3))]
    assert outages(whole, [0.45]) == ()
    assert outages(whole, [0.2, 0.7]) != ()


@pytest.mark.parametrize("silent", [1, MOST_OUTAGES, MOST_OUTAGES + 1])
def test_what_often_happens_is_how_the_path_is(silent: int) -> None:
    """Then what was lost is loss."""
    kinds = {UDP: checks.udp_reach(53), GRE: checks.GRE_BARE}
    fates = [replace(one, at=second + one.at) for second in range(silent) for one in steady(from_s=0.3, to_s=0.6)]
    client = [PacketRecord(CLIENT, SENT, one.at, kinds[one.transport], f"{number}") for number, one in enumerate(fates)]
    passed = [row for row, one in zip(client, fates, strict=True) if one.came]
    server = [replace(row, vantage=SERVER, movement=RECEIVED) for row in passed]
    judge = Judge(EndRecord(tuple(client)), EndRecord(tuple(server)), PathFacts())
    assert len(judge.outages[C2S]) == silent
    assert judge.silent_often is (silent > MOST_OUTAGES)
    assert judge.loss[C2S].lost == (31 * silent if judge.silent_often else 0)
    assert [row.detail.get("often") for row in outages_of(judge)] == [True if judge.silent_often else None] * silent


def test_what_came_over_tcp_is_told_by_when_it_came() -> None:
    """The payload left within the outage, and came behind it: TCP had repeated it. The other came meanwhile."""
    check, delay = checks.tcp_reach(443), 0.02

    def judged(came_at: float) -> int:
        kinds = {UDP: checks.udp_reach(53), GRE: checks.GRE_BARE}
        client = [PacketRecord(CLIENT, SENT, one.at, kinds[one.transport], f"{number}") for number, one in enumerate(fates)]
        passed = [row for row, one in zip(client, fates, strict=True) if one.came]
        server = [replace(row, vantage=SERVER, movement=RECEIVED, at=row.at + delay) for row in passed]
        client.append(PacketRecord(CLIENT, SENT, 0.35, check, "payload", "payload"))
        server.append(PacketRecord(SERVER, RECEIVED, came_at, check, "payload", "payload"))
        return len(Judge(EndRecord(tuple(client)), EndRecord(tuple(server)), PathFacts()).outages[C2S])

    fates = steady(from_s=0.3, to_s=0.5)
    assert judged(0.7) == 1
    assert judged(0.4) == 0


def test_what_a_full_queue_drops_at_one_moment_is_none() -> None:
    assert outages([*steady(from_s=2, to_s=2), *(Fate(0.5, False, (UDP, GRE)[number % 2]) for number in range(20))]) == ()


def test_a_few_in_a_row_are_none() -> None:
    assert outages(steady(from_s=0.3, to_s=0.3 + (LEAST_LOST - 2) / 100)) == ()
    assert outages([]) == ()


@given(st.integers(0, 10_000), st.floats(0.05, 0.6))
def test_loss_by_itself_is_seldom_taken_for_one(seed: int, share: float) -> None:
    """By chance as seldom as CHANCE says, so twice in this many never."""
    rng = random.Random(seed)
    fates = [Fate(number / 100, rng.random() >= share, (UDP, GRE)[number % 2]) for number in range(200)]
    assert len(outages(fates)) <= 1


def test_how_often_loss_is_taken_for_one() -> None:
    rng = random.Random(5)
    times = sum(
        bool(outages([Fate(number / 100, rng.random() >= 0.3, (UDP, GRE)[number % 2]) for number in range(200)])) for _ in range(1000)
    )
    assert times <= 6


def test_an_outage_of_one_direction_is_one_of_the_other_where_nothing_came_meanwhile() -> None:
    """Of a single protocol a run of losses by itself would say nothing."""
    elsewhere = [Outage(1.0, 1.5, 20)]
    lost = [Fate(1.0 + number / 10, False, Transport.UDP) for number in range(4)]
    around = [Fate(0.5, True, Transport.UDP), Fate(1.6, True, Transport.UDP)]
    assert shared([*lost, *around], [], elsewhere) == (Outage(1.0, 1.3, 4),)
    assert shared([*lost, *around, Fate(1.15, True, Transport.UDP)], [], elsewhere) == (Outage(1.0, 1.1, 2),)
    assert shared([*lost, *around], [1.2], elsewhere) == ()
    assert shared([lost[0], *around], [], elsewhere) == ()
    assert shared(around, [], elsewhere) == ()


def test_a_kind_that_loses_nearly_everything_beside_one_that_loses_nothing_is_no_outage() -> None:
    """Moments in which only this kind is sent: runs of its losses are as long as its own loss makes them."""
    found = 0
    for seed in range(200):
        rng = random.Random(seed)
        clean = [Fate(number / 100, True, UDP, kind="clean") for number in range(300)]
        lossy = [
            Fate(3 + number / 100, rng.random() >= 0.9, UDP, number, flow=f"session {number % 3}", kind="lossy") for number in range(300)
        ]
        found += bool(outages([*clean, *lossy]))
    assert found <= 2
