"""Failures that have a name, as reasons: what happened, in the words of the rules, and what to change.

A row bears the name of its failure (`detail.failure`), or is one by what came of it (`model.FailureText.describes`). What a name suggests
as the cause is left out where the row itself is shown to fail on the path: then the finding about it says more.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from vpnprobe.observations.schema import Observation, Reason
from vpnprobe.rules.logic import form_of, truth_of
from vpnprobe.rules.model import PROFILE, FailureText, ProtocolTraits, RuleSet, Truth
from vpnprobe.rules.sentences import filled, form_words, listed

REASON: Final = "failure."
"""How the rule of such a reason begins; the name follows."""
NUMBERS: Final[Mapping[str, tuple[str, ...]]] = {"sizes": ("largest_passing", "smallest_lost"), "cut": ("cut_after",)}
"""Remarks, and the keys of `detail` that each needs."""
LONGEST_SAID: Final = 200
"""Characters of the peer's or the library's words that are told."""


def failures(rows: Iterable[Observation], profile: ProtocolTraits, rules: RuleSet) -> tuple[Reason, ...]:
    """One reason for each name, about all rows that have it; those of an existing server have their own."""
    groups: dict[tuple[str, bool], list[Observation]] = {}
    for row in rows:
        name = _name(row, rules.failures)
        if name is not None:
            groups.setdefault((name, is_of_profile(row)), []).append(row)
    return tuple(_told(name, found, profile, rules) for (name, _), found in groups.items())


def _name(row: Observation, known: Mapping[str, FailureText]) -> str | None:
    borne = row.detail.get("failure")
    if isinstance(borne, str) and borne in known and (is_of_profile(row) or truth_of(row) is Truth.UNKNOWN):
        return borne
    return next((name for name, failure in known.items() if failure.describes(row.check, row.outcome, row.cause)), None)


def settles(row: Observation, rules: RuleSet) -> bool:
    """Whether the row's name shows that an existing server does not work with the profile."""
    failure = rules.failures.get(str(row.detail.get("failure")))
    return failure is not None and failure.settles and is_of_profile(row)


def is_of_profile(row: Observation) -> bool:
    """Whether it is about an existing server, tried with the user's own profile."""
    return form_of(row).startswith(PROFILE)


def _told(name: str, rows: list[Observation], profile: ProtocolTraits, rules: RuleSet) -> Reason:
    failure, forms = rules.failures[name].words_for(profile.name), dict.fromkeys(form_of(row) for row in rows)
    ports = listed(dict.fromkeys(row.port for row in rows if row.port is not None)) or str(profile.default_port)
    words = {
        "protocol": profile.title,
        "port": ports,
        "wrapped": form_words(form)
        if len(forms) == 1 and ((form := next(iter(forms))) in profile.wraps or form.startswith(PROFILE))
        else "",
        **_numbers(rows, rules),
    }
    said = listed(dict.fromkeys(_shortened(str(row.detail["said"])) for row in rows if row.detail.get("said")))
    words["said"] = filled(rules.remarks["said"], {"said": said}) if said else ""
    words |= {"what": filled(failure.what, words), "advice": filled(failure.advice, words)}
    return Reason(f"{REASON}{name}", filled(rules.remarks["failure"], words), tuple(row.id for row in rows))


def _numbers(rows: list[Observation], rules: RuleSet) -> dict[str, str]:
    """The remarks with the numbers of the rows' detail; those of several rows are listed. Empty where there are none."""
    found: dict[str, str] = {}
    for remark, keys in NUMBERS.items():
        numbers = {key: listed(dict.fromkeys(row.detail[key] for row in rows if key in row.detail)) for key in keys}
        found[remark] = filled(rules.remarks[remark], numbers) if all(numbers.values()) else ""
    return found


def _shortened(said: str) -> str:
    return said if len(said) <= LONGEST_SAID else f"{said[: LONGEST_SAID - 1]}…"
