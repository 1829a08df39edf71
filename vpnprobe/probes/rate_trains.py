"""Is what data loses a limit on its rate? Trains of echo requests through a tunnel, some alone and some in company, in random order.

Asked where a tunnel loses more than the path does, once everything else has been measured: other packets would fill a limit too.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.conversations.contract import OF_SESSION
from vpnprobe.conversations.echo_trains import TRAIN_S, Place, TrainRun, timetable
from vpnprobe.conversations.tunnel_echo import Request
from vpnprobe.evidence.judge import rows_of
from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.packet_records import Movement
from vpnprobe.evidence.rates import RateLimit, Train, rate_limit
from vpnprobe.observations.schema import Cause, Direction, Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.in_quiet import limited_transports, loses_more_than_the_path
from vpnprobe.probes.tunnel import Tunnel

TRAINS: Final = 10
IN_COMPANY: Final = 5
"""Of these, half: then 252 ways to deal the company out are as likely as each other."""
LONGEST_S: Final = 15.0
"""After which no further tunnel is asked about."""
MOST_SESSIONS: Final = 3
"""That are begun where one does not come up."""


async def tell_rates(context: ProbeContext) -> None:
    """Asks about each tunnel that `suspects` names, one after another; what limits are shown goes to `context.facts`."""
    until = context.stack.now() + LONGEST_S
    for sessions in suspects(context):
        if context.stack.now() > until:
            return
        for _ in range(MOST_SESSIONS):
            places = timetable(_company(context))
            try:
                key, run = await sessions.in_trains(places)
            except OSError:
                break  # This end has no socket for it: nothing is asked.
            context.facts = replace(context.facts, trains=context.facts.trains | {key})
            if run.all_sent:
                await context.sync()
                found = {(sessions.data, way): limit for way, limit in limits(context, sessions, key, run).items()}
                context.facts = replace(context.facts, rate_limits={**context.facts.rate_limits, **found})
                break


def suspects(context: ProbeContext) -> list[Tunnel]:
    """Of each protocol the first tunnel over UDP through which data passes, where that is lossy and the path is not as much.

    Besides, where anything over UDP is, those whose sessions seem to be cut after a number of packets: a limit on rate looks so.
    """
    if context.peer is None or context.line.narrow_bytes_per_s is not None:
        return []
    judgement = context.judge()
    first = {sessions.data.probe: sessions for sessions in reversed(context.tunnels) if sessions.passes(judgement)}
    over_udp = [one for one in context.tunnels if one.data.transport is Transport.UDP]
    limited = Transport.UDP in limited_transports(judgement)
    cut = [one for one in over_udp if limited and any(row.cause is Cause.PACKETS for row in rows_of(judgement, one.data))]
    lossy = [one for one in over_udp if one in first.values() and any(_loses(judgement, one, way) for way in WAYS)]
    return list(dict.fromkeys([*lossy, *cut]))


def _loses(judgement: Judge, one: Tunnel, way: Direction) -> bool:
    return any(row.direction is way and loses_more_than_the_path(judgement, one.data, row) for row in rows_of(judgement, one.data))


def _company(context: ProbeContext) -> list[bool]:
    """Which trains have company, drawn."""
    order = sorted(range(TRAINS), key=lambda _: context.stack.entropy(8))
    return [number in order[:IN_COMPANY] for number in range(TRAINS)]


def limits(context: ProbeContext, sessions: Tunnel, key: str, run: TrainRun) -> dict[Direction, RateLimit]:
    """What the trains of one session show: requests towards the server, and answers to those that came there."""
    records = context.server_record.packet_records
    arrived = {one.key for one in records if one.movement is Movement.RECEIVED and one.check == sessions.data}
    fates = [(place, f"{key}{OF_SESSION}{request.carried_by}" in arrived, request.answered_at is not None) for place, request in _left(run)]
    found = {
        Direction.C2S: rate_limit(_trains([(place, came or answered) for place, came, answered in fates])),
        Direction.S2C: rate_limit(_trains([(place, answered) for place, came, answered in fates if came or answered])),
    }
    return {way: limit for way, limit in found.items() if limit is not None}


def _left(run: TrainRun) -> list[tuple[Place, Request]]:
    return [(run.places[number], request) for number, request in sorted(run.requests.items())]


def _trains(fates: Sequence[tuple[Place, bool]]) -> list[Train]:
    found = []
    for number in range(TRAINS):
        mine = [(place, came) for place, came in fates if place.train == number]
        lost = sum(not came for place, came in mine if place.asked)
        crowded = any(not place.asked for place, _ in mine)
        found.append(Train(crowded, lost, len(mine), sum(came for _, came in mine), TRAIN_S))
    return found
