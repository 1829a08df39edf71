"""The pairs of hosts of an input, each with the verdicts of its own, as the lines of a report."""

from collections.abc import Sequence
from dataclasses import dataclass

from vpnprobe.observations.schema import Feasibility, PathVerdicts, Verdict
from vpnprobe.report.rows import Anchors, VerdictLine, verdict_lines
from vpnprobe.report.words import visible


@dataclass(frozen=True, slots=True)
class HostPair:
    """One pair of hosts."""

    client: str
    server: str
    verdicts: tuple[VerdictLine, ...]
    """Of the protocols that they are seen to talk."""

    @property
    def sentence(self) -> str:
        """All in one line."""
        said = (f"{line.name} {line.mark.word}. {line.reasons[0].text}" for line in self.verdicts)
        return f"{self.client} → {self.server}: {' '.join(said) or 'nothing is known.'}"


def says_something(verdict: Verdict) -> bool:
    """Whether a verdict rests on anything of its protocol that was seen."""
    seen = any(not one.startswith("nat-") for reason in verdict.because for one in reason.observations)
    return seen or verdict.feasibility is not Feasibility.UNKNOWN


def host_pairs(paths: Sequence[PathVerdicts], anchors: Anchors) -> tuple[HostPair, ...]:
    """A line a pair, in the order of the document."""
    return tuple(
        HostPair(visible(path.client), visible(path.server), verdict_lines(filter(says_something, path.verdicts), None, anchors))
        for path in paths
    )
