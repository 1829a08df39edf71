"""What is said of each pair of hosts that captures hold, and what of all of them together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vpnprobe.capture.analysis import Examined
from vpnprobe.cli.finishing import decided
from vpnprobe.cli.options import Judging
from vpnprobe.observations.schema import ConversationSummary, Feasibility, Observation, PathVerdicts, Reason, Recommendation, Verdict
from vpnprobe.report.host_pairs import says_something
from vpnprobe.report.words import feasibility_mark
from vpnprobe.rules import RuleSet
from vpnprobe.rules.diagnoses import diagnosed, with_diagnoses

NOT_IN_CAPTURE: Final = "not-in-capture"
UNKNOWN_VANTAGE: Final = "vantage-unknown"
SEVERAL_PATHS: Final = "several-paths"
NOT_OF_ONE_PATH: Final = "captures-not-of-one-path"
TWO_ATTEMPTS: Final = "two-attempts"
LOST_BY_CAPTURE: Final = "lost-by-capture"
"""Reasons of an offline verdict that no rule of the rules file gives."""
NAMED: Final = 3
"""Most pairs of hosts that are named in one reason."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Verdicts, and the observations that they rest on."""

    observations: tuple[Observation, ...]
    verdicts: tuple[Verdict, ...]
    recommendation: Recommendation | None
    paths: tuple[PathVerdicts, ...] = ()


def decide_all(examined: Examined, judging: Judging, rules: RuleSet) -> Decided:
    """The verdicts of each pair of hosts, and those of the one that was asked about; where there is none, what holds whichever is meant."""
    if not examined.paths:
        return _unjudged(_decided(examined, judging, rules), examined)
    each = [_decided(replace(path, conversations=examined.conversations), judging, rules) for path in examined.paths]
    first = each[0] if examined.is_first else None
    named = _names(examined.paths)
    renamed = [one if one is first else _renamed(one, name) for one, name in zip(each, named, strict=True)]
    paths = tuple(
        PathVerdicts(path.ends.client, path.ends.server, one.verdicts)
        for path, one in zip(examined.paths, renamed, strict=True)
        if path.ends is not None
    )
    observations = tuple(observation for one in renamed for observation in one.observations)
    if first is not None:
        return Decided(observations, first.verdicts, first.recommendation, paths)
    return _unjudged(Decided(observations, in_common(paths), None, paths), examined)


def _decided(examined: Examined, judging: Judging, rules: RuleSet) -> Decided:
    decision = decided(examined.observations, judging, rules)
    verdicts = (_explained(verdict, examined) for verdict in decision.verdicts)
    explained = with_diagnoses(verdicts, diagnosed(_of_these_hosts(examined), rules), rules)
    return Decided(examined.observations, explained, decision.recommendation)


def _of_these_hosts(examined: Examined) -> list[ConversationSummary]:
    """Those of the pair of hosts, under the addresses that either end's capture has for them."""
    sides = [side.ends for side in (examined.client, examined.server) if side is not None]
    pairs = {frozenset((ends.client, ends.server)) for ends in (*sides, examined.ends) if ends is not None}
    return [one for one in examined.conversations if not pairs or frozenset((one.client.address, one.server.address)) in pairs]


def _unjudged(found: Decided, examined: Examined) -> Decided:
    """Without verdicts, where the captures are shown not to be of one path."""
    if not examined.unjudged:
        return found
    reason = Reason(NOT_OF_ONE_PATH, examined.unjudged)
    verdicts = (Verdict(verdict.protocol, Feasibility.UNKNOWN, (reason,)) for verdict in found.verdicts)
    return replace(found, verdicts=tuple(verdicts), recommendation=None)


def in_common(paths: Sequence[PathVerdicts]) -> tuple[Verdict, ...]:
    """A verdict is that of a pair of hosts. It is the input's own where all is one client's, and comes to the same with each server."""
    one_client = len({path.client for path in paths}) == 1
    found = []
    for place, verdict in enumerate(paths[0].verdicts):
        talking = [(path, path.verdicts[place]) for path in paths if says_something(path.verdicts[place])]
        if not talking:
            found.append(verdict)
        elif one_client and len({one.feasibility for _, one in talking}) == 1:
            found.append(talking[0][1])
        else:
            found.append(Verdict(verdict.protocol, Feasibility.UNKNOWN, (Reason(SEVERAL_PATHS, _each(talking, len(paths))),)))
    return tuple(found)


def _each(talking: Sequence[tuple[PathVerdicts, Verdict]], paths: int) -> str:
    said = [f"{path.client} and {path.server}: {feasibility_mark(verdict.feasibility).word}" for path, verdict in talking]
    more = f"; and {len(said) - NAMED} more" if len(said) > NAMED else ""
    return f"The capture is of {paths} pairs of hosts, and each has a verdict of its own. {'; '.join(said[:NAMED])}{more}."


def _names(paths: Iterable[Examined]) -> list[str]:
    """What each path's observations are called by; no two have the same."""
    found: dict[str, None] = {}
    for path in paths:
        hosts = f"{path.ends.client}-{path.ends.server}" if path.ends is not None else "none"
        found[hosts if hosts not in found else f"{hosts}-{len(found) + 1}"] = None
    return list(found)


def _renamed(one: Decided, name: str) -> Decided:
    """With ids that no other path has."""
    observations = tuple(replace(row, id=f"{name}-{row.id}", detail={**row.detail, "path": name}) for row in one.observations)
    return replace(one, observations=observations, verdicts=tuple(with_ids(verdict, name) for verdict in one.verdicts))


def with_ids(verdict: Verdict, name: str) -> Verdict:
    """The verdict with `name` before the ids that it refers to."""
    because = (replace(reason, observations=tuple(f"{name}-{one}" for one in reason.observations)) for reason in verdict.because)
    return replace(verdict, because=tuple(because))


def _explained(verdict: Verdict, examined: Examined) -> Verdict:
    """The verdict with what only the captures themselves can say of it."""
    if examined.joined and examined.note and says_something(verdict):
        verdict = replace(verdict, because=(*verdict.because, Reason(LOST_BY_CAPTURE, examined.note)))
    if verdict.feasibility is Feasibility.UNKNOWN:
        apart = examined.note and not examined.joined and says_something(verdict)
        note = (Reason(TWO_ATTEMPTS, examined.note),) if apart else ()
        return replace(verdict, because=(*verdict.because, *note, _what_to_run(verdict, examined)))
    if examined.joined or examined.client is None or examined.server is None:
        return verdict
    times = [side.started for side in (examined.client, examined.server) if side.started is not None]
    if len(times) < 2:
        return verdict
    first = verdict.because[0]
    text = (
        f"The captures of the two ends are of two attempts (at the client from {times[0]}, at the server from {times[1]}), so packets "
        "cannot be joined one by one: this rests on what each end sent and on what it did not get."
    )
    text = f"{text} {examined.note}" if examined.note else text
    return replace(verdict, because=(replace(first, text=f"{first.text} {text}"), *verdict.because[1:]))


def _what_to_run(verdict: Verdict, examined: Examined) -> Reason:
    host = examined.ends.server if examined.ends is not None else "HOST"
    run = f"run `vpnprobe serve` on the server and `vpnprobe run --peer {host}` on the client"
    if any(not one.startswith("nat-") for reason in verdict.because for one in reason.observations):
        both = "both ends' captures of one attempt, given with --client FILE --server FILE, show what arrived; or "
        one_sided = examined.client is None or examined.server is None
        return Reason(NOT_IN_CAPTURE, f"To know: {both if one_sided else ''}{run}.")
    if examined.client is None and examined.server is None and examined.conversations:
        return Reason(
            UNKNOWN_VANTAGE, f"The capture does not show at which end it was taken: name it with --client FILE or --server FILE; or {run}."
        )
    return Reason(NOT_IN_CAPTURE, f"This trace does not measure it. To know: {run}.")
