"""What an end's own firewall takes in part: it arrived, as far as the path is concerned, and the programs there did not get it.

So it is no loss of the path's, and shows no limit on size or rate. A conversation that it stops is open, unless the path is known to lose
a message of it besides, and so is a kind of packets of which the firewall takes all. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from vpnprobe.evidence.checks import Kind, kind_of, plain_on_port, same_packets
from vpnprobe.evidence.packet_records import Check, Movement
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.evidence.taken import Taken
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport

ENDS: Final = {Direction.S2C: "client", Direction.C2S: "server"}
"""Who receives in that direction."""
COUNTED_ALONE: Final = (Kind.PACKETS, Kind.DATA)


def arrived(end: EndRecord) -> EndRecord:
    """The record with what its firewall took among what came.

    Where that is all of a kind, and of others of its protocol and port a part, the kind is named among those that it keeps instead. Where
    nothing at all is let in it is told of the whole port, and nothing is added.
    """
    packets = end.taken.packets
    if not packets:
        return end
    heard = {s.check for s in end.packet_records if s.movement is Movement.RECEIVED}
    unheard = {s.check for s in packets if s.check not in heard and kind_of(s.check) in COUNTED_ALONE}
    whole = {check for check in unheard if end.taken.of({(check.transport, check.port)}) is not None}
    came = (s for s in packets if s.check not in unheard and end.dropped_on_input.isdisjoint(_alike(s.check)))
    return replace(end, packet_records=(*end.packet_records, *came), dropped_on_input=end.dropped_on_input | whole)


def _alike(check: Check) -> set[Check]:
    """The checks of all packets that a firewall hardly tells from these."""
    return {kind for kind in (check, plain_on_port(check), same_packets(check)) if kind is not None}


def of_conversation(check: Check, ends: Mapping[Direction, tuple[EndRecord, EndRecord]]) -> tuple[Direction, Taken] | None:
    """What is taken of the messages of such conversations, and in which direction; None: nothing is known to be.

    Of TCP nobody knows which: a stream that lacks some of its segments stands still in both directions.
    """
    for way, (_, receiver) in ends.items():
        part = receiver.taken.of({(check.transport, check.port)})
        if part is not None and (check.transport is Transport.TCP or _takes_of(receiver, check)):
            return way, part
    return None


def _takes_of(receiver: EndRecord, check: Check) -> bool:
    """Whether any message of the same conversations is among what was taken, or may be: some of it nobody can name."""
    same = (s for s in receiver.taken.packets if s.check._replace(name="") == check._replace(name=""))
    return bool(receiver.taken.unnamed) or any(same)


def all_is_named(check: Check, ends: Mapping[Direction, tuple[EndRecord, EndRecord]]) -> bool:
    """Whether all that is taken is known by name, so that what has not arrived was lost on the way. Of TCP nobody knows."""
    return check.transport is not Transport.TCP and not any(receiver.taken.unnamed for _, receiver in ends.values())


def stopped(found: Observation, way: Direction, part: Taken, facts: PathFacts) -> Observation:
    """The observation of a conversation that did not reach its goal, or a stream that stalled, where an end's firewall took some of it."""
    told = {**found.detail, "lost_direction": way.value, **detail(ENDS[way], [part], facts)}
    told = {name: value for name, value in told.items() if name not in ("lost_message", "lost_bytes")}
    return replace(found, outcome=Outcome.NO_ANSWER, cause=Cause.HOST_FIREWALL, error_bound=None, detail=told)


def detail(host: str, parts: Sequence[Taken], facts: PathFacts) -> dict[str, Any]:
    """Whose firewall takes how many of which packets, and what lets them through. `parts`: of one protocol."""
    checks = [Check("", "", part.transport, part.port) for part in parts]
    mend = facts.mend(host, checks, leaving=False, in_part=True)
    manager = f" ({mend['firewall']})" if "firewall" in mend else ""
    return {"host": host, "reason": f"the {host}'s own firewall{manager} takes {_how_many(host, parts)}", **mend}


def _how_many(host: str, parts: Sequence[Taken]) -> str:
    taken, came = (sum(counts) for counts in zip(*((part.taken, part.came) for part in parts), strict=True))
    ports = [str(part.port) for part in parts if part.port is not None]
    named = f"port{'s' if len(ports) > 1 else ''} {', '.join(ports)}"
    where = "" if not ports else f" to {named}" if host == "server" else f" from the server's {named}"
    smallest, largest = min(part.smallest_taken for part in parts), max(part.largest_let_in for part in parts)
    sizes = f": all of them have {smallest} bytes or more, and none of more than {largest} is let in"
    which = sizes if 0 < largest < smallest else ", and lets in others like them, as a limit on the rate does, or chance"
    return f"{taken} of {came} {parts[0].transport.value.upper()} packets{where} that come to it{which}"


def taken_rows(ends: Mapping[Direction, tuple[EndRecord, EndRecord]], facts: PathFacts) -> list[Observation]:
    """One observation for each protocol of which an end's firewall takes a part, with all ports of that."""
    return [
        _taken_row(way, [part for part in receiver.taken.parts if part.transport is transport], facts)
        for way, (_, receiver) in ends.items()
        for transport in dict.fromkeys(part.transport for part in receiver.taken.parts)
    ]


def _taken_row(way: Direction, parts: Sequence[Taken], facts: PathFacts) -> Observation:
    transport = parts[0].transport
    parts = sorted(parts, key=lambda part: part.port or 0)
    counts = {"taken": sum(part.taken for part in parts), "came": sum(part.came for part in parts)}
    ports = [part.port for part in parts if part.port is not None]
    return Observation(
        id=f"path-own-firewall-{transport.value}-{way.value}",
        probe="path",
        check="own-firewall",
        direction=way,
        transport=transport,
        outcome=Outcome.SKIPPED,
        cause=Cause.HOST_FIREWALL,
        detail={**counts, **({"ports": ports} if ports else {}), **detail(ENDS[way], parts, facts)},
    )
