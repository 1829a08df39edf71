"""Findings in words: the fact first, then numbers, direction, place and error bound.

The sentences themselves are data; what is filled into their placeholders is made here. Findings of one rule that differ in nothing but the
port are told in one sentence.

Invariant: numbers, hops and addresses are those of the observations that the finding rests on, and of no others.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from vpnprobe.observations.schema import Cause, Direction, Location, Observation, Outcome, Reason
from vpnprobe.rules.logic import Finding, Part, Value, by_the_peer, distinct, joined, truth_of
from vpnprobe.rules.model import PLAIN, PROFILE, ObservationSelector, RuleSet, Truth

DIRECTION_WORDS: Final[Mapping[Direction, str]] = {
    Direction.C2S: "client to server",
    Direction.S2C: "server to client",
    Direction.BOTH: "both ways",
}
SENDER: Final[Mapping[Direction, str]] = {
    Direction.C2S: "the client",
    Direction.S2C: "the server",
    Direction.BOTH: "the sender",
}


def listed(words: Iterable[object]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    texts = [str(word) for word in words]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


def told(findings: Sequence[Finding], rules: RuleSet) -> Reason:
    """One reason for findings of one rule and one truth, on one or several ports."""
    first = findings[0]
    ports = listed(dict.fromkeys(finding.port for finding in findings))
    value = joined(first.truth, [finding.value for finding in findings])
    profile = rules.profiles[first.rule.protocol]
    own = first.source.sentences.of(first.truth) if first.source is not None else None
    template = own or first.rule.sentences.of(first.truth) or ""
    usual = first.rule.sources[0].selector if first.source is None else first.source.selector
    words = {
        "protocol": profile.title,
        "port": ports,
        "default_port": str(profile.default_port),
        "wrapped": form_words(first.form),
        **in_words(value, usual, ports, first.form),
    }
    # Whoever tried a profile has just done what would be told.
    words["measured_by"] = f" {profile.measured_by}" if profile.measured_by and not first.form.startswith(PROFILE) else ""
    words["why"] = filled(first.unmet, words) if first.unmet is not None else why(value, rules)
    sentences = [filled(template, words), *(filled(text, words) for text in _advice(first, value, rules))]
    return Reason(
        first.rule.id, " ".join(sentences), tuple(row.id for row in distinct(row for finding in findings for row in finding.rows))
    )


def form_words(form: str) -> str:
    """What is said behind the name of what was tried: ` in tls-crypt`, ` with the profile`; empty where it is plain."""
    if form.startswith(PROFILE):
        remote = form.removeprefix(PROFILE).removeprefix("-")
        return f" with the profile's remote {remote}" if remote else " with the profile"
    return f" in {form}" if form != PLAIN else ""


def grouped(findings: Iterable[Finding]) -> tuple[tuple[Finding, ...], ...]:
    """Findings that one sentence can tell: the same rule, form, truth, source, outcomes and causes, in the order of the first of each."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        state = frozenset((row.outcome, row.cause, row.direction) for row in finding.value.rows)
        selectors = tuple(part.selector.name for part in finding.value.parts)
        selector = finding.source.selector if finding.source is not None else ""
        groups.setdefault((finding.rule.id, finding.form, finding.truth, selector, selectors, state, finding.unmet), []).append(finding)
    return tuple(tuple(group) for group in groups.values())


def filled(template: str, words: Mapping[str, str]) -> str:
    """The template with its placeholders filled; one that has no meaning here is left empty."""
    return template.format_map(_Words(words))


class _Words(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def in_words(value: Value, usual: str, ports: str, form: str = PLAIN) -> dict[str, str]:
    """The placeholders `evidence`, `numbers`, `place` and `bound` of a value. Looks other than the usual one are named."""
    telling = [Part(part.selector, rows) for part in value.parts if (rows := _telling(part, value.truth))]
    about = {"port": ports, "wrapped": form_words(form)}
    named = [(filled(part.selector.what, about) + ": " if part.selector.name != usual else "", part) for part in telling]
    rows = distinct(row for part in telling for row in part.rows)
    bound = _bound(rows)
    evidence = "; ".join(name + "; ".join(_numbers(part, place=True)) for name, part in named)
    return {
        "numbers": "; ".join(name + "; ".join(_numbers(part, place=False)) for name, part in named),
        "place": _distinct_places(rows),
        "bound": bound,
        "evidence": f"{evidence}; {bound}" if bound else evidence or "nothing was seen",
    }


def _telling(part: Part, truth: Truth) -> tuple[Observation, ...]:
    """Of an unknown value all rows; else those that say so."""
    return part.rows if truth is Truth.UNKNOWN else tuple(row for row in part.rows if truth_of(row, part.selector) is truth)


def _numbers(part: Part, *, place: bool) -> list[str]:
    """One clause for each direction, of all its rows together."""
    found = []
    for direction in Direction:
        rows = [row for row in part.rows if row.direction is direction]
        if rows:
            lost = _lost(direction, rows, _distinct_places(rows) if place else "")
            found.append(f"{DIRECTION_WORDS[direction]} {_counted(part.selector, rows)}{_refusers(rows)}{lost}")
    return found


def _lost(direction: Direction, rows: Sequence[Observation], where: str) -> str:
    """Where, and of a conversation in which direction."""
    ways = dict.fromkeys(DIRECTION_WORDS[way] for row in rows if (way := lost_direction(row)) is not direction)
    words = [*([f"from {listed(ways)}"] if ways else []), *([where] if where else [])]
    return f", lost {', '.join(words)}" if words else ""


def _counted(selector: ObservationSelector, rows: Sequence[Observation]) -> str:
    """`3 of 40 packets arrived`; of a count that nobody could make the other one and the outcome, or the outcome alone."""
    outcomes = listed(dict.fromkeys(str(row.outcome) for row in rows))
    done = "arrived" if selector.unit == "packet" else "succeeded"
    if any(row.sent is None for row in rows):
        came = sum(row.received or 0 for row in rows)
        return f"{came} {selector.unit if came == 1 else f'{selector.unit}s'} {done}" if came else outcomes
    sent = sum(row.sent or 0 for row in rows)
    things = selector.unit if sent == 1 else f"{selector.unit}s"
    if any(row.received is None for row in rows):
        return f"{sent} {things} sent, {outcomes}"
    return f"{sum(row.received or 0 for row in rows)} of {sent} {things} {done}"


def _refusers(rows: Iterable[Observation]) -> str:
    refused = [row for row in rows if row.outcome is Outcome.REFUSED]
    by = dict.fromkeys("the other end" if row.detail["by"] == "peer" else str(row.detail["by"]) for row in refused if row.detail.get("by"))
    return f", refused by {listed(by)}" if by else ", refused" if refused else ""


def _distinct_places(rows: Iterable[Observation]) -> str:
    return listed(dict.fromkeys(place(row.location, lost_direction(row)) for row in rows if row.location is not None))


def lost_direction(row: Observation) -> Direction:
    """The direction in which it was lost: a conversation goes both ways and fails in one, which `detail.lost_direction` names."""
    named = row.detail.get("lost_direction")
    return Direction(named) if named in (Direction.C2S, Direction.S2C) else row.direction


def place(location: Location, direction: Direction) -> str:
    """`between 10.0.1.2 (hop 2 from the client) and 10.0.2.2`; the next hop only where it is known."""
    sender = SENDER[direction]
    hop = f"hop {location.last_hop} from {sender}"
    last = (
        sender if location.last_hop == 0 else f"{location.last_address} ({hop})" if location.last_address else f"an unnamed router ({hop})"
    )
    return f"between {last} and {location.next_address}" if location.next_address else f"after {last}"


def _bound(rows: Iterable[Observation]) -> str:
    bounds = [row.error_bound for row in rows if row.error_bound is not None]
    return f"error bound {max(bounds):.1g}" if bounds else ""


def why(value: Value, rules: RuleSet) -> str:
    """Why a value is unknown, by what is most worth knowing."""
    open_rows = [row for row in value.rows if truth_of(row) is Truth.UNKNOWN]
    unanswered = [row for row in open_rows if row.outcome is Outcome.NO_ANSWER and row.detail.get("arrived_at_server")]
    silent = [row for row in open_rows if row.outcome is Outcome.NO_ANSWER]
    skipped = [row for row in open_rows if row.outcome is Outcome.SKIPPED]
    for key, fits in (
        ("no-listener", [row for row in open_rows if row.cause is Cause.NO_LISTENER and "answered_beside" not in row.detail]),
        ("outside-session", [row for row in open_rows if "answered_beside" in row.detail]),
        ("refused", [row for row in open_rows if by_the_peer(row)]),
        ("host-firewall", [row for row in open_rows if row.cause is Cause.HOST_FIREWALL]),
        ("unwatched", [row for row in open_rows if row.detail.get("unwatched")]),
        ("unanswered-because", [row for row in unanswered if row.detail.get("reason")]),
        ("taken", [row for row in open_rows if row.outcome is Outcome.NO_ANSWER and row.detail.get("program")]),
        ("unfinished", [row for row in unanswered if _answers(row, "received")]),
        ("answers-lost", [row for row in unanswered if _answers(row, "sent")]),
        ("unanswered", unanswered),
        ("opened-before", [row for row in open_rows if "opened_before_s" in row.detail]),
        ("after-server", [row for row in open_rows if row.detail.get("after_server")]),
        ("no-answer-and-skipped", [*silent, *skipped] if silent and skipped else []),
        ("no-answer", silent),
        ("error", [row for row in open_rows if row.outcome is Outcome.ERROR]),
        ("skipped", skipped),
    ):
        if fits:
            return filled(
                rules.why[key],
                {
                    "reason": _reasons([row for row in fits if row.outcome is Outcome.SKIPPED] or fits),
                    "mend": mend(fits),
                    "program": _programs(fits),
                    "sent": _sent(fits),
                    "came": str(sum(int(row.detail.get("arrived_at_server") or 0) for row in fits)),
                    "refusal": _refusals(fits),
                },
            )
    return filled(rules.why["not-measured"], {})


def _answers(row: Observation, were: str) -> bool:
    """Whether anything that the server said is known to have been `sent`, or `received`."""
    messages = row.detail.get("messages", ())
    return any(one.get("direction") == Direction.S2C.value and one.get(were) for one in messages if isinstance(one, Mapping))


def _reasons(rows: Iterable[Observation]) -> str:
    return listed(dict.fromkeys(str(row.detail.get("reason") or "no reason given") for row in rows))


def mend(rows: Sequence[Observation]) -> str:
    """What lets the first of them through, and where it has to be run; empty where it is not known."""
    for row in rows:
        commands = row.detail.get("mend")
        if isinstance(commands, Sequence) and not isinstance(commands, str) and commands:
            return f" (on the {row.detail.get('host')}, {listed(f'`{command}`' for command in commands)} lets it through)"
    return ""


def _programs(rows: Iterable[Observation]) -> str:
    return listed(dict.fromkeys(str(row.detail["program"]) for row in rows if row.detail.get("program")))


def _refusals(rows: Iterable[Observation]) -> str:
    """The refusing messages, and what they are consistent with."""
    likely = dict.fromkeys(str(row.detail["consistent_with"]) for row in rows if row.detail.get("consistent_with"))
    messages = listed(dict.fromkeys(str(row.detail.get("message") or row.detail.get("refusal") or "a refusal") for row in rows))
    return f"{messages}, consistent with {listed(likely)}" if likely else messages


def _sent(rows: Iterable[Observation]) -> str:
    counts = [row.sent for row in rows if row.sent is not None]
    return f"{sum(counts)} sent" if counts else "what was sent"


def _advice(finding: Finding, value: Value, rules: RuleSet) -> list[str]:
    """What the causes of a failure suggest, each once."""
    if finding.truth is not Truth.FALSE:
        return []
    causes = dict.fromkeys(row.cause for row in value.rows if row.cause is not None and truth_of(row) is Truth.FALSE)
    texts = (finding.rule.advice.get(cause) or rules.causes.get(cause) for cause in causes)
    return [text for text in dict.fromkeys(texts) if text]
