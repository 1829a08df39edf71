"""Our own probe payload: both ends know it by its key, and nothing else is taken for it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.evidence.packet_counts import answered_key
from vpnprobe.wire.nonce import (
    ANSWER,
    BLOCK_SHIFT,
    FRESH_MASK,
    MOST_BLOCKS,
    MOST_REQUESTS,
    PURPOSE_SHIFT,
    REQUEST_SHIFT,
    SHORTEST,
    NoncePayload,
    Purpose,
    block_of,
    control_of,
)

PAYLOADS = st.builds(NoncePayload, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(SHORTEST, 1500))


@given(PAYLOADS)
def test_round_trip(payload: NoncePayload) -> None:
    data = payload.encode()
    assert len(data) == payload.size
    assert NoncePayload.decode(data) == payload


@given(PAYLOADS, st.integers(0, 1499), st.integers(1, 255))
def test_an_altered_packet_is_not_taken_for_the_one_that_was_sent(payload: NoncePayload, at: int, flip: int) -> None:
    data = bytearray(payload.encode())
    data[at % len(data)] ^= flip
    try:
        decoded = NoncePayload.decode(bytes(data))
    except DecodeError:
        return
    assert decoded.key != payload.key


@given(st.binary(max_size=100))
def test_hostile_bytes_cause_nothing_but_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        NoncePayload.decode(data)


def test_a_truncated_packet_is_refused() -> None:
    data = NoncePayload(1, 2, 40).encode()
    with pytest.raises(DecodeError, match="number"):
        NoncePayload.decode(data[:13])
    assert NoncePayload.decode(data[:20]) == NoncePayload(1, 2, 20)


def test_the_key_and_the_head() -> None:
    payload = NoncePayload(0xA1, 0xB2)
    assert payload.key == "000000a1" + "00000000000000b2"
    assert payload.encode() == b"vp" + bytes.fromhex(payload.key)
    assert payload.encode()[0] >> 3 not in range(1, 12)


@given(PAYLOADS)
def test_an_answer_has_a_key_of_its_own_and_names_its_check(payload: NoncePayload) -> None:
    check = replace(payload, number=payload.number & ~ANSWER)
    answer = check.answer()
    assert answer.is_answer
    assert not check.is_answer
    assert answer.size == check.size
    assert answer.key != check.key
    assert answered_key(answer.key) == answered_key(check.key) == check.key


@pytest.mark.parametrize("purpose", Purpose)
def test_a_payload_says_what_it_is_for_and_so_does_its_answer(purpose: Purpose) -> None:
    payload = NoncePayload(1, purpose << PURPOSE_SHIFT | 5)
    assert NoncePayload.decode(payload.encode()).purpose is purpose
    assert payload.answer().purpose is purpose


def test_the_purpose_is_part_of_the_key_and_leaves_the_fresh_bits_alone() -> None:
    numbers = [purpose << PURPOSE_SHIFT | FRESH_MASK for purpose in Purpose]
    assert len({NoncePayload(1, number).key for number in numbers}) == len(Purpose)
    assert NoncePayload(1, FRESH_MASK).purpose is Purpose.REACH
    assert not FRESH_MASK & ANSWER


def test_a_purpose_of_a_newer_vpnprobe_is_ours_and_none_that_counts() -> None:
    unknown = set(range(16)) - set(Purpose)
    assert {NoncePayload.decode(NoncePayload(1, value << PURPOSE_SHIFT).encode()).purpose for value in unknown} == {Purpose.OTHER}


@given(st.integers(0, MOST_BLOCKS - 1), st.integers(0, (1 << BLOCK_SHIFT) - 1), st.sampled_from([0, ANSWER]))
def test_a_control_tells_its_block_and_so_does_its_answer(block: int, fresh: int, answer: int) -> None:
    payload = NoncePayload(7, answer | Purpose.CONTROL << PURPOSE_SHIFT | block << BLOCK_SHIFT | fresh)
    assert payload.purpose is Purpose.CONTROL
    assert (payload.block, block_of(payload.key), payload.answer().block) == (block, block, block)


@given(PAYLOADS)
def test_what_is_no_control_is_of_no_block(payload: NoncePayload) -> None:
    control = payload.purpose is Purpose.CONTROL
    assert (payload.block is None, block_of(payload.key) is None) == (not control, not control)


@pytest.mark.parametrize("key", ["", "1", "x" * 24, "0" * 25])
def test_what_is_no_key_of_ours_is_of_no_block(key: str) -> None:
    assert block_of(key) is None


def of(purpose: Purpose, rest: int = 0) -> NoncePayload:
    return NoncePayload(7, purpose << PURPOSE_SHIFT | rest, SHORTEST)


def test_a_repeat_names_the_control_whose_flow_it_is_of() -> None:
    block = 5 << BLOCK_SHIFT
    assert control_of(of(Purpose.REPEAT, block | 9).key) == of(Purpose.CONTROL, block | 9).key
    assert control_of(of(Purpose.CONTROL, block | 9).key) is None
    assert control_of("no key") is None


def test_what_leaves_in_a_block_bears_its_number_and_nothing_else_does() -> None:
    assert block_of(of(Purpose.CONTROL, 5 << BLOCK_SHIFT).key) == 5
    assert block_of(of(Purpose.PROMPT, 5 << BLOCK_SHIFT).key) == 5
    assert block_of(of(Purpose.REACH, 5 << BLOCK_SHIFT).key) is None
    assert block_of("no key") is None


def test_a_prompt_names_its_request() -> None:
    assert of(Purpose.PROMPT, 3 << REQUEST_SHIFT).request == 3
    assert of(Purpose.PROMPT, (MOST_REQUESTS - 1) << REQUEST_SHIFT).request == MOST_REQUESTS - 1
    assert of(Purpose.CONTROL, 3 << REQUEST_SHIFT).request is None
