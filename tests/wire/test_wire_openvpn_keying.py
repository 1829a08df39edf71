"""Key method 2 and the derivation of data keys: examples, published values, totality, and messages fed byte by byte."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.wire.openvpn_keying import (
    EXPORTER_LABEL,
    MOST_STRING,
    IvProto,
    KeyMethod2,
    KeySource,
    data_keys,
    options_string,
    peer_info,
    read_options,
    read_peer_info,
    tls1_prf,
)

CLIENT = KeySource(bytes(range(48)), b"\x11" * 32, b"\x22" * 32)
SERVER = KeySource(b"", b"\x33" * 32, b"\x44" * 32)
FROM_CLIENT = KeyMethod2(CLIENT, "V4,tls-client", "user", "pass", "IV_VER=2.6.14\n")
FROM_SERVER = KeyMethod2(SERVER, "V4,tls-server")
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
RANDOM = st.binary(min_size=32, max_size=32)
SERVER_MESSAGES = st.builds(KeyMethod2, st.builds(KeySource, st.just(b""), RANDOM, RANDOM), TEXT, TEXT, TEXT, TEXT)
CLIENT_MESSAGES = st.builds(KeyMethod2, st.builds(KeySource, st.binary(min_size=48, max_size=48), RANDOM, RANDOM), TEXT, TEXT, TEXT, TEXT)


def test_a_clients_message_byte_for_byte() -> None:
    data = FROM_CLIENT.encode()
    assert data == (
        bytes.fromhex("00000000 02")
        + bytes(range(48))
        + b"\x11" * 32
        + b"\x22" * 32
        + b"\x00\x0eV4,tls-client\0"
        + b"\x00\x05user\0"
        + b"\x00\x05pass\0"
        + b"\x00\x0fIV_VER=2.6.14\n\0"
    )
    assert KeyMethod2.decode_from_client(data) == (FROM_CLIENT, len(data))


def test_a_servers_message_byte_for_byte() -> None:
    data = FROM_SERVER.encode()
    assert data == bytes.fromhex("00000000 02") + b"\x33" * 32 + b"\x44" * 32 + b"\x00\x0eV4,tls-server\0" + bytes(6)
    assert KeyMethod2.decode_from_server(data) == (FROM_SERVER, len(data))


def test_a_clients_message_is_waited_for() -> None:
    data = FROM_CLIENT.encode()
    for end in range(len(data)):
        assert KeyMethod2.decode_from_client(data[:end]) is None
    assert KeyMethod2.decode_from_client(data + b"PUSH_REQUEST\0") == (FROM_CLIENT, len(data))


def test_a_server_may_leave_out_what_follows_the_options() -> None:
    data = FROM_SERVER.encode()
    whole = {len(data) - left for left in (0, 2, 4, 6)}
    for end in range(len(data) + 1):
        read = KeyMethod2.decode_from_server(data[:end])
        assert read == ((FROM_SERVER, end) if end in whole else None)


def test_a_message_behind_a_server_that_left_out_strings_is_not_read_as_one() -> None:
    data = FROM_SERVER.encode()[:-6]
    for message in (b"PUSH_REPLY,ping 10\0", b"AUTH_FAILED\0"):
        assert KeyMethod2.decode_from_server(data + message) == (FROM_SERVER, len(data))
        assert KeyMethod2.decode_from_server(data + bytes(4) + message) == (FROM_SERVER, len(data) + 4)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\1", "key method 2 at offset 0: does not begin with four zero bytes"),
        (b"\0\0\0\1\2", "key method 2 at offset 0: does not begin with four zero bytes"),
        (b"\0\0\0\0\1", "key method at offset 4: is 1, not 2"),
        (FROM_CLIENT.encode()[:117] + b"\x40\x00", "options length at offset 117: is 16384, more than 16383"),
        (FROM_CLIENT.encode().replace(b"client\0", b"client!"), "options at offset 132: does not end in NUL"),
        (FROM_CLIENT.encode().replace(b"\0\5user", b"\xff\xffuser"), "username length at offset 133: is 65535, more than 16383"),
        (FROM_CLIENT.encode().replace(b"pass\0", b"pass\n"), "password at offset 146: does not end in NUL"),
        (FROM_CLIENT.encode()[:-1] + b"!", "peer info at offset 163: does not end in NUL"),
    ],
)
def test_a_broken_message_says_where(data: bytes, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        KeyMethod2.decode_from_client(data)
    assert str(caught.value) == problem


def test_strings_end_at_their_first_nul_and_need_not_be_text() -> None:
    data = FROM_SERVER.encode()[:-6]
    read = KeyMethod2.decode_from_server(data + b"\0\4a\0b\0" + b"\0\2\xff\0" + b"\0\1\0")
    assert read == (KeyMethod2(SERVER, "V4,tls-server", "a", "�"), len(data) + 13)


def test_the_longest_string() -> None:
    message = KeyMethod2(CLIENT, "o" * (MOST_STRING - 2))
    assert KeyMethod2.decode_from_client(message.encode()) == (message, len(message.encode()))


def test_the_prf_of_tls_1_0() -> None:
    """The widely used vector of the TLS working group's list: secret 48 x ab, label "PRF Testvector", seed 64 x cd."""
    assert tls1_prf(b"\xab" * 48, b"PRF Testvector" + b"\xcd" * 64, 104).hex() == (
        "d3d4d1e349b5d515044666d51de32bab258cb521b6b053463e354832fd976754443bcf9a296519bc289abcbc1187e4ebd31e602353776c408aafb74cbc85eff6"
        "9255f9788faa184cbb957a9819d84a5d7eb006eb459d3ae8de9810454b8b2d8f1afbc655a8c9a013"
    )


def test_the_halves_of_an_odd_secret_share_a_byte() -> None:
    """A secret of three bytes: P_MD5 has the first two, P_SHA-1 the last two. Value: `openssl kdf ... TLS1-PRF`."""
    assert tls1_prf(b"abc", b"seed", 16).hex() == "5fab5bf0dc5bc0205a8b5435f8b17806"


def test_data_keys_are_those_that_openssl_derives() -> None:
    """Value: `openssl kdf -kdfopt digest:MD5-SHA1 ... TLS1-PRF` in two steps, master secret and key expansion."""
    keys = data_keys(CLIENT, SERVER, client_session_id=b"clientid", server_session_id=b"serverid")
    assert len(keys) == 256
    assert keys[:32].hex() == "6d8fa9fcef3ac3e9313abcd835f14cf119bbfa94bcbbe2adfbdaa1adaa0ffc22"
    assert hashlib.sha256(keys).hexdigest() == "ef2cf909c76e479d57091084431649ec7e389eca5cab92275a3cc94f99901abf"
    assert keys != data_keys(CLIENT, SERVER, client_session_id=b"serverid", server_session_id=b"clientid")


def test_without_md5_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    known = hashlib.new

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "md5":
            raise ValueError("[digital envelope routines] unsupported")
        return known(name, *arguments, **options)

    monkeypatch.setattr(hashlib, "new", refuse)
    with pytest.raises(CannotRun, match=r"no MD5 \(FIPS mode\?\).*use OpenVPN 2.6 or later") as caught:
        data_keys(CLIENT, SERVER, client_session_id=bytes(8), server_session_id=bytes(8))
    assert caught.value.status is ExitStatus.MISSING


def test_peer_info_is_lines() -> None:
    values = {"IV_VER": "2.6.14", "IV_PROTO": str(int(IvProto.DATA_V2 | IvProto.TLS_KEY_EXPORT)), "UV_SITE": "a=b"}
    text = peer_info(values)
    assert text == "IV_VER=2.6.14\nIV_PROTO=10\nUV_SITE=a=b\n"
    assert read_peer_info(text) == values
    assert read_peer_info("no pair\nIV_NCP=1\n\nIV_NCP=2") == {"IV_NCP": "2"}


def test_the_bits_of_iv_proto() -> None:
    # OpenVPN 2.6.14 as a client announces 990.
    assert IvProto(990) == (
        IvProto.DATA_V2
        | IvProto.REQUEST_PUSH
        | IvProto.TLS_KEY_EXPORT
        | IvProto.AUTH_PENDING_KW
        | IvProto.DNS_OPTION
        | IvProto.CC_EXIT_NOTIFY
        | IvProto.AUTH_FAIL_TEMP
        | IvProto.DYN_TLS_CRYPT
    )
    assert [int(bit) for bit in IvProto] == [1 << place for place in range(1, 13)]
    assert EXPORTER_LABEL == "EXPORTER-OpenVPN-datakeys"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"transport": "UDPv4", "cipher": "AES-256-GCM", "auth": "SHA256", "server": False},
            "V4,dev-type tun,link-mtu 1549,tun-mtu 1500,proto UDPv4,cipher AES-256-GCM,auth [null-digest],keysize 256,key-method 2,"
            "tls-client",
        ),
        (
            {"transport": "TCPv4_SERVER", "cipher": "AES-128-GCM", "auth": "SHA1", "server": True, "tun_mtu": 1400, "key_direction": 0},
            "V4,dev-type tun,link-mtu 1451,tun-mtu 1400,proto TCPv4_SERVER,keydir 0,cipher AES-128-GCM,auth [null-digest],keysize 128,"
            "tls-auth,key-method 2,tls-server",
        ),
        (
            {"transport": "UDPv4", "cipher": "CHACHA20-POLY1305", "auth": "SHA1", "server": False, "key_direction": 1},
            "V4,dev-type tun,link-mtu 1534,tun-mtu 1500,proto UDPv4,keydir 1,cipher CHACHA20-POLY1305,auth [null-digest],keysize 256,"
            "tls-auth,key-method 2,tls-client",
        ),
        (
            {"transport": "UDPv4", "cipher": "CHACHA20-POLY1305", "auth": "SHA1", "server": True, "comp_lzo": True},
            "V4,dev-type tun,link-mtu 1535,tun-mtu 1500,proto UDPv4,comp-lzo,cipher CHACHA20-POLY1305,auth [null-digest],keysize 256,"
            "key-method 2,tls-server",
        ),
        (
            {"transport": "UDPv4", "cipher": "AES-192-CBC", "auth": "SHA1", "server": False},
            "V4,dev-type tun,link-mtu 1549,tun-mtu 1500,proto UDPv4,cipher AES-192-CBC,auth SHA1,keysize 192,key-method 2,tls-client",
        ),
    ],
)
def test_the_options_string(options: dict[str, Any], text: str) -> None:
    assert options_string(**options) == text
    read = read_options(text)
    assert (read["V4"], read["proto"], read["cipher"]) == ("", options["transport"], options["cipher"])
    assert ("tls-server" in read) == options["server"]


def test_an_empty_options_string_has_no_options() -> None:
    assert read_options("") == {}


@given(SERVER_MESSAGES, st.binary(max_size=20))
def test_a_servers_message_is_decoded_again(message: KeyMethod2, more: bytes) -> None:
    data = message.encode()
    assert KeyMethod2.decode_from_server(data + more) == (message, len(data))


@given(CLIENT_MESSAGES, st.binary(max_size=20))
def test_a_clients_message_is_decoded_again(message: KeyMethod2, more: bytes) -> None:
    data = message.encode()
    assert KeyMethod2.decode_from_client(data + more) == (message, len(data))


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: bytes.fromhex("0000000002") + rest))
def test_any_bytes_give_a_message_or_none_or_a_decode_error(data: bytes) -> None:
    for decode in (KeyMethod2.decode_from_client, KeyMethod2.decode_from_server):
        try:
            read = decode(data)
        except DecodeError as error:
            assert error.offset <= len(data)
        else:
            assert read is None or read[1] <= len(data)


@given(st.text())
def test_any_text_is_read_as_peer_info_and_options(text: str) -> None:
    assert all("\n" not in name for name in read_peer_info(text))
    assert all("," not in name for name in read_options(text))
