"""What is told as a whole and not counted: what was not tried, probes that failed, outages, and traces."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from vpnprobe.evidence.checks import ICMP_ECHO, Kind, kind_of
from vpnprobe.evidence.departures import Departure
from vpnprobe.evidence.judging.base import WAYS, Counted, Judge
from vpnprobe.evidence.lateness import LateEnd, longest_s
from vpnprobe.evidence.naming import form_detail, identifier
from vpnprobe.evidence.outages import Outage
from vpnprobe.evidence.packet_records import BLOCK, Check, Movement, PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts, ProbeError, Skip, TtlTrace
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport
from vpnprobe.wire.nonce import Purpose, of_key

INITIAL_TTLS: Final = (64, 128, 255)
"""That systems send with (RFC 1700 recommends 64)."""
MOST_ROUTERS: Final = 32
"""More than that is a TTL that somebody has set anew."""
LEAST_DIFFERENCE: Final = 2
"""A system may begin with one more or less than usual, and a tunnel hides a router."""
SAME_ROUTE: Final = 0.9
"""Share of packets that must have come over as many routers: a NAT that changes TTLs, or a balanced path, tells nothing."""
UNSOLICITED_BOUND: Final = 1e-3
"""At which a stateful firewall before the client is told: it names a cause, and takes nothing away."""
ALL_LATE: Final = "all of it was lost while an end was late (its machine was busy), so it counts for nothing: run it again"


def skipped(skip: Skip) -> Observation:
    """Nothing was tried, and why."""
    check = skip.check
    return Observation(
        id=identifier(check, skip.direction),
        probe=check.probe,
        check=check.name,
        direction=skip.direction,
        transport=check.transport,
        port=check.port,
        outcome=Outcome.SKIPPED,
        detail={"reason": skip.reason, **form_detail(check)},
        family=check.family,
    )


def never_left(judge: Judge) -> list[Observation]:
    """What an end's own firewall kept from leaving, where no packet of it is known: a capture shows none, and its note names it."""
    return [row for way in WAYS for check in judge.ends[way][0].dropped_on_output if (row := _never_left(judge, check, way)) is not None]


def _never_left(judge: Judge, check: Check, way: Direction) -> Observation | None:
    both = kind_of(check) in (Kind.CONNECTION, Kind.CONVERSATION)
    if judge.counts(check).total(way).sent or (both and way is Direction.S2C):
        return None
    found = judge.blank(check, Direction.BOTH if both else way, Counted(None, None), form_detail(check))
    return judge.refused_or(replace(found, detail={**found.detail, "lost_direction": way.value}) if both else found, check, way)


def failed(error: ProbeError) -> Observation:
    """A probe failed by itself, and how."""
    return Observation(
        id=f"{error.probe}-error",
        probe=error.probe,
        check="run",
        direction=Direction.BOTH,
        transport=Transport.IP,
        outcome=Outcome.ERROR,
        detail={"reason": error.reason},
    )


def outages_of(judge: Judge) -> list[Observation]:
    """When the whole path was silent, one observation an outage; what both directions lost at one time is one."""
    found = sorted((outage, way) for way, some in judge.outages.items() for outage in some)
    together: list[tuple[Outage, Direction]] = []
    for outage, way in found:
        if together and outage.from_s <= together[-1][0].to_s:
            before, other = together.pop()
            transports = before.transports | outage.transports
            whole = Outage(before.from_s, max(before.to_s, outage.to_s), before.lost + outage.lost, transports)
            together.append((whole, way if way is other else Direction.BOTH))
        else:
            together.append((outage, way))
    began = judge.began
    often = {"often": True} if judge.silent_often else {}
    return [_outage(number, outage, way, began, often) for number, (outage, way) in enumerate(together, 1)]


def _outage(number: int, outage: Outage, way: Direction, began: float, often: Mapping[str, bool]) -> Observation:
    """`often`: told where there are so many that what they took is loss of the path's."""
    return Observation(
        id=f"path-outage-{number}-ip-{way}",
        probe="path",
        check="outage",
        direction=way,
        transport=Transport.IP,
        outcome=Outcome.DEGRADED,
        cause=Cause.LOSS,
        sent=outage.lost,
        received=0,
        detail={
            "from_s": round(outage.from_s - began, 2),
            "to_s": round(outage.to_s - began, 2),
            "transports": sorted(transport.value for transport in outage.transports),
            **often,
        },
    )


def set_aside(judge: Judge) -> list[Observation]:
    """Checks of which nothing is left to count, since all of it was lost while an end was late."""
    return [
        skipped(Skip(check, way, ALL_LATE))
        for check, counts in judge.packet_counts.items()
        for way in ((Direction.BOTH,) if kind_of(check) in (Kind.CONNECTION, Kind.CONVERSATION) else WAYS)
        if any(counts.late[one] and not counts.total(one).sent for one in (WAYS if way is Direction.BOTH else (way,)))
    ]


def behind_conversations(judge: Judge) -> dict[tuple[int | None, Direction], tuple[int, int]]:
    """By port and direction: how many payloads left in flows behind conversations that had got stuck, and how many of them came."""
    found = {}
    for way in WAYS:
        sender, receiver = judge.ends[way]
        came = {one.key for one in receiver.packet_records if _is_for(one, Purpose.BEHIND, Movement.RECEIVED)}
        sent: defaultdict[int | None, set[str]] = defaultdict(set)
        for one in sender.packet_records if receiver.recorded else ():
            if _is_for(one, Purpose.BEHIND, Movement.SENT):
                sent[one.check.port].add(one.key)
        found.update({(port, way): (len(keys), len(keys & came)) for port, keys in sent.items()})
    return found


def _is_for(record: PacketRecord, purpose: Purpose, movement: Movement) -> bool:
    """By the payload itself: an older peer does not know the purpose, and says so of the packet."""
    if record.movement is not movement or record.purpose not in (purpose, Purpose.OTHER):
        return False
    payload = of_key(record.key)
    return payload is not None and payload.purpose is purpose


def lets_in_unsolicited(judge: Judge) -> bool | None:
    """Whether what the server sends by itself to a port of the client's that has sent nothing comes; None: it is not known."""
    server, client = judge.ends[Direction.S2C]
    came = {one.key for one in client.packet_records if _is_for(one, Purpose.UNSOLICITED, Movement.RECEIVED)}
    sent = {one.key: one for one in server.packet_records if _is_for(one, Purpose.UNSOLICITED, Movement.SENT)}
    if came & sent.keys() or not client.recorded:
        return True if came else None
    blocks = ((one, one.detail.get(BLOCK)) for one in sent.values())
    lost = [Departure(one.at - server.ahead_s, block if isinstance(block, int) else None) for one, block in blocks]
    bound = judge.bound(Direction.S2C, lost, judge.loss[Direction.S2C]) if len(lost) >= LEAST_TRIALS else None
    return False if bound is not None and bound <= UNSOLICITED_BOUND else None


def late_ends(judge: Judge) -> list[Observation]:
    """Ends that were late, one observation each, where lost trials count for nothing for it."""
    return [_late(end, judge.began) for end in judge.late if end.set_aside]


def _late(end: LateEnd, began: float) -> Observation:
    return Observation(
        id=f"path-late-{end.end}-ip-both",
        probe="path",
        check="late",
        direction=Direction.BOTH,
        transport=Transport.IP,
        outcome=Outcome.SKIPPED,
        detail={
            "reason": f"the {end.end} agent was late: its machine was busy with others",
            "end": end.end,
            "late_s": round(longest_s(end.touched), 2),
            "from_s": round(min(end.touched).from_s - began, 2),
            "to_s": round(max(one.to_s for one in end.touched) - began, 2),
            "set_aside": end.set_aside,
        },
    )


def own_queues(judge: Judge) -> list[Observation]:
    """Where packets were lost behind others of the same end, one observation for both directions: they count for nothing."""
    found = sum(judge.queued.values())
    if not found:
        return []
    return [
        Observation(
            id="path-own-queue-ip-both",
            probe="path",
            check="own-queue",
            direction=Direction.BOTH,
            transport=Transport.IP,
            outcome=Outcome.SKIPPED,
            detail={"reason": "the line was full of what the probes themselves had sent", "set_aside": found},
        )
    ]


def routes(judge: Judge) -> list[Observation]:
    """How many routers are on either way, where these are not as many: then the two directions take different paths."""
    there, back = (_routers(judge.ends[way][1]) for way in WAYS)
    if there is None or back is None or max(there, back) > MOST_ROUTERS or abs(there - back) < LEAST_DIFFERENCE:
        return []
    return [
        Observation(
            id="path-routes-ip-both",
            probe="path",
            check="routes",
            direction=Direction.BOTH,
            transport=Transport.IP,
            outcome=Outcome.PASS,
            detail={"c2s": there, "s2c": back},
        )
    ]


def _routers(receiver: EndRecord) -> int | None:
    """By the TTL with which packets come, and the least that systems begin with which it may be of; None: not known, or not the same."""
    came = (one for one in receiver.packet_records if one.movement is Movement.RECEIVED and one.check.transport is Transport.UDP)
    ttls = Counter(one.ttl for one in came if one.ttl is not None)
    if not ttls:
        return None
    [(ttl, count)] = ttls.most_common(1)
    return min(initial for initial in INITIAL_TTLS if initial >= ttl) - ttl if count >= SAME_ROUTE * ttls.total() else None


def traces(facts: PathFacts) -> list[Observation]:
    """The routers that answered, one observation a kind of packet and direction."""
    return [_trace(number, trace) for number, trace in enumerate(facts.traces, 1)]


def _trace(number: int, trace: TtlTrace) -> Observation:
    return Observation(
        id=f"path-trace-{number}-{trace.check.transport}-{trace.direction}",
        probe="path",
        check="trace",
        direction=trace.direction,
        transport=trace.check.transport,
        port=trace.check.port,
        outcome=Outcome.PASS if trace.reached is not None or (trace.passes and trace.check != ICMP_ECHO) else Outcome.NO_ANSWER,
        sent=len(trace.hops),
        received=sum(address is not None for address in trace.hops.values()),
        detail={
            "of": "/".join(part for part in (trace.check.probe, trace.check.name, trace.check.variant) if part),
            "hops": [{"ttl": ttl, "address": address} for ttl, address in sorted(trace.hops.items())],
            "reached": trace.reached,
        },
        family=trace.check.family,
    )
