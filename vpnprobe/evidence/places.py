"""Where something does not pass: between which two hops, by TTL-limited copies of that very kind of packet.

The last router that answered for it, and the next one that is shown not to be reached though it answers for another kind. Routers between
the two are silent, or had no answers left. Where no router behind the last is shown, the packets are lost somewhere before the other end.
A router that refuses is reached. Several hops may have one address: a NAT answers for the routers behind it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.evidence.checks import SPECS
from vpnprobe.evidence.naming import form_detail
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PathFacts, TtlTrace
from vpnprobe.observations.schema import Cause, Direction, Location, Observation, Outcome, Transport

FAILED: Final = frozenset({Outcome.BLOCKED, Outcome.REFUSED})
FORMS: Final = ("form", "wrap", "profile", "remote")
"""What tells rows of one check and port apart in their detail."""


def located(row: Observation, facts: PathFacts) -> Observation:
    """The same with its place, where it has one that is known."""
    place = _place(row, facts) if is_placed(row) else None
    return row if place is None else replace(row, location=place)


def is_placed(row: Observation) -> bool:
    """Whether what it says is lost is lost at some place of the path: of large packets that do not pass too."""
    of_size = row.outcome is Outcome.DEGRADED and row.cause is Cause.SIZE
    return of_size or (row.outcome in FAILED and not refused_at_the_end(row))


def is_opened(row: Observation) -> bool:
    """Whether copies go further by now than what was lost: the server's packets have opened the way of what has no ports, all one flow."""
    return "after_server" in row.detail and row.transport in (Transport.GRE, Transport.ESP)


def refused_at_the_end(failed: Observation) -> bool:
    """Whether the addressed host itself refused: its packets vanish nowhere."""
    by_its_firewall = failed.outcome is Outcome.REFUSED and failed.cause is Cause.HOST_FIREWALL
    return failed.cause is Cause.NO_LISTENER or failed.detail.get("by") == "peer" or by_its_firewall


def lost_way(failed: Observation) -> Direction:
    """The direction in which it is lost; BOTH: it goes both ways, and which of them fails is not known."""
    return Direction(failed.detail.get("lost_direction", failed.direction))


def last_answer(trace: TtlTrace) -> tuple[int, str] | None:
    """The farthest router that answered; None: none did."""
    answers = [(ttl, address) for ttl, address in trace.hops.items() if address is not None]
    return max(answers) if answers else None


def trace_of(failed: Observation, facts: PathFacts) -> TtlTrace | None:
    """The trace of this very kind of packet, in the direction in which it is lost; None: there is none."""
    way = _traced_way(failed)
    fitting = (t for t in facts.traces if t.direction is way and t.reached is None and not t.passes)
    return next((trace for trace in fitting if _is_of(trace.check, failed)), None)


def _traced_way(failed: Observation) -> Direction:
    way = lost_way(failed)
    return Direction.C2S if way is Direction.BOTH else way


def _is_of(check: Check, row: Observation) -> bool:
    """Whether a check is the row's, or counts the same packets."""
    spec = SPECS.get((row.probe, row.check))
    names = ((row.probe, row.check), spec.counted_in if spec is not None else None)
    form = form_detail(check)
    same_form = all(row.detail.get(key) == form.get(key) for key in FORMS)
    return (check.probe, check.name) in names and (check.transport, check.port) == (row.transport, row.port) and same_form


def _place(row: Observation, facts: PathFacts) -> Location | None:
    way, own = _traced_way(row), trace_of(row, facts)
    routers = _routers([trace for trace in facts.traces if trace.direction is way])
    end = facts.server_address if way is Direction.C2S else facts.client_address
    refusing = [ttl for ttl, address in routers.items() if address == row.detail.get("by")]
    if len(refusing) == 1 or (refusing and own is None):
        return _after(min(refusing), routers, routers.get(min(refusing) + 1) or _end_behind(min(refusing), facts, way, end))
    return _by_copies(own, routers, end) if own is not None else None


def _by_copies(own: TtlTrace, routers: Mapping[int, str], end: str | None) -> Location | None:
    last = max((ttl for ttl, address in own.hops.items() if address is not None), default=0)
    beyond = min((ttl for ttl in (*own.silent, *own.refused) if ttl > last), default=None)
    if beyond is None:
        return _after(last, routers, end) if last else None
    refusing = own.refused.get(beyond)
    if refusing is not None and refusing == end:
        # Whatever refuses by the other end's own address is behind the routers before it, be they out of answers for this kind; and a
        # NAT that has that address is the first of the hops that show it.
        beyond = min((beyond, *(ttl for ttl, address in routers.items() if address == end)))
        last = max((ttl for ttl, address in routers.items() if ttl < beyond and address != end), default=last)
    if refusing is not None and refusing == routers.get(beyond) != routers.get(last):
        return _after(beyond, routers, routers.get(beyond + 1))
    return _after(last, routers, routers.get(beyond))


def _after(last: int, routers: Mapping[int, str], following: str | None) -> Location:
    address = routers.get(last)
    # A NAT that answers for the next hop too is no place behind itself.
    return Location(last_hop=last, last_address=address, next_address=following if following != address else None)


def _end_behind(last: int, facts: PathFacts, way: Direction, end: str | None) -> str | None:
    """The other end, where it is the next hop."""
    reached = {trace.reached for trace in facts.traces if trace.direction is way}
    return end if last + 1 in reached else None


def _routers(traces: Sequence[TtlTrace]) -> dict[int, str]:
    """By TTL: the routers that answered for any kind; what passes names them before others."""
    found: dict[int, str] = {}
    for trace in sorted(traces, key=lambda trace: trace.passes):
        found |= {ttl: address for ttl, address in trace.hops.items() if address is not None}
    return dict(sorted(found.items()))
