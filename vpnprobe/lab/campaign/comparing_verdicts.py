"""Verdicts, the recommendation and its settings held against the truth about the network.

`unknown` where the truth is plain is counted by itself: it is honest, and it is no answer.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from vpnprobe.lab.campaign.findings import Comparison, Wrong
from vpnprobe.lab.campaign.protocol_truth import LOSS_ALWAYS_TOLD, ProtocolTruth, truth_of_protocol
from vpnprobe.lab.campaign.truth import Passing, Truth
from vpnprobe.observations.schema import Feasibility, LimitKind, Protocol, Recommendation, Verdict
from vpnprobe.transports.topology import Topology

ENDS: Final = frozenset({LimitKind.PACKETS, LimitKind.TIME, LimitKind.BYTES})
"""Limits that say that what works ends."""
HEADERS: Final[Mapping[str, int]] = {Protocol.OPENVPN_UDP: 28}
"""Bytes of IPv4 and what is above it around the packets that `mssfix` counts, of protocols whose packets are not cut to fit."""
WORKS: Final = (Feasibility.FEASIBLE, Feasibility.DEGRADED)


def compare_verdicts(
    comparison: Comparison,
    topology: Topology,
    verdicts: Sequence[Verdict],
    recommendation: Recommendation | None,
    *,
    candidates: Sequence[int],
    control_port: int,
) -> None:
    """`candidates`: the ports that protocols of any port were tried on; `control_port`: one over UDP besides."""
    truths: dict[str, ProtocolTruth] = {}
    for verdict in verdicts:
        truth = truth_of_protocol(topology, verdict.protocol, candidates, control_port)
        if truth is not None:
            truths[verdict.protocol] = truth
            _compare_verdict(comparison, verdict, truth)
    if recommendation is not None and recommendation.protocol in truths:
        _compare_recommendation(comparison, recommendation, truths)


def _compare_verdict(comparison: Comparison, verdict: Verdict, truth: ProtocolTruth) -> None:
    said, right = verdict.feasibility, truth.right
    comparison.told("verdict", _true(truth), said.value)
    if said is Feasibility.UNKNOWN:
        comparison.undecided += truth.passing in (Passing.YES, Passing.NO)
        return
    cut_untold = truth.passing is Passing.CUT and said is Feasibility.DEGRADED and not ENDS & {limit.kind for limit in verdict.limits}
    if said in right and not cut_untold:
        return
    if said is Feasibility.INFEASIBLE:
        wrong = Wrong.BLOCKED
    elif truth.passing is Passing.YES:
        wrong = Wrong.DEGRADED
    else:
        wrong = Wrong.FEASIBLE
    limits = ", ".join(f"{limit.kind.value} {limit.value}" for limit in verdict.limits)
    comparison.wrong(
        wrong, f"verdict {verdict.protocol}", f"{said.value} on {verdict.port}{f' ({limits})' if limits else ''}", _true(truth)
    )


def _compare_recommendation(comparison: Comparison, said: Recommendation, truths: Mapping[str, ProtocolTruth]) -> None:
    begins_on = said.settings.get("ike_port", said.port)
    port = begins_on if isinstance(begins_on, int) else 0
    wrap = str(said.settings.get("wrap", "none"))
    about = f"{said.protocol}/{port}"
    truth = truths[said.protocol]
    if port in truth.taken:
        comparison.wrong(Wrong.RECOMMENDATION, f"recommendation {about}", "recommended", "another program has the port")
        return
    plain = [found for way, found in truth.ways if way.port == port] or [found for _, found in truth.ways]
    works = any(found.passing in (Passing.YES, Passing.MAYBE) or found.ends_unwatched for found in plain)
    comparison.told("recommendation", "works" if works else _true(truth), "recommended")
    if not works:
        ended = any(found.passing is Passing.CUT for found in plain)
        comparison.wrong(Wrong.RECOMMENDATION, f"recommendation {about}", "recommended", "is cut" if ended else "does not work")
        return
    other = truths.get(Protocol.OPENVPN_TCP)
    least = min((found.loss for found in plain if found.passing is Passing.YES), default=0.0)
    if least >= LOSS_ALWAYS_TOLD and other is not None and any(found.clean for found in other.working):
        comparison.wrong(Wrong.RECOMMENDATION, f"recommendation {about}", "recommended", f"{least:.0%} loss, and none over TCP")
    exact = truth.of(port, "" if wrap == "none" else wrap, said.settings)
    if exact is not None:
        _compare_settings(comparison, said, exact, about)


def _compare_settings(comparison: Comparison, said: Recommendation, truth: Truth, about: str) -> None:
    """The wrap passes on that port, and packets are made small enough where something limits their size."""
    wrong = ""
    if truth.passing not in (Passing.YES, Passing.MAYBE) and not truth.ends_unwatched:
        wrong = f"wrap {said.settings.get('wrap')}, which does not pass"
    elif said.protocol in HEADERS:
        wrong = _wrong_size(said.settings, truth.largest, HEADERS[said.protocol])
    comparison.told("settings", "known", "wrong" if wrong else "right")
    if wrong:
        comparison.wrong(Wrong.SETTINGS, f"settings {about}", wrong, f"{truth.passing.value}, packets up to {truth.largest} bytes pass")


def _wrong_size(settings: Mapping[str, object], largest: int, headers: int) -> str:
    path_mtu, mssfix = settings.get("path_mtu"), settings.get("mssfix")
    if isinstance(path_mtu, int) and path_mtu > largest and path_mtu < 1500:
        return f"path_mtu {path_mtu}"
    if isinstance(mssfix, int):
        return f"mssfix {mssfix}" if mssfix + headers > largest and mssfix < 1492 - headers else ""
    return "no mssfix" if largest < 1400 else ""


def _true(truth: ProtocolTruth) -> str:
    if truth.passing is not Passing.YES:
        return truth.passing.value
    return f"works ({' or '.join(sorted(one.value for one in truth.right))})"
