"""Numbers that a run measures by the way."""

import pytest

from vpnprobe.agents.samples import carried, segments_lost
from vpnprobe.endpoint.pacer import LEAST_PAIRS, Line
from vpnprobe.evidence.checks import LINE_CARRIES, SEGMENTS_LOST
from vpnprobe.evidence.records import PathFacts
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Direction


def test_the_share_of_repeated_segments_by_direction_where_any_left() -> None:
    facts = PathFacts(background={Direction.C2S: Background(5, 95), Direction.S2C: Background(0, 0)})
    (sample,) = segments_lost(facts)
    assert (sample.check, sample.direction, sample.amount, sample.sent, sample.received) == (SEGMENTS_LOST, Direction.C2S, 0.05, 100, 95)


def line(gap_s: float) -> Line:
    found = Line(lambda: 0.0)
    for _ in range(LEAST_PAIRS):
        found.paired(520, gap_s)
    return found


def test_what_a_slow_line_carries() -> None:
    (sample,) = carried(line(0.0325))
    assert sample.check == LINE_CARRIES
    assert sample.amount == pytest.approx(128_000)


@pytest.mark.parametrize("gap_s", [0.0001, 0.004])
def test_a_line_that_is_fast_enough_is_not_told(gap_s: float) -> None:
    assert list(carried(line(gap_s))) == []
