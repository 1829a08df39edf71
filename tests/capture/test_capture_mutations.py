"""Some of the captures and pasted texts changed at random that `make fuzz` analyses."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "fuzz"))

from mutations import CHANGES, SLOW_S, TooSlow, bounded, mutations, seeds_in, wrong_of

PCAPS = Path(__file__).parents[2] / "pcaps"


@pytest.mark.parametrize("kind", CHANGES)
def test_whatever_is_changed_is_analysed(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPNPROBE_DEBUG", "1")
    seeds = seeds_in([PCAPS])[kind]
    for number, data in enumerate(mutations(kind, seeds, 60, seed=1)):
        assert wrong_of(data, tmp_path / "input", arguments=("--json",) if number % 4 == 0 else None) == ""


def test_they_are_the_same_each_time() -> None:
    seeds = [b"one line\nanother\n", b"1 2 3"]
    assert list(mutations("texts", seeds, 50, seed=3)) == list(mutations("texts", seeds, 50, seed=3))
    assert list(mutations("texts", seeds, 50, seed=3)) != list(mutations("texts", seeds, 50, seed=4))


def without_end() -> None:
    with bounded(0.01):
        while SLOW_S:
            pass


def test_what_takes_too_long_is_stopped() -> None:
    with pytest.raises(TooSlow):
        without_end()
