"""PPP LCP in the data messages of an L2TP call: what both ends ask, answer and say at the end."""

import pytest
from l2tp_support import LAC, LNS, initiator, responder, run

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.l2tp import State, data_name, describe
from vpnprobe.conversations.l2tp_ends import Initiator, Responder
from vpnprobe.wire.l2tp import (
    Avp,
    AvpType,
    CallDisconnectNotify,
    ControlMessage,
    DataMessage,
    decode_l2tp,
)


def kinds(end: Initiator | Responder, sender: Sender) -> list[str]:
    """What the data messages of one end are called, as an end's own record has them."""
    return [describe(step.message)[0] for step in end.tracker.steps if isinstance(step.message, DataMessage) and step.sender is sender]


def test_once_the_call_is_up_both_ends_ask_and_answer_in_data_messages() -> None:
    client, server = initiator(requests=3), responder(requests=2)
    client.start(0.0)
    run(client, server)
    assert client.run.all_answered
    assert server.run.all_answered
    assert (client.requests_answered, server.requests_answered) == (2, 3)
    assert not client.hears_small_requests_alone()
    for end in (client, server):
        assert sorted(kinds(end, LAC)) == ["Configure-Ack"] * 2 + ["Configure-Request"] * 3
        assert sorted(kinds(end, LNS)) == ["Configure-Ack"] * 3 + ["Configure-Request"] * 2
        assert end.reached("control")
        assert end.reached("data")
        assert end.tracker.stage == "session-up"
        assert end.next_timer() is None
    asked = {data_name(s.message) for s in client.tracker.steps if isinstance(s.message, DataMessage) and s.sender is LAC}
    told = {data_name(s.message) for s in server.tracker.steps if isinstance(s.message, DataMessage) and s.sender is LNS}
    assert len(asked) == 5
    assert asked == told  # Who answers bears the Magic-Number of the request.


def outer_sizes(end: Initiator | Responder, sender: Sender) -> list[int]:
    """Of the IP packets with that end's Configure-Requests."""
    steps = [step for step in end.tracker.steps if isinstance(step.message, DataMessage) and step.sender is sender]
    return [len(s.message.encode()) + 28 for s in steps if describe(s.message)[0] == "Configure-Request"]


def test_requests_are_padded_to_several_sizes_the_largest_first_and_answers_are_small() -> None:
    client, server = initiator(requests=8), responder(requests=3)
    client.start(0.0)
    run(client, server)
    assert outer_sizes(client, LAC) == outer_sizes(server, LAC) == [1400, 576, 54, 1400, 576, 54, 54, 54]
    assert outer_sizes(client, LNS) == [1400, 576, 54]
    answers = [step.message for step in client.tracker.steps if describe(step.message)[0] == "Configure-Ack"]
    assert {len(answer.encode()) for answer in answers if isinstance(answer, DataMessage)} == {26}
    assert not client.hears_small_requests_alone()
    assert client.run.all_answered


def test_one_more_request_is_of_the_size_that_is_asked_for() -> None:
    client, server = initiator(requests=3), responder()
    client.start(0.0)
    run(client, server)
    for size in (576, None):
        client.run.one_more(6.0, size)
        client.send_due_echo(6.0)
    assert outer_sizes(client, LAC) == [1400, 576, 54, 576, 54]


def test_a_peer_whose_large_requests_never_come_is_heard_with_small_ones_alone() -> None:
    def is_large(sender: Sender, message: ControlMessage | DataMessage, number: int) -> bool:
        return sender is LNS and isinstance(message, DataMessage) and len(message.encode()) > 1000

    client, server = initiator(requests=1), responder(requests=12)
    client.start(0.0)
    run(client, server, is_large)
    assert client.hears_small_requests_alone()
    few, server = initiator(requests=1), responder(requests=2)
    few.start(0.0)
    run(few, server, is_large)
    assert not few.hears_small_requests_alone(), "one that is missing may be lost by chance"
    silent = initiator(requests=1)
    assert not silent.hears_small_requests_alone()


def test_data_messages_that_are_dropped_leave_the_call_up_and_nothing_answered() -> None:
    client, server = initiator(requests=3), responder(requests=2)
    client.start(0.0)
    run(client, server, lambda sender, message, number: isinstance(message, DataMessage))
    assert client.state is server.state is State.SESSION_UP
    assert not client.reached("data")
    assert client.run.all_sent
    assert not any(request.answered_at for request in (*client.run.requests.values(), *server.run.requests.values()))
    assert client.acknowledged


def test_a_server_that_has_missed_the_iccn_asks_once_data_comes() -> None:
    client, server = initiator(requests=1), responder(requests=1)
    client.start(0.0)
    run(client, server, lambda sender, message, number: message.name == "ICCN", until_s=0.5)
    assert server.state is State.SESSION_ANSWERED
    assert client.run.all_answered
    assert server.run.all_answered


def test_a_request_that_is_repeated_is_no_further_trial() -> None:
    client, server = initiator(requests=1), responder()
    client.ask_again(0.0)
    assert client.data_to_send(0.0) == []
    client.start(0.0)
    run(client, server, lambda sender, message, number: isinstance(message, DataMessage))
    for now in (5.0, 6.0):
        client.ask_again(now)
    again = [decode_l2tp(data) for data in client.data_to_send(6.0)]
    assert len({data_name(message) for message in again if isinstance(message, DataMessage)}) == 1
    assert len(client.run.requests) == 1
    server.receive(again[0].encode(), 7.0)
    (answer,) = server.data_to_send(7.0)
    client.receive(answer, 7.0)
    client.receive(answer, 7.1)
    assert client.run.all_answered
    assert client.run.requests[0].answered_at == 7.0


def test_what_is_asked_further_goes_out_at_once_and_nothing_after_the_end() -> None:
    client, server = initiator(), responder()
    client.run.one_more(0.0)
    client.send_due_echo(0.0)
    assert client.run.due is None  # There is no call yet, and what is due would be due for ever.
    client.start(0.0)
    run(client, server)
    client.run.one_more(2.0)
    client.send_due_echo(2.0)
    (request,) = client.data_to_send(2.0)
    assert describe(decode_l2tp(request))[0] == "Configure-Request"
    client.close(3.0)
    client.data_to_send(3.0)
    client.run.one_more(4.0)
    client.send_due_echo(4.0)
    client.receive(request, 4.0)
    assert client.data_to_send(4.0) == []
    assert client.failed


def test_data_of_another_call_is_recorded_and_not_answered() -> None:
    client, server = initiator(), responder()
    client.start(0.0)
    run(client, server)
    for tunnel_id, session_id in ((777, 12), (778, 11)):
        client.receive(DataMessage(tunnel_id, session_id, bytes.fromhex("ff03c0210101000e")).encode(), 1.0)
    client.receive(DataMessage(777, 11, b"\x45").encode(), 1.0)
    assert client.data_to_send(1.0) == []
    assert kinds(client, LNS) == ["data"] * 3


def test_what_is_not_acknowledged_at_the_end_goes_out_before_the_end_is_told() -> None:
    """A peer that has missed the ICCN drops what comes after it."""
    client, server = initiator(), responder()
    client.start(0.0)
    run(client, server, lambda sender, message, number: message.name == "ICCN", until_s=0.5)
    client.data_to_send(0.5)
    client.close(1.0)
    assert [decode_l2tp(data).name for data in client.data_to_send(1.0)] == ["ICCN", "CDN", "StopCCN"]


def test_a_call_that_the_server_ends_is_over() -> None:
    client, server = initiator(requests=1), responder()
    client.start(0.0)
    run(client, server)
    client.receive(CallDisconnectNotify(777, 11, 2, 4, (Avp(AvpType.RESULT_CODE, b"\x00\x03"),)).encode(), 1.0)
    assert client.failed
    assert client.answered
    assert not client.in_call
    client.close(2.0)
    assert [decode_l2tp(data).name for data in client.data_to_send(2.0)] == ["ZLB", "StopCCN"]


def test_no_peer_has_more_answered_than_fits_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnprobe.conversations.l2tp_ends.MOST_ECHOES", 2)
    client, server = initiator(requests=4), responder()
    client.start(0.0)
    run(client, server)
    assert server.requests_answered == 2
