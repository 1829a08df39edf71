"""What a comparison of a result with the truth comes to: kinds of wrong words, and all words that were looked at."""

from dataclasses import dataclass, field
from enum import StrEnum


class Wrong(StrEnum):
    """Kinds of wrong words."""

    BLOCKED = "wrong-blocked"
    """Said not to pass, and it passes, or nothing but an end's own firewall keeps it."""
    FEASIBLE = "wrong-feasible"
    """A verdict says that it works, and it does not."""
    PASS = "wrong-pass"
    """A row says that it passes, and it does not."""
    DEGRADED = "wrong-degraded"
    """Said to be limited, and nothing limits it; or said to work freely, and loss that every user feels limits it."""
    CAUSE = "wrong-cause"
    PLACE = "wrong-place"
    NO_PLACE = "no-place"
    """None is told, though all routers speak."""
    DIRECTION = "wrong-direction"
    SETTINGS = "wrong-settings"
    RECOMMENDATION = "wrong-recommendation"
    INCOMPLETE = "incomplete"
    ERROR = "error"
    """A traceback, or a probe that failed by itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One wrong word."""

    wrong: Wrong
    about: str
    """`row ID`, `cause ID`, `verdict PROTOCOL`, `recommendation PROTOCOL/PORT`, ..."""
    said: str
    truth: str

    def __str__(self) -> str:
        return f"{self.wrong.value}: {self.about}: said {self.said}; truth: {self.truth}"


@dataclass(frozen=True, slots=True)
class Said:
    """One word of a result beside the truth."""

    matter: str
    """`verdict`, `row`, `direction`, `cause`, `place`, `recommendation` or `settings`."""
    truth: str
    said: str


@dataclass(slots=True)
class Comparison:
    """A whole result beside the truth."""

    said: list[Said] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    undecided: int = 0
    """Verdicts that say `unknown` though the truth is plain."""
    bounds: list[float] = field(default_factory=list)
    """Error bounds of rows whose packets the path treats as others; 1 where none was given."""

    def wrong(self, wrong: Wrong, about: str, said: str, truth: str) -> None:
        self.findings.append(Finding(wrong, about, said, truth))

    def told(self, matter: str, truth: str, said: str) -> None:
        self.said.append(Said(matter, truth, said))
