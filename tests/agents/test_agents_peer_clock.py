"""The other end's clock by the answers of the control channel."""

import math

import pytest

from vpnprobe.agents.peer_clock import PeerClock


def test_the_fastest_answer_counts() -> None:
    clock = PeerClock()
    assert clock.since(10.0) is None
    clock.told(20.0, 21.0, 110.0)
    assert clock.since(10.0) == (99.5, 0.5)
    clock.told(30.0, 30.2, 120.3)
    assert clock.since(10.0) == (pytest.approx(100.2), pytest.approx(0.1))
    clock.told(40.0, 45.0, 7.0)
    assert clock.since(10.0) == (pytest.approx(100.2), pytest.approx(0.1))


@pytest.mark.parametrize("at", [None, "12", True, math.nan, math.inf, 1e300, [1.0]])
def test_what_is_no_time_says_nothing(at: object) -> None:
    clock = PeerClock()
    clock.told(20.0, 21.0, at)
    assert clock.since(0.0) is None
