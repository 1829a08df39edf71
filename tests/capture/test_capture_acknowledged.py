"""Messages over TCP that the other end has acknowledged."""

from capture_packets import connection, decoded, tcp

from vpnprobe.capture.followers.acknowledged import WAITING_LIMIT, Acknowledged
from vpnprobe.evidence.checks import PPTP_CONTROL
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.wire.pptp import StartControlConnectionReply, StartControlConnectionRequest


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


ASKS, ANSWERS = StartControlConnectionRequest().encode(), StartControlConnectionReply(result_code=1).encode()
BEHIND = 1001 + len(ASKS)


def proved(*packets: bytes) -> list[str]:
    """The messages of PPTP that are proved to have come, of those behind a handshake that was seen."""
    decoder = decoded([*connection([]), *packets])
    ends = decoder.ends()
    assert ends is not None
    came = [one for vantage in Vantage for one in decoder.receipts(ends, vantage)]
    return sorted(one.message for one in came if one.check == PPTP_CONTROL)


def test_a_message_that_an_earlier_segment_completes_came_when_its_end_did() -> None:
    second, first = tcp(sequence=1101, acknowledgment=5001, payload=ASKS[100:]), tcp(sequence=1001, acknowledgment=5001, payload=ASKS[:100])
    in_part, whole = tcp(sequence=5001, acknowledgment=1101, back=True), tcp(sequence=5001, acknowledgment=BEHIND, back=True)
    assert proved(second, first, in_part) == []
    assert proved(second, first, in_part, whole) == ["SCCRQ"]


def test_what_an_acknowledgment_shows_to_come_next_came_with_it() -> None:
    """The bytes before the question were not captured; the answer acknowledges both, and is acknowledged by nobody yet."""
    question = tcp(sequence=1201, acknowledgment=5001, payload=ASKS)
    answer = tcp(sequence=5001, acknowledgment=1201 + len(ASKS), payload=ANSWERS, back=True)
    assert proved(question, answer) == ["SCCRQ"]
    thanks = tcp(sequence=1201 + len(ASKS), acknowledgment=5001 + len(ANSWERS))
    assert proved(question, answer, thanks) == ["SCCRP", "SCCRQ"]


def test_the_frames_of_a_ladder_are_those_that_the_messages_were_in() -> None:
    question = tcp(sequence=1201, acknowledgment=5001, payload=ASKS)
    answer = tcp(sequence=5001, acknowledgment=1201 + len(ASKS), payload=ANSWERS, back=True)
    [one] = decoded([*connection([]), question, answer]).conversations()
    assert [(rung["frame"], rung["message"]) for rung in one.detail["ladder"]] == [(4, "SCCRQ"), (5, "SCCRP")]
