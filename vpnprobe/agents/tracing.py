"""Where packets vanish: TTL-limited copies of what fails, beside a kind that passes, from both ends.

Few kinds are traced, one a transport and direction, since routers answer about six copies in a burst and then one a second: the copies of
one kind would starve the next.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.endpoint import probe_packets
from vpnprobe.endpoint.probe_packets import ProbePacketMaker
from vpnprobe.endpoint.ttl_probe import IcmpTap, distance, with_reach
from vpnprobe.evidence import checks
from vpnprobe.evidence.attempts import under_clients_keys
from vpnprobe.evidence.causes import FAILED, PASSED, refused_at_the_end
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import TtlTrace
from vpnprobe.observations.schema import Direction, Observation, Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.transports.stack import Endpoint

MOST_PATIENCE_S: Final = 1.0
"""For routers' answers: they do not wait for the server agent, however busy it is."""
MOST_KINDS: Final = 4
"""Failing kinds that are traced in one direction."""


async def trace_both_ways(context: ProbeContext, tap: IcmpTap) -> None:
    """Traces what fails and something that passes, in both directions at once, and puts the traces among the path's facts."""
    await context.sync()
    record = context.client_record()
    found = judge(record, context.server_record, replace(context.facts, skips=tuple(context.skips)))
    there = [_from_client(context, tap, q, distance(context.server_record)) for q in kinds_to_trace(found, Direction.C2S)]
    back = [_from_server(context, q, distance(record)) for q in kinds_to_trace(found, Direction.S2C)] if context.peer is not None else []
    traces = [trace for trace in await asyncio.gather(*there, *back) if trace is not None]
    await context.sync()
    client = context.recorder.record()
    server = under_clients_keys(client, context.server_record)
    ends = {Direction.C2S: (client, server), Direction.S2C: (server, client)}
    context.facts = replace(context.facts, traces=tuple(with_reach(trace, *ends[trace.direction]) for trace in traces))


def kinds_to_trace(found: Sequence[Observation], way: Direction) -> list[Check]:
    """A kind that passes first, to compare with; then what fails, at most one a transport and cause."""
    kinds = [_passing(found, way)]
    seen: set[tuple[Transport, str]] = set()
    for observation in sorted(found, key=_in_call_first):
        lost_way = observation.detail.get("lost_direction", observation.direction)
        check = Check(observation.probe, observation.check, observation.transport, observation.port, observation.detail.get("form", ""))
        if (
            observation.outcome not in FAILED
            or refused_at_the_end(observation)
            or lost_way not in (way, Direction.BOTH)
            or not checks.can_be_copied(check)
        ):
            continue
        group = (observation.transport, str(observation.cause))
        if group not in seen and len(kinds) <= MOST_KINDS:
            seen.add(group)
            kinds.append(check)
    return kinds


def _in_call_first(observation: Observation) -> bool:
    return observation.detail.get("form") != "in-call"


def _passing(found: Sequence[Observation], way: Direction) -> Check:
    """A UDP port that passes; where none does, ICMP echo, which nearly always does."""
    passing = [o for o in found if o.probe == "udp" and o.check == "reach" and o.direction is way and o.outcome in PASSED]
    return checks.udp_reach(passing[0].port) if passing and passing[0].port is not None else checks.ICMP_ECHO


async def _from_client(context: ProbeContext, tap: IcmpTap, check: Check, highest_ttl: int) -> TtlTrace | None:
    make = _maker(context, check)
    if make is None:
        return None
    return await tap.step(
        context.recorder,
        check,
        Direction.C2S,
        make,
        source=context.stack.source_address(context.peer_address),
        destination=context.peer_address,
        highest_ttl=highest_ttl,
        patience_s=min(MOST_PATIENCE_S, context.settle_s),
    )


async def _from_server(context: ProbeContext, check: Check, highest_ttl: int) -> TtlTrace | None:
    assert context.peer is not None
    return await context.peer.trace(check, highest_ttl=highest_ttl)


def _maker(context: ProbeContext, check: Check) -> ProbePacketMaker | None:
    """What makes copies of a kind of packet from the client; None: it cannot be made."""
    nonces = context.nonces
    own = context.stack.source_address(context.peer_address)
    if (make := context.copies.get(check) or probe_packets.without_port(nonces, check)) is not None:
        return make
    if check.port is None:
        return None
    remote = Endpoint(context.peer_address, check.port)
    if check.transport is Transport.TCP:
        return probe_packets.tcp_syn(nonces, Endpoint(own, 0), remote, check, using=context.local_ports)
    local = context.udp_locals.get(check.port)
    return probe_packets.udp(nonces, Endpoint(own, local.port), remote, check) if local is not None else None
