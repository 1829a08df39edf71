"""Messages over TCP that the other end has acknowledged."""

from vpnprobe.capture.followers.acknowledged import WAITING_LIMIT, Acknowledged


def test_up_to_the_acknowledgment_and_no_further() -> None:
    known: Acknowledged[str] = Acknowledged()
    for number, end in ((1, 100), (2, 200), (3, 300)):
        known.sent("client", end, number)
    known.acknowledges("client", 200)
    assert known.proved == {1, 2}
    known.acknowledges("server", 300)
    assert known.proved == {1, 2}


def test_numbers_wrap_around() -> None:
    known: Acknowledged[str] = Acknowledged()
    known.sent("client", 0xFFFFFFF0, 1)
    known.sent("client", 0x10, 2)
    known.acknowledges("client", 0x10)
    assert known.proved == {1, 2}


def test_what_waits_is_bounded() -> None:
    known: Acknowledged[str] = Acknowledged()
    for number in range(WAITING_LIMIT + 5):
        known.sent("client", number, number)
    known.acknowledges("client", WAITING_LIMIT + 5)
    assert len(known.proved) == WAITING_LIMIT
