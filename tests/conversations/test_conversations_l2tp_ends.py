"""Both ends of L2TP: a pair over a path that loses what it is told to, and totality."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from l2tp_support import HANDSHAKE, LAC, LNS, initiator, responder, run

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.l2tp import L2tpTracker, State
from vpnprobe.wire.l2tp import (
    Avp,
    AvpType,
    CallDisconnectNotify,
    ControlMessage,
    DataMessage,
    Hello,
    IncomingCallReply,
    IncomingCallRequest,
    MalformedControlMessage,
    StartControlConnectionConnected,
    StartControlConnectionReply,
    StartControlConnectionRequest,
    StopControlConnectionNotification,
    ZeroLengthBody,
    decode_l2tp,
    stop_avps,
    tunnel_avps,
)


def names(tracker: L2tpTracker, *, only_expected: bool = True) -> list[str]:
    return [getattr(step.message, "name", "?") for step in tracker.steps if step.expected or not only_expected]


def test_a_pair_brings_tunnel_and_session_up() -> None:
    client, server = initiator(), responder()
    client.start(0.0)
    tap = run(client, server)
    assert client.state is server.state is tap.state is State.SESSION_UP
    assert client.key == server.key == tap.key == "0123abcd"
    assert [name for name in names(tap, only_expected=False) if name != "ZLB"] == HANDSHAKE
    assert all(step.expected for step in client.tracker.steps)
    assert (client.peer_tunnel_id, client.peer_session_id) == (555, 22)
    assert (server.peer_tunnel_id, server.peer_session_id) == (777, 11)
    assert client.acknowledged
    assert server.acknowledged
    assert client.next_timer() is server.next_timer() is None


@pytest.mark.parametrize("lost", HANDSHAKE)
def test_each_message_may_be_lost_once(lost: str) -> None:
    client, server = initiator(), responder()
    client.start(0.0)
    run(client, server, lambda sender, message, number: message.name == lost and number == 1)
    assert client.state is server.state is State.SESSION_UP
    assert client.acknowledged
    assert server.acknowledged


@given(st.sets(st.tuples(st.sampled_from([LAC, LNS]), st.sampled_from([*HANDSHAKE, "ZLB"]), st.integers(1, 3)), max_size=12))
def test_any_three_losses_of_a_message_are_made_good(lost: set[tuple[Sender, str, int]]) -> None:
    client, server = initiator(attempts=8), responder(attempts=8)
    client.start(0.0)
    run(client, server, lambda sender, message, number: (sender, message.name, number) in lost, until_s=600.0)
    assert client.state is server.state is State.SESSION_UP


@pytest.mark.parametrize(
    ("lost", "client_state", "server_state"),
    [
        ("SCCRQ", State.TUNNEL_REQUESTED, State.IDLE),
        ("SCCRP", State.TUNNEL_REQUESTED, State.TUNNEL_ANSWERED),
        ("SCCCN", State.TUNNEL_UP, State.TUNNEL_ANSWERED),
        ("ICRQ", State.TUNNEL_UP, State.TUNNEL_UP),
        ("ICRP", State.TUNNEL_UP, State.SESSION_ANSWERED),
        ("ICCN", State.SESSION_UP, State.SESSION_ANSWERED),
    ],
)
def test_the_states_differ_where_the_path_fails(lost: str, client_state: State, server_state: State) -> None:
    client, server = initiator(), responder()
    client.start(0.0)
    tap = run(client, server, lambda sender, message, number: message.name == lost)
    assert (client.state, server.state, tap.state) == (client_state, server_state, client_state)


def test_repetitions_double_their_interval_and_end() -> None:
    client = initiator(attempts=3, retransmit_after_s=0.5)
    client.start(10.0)
    (first,) = client.data_to_send(10.0)
    sent = [10.0]
    while (due := client.next_timer()) is not None:
        client.handle_timer(due - 0.01)
        assert client.data_to_send(due - 0.01) == []
        client.handle_timer(due)
        assert client.data_to_send(due) == [first]
        sent.append(due)
    assert sent == [10.0, 10.5, 11.5]
    assert not client.acknowledged


def test_an_acknowledgment_of_a_part_starts_the_timer_anew() -> None:
    client = initiator(retransmit_after_s=1.0)
    client.start(0.0)
    client.receive(StartControlConnectionReply(777, 0, 0, 1, tunnel_avps(host_name=b"x", assigned_tunnel_id=9)).encode(), 0.5)
    assert client.next_timer() == 1.5
    client.receive(ZeroLengthBody(777, 0, 1, 2).encode(), 0.9)  # SCCCN, not ICRQ
    assert client.next_timer() == 1.9
    client.data_to_send(0.9)
    client.handle_timer(1.9)
    (again,) = client.data_to_send(1.9)
    assert decode_l2tp(again).name == "ICRQ"
    client.receive(ZeroLengthBody(777, 0, 1, 3).encode(), 2.0)
    assert client.next_timer() is None


def test_a_repetition_carries_the_current_nr() -> None:
    server = responder()
    server.receive(StartControlConnectionRequest(0, 0, 0, 0, tunnel_avps(host_name=b"x", assigned_tunnel_id=9)).encode(), 0.0)
    server.receive(Hello(555, 0, 1, 0).encode(), 0.1)
    server.data_to_send(0.1)
    server.handle_timer(1.0)
    (again,) = server.data_to_send(1.0)
    message = decode_l2tp(again)
    assert isinstance(message, StartControlConnectionReply)
    assert (message.ns, message.nr) == (0, 2)


def test_duplicates_are_acknowledged_and_messages_before_their_turn_dropped() -> None:
    server = responder()
    request = StartControlConnectionRequest(0, 0, 0, 0, tunnel_avps(host_name=b"x", assigned_tunnel_id=9)).encode()
    server.receive(request, 0.0)
    server.data_to_send(0.0)
    server.receive(request, 0.1)
    assert [decode_l2tp(data) for data in server.data_to_send(0.1)] == [ZeroLengthBody(9, 0, 1, 1)]
    early = IncomingCallRequest(555, 0, 2, 1, (Avp(AvpType.ASSIGNED_SESSION_ID, b"\x00\x05"),))
    server.receive(early.encode(), 0.2)
    assert server.data_to_send(0.2) == []
    assert server.peer_session_id == 0
    assert [step.expected for step in server.tracker.steps] == [True, True, False, True, False]


def test_sequence_numbers_wrap() -> None:
    client = initiator()
    client.start(0.0)
    client._nr = client._ns = 65535
    client.receive(Hello(777, 0, 65535, 1).encode(), 0.1)
    client.receive(Hello(777, 0, 0, 1).encode(), 0.1)
    acknowledgments = [decode_l2tp(data) for data in client.data_to_send(0.1)[1:]]
    assert [message.nr for message in acknowledgments if isinstance(message, ZeroLengthBody)] == [0, 1]


def test_close_stops_the_tunnel_and_the_peer_knows() -> None:
    client, server = initiator(), responder()
    client.start(0.0)
    run(client, server)
    client.close(1.0)
    run(client, server, now=1.0)
    assert client.stopped
    assert server.stopped
    assert isinstance(server.refusal, CallDisconnectNotify)
    assert server.result_code == 3
    assert [name for name in names(server.tracker) if name != "ZLB"][-2:] == ["CDN", "StopCCN"]
    assert client.state is server.state is State.SESSION_UP
    assert client.acknowledged
    client.close(2.0)
    assert client.data_to_send(2.0) == []


def test_close_before_an_answer_only_stops_repeating() -> None:
    client = initiator()
    client.start(0.0)
    client.data_to_send(0.0)
    client.close(0.5)
    assert client.data_to_send(0.5) == []
    assert client.next_timer() is None
    client.receive(StartControlConnectionReply(777, 0, 0, 1, tunnel_avps(host_name=b"x", assigned_tunnel_id=9)).encode(), 0.6)
    assert [decode_l2tp(data).name for data in client.data_to_send(0.6)] == ["ZLB"]
    assert client.state is State.TUNNEL_ANSWERED


def test_a_refusal_is_recorded_and_acknowledged() -> None:
    client = initiator()
    client.start(0.0)
    client.data_to_send(0.0)
    stop = StopControlConnectionNotification(777, 0, 0, 1, stop_avps(assigned_tunnel_id=9))
    client.receive(stop.encode(), 0.1)
    assert client.refusal == stop
    assert client.result_code == 1
    assert (client.state, client.tracker.stage) == (State.REQUEST_REFUSED, "sccrq-unanswered")
    assert client.next_timer() is None
    assert [decode_l2tp(data) for data in client.data_to_send(0.1)] == [ZeroLengthBody(9, 0, 1, 1)]


def test_a_refused_call_leaves_the_tunnel_up() -> None:
    client = initiator()
    client.start(0.0)
    client.receive(StartControlConnectionReply(777, 0, 0, 1, tunnel_avps(host_name=b"x", assigned_tunnel_id=9)).encode(), 0.1)
    client.receive(CallDisconnectNotify(777, 11, 1, 3, (Avp(AvpType.RESULT_CODE, b"\x00\x04"),)).encode(), 0.2)
    assert (client.state, client.tracker.stage) == (State.CALL_REFUSED, "tunnel-up")
    assert client.result_code == 4
    client.receive(CallDisconnectNotify(777, 11, 2, 3).encode(), 0.3)
    assert client.result_code == 4
    assert initiator().result_code is None


def test_answers_without_their_ids_are_not_followed() -> None:
    client = initiator()
    client.start(0.0)
    client.data_to_send(0.0)
    client.receive(StartControlConnectionReply(777, 0, 0, 1).encode(), 0.1)
    assert [decode_l2tp(data).name for data in client.data_to_send(0.1)] == ["ZLB"]
    client.receive(StartControlConnectionReply(777, 0, 1, 1, tunnel_avps(host_name=b"x", assigned_tunnel_id=9)).encode(), 0.2)
    client.data_to_send(0.2)
    client.receive(IncomingCallReply(777, 11, 2, 3).encode(), 0.3)
    assert [decode_l2tp(data).name for data in client.data_to_send(0.3)] == ["ZLB"]
    server = responder()
    server.receive(StartControlConnectionRequest(0, 0, 0, 0).encode(), 0.0)
    assert [decode_l2tp(data).name for data in server.data_to_send(0.0)] == ["ZLB"]
    server = responder()
    server.receive(StartControlConnectionRequest(0, 0, 0, 0, tunnel_avps(host_name=b"x", assigned_tunnel_id=9)).encode(), 0.0)
    server.receive(StartControlConnectionConnected(555, 0, 1, 1).encode(), 0.0)
    server.data_to_send(0.0)
    server.receive(IncomingCallRequest(555, 0, 2, 1).encode(), 0.0)
    assert [decode_l2tp(data).name for data in server.data_to_send(0.0)] == ["ZLB"]


def test_what_is_for_another_tunnel_is_recorded_and_not_answered() -> None:
    client = initiator()
    client.start(0.0)
    client.data_to_send(0.0)
    client.receive(StartControlConnectionReply(778, 0, 0, 1, tunnel_avps(host_name=b"x", assigned_tunnel_id=9)).encode(), 0.1)
    client.receive(DataMessage(777, 11, b"").encode(), 0.1)
    client.receive(b"\xc8\x02junk", 0.1)
    assert client.data_to_send(0.1) == []
    assert len(client.tracker.steps) == 4
    assert isinstance(client.tracker.steps[-1].message, MalformedControlMessage)


def test_events_come_once() -> None:
    client = initiator()
    client.start(0.0)
    assert [step.message.name for step in client.events() if isinstance(step.message, ControlMessage)] == ["SCCRQ"]
    assert client.events() == []


@given(st.lists(st.tuples(st.sampled_from([LAC, LNS]), st.binary(max_size=40)), max_size=8))
def test_any_datagrams_can_be_followed_and_answered(datagrams: list[tuple[Sender, bytes]]) -> None:
    tracker, client, server = L2tpTracker(), initiator(), responder()
    client.start(0.0)
    for sender, data in datagrams:
        tracker.saw_datagram(sender, data, now=0.0)
        client.receive(data, 0.0)
        server.receive(data, 0.0)
    assert len(tracker.steps) == len(datagrams)
