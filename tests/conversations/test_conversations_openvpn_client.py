"""The client's end: what a server may say inside TLS, how it fails by name, options in parts, ciphers, and the goodbye."""

from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from openvpn_support import (
    C_ID,
    S_ID,
    Pair,
    authority,
    completed,
    control,
    good_client_context,
    good_server_context,
    identity,
    make_client,
    make_pair,
    reached,
    saying,
)

from vpnprobe.conversations.openvpn_client import MOST_OPTIONS, MOST_PUSH_REQUESTS
from vpnprobe.conversations.openvpn_ends import CLIENT_TUNNEL, SERVER_TUNNEL, ClientOffer, tunnel_gateway
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session import Stage
from vpnprobe.conversations.openvpn_tls import TlsEnd, TlsFailed, TlsLimits, client_context
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn import AckV1, ControlV1, HardResetClientV2, HardResetServerV2, Reliable
from vpnprobe.wire.openvpn_framing import FRAMINGS
from vpnprobe.wire.openvpn_messages import PUSH_REQUEST, PushReply

USER = ClientOffer(username="somebody", password="secret")
PUSHED = b"PUSH_REPLY,route-gateway 10.255.238.1,ifconfig 10.255.238.2 255.255.255.0,peer-id 7,cipher AES-256-GCM"


@pytest.mark.parametrize(
    ("says", "offer", "failure"),
    [
        (b"AUTH_FAILED", None, Failure(FailureCode.SESSION_REFUSED)),
        (b"AUTH_FAILED", ClientOffer(may_sign_in=True), Failure(FailureCode.CREDENTIALS_WANTED)),
        (b"AUTH_FAILED", USER, Failure(FailureCode.CREDENTIALS_REFUSED)),
        (b"AUTH_FAILED,expired account", USER, Failure(FailureCode.CREDENTIALS_REFUSED, "expired account")),
        (b"AUTH_FAILED,CRV1:R,E:id:dXNlcg==:PIN", USER, Failure(FailureCode.CHALLENGE_WANTED, "CRV1:R,E:id:dXNlcg==:PIN")),
        (
            b"AUTH_FAILED,Data channel cipher negotiation failed (no shared cipher)",
            USER,
            Failure(FailureCode.NO_COMMON_DATA_CIPHER, "Data channel cipher negotiation failed (no shared cipher)"),
        ),
        (
            b"AUTH_FAILED,TEMP[backoff 42]:LDAP is down",
            USER,
            Failure(FailureCode.LOGIN_PUT_OFF, "LDAP is down; to be tried again after 42 s"),
        ),
        (b"AUTH_FAILED,TEMP[advance no]: no cipher card", None, Failure(FailureCode.LOGIN_PUT_OFF, "no cipher card")),
        (b"AUTH_FAILED,TEMP[backoff 9]", None, Failure(FailureCode.LOGIN_PUT_OFF, "to be tried again after 9 s")),
        (b"AUTH_FAILED,TEMP", USER, Failure(FailureCode.LOGIN_PUT_OFF)),
        (b"AUTH_FAILED,TEMPER", USER, Failure(FailureCode.CREDENTIALS_REFUSED, "TEMPER")),
        (b"AUTH_PENDING,timeout 60", None, Failure(FailureCode.CHALLENGE_WANTED, "timeout 60")),
        (b"RESTART", None, Failure(FailureCode.RESTART_ASKED)),
        (b"RESTART,N", None, Failure(FailureCode.RESTART_ASKED, "N")),
        (b"HALT,go away", None, Failure(FailureCode.HALTED, "go away")),
        (b"EXIT", None, Failure(FailureCode.CLOSED_BY_PEER, "the server says that it exits")),
    ],
)
def test_what_the_server_says_is_the_failure(says: bytes, offer: ClientOffer | None, failure: Failure) -> None:
    pair = saying(says=says + b"\0", offer=offer)
    assert pair.client.failure == failure
    assert pair.client.stalled() == failure
    assert pair.client.stage is Stage.KEYS
    # A session that has failed asks for nothing more.
    assert pair.client.next_timer() is None
    assert pair.now < 101.0


@pytest.mark.parametrize("says", [b"INFO,words\0", b"INFO_PRE,words\0", b"PUSH_REQUEST\0", b"NOTHING KNOWN\0", b"\0\0", b""])
def test_other_words_change_nothing(says: bytes) -> None:
    pair = saying(says=says)
    assert pair.client.failure is None
    assert pair.client.stalled() == Failure(FailureCode.NO_PUSH_REPLY)
    assert pair.client.push is None


def test_the_push_is_asked_for_again_and_then_no_more() -> None:
    pair = saying(says=b"")
    assert pair.client._push_requests == MOST_PUSH_REQUESTS
    assert pair.client.next_timer() is None
    assert pair.now == pytest.approx(100.0 + MOST_PUSH_REQUESTS - 1, abs=0.5)


def test_the_server_certificate_is_looked_at_by_the_caller() -> None:
    seen = []

    def check(code: FailureCode) -> Callable[[bytes], Failure | None]:
        def checked(certificate: bytes) -> Failure | None:
            seen.append(certificate)
            return Failure(code, "of another host")

        return checked

    for code in (FailureCode.CERTIFICATE_WRONG_NAME, FailureCode.CERTIFICATE_WRONG_FINGERPRINT):
        pair = make_pair(offer=ClientOffer(check_certificate=check(code))).complete()
        assert pair.client.failure == Failure(code, "of another host")
        assert pair.client.stage is Stage.TLS_UP
        # Neither credentials nor keys are told to a server that is not the one.
        assert pair.server.stage is Stage.TLS_UP
        assert pair.server.stalled() == Failure(FailureCode.KEYS_UNANSWERED)
    assert [certificate[:1] for certificate in seen] == [b"\x30", b"\x30"]


def test_options_may_come_in_parts() -> None:
    first, second = b"PUSH_REPLY,route-gateway 10.255.238.1,push-continuation 2\0", PUSHED + b",push-continuation 1\0"
    pair = saying(says=first + second + b"PUSH_REPLY,cipher none\0")
    assert pair.client.push is not None
    assert pair.client.push.cipher == "AES-256-GCM"
    assert pair.client.gateway == SERVER_TUNNEL
    assert pair.client.peer_id == 7
    assert pair.client.stage is Stage.DATA
    assert pair.client.run.all_answered


def test_options_without_end_are_kept_up_to_a_bound() -> None:
    part = b"PUSH_REPLY" + b",x" * 1000 + b",push-continuation 2\0"
    pair = saying(says=part * 20)
    assert len(pair.client._pushed) == MOST_OPTIONS
    assert pair.client.stalled() == Failure(FailureCode.NO_PUSH_REPLY)


@pytest.mark.parametrize("wanted", ["BF-CBC", "AES-128-GCM"])
def test_a_cipher_that_was_not_offered(wanted: str) -> None:
    pair = saying(says=f"PUSH_REPLY,cipher {wanted}\0".encode(), offer=ClientOffer(ciphers=(Cipher.AES_256_GCM,)))
    assert pair.client.failure == Failure(FailureCode.NO_COMMON_DATA_CIPHER, f"the server wants {wanted}, offered were AES-256-GCM")
    assert pair.client.channel is None


def test_a_cipher_that_is_not_pushed_is_that_of_the_options_string() -> None:
    pair = saying(says=b"PUSH_REPLY,route-gateway 10.255.238.1\0")
    assert pair.client.cipher is Cipher.AES_256_GCM
    assert pair.client.peer_id is None
    # No address was pushed: another one serves.
    assert pair.client.tunnel_ends() == (CLIENT_TUNNEL, SERVER_TUNNEL)


def test_no_cipher_at_all() -> None:
    pair = saying(says=b"")
    pair.client.server_options = {}
    pair.client._message_came("PUSH_REPLY", pair.now)
    assert pair.client.failure is not None
    assert pair.client.failure.code is FailureCode.NO_COMMON_DATA_CIPHER
    assert "none that it names" in pair.client.failure.detail


def test_a_server_that_tells_no_address_is_sent_no_echoes() -> None:
    pair = saying(says=b"PUSH_REPLY,cipher AES-256-GCM\0")
    assert pair.client.stage is Stage.CONFIGURED
    assert pair.client.failure is None
    assert pair.client.stalled() is None
    assert pair.client.run.requests == {}
    assert pair.client.gateway is None
    pair.client.run.begin(pair.now)
    pair.client.handle_timer(pair.now)
    assert pair.client.run.requests == {}


@pytest.mark.parametrize(
    ("options", "gateway"),
    [
        (("route-gateway 10.0.0.1",), "10.0.0.1"),
        (("route 10.0.0.5", "topology net30"), "10.0.0.5"),
        (("route 10.0.0.5 255.255.255.255",), "10.0.0.5"),
        (("route 10.0.0.0 255.255.255.0", "ifconfig 10.0.0.2 10.0.0.1", "topology p2p"), "10.0.0.1"),
        (("route-gateway dhcp", "route ", "route rubbish"), None),
        (("ifconfig 10.0.0.2 255.255.255.0", "topology subnet"), None),
        ((), None),
    ],
)
def test_the_gateway(options: tuple[str, ...], gateway: str | None) -> None:
    assert tunnel_gateway(PushReply(options)) == (IPv4Address(gateway) if gateway else None)


def test_the_goodbye_goes_through_the_tunnel_or_the_control_channel() -> None:
    pair = completed()
    before = pair.server.stage, pair.server.requests_answered
    pair.client.goodbye(pair.now)
    sent = pair.client.data_to_send(pair.now)
    assert len(sent) == 1
    assert sent[0][0] >> 3 == 9
    pair.server.receive(sent[0], pair.now)
    assert (pair.server.stage, pair.server.requests_answered) == before

    unasked = saying(says=PUSHED.replace(b"route-gateway 10.255.238.1,", b"") + b"\0")
    unasked.client.goodbye(unasked.now)
    opcodes = [sent[0] >> 3 for sent in unasked.client.data_to_send(unasked.now)]
    assert (opcodes.count(9), opcodes.count(4)) == (2 * len(FRAMINGS), 1)

    refused = saying(says=PUSHED + b",comp-lzo yes\0")
    assert refused.client.failure is not None
    refused.client.goodbye(refused.now)
    assert [sent[0] >> 3 for sent in refused.client.data_to_send(refused.now)] == [4]


def test_a_goodbye_before_there_are_keys_says_nothing() -> None:
    client = make_client()
    client.goodbye(0.0)
    client.start(0.0)
    client.data_to_send(0.0)
    client.goodbye(0.0)
    client._tell(PUSH_REQUEST)
    client.handle_timer(0.5)
    assert client.data_to_send(0.5) == []


def test_words_that_tls_does_not_take_are_a_failure() -> None:
    """The TLS stream may be broken where a timer wants to say something."""
    pair = saying(says=b"")
    negotiation = pair.client._negotiations[0]

    class Broken:
        def write(self, plain: bytes) -> None:
            raise TlsFailed(Failure(FailureCode.TLS_BROKEN, "broken"))

    tls, negotiation.tls = negotiation.tls, Broken()  # type: ignore[assignment]
    pair.client._tell(PUSH_REQUEST)
    assert pair.client.failure == Failure(FailureCode.TLS_BROKEN, "broken")
    pair.client._tell(PUSH_REQUEST)
    negotiation.tls = tls


def reset(acks: tuple[int, ...] = (0,), *, session_id: bytes = S_ID, remote: bytes = C_ID) -> bytes:
    return control(HardResetServerV2, Reliable(acks, remote if acks else None), session_id=session_id)


def opened() -> Pair:
    """A client whose reset has left."""
    pair = make_pair().start()
    pair.client.data_to_send(pair.now)
    return pair


def test_only_a_reset_that_is_tied_to_ours_counts() -> None:
    client = opened().client
    for data in (
        reset(remote=b"another!"),
        reset(()),
        control(HardResetServerV2, Reliable((0,), C_ID, 0, b"\0\1\0")),
        control(HardResetClientV2, Reliable((0,), C_ID)),
    ):
        client.receive(data, 101.0)
        assert not client.answered
    assert client.unreadable == 4
    client.receive(reset(), 101.0)
    assert client.answered
    assert client.stage is Stage.ANSWERED
    client.receive(reset(session_id=b"another!"), 101.0)
    assert client.unreadable == 5
    assert client.remote_session_id == S_ID


def test_an_acknowledgment_ties_the_reset_after_it_to_ours() -> None:
    client = opened().client
    client.receive(control(AckV1, Reliable((0,), C_ID, None)), 101.0)
    assert not client.answered
    client.receive(reset((), session_id=b"another!"), 101.0)
    assert not client.answered
    client.receive(reset(()), 101.0)
    assert client.answered
    assert client.unreadable == 1


def test_a_repeated_reset_is_acknowledged_again() -> None:
    client = opened().client
    client.receive(reset(), 101.0)
    assert len(client.data_to_send(101.0)) == 1
    for data in (reset(), reset(())):
        client.receive(data, 101.0)
        assert len(client.data_to_send(101.0)) == 1
    assert client.unreadable == 0


def test_a_reset_before_ours_and_one_long_after_it() -> None:
    client = make_client()
    client.receive(reset(), 1.0)
    assert client.unreadable == 1
    pair = completed()
    for _ in range(2):
        assert pair.client.renegotiate(pair.now)
        pair.run()
    assert 0 not in pair.client._negotiations
    pair.client.receive(reset(), pair.now)
    assert pair.client.unreadable == 1


def test_a_flag_for_the_wrapped_key_means_nothing_to_a_client_without_one() -> None:
    client = opened().client
    client.receive(control(HardResetServerV2, Reliable((0,), C_ID, 0, bytes.fromhex("000100020001"))), 101.0)
    assert client.answered
    assert [data[0] >> 3 for data in client.data_to_send(101.0)] == [4]


def test_the_tls_version_and_whether_the_certificate_was_acknowledged() -> None:
    client = make_client()
    assert client.tls_version == ""
    assert not client.certificate_acknowledged
    client.start(0.0)
    assert client.tls_version == ""
    assert not client.certificate_acknowledged
    pair = completed()
    assert pair.client.tls_version == "TLSv1.3"
    assert pair.client.certificate_acknowledged


def test_a_certificate_that_is_not_acknowledged() -> None:
    pair = make_pair().start()
    # What the server says of the client's side of the handshake is lost.
    pair.change = lambda end, data: None if end is pair.server and pair.client.stage is Stage.TLS_UP else data
    pair.run()
    assert pair.client.stage is Stage.TLS_UP
    assert not pair.client.certificate_acknowledged
    assert pair.client.stalled() == Failure(FailureCode.KEYS_UNANSWERED)
    heard = saying(keys=b"")
    assert heard.client.stage is Stage.TLS_UP
    assert heard.client.certificate_acknowledged


def test_a_data_cipher_that_only_a_real_client_can_do() -> None:
    offer = ClientOffer(ciphers=(Cipher.AES_256_GCM,), other_ciphers=("AES-256-CBC", "none"))
    for cipher in ("AES-256-CBC", "none"):
        pair = saying(says=f"PUSH_REPLY,cipher {cipher}\0".encode(), offer=offer)
        assert pair.client.failure == Failure(FailureCode.NOT_SUPPORTED, f"the data cipher is {cipher}, which both ends have")
        assert pair.server.client_info["IV_CIPHERS"] == "AES-256-GCM:AES-256-CBC:none"


def test_what_tls_agreed_on_is_looked_at_by_the_caller() -> None:
    seen = []

    def look(tls: TlsEnd) -> Failure:
        seen.append((tls.version, tls.cipher_suite, tls.group))
        return Failure(FailureCode.NOT_SUPPORTED, "another group")

    for group, number in (("prime256v1", 23), ("secp384r1", 24)):
        limits = TlsLimits(ciphers="DEFAULT:@SECLEVEL=0", group=group)
        context = client_context(ca_pem=authority(), identity=identity("client", purpose="client"), limits=limits)
        pair = make_pair(contexts=(context, good_server_context()), offer=ClientOffer(check_tls=look)).complete()
        assert pair.client.failure == Failure(FailureCode.NOT_SUPPORTED, "another group")
        assert pair.server.stage is Stage.TLS_UP
        assert seen[-1] == ("TLSv1.3", "TLS_AES_256_GCM_SHA384", number)
    assert TlsEnd(good_client_context(), server=False).cipher_suite == ""


def without_large(side: str, most: int) -> Pair:
    """A pair of which large packets of one end are lost; the server cuts its flight into packets of 700 bytes."""
    pair = make_pair()
    pair.server._room_and_kind = lambda negotiation: (700, ControlV1)  # type: ignore[method-assign]
    losing = {"client": pair.client, "server": pair.server}[side]
    pair.change = lambda end, data: None if end is losing and len(data) > most else data
    return pair.complete()


def test_large_packets_of_the_handshake_that_are_lost() -> None:
    lost = without_large("server", 600).client
    assert lost.stage is Stage.ANSWERED
    assert lost.hello_acknowledged
    assert lost.large_lost() == (
        f"of the server's packets those of up to {lost.largest_control_received} bytes come, and larger ones before them do not"
    )
    ours = without_large("client", 560).client
    said = ours.large_lost()
    assert said is not None
    assert said.startswith("of our packets those with up to 517 bytes of TLS are acknowledged, and none with ")


def test_nothing_large_is_lost_where_the_session_goes_on_or_nothing_comes() -> None:
    assert completed().client.large_lost() is None
    assert completed().client.server_certificate is not None
    silent = make_client()
    assert (silent.large_lost(), silent.hello_acknowledged, silent.server_certificate) == (None, False, None)
    assert reached(Stage.ANSWERED).client.large_lost() is None
