"""Random networks that were once judged wrongly (`draws/`): each is run again with its seed, and what was wrong must not be.

Each file has its seed in the first line and the words that were wrong as comments; the truth is computed anew from the network.
"""

from pathlib import Path
from typing import Final

import pytest

from vpnprobe.lab.campaign.findings import Finding, Wrong
from vpnprobe.lab.campaign.running import judge_topology
from vpnprobe.lab.scenario import load

DRAWS: Final = Path(__file__).parent / "draws"
CUT: Final = frozenset({Wrong.FEASIBLE, Wrong.CAUSE, Wrong.RECOMMENDATION})
PLACE: Final = frozenset({Wrong.PLACE})
BEYOND_THE_NAT: Final = "the hops behind a NAT that answers for them are counted from the wrong side"
ANOTHERS_TRACE: Final = "the place is taken from the trace of another kind of packet"
NAMED_OTHERWISE: Final = "flows that are cut after some packets are called 'rate' or 'loss'"
STALLED: Final = "a TCP stream that stalls is said to pass"
MUST_NOT_BE_SAID: Final = {
    "A-136": (PLACE, BEYOND_THE_NAT),
    "A-173": (PLACE, ""),
    "A-268": (frozenset({Wrong.PASS, Wrong.FEASIBLE}), STALLED),
    "A-296": (PLACE, ANOTHERS_TRACE),
    "A-471": (CUT, NAMED_OTHERWISE),
    "A-58": (frozenset({Wrong.BLOCKED}), ""),
    "B-30": (frozenset({Wrong.FEASIBLE, Wrong.RECOMMENDATION}), ""),
    "B-71": (CUT, NAMED_OTHERWISE),
    "t-29": (CUT, NAMED_OTHERWISE),
    "t-53": (PLACE, ""),
}
"""By draw: the kinds of wrong words that it may not have, and why it still has some; empty: it has none."""


def seed_of(file: Path) -> int:
    return int(file.read_text("utf-8").splitlines()[0].removeprefix("# --seed "))


def cases() -> list[object]:
    marked = {name: [pytest.mark.xfail(reason=why, strict=True)] if why else [] for name, (_, why) in MUST_NOT_BE_SAID.items()}
    return [pytest.param(name, marks=marks) for name, marks in marked.items()]


def test_all_draws_are_looked_at() -> None:
    assert sorted(MUST_NOT_BE_SAID) == sorted(file.stem for file in DRAWS.glob("*.toml"))


@pytest.mark.parametrize("name", cases())
def test_what_was_wrong_is_right(name: str) -> None:
    file = DRAWS / f"{name}.toml"
    found = judge_topology(load(file).topology, seed_of(file)).findings
    wrong: list[Finding] = [one for one in found if one.wrong in MUST_NOT_BE_SAID[name][0]]
    assert [str(one) for one in wrong] == []
