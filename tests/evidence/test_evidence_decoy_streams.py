"""What streams of our own show of the flows of a port: that they go on, that they are cut, or neither."""

import pytest

from vpnprobe.evidence.decoy_streams import SMALL_TURNS, TURNS, DecoyStream, all_are_cut, one_passes

WHOLE = DecoyStream(len(TURNS))


def test_a_stream_comes_to_its_end_where_all_is_answered() -> None:
    assert WHOLE.whole
    assert not DecoyStream(len(TURNS) - 1).whole


def test_one_that_comes_to_its_end_shows_that_flows_go_on() -> None:
    assert one_passes([DecoyStream(0), WHOLE])
    assert not one_passes([DecoyStream(0), DecoyStream(len(TURNS) - 1)])
    assert not one_passes([])


@pytest.mark.parametrize(
    ("answered", "cut"),
    [
        ((2, 2, 2, 2), True),
        ((20, 20, 19, 20, 15), True),
        ((2, 2, 2), False),  # Too few.
        ((2, 2, 2, 20), False),  # Chance.
        ((0, 0, 0, 0), False),  # It may be what they say, from the first byte on.
        ((SMALL_TURNS,) * 4, False),  # It may be the size of the first large one.
        ((SMALL_TURNS - 1,) * 4, True),
    ],
)
def test_several_that_end_alike_are_cut(answered: tuple[int, ...], cut: bool) -> None:
    assert all_are_cut(map(DecoyStream, answered)) is cut


def test_what_is_closed_in_the_servers_name_is_not_cut() -> None:
    assert not all_are_cut([DecoyStream(2, closed=True)] * 4)


def test_a_large_turn_is_as_large_as_a_handshakes_largest_message_and_all_are_more_than_a_handshake() -> None:
    assert max(TURNS) * 32 + 52 >= 1220
    assert sum(TURNS) * 32 > 5000
