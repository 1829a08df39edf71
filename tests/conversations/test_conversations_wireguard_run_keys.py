"""Keys of a paired run: made at the client, handed over, and used by who answers."""

import base64
import random
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wireguard_support import UNIX_TIME, Pair, initiator

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.wireguard import opening
from vpnprobe.conversations.wireguard_ends import Responder
from vpnprobe.conversations.wireguard_observer import WireguardObserver
from vpnprobe.conversations.wireguard_run_keys import MOST_SEEN, accept, first_packet, make_run_keys, respond
from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.wire.wireguard import decode_wireguard

KEYS = make_run_keys(random.Random(1).randbytes)
HANDED_OVER = KEYS.handed_over()


def answering(data: bytes, keys: object | None) -> Responder | None:
    return respond(data, keys, entropy=random.Random(2).randbytes, unix_time_at_zero=UNIX_TIME)


def test_a_tunnel_comes_up_with_them() -> None:
    client = initiator(identity=KEYS.identity)
    client.start(0.0)
    server = answering(client.data_to_send(0.0)[0], accept(HANDED_OVER))
    assert server is not None
    pair = Pair(initiator(identity=KEYS.identity), server).run()
    assert pair.client.run.all_answered
    assert pair.client.requests_answered == 6


def test_nobody_answers_without_keys_or_what_is_no_initiation() -> None:
    packet, name = first_packet(bytes(range(4)), random.Random(3).randbytes)
    assert (name, len(packet), opening(packet)) == ("Handshake Initiation", 148, "00010203")
    assert answering(packet, None) is None
    assert answering(b"\x04" + packet[1:], accept(HANDED_OVER)) is None
    server = answering(packet, accept(HANDED_OVER))
    assert server is not None
    server.receive(packet, 0.0)
    assert (server.key, server.unreadable, server.data_to_send(0.0)) == ("00010203", 1, [])


def test_an_initiation_that_comes_again_is_answered_once() -> None:
    client, keys = initiator(identity=KEYS.identity), accept(HANDED_OVER)
    client.start(0.0)
    packet = client.data_to_send(0.0)[0]
    assert answering(packet, keys) is not None
    assert answering(packet, keys) is None


def test_what_is_kept_of_them_is_bounded() -> None:
    keys = accept(HANDED_OVER)
    keys.seen.update(number.to_bytes(32, "big") for number in range(MOST_SEEN))
    client = initiator(identity=KEYS.identity)
    client.start(0.0)
    assert answering(client.data_to_send(0.0)[0], keys) is not None
    assert len(keys.seen) == MOST_SEEN


@pytest.mark.parametrize("message", [None, 5, "keys", []])
def test_keys_that_are_no_table(message: object) -> None:
    with pytest.raises(DecodeError, match="are no table"):
        accept(message)


@pytest.mark.parametrize("name", HANDED_OVER)
@pytest.mark.parametrize("value", [None, 5, "", "not base64!", base64.b64encode(bytes(31)).decode(), "A" * 100])
def test_a_key_that_is_none(name: str, value: object) -> None:
    with pytest.raises(DecodeError) as caught:
        accept({**HANDED_OVER, name: value})
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("modules", "package"),
    [
        (("cryptography.hazmat.primitives.asymmetric.x25519",), "cryptography"),
        (("Crypto.Cipher.ChaCha20_Poly1305", "Cryptodome.Cipher.ChaCha20_Poly1305"), "pycryptodome"),
    ],
)
def test_a_host_without_the_cryptography_says_so(monkeypatch: pytest.MonkeyPatch, modules: tuple[str, ...], package: str) -> None:
    """Before a session, of which a cookie may be the first message that takes it."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    for what in (lambda: accept(HANDED_OVER), lambda: make_run_keys(random.Random(1).randbytes)):
        with pytest.raises(CannotRun, match=f"pip install {package}$") as caught:
            what()
        assert caught.value.status is ExitStatus.MISSING


def test_private_keys_are_not_shown() -> None:
    assert re.findall(r"(\w+)=", repr(KEYS)) == ["identity", "peer"]


@given(st.dictionaries(st.sampled_from(["private", "client", "preshared"]), st.text(max_size=50) | st.none()))
def test_any_table_is_keys_or_an_error(message: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        accept(message)


class TestObserver:
    def test_handshakes_are_seen_by_the_index_of_their_initiation(self) -> None:
        pair, observer = Pair().run(), WireguardObserver()
        seen = [
            message
            for end, data in pair.said
            for message in observer.saw(Sender.INITIATOR if end is pair.client else Sender.RESPONDER, data)
        ]
        assert [(message.check, message.key, message.name) for message in seen] == [
            ("handshake", "01020304", "Handshake Initiation"),
            ("handshake", "01020304", "Handshake Response"),
        ]
        assert list(observer.closed(Sender.RESPONDER)) == []

    @pytest.mark.parametrize("data", [b"", b"GET /", bytes(148)])
    def test_what_is_no_message_shows_nothing(self, data: bytes) -> None:
        assert list(WireguardObserver().saw(Sender.INITIATOR, data)) == []


def test_first_packets_differ_in_everything_but_their_form() -> None:
    entropy = random.Random(4).randbytes
    one, other = (decode_wireguard(first_packet(bytes(4), entropy)[0]) for _ in range(2))
    assert one != other
