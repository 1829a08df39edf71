"""The verdict in one sentence, and why: what to use, what does not work and why, or what is left open.

A failure that has a name leads where verdicts rest on it, and the sentence says what the verdicts say, so that nobody reads two of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.observations.schema import Feasibility, Outcome, Reason, Result, Verdict
from vpnprobe.report.conversations import DIAGNOSIS_RULES, leading, line_of, summary_of
from vpnprobe.report.real_client import leading_words
from vpnprobe.report.story import FAILURE_RULES, kept_by_hosts, listed, opening
from vpnprobe.report.words import protocol_name, visible

WORKS: Final = (Feasibility.FEASIBLE, Feasibility.DEGRADED)
NOT_SUPPORTED: Final = f"{FAILURE_RULES}not-supported"
"""What vpnprobe itself cannot do stops nothing."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict in one sentence, and why."""

    tone: str
    """`good`, `fair`, `bad` or `mute`."""
    sentence: str
    reason: str
    """Empty: there is none to give."""


def headline(result: Result) -> Headline:
    """The recommendation in one sentence, or what stands in its way; what a protocol's own program came to goes before it."""
    if (leading := leading_words(result)) is not None:
        return Headline(*leading)
    advice = result.recommendation
    if advice is not None:
        verdict = next((verdict for verdict in result.verdicts if verdict.protocol == advice.protocol), None)
        limited = verdict is not None and verdict.feasibility is Feasibility.DEGRADED
        port = f", port {advice.port}" if advice.port is not None else ""
        limits = "; it works with limits" if limited else ""
        without = "; the profile itself was tried and did not work" if _profile_fails(result) else ""
        sentence = f"Use {protocol_name(advice.protocol)}{port}{limits}{without}"
        return Headline("fair" if limited or without else "good", sentence, _first(advice.because))
    if not result.verdicts:
        return _without_verdicts(result)
    return _without_advice(result)


def _without_verdicts(result: Result) -> Headline:
    if not result.complete:
        return Headline("mute", "Interrupted before a verdict", "What had been measured by then is kept.")
    if len(result.run.captures) > 1:
        return Headline("mute", "No common verdict: the captures are not of one path", "Each capture's own verdicts are below.")
    return Headline("mute", "No verdict", "No protocol was judged.")


def _without_advice(result: Result) -> Headline:
    names = {
        feasibility: [protocol_name(verdict.protocol) for verdict in result.verdicts if verdict.feasibility is feasibility]
        for feasibility in Feasibility
    }
    working = [name for feasibility in WORKS for name in names[feasibility]]
    failing, unknown = names[Feasibility.INFEASIBLE], names[Feasibility.UNKNOWN]
    if working:
        return Headline("fair", f"{listed(working)} {_verb(working, 'works', 'work')}, and nothing is recommended", _why(result, *WORKS))
    if not unknown:
        of_profile = f"{listed(failing)} {_verb(failing, 'does', 'do')} not work with this profile"
        said = of_profile if _is_about_profile(result) else "No VPN protocol gets through"
        return Headline("bad", said, _why(result, Feasibility.INFEASIBLE))
    if failing:
        rest = f"{listed(unknown)} {_verb(unknown, 'is', 'are')} not known" if len(unknown) <= 2 else "the others are not known"
        return Headline("bad", f"{listed(failing)} {_verb(failing, 'does', 'do')} not work; {rest}", _why(result, Feasibility.INFEASIBLE))
    if stopped := [protocol_name(verdict.protocol) for verdict in result.verdicts if _named_failures(verdict)]:
        told = [reason for verdict in result.verdicts for reason in _named_failures(verdict)]
        why = visible(told[0].text) if len(stopped) == 1 else _why(result, Feasibility.UNKNOWN)
        return Headline("mute", f"{listed(stopped)} {_verb(stopped, 'is', 'are')} not shown to work", why)
    if result.paths:
        return _of_several_paths(result)
    if (stopped_one := leading(result.conversations)) is not None:
        line = line_of(stopped_one)
        return Headline("bad", line.what, visible(line.stopped_by))
    if seen := summary_of(result.conversations):
        return Headline("mute", f"{seen}; more is not shown", _why(result, Feasibility.UNKNOWN))
    if kept := list(kept_by_hosts(result)):
        whose = listed([f"the {one.host}'s own firewall" for one in kept])
        return Headline("mute", f"{whose[0].upper()}{whose[1:]} {_verb(kept, 'is', 'are')} in the way", opening(kept[0]))
    return Headline("mute", "Nothing could be shown, neither to work nor to fail", _why(result, Feasibility.UNKNOWN))


def _of_several_paths(result: Result) -> Headline:
    """Where nothing is said of all pairs of hosts together: why, or what is said of each."""
    reasons = {verdict.because[0].text for verdict in result.verdicts}
    if len(reasons) == 1:
        return Headline("mute", "Nothing is judged of these captures together", _first([*reasons]))
    said = f"{len(result.paths)} pairs of hosts, each with verdicts of its own"
    working = sum(any(verdict.feasibility in WORKS for verdict in path.verdicts) for path in result.paths)
    failing = sum(any(verdict.feasibility is Feasibility.INFEASIBLE for verdict in path.verdicts) for path in result.paths)
    shown = (
        f"A VPN works between {working} of them, and one does not between {failing}."
        if working or failing
        else "None is shown to work or to fail."
    )
    return Headline("mute", said, f"{shown} Each is listed below.")


def _is_about_profile(result: Result) -> bool:
    """Whether all verdicts follow from what failed, by name, with the profile that was tried."""
    tried = result.run.client is not None and "profile" in result.run.client
    return tried and all(verdict.because and verdict.because[0].rule.startswith(FAILURE_RULES) for verdict in result.verdicts)


def _profile_fails(result: Result) -> bool:
    """Whether no data came through any remote of a profile, or its own program refuses, and something by name is why."""
    rows = [row for row in result.observations if row.detail.get("profile") is True]
    refused = any(row.detail.get("by") == "client" for row in rows)
    passed = not refused and any(row.check == "data" and row.outcome in (Outcome.PASS, Outcome.DEGRADED) for row in rows)
    ids = {row.id for row in rows}
    return not passed and any(ids & set(reason.observations) for verdict in result.verdicts for reason in _named_failures(verdict))


def _named_failures(verdict: Verdict) -> list[Reason]:
    """What stops it, by name."""
    named = (FAILURE_RULES, DIAGNOSIS_RULES)
    return [reason for reason in verdict.because if reason.rule.startswith(named) and reason.rule != NOT_SUPPORTED]


def _first(sentences: Sequence[str]) -> str:
    return visible(sentences[0]) if sentences else ""


def _why(result: Result, *wanted: Feasibility) -> str:
    """The reason, where one protocol has it; several have each their own, further down."""
    found = [verdict for verdict in result.verdicts if verdict.feasibility in wanted]
    return _first([reason.text for reason in found[0].because]) if len(found) == 1 else "Each protocol's own reason stands below."


def _verb(names: Sequence[object], one: str, many: str) -> str:
    return one if len(names) == 1 else many
