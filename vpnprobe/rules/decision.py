"""`decide`: observations -> verdicts, ranking, recommendation.

Invariant: a function of its arguments; the order of the observations does not matter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vpnprobe.observations.schema import Feasibility, Observation, Recommendation, Transport, Verdict
from vpnprobe.rules.model import RuleSet
from vpnprobe.rules.ranking import Ranked, Wishes, check_wishes, rank, recommend
from vpnprobe.rules.real_client import with_real_client
from vpnprobe.rules.sentences import filled, mend
from vpnprobe.rules.silences import silence_reasons, silent_often
from vpnprobe.rules.verdicts import Judgement, judge, with_control_port


@dataclass(frozen=True, slots=True)
class Decision:
    """What the observations come to."""

    verdicts: tuple[Verdict, ...]
    """One for each protocol that the rules know, in their order."""
    recommendation: Recommendation | None
    """None: nothing that may be recommended is shown to work."""
    warnings: tuple[str, ...] = ()
    """What to say besides, also where nothing is recommended."""


@dataclass(frozen=True, slots=True)
class Deliberation:
    """The whole way to a decision, for `explain`."""

    judgements: tuple[Judgement, ...]
    ranked: tuple[Ranked, ...]
    wishes: Wishes
    decision: Decision


def decide(
    observations: Sequence[Observation],
    *,
    rules: RuleSet,
    preset: str = "modern",
    prefer: Sequence[str] = (),
    client_os: Sequence[str] = (),
    consider: Sequence[str] = (),
    ports: Sequence[int] = (),
    control_port: int | None = None,
    asked: Sequence[str] = (),
) -> Decision:
    """The verdict for each protocol, and what to use.

    `prefer`: criteria that count as much as all others together, or `no-` before one that counts nothing. `ports`: the candidate
    ports that were asked about, in order; one without a row is unknown; empty: those that the observations name. `control_port`: the port
    that vpnprobe's own control connection passed on, which is no candidate; None: there was none. `asked`: protocols that are warned of
    where they are not settled; empty: all. Raises UsageError for a name that is not known.
    """
    wishes = check_wishes(rules, preset=preset, prefer=prefer, client_os=client_os, consider=consider)
    return deliberate(observations, rules, wishes, ports=ports, control_port=control_port, asked=asked).decision


def deliberate(
    observations: Sequence[Observation],
    rules: RuleSet,
    wishes: Wishes,
    *,
    ports: Sequence[int] = (),
    control_port: int | None = None,
    asked: Sequence[str] = (),
) -> Deliberation:
    """`decide` with every step kept."""
    rows = sorted(observations, key=lambda row: (len(row.id), row.id, repr(row)))
    judged = [
        with_real_client(judge(profile, rows, rules, ports=ports, control_port=control_port), rows, rules)
        for profile in rules.profiles.values()
    ]
    advice = with_control_port(judged, rules, control_port)
    if advice is not None:
        protocol, reason = advice
        judged = [
            replace(one, verdict=replace(one.verdict, because=(*one.verdict.because, reason))) if one.profile.name == protocol else one
            for one in judged
        ]
    ranked = rank(judged, wishes)
    warnings = (
        *([advice[1].text] if advice is not None else []),
        *_told_of_path(rows, rules),
        *_slow_line(rows, rules),
        *_unsettled(one for one in judged if _is_wanted(one, wishes, asked)),
    )
    recommendation = recommend(judged, ranked, wishes, warnings)
    if recommendation is None:
        warnings = (
            *(f"{one.profile.title} works, but is not recommended: {' '.join(one.against)}" for one in ranked if one.against),
            *warnings,
        )
    else:
        warnings = recommendation.warnings
    scores = {one.profile.name: one.score for one in ranked}
    verdicts = tuple(replace(one.verdict, score=scores.get(one.profile.name)) for one in judged)
    return Deliberation(tuple(judged), ranked, wishes, Decision(verdicts, recommendation, warnings))


def _is_wanted(judgement: Judgement, wishes: Wishes, asked: Sequence[str]) -> bool:
    """Whether somebody waits for this verdict: it was asked for, or could be recommended."""
    name = judgement.profile.name
    return name in asked if asked else judgement.profile.candidate or name in wishes.consider


PATH_DETAILS: Final = {
    "outage": ("from_s", "to_s"),
    "late": ("end", "late_s", "set_aside"),
    "own-queue": ("set_aside",),
    "own-firewall": ("reason",),
    "routes": ("c2s", "s2c"),
}
"""Checks of the path that are warned of, by a remark of the same name, with what of their details goes into it."""


def _told_of_path(rows: Sequence[Observation], rules: RuleSet) -> list[str]:
    """When nothing came through, which end was late, what own packets displaced, and whether the directions take different paths."""
    often = silent_often(rows)
    found = sorted((row for row in rows if row.probe == "path" and row.check in PATH_DETAILS and row not in often), key=lambda row: row.id)
    return [
        *(reason.text for reason in silence_reasons(often, rules)),
        *(filled(rules.remarks[row.check], {**_path_details(row), "mend": mend([row])}) for row in found),
    ]


def _path_details(row: Observation) -> dict[str, str]:
    return {name: str(row.detail.get(name)) for name in PATH_DETAILS[row.check]}


def _slow_line(rows: Sequence[Observation], rules: RuleSet) -> list[str]:
    """What the line carries, where it is so slow that less was sent."""
    found = [row.value for row in rows if (row.probe, row.check, row.transport) == ("quality", "throughput", Transport.IP)]
    return [filled(rules.remarks["slow-line"], {"kbit_s": f"{value / 1000:.0f}"}) for value in found if value is not None]


def _unsettled(judgements: Iterable[Judgement]) -> list[str]:
    """What was not measured, or not to an end."""
    unknown = [one for one in judgements if one.verdict.feasibility is Feasibility.UNKNOWN]
    return [f"{one.profile.title} is not settled: {one.verdict.because[0].text}" for one in unknown]
