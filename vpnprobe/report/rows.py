"""Observations and verdicts as the lines of a report: marks, sentences, and links between a reason and what it rests on.

An anchor is made from an observation's place in the document, never from its id, so that a stranger's text cannot become part of a link.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from vpnprobe.observations.schema import Direction, Feasibility, Observation, Outcome, Recommendation, Result, Verdict
from vpnprobe.report.limit_words import limit_words, watched_words
from vpnprobe.report.sessions import SAID, message_facts, session_facts
from vpnprobe.report.story import is_stopped, place_in_order, place_words
from vpnprobe.report.words import (
    Mark,
    bound_words,
    cause_of,
    count_words,
    direction_words,
    feasibility_mark,
    number_words,
    outcome_mark,
    port_words,
    probe_name,
    protocol_name,
    question_words,
    value_words,
    visible,
)

SAID_ELSEWHERE: Final = frozenset({"form", "hops", "reached", "messages", "compared_with", "lost_direction", "state", "proof"}) | SAID
"""Keys of `detail` that have a sentence of their own."""
PROOFS: Final = {"acknowledged": "by their acknowledgments", "answered": "by their answers"}
"""What a count rests on where the receiving end kept no record."""
SHOWN_FIRST: Final = {Feasibility.FEASIBLE: 0, Feasibility.DEGRADED: 1, Feasibility.INFEASIBLE: 2, Feasibility.UNKNOWN: 3}
"""What is shown stands before what is not known."""


class Link(NamedTuple):
    """An observation's id, and the anchor of its line; an empty anchor: the document has no such observation."""

    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class EvidenceLine:
    """One observation."""

    anchor: str
    mark: Mark
    question: str
    direction: str
    identifier: str
    facts: tuple[str, ...]
    compared_with: tuple[Link, ...]
    detail: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class EvidenceGroup:
    """The observations of one probe."""

    name: str
    anchor: str
    lines: tuple[EvidenceLine, ...]


class ReasonLine(NamedTuple):
    text: str
    rule: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """One protocol."""

    name: str
    mark: Mark
    port: str
    rank: int | None
    """Place in the ranking, from 1; None: not ranked."""
    recommended: bool
    reasons: tuple[ReasonLine, ...]
    limits: tuple[str, ...] = ()
    """What users will feel though it works."""
    watched: str = ""
    """How far others were looked for; empty: they were not."""


class Anchors:
    """From an observation's id to its anchor."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self._by_id = {row.id: f"o{number}" for number, row in enumerate(observations, 1)}

    def link(self, identifier: str) -> Link:
        return Link(visible(identifier), self._by_id.get(identifier, ""))

    def links(self, identifiers: object) -> tuple[Link, ...]:
        """Links for a list of ids; anything else gives none."""
        found = identifiers if isinstance(identifiers, list | tuple) else ()
        return tuple(self.link(one) for one in found if isinstance(one, str))


def verdict_lines(verdicts: Iterable[Verdict], advice: Recommendation | None, anchors: Anchors) -> tuple[VerdictLine, ...]:
    """The protocols, ranked ones first in their order, then what works, what does not, and what is not known."""
    ranks = {protocol: place for place, protocol in enumerate(advice.ranking, 1)} if advice else {}
    ordered = sorted(
        verdicts, key=lambda one: (ranks.get(one.protocol, len(ranks) + 1), SHOWN_FIRST[one.feasibility], place_in_order(one.protocol))
    )
    return tuple(
        VerdictLine(
            protocol_name(verdict.protocol),
            feasibility_mark(verdict.feasibility),
            port_words(verdict.port, verdict.protocol),
            ranks.get(verdict.protocol),
            advice is not None and advice.protocol == verdict.protocol,
            tuple(ReasonLine(visible(one.text), visible(one.rule), anchors.links(one.observations)) for one in verdict.because),
            tuple(limit_words(limit) for limit in verdict.limits if limit.value is not None),
            watched_words(verdict.limits),
        )
        for verdict in ordered
    )


def evidence_groups(result: Result, anchors: Anchors) -> tuple[EvidenceGroup, ...]:
    """All observations by probe; probes of which something was stopped come first, and within a probe what does not pass."""
    stopped = {row.probe for row in result.observations if is_stopped(row)}
    groups: dict[str, list[Observation]] = {}
    for row in sorted(result.observations, key=lambda row: row.probe not in stopped):
        groups.setdefault(row.probe, []).append(row)
    return tuple(
        EvidenceGroup(
            probe_name(probe),
            f"p{number}",
            tuple(evidence_line(row, anchors) for row in sorted(rows, key=_weight)),
        )
        for number, (probe, rows) in enumerate(groups.items(), 1)
    )


def _weight(row: Observation) -> tuple[bool, bool]:
    """Sorts what does not pass first, and nmap's word last."""
    return (row.check == "nmap", row.outcome is Outcome.PASS)


def evidence_line(row: Observation, anchors: Anchors) -> EvidenceLine:
    detail = tuple((visible(key), value_words(value)) for key, value in row.detail.items() if key not in SAID_ELSEWHERE)
    return EvidenceLine(
        anchors.link(row.id).anchor,
        _mark(row),
        question_words(row),
        direction_words(row.direction),
        visible(row.id),
        tuple(fact for fact in _facts(row) if fact),
        anchors.links(row.detail.get("compared_with")),
        detail,
    )


def _mark(row: Observation) -> Mark:
    if row.check == "trace" and row.outcome is Outcome.DEGRADED:
        return Mark("◐", "stops midway", "fair")
    return outcome_mark(row.outcome)


def _facts(row: Observation) -> Iterable[str]:
    yield _counts(row)
    yield number_words(row)
    yield from message_facts(row.detail.get("messages"))
    yield from session_facts(row)
    yield _hops(row.detail)
    yield f"median round trip {row.rtt_ms:.3g} ms" if row.rtt_ms is not None else ""
    lost_way = {"c2s": "lost on the way to the server", "s2c": "lost on the way back"}.get(str(row.detail.get("lost_direction")))
    yield lost_way or ""
    yield f"cause: {told}" if (told := cause_of(row)) else ""
    yield place_words(row)
    bound = bound_words(row.error_bound)
    yield f"wrong with a probability of at most {bound}" if bound else ""
    if row.check == "nmap":
        yield f"nmap says {visible(row.detail.get('state', 'nothing'))}"
    yield _frames(row)


def _counts(row: Observation) -> str:
    if row.check == "trace":
        return f"{row.received} of {row.sent} hops answered" if None not in (row.sent, row.received) else ""
    told = count_words(row.sent, row.received, "answered" if row.direction is Direction.BOTH else "arrived")
    proof = PROOFS.get(str(row.detail.get("proof")), "")
    return f"{told} ({proof})" if row.received and proof and row.direction is not Direction.BOTH else told


def _hops(detail: Mapping[str, object]) -> str:
    hops = detail.get("hops")
    if not isinstance(hops, list | tuple):
        return ""
    addresses = [visible(hop.get("address") or "*") for hop in hops[:64] if isinstance(hop, Mapping)]
    reached = detail.get("reached")
    arrival = f", arrives with TTL {reached}" if isinstance(reached, int) else ""
    return "hops " + ", ".join(addresses) + arrival


def _frames(row: Observation) -> str:
    frames: dict[str, list[str]] = {}
    for one in row.evidence:
        frames.setdefault(visible(one.capture), []).append(str(one.frame))
    return "; ".join(f"{capture} frame{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}" for capture, numbers in frames.items())
