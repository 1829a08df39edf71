"""esp/passthrough: does ESP (IP protocol 50) pass by itself, each way, in packets of several sizes?

One packet an SPI, a fresh SPI each. The client's go first (`probes.order`).
"""

from functools import partial
from typing import Final

from vpnprobe.evidence.checks import ESP
from vpnprobe.observations.schema import Direction
from vpnprobe.probes.context import FIRST_TRIALS, ProbeContext
from vpnprobe.probes.order import client_first
from vpnprobe.probes.peer import Job
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.probes.sizes import ready_in, sizes_for


class EspPassthrough:
    """The probe `esp`, check `passthrough`."""

    name: Final = "esp"

    def ports(self, _: Settings) -> list[WantedPort]:
        return []

    async def run(self, context: ProbeContext) -> None:
        if context.raw is None:
            context.skip(ESP, context.no_raw, Direction.C2S, Direction.S2C)
            return
        raw = context.raw.esp

        async def send(count: int, beside: bool) -> None:
            sizes = sizes_for(context, ESP, Direction.C2S, count, beside=beside)
            one = ready_in(context, sizes, partial(context.sender.esp, raw, context.peer_address))
            await context.trials(one, count, beside, one_flow=True)

        if context.peer is None or context.one_sided(ESP):
            await send(FIRST_TRIALS, False)
            return

        async def send_back(count: int, beside: bool) -> None:
            sizes = sizes_for(context, ESP, Direction.S2C, count, beside=beside)
            await context.trials_back(Job.ESP, count, beside, sizes=sizes)

        await client_first(context, ESP, send, send_back)
