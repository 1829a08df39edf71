"""How many further trials it takes, and how they are spread."""

from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence.statistics import ERROR_BOUND, LEAST_TRIALS, MOST_TRIALS, Background
from vpnprobe.evidence.trials import AT_LEAST_MORE, SPREAD_S, SURE_TRIALS, missing, spaced

CLEAR = Background(0, 500)


def times(sent: int, *, over_s: float = 2.0) -> list[float]:
    """When so many left that were lost."""
    return [over_s * number / max(1, sent - 1) for number in range(sent)]


@given(st.integers(0, 80), st.integers(0, 40), st.integers(1, 600), st.floats(0, 5))
def test_what_is_missing_suffices(sent: int, lost: int, passed: int, over_s: float) -> None:
    """Once that many more were sent, over the time that it takes, nothing is missing and the bound is reached (or cannot be)."""
    loss, already = Background(lost, passed), times(sent, over_s=over_s)
    more = missing(loss, already)
    assert 0 <= more <= MOST_TRIALS
    total = times(sent + more, over_s=max(over_s, SPREAD_S))
    if sent + more >= SURE_TRIALS:
        assert missing(loss, total) == 0
        assert loss.chance_of_losing_all(sent + more) <= ERROR_BOUND or sent + more >= MOST_TRIALS


def test_without_anything_that_passes_there_is_no_use_in_more() -> None:
    assert missing(Background(), times(LEAST_TRIALS)) == 0
    assert missing(Background(), times(1)) > 0


def test_what_came_in_a_moment_is_followed_up() -> None:
    """An outage of a moment is no filter."""
    assert missing(CLEAR, times(20, over_s=SPREAD_S / 4)) == AT_LEAST_MORE
    assert missing(CLEAR, times(20, over_s=SPREAD_S)) == 0
    assert missing(CLEAR, times(MOST_TRIALS, over_s=0.1)) == 0


@given(st.integers(1, 64))
def test_the_spacing_spreads_them(more: int) -> None:
    assert spaced(more, 0.03) * more >= SPREAD_S
    assert spaced(more, 0.03) >= 0.03
