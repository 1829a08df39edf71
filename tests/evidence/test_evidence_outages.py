"""Moments in which a path lost everything: told apart from loss, from a full queue, and from the end of a flow that is cut."""

import random

from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence.outages import LEAST_LOST, Fate, outages
from vpnprobe.observations.schema import Transport

UDP, GRE = Transport.UDP, Transport.GRE


def steady(*, from_s: float, to_s: float, every_s: float = 0.01, transports: tuple[Transport, ...] = (UDP, GRE)) -> list[Fate]:
    """A packet every `every_s` for a second, of which those between the two times are lost."""
    return [
        Fate(round(number * every_s, 6), not from_s <= number * every_s <= to_s, transports[number % len(transports)])
        for number in range(round(1 / every_s))
    ]


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
