"""The data channel: packets against their description, both ends of it, replays, and framing as OpenVPN 2.6 does it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.wire.ciphers import Cipher, aead
from vpnprobe.wire.openvpn import DataV1, DataV2, decode_openvpn
from vpnprobe.wire.openvpn_data import EXIT_NOTIFY, OCC_MAGIC, PING, Compression, DataChannel, packet_number
from vpnprobe.wire.replay_window import WINDOW

KEYS = bytes(range(256))
FORMATS = (None, 0, 7, 2**24 - 1)


def pair(cipher: Cipher = Cipher.AES_256_GCM, *, key_id: int = 0, peer_id: int | None = 7) -> tuple[DataChannel, DataChannel]:
    """A client's and a server's end."""
    client, server = (DataChannel(cipher, KEYS, server=server, key_id=key_id, peer_id=peer_id) for server in (False, True))
    return client, server


def test_a_packet_with_a_peer_id_is_as_described() -> None:
    """Opcode 9, peer ID, packet ID, tag, ciphertext; a client's key is the first of all, its implicit IV begins at byte 64."""
    client, _ = pair(Cipher.AES_128_GCM, key_id=3)
    packet = client.seal(b"payload")
    sealed = aead(Cipher.AES_128_GCM, KEYS[:16]).seal(bytes.fromhex("00000001") + KEYS[64:72], b"payload", packet[:8])
    assert packet == bytes.fromhex("4b 000007 00000001") + sealed[-16:] + sealed[:-16]
    assert decode_openvpn(packet) == DataV2(7, packet[4:], 3)


def test_a_packet_without_a_peer_id_authenticates_its_packet_id_alone() -> None:
    """Opcode 6; a server's key begins at byte 128, its implicit IV at byte 192."""
    _, server = pair(Cipher.CHACHA20_POLY1305, peer_id=None)
    server.seal(b"")
    packet = server.seal(b"payload")
    nonce = bytes.fromhex("00000002") + KEYS[192:200]
    sealed = aead(Cipher.CHACHA20_POLY1305, KEYS[128:160]).seal(nonce, b"payload", bytes.fromhex("00000002"))
    assert packet == bytes.fromhex("30 00000002") + sealed[-16:] + sealed[:-16]
    assert decode_openvpn(packet) == DataV1(packet[1:])


@pytest.mark.parametrize("peer_id", FORMATS)
@pytest.mark.parametrize("cipher", Cipher)
def test_either_end_opens_what_the_other_sealed(cipher: Cipher, peer_id: int | None) -> None:
    client, server = pair(cipher, peer_id=peer_id)
    for sender, receiver in ((client, server), (server, client)):
        for count, payload in enumerate((PING, EXIT_NOTIFY, b"", bytes(1400)), start=1):
            packet = sender.seal(payload)
            assert (sender.sent, packet_number(packet)) == (count, count)
            assert len(packet) == len(payload) + sender.overhead
            assert receiver.open(packet) == payload
    assert client.overhead == (21 if peer_id is None else 24)


def test_either_format_is_opened_whatever_is_sent() -> None:
    client, _ = pair(peer_id=None)
    _, server = pair(peer_id=9)
    assert server.open(client.seal(b"a")) == b"a"
    assert client.open(server.seal(b"b")) == b"b"


def test_an_end_does_not_take_its_own_packets() -> None:
    client, _ = pair()
    with pytest.raises(DecodeError, match="authentication tag"):
        client.open(client.seal(b"payload"))


def test_a_changed_or_shortened_packet_does_not_open() -> None:
    client, server = pair()
    packet = client.seal(b"payload")
    for at in range(len(packet)):
        with pytest.raises(DecodeError):
            server.open(packet[:at] + bytes([packet[at] ^ 0x20]) + packet[at + 1 :])
        with pytest.raises(DecodeError):
            server.open(packet[:at])
    assert server.open(packet) == b"payload"


@pytest.mark.parametrize(
    ("packet", "problem"),
    [
        (b"", "opcode at offset 0: needs 1 bytes, 0 are left"),
        (b"\x20" + bytes(40), "opcode at offset 0: 4 is not that of a data packet"),
        (b"\x49" + bytes(40), "key ID at offset 0: is 1, not 0"),
        (b"\x48\0\0", "peer ID at offset 1: needs 3 bytes, 2 are left"),
        (b"\x48\0\0\0\0\0\0", "packet ID at offset 4: needs 4 bytes, 3 are left"),
        (b"\x30" + bytes(19), "authentication tag at offset 5: needs 16 bytes, 15 are left"),
    ],
)
def test_what_is_no_data_packet_says_so(packet: bytes, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        pair()[1].open(packet)
    assert str(caught.value) == problem


def test_a_packet_is_taken_once_and_late_ones_within_the_window() -> None:
    client, server = pair()
    packets = [client.seal(b"%d" % number) for number in range(1, 2 * WINDOW + 1)]
    for number in (1, 3, 2, WINDOW + 2, 4):
        assert server.open(packets[number - 1]) == b"%d" % number
    for number, offset in ((1, 4), (2, 4), (3, 4), (4, 4), (WINDOW + 2, 4)):
        with pytest.raises(DecodeError, match="was seen before") as caught:
            server.open(packets[number - 1])
        assert (caught.value.field, caught.value.offset) == ("packet ID", offset)
    assert server.open(packets[4]) == b"5"
    assert server.open(packets[2 * WINDOW - 1]) == b"%d" % (2 * WINDOW)
    with pytest.raises(DecodeError, match=f"{WINDOW} was seen before, or is 64 or more behind 128"):
        server.open(packets[WINDOW - 1])
    assert server.open(packets[WINDOW]) == b"65"


def test_a_forged_packet_does_not_move_the_window() -> None:
    client, server = pair()
    packet = client.seal(b"payload")
    with pytest.raises(DecodeError, match="authentication tag"):
        server.open(packet[:4] + b"\xff\xff\xff\xff" + packet[8:])
    assert server.open(packet) == b"payload"


def test_packet_id_0_is_never_taken() -> None:
    client, server = pair()
    client.sent = -1
    with pytest.raises(DecodeError, match="packet ID at offset 4: 0 was seen before"):
        server.open(client.seal(b"payload"))


def test_packet_ids_end() -> None:
    client, server = pair()
    client.sent = 2**32 - 2
    assert server.open(client.seal(b"last")) == b"last"
    with pytest.raises(CannotRun, match="no packet ID left"):
        client.seal(b"one more")


def test_keys_have_256_bytes() -> None:
    with pytest.raises(DecodeError, match="is 128 bytes, not 256"):
        DataChannel(Cipher.AES_256_GCM, bytes(128), server=False)


@pytest.mark.parametrize(
    ("packet", "number"),
    [
        ("", None),
        ("30", None),
        ("30000000", None),
        ("3000000005", 5),
        ("3600000005aabb", 5),
        ("4800000700000a", None),
        ("480000070000000a", 10),
        ("4f00000700010000ff", 65536),
        ("380000070000000a", None),
    ],
)
def test_the_packet_id_that_stands_in_clear(packet: str, number: int | None) -> None:
    assert packet_number(bytes.fromhex(packet)) == number


# What OpenVPN 2.6.14 sent as a ping under `compress stub`, `comp-lzo no`, `compress stub-v2` and none of them.
@pytest.mark.parametrize(
    ("compression", "framed"),
    [
        (Compression.STUB, "fb187bf3641eb4cb07ed2d0a981fc7482a"),
        (Compression.LZO_NO, "fa2a187bf3641eb4cb07ed2d0a981fc748"),
        (Compression.STUB_V2, "2a187bf3641eb4cb07ed2d0a981fc748"),
        (Compression.NONE, "2a187bf3641eb4cb07ed2d0a981fc748"),
    ],
)
def test_a_ping_is_framed_as_openvpn_does(compression: Compression, framed: str) -> None:
    assert compression.add(PING).hex() == framed
    assert compression.remove(bytes.fromhex(framed)) == PING


@pytest.mark.parametrize(
    ("compression", "payload", "framed"),
    [
        (Compression.NONE, "", ""),
        (Compression.STUB, "", ""),
        (Compression.STUB, "45", "fb45"),
        (Compression.LZO_NO, "", ""),
        (Compression.LZO_NO, "45", "fa45"),
        (Compression.STUB_V2, "", ""),
        (Compression.STUB_V2, "4500", "4500"),
        (Compression.STUB_V2, "50", "500050"),
        (Compression.STUB_V2, "5000", "50005000"),
    ],
)
def test_framing_byte_for_byte(compression: Compression, payload: str, framed: str) -> None:
    assert compression.add(bytes.fromhex(payload)).hex() == framed
    assert compression.remove(bytes.fromhex(framed)).hex() == payload


def test_framings_that_differ_in_a_byte_do_not_understand_each_other() -> None:
    """As OpenVPN 2.6 was seen to do it: comp-lzo at one end and compress at the other pass nothing."""
    for one, other in ((Compression.STUB, Compression.LZO_NO), (Compression.LZO_NO, Compression.STUB)):
        with pytest.raises(DecodeError, match="the peer frames otherwise"):
            one.remove(other.add(PING))
    assert Compression.STUB.remove(b"\xfb") == b""


@pytest.mark.parametrize(
    ("compression", "payload", "problem"),
    [
        (Compression.STUB, "45", "compression at offset 0: is 0x45, not 0xfb: the peer frames otherwise"),
        (Compression.LZO_NO, "6601", "compression at offset 0: is 0x66: the peer compresses"),
        (Compression.STUB_V2, "500b01", "compression at offset 1: is 0x0b, not 0x00: the peer compresses"),
        (Compression.STUB_V2, "50", "compression at offset 1: is missing after 0x50"),
    ],
)
def test_what_is_compressed_is_refused(compression: Compression, payload: str, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        compression.remove(bytes.fromhex(payload))
    assert str(caught.value) == problem


def test_payloads_that_mean_something() -> None:
    assert (len(PING), len(OCC_MAGIC), EXIT_NOTIFY[-1], len(EXIT_NOTIFY)) == (16, 16, 6, 17)


@given(st.sampled_from(Cipher), st.sampled_from(FORMATS), st.integers(0, 7), st.booleans(), st.binary(max_size=200))
def test_a_payload_is_opened_again(cipher: Cipher, peer_id: int | None, key_id: int, from_server: bool, payload: bytes) -> None:
    client, server = pair(cipher, key_id=key_id, peer_id=peer_id)
    sender, receiver = (server, client) if from_server else (client, server)
    assert receiver.open(sender.seal(payload)) == payload


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\x48" + rest))
def test_any_bytes_are_a_decode_error(packet: bytes) -> None:
    with pytest.raises(DecodeError):
        pair()[0].open(packet)
    number = packet_number(packet)
    assert number is None or 0 <= number < 2**32


@given(st.sampled_from(Compression), st.binary(max_size=40))
def test_a_payload_is_unframed_again(compression: Compression, payload: bytes) -> None:
    assert compression.remove(compression.add(payload)) == payload


@given(st.sampled_from(Compression), st.binary(max_size=40))
def test_any_bytes_are_unframed_or_a_decode_error(compression: Compression, payload: bytes) -> None:
    try:
        assert len(compression.remove(payload)) <= len(payload)
    except DecodeError as error:
        assert error.field == "compression"


@given(st.lists(st.integers(1, 200), max_size=60))
def test_the_window_takes_no_packet_twice(numbers: list[int]) -> None:
    client, server = pair()
    packets = [client.seal(b"") for _ in range(200)]
    taken: set[int] = set()
    for number in numbers:
        expected = number not in taken and (not taken or number > max(taken) - WINDOW)
        try:
            server.open(packets[number - 1])
        except DecodeError:
            assert not expected
        else:
            assert expected
            taken.add(number)
