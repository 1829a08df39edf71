"""Limits of what works in words, and how far others were looked for."""

from collections.abc import Iterable, Mapping
from typing import Final

from vpnprobe.observations.schema import Limit, Unit
from vpnprobe.report.words import direction_words

WATCHED: Final[Mapping[Unit, str]] = {
    Unit.BYTES: "packets of up to {:.0f} bytes",
    Unit.PACKETS: "sessions of up to {:.0f} packets",
    Unit.SECONDS: "streams of up to {:.2g} s",
}
"""How far a limit was looked for that was not found."""


def limit_words(limit: Limit) -> str:
    """What users will feel of a protocol that works: `loss 12 %, client → server`."""
    if limit.value is None:
        watched = f" up to {_amount(limit.watched, limit.unit)}" if limit.watched is not None else ""
        return f"no limit of {limit.kind.value} found{watched}, {direction_words(limit.direction)}"
    return f"{limit.kind.value} {_amount(limit.value, limit.unit)}, {direction_words(limit.direction)}"


def watched_words(limits: Iterable[Limit]) -> str:
    """How far limits were looked for that were not found, in the direction that was watched least; empty: nothing was."""
    least: dict[Unit, float] = {}
    for limit in limits:
        if limit.value is None and limit.watched is not None:
            least[limit.unit] = min(limit.watched, least.get(limit.unit, limit.watched))
    told = [WATCHED[unit].format(value) for unit, value in least.items() if unit in WATCHED]
    return f"Its data was tried in {' and '.join(told)}." if told else ""


def _amount(value: float, unit: Unit) -> str:
    return f"{100 * value:.3g} %" if unit is Unit.SHARE else f"{value:.6g} {unit.value}"
