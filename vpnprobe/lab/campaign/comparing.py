"""The observations of a run held against the truth about its network, row by row.

What is not decided (no answer, skipped) is no wrong word. A cause `unknown` is none either.
"""

from collections.abc import Sequence
from typing import Final

from vpnprobe.lab.campaign.findings import Comparison, Wrong
from vpnprobe.lab.campaign.packet_kinds import Step, steps_of
from vpnprobe.lab.campaign.places import place_of, wrong_place
from vpnprobe.lab.campaign.truth import Passing, Truth, truth_of
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome
from vpnprobe.transports.topology import Topology

FAILED: Final = (Outcome.BLOCKED, Outcome.REFUSED)
PASSED: Final = (Outcome.PASS, Outcome.DEGRADED)
FEW: Final = 4
"""Packets at the end of a short flow that may have been lost as well as cut off."""
RARELY: Final = 1.0
"""Answers a second of a router that has not enough of them for as many kinds as may be lost; such a place is counted by itself."""


def compare_rows(comparison: Comparison, topology: Topology, rows: Sequence[Observation]) -> None:
    """Adds what is to be said of each row whose truth is known."""
    for row in rows:
        if row.outcome is Outcome.ERROR:
            comparison.wrong(Wrong.ERROR, f"row {row.id}", str(row.detail.get("reason")), "a probe does not fail by itself")
        steps = _steps(row, row.direction)
        if steps and row.outcome not in (Outcome.SKIPPED, Outcome.ERROR):
            _compare(comparison, topology, row, truth_of(topology, steps, opened_by=_opened_by(row)), steps)


def _steps(row: Observation, way: Direction) -> tuple[Step, ...]:
    variant = str(row.detail.get("wrap") or row.detail.get("form") or "")
    return steps_of(row.probe, row.check, row.transport, row.port, variant, way)


def _opened_by(row: Observation) -> tuple[Step, ...]:
    """What opens the flow that packets of the server alone belong to. A session's handshake has opened that of its data long before."""
    return _steps(row, Direction.C2S) if row.direction is Direction.S2C and row.check != "data" else ()


def _compare(comparison: Comparison, topology: Topology, row: Observation, truth: Truth, steps: Sequence[Step]) -> None:
    comparison.told("row", truth.passing.value, row.outcome.value)
    if truth.passing is Passing.YES and truth.per_s is None and truth.largest >= max(step.kind.largest for step in steps):
        comparison.bounds.append(1.0 if row.error_bound is None else row.error_bound)
    wrong = _wrong_outcome(row, truth)
    if wrong is not None:
        comparison.wrong(wrong, f"row {row.id}", _said(row), _true(truth))
    elif truth.passing in (Passing.NO, Passing.HOST) and row.outcome in (*FAILED, Outcome.NO_ANSWER):
        _compare_why(comparison, topology, row, truth)
    elif row.outcome in (Outcome.DEGRADED, *FAILED):
        _compare_cause(comparison, row, truth)


def _wrong_outcome(row: Observation, truth: Truth) -> Wrong | None:
    failed, passed = row.outcome in FAILED, row.outcome in PASSED
    by_host = row.outcome is Outcome.REFUSED and row.cause in (Cause.HOST_FIREWALL, Cause.UNKNOWN)
    match truth.passing:
        case Passing.YES if failed:
            return Wrong.BLOCKED
        case Passing.YES if row.outcome is Outcome.DEGRADED and truth.clean:
            return Wrong.DEGRADED
        case Passing.NO | Passing.HOST if passed:
            return Wrong.PASS
        case Passing.HOST if row.outcome is Outcome.BLOCKED or (failed and not by_host and row.cause is Cause.HOST_FIREWALL):
            return Wrong.BLOCKED
        case Passing.MAYBE if row.outcome is Outcome.BLOCKED and truth.ends_alone:
            return Wrong.BLOCKED
        case Passing.MAYBE if row.outcome is Outcome.PASS and row.check == "data" and truth.too_small:
            return Wrong.PASS
        case Passing.CUT if row.outcome is Outcome.PASS and _goes_beyond(row, truth):
            return Wrong.PASS
        case _:
            return None


def _goes_beyond(row: Observation, truth: Truth) -> bool:
    """Whether the sessions of the row had more packets than any flow is let have."""
    sessions = row.detail.get("sessions")
    if not sessions or row.sent is None or truth.after_packets is None or truth.lost not in (None, row.direction):
        return False
    return row.sent / int(sessions) > truth.after_packets


def _compare_why(comparison: Comparison, topology: Topology, row: Observation, truth: Truth) -> None:
    """Of what does not get through: its direction, its cause and its place."""
    if row.outcome is Outcome.NO_ANSWER and row.cause is None:
        return
    way = row.detail.get("lost_direction")
    if row.direction is Direction.BOTH and truth.lost is not None and row.outcome is Outcome.BLOCKED:
        comparison.told("direction", truth.lost.value, str(way))
        if way is not None and way != truth.lost.value:
            comparison.wrong(Wrong.DIRECTION, f"direction {row.id}", str(way), _true(truth))
            return
    _compare_cause(comparison, row, truth)
    by_host = truth.passing is Passing.HOST or (truth.stop is not None and truth.stop.host) or row.cause is Cause.HOST_FIREWALL
    if by_host or row.outcome is Outcome.NO_ANSWER or truth.stop is None or truth.lost is None:
        return
    place = place_of(topology, truth.stop, truth.lost)
    if row.location is None:
        rarely = 0 < topology.icmp_errors_per_s <= RARELY
        silence = "none, some are silent" if topology.silent_routers else "none, routers answer rarely" if rarely else "none"
        comparison.told("place", "known", silence)
        if silence == "none":
            comparison.wrong(Wrong.NO_PLACE, f"place {row.id}", "none", str(place))
        return
    why = wrong_place(topology, place, row.location)
    comparison.told("place", "known", "wrong" if why else "right")
    if why:
        said = f"{row.location.last_hop} {row.location.last_address} > {row.location.next_address}"
        comparison.wrong(Wrong.PLACE, f"place {row.id}", f"{said} ({why})", str(place))


def _compare_cause(comparison: Comparison, row: Observation, truth: Truth) -> None:
    right = truth.causes if truth.loss or truth.disturbed or truth.passing is not Passing.YES else truth.causes - {Cause.LOSS}
    if truth.passing is Passing.CUT and row.outcome is Outcome.DEGRADED and (row.sent or 0) - (row.received or 0) <= FEW:
        right |= {Cause.LOSS}
    comparison.told("cause", _words(right), row.cause.value if row.cause is not None else "none")
    if row.cause is not None and row.cause is not Cause.UNKNOWN and row.cause not in right:
        comparison.wrong(Wrong.CAUSE, f"cause {row.id}", _said(row), _words(right) or "none")


def _words(causes: frozenset[Cause]) -> str:
    return " or ".join(sorted(cause.value for cause in causes))


def _said(row: Observation) -> str:
    counts = f"{row.received}/{row.sent}"
    bound = "" if row.error_bound is None else f" bound {row.error_bound:.2g}"
    return f"{row.outcome.value} {row.cause.value if row.cause is not None else 'no cause'} {counts}{bound}"


def _true(truth: Truth) -> str:
    parts = [truth.passing.value, _words(truth.causes) if truth.passing is not Passing.YES else ""]
    parts += [f"{truth.loss:.0%} loss"] if truth.loss else []
    parts += [f"after {truth.after_packets} packets"] if truth.after_packets is not None else []
    parts += [f"lost {truth.lost.value}"] if truth.lost is not None else []
    return ", ".join(part for part in parts if part)
