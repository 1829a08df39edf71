"""OpenVPN's reliability layer: windows, acknowledgments, repetitions and their pauses, order, and what a peer cannot make it do."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.openvpn_reliable import (
    ACKS_BESIDE_PAYLOAD,
    MOST_PAUSE_S,
    MOST_REPETITIONS,
    RECEIVE_WINDOW,
    SEND_WINDOW,
    Reliability,
)
from vpnprobe.wire.openvpn import MOST_ACKS, ControlV1, Reliable

PEER = b"peer....."[:8]


def layer(packet_id: int | None, payload: bytes = b"", acks: tuple[int, ...] = ()) -> Reliable:
    return Reliable(acks, PEER if acks else None, packet_id, payload)


def reliability(*, stream: bool = False) -> Reliability:
    return Reliability(stream=stream, retransmit_after_s=1.0)


def test_packets_are_numbered_and_wait_for_the_window() -> None:
    ours = reliability()
    assert ours.all_acknowledged
    assert ours.next_timer() is None
    for number in range(SEND_WINDOW + 2):
        ours.queue(ControlV1, bytes([number]))
    assert not ours.all_acknowledged
    assert ours.to_send(10.0) == [(ControlV1, number, bytes([number])) for number in range(SEND_WINDOW)]
    assert ours.waiting == 2
    assert ours.to_send(10.5) == []
    ours.take(layer(None, acks=(3,)))
    assert ours.to_send(10.5) == [(ControlV1, SEND_WINDOW, bytes([SEND_WINDOW]))]
    ours.take(layer(None, acks=tuple(range(8))))
    assert ours.to_send(10.6) == [(ControlV1, SEND_WINDOW + 1, bytes([SEND_WINDOW + 1]))]
    ours.take(layer(None, acks=(SEND_WINDOW + 1,)))
    assert ours.all_acknowledged
    assert ours.next_timer() is None


def test_what_is_not_acknowledged_is_repeated_at_growing_pauses_and_given_up() -> None:
    ours = reliability()
    ours.queue(ControlV1, b"x")
    now, at = 0.0, [0.0]
    assert ours.to_send(now)
    while (timer := ours.next_timer()) is not None:
        assert ours.to_send(timer - 0.001) == []
        now = timer
        assert ours.to_send(now) == [(ControlV1, 0, b"x")]
        at.append(now)
    pauses = [after - before for before, after in pairwise(at)]
    assert pauses == [1.0, 2.0, 4.0] + [MOST_PAUSE_S] * (MOST_REPETITIONS - 3)
    assert ours.to_send(now + 1e6) == []
    assert not ours.all_acknowledged


def test_a_stream_repeats_nothing() -> None:
    ours = reliability(stream=True)
    ours.queue(ControlV1, b"x")
    assert ours.to_send(0.0)
    assert ours.next_timer() is None
    assert ours.to_send(1e6) == []
    ours.take(layer(0))
    assert ours.acknowledgments(with_payload=False) == (0,)
    ours.take(layer(1))
    assert ours.acknowledgments(with_payload=False) == (1,)


def test_payloads_come_in_order_and_once() -> None:
    ours = reliability()
    assert ours.take(layer(2, b"c")) == []
    assert ours.take(layer(2, b"other")) == []
    assert ours.take(layer(0, b"a")) == [b"a"]
    assert ours.take(layer(1, b"b")) == [b"b", b"c"]
    assert ours.take(layer(1, b"b")) == []
    assert ours.acknowledgments(with_payload=False) == (2, 0, 1)


def test_what_is_too_early_is_neither_kept_nor_acknowledged() -> None:
    ours = reliability()
    assert ours.take(layer(RECEIVE_WINDOW, b"x")) == []
    assert ours.take(layer(0xFFFFFFFF, b"x")) == []
    assert not ours.has_acknowledgments
    assert ours.take(layer(RECEIVE_WINDOW - 1, b"x")) == []
    assert ours.acknowledgments(with_payload=False) == (RECEIVE_WINDOW - 1,)


def test_acknowledgments_are_repeated_where_there_is_room() -> None:
    ours = reliability()
    for number in range(10):
        ours.take(layer(number))
    assert ours.acknowledgments(with_payload=True) == (0, 1, 2, 3)
    assert ours.acknowledgments(with_payload=False) == (4, 5, 6, 7, 8, 9, 3, 2)
    assert not ours.has_acknowledgments
    assert ours.acknowledgments(with_payload=True) == (9, 8, 7, 6)
    ours.take(layer(5))
    assert ours.acknowledgments(with_payload=True) == (5, 9, 8, 7)


def test_an_acknowledgment_is_not_acknowledged() -> None:
    ours = reliability()
    assert ours.take(layer(None, acks=(1, 2, 99))) == []
    assert not ours.has_acknowledgments


def test_which_packets_are_acknowledged() -> None:
    ours = reliability()
    assert ours.queued == 0
    assert ours.acknowledged_up_to(0)
    for _ in range(SEND_WINDOW + 1):
        ours.queue(ControlV1)
    assert ours.queued == SEND_WINDOW + 1
    assert not ours.acknowledged_up_to(1)
    ours.to_send(0.0)
    ours.take(layer(None, acks=(0, 1, 3)))
    assert [ours.acknowledged_up_to(number) for number in (0, 1, 2, 3, 4)] == [True, True, True, False, False]
    ours.take(layer(None, acks=(2, 4, 5)))
    assert ours.acknowledged_up_to(SEND_WINDOW)
    assert not ours.acknowledged_up_to(SEND_WINDOW + 1)
    assert ours.queued == SEND_WINDOW + 1


def test_time_that_goes_back_a_hair_repeats_nothing() -> None:
    ours = reliability()
    ours.queue(ControlV1, b"x")
    ours.to_send(10.0)
    assert ours.to_send(9.999) == []
    assert ours.next_timer() == pytest.approx(11.0)


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(0, 2**32))
def test_whatever_comes_is_in_order_and_bounded(numbers: list[int], seed: int) -> None:
    ours, out, chance = reliability(), [], random.Random(seed)
    for number in numbers:
        out += ours.take(layer(number, bytes([number]), acks=(chance.randint(0, 9),)))
        while chance.random() < 0.5 and ours.has_acknowledgments:
            with_payload = chance.random() < 0.5
            assert len(ours.acknowledgments(with_payload=with_payload)) <= (ACKS_BESIDE_PAYLOAD if with_payload else MOST_ACKS)
    assert out == [bytes([number]) for number in range(len(out))]
    assert len(ours._early) < RECEIVE_WINDOW
