"""Peers that mean harm: any bytes in any state, floods, packet IDs, resets and streams without end raise nothing and fill nothing."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openvpn_support import C_ID, S_ID, STAGES, Pair, completed, control, reached, saying

from vpnprobe.conversations.openvpn_client import MOST_OPTIONS, Client
from vpnprobe.conversations.openvpn_failures import FailureCode
from vpnprobe.conversations.openvpn_reliable import RECEIVE_WINDOW, SEND_WINDOW
from vpnprobe.conversations.openvpn_sending import KEPT_STEPS, MOST_WAITING
from vpnprobe.conversations.openvpn_session import SessionEnd, Stage
from vpnprobe.wire.openvpn import (
    CONTROL_PACKETS,
    AckV1,
    ControlV1,
    HardResetServerV2,
    Opcode,
    Reliable,
    SoftResetV1,
    frame,
)


def assert_bounded(end: SessionEnd) -> None:
    assert len(end._negotiations) <= 2
    for negotiation in end._negotiations.values():
        layer = negotiation.reliability
        assert layer.waiting <= MOST_WAITING + 100
        assert len(layer._sent) <= SEND_WINDOW
        assert len(layer._early) < RECEIVE_WINDOW
        assert len(layer._to_acknowledge) == 0
        assert len(negotiation.plain) <= (1 << 16) + (1 << 14)
    assert len(end.tracker.steps) <= KEPT_STEPS
    assert end.tracker.framings[end.SENDER.other].waiting_bytes <= 65537
    assert not isinstance(end, Client) or len(end._pushed) <= MOST_OPTIONS


SESSION_IDS = st.sampled_from([C_ID, S_ID, b"another!", bytes(8)])
NUMBERS = st.one_of(st.integers(0, 20), st.sampled_from([2**31, 2**32 - 1]))
PAYLOADS = st.one_of(st.binary(max_size=60), st.sampled_from([b"", bytes.fromhex("0001 0002 0001"), b"\x16\x03\x03\x00\x10", bytes(1500)]))


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """Anything, mostly what comes near to a packet."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=80))
    opcode, key_id = draw(st.integers(0, 12)), draw(st.integers(0, 7))
    if opcode in (Opcode.DATA_V1, Opcode.DATA_V2) or opcode not in CONTROL_PACKETS:
        return bytes([opcode << 3 | key_id]) + draw(PAYLOADS)
    acks = tuple(draw(st.lists(NUMBERS, max_size=8)))
    packet_id = None if opcode == Opcode.ACK_V1 else draw(NUMBERS)
    layer = Reliable(acks, draw(SESSION_IDS) if acks else None, packet_id, draw(PAYLOADS))
    return bytes([opcode << 3 | key_id]) + draw(SESSION_IDS) + layer.encode()


@given(st.sampled_from(STAGES), st.booleans(), st.booleans(), st.lists(packets(), max_size=20), st.integers(0, 2**32))
def test_any_packets_in_any_state(stage: Stage, stream: bool, at_client: bool, data: list[bytes], seed: int) -> None:
    pair, chance = reached(stage, stream=stream), random.Random(seed)
    end: SessionEnd = pair.client if at_client else pair.server
    now = 1000.0
    for packet in data:
        end.receive(frame(packet) if stream else packet, now)
        now += chance.random() - 0.001
        end.handle_timer(now)
        end.data_to_send(now)
        assert_bounded(end)
    end.closed_by_peer(now)
    end.stalled()
    assert end.renegotiate(now) in (True, False)


@given(st.sampled_from(STAGES), st.booleans(), st.lists(st.binary(max_size=100), max_size=20))
def test_any_bytes_in_a_stream_in_any_state(stage: Stage, at_client: bool, chunks: list[bytes]) -> None:
    pair = reached(stage, stream=True)
    end: SessionEnd = pair.client if at_client else pair.server
    for chunk in chunks:
        end.receive(chunk, 1000.0)
        assert_bounded(end)


EVERY_OPCODE = [bytes([first]) for first in range(256)]
EXAMPLES = (
    *EVERY_OPCODE,
    *(opcode + session_id + tail for opcode in EVERY_OPCODE for session_id in (C_ID, S_ID) for tail in (b"", bytes(5), bytes(40))),
    control(AckV1, Reliable((), None, None)),
    control(AckV1, Reliable((), None, None)) + b"more than there is",
    bytes([AckV1.opcode << 3]) + S_ID + b"\xff" + bytes(255 * 4) + C_ID,
    control(HardResetServerV2, Reliable((0,), C_ID, 0, b"\x00\x01")),
)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("stream", [False, True])
def test_every_opcode_in_every_state(stage: Stage, stream: bool) -> None:
    pair = reached(stage, stream=stream)
    ends: tuple[SessionEnd, SessionEnd] = (pair.client, pair.server)
    for end in ends:
        for data in EXAMPLES:
            end.receive(frame(data) if stream else data, pair.now)
            assert_bounded(end)
        end.handle_timer(pair.now + 1000.0)
        assert_bounded(end)


@pytest.mark.parametrize("ahead", [0, 1, RECEIVE_WINDOW - 1])
def test_control_packets_of_64_kib_over_a_stream(ahead: int) -> None:
    client = reached(Stage.ANSWERED, stream=True).client
    expected = client._negotiations[0].reliability._next_in
    largest = b"\x16\x03\x03" * 22_000
    data = control(ControlV1, Reliable((), None, expected + ahead, largest[: 65535 - 14]), stream=True)
    assert len(data) == 2 + 65535
    for at in range(0, len(data), 4096):
        client.receive(data[at : at + 4096], 1.0)
        assert_bounded(client)
    assert (client.failure is not None) == (ahead == 0)
    assert len(client.data_to_send(1.0)) == 1


@pytest.mark.parametrize("stage", [Stage.RESET, Stage.ANSWERED, Stage.DATA])
def test_many_acknowledgments(stage: Stage) -> None:
    client = reached(stage, stream=True).client
    numbers = [tuple((first + step) & 0xFFFFFFFF for step in range(8)) for first in range(0, 80_000, 8)]
    client.receive(b"".join(control(AckV1, Reliable(acks, C_ID, None), stream=True) for acks in numbers), 1.0)
    assert_bounded(client)
    assert client.data_to_send(1.0) == []
    assert client.failure is None
    assert client.stage is stage


def test_packet_ids_far_ahead_are_neither_kept_nor_acknowledged() -> None:
    client = reached(Stage.ANSWERED).client
    client.data_to_send(1.0)
    expected = client._negotiations[0].reliability._next_in
    for number in (*range(expected + RECEIVE_WINDOW, 2000), 2**31, 2**32 - 1):
        client.receive(control(ControlV1, Reliable((), None, number, bytes(1000))), 1.0)
    assert client._negotiations[0].reliability._early == {}
    assert client.data_to_send(1.0) == []


@pytest.mark.parametrize("stream", [False, True])
def test_soft_resets_again_and_again_under_every_key_id(stream: bool) -> None:
    pair = completed(stream=stream)
    ends: tuple[tuple[SessionEnd, bytes], ...] = ((pair.client, S_ID), (pair.server, C_ID))
    for end, peer in ends:
        for turn in range(200):
            data = control(SoftResetV1, Reliable((), None, turn % 3), session_id=peer, key_id=turn % 8, stream=stream)
            end.receive(data, pair.now)
            end.data_to_send(pair.now)
            assert_bounded(end)
        assert end.renegotiations_asked == 1
        assert sorted(end._negotiations) == [0, 1]
        assert end.channel is not None
        assert end.channel.key_id == 0
    # Data still goes through.
    before = pair.server.pings_received
    pair.client.send_payload(bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748"), pair.now)
    for data in pair.client.data_to_send(pair.now):
        pair.server.receive(data, pair.now)
    assert pair.server.pings_received == before + 1


@pytest.mark.parametrize(
    "run",
    [
        lambda: saying(says=b"x" * 200_000),
        lambda: saying(
            keys=bytes(4) + b"\x02" + bytes(64) + (b"\x3f\xff" + bytes(0x3FFF)) * 3 + b"\x3f\xff" + bytes(0x3FF0) + b"x" * 99_999
        ),
    ],
)
def test_a_stream_inside_tls_that_never_ends(run: Callable[[], Pair]) -> None:
    pair = run()
    assert pair.client.failure is not None
    assert pair.client.failure.code is FailureCode.KEYS_UNREADABLE
    assert_bounded(pair.client)


def test_messages_without_end_each_of_which_is_whole() -> None:
    pair = saying(says=b"INFO,x\0" * 20_000 + b"PUSH_REPLY,cipher AES-256-GCM\0" * 2_000)
    assert pair.client.failure is None
    assert_bounded(pair.client)


def test_many_packets_that_cannot_be_read_are_counted_up_to_a_bound() -> None:
    pair = completed()
    pair.server.unreadable = 9_999
    for _ in range(3):
        pair.server.receive(b"\xff", pair.now)
    assert pair.server.unreadable == 10_000


def test_the_record_of_a_session_is_bounded() -> None:
    pair = completed()
    for _ in range(KEPT_STEPS + 10):
        pair.server.receive(b"\xff", pair.now)
    assert len(pair.server.tracker.steps) == KEPT_STEPS
    pair.client.send_payload(bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748"), pair.now)
    pair.run()
    assert pair.server.pings_received == 1
