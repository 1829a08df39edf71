"""Leaves out of both records what was still under way when a run ended: nobody can say what became of it."""

import math
from typing import Final

from vpnprobe.evidence.records import EndRecord

UNDER_WAY_S: Final = 1.0
UNDER_WAY_TIMES: Final = 6
"""What left within so many settling times (and UNDER_WAY_S at least) before an interruption may be under way, or wait for an answer."""


def settled(
    client: EndRecord,
    server: EndRecord,
    *,
    settle_s: float,
    flight_s: float,
    refreshed_at: float | None,
    ended_at: float | None,
    lost: bool,
    ahead_s: float,
) -> tuple[EndRecord, EndRecord]:
    """Both records without what left too late and is not known to have come.

    `settle_s`: how long what was sent may be under way, as slow as all is at the end; `flight_s`: on the path alone, which is all that
    counts where the run came to its end, for its probes have waited already (and what is left out there is only what was lost).
    `refreshed_at`: when the server's record was asked for; None: there is none, and nobody's is waited for. `ended_at`: when the run was
    interrupted; None: it was not. `lost`: the server vanished. These times are the client's, since its record began; `ahead_s`: how far
    the server's clock is ahead.
    """
    under_way_s = max(UNDER_WAY_S, UNDER_WAY_TIMES * settle_s)
    moments = [] if ended_at is None else [ended_at - under_way_s]
    if refreshed_at is not None:
        moments.append(refreshed_at - (under_way_s if lost else flight_s))
    by = min(moments, default=math.inf)
    client = client.settled(by, server)
    return client, server.settled(by + ahead_s, client)
