"""PPTP's control connection: both ends over a loop, refusals, NAT, and hostile streams."""

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.contract import Conversation, Step
from vpnprobe.conversations.pptp import PptpTracker, State, host_name
from vpnprobe.conversations.pptp_ends import KEEPALIVE_S, Initiator, Responder
from vpnprobe.errors import DecodeError, UsageError
from vpnprobe.wire import pptp

NONCE = "0123456789abcdef"
Cut = Callable[[bytes], Iterable[bytes]]
Change = Callable[[pptp.ControlMessage], pptp.ControlMessage | None]


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> Iterable[bytes]:
    return [bytes([byte]) for byte in data]


def unchanged(message: pptp.ControlMessage) -> pptp.ControlMessage | None:
    return message


def talk(client: Initiator, server: Responder, *, cut: Cut = whole, change: Change = unchanged) -> PptpTracker:
    """Carries both ends' bytes to each other until both are silent; returns what a tap beside the client saw."""
    tap = PptpTracker()
    now = 0.0
    for _ in range(20):
        moved = False
        ends: list[tuple[Initiator | Responder, Initiator | Responder]] = [(client, server), (server, client)]
        for sender, receiver in ends:
            for data in sender.data_to_send(now):
                moved = True
                carried = change(pptp.decode_message(data))
                if sender is client or carried is not None:
                    tap.saw_chunk(sender.SENDER, data, now=now)
                if carried is not None:
                    for chunk in cut(carried.encode()):
                        receiver.receive(chunk, now)
        now += 0.01
        if not moved:
            return tap
    raise AssertionError("both ends never stop")


def names(steps: Sequence[Step]) -> list[str]:
    return [getattr(step.message, "NAME", type(step.message).__name__) for step in steps]


def pair() -> tuple[Initiator, Responder]:
    client, server = Initiator(host_name(NONCE), 1234), Responder(77)
    server.start(0.0)
    client.start(0.0)
    return client, server


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_a_call_comes_up(cut: Cut) -> None:
    client, server = pair()
    tap = talk(client, server, cut=cut)
    assert client.state is server.state is tap.state is State.CALL_UP
    assert client.key == server.key == NONCE
    assert (client.peer_call_id, server.peer_call_id) == (77, 1234)
    assert (client.peer_call_id_seen, server.peer_call_id_seen) == (1234, 77)
    assert client.result_code == server.result_code == pptp.SUCCESSFUL
    assert names(client.events()) == names(server.events()) == names(tap.steps) == ["SCCRQ", "SCCRP", "OCRQ", "OCRP", "SLI"]
    assert all(step.expected for step in tap.steps)
    assert client.events() == server.events() == []
    assert client.broken is server.broken is None


def test_both_ends_keep_the_contract() -> None:
    for end in pair():
        conversation: Conversation = end
        conversation.handle_timer(1.0)
        assert conversation.next_timer() is None


def test_hanging_up_and_what_it_is_answered_with() -> None:
    client, server = pair()
    tap = talk(client, server)
    assert not client.finished
    client.hang_up(1.0)
    server_steps = len(server.events())
    tap = talk(client, server)
    assert names(server.events()) == ["ECHORQ", "ECHORP", "CCRQ", "CDN", "StopCCRQ", "StopCCRP"]
    assert server_steps == 5
    assert client.finished
    assert server.finished
    assert client.state is server.state is State.CALL_UP
    assert tap.state is State.MIDSTREAM
    client.hang_up(2.0)
    assert client.data_to_send(2.0) == []
    assert client.next_timer() is None


def test_hanging_up_without_a_call_and_by_the_server() -> None:
    client, server = pair()
    client.hang_up(0.0)
    assert names(client.events()) == ["SCCRQ"]  # Nobody has answered, and nobody knows of a connection.
    talk(client, server, change=lambda message: None if isinstance(message, pptp.OutgoingCallRequest) else message)
    client.events()
    client.hang_up(1.0)
    assert names(client.events()) == ["ECHORQ", "StopCCRQ"]
    other = Initiator(host_name(NONCE), 1)
    other.receive(pptp.StopControlConnectionRequest().encode(), 0.0)
    assert names(other.events()) == ["StopCCRQ", "StopCCRP"]
    assert other.finished
    assert not server.finished


def test_a_peer_that_is_silent_for_a_minute_is_asked_whether_it_is_there() -> None:
    client, server = pair()
    assert client.next_timer() is None
    talk(client, server)
    due = client.next_timer()
    assert due is not None
    client.handle_timer(due - 0.1)
    assert client.data_to_send(due) == []
    client.handle_timer(due)
    (request,) = client.data_to_send(due)
    assert pptp.decode_message(request) == pptp.EchoRequest(1)
    assert client.next_timer() == due + KEEPALIVE_S
    server.receive(request, due)
    (reply,) = server.data_to_send(due)
    assert pptp.decode_message(reply) == pptp.EchoReply(1)
    client.receive(reply, due + 1.0)
    assert client.next_timer() == due + 1.0 + KEEPALIVE_S


@pytest.mark.parametrize("lost", [pptp.StartControlConnectionRequest, pptp.OutgoingCallRequest])
def test_the_logs_of_both_ends_differ_where_the_path_failed(lost: type[pptp.ControlMessage]) -> None:
    client, server = pair()
    tap = talk(client, server, change=lambda message: None if isinstance(message, lost) else message)
    assert client.state is tap.state
    assert client.state in (State.CONTROL_REQUESTED, State.CALL_REQUESTED)
    assert lost.NAME in names(client.events())
    assert lost.NAME not in names(server.events())


def refused_control(message: pptp.ControlMessage) -> pptp.ControlMessage:
    return pptp.StartControlConnectionReply(result_code=4) if isinstance(message, pptp.StartControlConnectionReply) else message


def refused_call(message: pptp.ControlMessage) -> pptp.ControlMessage:
    return pptp.OutgoingCallReply(0, 1234, result_code=7) if isinstance(message, pptp.OutgoingCallReply) else message


def cleared_call(message: pptp.ControlMessage) -> pptp.ControlMessage:
    return pptp.CallDisconnectNotify(0) if isinstance(message, pptp.OutgoingCallReply) else message


def stopped_control(message: pptp.ControlMessage) -> pptp.ControlMessage:
    return pptp.StopControlConnectionRequest() if isinstance(message, pptp.StartControlConnectionReply) else message


@pytest.mark.parametrize(
    ("change", "state", "result_code"),
    [
        (refused_control, State.CONTROL_REJECTED, 4),
        (stopped_control, State.CONTROL_REJECTED, None),
        (refused_call, State.CALL_REJECTED, 7),
        (cleared_call, State.CALL_REJECTED, pptp.SUCCESSFUL),
    ],
)
def test_a_refusal_is_a_state_of_its_own(change: Change, state: State, result_code: int | None) -> None:
    client, server = pair()
    talk(client, server, change=change)
    assert client.state is state
    assert client.result_code == result_code
    assert client.peer_call_id is None


def test_a_nat_that_rewrites_the_call_id_is_seen_from_both_ends() -> None:
    """What a PPTP helper does: the server is told another Call ID, the client its own."""

    def helper(message: pptp.ControlMessage) -> pptp.ControlMessage:
        match message:
            case pptp.OutgoingCallRequest():
                return pptp.OutgoingCallRequest(54944)
            case pptp.OutgoingCallReply(call_id):
                return pptp.OutgoingCallReply(call_id, 1234)
            case _:
                return message

    client, server = pair()
    talk(client, server, change=helper)
    assert (client.call_id, client.peer_call_id_seen, server.peer_call_id) == (1234, 1234, 54944)


def test_a_nat_that_rewrites_one_way_only_is_seen_by_the_client_alone() -> None:
    client, server = pair()
    talk(client, server, change=lambda message: pptp.OutgoingCallRequest(9) if isinstance(message, pptp.OutgoingCallRequest) else message)
    assert (client.call_id, client.peer_call_id_seen) == (1234, 9)


def test_a_call_id_of_zero_is_legal() -> None:
    client, server = Initiator(host_name(NONCE), 0), Responder(0)
    client.start(0.0)
    talk(client, server)
    assert (client.peer_call_id, server.peer_call_id) == (0, 0)
    assert client.state is State.CALL_UP


def test_echoes_are_answered_by_both_ends() -> None:
    client, server = pair()
    talk(client, server)
    for end in (client, server):
        end.receive(pptp.EchoRequest(99).encode(), 5.0)
        assert end.data_to_send(5.0) == [pptp.EchoReply(99).encode()]
        assert [step.expected for step in end.events()][-2:] == [True, True]


def answers(server: Responder, *messages: pptp.ControlMessage) -> list[pptp.ControlMessage]:
    for message in messages:
        server.receive(message.encode(), 0.0)
    return [pptp.decode_message(data) for data in server.data_to_send(0.0)]


def results(replies: list[pptp.ControlMessage]) -> list[tuple[int, int]]:
    assert all(isinstance(reply, pptp.StartControlConnectionReply | pptp.OutgoingCallReply) for reply in replies)
    return [(getattr(reply, "result_code"), getattr(reply, "error_code")) for reply in replies]  # noqa: B009


def test_the_responder_refuses_what_comes_out_of_order() -> None:
    start, call = pptp.StartControlConnectionRequest(), pptp.OutgoingCallRequest(5)
    assert results(answers(Responder(1), call)) == [(2, 1)]
    assert results(answers(Responder(1), start, start)) == [(1, 0), (3, 0)]
    assert results(answers(Responder(1), start, call, call)) == [(1, 0), (1, 0), (2, 4)]


def test_the_responder_refuses_another_version() -> None:
    server = Responder(1)
    assert results(answers(server, pptp.StartControlConnectionRequest(protocol_version=0x0200))) == [(5, 0)]
    assert server.state is State.CONTROL_REJECTED


def test_what_a_role_does_not_answer_is_recorded() -> None:
    server = Responder(1)
    assert answers(server, pptp.StartControlConnectionRequest(), pptp.WanErrorNotify(1))[1:] == []
    assert names(server.events()) == ["SCCRQ", "SCCRP", "WEN"]
    client, _ = pair()
    client.receive(pptp.SetLinkInfo(3).encode(), 0.0)
    client.receive(pptp.StartControlConnectionReply().encode() * 2, 0.0)
    events = client.events()
    assert names(events) == ["SCCRQ", "SLI", "SCCRP", "OCRQ", "SCCRP"]
    assert [step.expected for step in events] == [True, False, True, True, False]


def test_a_call_reply_without_a_control_connection_opens_no_call() -> None:
    client, _ = pair()
    client.data_to_send(0.0)
    client.receive(pptp.OutgoingCallReply(77, 1234).encode(), 0.0)
    assert client.state is State.CONTROL_REQUESTED
    assert client.peer_call_id is None
    assert client.data_to_send(0.0) == []


def test_a_second_call_reply_changes_no_call_id() -> None:
    client, server = pair()
    talk(client, server)
    client.receive(pptp.OutgoingCallReply(500, 1234).encode(), 0.0)
    assert client.peer_call_id == 77
    assert client.data_to_send(0.0) == []


def test_a_host_name_that_does_not_fit_is_our_callers_error() -> None:
    with pytest.raises(UsageError):
        Initiator(host_name("a" * 56), 1).start(0.0)
    Initiator(host_name("a" * 55), 1).start(0.0)


def test_a_stream_that_is_no_pptp_breaks_once() -> None:
    client, _ = pair()
    for _ in range(3):
        client.receive(b"SSH-2.0-OpenSSH_9.2\r\n", 0.0)
    assert client.broken is not None
    assert client.broken.field == "Length"
    assert names(client.events()) == ["SCCRQ", "DecodeError"]


def test_messages_before_the_break_count() -> None:
    client, _ = pair()
    client.receive(pptp.StartControlConnectionReply().encode() + b"\x00\x10\x00\x01GARB", 0.0)
    assert client.state is State.CALL_REQUESTED
    assert client.broken is not None
    assert client.broken.field == "Magic Cookie"


def test_an_unknown_message_in_an_intact_stream_is_passed_over() -> None:
    client, _ = pair()
    unknown = bytearray(pptp.EchoRequest(1).encode())
    unknown[9] = 99
    client.receive(bytes(unknown) + pptp.StartControlConnectionReply().encode(), 0.0)
    assert client.broken is None
    assert client.state is State.CALL_REQUESTED
    assert isinstance(client.events()[1].message, DecodeError)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_hostile_streams_raise_nothing(chunks: list[bytes]) -> None:
    client, server = pair()
    for end in (client, server):
        for chunk in chunks:
            end.receive(chunk, 0.0)
            end.data_to_send(0.0)


@given(st.lists(st.sampled_from(pptp.MESSAGES), max_size=12), st.data())
def test_any_order_of_messages_raises_nothing(kinds: list[type[pptp.ControlMessage]], data: st.DataObject) -> None:
    client, server = pair()
    for kind in kinds:
        body = data.draw(st.binary(min_size=kind.BODY.size, max_size=kind.BODY.size))
        message = pptp._HEADER.pack(kind.size(), 1, pptp.MAGIC_COOKIE, kind.TYPE, 0) + body
        for end in (client, server):
            end.receive(message, 0.0)
            assert all(pptp.decode_message(sent) for sent in end.data_to_send(0.0))
