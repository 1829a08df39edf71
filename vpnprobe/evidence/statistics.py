"""How sure we are that what never arrived is blocked and not merely unlucky.

Background loss is measured on what does pass in the same direction. With `lost` of `lost + passed` packets gone and a uniform prior, the
loss rate has the distribution Beta(lost + 1, passed + 1); the probability that `trials` further independent packets all go missing by
bad luck alone is its moment E[p^trials], which has a closed form. That number is the error bound of a 'blocked'.
"""

from dataclasses import dataclass
from math import comb, exp, fsum, lgamma, log
from typing import Final

ERROR_BOUND: Final = 1e-6
"""What a 'blocked' must reach by default."""
LEAST_TRIALS: Final = 4
"""Fresh nonces below which nothing is called blocked: a payload filter hits one random payload in 32 by chance."""
NOW_AND_THEN: Final = 0.01
"""A chance that comes true in some run: one has many ports and forms to try."""
SELDOM: Final = 1e-3
"""A chance that comes true in hardly any run."""
MOST_TRIALS: Final = 64
"""A path that needs more than this to tell blocked from lossy is called neither."""


@dataclass(frozen=True, slots=True)
class Background:
    """Loss of what does pass, in one direction."""

    lost: int = 0
    passed: int = 0

    def __add__(self, other: "Background") -> "Background":
        return Background(self.lost + other.lost, self.passed + other.passed)

    @property
    def measured(self) -> bool:
        """Whether anything at all passed: without that there is nothing to compare with."""
        return self.passed > 0

    def chance_of_losing_all(self, trials: int) -> float:
        """Probability, 0 to 1, that `trials` independent packets are all lost by background loss alone: E[p^trials] under Beta."""
        chance = 1.0
        for trial in range(trials):
            chance *= (self.lost + 1 + trial) / (self.lost + self.passed + 2 + trial)
        return chance

    def chance_of_losing(self, lost: int, sent: int) -> float:
        """Probability, 0 to 1, that of `sent` independent packets `lost` or more are lost by background loss alone (beta-binomial)."""
        a, b = self.lost + 1, self.passed + 1

        def chance(k: int) -> float:
            return exp(log(comb(sent, k)) + _log_beta(a + k, b + sent - k) - _log_beta(a, b))

        return min(1.0, fsum(chance(k) for k in range(lost, sent + 1)))

    def may_lose_all(self, trials: int, *, ways: int = 1) -> bool:
        """Whether so many independent packets are all lost now and then by background loss alone. `ways`: how many sets they may be of."""
        return ways * self.chance_of_losing_all(trials) > NOW_AND_THEN

    def trials_needed(self, bound: float = ERROR_BOUND) -> int:
        """How many trials separate blocked from lossy at `bound`; at least LEAST_TRIALS, at most MOST_TRIALS."""
        for trials in range(LEAST_TRIALS, MOST_TRIALS):
            if self.chance_of_losing_all(trials) <= bound:
                return trials
        return MOST_TRIALS


def hardly_by_chance(lost: int, sent: int) -> bool:
    """Whether chance, which may lose any `lost` of `sent` packets, hardly loses those that are the largest, if sizes leave in any order."""
    return comb(sent, lost) >= 1 / SELDOM


def _log_beta(a: int, b: int) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def round_trip(there: Background, back: Background) -> Background:
    """The loss of something that must arrive and be answered: it is lost where either way loses it."""
    total = min(there.lost + there.passed, back.lost + back.passed)
    if total == 0:
        return Background()
    kept = (there.passed / (there.lost + there.passed)) * (back.passed / (back.lost + back.passed))
    passed = int(total * kept)
    return Background(total - passed, passed)
