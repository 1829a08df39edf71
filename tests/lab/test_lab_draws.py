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
CAUSE: Final = frozenset({Wrong.CAUSE})
LOST: Final = frozenset({Wrong.DEGRADED})
MUST_NOT_BE_SAID: Final = {
    "A-136": PLACE,
    "A-173": PLACE,
    "A-268": frozenset({Wrong.PASS, Wrong.FEASIBLE}),
    "A-296": PLACE,
    "A-471": CUT,
    "A-58": frozenset({Wrong.BLOCKED}),
    "B-30": frozenset({Wrong.FEASIBLE, Wrong.RECOMMENDATION}),
    "B-71": CUT,
    "c-1240": LOST,
    "c-138": frozenset({Wrong.BLOCKED}),
    "c-31": frozenset({Wrong.PASS}),
    "c-319": frozenset({Wrong.BLOCKED, Wrong.PLACE}),
    "c-389": LOST,
    "c-439": CAUSE,
    "c-560": CAUSE,
    "c-665": CAUSE,
    "c-769": frozenset({Wrong.BLOCKED}),
    "c-851": CAUSE,
    "t-29": CUT,
    "t-53": PLACE,
}
"""By draw: the kinds of wrong words that it may not have."""


def seed_of(file: Path) -> int:
    return int(file.read_text("utf-8").splitlines()[0].removeprefix("# --seed "))


def test_all_draws_are_looked_at() -> None:
    assert sorted(MUST_NOT_BE_SAID) == sorted(file.stem for file in DRAWS.glob("*.toml"))


@pytest.mark.parametrize("name", MUST_NOT_BE_SAID)
def test_what_was_wrong_is_right(name: str) -> None:
    file = DRAWS / f"{name}.toml"
    found = judge_topology(load(file).topology, seed_of(file)).findings
    wrong: list[Finding] = [one for one in found if one.wrong in MUST_NOT_BE_SAID[name]]
    assert [str(one) for one in wrong] == []
