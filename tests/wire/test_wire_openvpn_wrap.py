"""What wraps the control channel: packets that OpenVPN 2.6 sent, pairs of our own ends, wrapped keys, and totality."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.wire.openvpn import HardResetClientV2, Reliable
from vpnprobe.wire.openvpn_keys import KeyDirection, ServerKeyV2, StaticKey
from vpnprobe.wire.openvpn_wrap import (
    EARLY_NEGOTIATION,
    FLAG_RESEND_WRAPPED_KEY,
    RESEND_WRAPPED_KEY,
    PlainWrapper,
    TlsAuthWrapper,
    TlsCryptWrapper,
    Wrap,
    Wrapper,
    digest_lack,
    early_flags,
    split_wrapped_key,
    with_wrapped_key,
)

KEY = StaticKey(
    bytes.fromhex(
        "977ef65271950412c0b8d54135ffcb5d2a28c84352739c7374b77aaa88e20b63ee9c43385cf827483b3d92a567cf0b1f9b0d4ea76a4f6b8de13bf39d94367cfa"
        "a62255608118a1bc6390dc1ff0e65018b6add90ffa933ed7ee24b912e9f0093f40be2e14064e9e67faf5af70234c334a83aa8bc98f3227f43515c109182b2def"
        "3beb60dd0b862843edd9d556e51c4fca5fd1f3d089b6964de024ce24118b4db41b83a5299ed0835f6855247abc2e9b6262134766f221206b2ab56ace6c096d54"
        "b2ed74a3968f51cba46d4b4234692bc25c8fa04dacf137626640fff393a48440d143a1b0246e7fe7f9df33ee656b5cc596d07abee8c0f809e3d9bf03311c3770"
    )
)
RESET = bytes(5)
"""The body of a client's reset: no acks, packet ID 0."""

# First packets of OpenVPN 2.6.14 with this key, by its options auth and key-direction.
TLS_AUTH = (
    ("SHA1", KeyDirection.INVERSE, "381068584ac60b801a298f25a5cf548371793b97529739f5e79b7a7b44000000016b02f79c0000000000"),
    (
        "SHA256",
        KeyDirection.BIDIRECTIONAL,
        "3881d0cf45db8754099f774a7da4157d0e72c62ff39c29f65488c62502504da38ac9d908069a1e8e8b000000016b02f79c0000000000",
    ),
    (
        "SHA512",
        KeyDirection.NORMAL,
        "38ba58f49264afbd9933cc1d18a9937b5aebf1d87e5bef886b01e75fbe894c9f92dbf4780cda4fe6f8945961be37ce8e9457f4c55fef3402a52f60051b40fddb2f"
        "02e473149e54a8f4000000016b02f79c0000000000",
    ),
    (
        "BLAKE2b512",
        KeyDirection.NORMAL,
        "38c8a155148f865b2d80d22267028e33553fe128ae977fe5fdcbad92b6aeb0cc0777d1f60af1ab600811e58174b2004a6eac5f1cfd44b6ae9fce2dbde8050d0cad"
        "c3c1aa039f25390e000000016b02f79d0000000000",
    ),
    (
        "SHA3-256",
        KeyDirection.NORMAL,
        "38146fe5679d90b9bc8d504b730c7be192a92b40409f03e5069ed3575f7ba83a30718f4ba353152e8b000000016b02f79d0000000000",
    ),
    (
        "sha512-256",
        KeyDirection.NORMAL,
        "38248c53c14cf7353aca4b6662396825c908ae6b8ad716ad0e0e9dae1ffeb1cae6fd1223ea8d66d71a000000016b02f79d0000000000",
    ),
)
TLS_CRYPT = "38d0ef636faf07620a000000016b02f79d0a28a5aee59c618c860769e05cd3131e51250228feebf01e0021ca85090a23da7d7e3bb6c6"
OTHER_WAY = {
    KeyDirection.BIDIRECTIONAL: KeyDirection.BIDIRECTIONAL,
    KeyDirection.NORMAL: KeyDirection.INVERSE,
    KeyDirection.INVERSE: KeyDirection.NORMAL,
}
PAIRS: dict[str, tuple[Callable[[], Wrapper], Callable[[], Wrapper]]] = {
    "plain": (PlainWrapper, PlainWrapper),
    "tls-auth": (
        lambda: TlsAuthWrapper("SHA256", KEY, KeyDirection.INVERSE),
        lambda: TlsAuthWrapper("SHA256", KEY, KeyDirection.NORMAL),
    ),
    "tls-auth both ways": (
        lambda: TlsAuthWrapper("SHA1", KEY, KeyDirection.BIDIRECTIONAL),
        lambda: TlsAuthWrapper("SHA1", KEY, KeyDirection.BIDIRECTIONAL),
    ),
    "tls-crypt": (lambda: TlsCryptWrapper(KEY, server=False), lambda: TlsCryptWrapper(KEY, server=True)),
}
HEAD = b"\x38session."
WRAPPED = ServerKeyV2(bytes(range(128))).wrap(KEY).wrapped


@pytest.mark.parametrize(("digest", "sender", "packet"), TLS_AUTH, ids=[digest for digest, *_ in TLS_AUTH])
def test_tls_auth_of_openvpn(digest: str, sender: KeyDirection, packet: str) -> None:
    data = bytes.fromhex(packet)
    receiver = TlsAuthWrapper(digest, KEY, OTHER_WAY[sender])
    assert receiver.unwrap(data) == RESET
    assert receiver.peer_packet_id == 1
    unix_time = int.from_bytes(data[-9:-5], "big")
    assert TlsAuthWrapper(digest, KEY, sender).wrap(data[:9], RESET, unix_time=unix_time) == data


def test_tls_crypt_of_openvpn() -> None:
    data = bytes.fromhex(TLS_CRYPT)
    server = TlsCryptWrapper(KEY, server=True)
    assert server.unwrap(data) == RESET
    assert server.peer_packet_id == 1
    assert TlsCryptWrapper(KEY, server=False).wrap(data[:9], RESET, unix_time=int.from_bytes(data[13:17], "big")) == data


@pytest.mark.parametrize("pair", PAIRS)
def test_either_end_reads_the_other_and_counts(pair: str) -> None:
    client, server = (make() for make in PAIRS[pair])
    assert server.peer_packet_id is None
    for count in (1, 2):
        for sender, receiver in ((client, server), (server, client)):
            packet = sender.wrap(HEAD, b"body %d" % count, unix_time=1_700_000_000)
            assert packet.startswith(HEAD)
            assert receiver.unwrap(packet) == b"body %d" % count
            assert receiver.peer_packet_id == (None if pair == "plain" else count)


def test_sizes_of_a_reset_are_those_of_real_ones() -> None:
    reset = HardResetClientV2.plain(b"session.", Reliable()).encode()
    for wrapper, size in (
        (PlainWrapper(), 14),
        (TlsAuthWrapper("SHA1", KEY, KeyDirection.INVERSE), 42),
        (TlsCryptWrapper(KEY, server=False), 54),
    ):
        assert len(wrapper.wrap(reset[:9], reset[9:], unix_time=0)) == size


def test_a_client_announces_that_it_can_send_its_wrapped_key_again() -> None:
    client, server = TlsCryptWrapper(KEY, server=False, first_packet_id=EARLY_NEGOTIATION), TlsCryptWrapper(KEY, server=True)
    packet = with_wrapped_key(client.wrap(b"\x50session.", RESET, unix_time=5), WRAPPED)
    bare, wrapped = split_wrapped_key(packet)
    assert wrapped == WRAPPED
    assert server.unwrap(bare) == RESET
    assert server.peer_packet_id == 0x0F000000
    assert TlsAuthWrapper("SHA1", KEY, KeyDirection.NORMAL, first_packet_id=9).next_packet_id == 9


def test_the_time_keeps_its_lower_32_bits() -> None:
    assert TlsCryptWrapper(KEY, server=True).wrap(HEAD, b"", unix_time=2**32 + 7)[9:17] == bytes.fromhex("00000001 00000007")


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [
        (TlsAuthWrapper("SHA1", KEY, KeyDirection.NORMAL), TlsAuthWrapper("SHA1", KEY, KeyDirection.NORMAL)),
        (TlsAuthWrapper("SHA1", KEY, KeyDirection.NORMAL), TlsAuthWrapper("SHA1", StaticKey(bytes(256)), KeyDirection.INVERSE)),
        (TlsAuthWrapper("SHA1", KEY, KeyDirection.NORMAL), TlsAuthWrapper("MD5", KEY, KeyDirection.INVERSE)),
        (TlsAuthWrapper("SHA256", KEY, KeyDirection.NORMAL), TlsCryptWrapper(KEY, server=False)),
        (TlsCryptWrapper(KEY, server=True), TlsCryptWrapper(KEY, server=True)),
        (TlsCryptWrapper(KEY, server=True), TlsCryptWrapper(StaticKey(bytes(256)), server=False)),
        (PlainWrapper(), TlsCryptWrapper(KEY, server=False)),
        (PlainWrapper(), TlsAuthWrapper("SHA1", KEY, KeyDirection.INVERSE)),
    ],
)
def test_what_does_not_fit_is_refused(sender: Wrapper, receiver: Wrapper) -> None:
    with pytest.raises(DecodeError) as caught:
        receiver.unwrap(sender.wrap(HEAD, bytes(80), unix_time=0))
    assert caught.value.field == "HMAC"
    assert receiver.peer_packet_id is None


@pytest.mark.parametrize("pair", PAIRS)
def test_a_changed_or_shortened_packet_is_refused(pair: str) -> None:
    sender, receiver = (make() for make in PAIRS[pair])
    packet = sender.wrap(HEAD, b"body", unix_time=3)
    for at in range(len(packet) if pair != "plain" else 0):
        with pytest.raises(DecodeError, match="HMAC"):
            receiver.unwrap(packet[:at] + bytes([packet[at] ^ 0x80]) + packet[at + 1 :])
    for end in range(len(packet) if pair != "plain" else 9):
        with pytest.raises(DecodeError):
            receiver.unwrap(packet[:end])


def test_whether_a_digest_is_to_be_had() -> None:
    assert digest_lack("SHA256") == ""
    assert digest_lack("SHA-3000").startswith("the digest SHA-3000 of tls-auth is not to be had here")


@pytest.mark.parametrize("digest", ["no-such-digest", "shake_128", "", "SHA 1"])
def test_an_unknown_digest_says_what_to_set(digest: str) -> None:
    with pytest.raises(CannotRun, match=f"the digest {digest} of tls-auth is not to be had here: set `auth SHA256`") as caught:
        TlsAuthWrapper(digest, KEY, KeyDirection.NORMAL)
    assert caught.value.status is ExitStatus.MISSING


@pytest.mark.parametrize(
    ("packet", "problem"),
    [
        (b"", "WKc length at offset 0: needs 2 bytes, 0 are left"),
        (b"\x50", "WKc length at offset 0: needs 2 bytes, 1 are left"),
        (b"\x01\x22", "WKc length at offset 0: is 290, 0 bytes are there"),
        (HEAD + b"\0" * 400, "WKc length at offset 407: is 0, not 290 to 1024"),
        (HEAD + b"\0" * 400 + b"\x04\x01", "WKc length at offset 409: is 1025, not 290 to 1024"),
        (HEAD + b"\0" * 287 + b"\x01\x22", "WKc length at offset 296: is 290, 289 bytes are there"),
    ],
)
def test_a_packet_without_a_wrapped_key_is_refused(packet: bytes, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        split_wrapped_key(packet)
    assert str(caught.value) == problem


def test_flags_of_early_negotiation() -> None:
    assert early_flags(b"") == 0
    assert early_flags(RESEND_WRAPPED_KEY) == FLAG_RESEND_WRAPPED_KEY == 1
    assert early_flags(bytes.fromhex("0009 0003 aabbcc 0001 0002 8001 0007 0000")) == 0x8001


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ("00", "TLV type at offset 0: needs 2 bytes, 1 are left"),
        ("000100", "TLV length at offset 2: needs 2 bytes, 1 are left"),
        ("0001000200", "TLV value at offset 4: needs 2 bytes, 1 are left"),
        ("0005 0000 0001 0001 01", "TLV length at offset 6: of the flags is 1, not 2"),
    ],
)
def test_a_broken_list_of_flags_is_refused(payload: str, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        early_flags(bytes.fromhex(payload))
    assert str(caught.value) == problem


def test_ways_to_wrap_have_their_options_names() -> None:
    assert [str(way) for way in Wrap] == ["none", "tls-auth", "tls-crypt", "tls-crypt-v2"]


@given(
    st.sampled_from(sorted(PAIRS)),
    st.binary(min_size=9, max_size=9),
    st.binary(max_size=200),
    st.integers(0, 2**40),
    st.booleans(),
)
def test_a_packet_is_unwrapped_again(pair: str, head: bytes, body: bytes, unix_time: int, from_server: bool) -> None:
    client, server = (make() for make in PAIRS[pair])
    sender, receiver = (server, client) if from_server else (client, server)
    assert receiver.unwrap(sender.wrap(head, body, unix_time=unix_time)) == body


@given(st.sampled_from(sorted(PAIRS)), st.binary(max_size=200))
def test_any_bytes_unwrap_or_are_a_decode_error(pair: str, packet: bytes) -> None:
    receiver = PAIRS[pair][0]()
    try:
        assert receiver.unwrap(packet) == packet[9:]
        assert pair == "plain"
    except DecodeError as error:
        assert error.offset <= len(packet)


@given(st.binary(max_size=40))
def test_any_payload_has_flags_or_is_a_decode_error(payload: bytes) -> None:
    try:
        assert 0 <= early_flags(payload) <= 0xFFFF
    except DecodeError as error:
        assert error.offset <= len(payload)


@given(st.binary(max_size=40), st.integers(0, 1100))
def test_any_end_is_a_wrapped_key_or_a_decode_error(end: bytes, more: int) -> None:
    packet = bytes(more) + end
    try:
        bare, wrapped = split_wrapped_key(packet)
    except DecodeError as error:
        assert error.offset <= len(packet)
    else:
        assert with_wrapped_key(bare, wrapped) == packet
        assert len(bare) >= 9
