"""IKEv2 IKE_SA_INIT: a pair with and without marker, rejections, the stages of captures, and totality."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.ikev2 import ENTROPY_BYTES, TABLE, Ikev2Tracker, Initiator, Responder, State, opening
from vpnprobe.wire.ikev2 import (
    Exchange,
    Group,
    Notify,
    PayloadType,
    SaInit,
    SaInitRejection,
    decode_ikev2,
    key_exchange,
    nat_detection_hash,
    notifications,
    sa_init_rejection,
    sa_init_request,
)
from vpnprobe.wire.isakmp import INITIATOR_FLAG, NO_SPI, RESPONSE_FLAG, IsakmpMessage, MalformedPayloads, Payload, with_marker

CLIENT, SERVER = Sender.INITIATOR, Sender.RESPONDER
ENTROPY = bytes(range(1, 256)) + bytes(range(1, ENTROPY_BYTES - 254))
SERVER_ENTROPY = bytes(reversed(ENTROPY))
SPI = ENTROPY[:8]
ENDS = ((bytes([10, 0, 0, 1]), 500), (bytes([10, 0, 0, 2]), 500))
BOTH_PORTS = pytest.mark.parametrize("marker", [False, True], ids=["500", "4500"])


def message(exchange: int, *payloads: int, response: bool = False) -> bytes:
    flags = RESPONSE_FLAG if response else INITIATOR_FLAG
    return IsakmpMessage(SPI, NO_SPI, exchange, tuple(Payload(kind, b"") for kind in payloads), flags, major_version=2).encode()


REQUEST = (CLIENT, message(Exchange.IKE_SA_INIT, PayloadType.SA))
CHOICE = (SERVER, message(Exchange.IKE_SA_INIT, PayloadType.SA, response=True))
REJECTION = (SERVER, message(Exchange.IKE_SA_INIT, PayloadType.NOTIFY, response=True))
AUTH_REQUEST = (CLIENT, message(Exchange.IKE_AUTH))
AUTH_ANSWER = (SERVER, message(Exchange.IKE_AUTH, response=True))
INFORMATIONAL = (SERVER, message(Exchange.INFORMATIONAL))
CHILD = (CLIENT, message(Exchange.CREATE_CHILD_SA))
INTERMEDIATE = (CLIENT, message(Exchange.IKE_INTERMEDIATE))


@BOTH_PORTS
def test_a_pair_makes_the_exchange(marker: bool) -> None:
    client = Initiator(entropy=ENTROPY, non_esp_marker=marker)
    server = Responder(entropy=SERVER_ENTROPY, non_esp_marker=marker)
    client.start(1.0)
    server.start(1.0)
    (request,) = client.data_to_send(1.0)
    assert request.startswith(bytes(4)) == marker
    assert opening(request, non_esp_marker=marker)
    assert not opening(request, non_esp_marker=not marker)
    server.receive(request, 2.0)
    (response,) = server.data_to_send(2.0)
    client.receive(response, 3.0)
    assert client.state is server.state is State.INIT_ANSWERED
    assert client.answered
    assert client.key == server.key == opening(request, non_esp_marker=marker) == SPI.hex()
    assert opening(response, non_esp_marker=marker) == ""
    assert [(step.at, step.sender, step.expected) for step in client.events()] == [(1.0, CLIENT, True), (3.0, SERVER, True)]
    assert client.notifications == ()


def test_a_lost_response_leaves_the_two_logs_apart() -> None:
    client, server = Initiator(entropy=ENTROPY), Responder(entropy=SERVER_ENTROPY)
    client.start(0.0)
    server.receive(client.data_to_send(0.0)[0], 0.1)
    assert (client.state, server.state) == (State.INIT_REQUESTED, State.INIT_ANSWERED)
    assert not client.answered


def test_an_informational_answer_shows_that_both_ways_pass() -> None:
    """As a gateway's that does not take IKEv2: an error notification outside any IKE SA (RFC 7296 section 1.5)."""
    client = Initiator(entropy=ENTROPY, attempts=2, retransmit_after_s=0.5)
    client.start(0.0)
    assert not client.reached("ikev2-init")
    client.receive(INFORMATIONAL[1], 0.1)
    assert client.reached("ikev2-init")
    assert "informational" in TABLE.goal_messages("ikev2-init")


def test_a_repetition_gets_the_same_answer() -> None:
    client, server = Initiator(entropy=ENTROPY, attempts=2, retransmit_after_s=0.5), Responder(entropy=SERVER_ENTROPY)
    client.start(0.0)
    client.handle_timer(0.5)
    for data in client.data_to_send(0.5):
        server.receive(data, 0.6)
    first, second = server.data_to_send(0.6)
    assert first == second
    assert client.next_timer() is None


def test_nat_detection_hashes_the_ends() -> None:
    client, server = Initiator(entropy=ENTROPY, ends=ENDS), Responder(entropy=SERVER_ENTROPY, ends=ENDS)
    client.start(0.0)
    (request,) = client.data_to_send(0.0)
    server.receive(request, 0.1)
    assert [n.type for n in server.notifications] == [Notify.NAT_DETECTION_SOURCE_IP, Notify.NAT_DETECTION_DESTINATION_IP]
    assert server.notifications[0].data == nat_detection_hash(SPI, NO_SPI, address=bytes([10, 0, 0, 1]), port=500)
    client.receive(server.data_to_send(0.1)[0], 0.2)
    assert client.notifications[1].data == nat_detection_hash(SPI, SERVER_ENTROPY[:8], address=bytes([10, 0, 0, 2]), port=500)


@pytest.mark.parametrize("notify", [Notify.NO_PROPOSAL_CHOSEN, Notify.COOKIE, Notify.INVALID_KE_PAYLOAD])
def test_a_rejection_is_an_answer(notify: Notify) -> None:
    client = Initiator(entropy=ENTROPY, attempts=3)
    client.start(0.0)
    request = decode_ikev2(client.data_to_send(0.0)[0])
    client.receive(sa_init_rejection(request, notify).encode(), 0.1)
    assert client.state is State.INIT_REJECTED
    assert client.answered
    assert client.notifications[0].type == notify
    assert client.next_timer() is None


def test_a_responder_answers_in_the_group_that_was_asked_for_or_names_its_own() -> None:
    for group, size in ((Group.CURVE25519, 32), (Group.MODP_1024, 128), (Group.MODP_2048, 256)):
        server = Responder(entropy=SERVER_ENTROPY)
        server.receive(sa_init_request(SPI, public_value=b"", nonce=b"n" * 16, group=group).encode(), 0.0)
        answer = key_exchange(decode_ikev2(server.data_to_send(0.0)[0]))
        assert (answer.group, len(answer.public_value)) == (group, size)
    server = Responder(entropy=SERVER_ENTROPY)
    server.receive(sa_init_request(SPI, public_value=b"", nonce=b"n" * 16, group=21).encode(), 0.0)  # type: ignore[arg-type]
    rejection = decode_ikev2(server.data_to_send(0.0)[0])
    assert isinstance(rejection, SaInitRejection)
    assert [(n.type, n.data) for n in notifications(rejection)] == [(Notify.INVALID_KE_PAYLOAD, b"\x00\x0e")]
    assert server.state is State.INIT_REJECTED


def test_a_responder_says_when_it_cannot_read_the_request() -> None:
    server = Responder(entropy=SERVER_ENTROPY)
    server.receive(REQUEST[1], 0.0)
    assert [n.type for n in notifications(decode_ikev2(server.data_to_send(0.0)[0]))] == [Notify.INVALID_SYNTAX]
    for _, data in (CHOICE, AUTH_REQUEST):
        server.receive(data, 0.1)
    assert server.data_to_send(0.1) == []


def test_only_a_request_opens() -> None:
    assert opening(REQUEST[1]) == SPI.hex()
    for data in (CHOICE[1], REJECTION[1], AUTH_REQUEST[1], b"junk"):
        assert opening(data) == ""
    assert type(decode_ikev2(CHOICE[1])) is SaInit


@pytest.mark.parametrize(
    ("messages", "state"),
    [
        ([REQUEST], State.INIT_REQUESTED),
        ([REQUEST, CHOICE], State.INIT_ANSWERED),
        ([REQUEST, REJECTION], State.INIT_REJECTED),
        ([REQUEST, REJECTION, REQUEST], State.INIT_REJECTED),
        ([REQUEST, REJECTION, REQUEST, CHOICE], State.INIT_ANSWERED),
        ([CHOICE], State.INIT_ANSWERED),
        ([REJECTION], State.INIT_REJECTED),
        ([REQUEST, CHOICE, AUTH_REQUEST], State.AUTH_REQUESTED),
        ([REQUEST, AUTH_REQUEST], State.AUTH_REQUESTED),
        ([AUTH_REQUEST], State.AUTH_REQUESTED),
        ([REQUEST, CHOICE, INTERMEDIATE, AUTH_REQUEST, AUTH_ANSWER], State.AUTH_ANSWERED),
        ([AUTH_REQUEST, AUTH_ANSWER, AUTH_REQUEST, AUTH_ANSWER, CHILD, INFORMATIONAL], State.AUTH_ANSWERED),
        ([AUTH_ANSWER], State.MIDSTREAM_OTHER),
        ([AUTH_ANSWER, AUTH_REQUEST], State.AUTH_REQUESTED),
        ([INFORMATIONAL], State.MIDSTREAM_INFORMATIONAL),
        ([INFORMATIONAL, CHILD, INFORMATIONAL], State.MIDSTREAM_OTHER),
        ([CHILD], State.MIDSTREAM_OTHER),
        ([CHILD, REQUEST], State.INIT_REQUESTED),
    ],
)
def test_captures_come_to_their_stage(messages: list[tuple[Sender, bytes]], state: State) -> None:
    tracker = Ikev2Tracker()
    for sender, data in messages:
        tracker.saw_datagram(sender, data, now=0.0)
    assert tracker.state is state
    assert tracker.key == SPI.hex()
    assert all(step.expected for step in tracker.steps)


def test_a_broken_message_counts_by_its_header() -> None:
    tracker = Ikev2Tracker()
    assert isinstance(tracker.saw_datagram(CLIENT, REQUEST[1][:-1], now=0.0), MalformedPayloads)
    tracker.saw_datagram(SERVER, REJECTION[1][:-1], now=0.0)
    assert tracker.state is State.INIT_REJECTED
    tracker.saw_datagram(SERVER, CHOICE[1][:-1], now=0.0)
    assert tracker.state is State.INIT_ANSWERED


@given(st.lists(st.tuples(st.sampled_from([CLIENT, SERVER]), st.integers(30, 45), st.integers(0, 255), st.binary(max_size=30)), max_size=8))
def test_any_datagrams_can_be_followed_and_answered(parts: list[tuple[Sender, int, int, bytes]]) -> None:
    tracker, client, server = Ikev2Tracker(), Initiator(entropy=ENTROPY), Responder(entropy=SERVER_ENTROPY)
    client.start(0.0)
    for sender, exchange, kind, body in parts:
        data = SPI + bytes(8) + bytes([kind, 0x20, exchange, 8]) + bytes(4) + (28 + len(body)).to_bytes(4, "big") + body
        for shape in (data, body, with_marker(data)):
            tracker.saw_datagram(sender, shape, now=0.0)
            client.receive(shape, 0.0)
            server.receive(shape, 0.0)
    assert len(tracker.steps) == 3 * len(parts)
