"""Numbers that a run measures by the way: what TCP loses, and what the line carries."""

from collections.abc import Iterator

from vpnprobe.endpoint.pacer import Line
from vpnprobe.evidence import checks
from vpnprobe.evidence.records import NumberSample, PathFacts
from vpnprobe.observations.schema import Direction


def segments_lost(facts: PathFacts) -> Iterator[NumberSample]:
    """The share of the control connection's segments that were repeated, a direction: what TCP loses on this path."""
    for way, loss in facts.background.items():
        if sent := loss.lost + loss.passed:
            yield NumberSample(checks.SEGMENTS_LOST, way, loss.lost / sent, sent=sent, received=loss.passed)


def carried(line: Line) -> Iterator[NumberSample]:
    """What the line carries, where it is slow: runs are smaller then."""
    if line.slow and line.narrow_bytes_per_s is not None:
        yield NumberSample(checks.LINE_CARRIES, Direction.BOTH, round(8 * line.narrow_bytes_per_s, -3))
