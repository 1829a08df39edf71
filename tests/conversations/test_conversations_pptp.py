"""PPTP's control connection: the pair over a loop, refusals, NAT, captures, and hostile streams."""

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.contract import Conversation, Sender, Step
from vpnprobe.conversations.observing import MessageSeen
from vpnprobe.conversations.pptp import (
    TRANSITIONS,
    Initiator,
    PptpObserver,
    PptpTracker,
    Responder,
    State,
    describe,
    host_name,
    key_of,
)
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
    assert names(server.events()) == ["CCRQ", "CDN", "StopCCRQ", "StopCCRP"]
    assert server_steps == 5
    assert client.finished
    assert server.finished
    assert client.state is server.state is State.CALL_UP
    assert tap.state is State.MIDSTREAM


def test_hanging_up_without_a_call_and_by_the_server() -> None:
    client, server = pair()
    client.hang_up(0.0)
    assert names(client.events()) == ["SCCRQ", "StopCCRQ"]
    other = Initiator(host_name(NONCE), 1)
    other.receive(pptp.StopControlConnectionRequest().encode(), 0.0)
    assert names(other.events()) == ["StopCCRQ", "StopCCRP"]
    assert other.finished
    assert not server.finished


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


@pytest.mark.parametrize("name", ["", "local", "vpnprobe-", "vpnprobe-XYZ", "vpnprobe-AB", "xvpnprobe-ab"])
def test_foreign_host_names_have_no_key(name: str) -> None:
    assert key_of(pptp.StartControlConnectionRequest(host_name=name.encode())) == ""
    assert Initiator(name, 1).key == ""


def test_only_the_request_carries_the_key() -> None:
    assert key_of(pptp.StartControlConnectionRequest(host_name=host_name("ab12").encode())) == "ab12"
    assert key_of(pptp.StartControlConnectionReply(host_name=host_name("ab12").encode())) == ""


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


@pytest.mark.parametrize("kind", [kind for kind in pptp.MESSAGES if kind is not pptp.StartControlConnectionRequest])
@pytest.mark.parametrize("sender", list(Sender))
def test_a_capture_that_begins_in_the_middle(sender: Sender, kind: type[pptp.ControlMessage]) -> None:
    tap = PptpTracker()
    message = kind.decode(pptp._HEADER.pack(kind.size(), 1, pptp.MAGIC_COOKIE, kind.TYPE, 0) + bytes(kind.BODY.size))
    assert tap.saw(sender, message, now=0.0)
    assert tap.state is State.MIDSTREAM
    tap.saw(Sender.RESPONDER, pptp.OutgoingCallReply(0, 0), now=0.0)
    assert tap.state is State.MIDSTREAM


def test_an_incoming_call() -> None:
    """Section 3.2.4: the PAC asks, the PNS answers, the PAC says that it is connected."""
    tap = PptpTracker()
    tap.saw(Sender.INITIATOR, pptp.StartControlConnectionRequest(), now=0.0)
    tap.saw(Sender.RESPONDER, pptp.StartControlConnectionReply(), now=0.0)
    tap.saw(Sender.RESPONDER, pptp.IncomingCallRequest(5), now=0.0)
    tap.saw(Sender.INITIATOR, pptp.IncomingCallReply(6, 5), now=0.0)
    before = tap.state
    tap.saw(Sender.RESPONDER, pptp.IncomingCallConnected(6), now=0.0)
    assert (before, tap.state) == (State.CONTROL_UP, State.CALL_UP)
    assert all(step.expected for step in tap.steps)


def test_an_incoming_call_that_is_refused() -> None:
    tap = PptpTracker()
    tap.saw(Sender.INITIATOR, pptp.StartControlConnectionRequest(), now=0.0)
    tap.saw(Sender.RESPONDER, pptp.StartControlConnectionReply(), now=0.0)
    tap.saw(Sender.INITIATOR, pptp.IncomingCallReply(6, 5, result_code=2), now=0.0)
    assert tap.state is State.CALL_REJECTED


def test_no_row_of_the_table_leads_back() -> None:
    rank = {state: place for place, state in enumerate(State)}
    assert [row for row, following in TRANSITIONS.items() if rank[following] < rank[row[0]]] == []


def test_the_states_are_the_published_stages() -> None:
    published = "sccrq-unanswered control-rejected control-up ocrq-unanswered call-rejected call-up midstream-control"
    assert [state.value for state in State] == ["idle", *published.split()]


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


def test_behind_a_gap_the_stream_goes_on_with_the_next_message() -> None:
    tracker = PptpTracker()
    tracker.saw_chunk(Sender.INITIATOR, pptp.StartControlConnectionRequest().encode(), now=0.0)
    tracker.saw_chunk(Sender.RESPONDER, pptp.StartControlConnectionReply().encode(), now=0.0)
    request = pptp.OutgoingCallRequest(call_id=7)
    assert tracker.saw_chunk(Sender.INITIATOR, b"the rest of something", now=0.0, gap=9) == []
    assert tracker.saw_chunk(Sender.INITIATOR, request.encode(), now=0.0) == [request]
    assert not tracker.broken
    assert tracker.state is State.CALL_REQUESTED


@pytest.mark.parametrize(("seen", "expected"), [(17, State.CALL_REQUESTED), (18, State.CALL_UP)])
def test_a_cut_message_counts_where_all_that_moves_the_table_was_seen(seen: int, expected: State) -> None:
    tracker = PptpTracker()
    tracker.saw_chunk(Sender.INITIATOR, pptp.StartControlConnectionRequest().encode()[:42], now=0.0, missing=156 - 42)
    tracker.saw_chunk(Sender.RESPONDER, pptp.StartControlConnectionReply().encode()[:42], now=0.0, missing=156 - 42)
    tracker.saw_chunk(Sender.INITIATOR, pptp.OutgoingCallRequest(call_id=7).encode(), now=0.0)
    tracker.saw_chunk(Sender.RESPONDER, pptp.OutgoingCallReply(9, 7).encode()[:seen], now=0.0, missing=32 - seen)
    assert tracker.state is expected


def test_what_a_message_is_called_and_the_numbers_that_matter() -> None:
    """A reply that refuses says so; Call IDs are told."""
    for message, described in (
        (pptp.StartControlConnectionReply(result_code=pptp.SUCCESSFUL), ("SCCRP", {"result_code": 1})),
        (pptp.StartControlConnectionReply(result_code=4), ("SCCRP-refused", {"result_code": 4})),
        (pptp.OutgoingCallRequest(call_id=1234), ("OCRQ", {"call_id": 1234})),
        (pptp.OutgoingCallReply(7, 1234), ("OCRP", {"result_code": 1, "call_id": 7, "peer_call_id": 1234})),
        (pptp.OutgoingCallReply(7, 1234, result_code=2), ("OCRP-refused", {"result_code": 2, "call_id": 7, "peer_call_id": 1234})),
        (pptp.EchoRequest(1), ("ECHORQ", {})),
        (object(), ("object", {})),
    ):
        assert describe(message) == described


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
@pytest.mark.parametrize("refused", [False, True])
def test_what_the_wire_shows_of_a_call(cut: Cut, refused: bool) -> None:
    """The call's numbers, where it is granted; nothing of another user's connection."""
    client, server = pair()
    foreign, observer = PptpObserver(), PptpObserver()
    seen: list[MessageSeen] = []
    for _ in range(3):
        for sender, receiver in ((client, server), (server, client)):
            for data in sender.data_to_send(0.0):
                receiver.receive(data, 0.0)
                message = pptp.decode_message(data)
                if refused and isinstance(message, pptp.OutgoingCallReply):
                    data = pptp.OutgoingCallReply(77, 1234, result_code=2).encode()
                for chunk in cut(data):
                    seen += observer.saw(sender.SENDER, chunk)
                    assert list(foreign.saw(sender.SENDER, chunk.replace(b"vpnprobe-0", b"somebody-0") if cut is whole else b"")) == []
    assert {(message.check, message.key) for message in seen} == {("control", NONCE)}
    assert [message.name for message in seen] == ["SCCRQ", "SCCRP", "OCRQ", "OCRP-refused" if refused else "OCRP", "SLI"]
    assert [message.call_ids for message in seen if message.call_ids] == ([] if refused else [(77, 1234)])
    assert list(observer.closed(Sender.RESPONDER)) == []
