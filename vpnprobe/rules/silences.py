"""A path that is silent again and again: that is how it is, and whatever works over it works with loss. Pure."""

from collections.abc import Sequence

from vpnprobe.observations.schema import Direction, Limit, LimitKind, Observation, Reason, Unit
from vpnprobe.rules.model import RuleSet
from vpnprobe.rules.sentences import filled


def silent_often(rows: Sequence[Observation]) -> tuple[Observation, ...]:
    """The outages of a path that had too many for them to be taken out; empty: of any other."""
    return tuple(row for row in rows if (row.probe, row.check) == ("path", "outage") and row.detail.get("often"))


def taken_by(outages: Sequence[Observation], rows: Sequence[Observation]) -> bool:
    """Whether the outages took packets of what the rows were carried by: a policer of UDP leaves GRE and TCP alone.

    Older documents do not say what was taken: then it may be anything. Of TCP, which repeats what is lost, no outage says that it took any.
    """
    known = [row.detail.get("transports") for row in outages]
    taken = {transport for one in known for transport in one or ()}
    return None in known or any(row.transport.value in taken for row in rows)


def silence_reasons(outages: Sequence[Observation], rules: RuleSet) -> tuple[Reason, ...]:
    """How often the path was silent, and for how long in all; nothing where `outages` is empty."""
    words = {"times": str(len(outages)), "seconds": f"{_seconds(outages):.1f}"}
    return (Reason("outages", filled(rules.remarks["outages"], words), tuple(row.id for row in outages)),) if outages else ()


def silence_limits(outages: Sequence[Observation]) -> tuple[Limit, ...]:
    """The share of the time that was lost, up to the end of the last one."""
    until = max((_at(row, "to_s") for row in outages), default=0.0)
    if not until:
        return ()
    share = min(1.0, _seconds(outages) / until)
    return (Limit(LimitKind.LOSS, round(share, 4), Unit.SHARE, Direction.BOTH, observations=tuple(row.id for row in outages)),)


def _seconds(outages: Sequence[Observation]) -> float:
    return sum(max(0.0, _at(row, "to_s") - _at(row, "from_s")) for row in outages)


def _at(row: Observation, name: str) -> float:
    value = row.detail.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
