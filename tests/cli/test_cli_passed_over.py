"""Lines about what a profile says in vain: not without end."""

from vpnprobe.cli.passed_over import MOST_LINES, tell_some


def told(count: int) -> list[str]:
    lines: list[str] = []
    tell_some([f"line {number}" for number in range(count)], lines.append)
    return lines


def test_a_few_are_told_and_the_rest_counted() -> None:
    assert told(0) == []
    assert told(MOST_LINES) == [f"line {number}" for number in range(MOST_LINES)]
    assert told(400_000)[MOST_LINES:] == [f"and {400_000 - MOST_LINES} more like these"]
