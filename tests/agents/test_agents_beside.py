"""What the server agent sends beside the answers to controls: one packet a block, at each place as often as at another."""

import random
from collections import Counter

import pytest

from vpnprobe.agents.beside import BesideControls
from vpnprobe.evidence.comparison import CONTROLS


def block(request: BesideControls, number: int, order: list[str], *, answered: int = CONTROLS) -> None:
    for _ in range(answered):
        request.answers(number)
        order.append("answer")
        request.answered(number)


@pytest.mark.parametrize("answered", [1, 2, CONTROLS])
def test_each_place_is_as_likely(answered: int) -> None:
    places = Counter[int]()
    rng = random.Random(3)
    order = list[str]()
    request = BesideControls(lambda: order.append("ours"), 10**6, rng.randbytes)
    runs = 8000
    for number in range(runs):
        order.clear()
        block(request, number, order, answered=answered)
        assert order.count("ours") <= 1
        if "ours" in order:
            places[order.index("ours")] += 1
    assert set(places) == set(range(answered + 1))
    for times in places.values():
        assert times == pytest.approx(sum(places.values()) / (answered + 1), rel=0.1)
    # Where controls were lost it may lie behind the last that came: then nothing is sent.
    assert sum(places.values()) == pytest.approx(runs * (answered + 1) / (CONTROLS + 1), rel=0.05)


def test_no_more_than_were_asked_for() -> None:
    order = list[str]()
    request = BesideControls(lambda: order.append("ours"), 4, random.Random(1).randbytes)
    for number in range(10):
        assert request.over.is_set() == (request.sent == 4)
        block(request, number, order)
    assert request.over.is_set()
    assert (request.sent, order.count("ours")) == (4, 4)
