"""One verdict for each protocol, out of its rules and the observations.

A protocol that is judged port by port is feasible where one candidate port is, and infeasible only where every one is shown to fail.
`feasible`: with the defaults; `degraded`: with loss or limits, or only with a setting other than the default; `unknown`: neither is shown.

Invariant: every verdict has a reason, and nothing that was not measured fails it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vpnprobe.observations.schema import Cause, Feasibility, Observation, Reason, Verdict
from vpnprobe.rules.logic import Finding, Part, Reading, Value, distinct, evaluate, fits
from vpnprobe.rules.model import CANDIDATE, Need, Profile, RuleSet, Security, Setting, Truth, Weight
from vpnprobe.rules.sentences import filled, grouped, in_words, told

_WEIGHTS = list(Weight)


@dataclass(frozen=True, slots=True)
class PortFindings:
    """What the rules of a protocol say on one port."""

    port: int
    truth: Truth
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what ranking needs beyond it."""

    profile: Profile
    verdict: Verdict
    ports: tuple[PortFindings, ...]
    """In the order of preference."""
    settings: Mapping[str, Setting]
    """What must be set other than by default for it to work."""
    lossy: tuple[Observation, ...] = ()
    """What it rests on that works with loss; all that passes shares that."""
    limited: tuple[Observation, ...] = ()
    """What it rests on that works within limits other than loss."""

    @property
    def works(self) -> bool:
        return self.verdict.feasibility in (Feasibility.FEASIBLE, Feasibility.DEGRADED)


def judge(
    profile: Profile, observations: Sequence[Observation], rules: RuleSet, *, ports: Sequence[int] = (), control_port: int | None = None
) -> Judgement:
    """The verdict for one protocol. `ports`: the candidate ports that were asked about; empty: those that the observations name."""
    candidates = _candidates(profile, observations, rules, ports=ports, control_port=control_port)
    judged = tuple(_on_port(profile, port, observations, rules) for port in candidates)
    working = next((one for one in judged if one.truth is Truth.TRUE), None)
    if working is not None:
        return _working(profile, judged, working, rules)
    failed = all(one.truth is Truth.FALSE for one in judged)
    shown = [one for one in judged if failed or one.truth is Truth.UNKNOWN]
    verdict = Verdict(
        profile.name, Feasibility.INFEASIBLE if failed else Feasibility.UNKNOWN, _reasons(judged, shown[0].truth, rules), shown[0].port
    )
    return Judgement(profile, verdict, judged, {})


def _candidates(
    profile: Profile, observations: Sequence[Observation], rules: RuleSet, *, ports: Sequence[int], control_port: int | None
) -> list[int]:
    """The ports to judge, best first; never empty."""
    if not profile.per_port:
        return [profile.default_port]
    wanted = list(ports) if ports else sorted(_ports_seen(profile, observations, rules))
    known = [port for port in dict.fromkeys(profile.preferred_ports) if port in wanted]
    found = [port for port in dict.fromkeys((*known, *wanted)) if port != control_port]
    return found or [profile.default_port]


def _ports_seen(profile: Profile, observations: Sequence[Observation], rules: RuleSet) -> set[int]:
    """Ports with a row of the question itself, and the usual candidates with a row that could falsify it."""
    sources = [source for rule in rules.rules_of(profile.name) for source in rule.sources]
    direct = {name for source in sources if rules.looks[name := source.look].port == CANDIDATE}
    against = {name for source in sources for name in source.falsified_by if rules.looks[name].port == CANDIDATE}
    seen: set[int] = set()
    for row in observations:
        if row.port is not None:
            matching = {name for name in direct | against if fits(row, rules.looks[name], row.port)}
            if matching & direct or (matching and row.port in profile.ports):
                seen.add(row.port)
    return seen


def _on_port(profile: Profile, port: int, observations: Sequence[Observation], rules: RuleSet) -> PortFindings:
    reading = Reading(rules.looks, observations, port)
    findings = tuple(finding for rule in rules.rules_of(profile.name) if (finding := evaluate(rule, reading)) is not None)
    counting = [finding.truth for finding in findings if _counts(finding)]
    truth = next((truth for truth in (Truth.FALSE, Truth.UNKNOWN) if truth in counting), Truth.TRUE)
    return PortFindings(port, truth, findings)


def _counts(finding: Finding) -> bool:
    need = finding.rule.need
    return need is Need.REQUIRED or (need is Need.IF_MEASURED and finding.truth is not Truth.UNKNOWN)


def _told_about(finding: Finding) -> bool:
    return _counts(finding) or (finding.rule.need is Need.INFORMATIVE and finding.truth is Truth.TRUE)


def _reasons(judged: Sequence[PortFindings], deciding: Truth, rules: RuleSet) -> tuple[Reason, ...]:
    """The findings of all these ports in words, those of the deciding truth first."""
    findings = [finding for one in judged for finding in one.findings if _told_about(finding)]
    findings.sort(key=lambda finding: (finding.truth is not deciding, finding.truth is Truth.TRUE, _WEIGHTS.index(finding.rule.weight)))
    return tuple(told(group, rules) for group in grouped(findings))


def _working(profile: Profile, judged: tuple[PortFindings, ...], working: PortFindings, rules: RuleSet) -> Judgement:
    """The verdict where at least one port works."""
    rests_on = [finding for finding in working.findings if _counts(finding)]
    settings = {name: value for finding in rests_on for name, value in finding.settings.items()}
    elsewhere = working.port != profile.default_port
    if elsewhere:
        settings["port"] = working.port
    degraded = distinct(row for finding in rests_on for row in finding.value.degraded)
    lossy = tuple(row for row in degraded if row.cause in (None, Cause.LOSS))
    limited = tuple(row for row in degraded if row.cause not in (None, Cause.LOSS))
    preferred = judged[: judged.index(working)]
    because = (
        *_reasons([working], Truth.TRUE, rules),
        *(_remark("other-port", profile, working, rules, ()) if elsewhere else ()),
        *(_remark("loss", profile, working, rules, lossy) if lossy else ()),
        *(_remark("limit", profile, working, rules, limited) if limited else ()),
        *_reasons(preferred, Truth.FALSE, rules),
        *([Reason("security", profile.security_note)] if profile.security is not Security.SOUND else []),
    )
    feasibility = Feasibility.DEGRADED if settings or degraded else Feasibility.FEASIBLE
    verdict = Verdict(profile.name, feasibility, because, working.port)
    return Judgement(profile, verdict, judged, settings, lossy, limited)


def _remark(key: str, profile: Profile, working: PortFindings, rules: RuleSet, rows: tuple[Observation, ...]) -> tuple[Reason, ...]:
    parts = [
        Part(part.look, mine)
        for finding in working.findings
        for part in finding.value.parts
        if (mine := tuple(row for row in part.rows if row in rows))
    ]
    port = str(working.port)
    words = {
        "protocol": profile.title,
        "port": port,
        "default_port": str(profile.default_port),
        "share": _share_lost(rows),
        "limit": ", ".join(dict.fromkeys(str(row.cause) for row in rows)),
        **in_words(Value(Truth.TRUE, tuple(parts)), "", port),
    }
    return (Reason(key, filled(rules.remarks[key], words), tuple(row.id for row in rows)),)


def _share_lost(rows: Sequence[Observation]) -> str:
    """`20 % of 50 packets` over all rows that counted; else nothing is claimed."""
    counted = [(row.sent, row.received) for row in rows if row.sent is not None and row.received is not None]
    sent = sum(one for one, _ in counted)
    return f"{100 * (sent - sum(one for _, one in counted)) / sent:.0f} % of {sent}" if sent else "share not counted"


def with_control_port(judgements: Sequence[Judgement], rules: RuleSet, control_port: int | None) -> tuple[str, Reason] | None:
    """Protocol and advice where nothing works but the control connection did; None: no such case."""
    nothing = not any(one.works for one in judgements)
    failed = [
        one.profile for one in judgements if one.verdict.protocol == "openvpn-tcp" and one.verdict.feasibility is Feasibility.INFEASIBLE
    ]
    if control_port is None or not nothing or not failed:
        return None
    words = {"protocol": failed[0].title, "port": str(control_port), "default_port": str(failed[0].default_port)}
    return failed[0].name, Reason("control-port", filled(rules.remarks["control-port"], words))
