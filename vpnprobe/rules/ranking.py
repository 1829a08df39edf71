"""Which of the protocols that work comes first, and the recommendation with its reasons.

Scores by criterion are data, and so are the presets' weights. A preferred criterion counts as much as all the others together; one that
is set aside by name (`no-security`) counts nothing. What works within limits, or loses packets where another does not, comes after what
does neither; another port or wrap is a setting that nobody feels. Protocols without sound security come last or are never recommended, as
the preset says, unless security is set aside.

Invariant: only what is shown to work is ranked, and only what works is recommended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar

from vpnprobe.errors import UsageError
from vpnprobe.observations.schema import Cause, Feasibility, Reason, Recommendation
from vpnprobe.rules.model import ClientOs, Criterion, Preset, ProtocolTraits, RuleSet, Security, Support, Treatment
from vpnprobe.rules.sentences import listed
from vpnprobe.rules.table import nearest
from vpnprobe.rules.verdicts import NOTHING, UNFELT, Counted, Judgement

FELT_LOSS: Final = 0.1
"""So much larger a share lost than another protocol's is felt by whoever uses it."""
SET_ASIDE: Final = "no-"
"""Before a criterion's name: it counts nothing."""

Name = TypeVar("Name", Criterion, ClientOs)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller asks of the ranking."""

    preset: Preset
    prefer: frozenset[Criterion]
    set_aside: frozenset[Criterion]
    client_os: tuple[ClientOs, ...]
    """The operating systems that the clients have; empty: not said."""
    consider: frozenset[str]
    """Protocols that may be recommended though they are no candidates by themselves."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A protocol that works, and where it stands."""

    judgement: Judgement
    score: float
    """0 to 1."""
    scores: Mapping[Criterion, float]
    against: tuple[str, ...]
    """Why it is not recommended, a sentence each; empty: it may be."""
    behind: tuple[str, ...]
    """Why it ranks behind others whatever its score, a clause each."""

    @property
    def profile(self) -> ProtocolTraits:
        return self.judgement.profile


def check_wishes(
    rules: RuleSet, *, preset: str = "modern", prefer: Sequence[str] = (), client_os: Sequence[str] = (), consider: Sequence[str] = ()
) -> Wishes:
    """The wishes by their names. Raises UsageError (status USAGE) for a name that is not known."""
    if preset not in rules.presets:
        _unknown("preset", preset, rules.presets)
    for name in consider:
        if name not in rules.profiles:
            _unknown("protocol to consider", name, rules.profiles)
    aside = frozenset(_named("criterion", name.removeprefix(SET_ASIDE), Criterion) for name in prefer if name.startswith(SET_ASIDE))
    wanted = frozenset(_named("criterion", name, Criterion) for name in prefer if not name.startswith(SET_ASIDE))
    for criterion in sorted(wanted & aside):
        raise UsageError(f"criterion '{criterion}' is both preferred and set aside: say one of them")
    systems = tuple(dict.fromkeys(_named("client operating system", name.lower(), ClientOs) for name in client_os))
    return Wishes(rules.presets[preset], wanted, aside, systems, frozenset(consider))


def _named(what: str, name: str, kind: type[Name]) -> Name:
    known = {str(member): member for member in kind}
    return known[name] if name in known else _unknown(what, name, known)


def _unknown(what: str, name: str, known: Mapping[str, object]) -> NoReturn:
    raise UsageError(f"{what} {name!r} is not known: {nearest(name, known)}")


def weights(wishes: Wishes) -> dict[Criterion, float]:
    """What each criterion counts."""
    base = {criterion: 0.0 if criterion in wishes.set_aside else weight for criterion, weight in wishes.preset.weights.items()}
    others = sum(weight for criterion, weight in base.items() if criterion not in wishes.prefer)
    return {criterion: max(weight, others) or 1.0 if criterion in wishes.prefer else weight for criterion, weight in base.items()}


def rank(judgements: Sequence[Judgement], wishes: Wishes) -> tuple[Ranked, ...]:
    """The protocols that work, best first; those that are not to be recommended come last."""
    working = [judgement for judgement in judgements if judgement.works]
    counted = [judgement.loss for judgement in working if judgement.loss.sent and _is_sound(judgement, wishes)]
    least = min(counted, key=lambda loss: (loss.share, -loss.sent), default=NOTHING)  # Of two alike that which is known better.
    ranked = [_ranked(judgement, wishes, least) for judgement in working]
    return tuple(sorted(ranked, key=lambda one: (bool(one.against), not _is_sound(one.judgement, wishes), len(one.behind), -one.score)))


def _is_sound(judgement: Judgement, wishes: Wishes) -> bool:
    return treatment(judgement.profile, wishes) is Treatment.ALLOW


def treatment(profile: ProtocolTraits, wishes: Wishes) -> Treatment:
    """What happens to a protocol for its security."""
    if profile.security is Security.SOUND or Criterion.SECURITY in wishes.set_aside:
        return Treatment.ALLOW
    return wishes.preset.treatment[profile.security]


def _ranked(judgement: Judgement, wishes: Wishes, least: Counted) -> Ranked:
    """`least`: what that one loses which loses least of all that work."""
    profile = judgement.profile
    scores = wishes.preset.scores.get(profile.name, profile.scores)
    counted = weights(wishes)
    mean = sum(counted[criterion] * scores[criterion] for criterion in Criterion) / (sum(counted.values()) or 1.0)
    penalty = max((wishes.preset.clients_penalty[_support(profile, system)] for system in wishes.client_os), default=0.0)
    return Ranked(judgement, round(max(0.0, mean - penalty), 4), scores, _against(profile, wishes), _behind(judgement, wishes, least))


def _support(profile: ProtocolTraits, system: ClientOs) -> Support:
    """A system that the rules say nothing about is taken to need an application."""
    return profile.clients[system].support if system in profile.clients else Support.APP


def _against(profile: ProtocolTraits, wishes: Wishes) -> tuple[str, ...]:
    missing = [system for system in wishes.client_os if _support(profile, system) is Support.NONE]
    return (
        *([profile.security_note] if treatment(profile, wishes) is Treatment.EXCLUDE else []),
        *(profile.clients[system].note or f"There is no client on {system}." for system in missing),
    )


def _behind(judgement: Judgement, wishes: Wishes, least: Counted) -> tuple[str, ...]:
    felt = ", ".join(f"{name} = {value}" for name, value in judgement.settings.items() if name not in UNFELT)
    # A limit on size that settings mend is felt no more than one that nothing is said to mend.
    mended = bool(felt) and all(row.cause is Cause.SIZE for row in judgement.limited)
    loss = judgement.loss
    loses = loss.share > least.share + FELT_LOSS and loss.surely_more_than(least)
    return (
        *(["it has no sound encryption"] if treatment(judgement.profile, wishes) is Treatment.LAST else []),
        *([f"it needs a setting ({felt})"] if felt else []),
        *(["it works within limits"] if judgement.limited and not mended else []),
        *([f"it loses {100 * loss.share:.0f} % of its packets, where {100 * least.share:.0f} % is the least"] if loses else []),
    )


def recommend(judgements: Sequence[Judgement], ranked: Sequence[Ranked], wishes: Wishes, warnings: Sequence[str]) -> Recommendation | None:
    """The first in the ranking that may be recommended; None: there is none."""
    best = next((one for one in ranked if may_be_recommended(one, wishes)), None)
    if best is None:
        return None
    verdict = best.judgement.verdict
    because = (
        f"{best.profile.title} is shown to work: {verdict.because[0].text}",
        _standing(best, ranked, wishes),
        *_passed_over(best, ranked, wishes),
        *(f"{one.profile.title} does not work: {one.verdict.because[0].text}" for one in judgements if _infeasible(one)),
    )
    return Recommendation(
        verdict.protocol,
        tuple(one.judgement.verdict.protocol for one in ranked),
        because,
        verdict.port,
        {"port": verdict.port, **best.judgement.advised, **best.judgement.settings},
        (*_warnings_about(best, wishes), *warnings),
    )


def may_be_recommended(one: Ranked, wishes: Wishes) -> bool:
    return not one.against and (one.profile.candidate or one.profile.name in wishes.consider)


def _infeasible(judgement: Judgement) -> bool:
    return judgement.verdict.feasibility is Feasibility.INFEASIBLE


def _standing(best: Ranked, ranked: Sequence[Ranked], wishes: Wishes) -> str:
    """How it compares with those that compete with it."""
    others = [f"{one.profile.title} {one.score:.2f}" for one in ranked if one is not best and may_be_recommended(one, wishes)]
    by = f"by the preset {wishes.preset.name} ({wishes.preset.title})"
    asked = [*(f"{name} preferred" for name in sorted(wishes.prefer)), *(f"{name} set aside" for name in sorted(wishes.set_aside))]
    by += f" with {listed(asked)}" if asked else ""
    return f"It scores {best.score:.2f} {by}" + (f"; {listed(others)}." if others else ", and nothing else that may be recommended works.")


def _passed_over(best: Ranked, ranked: Sequence[Ranked], wishes: Wishes) -> list[str]:
    """What works and is not recommended, with the reason."""
    found = []
    for one in ranked:
        if one is best:
            continue
        if one.against:
            found.append(f"{one.profile.title} works, but is not recommended: {' '.join(one.against)}")
        elif not may_be_recommended(one, wishes):
            found.append(f"{one.profile.title} works, and is recommended only when it is asked for (--consider {one.profile.name}).")
        elif one.behind:
            found.append(f"{one.profile.title} ranks behind whatever its score: {listed(one.behind)}.")
    return found


def _warnings_about(best: Ranked, wishes: Wishes) -> list[str]:
    """What to know before setting it up: security, clients, loss, limits."""
    profile = best.profile
    reasons: dict[str, Reason] = {reason.rule: reason for reason in best.judgement.verdict.because}
    security = [profile.security_note] if profile.security is not Security.SOUND else []
    path = [reasons[key].text for key in ("loss", "limit", "other-port", "wrap") if key in reasons]
    doubtful = (Support.DEPRECATED, Support.BY_HAND, Support.NONE)
    clients = [_note(profile, system) for system in wishes.client_os or ClientOs if _support(profile, system) in doubtful]
    return [*security, *path, *clients]


def _note(profile: ProtocolTraits, system: ClientOs) -> str:
    client = profile.clients[system]
    return client.note or f"On {system}, support for {profile.title} is: {client.support}."
