"""What users will feel of a protocol that works, and how far limits were looked for: numbers of the rows that a verdict rests on. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.observations.schema import Cause, Direction, Limit, LimitKind, Observation, Outcome, Unit

WAYS: Final = (Direction.C2S, Direction.S2C)
PASSING: Final = frozenset({Outcome.PASS, Outcome.DEGRADED})
OF_CAUSE: Final = {
    Cause.SIZE: (LimitKind.SIZE, "largest_passing", Unit.BYTES),
    Cause.PACKETS: (LimitKind.PACKETS, "cut_after", Unit.PACKETS),
    Cause.RATE: (LimitKind.RATE, "packets_per_s", Unit.PACKETS_PER_SECOND),
}
"""By the cause of a row: which limit it shows, and under which name of its detail."""
WATCHED: Final = (
    (LimitKind.SIZE, "largest_passed", Unit.BYTES),
    (LimitKind.PACKETS, "longest_packets", Unit.PACKETS),
    (LimitKind.TIME, "longest_s", Unit.SECONDS),
)
"""How far rows of data tell that they looked."""


def limits_of(rows: Sequence[Observation], *, lossy: Sequence[Observation], limited: Sequence[Observation]) -> tuple[Limit, ...]:
    """Limits that were found, and then how far others were looked for.

    `rows`: what a verdict rests on. `lossy`, `limited`: those of them that pass with loss, or within a limit of another kind.
    """
    found = [*_losses(lossy), *_of_rows(limited)]
    known = {(limit.kind, limit.direction) for limit in found}
    watched = (limit for limit in _watched(rows) if (limit.kind, limit.direction) not in known)
    return (*found, *watched)


def _losses(lossy: Iterable[Observation]) -> Iterator[Limit]:
    for way in WAYS:
        of_way = [row for row in lossy if row.direction is way]
        counted = [(row.sent, row.received, row.id) for row in of_way if row.sent is not None and row.received is not None]
        sent, lost = sum(one for one, _, _ in counted), sum(max(0, one - came) for one, came, _ in counted)
        if lost:
            yield Limit(LimitKind.LOSS, round(lost / sent, 4), Unit.SHARE, way, observations=tuple(name for _, _, name in counted))


def _of_rows(limited: Iterable[Observation]) -> Iterator[Limit]:
    """One limit of each kind, direction and value, about all rows that show it: the same packets may be counted in several."""
    found: dict[tuple[object, ...], Limit] = {}
    for row in limited:
        if (limit := _limit(row)) is not None:
            slot = (limit.kind, limit.direction, limit.value)
            known = found.get(slot)
            found[slot] = limit if known is None else replace(known, observations=(*known.observations, *limit.observations))
    yield from found.values()


def _limit(row: Observation) -> Limit | None:
    if row.cause not in OF_CAUSE:
        return None
    kind, name, unit = OF_CAUSE[row.cause]
    value = _number(row, name)
    return Limit(kind, value, unit, row.direction, observations=(row.id,)) if value is not None else None


def _watched(rows: Sequence[Observation]) -> Iterator[Limit]:
    """The furthest that any row of a direction got, of each kind."""
    for way in WAYS:
        of_way = [row for row in rows if row.direction is way and row.outcome in PASSING]
        for kind, name, unit in WATCHED:
            got = [(value, row.id) for row in of_way if (value := _number(row, name)) is not None]
            if got:
                value, identifier = max(got)
                yield Limit(kind, None, unit, way, watched=value, observations=(identifier,))


def _number(row: Observation, name: str) -> float | None:
    value = row.detail.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
