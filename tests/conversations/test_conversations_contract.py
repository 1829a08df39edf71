"""The tracker that every table is ridden with, and the retransmission timer."""

from dataclasses import replace
from enum import Enum

from vpnprobe.conversations.contract import ConversationEnd, Retransmission, Sender, Step, Tracker, TransitionTable


class State(Enum):
    IDLE = "idle"
    ASKED = "asked"
    ANSWERED = "answered"
    REFUSED = "refused"


class No:
    """A kind of message: a refusal."""

    NAME = "no"


TABLE = TransitionTable(
    State.IDLE,
    {
        (State.IDLE, Sender.INITIATOR, str): State.ASKED,
        (State.ASKED, Sender.RESPONDER, int): State.ANSWERED,
        (State.ASKED, Sender.RESPONDER, No): State.REFUSED,
    },
    goals={"answer": frozenset({State.ANSWERED})},
    refusals=frozenset({State.REFUSED}),
    stages={State.REFUSED: "asked"},
)


def test_the_other_of_both() -> None:
    assert [sender.other.other for sender in Sender] == list(Sender)
    assert Sender.INITIATOR.other is Sender.RESPONDER


def test_the_tracker_moves_along_the_table() -> None:
    tracker = Tracker(TABLE)
    states = [tracker.state]
    for sender, message, now in ((Sender.INITIATOR, "hello", 1.0), (Sender.RESPONDER, 5, 2.0)):
        assert tracker.saw(sender, message, now=now)
        states.append(tracker.state)
    assert states == [State.IDLE, State.ASKED, State.ANSWERED]
    assert tracker.steps == [Step(1.0, Sender.INITIATOR, "hello", expected=True), Step(2.0, Sender.RESPONDER, 5, expected=True)]


def test_the_unexpected_is_recorded_and_moves_nothing() -> None:
    tracker = Tracker(TABLE)
    assert not tracker.saw(Sender.RESPONDER, 5, now=1.0)
    assert not tracker.saw(Sender.INITIATOR, 5, now=1.0)
    assert tracker.state is State.IDLE
    assert [step.expected for step in tracker.steps] == [False, False]


def test_a_protocol_may_tell_messages_of_one_type_apart() -> None:
    class Shouting:
        """A kind of message."""

    class Listener(Tracker[State]):
        def kind(self, sender: Sender, message: object) -> type:
            return Shouting if isinstance(message, str) and message.isupper() else super().kind(sender, message)

    tracker = Listener(replace(TABLE, transitions={**TABLE.transitions, (State.IDLE, Sender.INITIATOR, Shouting): State.ANSWERED}))
    assert tracker.saw(Sender.INITIATOR, "HELLO", now=0.0)
    assert tracker.state is State.ANSWERED


def test_a_peer_that_never_stops_does_not_fill_the_memory_and_still_moves_the_state() -> None:
    tracker = Tracker(TABLE)
    for _ in range(Tracker.KEPT_STEPS + 5):
        tracker.saw(Sender.RESPONDER, 5, now=0.0)
    tracker.saw(Sender.INITIATOR, "hello", now=0.0)
    assert len(tracker.steps) == Tracker.KEPT_STEPS
    assert tracker.state is State.ASKED


def test_copies_are_due_at_doubling_intervals() -> None:
    timer = Retransmission(1.0, attempts=3)
    assert not timer.again(100.0)
    timer.began(10.0)
    sent = [now / 2 for now in range(20, 60) if timer.again(now / 2)]
    assert sent == [11.0, 13.0]
    assert (timer.sent, timer.due) == (3, None)


def test_one_attempt_and_a_stopped_timer_are_never_due() -> None:
    once, stopped = Retransmission(1.0, attempts=1), Retransmission(1.0, attempts=3)
    once.began(0.0)
    stopped.began(0.0)
    assert stopped.due == 1.0
    stopped.stop()
    assert not once.again(99.0)
    assert not stopped.again(99.0)


def test_the_table_names_goals_and_refusals_by_their_messages() -> None:
    assert TABLE.goal_messages("answer") == {"int"}
    assert TABLE.goal_messages("another") == frozenset()
    assert TABLE.refusal_messages() == {"no"}
    assert TABLE.knows("str")
    assert not TABLE.knows("float")


def test_a_stage_is_the_state_unless_the_table_says_otherwise() -> None:
    assert [TABLE.stage(state) for state in State] == ["idle", "asked", "answered", "asked"]


def test_a_tracker_knows_its_goal_and_a_refusal() -> None:
    tracker = Tracker(TABLE)
    tracker.saw(Sender.INITIATOR, "hello", now=0.0)
    assert not tracker.refused
    tracker.saw(Sender.RESPONDER, No(), now=1.0)
    assert (tracker.refused, tracker.reached("answer"), tracker.stage) == (True, False, "asked")


def test_an_end_without_more_has_nothing_to_say_and_no_timer() -> None:
    end = ConversationEnd(Tracker(TABLE))
    end.start(0.0)
    end.closed_by_peer(0.0)
    end.handle_timer(0.0)
    assert (end.data_to_send(0.0), end.next_timer(), end.events(), end.reached("answer")) == ([], None, [], False)
    end.tracker.saw(Sender.INITIATOR, "hello", now=1.0)
    assert [step.message for step in end.events()] == ["hello"]
    assert end.events() == []
