"""gre/passthrough, bare: does GRE (IP protocol 47) pass by itself, each way?

Version 0 packets with our payload, sent by both ends at once; some of the server's leave before the client has sent any, to find
firewalls that let in only what was asked for. GRE inside a call is asked by the probe that sets the call up.
"""

from functools import partial
from typing import Final

from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import GRE_BARE
from vpnprobe.observations.schema import Direction
from vpnprobe.probes.context import FIRST_TRIALS, ProbeContext, gather_all, ready
from vpnprobe.probes.peer import Job, Peer
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.transports.stack import Datagram

UNSOLICITED_TRIALS: Final = 2


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

        await unsolicited(context, context.peer, Job.BARE_GRE)
        await gather_all([context.until_sure(GRE_BARE, Direction.C2S, send), context.after_client(GRE_BARE, send_back)])


async def unsolicited(context: ProbeContext, peer: Peer, job: Job) -> None:
    """Has the server send a few packets before the client has sent any of the kind.

    Not through a NAT: there they would be taken for the NAT's own traffic, and the entry that they leave stands in the client's way.
    """
    if not context.facts.nat:
        await peer.send(job, count=UNSOLICITED_TRIALS, spacing_s=0.02, unsolicited=True)
