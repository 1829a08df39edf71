"""Where a protocol is judged: on which ports, and there in which forms (plain, with the user's own profile, in each wrap that was tried).

Invariant: there is always at least one candidate; a port that nobody asked about is none, and what was only skipped in a wrap is none.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vpnprobe.observations.schema import Observation, Transport
from vpnprobe.rules.logic import NOT_TRIED, fits, form_of
from vpnprobe.rules.model import CANDIDATE, PLAIN, PROFILE, ObservationSelector, ProtocolTraits, RuleSet


class Candidate(NamedTuple):
    port: int
    form: str = PLAIN


def candidates(
    profile: ProtocolTraits, observations: Sequence[Observation], rules: RuleSet, *, ports: Sequence[int], control_port: int | None
) -> list[Candidate]:
    """What to judge, best first; never empty."""
    if not profile.per_port:
        return [Candidate(profile.default_port)]
    seen = _ports_seen(profile, observations, rules)
    others = {port for other in rules.profiles.values() if other.per_port for port in other.ports} - set(profile.ports)
    wanted = [port for port in ports if port in seen or port not in others] if ports else sorted(seen)
    wanted += sorted({row.port for row in observations if row.port is not None and _is_existing(row, profile, rules)} - set(wanted))
    known = [port for port in dict.fromkeys(profile.preferred_ports) if port in wanted]
    over_tcp = any(selector.transport is Transport.TCP for selector in _direct(profile, rules))
    found = [port for port in dict.fromkeys((*known, *wanted)) if port != control_port or not over_tcp]
    forms = {port: _forms(profile, port, observations, rules) for port in found or [profile.default_port]}
    order = [PLAIN, *sorted({form for of_port in forms.values() for form in of_port if form.startswith(PROFILE)}), *profile.wraps]
    return [Candidate(port, form) for form in order for port, of_port in forms.items() if form in of_port]


def was_tried(profile: ProtocolTraits, candidate: Candidate, observations: Iterable[Observation], rules: RuleSet) -> bool:
    """Whether anything of it was sent."""
    selectors = _direct(profile, rules)
    return any(row.outcome not in NOT_TRIED and any(fits(row, selector, *candidate) for selector in selectors) for row in observations)


def _direct(profile: ProtocolTraits, rules: RuleSet) -> list[ObservationSelector]:
    """The selectors that ask the protocol's questions on the candidate port."""
    selectors = (rules.selectors[source.selector] for rule in rules.rules_of(profile.name) for source in rule.sources)
    return [selector for selector in selectors if selector.port == CANDIDATE]


def _is_existing(row: Observation, profile: ProtocolTraits, rules: RuleSet) -> bool:
    """Whether it is about an existing server that was tried with the user's own profile, by this protocol."""
    form = form_of(row)
    return form.startswith(PROFILE) and any(fits(row, selector, row.port or 0, form) for selector in _direct(profile, rules))


def _forms(profile: ProtocolTraits, port: int, observations: Iterable[Observation], rules: RuleSet) -> set[str]:
    """Plain, unless only other forms have rows there; an existing server, tried or not; wraps that were tried."""
    selectors = _direct(profile, rules)
    rows = [row for row in observations if any(fits(row, selector, port, form_of(row)) for selector in selectors)]
    plain = {PLAIN for row in rows if form_of(row) == PLAIN}
    existing = {form for row in rows if (form := form_of(row)).startswith(PROFILE)}
    wraps = {form for row in rows if (form := form_of(row)) in profile.wraps and row.outcome not in NOT_TRIED}
    return plain | existing | wraps or {PLAIN}


def _ports_seen(profile: ProtocolTraits, observations: Sequence[Observation], rules: RuleSet) -> set[int]:
    """Ports with a row of the question itself, and the usual candidates with a row that could falsify it."""
    direct = _direct(profile, rules)
    names = {name for rule in rules.rules_of(profile.name) for source in rule.sources for name in source.falsified_by}
    against = [rules.selectors[name] for name in names if rules.selectors[name].port == CANDIDATE]
    seen: set[int] = set()
    for row in observations:
        if row.port is not None:
            asked = any(fits(row, selector, row.port, form_of(row)) for selector in direct)
            if asked or (row.port in profile.ports and any(fits(row, selector, row.port) for selector in against)):
                seen.add(row.port)
    return seen
