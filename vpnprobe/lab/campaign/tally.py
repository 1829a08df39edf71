"""What a campaign's comparisons come to: how often what was said where what was true, and how error bounds are calibrated."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.lab.campaign.findings import Comparison, Wrong

DECADES: Final = tuple(range(1, 10))
"""Error bounds are looked at down to ten to the power of minus these."""


@dataclass(slots=True)
class Tally:
    """Counts over all draws so far."""

    draws: int = 0
    wrong_draws: int = 0
    """Draws with at least one wrong word."""
    features: Counter[str] = field(default_factory=Counter)
    """How many draws had each."""
    said: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By matter, truth and what was said."""
    wrong: Counter[Wrong] = field(default_factory=Counter)
    """Words of each kind of wrong."""
    wrong_in: Counter[Wrong] = field(default_factory=Counter)
    """Draws with such a word."""
    undecided: int = 0
    """Verdicts `unknown` where the truth is plain."""
    hypotheses: int = 0
    """Rows whose packets the path treats as others: claims that they are not are false."""
    reached: Counter[int] = field(default_factory=Counter)
    """How many of them reach an error bound of ten to the power of minus the key."""

    def add(self, comparison: Comparison, features: tuple[str, ...]) -> None:
        kinds = Counter(finding.wrong for finding in comparison.findings)
        self.draws += 1
        self.wrong_draws += bool(kinds)
        self.features.update(features or ("nothing",))
        self.said.update((one.matter, one.truth, one.said) for one in comparison.said)
        self.wrong.update(kinds)
        self.wrong_in.update(kinds.keys())
        self.undecided += comparison.undecided
        self.hypotheses += len(comparison.bounds)
        self.reached.update(decade for bound in comparison.bounds for decade in DECADES if bound <= 10.0**-decade)
