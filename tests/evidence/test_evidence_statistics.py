"""The error bound against two independent ways to the same number, and its monotonicity."""

import random
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence.statistics import ERROR_BOUND, LEAST_TRIALS, MOST_TRIALS, Background, hardly_by_chance, round_trip

counts = st.integers(0, 3000)
backgrounds = st.builds(Background, counts, counts)


def moment_by_integration(background: Background, trials: int, *, steps: int = 20_000) -> float:
    """E[p^trials] where p has the density p^lost (1-p)^passed, normalised: Simpson's rule, no closed form."""

    def integral(power: int) -> float:
        width = 1 / steps
        total = 0.0
        for step in range(steps + 1):
            p = step * width
            weight = 1 if step in (0, steps) else 4 if step % 2 else 2
            total += weight * p ** (background.lost + power) * (1 - p) ** background.passed
        return total * width / 3

    return integral(trials) / integral(0)


@pytest.mark.parametrize(("lost", "passed", "trials"), [(0, 1, 4), (0, 40, 4), (3, 17, 6), (20, 80, 9), (5, 5, 12)])
def test_the_closed_form_is_the_integral(lost: int, passed: int, trials: int) -> None:
    background = Background(lost, passed)
    assert background.chance_of_losing_all(trials) == pytest.approx(moment_by_integration(background, trials), rel=1e-4)


def test_the_closed_form_is_what_chance_does() -> None:
    """Loss rates drawn from the posterior, and packets from the rates: no formula at all."""
    chance = random.Random(7)
    background, trials, runs = Background(20, 60), 3, 60_000
    lost_all = sum(
        all(chance.random() < rate for _ in range(trials))
        for rate in (chance.betavariate(background.lost + 1, background.passed + 1) for _ in range(runs))
    )
    assert lost_all / runs == pytest.approx(background.chance_of_losing_all(trials), rel=0.15)


def test_without_loss_it_is_one_over_a_binomial_coefficient() -> None:
    assert Background(0, 30).chance_of_losing_all(6) == pytest.approx(1 / comb(37, 6))


@given(backgrounds, st.integers(0, 80))
def test_more_trials_never_make_it_likelier(background: Background, trials: int) -> None:
    now, then = background.chance_of_losing_all(trials), background.chance_of_losing_all(trials + 1)
    assert 0 <= then <= now <= 1


@given(backgrounds, st.integers(1, 60))
def test_the_bound_moves_with_the_loss_that_was_measured(background: Background, trials: int) -> None:
    lossier = background + Background(1, 0)
    clearer = background + Background(0, 1)
    assert clearer.chance_of_losing_all(trials) < background.chance_of_losing_all(trials) < lossier.chance_of_losing_all(trials)


@given(backgrounds, st.floats(1e-12, 0.5))
def test_the_trials_that_are_asked_for_suffice_and_fewer_would_not(background: Background, bound: float) -> None:
    needed = background.trials_needed(bound)
    assert LEAST_TRIALS <= needed <= MOST_TRIALS
    if needed < MOST_TRIALS:
        assert background.chance_of_losing_all(needed) <= bound
    if needed > LEAST_TRIALS:
        assert background.chance_of_losing_all(needed - 1) > bound


def test_a_clear_path_needs_few_trials_and_a_lossy_one_more() -> None:
    assert LEAST_TRIALS == 4
    assert Background(0, 10_000).trials_needed() == LEAST_TRIALS
    assert Background(0, 60).trials_needed() < Background(12, 48).trials_needed() < Background(30, 30).trials_needed()
    assert Background(999, 1).trials_needed() == MOST_TRIALS
    assert ERROR_BOUND == 1e-6


def test_nothing_that_passed_is_nothing_to_compare_with() -> None:
    assert not Background(5, 0).measured
    assert Background(0, 1).measured


@pytest.mark.parametrize(
    ("there", "back", "both"),
    [
        (Background(0, 10), Background(0, 20), Background(0, 10)),
        (Background(5, 5), Background(0, 10), Background(5, 5)),
        (Background(2, 8), Background(2, 8), Background(4, 6)),
        (Background(), Background(0, 8), Background()),
        (Background(4, 0), Background(0, 8), Background(4, 0)),
    ],
)
def test_a_round_trip_is_lost_where_either_way_loses_it(there: Background, back: Background, both: Background) -> None:
    assert round_trip(there, back) == both


@given(backgrounds, backgrounds, st.integers(1, 30))
def test_a_round_trip_is_never_surer_than_either_way(there: Background, back: Background, trials: int) -> None:
    both = round_trip(there, back)
    shorter = min(there.lost + there.passed, back.lost + back.passed)
    assert both.lost + both.passed == shorter
    for way in (there, back):
        if way.lost + way.passed == shorter:
            assert both.chance_of_losing_all(trials) >= way.chance_of_losing_all(trials)


def test_losing_all_by_chance_comes_true_where_much_is_lost() -> None:
    lossy, clean = Background(200, 800), Background(0, 500)
    assert lossy.may_lose_all(2)
    assert not lossy.may_lose_all(4)
    assert lossy.may_lose_all(4, ways=10)
    assert not clean.may_lose_all(1)


def test_the_chance_of_losing_some_of_many() -> None:
    path = Background(2, 97)
    assert path.chance_of_losing(0, 20) == pytest.approx(1.0)
    assert path.chance_of_losing(5, 5) == pytest.approx(path.chance_of_losing_all(5))
    by_hand = 1 - (98 * 99) / (101 * 102) - 2 * 3 * 98 / (101 * 102)  # Of two packets of a Beta(3, 98) none, or one, is lost.
    assert path.chance_of_losing(2, 2) == pytest.approx(by_hand)
    assert path.chance_of_losing(10, 40) < 1e-4 < path.chance_of_losing(3, 40)


def test_chance_hardly_loses_the_largest_alone_where_it_may_lose_many_others() -> None:
    assert not hardly_by_chance(3, 6)
    assert not hardly_by_chance(1, 100)
    assert hardly_by_chance(2, 100)
    assert hardly_by_chance(5, 21)
