"""The epoch format of the data channel: key derivation as published, packets against their description, epochs that move on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.wire.ciphers import Cipher, aead
from vpnprobe.wire.openvpn_data import PING
from vpnprobe.wire.openvpn_epoch import AHEAD, LAST_EPOCH, MOST_PACKETS, EpochDataChannel, expand_label

KEYS = bytes(range(256))


def pair(cipher: Cipher = Cipher.AES_256_GCM, *, key_id: int = 0, peer_id: int | None = 7) -> tuple[EpochDataChannel, EpochDataChannel]:
    """A client's and a server's end."""
    client, server = (EpochDataChannel(cipher, KEYS, server=server, key_id=key_id, peer_id=peer_id) for server in (False, True))
    return client, server


def test_the_derivation_gives_openvpns_own_value() -> None:
    """The value that the unit test of OpenVPN 2.7 expects of ovpn_expand_label."""
    secret = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    assert expand_label(secret, b"unit test", 16).hex() == "185eaa1c7f228ab8eb29773214d92046"


def test_more_than_one_block_is_chained() -> None:
    long = expand_label(bytes(32), b"label", 70)
    assert len(long) == 70
    assert len({long[:32], long[32:64], long[64:]}) == 3
    # The length is part of what is hashed: a shorter value is no beginning of a longer one.
    assert expand_label(bytes(32), b"label", 32) != long[:32]


def test_a_packet_is_as_described() -> None:
    """Head, epoch, counter, ciphertext, tag; E_1 of a client is the beginning of all keys."""
    client, _ = pair(Cipher.AES_128_GCM, key_id=2)
    client.seal(b"")
    packet = client.seal(b"payload")
    key, iv = expand_label(KEYS[:32], b"data_key", 16), expand_label(KEYS[:32], b"data_iv", 12)
    packet_id = bytes.fromhex("0001 000000000002")
    nonce = bytes(a ^ b for a, b in zip(iv, packet_id + bytes(4), strict=True))
    head = bytes.fromhex("4a 000007")
    assert packet == head + packet_id + aead(Cipher.AES_128_GCM, key).seal(nonce, b"payload", head + packet_id)


def test_a_servers_keys_begin_in_the_middle_and_later_ones_follow_from_them() -> None:
    _, server = pair(peer_id=None)
    server.advance()
    secret = expand_label(KEYS[128:160], b"datakey upd", 32)
    key, iv = expand_label(secret, b"data_key", 32), expand_label(secret, b"data_iv", 12)
    packet_id = bytes.fromhex("0002 000000000001")
    nonce = bytes(a ^ b for a, b in zip(iv, packet_id + bytes(4), strict=True))
    assert server.seal(b"payload") == b"\x30" + packet_id + aead(Cipher.AES_256_GCM, key).seal(nonce, b"payload", packet_id)


@pytest.mark.parametrize("peer_id", [None, 0, 2**24 - 1])
@pytest.mark.parametrize("cipher", Cipher)
def test_either_end_opens_what_the_other_sealed(cipher: Cipher, peer_id: int | None) -> None:
    client, server = pair(cipher, peer_id=peer_id)
    for sender, receiver in ((client, server), (server, client)):
        for count, payload in enumerate((PING, b"", bytes(1400)), start=1):
            packet = sender.seal(payload)
            assert sender.sent == count
            assert len(packet) == len(payload) + sender.overhead
            assert receiver.open(packet) == payload
    assert client.overhead == (25 if peer_id is None else 28)


def test_a_changed_shortened_or_repeated_packet_does_not_open() -> None:
    client, server = pair()
    packet = client.seal(b"payload")
    for at in range(len(packet)):
        with pytest.raises(DecodeError):
            server.open(packet[:at] + bytes([packet[at] ^ 0x20]) + packet[at + 1 :])
        with pytest.raises(DecodeError):
            server.open(packet[:at])
    assert server.open(packet) == b"payload"
    with pytest.raises(DecodeError, match="packet ID at offset 6: 1 was seen before"):
        server.open(packet)
    assert (server.epoch, client.epoch) == (1, 1)


def test_a_later_epoch_takes_both_directions_along() -> None:
    client, server = pair()
    early = [client.seal(b"early %d" % number) for number in range(3)]
    assert server.open(early[0]) == b"early 0"
    client.advance()
    assert client.sent == 0
    late = client.seal(b"late")
    assert server.open(late) == b"late"
    assert server.epoch == 2
    assert server.open(early[1]) == b"early 1"
    with pytest.raises(DecodeError, match="packet ID"):
        server.open(early[1])
    assert client.open(server.seal(b"answer")) == b"answer"
    client.advance()
    assert server.open(client.seal(b"later")) == b"later"
    with pytest.raises(DecodeError, match="epoch at offset 4: is 1, not 3 to 19"):
        server.open(early[2])


def test_an_end_that_is_ahead_already_stays_there() -> None:
    client, server = pair()
    server.advance(5)
    client.advance(3)
    assert server.open(client.seal(b"payload")) == b"payload"
    assert (server.epoch, client.epoch) == (5, 3)
    assert client.open(server.seal(b"payload")) == b"payload"
    assert (server.epoch, client.epoch) == (5, 5)


def test_epochs_far_ahead_are_not_looked_at() -> None:
    client, server = pair()
    client.advance(1 + AHEAD)
    assert server.open(client.seal(b"just near enough")) == b"just near enough"
    client.advance(client.epoch + AHEAD + 1)
    with pytest.raises(DecodeError, match="epoch at offset 4: is 34, not 17 to 33"):
        server.open(client.seal(b"too far"))


def test_a_forged_packet_does_not_move_the_epoch() -> None:
    client, server = pair()
    packet = client.seal(b"payload")
    with pytest.raises(DecodeError, match="authentication tag"):
        server.open(packet[:4] + b"\0\2" + packet[6:])
    with pytest.raises(DecodeError, match="epoch at offset 4: is 0, not 1 to 17"):
        server.open(packet[:4] + b"\0\0" + packet[6:])
    assert server.epoch == 1
    assert server.open(packet) == b"payload"


def test_a_used_up_counter_goes_on_to_the_next_epoch() -> None:
    client, server = pair()
    client.sent = MOST_PACKETS - 1
    assert server.open(client.seal(b"last")) == b"last"
    assert server.open(client.seal(b"first")) == b"first"
    assert (client.epoch, client.sent) == (2, 1)


def test_no_epoch_is_begun_twice() -> None:
    """A counter that began again under the same key would use its nonces twice."""
    client, _ = pair()
    client.advance(3)
    client.seal(b"")
    for epoch in (2, 3):
        client.advance(epoch)
        assert (client.epoch, client.sent) == (3, 1)


def test_epochs_end() -> None:
    client, _ = pair()
    with pytest.raises(CannotRun, match="no epoch left"):
        client.advance(LAST_EPOCH + 1)
    assert client.epoch == 1


@given(st.sampled_from(Cipher), st.integers(0, 7), st.booleans(), st.binary(max_size=200), st.integers(1, 1 + AHEAD))
def test_a_payload_is_opened_again(cipher: Cipher, key_id: int, from_server: bool, payload: bytes, epoch: int) -> None:
    client, server = pair(cipher, key_id=key_id)
    sender, receiver = (server, client) if from_server else (client, server)
    sender.advance(epoch)
    assert receiver.open(sender.seal(payload)) == payload


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\x48\0\0\7\0\1" + rest))
def test_any_bytes_are_a_decode_error(packet: bytes) -> None:
    with pytest.raises(DecodeError):
        pair()[0].open(packet)
