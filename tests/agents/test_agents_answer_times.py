"""How fast the other end answers now: as RFC 6298 has it, with what was sent again left out."""

import pytest

from vpnprobe.agents.answer_times import AnswerTimes


class Asked(AnswerTimes):
    """Requests one after another."""

    now = 0.0

    def after(self, took_s: float, *, repeated: int = 0, again: bool = False) -> None:
        self.now += took_s
        self.heard(took_s, at=self.now, repeated=repeated, again=again)


def heard(*took_s: float) -> Asked:
    times = Asked()
    for one in took_s:
        times.after(one)
    return times


def test_nothing_is_known_at_first() -> None:
    assert (heard().smoothed_s, heard().patience_s) == (0.0, 0.0)


def test_each_time_waits_for_the_next_answer() -> None:
    assert heard(0.1).smoothed_s == 0.0
    times = heard(0.1, 0.1)
    assert times.smoothed_s == pytest.approx(0.1)
    assert times.patience_s == pytest.approx(0.1 + 4 * 0.05)


def test_steady_answers_need_little_patience() -> None:
    assert heard(*[0.1] * 30).patience_s == pytest.approx(0.1, rel=0.01)


def test_an_end_that_becomes_busy_is_waited_for_at_once() -> None:
    assert heard(*[0.01] * 20, 2.0, 2.0).patience_s > 2.0


def test_one_that_is_busy_no_more_is_not() -> None:
    assert heard(2.0, 2.0, *[0.01] * 60).patience_s < 0.1


def test_an_answer_that_the_other_end_had_to_repeat_says_nothing() -> None:
    times = heard(*[0.01] * 20)
    times.after(0.4)
    times.after(0.01, repeated=1)
    assert times.patience_s < 0.05


def test_nor_does_one_whose_request_was_sent_again() -> None:
    times = heard(*[0.01] * 20)
    times.after(0.4, again=True)
    times.after(0.01)
    assert times.patience_s < 0.05


def test_what_was_waited_for_in_vain_is_the_least_until_a_time_is_known() -> None:
    times = heard(*[0.01] * 20)
    times.waiting(0.9)
    assert times.patience_s == 0.9
    times.after(1.5, again=True)
    assert times.patience_s == 0.9
    times.after(0.01)
    times.after(0.01)
    assert times.patience_s < 0.1


def test_a_repetition_explains_it() -> None:
    times = heard(*[0.01] * 20)
    times.waiting(0.9)
    times.after(0.9, repeated=1)
    assert times.patience_s < 0.1


def test_of_answers_that_were_under_way_together_one_counts() -> None:
    """Twenty that all waited for the same stall say no more than one."""
    times = heard(*[0.01] * 20)
    stalled = heard(*[0.01] * 20)
    times.after(1.5)
    stalled.after(1.5)
    for _ in range(19):
        stalled.heard(1.5, at=stalled.now, repeated=0)
    for one in (times, stalled):
        one.after(0.01)
    assert stalled.patience_s == pytest.approx(times.patience_s)
