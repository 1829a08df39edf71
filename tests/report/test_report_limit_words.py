"""Limits in words: numbers with their units, and how far others were looked for."""

import pytest

from vpnprobe.observations.schema import Direction, Limit, LimitKind, Unit
from vpnprobe.report.limit_words import limit_words, watched_words

C2S = Direction.C2S


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (Limit(LimitKind.LOSS, 0.12, Unit.SHARE, C2S), "loss 12 %, client → server"),
        (Limit(LimitKind.SIZE, 1400, Unit.BYTES), "size 1400 bytes, both ways"),
        (Limit(LimitKind.TIME, None, Unit.SECONDS, watched=60), "no limit of time found up to 60 s, both ways"),
        (Limit(LimitKind.RATE, None, Unit.PACKETS_PER_SECOND), "no limit of rate found, both ways"),
    ],
)
def test_limits_have_numbers_and_how_far_they_were_looked_for(limit: Limit, said: str) -> None:
    assert limit_words(limit) == said


def test_how_far_was_looked_in_the_direction_that_was_watched_least() -> None:
    found = [
        Limit(LimitKind.LOSS, 0.12, Unit.SHARE, C2S),
        Limit(LimitKind.SIZE, None, Unit.BYTES, C2S, watched=1492),
        Limit(LimitKind.SIZE, None, Unit.BYTES, Direction.S2C, watched=1400),
        Limit(LimitKind.PACKETS, None, Unit.PACKETS, C2S, watched=108),
        Limit(LimitKind.RATE, None, Unit.PACKETS_PER_SECOND, C2S, watched=500),
    ]
    assert watched_words(found) == "Its data was tried in packets of up to 1400 bytes and sessions of up to 108 packets."
    assert watched_words(found[:1]) == ""
