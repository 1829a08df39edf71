"""How long is waited: what the other end needs now, never less than the path, and never for ever."""

from types import SimpleNamespace
from typing import Any

import pytest

from vpnprobe.probes.patience import LONGEST_SETTLE_S, SOLO_ANSWER_S, SOLO_CONNECT_S, answer_s, connect_s, flight_s, settle_s


def peer(answers_in_s: float) -> Any:
    return SimpleNamespace(rtt_s=0.1, answers_in_s=answers_in_s)


def line(takes_s: float = 0.0) -> Any:
    return SimpleNamespace(takes_s=lambda _: takes_s)


def test_a_busy_peer_is_waited_for_and_the_path_stays_what_it_is() -> None:
    assert settle_s(peer(0.15), line()) == pytest.approx(0.18)
    assert settle_s(peer(1.9), line()) == pytest.approx(1.93)
    assert flight_s(peer(1.9), line()) == pytest.approx(0.18)


def test_one_that_is_slower_still_is_not_waited_for_again_and_again() -> None:
    assert settle_s(peer(60.0), line()) == LONGEST_SETTLE_S


def test_a_slow_line_adds_its_own() -> None:
    assert settle_s(peer(0.15), line(2.0)) == pytest.approx(2.18)
    assert flight_s(peer(0.15), line(2.0)) == pytest.approx(2.18)


def test_connections_and_answers_follow() -> None:
    assert connect_s(peer(0.15), line(), 8.0) == pytest.approx(3.6)
    assert connect_s(peer(1.9), line(), 8.0) == 8.0
    assert answer_s(peer(0.01), line()) == 1.0
    assert answer_s(peer(0.97), line()) == pytest.approx(6.0)


def test_alone_a_fixed_time_is_waited() -> None:
    assert (settle_s(None, line()), flight_s(None, line()), connect_s(None, line(), 8.0)) == (SOLO_ANSWER_S, SOLO_ANSWER_S, SOLO_CONNECT_S)
