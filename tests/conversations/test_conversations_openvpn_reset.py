"""OpenVPN's bare resets: a pair over datagrams and over a dripped stream, losses, wrapped packets, and totality."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import OpenvpnTracker, State, StreamClosed
from vpnprobe.conversations.openvpn_reset import Initiator, Responder, opening, session_of
from vpnprobe.errors import DecodeError
from vpnprobe.wire.openvpn import (
    AckV1,
    ControlV1,
    DataV1,
    HardResetClientV1,
    HardResetClientV2,
    HardResetServerV2,
    Packet,
    Reliable,
    decode_openvpn,
    frame,
)

CLIENT, SERVER = Sender.INITIATOR, Sender.RESPONDER
C_ID, S_ID = b"clientid", b"serverid"
RESET = HardResetClientV2.plain(C_ID, Reliable())
ANSWER = HardResetServerV2.plain(S_ID, Reliable((0,), C_ID))
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["udp", "tcp"])


@BOTH
def test_a_pair_exchanges_resets(stream: bool) -> None:
    client, server = Initiator(session_id=C_ID, stream=stream), Responder(session_id=S_ID, stream=stream)
    client.start(1.0)
    server.start(1.0)
    assert not client.answered
    for data in client.data_to_send(1.0):
        server.receive(data, 2.0)
    replies = server.data_to_send(2.0)
    assert b"".join(replies) == (frame(ANSWER.encode()) if stream else ANSWER.encode())
    for data in replies:
        client.receive(data, 3.0)
    for data in client.data_to_send(3.0):
        server.receive(data, 4.0)
    assert client.state is server.state is State.SERVER_RESET
    assert client.key == server.key == C_ID.hex()
    assert client.answered
    assert client.server_session_id == S_ID
    steps = server.events()
    assert [(step.sender, step.expected) for step in steps] == [(CLIENT, True), (SERVER, True), (CLIENT, True)]
    last = steps[-1].message
    assert isinstance(last, AckV1)
    assert last.reliable() == Reliable((0,), S_ID, None)
    assert server.events() == []
    assert server.data_to_send(5.0) == []


def test_a_stream_dripped_byte_by_byte_gives_the_same() -> None:
    client, server = Initiator(session_id=C_ID, stream=True), Responder(session_id=S_ID, stream=True)
    client.start(0.0)
    for end, other in ((client, server), (server, client), (client, server)):
        for byte in b"".join(end.data_to_send(0.0)):
            other.receive(bytes([byte]), 0.0)
    assert client.answered
    assert [type(step.message) for step in server.tracker.steps] == [HardResetClientV2, HardResetServerV2, AckV1]


def test_a_lost_answer_leaves_the_two_logs_apart_and_is_asked_for_again() -> None:
    client, server = Initiator(session_id=C_ID, stream=False, attempts=2, retransmit_after_s=0.5), Responder(session_id=S_ID, stream=False)
    client.start(0.0)
    server.receive(client.data_to_send(0.0)[0], 0.1)
    server.data_to_send(0.1)
    assert (client.state, server.state) == (State.CLIENT_RESET, State.SERVER_RESET)
    client.handle_timer(0.4)
    assert client.data_to_send(0.4) == []
    assert client.next_timer() == 0.5
    client.handle_timer(0.5)
    server.receive(client.data_to_send(0.5)[0], 0.6)
    client.receive(server.data_to_send(0.6)[0], 0.7)
    assert client.answered
    assert client.next_timer() is None
    assert [step.expected for step in server.tracker.steps] == [True, True, False, False]


def test_a_lost_acknowledgment_is_sent_again_for_a_repeated_reset() -> None:
    client = Initiator(session_id=C_ID, stream=False, attempts=3)
    client.start(0.0)
    client.data_to_send(0.0)
    for _ in range(2):
        client.receive(ANSWER.encode(), 0.1)
    assert [decode_openvpn(data).name for data in client.data_to_send(0.1)] == ["P_ACK_V1", "P_ACK_V1"]
    assert client.next_timer() is None


def test_tcp_repeats_what_is_lost() -> None:
    client, server = Initiator(session_id=C_ID, stream=True, attempts=5), Responder(session_id=S_ID, stream=True)
    client.start(0.0)
    assert client.next_timer() is server.next_timer() is None
    server.handle_timer(1.0)
    assert server.data_to_send(1.0) == []


@pytest.mark.parametrize("foreign", [HardResetServerV2.plain(S_ID, Reliable((0,), S_ID)), HardResetServerV2.plain(S_ID, Reliable())])
def test_a_reset_that_acknowledges_another_session_proves_nothing(foreign: HardResetServerV2) -> None:
    client = Initiator(session_id=C_ID, stream=False)
    client.start(0.0)
    client.receive(foreign.encode(), 0.1)
    client.receive(b"\xff", 0.1)
    client.receive(HardResetServerV2(S_ID, b"\xff" * 30).encode(), 0.1)
    assert not client.answered
    assert client.state is State.CLIENT_RESET
    assert [type(step.message) for step in client.tracker.steps[1:]] == [DecodeError] * 3


def test_other_packets_are_recorded_by_the_client() -> None:
    client = Initiator(session_id=C_ID, stream=False)
    client.start(0.0)
    client.receive(AckV1.plain(S_ID, Reliable((0,), C_ID, None)).encode(), 0.1)
    assert len(client.data_to_send(0.1)) == 1
    assert not client.tracker.steps[1].expected


@pytest.mark.parametrize("stray", [b"0 and more", b"Hello, this is SSH", b"\x20" + S_ID])
def test_a_stray_datagram_is_no_answer_to_a_reset(stray: bytes) -> None:
    """Each begins as a control or data packet does."""
    client = Initiator(session_id=C_ID, stream=False)
    client.start(0.0)
    client.receive(stray, 0.1)
    assert not client.reached("reset")


def test_a_server_s_end_does_not_record_that_its_client_went() -> None:
    server = Responder(session_id=S_ID, stream=True)
    server.closed_by_peer(0.1)
    assert server.peer_closed
    assert server.tracker.steps == []


def test_a_wrapped_server_closes_the_stream_without_a_byte() -> None:
    client = Initiator(session_id=C_ID, stream=True)
    client.start(0.0)
    client.closed_by_peer(0.1)
    assert client.peer_closed
    assert (client.state, client.tracker.stage) == (State.RESET_REFUSED, "client-reset-unanswered")
    assert client.tracker.steps[-1].message == StreamClosed()
    assert client.tracker.steps[-1].expected


def test_another_service_that_says_something_and_closes_is_no_wrapped_server() -> None:
    client = Initiator(session_id=C_ID, stream=True)
    client.start(0.0)
    client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n", 0.1)
    client.closed_by_peer(0.2)
    assert client.state is not State.RESET_REFUSED
    assert not client.tracker.refused


@pytest.mark.parametrize(
    "packet",
    [
        HardResetClientV2(C_ID, bytes(33)),  # the shape of tls-auth
        HardResetClientV2(C_ID, b"\xaa" * 45),  # the shape of tls-crypt
        HardResetClientV2.plain(C_ID, Reliable((1,), S_ID)),
        HardResetClientV1.plain(C_ID, Reliable()),
        ControlV1.plain(C_ID, Reliable()),
    ],
)
def test_a_responder_without_wrapping_answers_plain_resets_alone(packet: Packet) -> None:
    server = Responder(session_id=S_ID, stream=False)
    server.receive(packet.encode(), 0.0)
    assert server.data_to_send(0.0) == []
    assert len(server.tracker.steps) == 1
    assert not opening(packet.encode())


def test_a_responder_serves_one_session() -> None:
    server = Responder(session_id=S_ID, stream=False)
    server.receive(RESET.encode(), 0.0)
    server.receive(HardResetClientV2.plain(b"another1", Reliable()).encode(), 0.1)
    assert len(server.data_to_send(0.1)) == 1
    assert server.key == C_ID.hex()


def test_what_opens_a_session_and_whose_packet_it_is() -> None:
    assert opening(RESET.encode())
    assert opening(RESET.encode()) == session_of(RESET.encode()) == C_ID.hex()
    assert session_of(ANSWER.encode()) == S_ID.hex()
    assert opening(ANSWER.encode()) == opening(b"junk") == ""
    assert session_of(DataV1(b"x").encode()) == session_of(b"\xff") == ""


def test_a_broken_stream_is_recorded_once_and_then_ignored() -> None:
    server = Responder(session_id=S_ID, stream=True)
    assert server.broken is None
    server.receive(frame(RESET.encode()) + bytes(2) + b"more", 0.0)
    server.receive(frame(RESET.encode()), 0.1)
    assert server.broken is not None
    assert [type(step.message) for step in server.tracker.steps] == [HardResetClientV2, HardResetServerV2, DecodeError]


@given(st.booleans(), st.lists(st.tuples(st.sampled_from([CLIENT, SERVER]), st.binary(max_size=40)), max_size=8))
def test_any_bytes_can_be_followed_and_answered(stream: bool, chunks: list[tuple[Sender, bytes]]) -> None:
    tracker, client, server = OpenvpnTracker(), Initiator(session_id=C_ID, stream=stream), Responder(session_id=S_ID, stream=stream)
    client.start(0.0)
    for sender, data in chunks:
        tracker.saw_chunk(sender, data, now=0.0)
        tracker.saw_datagram(sender, data, now=0.0)
        client.receive(data, 0.0)
        server.receive(data, 0.0)
    assert len(tracker.steps) >= len(chunks)
