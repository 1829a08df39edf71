"""When packets left, where only the times are known."""

from vpnprobe.evidence.departures import Departure, departures


def test_of_times_alone_no_block_is_known() -> None:
    assert departures([0.5, 1.0]) == [Departure(0.5, None), Departure(1.0, None)]
