"""The pairs of hosts of an input, each with the verdicts of its own, as the lines of a report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.observations.schema import ConversationSummary, Feasibility, PathVerdicts, Verdict
from vpnprobe.report.rows import Anchors, VerdictLine, verdict_lines
from vpnprobe.report.words import visible

MOST_SEEN: Final = 4
"""Conversations of one pair that are named."""


@dataclass(frozen=True, slots=True)
class HostPair:
    """One pair of hosts."""

    client: str
    server: str
    verdicts: tuple[VerdictLine, ...]
    """Of the protocols that something is known of."""
    seen: tuple[str, ...]
    """The conversations between them, and how far they got."""

    @property
    def sentence(self) -> str:
        """All in one line."""
        said = (f"{line.name} {line.mark.word}. {line.reasons[0].text}" for line in self.verdicts)
        seen = f"seen: {'; '.join(self.seen) or 'no conversation'}."
        return f"{self.client} → {self.server}: {' '.join(said) or seen}"


def says_something(verdict: Verdict) -> bool:
    """Whether a verdict rests on anything of its protocol that was seen."""
    seen = any(not one.startswith("nat-") for reason in verdict.because for one in reason.observations)
    return seen or verdict.feasibility is not Feasibility.UNKNOWN


def host_pairs(paths: Sequence[PathVerdicts], conversations: Iterable[ConversationSummary], anchors: Anchors) -> tuple[HostPair, ...]:
    """A line a pair, in the order of the document."""
    seen: dict[frozenset[str], dict[str, None]] = {}
    for one in conversations:
        seen.setdefault(frozenset((one.client.address, one.server.address)), {})[visible(f"{one.protocol} {one.stage}")] = None
    return tuple(
        HostPair(
            visible(path.client),
            visible(path.server),
            verdict_lines(filter(says_something, path.verdicts), None, anchors),
            tuple(seen.get(frozenset((path.client, path.server)), ()))[:MOST_SEEN],
        )
        for path in paths
    )
