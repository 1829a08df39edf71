"""Echo requests after a timetable: trains alone and in company, which ask about the same packets."""

from vpnprobe.conversations.echo_trains import PAUSE_S, SPACING_S, TEN, TRAIN_S, TrainRun, timetable
from vpnprobe.conversations.tunnel_echo import OUTER_SIZES


def test_trains_ask_about_the_same_packets_whether_alone_or_in_company() -> None:
    places = timetable([True, False])
    asked = [[place.at - number * (TRAIN_S + PAUSE_S) for place in places if place.train == number and place.asked] for number in (0, 1)]
    assert [round(at, 9) for at in asked[0]] == [round(at, 9) for at in asked[1]]
    assert len(asked[0]) == TEN
    assert [sum(place.train == number for place in places) for number in (0, 1)] == [TEN * TEN, TEN]


def test_what_is_asked_about_keeps_no_step() -> None:
    """A limit that lets every second one through, or every fifth, must not spare just these."""
    places = [round(place.at / SPACING_S) % TEN for place in timetable([False])]
    assert sorted(places) == list(range(TEN))


def test_requests_leave_when_the_timetable_says() -> None:
    places = timetable([False, True])
    run = TrainRun(7, len(places), OUTER_SIZES, places=places)
    run.begin(10.0)
    left, now = [], 10.0
    while run.due is not None:
        now = max(now, run.due)
        request = run.next(now)
        assert request is not None
        assert request[1] == OUTER_SIZES[0]
        left.append(now - 10.0)
    assert run.all_sent
    assert [round(at, 9) for at in left[1:]] == [round(place.at, 9) for place in places[1:]]


def test_nothing_is_due_before_its_time() -> None:
    run = TrainRun(7, 0, OUTER_SIZES, places=timetable([False]))
    assert run.next(0.0) is None
    run.begin(1.0)
    assert run.next(0.5) is None
    assert run.next(1.0) == (0, OUTER_SIZES[0])
    assert run.next(1.0) is None
