"""gre/passthrough, bare: does GRE (IP protocol 47) pass by itself, each way?

Version 0 packets with our payload, the client's first (`probes.order`). GRE inside a call is asked by the probe that sets the call up.
Firewalls that look into GRE tell calls apart and take everything else for one flow; others take all GRE of two addresses for one.
"""

import asyncio
from functools import partial
from typing import Final

from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import GRE_BARE, GRE_IN_CALL
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Direction
from vpnprobe.probes.context import FIRST_TRIALS, ProbeContext, ready
from vpnprobe.probes.order import back_and_again, known_before_server
from vpnprobe.probes.peer import Job
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.transports.stack import Datagram

LOST_IN_CALL: Final = "the server's GRE inside a call is lost too"


class GrePassthrough:
    """The probe `gre`, check `passthrough`, form `bare`."""

    name: Final = "gre"

    def ports(self, _: Settings) -> list[WantedPort]:
        return []

    async def run(self, context: ProbeContext) -> None:
        if context.raw is None:
            context.skip(GRE_BARE, context.no_raw, Direction.C2S, Direction.S2C)
            return
        raw = context.raw.gre

        def came(datagram: Datagram) -> None:
            context.recorder.arrived([i for i in identify.gre(datagram.data) if i.check == GRE_BARE], datagram)

        context.gre_listeners.append(came)

        async def send(count: int, beside: bool) -> None:
            await context.trials(ready(partial(context.sender.bare_gre, raw, context.peer_address)), count, beside, one_flow=True)

        if context.peer is None or context.one_sided(GRE_BARE):
            await send(FIRST_TRIALS, False)
            return

        async def send_back(count: int, beside: bool) -> None:
            await context.trials_back(Job.BARE_GRE, count, beside)

        forth = asyncio.get_running_loop().create_task(context.until_sure(GRE_BARE, Direction.C2S, send))
        try:
            if await known_before_server(context, GRE_BARE, forth) or not lost_in_call(context):
                await back_and_again(context, GRE_BARE, send, send_back)
            else:
                context.skip(GRE_BARE, LOST_IN_CALL, Direction.S2C)
            await forth
        finally:
            forth.cancel()


def lost_in_call(context: ProbeContext) -> bool:
    """Whether the server's GRE inside a call vanishes too, and no NAT that knows no calls can be why: then it opens nothing anywhere."""
    counted = context.judge().packet_counts.get(GRE_IN_CALL)
    count = counted.total(Direction.S2C) if counted is not None else None
    return count is not None and len(count.sent) >= LEAST_TRIALS and not count.received and not context.facts.nat
