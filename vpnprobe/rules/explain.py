"""Why a result came out as it did, as text: each rule with its truth and its observations, then the ranking with its scores.

The result's own observations are judged again with the rules at hand; where that differs from the verdict in the document (other rules,
other wishes), the text says so.
"""

from collections.abc import Sequence

from vpnprobe.observations.schema import Observation, Result
from vpnprobe.rules.decision import Deliberation, deliberate
from vpnprobe.rules.logic import Finding
from vpnprobe.rules.model import Criterion, RuleSet
from vpnprobe.rules.ranking import Ranked, check_wishes, may_be_recommended, weights
from vpnprobe.rules.sentences import form_words
from vpnprobe.rules.verdicts import Judgement


def explain(
    result: Result,
    rules: RuleSet,
    *,
    preset: str = "modern",
    prefer: Sequence[str] = (),
    client_os: Sequence[str] = (),
    consider: Sequence[str] = (),
) -> str:
    """Plain text, a line break at its end. Raises UsageError for a name that is not known."""
    wishes = check_wishes(rules, preset=preset, prefer=prefer, client_os=client_os, consider=consider)
    control_port = (result.run.server or {}).get("control_port")
    whole = deliberate(result.observations, rules, wishes, control_port=control_port if isinstance(control_port, int) else None)
    said = {verdict.protocol: verdict.feasibility for verdict in result.verdicts}
    lines = [line for judgement in whole.judgements for line in _judgement(judgement, said.get(judgement.profile.name))]
    return "\n".join([*lines, *_ranking(whole)]) + "\n"


def _judgement(judgement: Judgement, said: str | None) -> list[str]:
    verdict = judgement.verdict
    port = f", port {verdict.port}" if judgement.works else ""
    lines = [f"{judgement.profile.title} ({verdict.protocol}): {verdict.feasibility}{port}"]
    if said is not None and said != verdict.feasibility:
        lines.append(f"  The document says {said}: it was judged by other rules, or with other candidate ports.")
    for on_port in judgement.ports:
        lines.extend(line for finding in on_port.findings for line in _finding(finding, per_port=judgement.profile.per_port))
    lines.extend(f"  because [{reason.rule}] {reason.text}" for reason in verdict.because)
    return [*lines, ""]


def _finding(finding: Finding, *, per_port: bool) -> list[str]:
    where = (f" on port {finding.port}" if per_port else "") + form_words(finding.form)
    rule = finding.rule
    lines = [f"  {rule.id}{where} ({rule.need}, {rule.weight}): {finding.truth}"]
    return [*lines, *(f"    {_row(row)}" for row in finding.rows)]


def _row(row: Observation) -> str:
    """`gre-1 gre/passthrough c2s: blocked (ip-protocol), 0 of 40, error bound 1e-07`."""
    port = f"/{row.port}" if row.port is not None else ""
    cause = f" ({row.cause})" if row.cause is not None else ""
    counted = f", {row.received if row.received is not None else '?'} of {row.sent}" if row.sent is not None else ""
    bound = f", error bound {row.error_bound:.1g}" if row.error_bound is not None else ""
    return f"{row.id} {row.probe}/{row.check} {row.transport}{port} {row.direction}: {row.outcome}{cause}{counted}{bound}"


def _ranking(whole: Deliberation) -> list[str]:
    wishes = whole.wishes
    counted = weights(wishes)
    head = ", ".join(f"{criterion} {counted[criterion]:g}" for criterion in Criterion)
    lines = [f"Ranking by the preset {wishes.preset.name} (weights: {head})"]
    lines.extend(_ranked(number, one, whole) for number, one in enumerate(whole.ranked, 1))
    recommendation = whole.decision.recommendation
    if recommendation is None:
        lines.append("No recommendation: nothing that may be recommended is shown to work.")
    else:
        lines.append(f"Recommended: {recommendation.protocol}, port {recommendation.port}")
        lines.extend(f"  because {text}" for text in recommendation.because)
    return [*lines, *(f"  warning: {text}" for text in whole.decision.warnings)]


def _ranked(number: int, one: Ranked, whole: Deliberation) -> str:
    scores = ", ".join(f"{criterion} {one.scores[criterion]:g}" for criterion in Criterion)
    notes = [*one.against, *one.behind]
    if not may_be_recommended(one, whole.wishes) and not one.against:
        notes.append("recommended only when it is asked for")
    return f"  {number}. {one.profile.title} {one.score:.2f} ({scores})" + (f": {'; '.join(notes)}" if notes else "")


def listing(rules: RuleSet) -> str:
    """All rules by protocol, as text."""
    lines: list[str] = []
    for profile in rules.profiles.values():
        lines.append(f"{profile.title} ({profile.name})")
        for rule in rules.rules_of(profile.name):
            mark = " [added]" if rule.id in rules.added else " [changed]" if rule.id in rules.overridden else ""
            lines.append(f"  {rule.id} ({rule.need}, {rule.weight}){mark}: {rule.question}")
    return "\n".join(lines) + "\n"
