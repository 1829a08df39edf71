"""Quantities with a unit: path MTU, idle time, loss, delay, throughput, out of the samples that were taken of them.

Two sorts of samples make a number. Measurements (`held` is None) are summed up: a share over all packets, anything else by its median.
Trials (`held` is true or false) bracket it: at least the largest amount that held, at most the smallest above it that did not.

Invariant: an upper end is told only where what failed above the lower end is more than the path's own loss explains.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from vpnprobe.evidence.checks import Kind, kind_of, spec_of
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.naming import form_detail, identifier
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import NumberSample
from vpnprobe.evidence.statistics import ERROR_BOUND, LEAST_TRIALS, Background
from vpnprobe.observations.schema import Direction, Observation, Outcome, Unit

WHOLE: Final = frozenset({Unit.BYTES, Unit.PACKETS})
"""Units that come in whole numbers: where the next larger amount fails, the number is exact."""


@dataclass(frozen=True, slots=True)
class Number:
    """What samples say of one quantity; None: they do not say it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    error_bound: float | None = None
    """Of the upper end."""
    detail: Mapping[str, Any] = field(default_factory=dict)


def numbers(judge: Judge) -> Iterator[Observation]:
    """One observation a check and direction of which samples were taken."""
    groups: dict[tuple[Check, Direction], list[NumberSample]] = {}
    for sample in judge.facts.samples:
        if kind_of(sample.check) is Kind.NUMBER:
            groups.setdefault((sample.check, sample.direction), []).append(sample)
    for (check, way), samples in sorted(groups.items(), key=lambda group: identifier(*group[0])):
        yield _observed(judge, check, way, samples)


def _observed(judge: Judge, check: Check, way: Direction, samples: Sequence[NumberSample]) -> Observation:
    spec = spec_of(check)
    unit = spec.unit if spec is not None else None
    number = measured(samples, unit) if any(sample.held is None for sample in samples) else bracketed(samples, unit, _loss(judge, way))
    return Observation(
        id=identifier(check, way),
        probe=check.probe,
        check=check.name,
        direction=way,
        transport=check.transport,
        port=check.port,
        outcome=Outcome.NO_ANSWER if number.value is None and number.low is None else Outcome.PASS,
        sent=_sum(sample.sent for sample in samples),
        received=_sum(sample.received for sample in samples),
        error_bound=number.error_bound,
        detail={**form_detail(check), **number.detail, "samples": len(samples)},
        family=check.family,
        value=number.value,
        low=number.low,
        high=number.high,
        unit=unit,
    )


def measured(samples: Iterable[NumberSample], unit: Unit | None) -> Number:
    """The samples that are measurements as one number: of shares, that of all packets together; of anything else the median."""
    taken = [sample for sample in samples if sample.held is None]
    weights = [sample.sent for sample in taken if sample.sent]
    if unit is Unit.SHARE and len(weights) == len(taken):
        return Number(sum(sample.amount * (sample.sent or 0) for sample in taken) / sum(weights))
    return Number(float(median(sample.amount for sample in taken)))


def bracketed(samples: Iterable[NumberSample], unit: Unit | None, loss: Background) -> Number:
    """The bracket that trials put a number into; exact where nothing is left between its ends. `loss`: what the path loses by itself."""
    trials = list(samples)
    low = max((sample.amount for sample in trials if sample.held), default=None)
    above = [sample for sample in trials if not sample.held and (low is None or sample.amount > low)]
    if not above:
        return Number(low=low)
    high, count = min(sample.amount for sample in above), sum(sample.sent or 1 for sample in above)
    bound = loss.chance_of_losing_all(count) if loss.measured else None
    if bound is None or bound > ERROR_BOUND or count < LEAST_TRIALS:
        return Number(low=low, error_bound=bound, detail={"failed_at": high})
    exact = low if low is not None and unit in WHOLE and high - low <= 1 else None
    return Number(exact, low, high, bound)


def _loss(judge: Judge, way: Direction) -> Background:
    """What the path loses by itself; of what goes both ways, where more is lost."""
    return judge.loss[way] if way is not Direction.BOTH else max(judge.loss.values(), key=lambda loss: loss.chance_of_losing_all(1))


def _sum(counts: Iterable[int | None]) -> int | None:
    """None where one of them is not known."""
    known = list(counts)
    return None if any(count is None for count in known) else sum(count or 0 for count in known)
