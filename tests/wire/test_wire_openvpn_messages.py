"""Control messages inside TLS: each by example, a PUSH_REPLY as OpenVPN 2.6 sends it, totality, the stream fed byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.openvpn_messages import (
    MOST_BUFFER,
    PUSH_REQUEST,
    AuthFailed,
    AuthPending,
    Exit,
    Halt,
    Info,
    Message,
    Other,
    PushReply,
    PushRequest,
    Restart,
    decode_message,
    split_messages,
)

REPLY = (
    "PUSH_REPLY,route-gateway 10.8.0.1,topology subnet,ping 10,ping-restart 120,ifconfig 10.8.0.2 255.255.255.0,peer-id 7,"
    "cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1500"
)
EXAMPLES: tuple[tuple[str, Message], ...] = (
    ("PUSH_REQUEST", PushRequest()),
    ("PUSH_REPLY", PushReply(())),
    ("PUSH_REPLY,ping 10,topology subnet", PushReply(("ping 10", "topology subnet"))),
    ("AUTH_FAILED", AuthFailed()),
    ("AUTH_FAILED,TEMP[backoff 42,advance no]: No free IP addresses", AuthFailed("TEMP[backoff 42,advance no]: No free IP addresses")),
    ("AUTH_PENDING", AuthPending()),
    ("AUTH_PENDING,timeout 60", AuthPending(60, "timeout 60")),
    ("RESTART", Restart()),
    ("RESTART,[N]going down", Restart("[N]going down")),
    ("HALT,client was stopped", Halt("client was stopped")),
    ("INFO,OPEN_URL:https://login.example/", Info("OPEN_URL:https://login.example/")),
    ("EXIT", Exit()),
    ("CR_RESPONSE,c2VjcmV0", Other("CR_RESPONSE,c2VjcmV0")),
    ("PUSH_UPDATE,ping 5", Other("PUSH_UPDATE,ping 5")),
)


@pytest.mark.parametrize(("text", "message"), EXAMPLES, ids=[text[:20] for text, _ in EXAMPLES])
def test_every_message_is_read_and_written(text: str, message: Message) -> None:
    assert decode_message(text) == message
    assert message.encode() == text.encode() + b"\0"


def test_words_before_authentication_are_words_too() -> None:
    assert decode_message("INFO_PRE,CR_TEXT:E,R:Code?") == Info("CR_TEXT:E,R:Code?")


def test_the_request_is_the_constant() -> None:
    assert PushRequest().encode() == PUSH_REQUEST
    assert AuthPending(timeout_s=30).encode() == b"AUTH_PENDING,timeout 30\0"


def test_a_reply_of_openvpn_2_6() -> None:
    reply = PushReply.decode(REPLY)
    assert reply.encode() == REPLY.encode() + b"\0"
    assert (reply.address, reply.netmask, reply.gateway, reply.topology) == ("10.8.0.2", "255.255.255.0", "10.8.0.1", "subnet")
    assert (reply.peer_id, reply.cipher, reply.tun_mtu, reply.ping_s, reply.ping_restart_s) == (7, "AES-256-GCM", 1500, 10, 120)
    assert reply.protocol_flags == ("cc-exit", "tls-ekm", "dyn-tls-crypt")
    assert (reply.key_derivation, reply.continuation) == (None, 0)


def test_what_was_not_pushed_is_absent() -> None:
    reply = PushReply(("route 10.0.0.0 255.0.0.0", " "))
    assert (reply.address, reply.netmask, reply.gateway, reply.topology, reply.peer_id) == (None,) * 5
    assert (reply.cipher, reply.tun_mtu, reply.ping_s, reply.ping_restart_s, reply.key_derivation) == (None,) * 5
    assert (reply.protocol_flags, reply.continuation) == ((), 0)


@pytest.mark.parametrize(
    ("option", "peer_id"),
    [
        ("peer-id 0", 0),
        ("peer-id 16777215", 16777215),
        ("peer-id 16777216", None),
        ("peer-id -1", None),
        ("peer-id", None),
        ("peer-id seven", None),
        ("peer-id ²", None),
        ("peer-id ٣", None),
        ("peer-id " + "9" * 5000, None),
    ],
)
def test_a_peer_id_is_a_number_of_24_bits(option: str, peer_id: int | None) -> None:
    assert PushReply((option,)).peer_id == peer_id


@pytest.mark.parametrize(("word", "continuation"), [("0", 0), ("1", 1), ("2", 2), ("3", 0), ("x", 0)])
def test_replies_that_come_in_parts_say_so(word: str, continuation: int) -> None:
    assert PushReply((f"push-continuation {word}",)).continuation == continuation


def test_the_last_of_two_equal_options_counts() -> None:
    assert PushReply(("cipher AES-128-GCM", "cipher CHACHA20-POLY1305", "key-derivation tls-ekm")).cipher == "CHACHA20-POLY1305"
    assert PushReply(("key-derivation tls-ekm",)).key_derivation == "tls-ekm"
    assert PushReply(("protocol-flags cc-exit", "protocol-flags aead-epoch")).protocol_flags == ("cc-exit", "aead-epoch")


def test_another_message_is_no_reply() -> None:
    with pytest.raises(DecodeError, match="PUSH_REPLY at offset 0: is 'AUTH_FAILED'"):
        PushReply.decode("AUTH_FAILED,no")


@pytest.mark.parametrize(
    ("words", "timeout_s"),
    [("", None), ("timeout 90", 90), ("foo,timeout 90", 90), ("timeout", None), ("timeout soon", None), ("foo", None)],
)
def test_how_long_an_authentication_may_take(words: str, timeout_s: int | None) -> None:
    message = decode_message(f"AUTH_PENDING,{words}")
    assert isinstance(message, AuthPending)
    assert message.timeout_s == timeout_s


def test_a_stream_is_split_wherever_it_was_cut() -> None:
    stream = PUSH_REQUEST + b"\0" + Exit().encode() + b"RES"
    assert split_messages(stream) == (["PUSH_REQUEST", "EXIT"], b"RES")
    found: list[str] = []
    rest = b""
    for byte in stream:
        messages, rest = split_messages(rest + bytes([byte]))
        found += messages
    assert (found, rest) == (["PUSH_REQUEST", "EXIT"], b"RES")


def test_a_message_without_an_end_is_refused_in_time() -> None:
    assert split_messages(b"a" * MOST_BUFFER) == ([], b"a" * MOST_BUFFER)
    with pytest.raises(DecodeError, match="control message at offset 2: is longer than 65536 bytes"):
        split_messages(b"x\0" + b"a" * (MOST_BUFFER + 1))


def test_bytes_that_are_not_text_are_shown_as_such() -> None:
    assert split_messages(b"AUTH_FAILED,\xff\0") == (["AUTH_FAILED,�"], b"")


@given(st.text())
def test_any_text_is_a_message(text: str) -> None:
    message = decode_message(text)
    assert isinstance(message.encode(), bytes)
    if isinstance(message, PushReply):
        assert message.peer_id is None or message.peer_id < 2**24


@given(st.lists(st.text(st.characters(exclude_characters=",\0", exclude_categories=["Cs"]), min_size=1)))
def test_a_reply_is_decoded_again(options: list[str]) -> None:
    reply = PushReply(tuple(options))
    (text,), rest = split_messages(reply.encode())
    assert rest == b""
    assert decode_message(text) == reply
    assert reply.continuation in (0, 1, 2)
    assert (reply.address is None) <= (reply.netmask is None)


@given(st.binary())
def test_any_bytes_split_into_messages_and_a_rest(data: bytes) -> None:
    messages, rest = split_messages(data)
    assert all(messages)
    assert b"\0" not in rest
    assert data.endswith(rest)


@pytest.mark.parametrize(
    ("reason", "temporary", "backoff_s", "words"),
    [
        ("", False, None, ""),
        ("expired account", False, None, "expired account"),
        ("TEMPORARY", False, None, "TEMPORARY"),
        ("TEMP", True, None, ""),
        ("TEMP:later", True, None, "later"),
        ("TEMP[backoff 42]:LDAP is down", True, 42, "LDAP is down"),
        ("TEMP[backoff 42,advance no]: No free IP addresses", True, 42, "No free IP addresses"),
        ("TEMP[advance addr, backoff 7]:", True, 7, ""),
        ("TEMP[backoff,backoff 1 2]: x", True, None, "x"),
        ("TEMP[backoff soon]: x", True, None, "x"),
    ],
)
def test_a_login_that_is_put_off(reason: str, temporary: bool, backoff_s: int | None, words: str) -> None:
    message = AuthFailed(reason)
    assert (message.is_temporary, message.backoff_s, message.words) == (temporary, backoff_s, words)
