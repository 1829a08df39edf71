"""Names of messages: what each protocol's own pair of ends says, and what stands for what cannot be read."""

import pytest

from vpnprobe.conversations import ikev1, ikev2, l2tp, openvpn, openvpn_reset, pptp
from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks
from vpnprobe.evidence.judging.goals import CLOSED, goals
from vpnprobe.evidence.messages import describe
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport
from vpnprobe.wire import pptp as pptp_wire
from vpnprobe.wire.isakmp import NO_SPI, RESPONSE_FLAG, IsakmpMessage, Payload

SPI = b"initiatr"
PAIRS: dict[str, tuple[Conversation, Conversation, Check]] = {
    "pptp": (pptp.Initiator(pptp.host_name("0123456789abcdef"), 1234), pptp.Responder(77), checks.PPTP_CONTROL),
    "l2tp": (
        l2tp.Initiator(nonce="0123456789abcdef", tunnel_id=5, session_id=6, retransmit_after_s=1.0, attempts=3),
        l2tp.Responder(tunnel_id=7, session_id=8, retransmit_after_s=1.0),
        checks.L2TP_CONTROL,
    ),
    "ikev1": (
        ikev1.Initiator(entropy=bytes(range(1, ikev1.ENTROPY_BYTES + 1)), non_esp_marker=False),
        ikev1.Responder(entropy=bytes(range(2, ikev1.ENTROPY_BYTES + 2)), non_esp_marker=False),
        checks.ikev1_main(500),
    ),
    "ikev2": (
        ikev2.Initiator(entropy=bytes(n % 251 + 1 for n in range(ikev2.ENTROPY_BYTES)), non_esp_marker=True),
        ikev2.Responder(entropy=bytes(n % 241 + 3 for n in range(ikev2.ENTROPY_BYTES)), non_esp_marker=True),
        checks.ikev2_init(4500),
    ),
    "openvpn": (
        openvpn_reset.Initiator(session_id=b"c" * 8, stream=False),
        openvpn_reset.Responder(session_id=b"s" * 8, stream=False),
        checks.openvpn_reset(Transport.UDP, 1194),
    ),
}


def names_of(client: Conversation, server: Conversation) -> list[tuple[Sender, str]]:
    """What the client's own record of a conversation with that server is called."""
    client.start(0.0)
    server.start(0.0)
    for step in range(12):
        now = 0.01 * step
        for sender, receiver in ((client, server), (server, client)):
            for data in sender.data_to_send(now):
                receiver.receive(data, now)
    return [(step.sender, describe(step.message)[0]) for step in client.events()]


@pytest.mark.parametrize("protocol", PAIRS)
def test_what_a_conversation_is_after_is_what_its_server_says(protocol: str) -> None:
    client, server, check = PAIRS[protocol]
    names = names_of(client, server)
    answers = {name for sender, name in names if sender is Sender.RESPONDER}
    requests = {name for sender, name in names if sender is Sender.INITIATOR}
    wanted = goals(check)
    assert answers & wanted
    assert not requests & wanted


def isakmp(exchange_type: int, *, responder_spi: bytes = NO_SPI, flags: int = 0, payloads: tuple[Payload, ...] = ()) -> IsakmpMessage:
    return IsakmpMessage(SPI, responder_spi, exchange_type, payloads, flags=flags)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (isakmp(2), "main"),
        (isakmp(34), "sa_init"),
        (isakmp(34, flags=RESPONSE_FLAG, payloads=(Payload(33, b""),)), "sa_init-answer"),
        (isakmp(34, flags=RESPONSE_FLAG, payloads=(Payload(41, b""),)), "notify"),
        (isakmp(2, responder_spi=b"respondr", payloads=(Payload(1, b""),)), "main-answer"),
        (isakmp(2, responder_spi=b"respondr"), "notify"),
        (isakmp(5), "notify"),
    ],
)
def test_ike_has_no_names_but_exchange_and_answer(message: IsakmpMessage, name: str) -> None:
    assert describe(message) == (name, {"exchange_type": message.exchange_type})


def reply(code: int) -> pptp_wire.StartControlConnectionReply:
    return pptp_wire.StartControlConnectionReply(result_code=code)


def test_a_pptp_reply_that_refuses_says_so() -> None:
    assert describe(reply(pptp_wire.SUCCESSFUL)) == ("SCCRP", {"result_code": 1})
    assert describe(reply(4)) == ("SCCRP-refused", {"result_code": 4})


def test_call_ids_are_told() -> None:
    request = pptp_wire.OutgoingCallRequest(call_id=1234)
    assert describe(request) == ("OCRQ", {"call_id": 1234})
    answer = pptp_wire.OutgoingCallReply(call_id=7, peer_call_id=1234, result_code=pptp_wire.SUCCESSFUL)
    assert describe(answer) == ("OCRP", {"result_code": 1, "call_id": 7, "peer_call_id": 1234})


def test_a_tcp_connection_that_ends_has_a_name_that_the_judge_knows() -> None:
    assert describe(openvpn.StreamClosed())[0] == CLOSED


def test_what_cannot_be_read_is_told_as_such() -> None:
    assert describe(DecodeError("magic cookie", 4, "is wrong")) == ("unreadable", {"problem": "magic cookie at offset 4: is wrong"})


def test_anything_else_is_called_by_its_name_or_its_kind() -> None:
    assert describe(pptp_wire.EchoRequest(1)) == ("ECHORQ", {})
    assert describe(object()) == ("object", {})
