"""One verdict for each protocol, out of its rules and the observations.

A protocol that is judged port by port is judged by the first candidate that works without limits and is not shown to lose more than another
(a few packets lost by chance on one of them change nothing), and is infeasible only where every one is shown to fail. What
can be wrapped is judged wrap by wrap on each port, plain first; an existing server that was tried with the user's own profile counts where
it works, and fails nothing but itself; what the path alone leaves open, a failure's name may settle there (`FailureText.settles`).
`feasible`: whatever port and wrap its settings name; `degraded`: with loss or limits, or only with another setting that its users feel;
`unknown`: neither is shown.

Invariant: every verdict has a reason, and nothing that was not measured fails it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Final, NamedTuple

from vpnprobe.observations.schema import Cause, Direction, Feasibility, Observation, Outcome, Reason, Transport, Verdict
from vpnprobe.rules.candidates import Candidate, candidates, was_tried
from vpnprobe.rules.failures import failures, settles
from vpnprobe.rules.limits import limits_of
from vpnprobe.rules.logic import Finding, Part, Reading, Value, distinct, evaluate
from vpnprobe.rules.model import PLAIN, PROFILE, Need, ProtocolTraits, RuleSet, Security, Setting, Truth, Weight
from vpnprobe.rules.sentences import filled, form_words, grouped, in_words, told
from vpnprobe.rules.silences import silence_limits, silence_reasons, silent_often, taken_by

_WEIGHTS = list(Weight)
UNFELT: Final = frozenset({"port", "wrap"})
"""Settings that are no limit: once they are made nobody feels them."""
OF_FLOWS: Final = frozenset({Cause.PACKETS, Cause.TIME, Cause.RATE, Cause.UNKNOWN})
"""Why all packets of a port's flows may be lost from some moment on, whatever they say."""
SURELY: Final = 4.0
"""Standard deviations from which on one port is shown to lose more than another: what all lose is the path's."""


@dataclass(frozen=True, slots=True)
class PortFindings:
    """What the rules of a protocol say on one port, in one form."""

    port: int
    truth: Truth
    findings: tuple[Finding, ...]
    form: str = PLAIN

    @property
    def rows(self) -> tuple[Observation, ...]:
        return distinct(row for finding in self.findings for row in finding.value.rows)


class Counted(NamedTuple):
    """Packets that left, and how many of them are known to be lost."""

    sent: int = 0
    lost: int = 0

    @property
    def share(self) -> float:
        """0 to 1; 0 where none was counted."""
        return self.lost / self.sent if self.sent else 0.0

    def surely_more_than(self, other: "Counted") -> bool:
        """Whether it loses more, and not by chance (two shares compared by their pooled standard deviation)."""
        if not self.sent or not other.sent:
            return False
        pooled = (self.lost + other.lost) / (self.sent + other.sent)
        deviation = sqrt(pooled * (1 - pooled) * (1 / self.sent + 1 / other.sent))
        return self.share - other.share > SURELY * deviation


NOTHING: Final = Counted()
ENOUGH_COUNTED: Final = 40
"""Packets of a protocol's own from which on its loss is told by them alone."""
LEAST_LOST: Final = 5
WORTH_A_WORD: Final = 0.05
"""Share of lost packets from which on what passes is called degraded."""
PASSING: Final = frozenset({Outcome.PASS, Outcome.DEGRADED})
OF_THE_PATH: Final = frozenset({Cause.RATE, Cause.SIZE})
"""Limits that other ports are likely to have too, where fewer packets may not have shown them."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what ranking needs beyond it."""

    profile: ProtocolTraits
    verdict: Verdict
    ports: tuple[PortFindings, ...]
    """In the order of preference."""
    settings: Mapping[str, Setting]
    """What must be set other than by default for it to work."""
    lossy: tuple[Observation, ...] = ()
    """What it rests on that works with loss; all that passes shares that."""
    limited: tuple[Observation, ...] = ()
    """What it rests on that works within limits other than loss."""
    advised: Mapping[str, Setting] = field(default_factory=dict)
    """What is best set, though it works without."""
    loss: Counted = NOTHING
    """Of the packets that it rests on."""

    @property
    def works(self) -> bool:
        return self.verdict.feasibility in (Feasibility.FEASIBLE, Feasibility.DEGRADED)


def judge(
    profile: ProtocolTraits,
    observations: Sequence[Observation],
    rules: RuleSet,
    *,
    ports: Sequence[int] = (),
    control_port: int | None = None,
) -> Judgement:
    """The verdict for one protocol. `ports`: the candidate ports that were asked about; empty: those that the observations name."""
    found = candidates(profile, observations, rules, ports=ports, control_port=control_port)
    judged = tuple(_on_port(profile, candidate, observations, rules) for candidate in found)
    plain_was_tried = any(was_tried(profile, candidate, observations, rules) for candidate in found if candidate.form == PLAIN)
    working = [
        _working(profile, judged, one, observations, rules, wrap_is_setting=plain_was_tried) for one in judged if one.truth is Truth.TRUE
    ]
    if working:
        return _preferred(working)
    # What fails at an existing server may be its own set-up: it decides only where nothing else was tried.
    others = [one for one in judged if not _is_existing(one)]
    deciding = others if any(one.rows for one in others) else [one for one in judged if _is_existing(one)] or others
    failed = all(one.truth is Truth.FALSE for one in deciding)
    shown = [one for one in deciding if failed or one.truth is Truth.UNKNOWN]
    named = failures(distinct(row for one in judged for row in one.rows), profile, rules)
    # A name says more than that something was not answered, or not measured; of a server that exists it says all.
    leads = not failed or all(_is_existing(one) for one in deciding)
    because = (
        *(named if leads else ()),
        *_reasons(deciding, shown[0].truth, rules),
        *_reasons([one for one in judged if _is_existing(one) and one not in deciding], Truth.FALSE, rules),
        *(() if leads else named),
    )
    return Judgement(
        profile,
        Verdict(profile.name, Feasibility.INFEASIBLE if failed else Feasibility.UNKNOWN, because, shown[0].port),
        judged,
        {},
    )


def _preferred(working: Sequence[Judgement]) -> Judgement:
    """The first, in the order of preference, that has no limits and is not shown to lose more than another; else the first.

    A limit on rate is asked about at one port alone, and one on size is the path's: there another is better only if it has no fault at all.
    """
    first = working[0]
    if first.limited and all(row.cause in OF_THE_PATH for row in first.limited):
        return next((one for one in working if not (one.limited or one.lossy or set(one.settings) - UNFELT)), first)
    free = [one for one in working if not one.limited and not set(one.settings) - UNFELT]
    return next((one for one in free if not any(one.loss.surely_more_than(other.loss) for other in free)), working[0])


def _is_existing(one: PortFindings) -> bool:
    return one.form.startswith(PROFILE)


def _on_port(profile: ProtocolTraits, candidate: Candidate, observations: Sequence[Observation], rules: RuleSet) -> PortFindings:
    reading = Reading(rules.selectors, observations, candidate.port, candidate.form)
    findings = tuple(finding for rule in rules.rules_of(profile.name) if (finding := evaluate(rule, reading)) is not None)
    counting = [finding.truth for finding in findings if _counts(finding)]
    truth = next((truth for truth in (Truth.FALSE, Truth.UNKNOWN) if truth in counting), Truth.TRUE)
    found = PortFindings(candidate.port, truth, findings, candidate.form)
    settled = truth is Truth.UNKNOWN and any(settles(row, rules) for row in found.rows)
    return replace(found, truth=Truth.FALSE) if settled else found


def _counts(finding: Finding) -> bool:
    need = finding.rule.need
    return need is Need.REQUIRED or (need is Need.IF_MEASURED and finding.truth is not Truth.UNKNOWN)


def _told_about(finding: Finding, one: PortFindings) -> bool:
    if finding.truth is Truth.UNKNOWN and any(
        before.rule.id == finding.rule.after and before.truth is not Truth.TRUE for before in one.findings
    ):
        return False
    return _counts(finding) or (finding.rule.need is Need.INFORMATIVE and finding.truth is Truth.TRUE)


def _reasons(judged: Sequence[PortFindings], deciding: Truth, rules: RuleSet) -> tuple[Reason, ...]:
    """The findings of all these ports in words, those of the deciding truth first."""
    findings = [finding for one in judged for finding in one.findings if _told_about(finding, one)]
    findings.sort(key=lambda finding: (finding.truth is not deciding, finding.truth is Truth.TRUE, _WEIGHTS.index(finding.rule.weight)))
    return tuple(told(group, rules) for group in grouped(findings))


def _working(
    profile: ProtocolTraits,
    judged: tuple[PortFindings, ...],
    working: PortFindings,
    observations: Sequence[Observation],
    rules: RuleSet,
    *,
    wrap_is_setting: bool,
) -> Judgement:
    """The verdict where this port works. `wrap_is_setting`: it was tried plain too, and that is not shown to work."""
    rests_on = [finding for finding in working.findings if _counts(finding)]
    settings = {name: value for finding in rests_on for name, value in finding.settings.items()}
    existing = _is_existing(working)
    elsewhere = working.port != profile.default_port and not existing
    wrapped = wrap_is_setting and working.form in profile.wraps
    settings |= {"port": working.port} if elsewhere else {}
    settings |= {"wrap": working.form} if wrapped else {}
    degraded = distinct(row for finding in rests_on for row in finding.value.degraded)
    rows = distinct(row for finding in rests_on for row in finding.value.rows)
    counted = _counted(rows, observations)
    own = tuple(row for row in degraded if row.cause in (None, Cause.LOSS))
    around = () if own else _lossy_around(rests_on, counted, observations)
    silences = silent_often(observations)
    if counted.share <= WORTH_A_WORD and not taken_by(silences, rows):
        silences = ()
    lossy = own or around or silences
    limited = tuple(row for row in degraded if row.cause not in (None, Cause.LOSS))
    before = judged[: judged.index(working)]
    # What its own profile shows to work is not told as unknown without it.
    preferred = tuple(one for one in before if not (existing and one.port == working.port and one.truth is Truth.UNKNOWN))
    others = [one for one in judged if _is_existing(one) and one is not working and one not in preferred]
    failing = distinct(row for one in (working, *preferred, *others) for row in one.rows)
    because = (
        *_reasons([working], Truth.TRUE, rules),
        *(_remark("profile", profile, working, rules, ()) if existing else ()),
        *(_remark("other-port", profile, working, rules, (), taken=_holder(before, profile.default_port)) if elsewhere else ()),
        *(_remark("wrap", profile, working, rules, ()) if wrapped else ()),
        *(_remark("loss", profile, working, rules, own) if own else ()),
        *(_remark("loss-around", profile, working, rules, around) if around else ()),
        *silence_reasons(silences, rules),
        *(_remark("limit", profile, working, rules, limited) if limited else ()),
        *_reasons(preferred, Truth.FALSE, rules),
        *_reasons(others, Truth.FALSE, rules),
        *failures(failing, profile, rules),
        *([Reason("security", profile.security_note)] if profile.security is not Security.SOUND else []),
    )
    feasibility = Feasibility.DEGRADED if set(settings) - UNFELT or degraded or lossy else Feasibility.FEASIBLE
    silent = () if own or around else silence_limits(silences)
    limits = (*silent, *limits_of(rows, lossy=own or around, limited=limited))
    verdict = Verdict(profile.name, feasibility, because, working.port, limits=limits)
    return Judgement(profile, verdict, judged, settings, lossy, limited, _advised(profile, judged, working), counted)


def _holder(judged: Iterable[PortFindings], port: int) -> str:
    """The program that has a port of the server; empty: none is known to."""
    programs = (row.detail.get("program") for one in judged if one.port == port for row in one.rows)
    return next((str(program) for program in programs if program), "")


def _lossy_around(rests_on: Sequence[Finding], own: Counted, observations: Sequence[Observation]) -> tuple[Observation, ...]:
    """Rows that show the path to lose UDP on whatever port, where a protocol over UDP has too few packets of its own to tell.

    A port by itself may lose more: that of the greatest loss is left out, and so are those whose flows are cut.
    """
    if own.sent >= ENOUGH_COUNTED or not any(row.transport is Transport.UDP for finding in rests_on for row in finding.value.rows):
        return ()
    found: list[Observation] = []
    cut = {row.port for row in observations if row.transport is Transport.UDP and row.outcome is Outcome.BLOCKED and row.cause in OF_FLOWS}
    reached = [row for row in observations if (row.probe, row.check) == ("udp", "reach") and row.port not in cut]
    for way in (Direction.C2S, Direction.S2C):
        rows = [row for row in reached if row.direction is way and row.outcome in PASSING]
        known = [(row.sent, row.received) for row in rows]
        counts = [Counted(sent, sent - received) for sent, received in known if sent is not None and received is not None]
        counts = sorted(counts, key=lambda one: one.share)[:-1]
        loss = Counted(sum(one.sent for one in counts), sum(one.lost for one in counts))
        if loss.lost >= LEAST_LOST and loss.share > WORTH_A_WORD:
            found += rows
    return tuple(found)


def _counted(rows: Sequence[Observation], observations: Sequence[Observation]) -> Counted:
    """Over all that counted packets of one direction. What TCP loses it repeats: there the path's loss of segments stands for it.

    What is too large to pass is a limit, and no loss that its users have once packets are smaller.
    """
    if all(row.transport is Transport.TCP for row in rows):
        rows = [row for row in observations if (row.probe, row.check, row.transport) == ("quality", "loss", Transport.TCP)]
    counts = [(row.received if row.cause is Cause.SIZE else row.sent, row.received) for row in rows if row.direction is not Direction.BOTH]
    known = [(sent, received) for sent, received in counts if sent is not None and received is not None]
    return Counted(sum(sent for sent, _ in known), sum(max(0, sent - received) for sent, received in known))


def _advised(profile: ProtocolTraits, judged: Sequence[PortFindings], working: PortFindings) -> dict[str, Setting]:
    """The strongest wrap that passes whole on the port that works; nothing where only an existing server does."""
    passing = {one.form for one in judged if one.port == working.port and one.truth is Truth.TRUE}
    strongest = next((wrap for wrap in profile.wraps if wrap in passing), "none" if PLAIN in passing else None)
    return {"wrap": strongest} if profile.wraps and strongest is not None else {}


def _remark(
    key: str, profile: ProtocolTraits, working: PortFindings, rules: RuleSet, rows: tuple[Observation, ...], *, taken: str = ""
) -> tuple[Reason, ...]:
    """`taken`: the program that has the default port; empty: none is known to."""
    parts = [
        Part(part.selector, mine)
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
        "wrap": working.form,
        "wrapped": form_words(working.form),
        "taken": f" ({taken} has it at the server)" if taken else "",
        **in_words(Value(Truth.TRUE, tuple(parts)), "", port, working.form),
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
