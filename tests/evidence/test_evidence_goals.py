"""Goals and refusals of conversations: what each protocol's own pair of ends says is what its table, and so the judge, is after."""

import pytest

from vpnprobe.conversations import ikev1, ikev2, l2tp_ends, openvpn, openvpn_reset, pptp, pptp_ends
from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.conversations.registry import protocol_of
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks
from vpnprobe.evidence.judging.goals import CLOSED, goals, refusals
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport

PAIRS: dict[str, tuple[Conversation, Conversation, Check]] = {
    "pptp": (pptp_ends.Initiator(pptp.host_name("0123456789abcdef"), 1234), pptp_ends.Responder(77), checks.PPTP_CONTROL),
    "l2tp": (
        l2tp_ends.Initiator(nonce="0123456789abcdef", tunnel_id=5, session_id=6, retransmit_after_s=1.0, entropy=bytes, attempts=3),
        l2tp_ends.Responder(tunnel_id=7, session_id=8, retransmit_after_s=1.0, entropy=bytes),
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


def described(check: Check, message: object) -> tuple[str, dict[str, int | str]]:
    spec = protocol_of(check.probe, check.name)
    assert spec is not None
    name, detail = spec.described(message)
    return name, dict(detail)


def names_of(check: Check, client: Conversation, server: Conversation) -> list[tuple[Sender, str]]:
    """What the client's own record of a conversation with that server is called."""
    client.start(0.0)
    server.start(0.0)
    for step in range(12):
        now = 0.01 * step
        for sender, receiver in ((client, server), (server, client)):
            for data in sender.data_to_send(now):
                receiver.receive(data, now)
    return [(step.sender, described(check, step.message)[0]) for step in client.events()]


@pytest.mark.parametrize("protocol", PAIRS)
def test_what_a_conversation_is_after_is_what_its_server_says(protocol: str) -> None:
    client, server, check = PAIRS[protocol]
    names = names_of(check, client, server)
    answers = {name for sender, name in names if sender is Sender.RESPONDER}
    requests = {name for sender, name in names if sender is Sender.INITIATOR}
    wanted = goals(check)
    assert answers & wanted
    assert not requests & wanted


def test_a_tcp_connection_that_ends_has_a_name_that_the_judge_knows() -> None:
    reset = checks.openvpn_reset(Transport.TCP, 443)
    assert described(reset, openvpn.StreamClosed())[0] == CLOSED
    assert CLOSED in refusals(reset)


def test_what_cannot_be_read_is_told_as_such() -> None:
    unreadable = described(checks.PPTP_CONTROL, DecodeError("magic cookie", 4, "is wrong"))
    assert unreadable == ("unreadable", {"problem": "magic cookie at offset 4: is wrong"})


def test_a_refusal_is_of_the_same_protocol() -> None:
    assert {"SCCRP-refused", "OCRP-refused"} <= refusals(checks.PPTP_CONTROL)
    assert {"StopCCN", "CDN"} <= refusals(checks.L2TP_CONTROL)
    assert not refusals(checks.udp_reach(53)) | goals(checks.udp_reach(53))
