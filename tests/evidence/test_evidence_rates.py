"""Limits on rate: what trains in company lose and trains alone do not."""

import random
from collections.abc import Callable

import pytest

from vpnprobe.conversations.echo_trains import timetable
from vpnprobe.evidence.rates import BOUND, RateLimit, Train, chance, rate_limit

TRAINS = 10
Fate = Callable[[float], bool]
"""Whether a packet that leaves then comes."""


def trains(fate: Fate, chosen: random.Random) -> list[Train]:
    """Ten trains of ten packets, five of them among ninety others."""
    company = [True] * 5 + [False] * 5
    chosen.shuffle(company)
    found = []
    for number, crowded in enumerate(company):
        places = [place for place in timetable([crowded]) if place.train == 0]
        fates = [fate(number * 0.45 + place.at) for place in places]
        asked = [came for came, place in zip(fates, places, strict=True) if place.asked]
        found.append(Train(crowded, asked.count(False), len(fates), fates.count(True), 0.2))
    return found


def policer(per_s: float, burst: int) -> Fate:
    tokens, last = float(burst), 0.0

    def fate(at: float) -> bool:
        nonlocal tokens, last
        tokens, last = min(burst, tokens + (at - last) * per_s), at
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return fate


@pytest.mark.parametrize("per_s", [20, 60, 100, 200, 350])
def test_a_policer_is_told_with_its_rate(per_s: int) -> None:
    found = rate_limit(trains(policer(per_s, 5), random.Random(1)))
    assert isinstance(found, RateLimit)
    assert found.error_bound <= BOUND
    assert found.tried_per_s == pytest.approx(500, rel=0.1)
    assert per_s * 0.9 <= found.packets_per_s <= per_s * 1.3 + 25  # What was saved up in a pause comes on top.


def independent(rate: float, chosen: random.Random) -> Fate:
    return lambda _: chosen.random() >= rate


def bursts(chosen: random.Random) -> Fate:
    """Good and bad times of 100 ms on average: half of the time 90 % are lost."""
    bad, until = False, 0.0

    def fate(at: float) -> bool:
        nonlocal bad, until
        while until < at:
            bad, until = not bad, until + chosen.expovariate(10)
        return chosen.random() >= (0.9 if bad else 0.02)

    return fate


@pytest.mark.parametrize("loss", ["independent", "bursts"])
def test_loss_that_has_nothing_to_do_with_rate_is_taken_for_a_limit_as_rarely_as_is_said(loss: str) -> None:
    chosen, runs = random.Random(2), 2000
    claimed = 0
    for _ in range(runs):
        fate = bursts(chosen) if loss == "bursts" else independent(0.3, chosen)
        claimed += rate_limit(trains(fate, chosen)) is not None
    assert claimed <= BOUND * runs + 3 * (BOUND * runs) ** 0.5


def test_no_loss_is_no_limit() -> None:
    assert rate_limit(trains(lambda _: True, random.Random(3))) is None


def test_the_chance_is_the_share_of_all_ways_that_show_as_much() -> None:
    assert chance([5, 0, 0, 0], [0]) == 0.25
    assert chance([5, 5, 0, 0], [0, 1]) == pytest.approx(1 / 6)
    assert chance([0, 5], [0]) == 1.0
    assert chance([], []) == 1.0
