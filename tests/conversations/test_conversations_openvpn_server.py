"""The server's end: which resets it answers, the wrapped key once more, ciphers, and the push that is asked for."""

from typing import Final

import pytest
from openvpn_support import C_ID, OTHER_KEY, SERVER_KEY, Pair, control, make_client, make_pair, make_server, wrappings

from vpnprobe.conversations.openvpn_ends import ClientOffer
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session import SessionEnd, Stage, Wrapping
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn import ControlWkcV1, HardResetClientV2, HardResetClientV3, HardResetServerV2, Reliable, decode_openvpn
from vpnprobe.wire.openvpn_keying import KeyMethod2
from vpnprobe.wire.openvpn_wrap import Wrap

RESET: Final = control(HardResetClientV2, Reliable(), session_id=C_ID)


def test_only_a_first_reset_is_answered() -> None:
    server = make_server()
    server.start(0.0)
    for data in (
        control(HardResetClientV2, Reliable((0,), b"serverid"), session_id=C_ID),
        control(HardResetClientV2, Reliable((0,), b"another!"), session_id=C_ID),
        control(HardResetClientV2, Reliable((), None, 1), session_id=C_ID),
        control(HardResetClientV3, Reliable(), session_id=C_ID),
        control(HardResetServerV2, Reliable(), session_id=C_ID),
        RESET[:12],
    ):
        server.receive(data, 0.0)
        assert server.stage is Stage.IDLE
        assert server.data_to_send(0.0) == []
    assert server.unreadable == 6
    assert server.stalled() == Failure(FailureCode.ANSWER_UNREADABLE, "packets that could not be read: 6")
    server.receive(RESET, 0.0)
    assert server.stage is Stage.ANSWERED
    assert [type(decode_openvpn(data)) for data in server.data_to_send(0.0)] == [HardResetServerV2]
    server.receive(control(HardResetClientV2, Reliable(), session_id=b"another!"), 0.0)
    assert server.unreadable == 7
    assert server.remote_session_id == C_ID


def test_a_reset_that_comes_long_after_changes_nothing() -> None:
    pair = make_pair().complete()
    for _ in range(2):
        assert pair.server.renegotiate(pair.now)
        pair.run()
    negotiations = dict(pair.server._negotiations)
    pair.server.receive(RESET, pair.now)
    assert pair.server._negotiations == negotiations
    assert pair.server.data_to_send(pair.now) == []


def sent_kinds(pair: Pair, end: SessionEnd) -> list[str]:
    return [decode_openvpn(data).name for side, data in pair.sent if side is end]


def test_the_wrapped_key_once_more() -> None:
    pair = make_pair(wrap="tls-crypt-v2-asked-again").complete()
    assert sent_kinds(pair, pair.client).count("P_CONTROL_WKC_V1") == 1
    assert sent_kinds(pair, pair.client)[:2] == ["P_CONTROL_HARD_RESET_CLIENT_V3", "P_CONTROL_WKC_V1"]
    plain = make_pair(wrap="tls-crypt-v2").complete()
    assert "P_CONTROL_WKC_V1" not in sent_kinds(plain, plain.client)
    assert pair.client.run.all_answered


def test_without_the_key_that_was_asked_for_nothing_is_read() -> None:
    pair = make_pair(wrap="tls-crypt-v2-asked-again").start()
    kinds: list[str] = []

    def without_key(end: SessionEnd, data: bytes) -> bytes | None:
        kinds.append(decode_openvpn(data).name)
        return None if kinds[-1] == "P_CONTROL_WKC_V1" else data

    pair.change = without_key
    pair.run()
    # The server repeats its reset, and what acknowledges it has no key with it.
    assert "P_ACK_V1" in kinds
    assert pair.server.stage is Stage.ANSWERED
    assert pair.server.stalled() == Failure(FailureCode.TLS_SILENT, f"packets that could not be read: {pair.server.unreadable}")
    assert pair.server.unreadable > 0
    assert pair.client.stalled() == Failure(FailureCode.TLS_SILENT)


def test_the_key_that_comes_again_must_be_the_same() -> None:
    other = SERVER_KEY.wrap(OTHER_KEY)
    pair = make_pair(wrap="tls-crypt-v2-asked-again").start()

    def other_key(end: SessionEnd, data: bytes) -> bytes:
        return data[:-100] + other.wrapped if data[0] >> 3 == ControlWkcV1.opcode else data

    pair.change = other_key
    pair.run()
    assert pair.server.stage is Stage.ANSWERED
    assert pair.server.unreadable > 0


def test_a_client_that_cannot_send_its_key_again_is_not_asked() -> None:
    pair = make_pair(wrap="tls-crypt-v2-asked-again")
    pair.client.wrapper.next_packet_id = 1  # type: ignore[attr-defined]
    pair.complete()
    assert "P_CONTROL_WKC_V1" not in sent_kinds(pair, pair.client)
    assert pair.client.run.all_answered


@pytest.mark.parametrize("kind", ["none", "tls-crypt"])
def test_only_the_server_with_a_key_for_it_takes_a_wrapped_key(kind: str) -> None:
    pair = make_pair(wrap=kind).start()
    pair.run(until=lambda: pair.server.stage is Stage.ANSWERED)
    before = pair.server.unreadable
    pair.server.receive(bytes([ControlWkcV1.opcode << 3]) + C_ID + bytes(400), pair.now)
    assert pair.server.unreadable == before + (kind != "none")


def test_a_key_of_another_server_is_unreadable() -> None:
    ours = wrappings("tls-crypt-v2")[0]
    server = make_server(wrapping=Wrapping(Wrap.TLS_CRYPT_V2, server_key=type(SERVER_KEY)(bytes(128))))
    client = make_client(wrapping=ours)
    client.start(0.0)
    for data in client.data_to_send(0.0):
        server.receive(data, 0.0)
        server.receive(data[:60], 0.0)
    assert server.unreadable == 2
    assert server.stage is Stage.IDLE


def test_no_common_data_cipher() -> None:
    pair = make_pair(offer=ClientOffer(ciphers=(Cipher.AES_192_GCM,))).complete()
    for end in (pair.client, pair.server):
        assert end.failure is not None
        assert end.failure.code is FailureCode.NO_COMMON_DATA_CIPHER
    assert pair.client.failure is not None
    assert "no shared cipher" in pair.client.failure.detail


class Reticent:
    """Makes a client's key message tell less of it."""

    def __init__(self, pair: Pair, flags: str) -> None:
        self.tell, self.flags = pair.client._key_message, flags
        pair.client._key_message = self.message  # type: ignore[method-assign]

    def message(self, negotiation: object) -> KeyMethod2:
        whole = self.tell(negotiation)  # type: ignore[arg-type]
        return KeyMethod2(whole.source, whole.options, peer_info=f"IV_CIPHERS=AES-128-GCM\nIV_PROTO={self.flags}\n")


@pytest.mark.parametrize("flags", ["2", "", "none", "-4"])
def test_the_push_comes_when_it_is_asked_for(flags: str) -> None:
    pair = make_pair()
    Reticent(pair, flags)
    pair.complete()
    assert pair.server.cipher is Cipher.AES_128_GCM
    assert pair.client.run.all_answered
    assert pair.server.run.all_answered
    pair.client._tell(b"PUSH_REQUEST\0HELLO\0")
    pair.client.handle_timer(pair.now)
    pair.run()
    assert pair.server._pushed
    assert pair.client.failure is None


def test_a_request_for_a_push_before_there_are_keys() -> None:
    server = make_server()
    server._message_came("PUSH_REQUEST", 0.0)
    assert server.stage is Stage.IDLE
    pair = make_pair(offer=ClientOffer(ciphers=(Cipher.AES_192_GCM,))).complete()
    pair.server._message_came("PUSH_REQUEST", pair.now)
    assert pair.server.stage is Stage.TLS_UP
