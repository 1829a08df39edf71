"""Identifiers that carry a session's tag, whole or as a digest."""

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.session_tag import SHORTEST, WHOLE, carries, identifier, key_carries

TAGS = st.integers(0, 2**32 - 1)


@given(TAGS, st.integers(SHORTEST, 32))
def test_an_identifier_is_of_its_session(tag: int, size: int) -> None:
    made = identifier(tag, size, os.urandom)
    assert len(made) == size
    assert carries(made, tag)
    assert key_carries(made.hex(), tag)


def test_eight_bytes_end_in_the_tag_itself() -> None:
    assert identifier(0x01020304, WHOLE, lambda count: b"\xaa" * count) == b"\xaa\xaa\xaa\xaa\x01\x02\x03\x04"


@pytest.mark.parametrize("size", [4, 8, 16])
def test_another_sessions_is_not(size: int) -> None:
    """Of four bytes two are a digest: one in 65536 is taken for another session's."""
    rng = random.Random(1)
    wrong = sum(carries(identifier(rng.getrandbits(32), size, rng.randbytes), 7) for _ in range(2000))
    assert wrong == 0


@pytest.mark.parametrize("key", ["", "ab", "tunnel-0001", "abcdefgh"])
def test_what_is_no_identifier_carries_nothing(key: str) -> None:
    assert not key_carries(key, 1)


def test_fresh_bytes_come_first_and_differ() -> None:
    assert len({identifier(5, 4, os.urandom)[:2] for _ in range(40)}) > 30
