"""Lines about what a profile says in vain: not without end, and without keys."""

import base64

from vpnprobe.cli.passed_over import LONGEST_NAME, MOST_LINES, name_shown, tell_some


def told(count: int) -> list[str]:
    lines: list[str] = []
    tell_some([f"line {number}" for number in range(count)], lines.append)
    return lines


def test_a_few_are_told_and_the_rest_counted() -> None:
    assert told(0) == []
    assert told(MOST_LINES) == [f"line {number}" for number in range(MOST_LINES)]
    assert told(400_000)[MOST_LINES:] == [f"and {400_000 - MOST_LINES} more like these"]


def test_a_line_of_a_key_is_not_shown() -> None:
    line = base64.b64encode(bytes(range(48))).decode()
    assert name_shown(line) == f"a word of {len(line)} characters"
    assert name_shown("frobnicate") == "frobnicate"
    assert len(name_shown("x" * LONGEST_NAME)) == LONGEST_NAME
