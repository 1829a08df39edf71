"""What a conversation's messages prove of each other, and where it stands still."""

from vpnprobe.capture.account import KINDS_LIMIT, LADDER_FIRST, LADDER_LAST, Account
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import Sender

ASKS, ANSWERS = Sender.INITIATOR, Sender.RESPONDER


def frame(number: int, at: float) -> Frame:
    return Frame(number, at, "192.0.2.1", "192.0.2.2", 17, b"", 0)


class Story:
    """An account, message by message, a second apart unless said otherwise."""

    def __init__(self, account: Account | None = None) -> None:
        self.account = account or Account()
        self.number = 0
        self.at = 0.0

    def says(self, sender: Sender, name: str, *, on: bool = False, size: int = 100, after_s: float = 1.0, **told: object) -> "Story":
        self.number += 1
        self.at += after_s
        self.account.saw(sender, name, frame(self.number, self.at), size=size, moved_on=on, **told)  # type: ignore[arg-type]
        return self

    @property
    def fact(self) -> dict[str, object]:
        return self.account.facts()[0]


def test_nothing_was_said() -> None:
    assert Account().facts() == []


def test_who_goes_on_has_received_what_was_said_last() -> None:
    story = Story().says(ASKS, "ask", on=True).says(ANSWERS, "answer", on=True)
    assert list(story.account.receipts()) == [1]
    assert list(story.says(ASKS, "go on", on=True).account.receipts()) == [1, 2]


def test_what_needs_nothing_of_the_other_end_proves_nothing() -> None:
    story = Story().says(ASKS, "ask", on=True).says(ANSWERS, "data", on=True, proves=False)
    assert list(story.account.receipts()) == []


def test_copies_without_an_answer_are_unanswered() -> None:
    story = Story().says(ASKS, "ask", on=True).says(ASKS, "ask").says(ASKS, "ask")
    assert (story.fact["fact"], story.fact["by"], story.fact["times"], story.fact["seconds"]) == ("unanswered", "client", 3, 2.0)


def test_who_asks_again_after_the_answer_has_not_received_it() -> None:
    story = Story().says(ASKS, "ask", on=True).says(ANSWERS, "answer", on=True).says(ASKS, "ask").says(ASKS, "ask")
    assert (story.fact["fact"], story.fact["to"], story.fact["times"], story.fact["again"]) == ("answer-lost", "client", 2, "ask")
    fates = [row.get("fate") for row in story.account.ladder(0.0)]
    assert fates == ["received", "lost", "received", "received"]


def test_a_copy_that_may_have_crossed_the_answer_shows_nothing() -> None:
    story = Story().says(ASKS, "ask", on=True).says(ANSWERS, "answer", on=True).says(ASKS, "ask", after_s=0.01)
    assert story.fact["fact"] == "unanswered"


def test_one_copy_soon_after_the_answer_shows_nothing_and_a_late_one_does() -> None:
    story = Story().says(ASKS, "ask", on=True).says(ANSWERS, "answer", on=True).says(ASKS, "ask")
    assert story.fact["fact"] == "unanswered"
    assert story.says(ASKS, "ask", after_s=3.0).fact["fact"] == "answer-lost"


def test_messages_of_one_name_are_told_apart_by_their_keys() -> None:
    """Each round of an exchange has the same name, and is answered."""
    story = Story()
    for number in range(5):
        story.says(ASKS, "auth", on=True, key=str(number)).says(ANSWERS, "auth", on=True, key=str(number), size=1400)
    assert (story.fact["fact"], story.fact["times"]) == ("unanswered", 1)
    assert len(list(story.account.receipts())) == 9


def test_one_end_asks_anew_each_time_and_nobody_answers() -> None:
    story = Story().says(ASKS, "ask", on=True, key="1").says(ASKS, "ask", key="2").says(ASKS, "ask", key="3")
    assert (story.fact["fact"], story.fact["times"]) == ("unanswered", 3)


def test_after_data_a_new_question_is_no_copy_of_the_old_one() -> None:
    story = Story().says(ASKS, "ask", on=True, key="1").says(ANSWERS, "answer", key="1", answers="ask")
    story.says(ASKS, "data", data=True).says(ANSWERS, "data", data=True)
    for number in range(2, 8):
        story.says(ASKS, "ask", key=str(number), after_s=5.0)
    assert story.fact["fact"] == "unanswered"


def test_data_of_one_end_is_told_where_some_is_more_than_a_keepalive() -> None:
    story = Story(Account(keepalive_bytes=32)).says(ASKS, "ask", on=True).says(ANSWERS, "answer", answers="ask")
    for _ in range(4):
        story.says(ASKS, "data", data=True, size=32)
    assert story.fact["fact"] != "one-way"
    assert (story.says(ASKS, "data", data=True, size=128).fact["fact"], story.fact["times"]) == ("one-way", 5)


def test_who_went_on_after_all_has_received_it() -> None:
    story = Story().says(ASKS, "ask", on=True).says(ANSWERS, "answer", on=True).says(ASKS, "ask").says(ASKS, "go on", on=True)
    assert (story.fact["fact"], story.fact["message"]) == ("unanswered", "go on")


def test_an_answer_of_its_own_kind_counts_each_time() -> None:
    story = (
        Story()
        .says(ASKS, "ask", on=True)
        .says(ANSWERS, "answer", answers="ask")
        .says(ASKS, "ask")
        .says(ANSWERS, "answer", answers="ask")
        .says(ASKS, "ask")
    )
    assert (story.fact["fact"], story.fact["times"]) == ("answer-lost", 2)
    assert story.says(ASKS, "data", data=True).fact["fact"] == "one-way"
    assert story.says(ASKS, "ask").says(ASKS, "ask").account.facts()[0]["fact"] == "one-way", "it went on, and asks anew"


def test_large_messages_are_told_apart() -> None:
    story = (
        Story()
        .says(ASKS, "ask", on=True)
        .says(ANSWERS, "answer", on=True)
        .says(ASKS, "certificate", on=True, size=1400)
        .says(ASKS, "certificate")
    )
    assert story.fact["fact"] == "large-unanswered"
    story = Story().says(ASKS, "ask", on=True).says(ANSWERS, "answer", on=True, size=2900).says(ASKS, "ask", after_s=4.0)
    assert story.fact["fact"] == "large-answer-lost"


def test_a_refusal_is_told_before_anything_else() -> None:
    story = Story().says(ASKS, "ask", on=True).says(ANSWERS, "refusal", on=True)
    story.account.refused = True
    assert (story.fact["fact"], story.fact["message"]) == ("rejected", "refusal")


def test_keepalives_alone() -> None:
    story = Story(Account(keepalive_bytes=32)).says(ASKS, "ask", on=True).says(ANSWERS, "answer", on=True)
    for _ in range(2):
        story.says(ASKS, "data", data=True, size=32).says(ANSWERS, "data", data=True, size=32)
    assert story.fact == {"fact": "keepalives-only", "times": 4, "frames": []}
    assert story.says(ASKS, "data", data=True, size=33).fact["fact"] != "keepalives-only"


def test_a_ladder_keeps_the_beginning_and_the_end() -> None:
    story = Story()
    for _ in range(LADDER_FIRST + LADDER_LAST + 5):
        story.says(ASKS, "ask")
    shown = [row["frame"] for row in story.account.ladder(0.0)]
    assert shown == [*range(1, LADDER_FIRST + 1), *range(LADDER_FIRST + 6, LADDER_FIRST + LADDER_LAST + 6)]
    assert story.account.rungs_left_out == 5


def test_endless_copies_and_names_take_bounded_room() -> None:
    story = Story().says(ASKS, "ask", on=True).says(ANSWERS, "answer", on=True)
    for number in range(3000):
        story.says(ASKS, "ask").says(ANSWERS, f"part-{number}")
    assert story.fact["times"] == 3000
    assert len(story.fact["frames"]) <= 4  # type: ignore[arg-type]
    assert len(story.account._latest) <= KINDS_LIMIT
    assert len(story.account._said) <= KINDS_LIMIT
