"""Whole sessions of a client and a server: every wrap, carrier and cipher, a path that loses, repeats and reorders, and new keys."""

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvpn_support import WRAPS, Pair, Path, completed, make_pair

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import State, placed
from vpnprobe.conversations.openvpn_ends import CIPHERS, ClientOffer
from vpnprobe.conversations.openvpn_session import Stage
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn import DataV1, DataV2

Cut = Callable[[bytes], Iterator[bytes]]


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def in_chunks(data: bytes) -> Iterator[bytes]:
    sizes, at = random.Random(data), 0
    while at < len(data):
        size = sizes.randint(1, 900)
        yield data[at : at + size]
        at += size


def assert_complete(pair: Pair) -> None:
    for end in (pair.client, pair.server):
        assert end.failure is None
        assert end.stalled() is None
        assert end.stage is Stage.DATA
        assert end.state is State.DATA_BOTH_WAYS
        assert end.key == b"clientid".hex()
        assert end.run.all_answered
        assert end.requests_answered == 12
        assert end.broken is None
    assert pair.client.cipher == pair.server.cipher
    assert pair.client.next_timer() is None
    assert pair.server.next_timer() is None


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("cipher", [*CIPHERS, Cipher.AES_192_GCM])
def test_a_pair_completes_over_datagrams(wrap: str, cipher: Cipher) -> None:
    pair = make_pair(wrap=wrap, offer=ClientOffer(ciphers=(cipher,)), ciphers=(*CIPHERS, Cipher.AES_192_GCM)).complete()
    assert_complete(pair)
    assert pair.client.cipher is cipher
    assert pair.client.unreadable == pair.server.unreadable == 0
    assert max(len(data) for _, data in pair.sent) <= 1492 - 28
    assert max(pair.client.largest_control_bytes, pair.server.largest_control_bytes) <= 1250


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("cut", [byte_by_byte, in_chunks])
def test_a_pair_completes_over_a_stream_in_any_chunks(wrap: str, cut: Cut) -> None:
    pair = make_pair(wrap=wrap, stream=True)
    pair.chunks = cut
    pair.complete()
    assert_complete(pair)
    assert pair.client.unreadable == pair.server.unreadable == 0


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("seed", range(4))
def test_a_pair_completes_over_a_path_that_loses_repeats_and_reorders(wrap: str, seed: int) -> None:
    pair = make_pair(wrap=wrap, seed=seed)
    pair.path = Path(loss=0.2 + 0.1 * (seed % 2), repeated=0.2, jitter_s=0.05, chance=random.Random(seed))
    pair.complete()
    assert_complete(pair)


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.sampled_from(WRAPS))
def test_a_pair_comes_up_whatever_is_lost(seed: int, wrap: str) -> None:
    pair = make_pair(wrap=wrap, seed=seed)
    pair.path = Path(loss=0.2, repeated=0.3, jitter_s=0.1, spares_data=False, chance=random.Random(seed))
    pair.complete()
    for end in (pair.client, pair.server):
        assert end.failure is None
        assert end.stage is Stage.DATA
        assert end.run.all_sent


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wrap", ["none", "tls-crypt-v2"])
@pytest.mark.parametrize("by_client", [False, True])
def test_new_keys_come_by_soft_resets_from_either_end(stream: bool, wrap: str, by_client: bool) -> None:
    pair = completed(stream=stream, wrap=wrap)
    for key_id in (1, 2, 3, 4, 5, 6, 7, 1, 2):
        begins = pair.client if by_client else pair.server
        assert begins.renegotiate(pair.now)
        assert not begins.renegotiate(pair.now)
        pair.run()
        for end in (pair.client, pair.server):
            assert end.channel is not None
            assert end.channel.key_id == key_id
            assert end.failure is None
            end.run.count += 6
            end.run.begin(pair.now)
        pair.run()
        assert pair.client.run.all_answered
        assert pair.server.run.all_answered
    assert pair.client.unreadable == pair.server.unreadable == 0
    assert (pair.server if by_client else pair.client).renegotiations_asked == 9


def test_both_ends_may_begin_new_keys_at_once() -> None:
    pair = completed()
    assert pair.client.renegotiate(pair.now)
    assert pair.server.renegotiate(pair.now)
    pair.run()
    for end in (pair.client, pair.server):
        assert end.channel is not None
        assert end.channel.key_id == 1
        assert end.renegotiations_asked == 0


@pytest.mark.parametrize("seed", range(4))
def test_data_flows_while_keys_change_over_a_bad_path(seed: int) -> None:
    pair = completed()
    pair.path = Path(loss=0.3, repeated=0.2, jitter_s=0.03, chance=random.Random(seed))
    for key_id in (1, 2, 3):
        for end in (pair.client, pair.server):
            end.run.count += 300
            end.run.begin(pair.now)
        assert pair.server.renegotiate(pair.now)
        pair.run(until=lambda wanted=key_id: pair.server.channel is not None and pair.server.channel.key_id == wanted)  # type: ignore[misc]
        pair.run(seconds=1.0)
    assert pair.client.run.all_answered
    assert pair.server.run.all_answered
    assert pair.client.channel is not None
    assert pair.client.channel.key_id == 3


@pytest.mark.parametrize("stream", [False, True])
def test_packets_stay_told_apart_when_key_ids_and_packet_ids_come_again(stream: bool) -> None:
    """After seven renegotiations a key ID serves again, and packet IDs begin at 1 under each."""
    pair = completed(stream=stream)
    for _ in range(9):
        assert pair.server.renegotiate(pair.now)
        pair.run()
        for end in (pair.client, pair.server):
            end.run.count += 6
            end.run.begin(pair.now)
        pair.run()
    for sender, end in ((Sender.INITIATOR, pair.client), (Sender.RESPONDER, pair.server)):
        own = [step.message for step in end.tracker.steps if step.sender is sender and isinstance(step.message, DataV1 | DataV2)]
        assert len({placed(message) for message in own}) == len(own) > 9 * 6
        requests = {request.carried_by for request in end.run.requests.values()}
        assert len(requests) == end.run.count
        answers = {
            step.message.answers for step in end.tracker.steps if step.sender is sender.other and isinstance(step.message, DataV1 | DataV2)
        }
        assert answers >= requests
