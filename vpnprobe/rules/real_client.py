"""What follows where a protocol's own program was tried with the same profile (`real-client` rows, `detail.protocol`).

That it comes up where vpnprobe's own try does not (`detail.comparison`) leaves the verdict open, with the reason first: what stops the own
try fails nothing then. That it comes up as the own try does says nothing of data, in which alone they cannot differ. That it does not come
up takes nothing from what vpnprobe's own try has shown of the path; the verdict says both, and that first.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.observations.schema import Feasibility, Observation, Outcome, Reason
from vpnprobe.rules.failures import REASON
from vpnprobe.rules.model import PROFILE, RuleSet
from vpnprobe.rules.sentences import filled, listed
from vpnprobe.rules.verdicts import Judgement

CHECK: Final = "real-client"
COMES_UP: Final = "real-client"
STOPS: Final = "real-client-stops"
DIFFERS: Final = "differs"
NOT_SUPPORTED: Final = "not-supported"
"""The failure whose advice it is to try the program itself."""
STOPPED: Final = frozenset({Outcome.REFUSED, Outcome.NO_ANSWER})


def with_real_client(judgement: Judgement, observations: Sequence[Observation], rules: RuleSet) -> Judgement:
    """The judgement, with what the protocol's own program came to."""
    rows = [row for row in observations if row.check == CHECK and row.detail.get("protocol") == judgement.profile.name]
    up = [row for row in rows if row.outcome is Outcome.PASS]
    otherwise = [row for row in up if row.detail.get("comparison") == DIFFERS]
    stopped = [row for row in rows if row.outcome in STOPPED]
    if not up and not stopped:
        return judgement
    verdict = judgement.verdict
    verdict = replace(verdict, because=tuple(_without_advice(reason, verdict.protocol, rules) for reason in verdict.because))
    if otherwise and not judgement.works:
        because = (_reason(COMES_UP, otherwise, rules), *verdict.because)
        return replace(judgement, verdict=replace(verdict, feasibility=Feasibility.UNKNOWN, because=because))
    if stopped and not up and judgement.works and any(one.form.startswith(PROFILE) for one in judgement.ports if one.port == verdict.port):
        return replace(judgement, verdict=replace(verdict, because=(_reason(STOPS, stopped, rules), *verdict.because)))
    return replace(judgement, verdict=verdict)


def _without_advice(reason: Reason, protocol: str, rules: RuleSet) -> Reason:
    """Nobody is advised to try what was just tried."""
    if reason.rule != f"{REASON}{NOT_SUPPORTED}":
        return reason
    return replace(reason, text=reason.text.removesuffix(rules.failures[NOT_SUPPORTED].words_for(protocol).advice).rstrip())


def _reason(key: str, rows: Sequence[Observation], rules: RuleSet) -> Reason:
    words = {
        "program": listed(dict.fromkeys(str(row.detail.get("program")) for row in rows)),
        "why": "; ".join(dict.fromkeys(filter(None, map(_why, rows)))) or "it does not say why",
        "port": listed(dict.fromkeys(row.port for row in rows if row.port is not None)),
    }
    return Reason(key, filled(rules.remarks[key], words), tuple(row.id for row in rows))


def _why(row: Observation) -> str:
    return ": ".join(str(row.detail[key]) for key in ("stopped_by", "words") if row.detail.get(key))
