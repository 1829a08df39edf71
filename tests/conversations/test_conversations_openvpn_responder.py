"""The server's end of whole OpenVPN sessions: keys that can be used, wraps told by the first packet, and what answers which."""

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations import openvpn_responder
from vpnprobe.conversations.openvpn_ends import Client, ClientOffer, Server
from vpnprobe.conversations.openvpn_reset import Responder
from vpnprobe.conversations.openvpn_responder import ServerKeys, accept, respond, variant, wrap_of
from vpnprobe.conversations.openvpn_session_keys import make_session_keys
from vpnprobe.conversations.openvpn_tls import client_context
from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.wire.openvpn import HardResetServerV2
from vpnprobe.wire.openvpn_wrap import Wrap

MATERIAL = make_session_keys(random.Random(1).randbytes)
KEYS = MATERIAL.handed_over()
WRAPS = pytest.mark.parametrize("wrap", [Wrap.NONE, Wrap.TLS_CRYPT, Wrap.TLS_CRYPT_V2])


def client(wrap: Wrap, *, stream: bool = False) -> Client:
    entropy = random.Random(3).randbytes
    return Client(
        session_id=entropy(8),
        stream=stream,
        wrapping=MATERIAL.wrapping(wrap),
        context=client_context(ca_pem=None, identity=MATERIAL.identity),
        entropy=entropy,
        unix_time_at_zero=1.8e9,
        offer=ClientOffer(echoes=3),
    )


def first_packet(wrap: Wrap) -> bytes:
    one = client(wrap)
    one.start(0.0)
    (packet,) = one.data_to_send(0.0)
    return packet


def answering(data: bytes, keys: object | None, *, stream: bool = False, number: int = 5) -> Server | Responder | None:
    entropy = random.Random(4).randbytes
    return respond(data, keys, stream=stream, entropy=entropy, unix_time_at_zero=1.8e9, number=number)


class TestAcceptance:
    def test_good_keys(self) -> None:
        server_keys = accept(KEYS)
        assert server_keys.half == MATERIAL.server

    @pytest.mark.parametrize("message", ["keys", 5, [], True, ["certificate"]])
    def test_what_is_no_table(self, message: object) -> None:
        with pytest.raises(DecodeError, match="are no table"):
            accept(message)

    @pytest.mark.parametrize("name", ["certificate", "key", "client_certificate"])
    @pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe", "-----BEGIN CERTIFICATE-----\né".encode()])
    def test_certificates_and_keys_that_cannot_be_used(self, name: str, content: bytes) -> None:
        with pytest.raises(DecodeError):
            accept({**KEYS, name: base64.b64encode(content).decode()})

    def test_a_host_that_lacks_what_it_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(openvpn_responder, "lacking", lambda: "no AES here")
        with pytest.raises(CannotRun, match="no AES here") as caught:
            accept(KEYS)
        assert caught.value.status is ExitStatus.MISSING

    @given(st.dictionaries(st.sampled_from(sorted(KEYS)), st.binary(max_size=300).map(lambda data: base64.b64encode(data).decode())))
    def test_anything_is_keys_or_a_decode_error(self, changes: dict[str, str]) -> None:
        try:
            accept({**KEYS, **changes})
        except DecodeError:
            assert changes


class TestWraps:
    @pytest.mark.parametrize("wrap", [Wrap.NONE, Wrap.TLS_CRYPT, Wrap.TLS_CRYPT_V2])
    def test_a_first_packet_tells_its_wrap(self, wrap: Wrap) -> None:
        assert wrap_of(first_packet(wrap)) is wrap

    @pytest.mark.parametrize(
        "data", [b"", b"\x38", b"\x48" + bytes(60), b"\x20" + bytes(40), HardResetServerV2(bytes(8), bytes(5)).encode()]
    )
    def test_what_is_no_first_packet(self, data: bytes) -> None:
        assert wrap_of(data) is None

    @given(st.binary(max_size=100))
    def test_any_bytes_have_a_wrap_or_none(self, data: bytes) -> None:
        assert wrap_of(data) in (None, *Wrap)

    @WRAPS
    def test_a_wrapped_session_is_a_variant_by_its_name(self, wrap: Wrap) -> None:
        assert variant(first_packet(wrap)) == ("" if wrap is Wrap.NONE else wrap.value)

    def test_what_is_no_first_packet_is_no_variant(self) -> None:
        assert variant(b"\x38") == variant(HardResetServerV2(bytes(8), bytes(5)).encode()) == ""


class TestAnswers:
    @WRAPS
    @pytest.mark.parametrize("stream", [False, True], ids=["udp", "tcp"])
    def test_with_keys_a_session_comes_up(self, wrap: Wrap, stream: bool) -> None:
        one, server = client(wrap, stream=stream), answering(first_packet(wrap), accept(KEYS), stream=stream)
        assert isinstance(server, Server)
        assert (server.stream, server.peer_id) == (stream, 5)
        now = 0.0
        one.start(now)
        for _ in range(60):
            now += 0.05
            for sender, receiver in ((one, server), (server, one)):
                if (due := sender.next_timer()) is not None and due <= now:
                    sender.handle_timer(now)
                for data in sender.data_to_send(now):
                    receiver.receive(data, now)
        assert one.failure is None
        assert one.run.all_answered
        assert one.requests_answered == openvpn_responder.ECHOES

    @pytest.mark.parametrize("keys", [None, object(), KEYS], ids=["none", "foreign", "not-accepted"])
    def test_without_usable_ones_a_plain_reset_alone_is_answered(self, keys: object | None) -> None:
        assert isinstance(answering(first_packet(Wrap.NONE), keys), Responder)

    @pytest.mark.parametrize("wrap", [Wrap.TLS_CRYPT, Wrap.TLS_CRYPT_V2])
    def test_nobody_here_can_read_a_wrapped_one_without_keys(self, wrap: Wrap) -> None:
        assert answering(first_packet(wrap), None) is None

    @pytest.mark.parametrize("keys", [None, accept(KEYS)], ids=["no-keys", "keys"])
    @pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1", HardResetServerV2(bytes(8), bytes(5)).encode()])
    def test_what_is_no_first_packet_is_not_answered(self, data: bytes, keys: ServerKeys | None) -> None:
        assert answering(data, keys) is None
