"""LCP between two ends: each request a trial, each Ack its receipt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.conversations.lcp import LcpEnd, LcpTracker, State, UnmatchedAck, describe, key_of, name_of, read_frame
from vpnprobe.errors import DecodeError
from vpnprobe.wire import ppp


def ends() -> tuple[LcpEnd, LcpEnd]:
    client, server = LcpEnd(Sender.INITIATOR), LcpEnd(Sender.RESPONDER)
    client.start(0.0)
    server.start(0.0)
    return client, server


def carry(sender: LcpEnd, receiver: LcpEnd) -> int:
    frames = sender.data_to_send(0.0)
    for frame in frames:
        receiver.receive(frame, 0.0)
    return len(frames)


def opened() -> tuple[LcpEnd, LcpEnd]:
    client, server = ends()
    server.receive(client.request(magic=0xA1, identifier=1, now=0.0), 0.0)
    client.receive(server.request(magic=0xB2, identifier=1, now=0.0), 0.0)
    carry(client, server)
    carry(server, client)
    assert client.state is server.state is State.OPENED
    return client, server


def keys(end: LcpEnd) -> list[tuple[str, str]]:
    return [(getattr(step.message, "NAME", ""), key_of(step.message)) for step in end.events()]


def test_a_request_and_its_ack_have_one_key() -> None:
    client, server = ends()
    server.receive(client.request(magic=0xDEADBEEF, identifier=7, now=0.0), 0.0)
    assert carry(server, client) == 1
    assert client.state is server.state is State.ACK_RCVD
    assert keys(client) == keys(server) == [("Configure-Request", "deadbeef"), ("Configure-Ack", "deadbeef")]
    assert client.events() == []
    assert client.key == "deadbeef"
    assert server.key == ""


def test_the_link_opens_in_either_order() -> None:
    client, server = ends()
    client.receive(server.request(magic=2, identifier=1, now=0.0), 0.0)
    carry(client, server)
    half = {client.state, server.state}
    server.receive(client.request(magic=1, identifier=1, now=0.0), 0.0)
    carry(server, client)
    assert (half, {client.state, server.state}) == ({State.ACK_SENT}, {State.OPENED})


def test_every_request_is_a_trial_of_its_own() -> None:
    client, server = ends()
    frames = [client.request(magic=magic, identifier=magic, now=0.0) for magic in range(1, 9)]
    for frame in frames[::2]:
        server.receive(frame, 0.0)
    carry(server, client)
    acknowledged = [step.message for step in client.events() if isinstance(step.message, ppp.ConfigureAck) and step.expected]
    assert [ack.magic_number for ack in acknowledged] == [1, 3, 5, 7]


@pytest.mark.parametrize("options", [(ppp.MagicNumber(6),), (ppp.MaximumReceiveUnit(1500), ppp.MagicNumber(5))])
def test_an_ack_of_something_else_opens_nothing(options: tuple[ppp.LcpOption, ...]) -> None:
    client, _ = ends()
    client.request(magic=5, identifier=1, now=0.0)
    client.receive(ppp.lcp_frame(ppp.ConfigureAck(1, options)), 0.0)
    assert client.state is State.REQ_SENT
    assert [step.expected for step in client.events()] == [True, False]
    assert client.tracker.kind(Sender.RESPONDER, ppp.ConfigureAck(1, options)) is UnmatchedAck


def test_unknown_options_are_rejected_and_known_ones_acknowledged() -> None:
    client, _ = ends()
    known: tuple[ppp.LcpOption, ...] = (ppp.AuthenticationProtocol(0xC223, b"\x81"), ppp.ProtocolFieldCompression())
    unknown = ppp.RawOption(17, b"\x05\xdc")
    client.receive(ppp.lcp_frame(ppp.ConfigureRequest(3, (*known, unknown))), 0.0)
    client.receive(ppp.lcp_frame(ppp.ConfigureRequest(4, known)), 0.0)
    answers = [read_frame(frame) for frame in client.data_to_send(0.0)]
    assert answers == [ppp.ConfigureReject(3, (unknown,)), ppp.ConfigureAck(4, known)]


def test_echoes_are_answered_once_the_link_is_open_and_not_before() -> None:
    client, server = ends()
    server.receive(client.echo(identifier=1, now=0.0), 0.0)
    assert server.data_to_send(0.0) == []
    assert [step.expected for step in server.events()] == [False]
    client, server = opened()
    server.receive(client.echo(identifier=2, now=0.0), 0.0)
    assert [read_frame(frame) for frame in server.data_to_send(0.0)] == [ppp.EchoReply(2, 0xB2)]


def test_a_termination_is_acknowledged_and_the_state_stays() -> None:
    client, server = opened()
    server.receive(ppp.lcp_frame(ppp.TerminateRequest(9, b"bye")), 0.0)
    assert [read_frame(frame) for frame in server.data_to_send(0.0)] == [ppp.TerminateAck(9)]
    assert client.state is server.state is State.OPENED


@pytest.mark.parametrize("payload", [ppp.PppFrame(ppp.PROTOCOL_IPV4, b"ip").encode(), b"", b"\xff\x03\xc0\x21\x01"])
def test_what_is_no_lcp_is_recorded_and_not_answered(payload: bytes) -> None:
    client, _ = opened()
    before = len(client.events())
    client.receive(payload, 0.0)
    events = client.events()
    assert before > 0
    assert client.data_to_send(0.0) == []
    assert [isinstance(step.message, ppp.PppFrame) for step in events] == [step.expected for step in events]


@pytest.mark.parametrize("kind", [ppp.ConfigureNak, ppp.ConfigureReject])
def test_a_refused_request_is_no_step_forward(kind: type[ppp.ConfigureNak | ppp.ConfigureReject]) -> None:
    client, _ = ends()
    client.request(magic=5, identifier=1, now=0.0)
    client.receive(ppp.lcp_frame(kind(1, (ppp.MagicNumber(9),))), 0.0)
    assert client.state is State.REQ_SENT
    assert keys(client)[-1][1] == "00000009"
    assert client.data_to_send(0.0) == []


def test_packets_without_a_magic_number_have_no_key() -> None:
    assert key_of(ppp.ConfigureRequest(1)) == ""
    assert key_of(ppp.EchoRequest(1, 5)) == ""


def test_a_capture_is_followed_by_the_same_table() -> None:
    client, server = ends()
    tap = LcpTracker()
    request = client.request(magic=5, identifier=1, now=0.0)
    server.receive(request, 0.0)
    tap.saw_frame(Sender.INITIATOR, request, now=0.0)
    for frame in server.data_to_send(0.0):
        tap.saw_frame(Sender.RESPONDER, frame, now=0.0)
    assert tap.state is server.state is State.ACK_RCVD
    assert all(step.expected for step in tap.steps)


def test_an_ack_whose_request_was_not_captured_is_unexpected() -> None:
    tap = LcpTracker()
    assert not tap.saw(Sender.RESPONDER, ppp.ConfigureAck(1, (ppp.MagicNumber(1),)), now=0.0)
    assert tap.state is State.INITIAL


def test_it_keeps_the_contract() -> None:
    conversation: Conversation = LcpEnd(Sender.INITIATOR)
    conversation.handle_timer(1.0)
    assert conversation.next_timer() is None


@given(st.lists(st.binary(max_size=40) | st.binary(max_size=30).map(lambda tail: b"\xff\x03\xc0\x21" + tail), max_size=8))
def test_hostile_frames_raise_nothing(payloads: list[bytes]) -> None:
    client, _ = opened()
    for payload in payloads:
        client.receive(payload, 0.0)
        assert all(not isinstance(read_frame(frame), DecodeError) for frame in client.data_to_send(0.0))


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (ppp.ConfigureRequest(1, ()), "Configure-Request"),
        (ppp.ConfigureAck(1, ()), "Configure-Ack"),
        (ppp.TerminateRequest(1), "Terminate-Request"),
        (ppp.RawLcp(14, 1, b""), "LCP"),
        (ppp.PppFrame(0x8021, b""), "PPP"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_packet_is_called(message: object, name: str) -> None:
    assert describe(message) == (name, {})


def test_an_acknowledgment_of_nothing_has_the_name_of_any() -> None:
    assert name_of(Sender.RESPONDER, UnmatchedAck) == "Configure-Ack"
