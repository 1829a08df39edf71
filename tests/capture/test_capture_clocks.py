"""Time stamps in all forms, and the times that they come to."""

import re

import pytest

from vpnprobe.capture.printed.clocks import STAMP, Clock, Stamp, are_deltas, stamp_of


def stamp(text: str) -> Stamp:
    found = re.match(STAMP, text)
    assert found is not None
    return stamp_of(found)


@pytest.mark.parametrize(
    ("text", "seconds", "dated"),
    [
        ("08:02:08.014571", 28928.014571, False),
        ("8:02:08,5", 28928.5, False),
        ("2026-11-22 08:02:08.014571", 1795334528.014571, True),
        ("2026-11-22T08:02:08Z", 1795334528.0, True),
        ("2026-99-99 00:00:01", 1.0, True),
        ("1795334577.352093", 1795334577.352093, True),
        ("3.530807", 3.530807, False),
        ("000083", 0.000083, False),
    ],
)
def test_all_forms(text: str, seconds: float, dated: bool) -> None:
    found = stamp(text)
    assert (pytest.approx(seconds), dated) == (found.seconds, found.dated)


def test_past_midnight_and_back_in_time() -> None:
    clock = Clock()
    assert clock.at(stamp("23:59:59.0")) == (86399.0, False)
    assert clock.at(stamp("00:00:01.0")) == (86401.0, False)
    assert clock.at(None) == (86401.0, False)
    assert clock.at(stamp("00:00:00.5")) == (86400.5, False)
    assert clock.at(stamp("00:00:00.0")) == (86400.0, False)
    assert clock.at(stamp("00:00:00.9")) == (86400.9, False)
    assert Clock().at(None) == (0.0, False)
    late = Clock()
    late.at(stamp("10:00:09.0"))
    assert late.at(stamp("10:00:01.0")) == (36001.0, True)


def test_times_since_the_packet_before_go_back_again_and_again() -> None:
    deltas = [stamp(f"00:00:00.{number:06d}") for number in (0, 83, 15, 691, 50, 2302, 27)]
    since_first = [stamp(f"00:00:00.{number:06d}") for number in (0, 83, 98, 789, 839, 3141)]
    assert are_deltas(deltas)
    assert not are_deltas(since_first)
    assert not are_deltas(deltas[1:])
    assert not are_deltas([])
