"""PPTP's control connection as the wire shows it: names of messages, the calls that are granted, nothing of other users."""

from collections.abc import Callable, Iterable

import pytest

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.observing import MessageSeen
from vpnprobe.conversations.pptp import PptpObserver, describe, host_name
from vpnprobe.conversations.pptp_ends import Initiator, Responder
from vpnprobe.wire import pptp

NONCE = "0123456789abcdef"
Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> Iterable[bytes]:
    return [bytes([byte]) for byte in data]


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
    client, server = Initiator(host_name(NONCE), 1234), Responder(77)
    client.start(0.0)
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
