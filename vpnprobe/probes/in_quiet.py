"""What nothing came of is tried once more by itself, when all else has been measured: our own packets may have filled a limit on rate.

Asked where something of the same transport passes and loses far more than the path does. What comes then is not blocked, and what does not
come is one lost trial more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Final

from vpnprobe.evidence.judge import rows_of
from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport
from vpnprobe.probes.context import ProbeContext

QUIET_S: Final = 1.0
"""Before each trial: a limit on rate has let go of what others took by then."""
MOST_TRIALS: Final = 2
"""Of each kind."""
LONGEST_S: Final = 20.0
BY_CHANCE: Final = 1e-3
"""A kind loses far more than the path where the loss of the control connection's own segments explains it with this chance at most."""

Repeat = Callable[[], Awaitable[None]]


async def ask_in_quiet(context: ProbeContext) -> None:
    """Repeats, one after another, what seems not to pass where a limit on rate may be why."""
    if context.peer is None or context.line.narrow_bytes_per_s is not None:
        return
    until = context.stack.now() + LONGEST_S
    for _ in range(MOST_TRIALS):
        starved = list(dict.fromkeys(_starved(context)))
        if not starved:
            return
        for repeat in starved:
            if context.stack.now() > until:
                return
            await asyncio.sleep(QUIET_S)
            with suppress(OSError):  # What this end cannot send, for want of a socket, is no trial.
                await repeat()
        await context.sync()


def _starved(context: ProbeContext) -> Iterator[Repeat]:
    """What repeats the kinds of which nothing came, where other kinds of their transport lose far more than the path: short ones first."""
    judgement = context.judge()
    limited = limited_transports(judgement)
    rows = [(check, row) for check in judgement.packet_counts for row in rows_of(judgement, check) if row.transport in limited]
    of_tunnels = {check for tunnel in context.tunnels for check in (*tunnel.steps, tunnel.data)}
    for check, row in sorted(rows, key=lambda found: found[0] in of_tunnels):
        if row.outcome in (Outcome.BLOCKED, Outcome.NO_ANSWER) and not row.received:
            known = ((check, way) for way in (row.direction, Direction.BOTH, Direction.C2S))
            yield from [context.repeats[each] for each in known if each in context.repeats][:1]


def limited_transports(judgement: Judge) -> set[Transport]:
    """Those over which a kind passes and loses far more than the path does."""
    rows = ((check, row) for check in judgement.packet_counts if check.transport is not Transport.TCP for row in rows_of(judgement, check))
    return {row.transport for check, row in rows if loses_more_than_the_path(judgement, check, row)}


def loses_more_than_the_path(judgement: Judge, check: Check, row: Observation) -> bool:
    """Whether a kind passes and loses far more than the control connection does."""
    if (row.outcome, row.cause) != (Outcome.DEGRADED, Cause.LOSS) or row.direction not in WAYS:
        return False
    count, path = judgement.counts(check).total(row.direction), judgement.facts.background.get(row.direction)
    return path is None or not path.measured or path.chance_of_losing(count.lost, len(count.sent)) <= BY_CHANCE
