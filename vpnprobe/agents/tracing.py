"""Where packets vanish: TTL-limited copies of every kind that fails, beside a kind that passes, from both ends.

What a copy is made of: a fresh packet of the kind where one can be made, else what was lost itself, as this end's wire showed it, with the
flow, size and wrap that it had. Nothing is placed by the copies of another kind.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.endpoint import probe_packets
from vpnprobe.endpoint.hop_search import HopSearch
from vpnprobe.endpoint.probe_packets import ProbePacketMaker, Suspect
from vpnprobe.endpoint.ttl_probe import Copied, IcmpTap, distance, with_reach
from vpnprobe.evidence import checks
from vpnprobe.evidence.attempts import under_clients_keys
from vpnprobe.evidence.causes import PASSED
from vpnprobe.evidence.judge import observations_of
from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.packet_counts import PacketCounts, by_check, session_part
from vpnprobe.evidence.packet_records import Check, Movement, Vantage
from vpnprobe.evidence.places import is_opened, is_placed, lost_way
from vpnprobe.evidence.records import EndRecord, RefusalKind, TtlTrace
from vpnprobe.evidence.statistics import Background, round_trip
from vpnprobe.observations.schema import Cause, Direction, Observation, Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.order import came_through
from vpnprobe.transports.stack import Endpoint, Packet

MOST_PATIENCE_S: Final = 1.0
"""For routers' answers: they do not wait for the server agent, however busy it is."""
MOST_LOST: Final = 12
"""Packets of one kind that copies may be made of."""


async def trace_both_ways(context: ProbeContext, tap: IcmpTap, packets: Sequence[Packet]) -> None:
    """Traces what fails and something that passes, in both directions at once, and puts the traces among the path's facts.

    `packets`: the client's capture, as it grows.
    """
    if not _is_settled(context):
        await context.sync()
    record = context.client_record()
    facts = replace(context.facts, skips=tuple(context.skips))
    judgement = Judge(record, context.server_record, facts)
    found = observations_of(judgement, facts)
    loss = round_trip(judgement.loss[Direction.C2S], judgement.loss[Direction.S2C])
    there, back = (suspects(found, judgement, way) for way in WAYS)
    there = [suspect for suspect in there if not _is_traced(suspect, context.facts.traces)]
    work = [_from_client(context, tap, packets, _passing(found, Direction.C2S), there, loss, distance(context.server_record))]
    if context.peer is not None:
        starved = has_refused(context.server_record)
        passing = _passing(found, Direction.S2C)
        work.append(context.peer.trace(passing, back, highest_ttl=distance(record), loss=loss, starved=starved))
    traces = [trace for some in await asyncio.gather(*work) for trace in some]
    await context.sync()
    traced_anew = {suspect.check for suspect in there}
    _keep(context, [*(trace for trace in context.facts.traces if trace.passes or trace.check not in traced_anew), *traces])


def _is_settled(context: ProbeContext) -> bool:
    """Whether the server's record is of a time when nothing was under way: nothing had just left the client, and nothing has come since."""
    rows = context.recorder.packet_records
    asked = context.peer.refreshed_at - context.recorder.began if context.peer is not None else 0.0
    left = max((row.at for row in rows if row.movement is Movement.SENT), default=0.0)
    return left + context.settle_s <= asked and max((row.at for row in rows), default=0.0) <= asked


def _is_traced(suspect: Suspect, earlier: Sequence[TtlTrace]) -> bool:
    """Whether it was shown before the server spoke how far it gets. Copies were small then, and those that came through say nothing."""
    return not suspect.outer_bytes and any(suspect.check == trace.check and trace.reached is None and not trace.passes for trace in earlier)


async def trace_before_server(context: ProbeContext, tap: IcmpTap, packets: Sequence[Packet], kinds: Sequence[Check]) -> None:
    """Traces kinds without ports that the client sends; what the server has sent of the IP protocol meanwhile voids the trace of a kind."""
    judgement = context.judge()
    passing = next((c for c in judgement.packet_counts if c.probe == "udp" and came_through(context, c, Direction.C2S)), checks.CONTROL)
    loss = round_trip(judgement.loss[Direction.C2S], judgement.loss[Direction.S2C])
    suspected = [Suspect(check) for check in kinds]
    traces = await _from_client(context, tap, packets, passing, suspected, loss, distance(context.server_record))
    await context.sync()
    spoken = {row.check.transport for row in context.server_record.packet_records if row.movement is Movement.SENT}
    if valid := [trace for trace in traces if not trace.passes and trace.check.transport not in spoken]:
        _keep(context, [*context.facts.traces, *(trace for trace in traces if trace.passes), *valid])


def _keep(context: ProbeContext, traces: Sequence[TtlTrace]) -> None:
    """Puts traces among the path's facts, with how far each got by the other end's record."""
    client = context.recorder.record()
    server = under_clients_keys(client, context.server_record)
    of_client, of_server = by_check(client.packet_records), by_check(server.packet_records)
    ends = {Direction.C2S: (of_client, of_server), Direction.S2C: (of_server, of_client)}
    context.facts = replace(context.facts, traces=tuple(with_reach(trace, *ends[trace.direction]) for trace in traces))


def suspects(found: Sequence[Observation], judgement: Judge, way: Direction) -> list[Suspect]:
    """What fails in that direction, each kind once: one of each transport and cause first, since these may be lost at different places."""
    checks_by_id = {identifier(check, each): check for check in judgement.packet_counts for each in Direction}
    first: dict[Check, Suspect] = {}
    others: dict[Check, Suspect] = {}
    groups: set[tuple[Transport, Cause | None]] = set()
    for row in sorted(found, key=_in_call_first):
        check = checks_by_id.get(row.id)
        if check is None or not is_placed(row) or is_opened(row) or lost_way(row) not in (way, Direction.BOTH):
            continue
        counted = judgement.counts(check)
        check = checks.same_packets(check) or check
        group = (row.transport, row.cause)
        if check not in first and check not in others:
            (others if group in groups else first)[check] = Suspect(check, lost_packets(row, counted, way), _size_of(row))
            groups.add(group)
    return [*first.values(), *others.values()]


def _size_of(row: Observation) -> int:
    """Of packets that fail for their size, bytes of the outer IP packet; 0: it is not their size."""
    return int(row.detail.get("smallest_lost", 0)) if row.cause is Cause.SIZE else 0


def lost_packets(row: Observation, counted: PacketCounts, way: Direction) -> tuple[tuple[str, str], ...]:
    """Message and key of packets that the row is about and that were lost, those first that copies are best made of.

    Of a stream the first of a session, since those behind it never left; of datagrams the newest, since what cuts a flow has cut it then.
    """
    named = row.detail.get("lost_message")
    lost: list[tuple[float, str, str]] = []
    for (direction, message), count in counted.counts.items():
        if direction is not way or named not in (None, message):
            continue
        largest = max((count.sizes.get(key, 0) for key in count.received), default=0) if row.cause is Cause.SIZE else -1
        lost += [(at, message, key) for key, at in count.sent.items() if key not in count.received and count.sizes.get(key, 0) > largest]
    lost.sort(reverse=True)
    if row.transport is Transport.TCP:
        lost = list({session_part(key): (at, message, key) for at, message, key in lost}.values())
    return tuple((message, key) for _, message, key in lost[:MOST_LOST])


def _in_call_first(observation: Observation) -> bool:
    return observation.detail.get("form") != "in-call"


def has_refused(record: EndRecord) -> bool:
    """Whether routers have spent ICMP errors on what this end sent."""
    return any(refusal.kind is not RefusalKind.RST for refusal in record.refusals)


def _passing(found: Sequence[Observation], way: Direction) -> Check:
    """A UDP port that passes; where none does, the control connection itself."""
    passing = [o for o in found if o.probe == "udp" and o.check == "reach" and o.direction is way and o.outcome in PASSED]
    return checks.udp_reach(passing[0].port) if passing and passing[0].port is not None else checks.CONTROL


async def _from_client(
    context: ProbeContext,
    tap: IcmpTap,
    packets: Sequence[Packet],
    passing: Check,
    found: Sequence[Suspect],
    loss: Background,
    highest_ttl: int,
) -> list[TtlTrace]:
    search = HopSearch(
        tap,
        context.recorder,
        Direction.C2S,
        context.stack.source_address(context.peer_address),
        context.peer_address,
        highest_ttl,
        min(MOST_PATIENCE_S, context.settle_s),
        loss,
        context.pacer,
        starved=has_refused(context.client_record()),
    )
    makers = ((suspect.check, _maker(context, suspect, packets)) for suspect in found)
    kinds = [Copied(check, make) for check, make in makers if make is not None]
    return await search.run(_comparison(context, passing, packets), kinds)


def _comparison(context: ProbeContext, passing: Check, packets: Sequence[Packet]) -> Copied:
    """What the others are compared with; ICMP echo, which nearly always passes, where nothing else can be copied."""
    make: ProbePacketMaker | None = None
    if passing == checks.CONTROL and context.peer is not None and (ports := context.peer.control_ports) is not None:
        make = probe_packets.segment_again(packets, passing, *ports)
    elif passing != checks.CONTROL:
        make = _maker(context, Suspect(passing), packets)
    return Copied(passing, make) if make is not None else Copied(checks.ICMP_ECHO, probe_packets.echo(context.nonces))


def _maker(context: ProbeContext, suspect: Suspect, packets: Sequence[Packet]) -> ProbePacketMaker | None:
    """What makes copies of a kind of packet from the client; None: it cannot be made."""
    nonces, check, size = context.nonces, suspect.check, suspect.outer_bytes
    if (copies := context.copies.get(check)) is not None:
        return copies(size)
    if (make := probe_packets.without_port(nonces, check, size)) is not None:
        return make
    if check.port is None:
        return None
    if (make := probe_packets.said_again(packets, context.recorder.said, check, suspect.lost, Vantage.CLIENT, size)) is not None:
        return make
    own = context.stack.source_address(context.peer_address)
    remote = Endpoint(context.peer_address, check.port)
    if check.probe == "tcp":
        return probe_packets.tcp_syn(nonces, Endpoint(own, 0), remote, check, using=context.local_ports)
    if check.transport is Transport.TCP:
        return None
    local = context.udp_locals.get(check.port)
    return probe_packets.udp(nonces, Endpoint(own, local.port), remote, check) if local is not None else None
