"""What data packets show of a limit, by counting alone."""

import pytest

from vpnprobe.evidence.departures import Departure
from vpnprobe.evidence.judging.data_runs import DataRun
from vpnprobe.evidence.packet_counts import Count


def counted(*sessions: str, sizes: tuple[int, ...] = (128,)) -> Count:
    """Sessions of packets in order: `+` came, `-` did not; the sizes in turn."""
    count = Count()
    for number, fates in enumerate(sessions):
        for place, fate in enumerate(fates):
            key = f"{number:x}.0.{place}"
            count.sent[key] = number + place / 100
            count.sizes[key] = sizes[place % len(sizes)]
            if fate == "+":
                count.received[key] = number + place / 100 + 0.01
    return count


@pytest.mark.parametrize(
    ("sessions", "lost", "at_the_end"),
    [
        (("++++++++",), 0, False),
        (("++++----",), 4, False),
        (("++++----", "++++++--"), 6, True),
        (("++++--------",), 8, True),
        (("+-+++---", "++++++--"), 6, False),
    ],
)
def test_what_is_lost_at_the_end_of_several_sessions_or_in_numbers(sessions: tuple[str, ...], lost: int, at_the_end: bool) -> None:
    run = DataRun.of(counted(*sessions), stream=False)
    assert (run.lost, run.all_at_the_end) == (lost, at_the_end)


@pytest.mark.parametrize(("fates", "too_large"), [("++-++-", True), ("+-+++-", False), ("+++++-", False)])
def test_what_is_larger_than_all_that_came(fates: str, too_large: bool) -> None:
    assert DataRun.of(counted(fates, sizes=(128, 576, 1400)), stream=False).all_too_large is too_large


def test_a_packet_knows_when_it_left() -> None:
    (session,) = DataRun.of(counted("+-"), stream=False).sessions
    assert [packet.departure for packet in session] == [Departure(0.0), Departure(0.01)]
