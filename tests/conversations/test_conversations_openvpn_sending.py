"""What an end says: repetitions of its reset, acknowledgments, unique packet IDs in the wrap, and what waits too long."""

import pytest
from openvpn_support import completed, make_client, make_pair, reached, wrappings

from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_reliable import SEND_WINDOW
from vpnprobe.conversations.openvpn_sending import CONTROL_PAYLOAD, MOST_WAITING
from vpnprobe.conversations.openvpn_session import Stage
from vpnprobe.wire.openvpn import HardResetClientV2, decode_openvpn


def test_the_reset_is_repeated_at_growing_pauses() -> None:
    client = make_client(wrapping=wrappings("tls-auth")[0])
    assert client.next_timer() is None
    client.start(0.0)
    first = client.data_to_send(0.0)
    times, copies = [], list(first)
    while (timer := client.next_timer()) is not None:
        client.handle_timer(timer - 1e-6)
        assert client.data_to_send(timer) == []
        client.handle_timer(timer)
        times.append(timer)
        copies += client.data_to_send(timer)
    assert times == [1.0, 3.0, 7.0, 15.0, 23.0, 31.0, 39.0, 47.0]
    # Each with a packet ID of its own, or the peer would take it for a replay.
    assert len(set(copies)) == len(copies) == 9
    assert {type(decode_openvpn(copy)) for copy in copies} == {HardResetClientV2}


def test_over_a_stream_the_reset_leaves_once() -> None:
    client = make_client(stream=True)
    client.start(0.0)
    assert len(client.data_to_send(0.0)) == 1
    assert client.next_timer() is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_peer_that_never_acknowledges_fills_the_window_and_no_more(stream: bool) -> None:
    pair = reached(Stage.DATA, stream=stream)
    client = pair.client
    negotiation = client._negotiations[0]
    client._say(negotiation, bytes(CONTROL_PAYLOAD * 20))
    client.handle_timer(pair.now)
    assert len(client.data_to_send(pair.now)) == SEND_WINDOW
    assert client.failure is None
    client._say(negotiation, bytes(CONTROL_PAYLOAD * MOST_WAITING))
    client.handle_timer(pair.now)
    assert client.failure == Failure(FailureCode.TLS_BROKEN, f"the peer leaves more than {MOST_WAITING} packets unacknowledged")
    waiting = negotiation.reliability.waiting
    # A session that has failed says no more, so nothing grows.
    client._say(negotiation, bytes(CONTROL_PAYLOAD * MOST_WAITING))
    client.handle_timer(pair.now)
    assert negotiation.reliability.waiting == waiting


def test_the_window_goes_on_with_acknowledgments() -> None:
    pair = completed()
    pair.client._say(pair.client._negotiations[0], b"X" * CONTROL_PAYLOAD * 20 + b"\0")
    pair.client.handle_timer(pair.now)
    pair.run()
    assert pair.client._negotiations[0].reliability.all_acknowledged
    assert pair.server.failure is None


def test_new_keys_are_not_begun_before_there_are_any() -> None:
    client = make_client()
    assert not client.renegotiate(0.0)
    client.start(0.0)
    assert not client.renegotiate(0.0)
    assert len(client.data_to_send(0.0)) == 1


def test_the_server_sends_under_new_keys_only_when_the_client_has_them() -> None:
    pair = completed()
    held: list[bytes] = []

    def hold(end: object, data: bytes) -> bytes | None:
        """The client's acknowledgments of what belongs to the new keys are late."""
        if end is pair.client and data[0] & 7 == 1 and data[0] >> 3 == 5:
            held.append(data)
            return None
        return data

    assert pair.server.renegotiate(pair.now)
    pair.change = hold
    pair.run(seconds=0.9)
    assert held
    assert pair.server.channel is not None
    assert pair.server.channel.key_id == 0
    assert pair.client.channel is not None
    assert pair.client.channel.key_id == 1
    # A data packet under them shows it too.
    pair.client.send_payload(b"x", pair.now)
    pair.run(seconds=0.1)
    assert pair.server.channel.key_id == 1


def test_the_size_of_control_packets_is_kept() -> None:
    pair = make_pair(wrap="tls-crypt-v2-asked-again").complete()
    assert pair.client.largest_control_bytes == max(
        len(data) for end, data in pair.sent if end is pair.client and data[0] >> 3 not in (6, 9)
    )
