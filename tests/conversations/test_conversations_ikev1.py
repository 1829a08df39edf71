"""IKEv1 main mode: a pair with and without marker, refusals, the stages of captures, and totality."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.ikev1 import ENTROPY_BYTES, Ikev1Tracker, Initiator, Responder, State, opening
from vpnprobe.errors import DecodeError
from vpnprobe.wire.ikev1 import Exchange, Notify, PayloadType, decode_ikev1, main_mode_request, notify_message, offered
from vpnprobe.wire.isakmp import ENCRYPTION_FLAG, NO_SPI, IsakmpMessage, MalformedPayloads, Payload, with_marker

CLIENT, SERVER = Sender.INITIATOR, Sender.RESPONDER
SPI, OTHER_SPI = b"initiate", b"answerer"
BOTH_PORTS = pytest.mark.parametrize("marker", [False, True], ids=["500", "4500"])


def message(exchange: int, *payloads: int, encrypted: bool = False, responder_spi: bytes = OTHER_SPI) -> bytes:
    flags = ENCRYPTION_FLAG if encrypted else 0
    chain = tuple(Payload(kind, b"") for kind in payloads)
    sealed = b"sealed" if encrypted else b""
    return IsakmpMessage(SPI, responder_spi, exchange, chain, flags, encrypted=sealed, inner_payload=5 if encrypted else 0).encode()


MAIN_1 = message(Exchange.MAIN, PayloadType.SA, responder_spi=NO_SPI)
MAIN_2 = message(Exchange.MAIN, PayloadType.SA)
MAIN_KE = message(Exchange.MAIN, PayloadType.KEY_EXCHANGE, PayloadType.NONCE)
MAIN_ID = message(Exchange.MAIN, encrypted=True)
AGGRESSIVE_1 = message(Exchange.AGGRESSIVE, PayloadType.SA, responder_spi=NO_SPI)
AGGRESSIVE_2 = message(Exchange.AGGRESSIVE, PayloadType.SA, PayloadType.HASH)
AGGRESSIVE_3 = message(Exchange.AGGRESSIVE, PayloadType.HASH)
INFORMATIONAL = message(Exchange.INFORMATIONAL, PayloadType.NOTIFICATION)
QUICK = message(Exchange.QUICK, encrypted=True)
TRANSACTION = message(Exchange.TRANSACTION, encrypted=True)
MAIN_MODE = [(CLIENT, MAIN_1), (SERVER, MAIN_2), (CLIENT, MAIN_KE), (SERVER, MAIN_KE), (CLIENT, MAIN_ID), (SERVER, MAIN_ID)]


@BOTH_PORTS
def test_a_pair_makes_the_first_exchange(marker: bool) -> None:
    client, server = Initiator(entropy=SPI, non_esp_marker=marker), Responder(entropy=OTHER_SPI, non_esp_marker=marker)
    client.start(1.0)
    server.start(1.0)
    (request,) = client.data_to_send(1.0)
    assert request.startswith(bytes(4)) == marker
    assert opening(request, non_esp_marker=marker)
    assert not opening(request, non_esp_marker=not marker)
    assert client.state is State.MAIN_REQUESTED
    server.receive(request, 2.0)
    (reply,) = server.data_to_send(2.0)
    client.receive(reply, 3.0)
    assert client.state is server.state is State.MAIN_ANSWERED
    assert client.answered
    assert client.key == server.key == opening(request, non_esp_marker=marker) == SPI.hex()
    assert [(step.at, step.sender) for step in client.events()] == [(1.0, CLIENT), (3.0, SERVER)]
    assert client.events() == []
    assert len(server.events()) == 2
    assert client.data_to_send(3.0) == []


def test_a_lost_reply_leaves_the_two_logs_apart() -> None:
    client, server = Initiator(entropy=SPI), Responder(entropy=OTHER_SPI)
    client.start(0.0)
    server.receive(client.data_to_send(0.0)[0], 0.1)
    assert (client.state, server.state) == (State.MAIN_REQUESTED, State.MAIN_ANSWERED)
    assert not client.answered


def test_a_repetition_is_asked_for_and_gets_the_same_answer() -> None:
    assert Initiator(entropy=SPI).next_timer() is None
    client, server = Initiator(entropy=SPI, attempts=2, retransmit_after_s=0.5), Responder(entropy=OTHER_SPI)
    client.start(0.0)
    client.handle_timer(0.4)
    client.handle_timer(client.next_timer() or 0.0)
    first, second = client.data_to_send(0.5)
    assert first == second
    assert client.next_timer() is None
    for data in (first, second):
        server.receive(data, 0.6)
    replies = server.data_to_send(0.6)
    assert replies[0] == replies[1]
    assert server.next_timer() is None
    server.handle_timer(1.0)
    for data in replies:
        client.receive(data, 0.7)
    assert [step.expected for step in client.tracker.steps] == [True, False, True, False]


def test_an_answer_stops_the_repetition() -> None:
    client, server = Initiator(entropy=SPI, attempts=5), Responder(entropy=OTHER_SPI)
    client.start(0.0)
    server.receive(client.data_to_send(0.0)[0], 0.1)
    client.receive(server.data_to_send(0.1)[0], 0.2)
    assert client.next_timer() is None


def test_a_refusal_is_an_answer_and_no_stage() -> None:
    client = Initiator(entropy=SPI, attempts=2)
    client.start(0.0)
    client.receive(notify_message(SPI, OTHER_SPI, Notify.NO_PROPOSAL_CHOSEN, message_id=1).encode(), 0.1)
    assert (client.state, client.tracker.stage) == (State.MAIN_NOTIFIED, "main-unanswered")
    assert client.answered
    assert [notification.type for notification in client.notifications] == [Notify.NO_PROPOSAL_CHOSEN]
    assert client.next_timer() is None


def test_what_belongs_to_another_conversation_proves_nothing() -> None:
    client, server = Initiator(entropy=b"another1"), Responder(entropy=OTHER_SPI)
    client.start(0.0)
    server.receive(main_mode_request(SPI).encode(), 0.0)
    client.receive(server.data_to_send(0.0)[0], 0.1)
    client.receive(MAIN_2[:-1], 0.1)
    assert client.state is State.MAIN_REQUESTED
    assert not client.answered
    assert [str(step.message) for step in client.tracker.steps[1:]] == [
        f"Initiator SPI at offset 0: is {SPI.hex()}, another conversation's"
    ] * 2


def test_on_port_4500_what_is_no_ike_is_recorded() -> None:
    client = Initiator(entropy=SPI, non_esp_marker=True)
    client.start(0.0)
    for data in (b"\xff", b"\x00\x00\x01\x00" + bytes(20), b"x", MAIN_2):
        client.receive(data, 0.1)
    assert [type(step.message) for step in client.tracker.steps[1:]] == [DecodeError] * 4
    assert client.state is State.MAIN_REQUESTED


def test_a_responder_says_when_it_cannot_read_the_offer() -> None:
    server = Responder(entropy=OTHER_SPI)
    server.receive(MAIN_1, 0.0)
    reply = decode_ikev1(server.data_to_send(0.0)[0])
    assert reply.exchange_type == Exchange.INFORMATIONAL
    server.receive(MAIN_2, 0.1)
    server.receive(INFORMATIONAL, 0.1)
    assert server.data_to_send(0.1) == []


def test_vendor_ids_and_transforms_can_be_chosen() -> None:
    client = Initiator(
        entropy=SPI + b"more than is needed", vendor_ids=(), transforms=offered(main_mode_request(SPI)).proposals[0].transforms[:1]
    )
    client.start(0.0)
    request = decode_ikev1(client.data_to_send(0.0)[0])
    assert [payload.type for payload in request.payloads] == [PayloadType.SA]
    assert request.initiator_spi == SPI
    assert ENTROPY_BYTES == 8


def test_only_a_first_message_opens() -> None:
    assert opening(MAIN_1) == SPI.hex()
    for data in (MAIN_2, MAIN_KE, INFORMATIONAL, b"junk"):
        assert opening(data) == ""


@pytest.mark.parametrize(
    ("messages", "state"),
    [
        (MAIN_MODE[:1], State.MAIN_REQUESTED),
        (MAIN_MODE[:2], State.MAIN_ANSWERED),
        (MAIN_MODE[:5], State.MAIN_ANSWERED),
        (MAIN_MODE, State.MAIN_COMPLETE),
        (MAIN_MODE[1:2], State.MAIN_RESPONSE_ONLY),
        ([MAIN_MODE[1], MAIN_MODE[3], MAIN_MODE[5]], State.MAIN_RESPONSE_ONLY),
        ([MAIN_MODE[0], MAIN_MODE[2], MAIN_MODE[4]], State.MAIN_REQUESTED),
        (MAIN_MODE[1:3], State.MAIN_ANSWERED),
        (MAIN_MODE[2:], State.MAIN_COMPLETE),
        (MAIN_MODE[4:], State.MAIN_COMPLETE),
        ([(CLIENT, AGGRESSIVE_1)], State.AGGRESSIVE_REQUESTED),
        ([(CLIENT, AGGRESSIVE_1), (SERVER, INFORMATIONAL)], State.AGGRESSIVE_REQUESTED),
        ([(CLIENT, AGGRESSIVE_1), (SERVER, AGGRESSIVE_2)], State.AGGRESSIVE_ANSWERED),
        ([(CLIENT, AGGRESSIVE_1), (SERVER, AGGRESSIVE_2), (CLIENT, AGGRESSIVE_3)], State.AGGRESSIVE_COMPLETE),
        ([(SERVER, AGGRESSIVE_2)], State.AGGRESSIVE_RESPONSE_ONLY),
        ([(SERVER, AGGRESSIVE_2), (CLIENT, AGGRESSIVE_3)], State.AGGRESSIVE_COMPLETE),
        ([*MAIN_MODE, (CLIENT, QUICK)], State.QUICK_ONE_WAY),
        ([*MAIN_MODE, (CLIENT, QUICK), (CLIENT, QUICK)], State.QUICK_ONE_WAY),
        ([*MAIN_MODE, (SERVER, QUICK), (CLIENT, QUICK), (SERVER, QUICK)], State.QUICK_ANSWERED),
        ([(CLIENT, QUICK)], State.QUICK_ONE_WAY),
        ([(CLIENT, QUICK), (SERVER, QUICK), (CLIENT, INFORMATIONAL)], State.QUICK_ANSWERED),
        ([(SERVER, INFORMATIONAL), (CLIENT, INFORMATIONAL)], State.INFORMATIONAL_ONLY),
        ([(SERVER, INFORMATIONAL), (CLIENT, TRANSACTION)], State.OTHER),
        ([(CLIENT, TRANSACTION), (CLIENT, INFORMATIONAL)], State.OTHER),
        ([(SERVER, INFORMATIONAL), *MAIN_MODE[:2]], State.MAIN_ANSWERED),
        ([*MAIN_MODE, (SERVER, TRANSACTION), (CLIENT, INFORMATIONAL)], State.MAIN_COMPLETE),
    ],
)
def test_captures_come_to_their_stage(messages: list[tuple[Sender, bytes]], state: State) -> None:
    tracker = Ikev1Tracker()
    for sender, data in messages:
        tracker.saw_datagram(sender, data, now=0.0)
    assert tracker.state is state
    assert tracker.key == SPI.hex()
    assert all(step.expected for step in tracker.steps)


def test_a_broken_message_counts_by_its_header() -> None:
    tracker = Ikev1Tracker()
    assert isinstance(tracker.saw_datagram(CLIENT, MAIN_1[:-1], now=0.0), MalformedPayloads)
    assert (tracker.state, tracker.key) == (State.MAIN_REQUESTED, SPI.hex())
    tracker.saw_datagram(SERVER, b"junk", now=0.0)
    assert tracker.state is State.MAIN_REQUESTED
    assert not tracker.steps[1].expected


@given(st.lists(st.tuples(st.sampled_from([CLIENT, SERVER]), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=30)), max_size=8))
def test_any_datagrams_can_be_followed_and_answered(parts: list[tuple[Sender, int, int, bytes]]) -> None:
    tracker, client, server = Ikev1Tracker(), Initiator(entropy=SPI), Responder(entropy=OTHER_SPI)
    client.start(0.0)
    for sender, exchange, kind, body in parts:
        data = SPI + bytes(8) + bytes([kind, 0x10, exchange, 0]) + bytes(4) + (28 + len(body)).to_bytes(4, "big") + body
        for shape in (data, body, with_marker(data)):
            tracker.saw_datagram(sender, shape, now=0.0)
            client.receive(shape, 0.0)
            server.receive(shape, 0.0)
    assert len(tracker.steps) == 3 * len(parts)
