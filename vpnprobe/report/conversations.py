"""The VPN conversations of captures for people: how far each came, what each end got, what stopped it, and its messages in order.

Pure: conversations of a `Result` in, sentences and small records out. Diagnoses come from the document.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vpnprobe.observations.schema import ConversationEndpoint, ConversationSummary, Result
from vpnprobe.report.words import CONVERSATIONS, STAGES, Mark, visible
from vpnprobe.rules.diagnoses import is_answered, is_stopped

DIAGNOSIS_RULES: Final = "diagnosis."
"""How the rules begin that say what stopped a conversation."""
MIDSTREAM: Final = "midstream-"
GOOD: Final = frozenset(
    {
        "call-up",
        "session-up",
        "quick-mode-answered",
        "both-ways",
        "data-both-ways",
        "midstream-data-both-ways",
    }
)
"""Stages that show it to work."""
MOST_LINES: Final = 20
"""Conversations that a terminal shows: those that were stopped first."""
MOST_SUMMED_UP: Final = 3
"""Conversations that a headline names."""
MOST_LADDERS: Final = 12


@dataclass(frozen=True, slots=True)
class ConversationLine:
    """One conversation in words."""

    mark: Mark
    what: str
    """Its name and how far it came, as a clause."""
    ends: str
    counts: str
    """How many packets were seen each way, and how many are known to have come."""
    stopped_by: str
    """What stopped it and what to do; empty: nothing is known to have."""
    notes: tuple[str, ...]
    """What else was found."""
    capture: str


@dataclass(frozen=True, slots=True)
class LadderRow:
    """One message."""

    time: str
    frame: int
    from_client: bool
    message: str
    size: str
    note: str
    """`again`, `arrived`, `lost` in words; empty: nothing more is known."""
    lost: bool


@dataclass(frozen=True, slots=True)
class Ladder:
    """The messages of one conversation, one below the other."""

    title: str
    client: str
    server: str
    rows: tuple[LadderRow, ...]
    left_out: str
    """How many messages are not shown, in words; empty: all are."""


def stage_words(stage: str) -> str:
    """How far it came; a stage that is not known here is told by its name."""
    if stage in STAGES:
        return STAGES[stage]
    if stage.startswith(MIDSTREAM) and (rest := stage.removeprefix(MIDSTREAM)) in STAGES:
        return f"{STAGES[rest]} (its beginning is not in the capture)"
    return f"was under way: {stage}"


def works(conversation: ConversationSummary) -> bool:
    return conversation.stage in GOOD and not is_stopped(conversation)


def line_of(conversation: ConversationSummary) -> ConversationLine:
    """One conversation in words."""
    stopped = is_stopped(conversation)
    name = CONVERSATIONS.get(conversation.protocol, conversation.protocol)
    mark = Mark("✕", "stopped", "bad") if stopped else Mark("✓", "works", "good") if works(conversation) else Mark("·", "seen", "mute")
    findings = conversation.findings
    return ConversationLine(
        mark=mark,
        what=visible(f"{name} {stage_words(conversation.stage)}"),
        ends=f"{_end(conversation.client)} → {_end(conversation.server)}",
        counts=_counts(conversation),
        stopped_by=findings[0] if stopped and findings else "",
        notes=findings[1:] if stopped else findings,
        capture=conversation.capture,
    )


def lines_of(result: Result) -> tuple[ConversationLine, ...]:
    """All conversations, those that were stopped first, then in the order of the document."""
    ordered = sorted(result.conversations, key=lambda one: (not is_stopped(one), works(one)))
    return tuple(map(line_of, ordered))


def ladders(result: Result) -> tuple[Ladder, ...]:
    """The conversations that were stopped, message by message."""
    return tuple(_ladder(one) for one in result.conversations if is_stopped(one) and one.detail.get("ladder"))[:MOST_LADDERS]


def _ladder(conversation: ConversationSummary) -> Ladder:
    found = [row for row in conversation.detail["ladder"] if isinstance(row, Mapping)]
    left_out = conversation.detail.get("ladder_left_out", 0)
    line = line_of(conversation)
    return Ladder(
        title=line.what,
        client=_end(conversation.client),
        server=_end(conversation.server),
        rows=tuple(map(_row, found)),
        left_out=f"{left_out} messages between the first and the last are left out" if left_out else "",
    )


def _row(row: Mapping[str, Any]) -> LadderRow:
    fate = row.get("fate")
    notes = [*(["again"] if row.get("again") else []), *({"received": ["arrived"], "lost": ["lost beyond this point"]}.get(str(fate), []))]
    return LadderRow(
        time=f"{float(row.get('at_s', 0.0)):.3f} s",
        frame=int(row.get("frame", 0)),
        from_client=row.get("from") == "client",
        message=visible(str(row.get("message", ""))),
        size=f"{row['bytes']} bytes" if row.get("bytes") else "",
        note=", ".join(notes),
        lost=fate == "lost",
    )


def _end(end: ConversationEndpoint) -> str:
    return visible(end.address) + (f" port {end.port}" if end.port is not None else "")


def _counts(conversation: ConversationSummary) -> str:
    """What was seen of each end, and what is known to have come."""
    proved = conversation.detail.get("proved_received", {})
    told = []
    for name, count in (("client", conversation.frames_c2s), ("server", conversation.frames_s2c)):
        known = proved.get(name) if isinstance(proved, Mapping) else None
        told.append(f"{count} of the {name}" + (f" ({known} known to have arrived)" if known else ""))
    return f"{' and '.join(told)} seen"


def summary_of(conversations: Sequence[ConversationSummary]) -> str:
    """What works, in one clause; where nothing does, how far the first conversations came; empty: there are none."""
    found = dict.fromkeys(line_of(one).what for one in conversations if works(one))
    return "; ".join(list(found or dict.fromkeys(line_of(one).what for one in conversations))[:MOST_SUMMED_UP])


def leading(conversations: Sequence[ConversationSummary]) -> ConversationSummary | None:
    """The conversation whose diagnosis says most: the first that was answered and then stopped, else the first that was stopped.

    None: none was.
    """
    stopped = [one for one in conversations if is_stopped(one)]
    return next((one for one in stopped if is_answered(one)), stopped[0] if stopped else None)
