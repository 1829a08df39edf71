"""esp/passthrough: does ESP (IP protocol 50) pass by itself, each way?

One packet an SPI, a fresh SPI each: SPIs are one-way, and stateful firewalls may pass the server's only after the client's, or never, so
some of the server's leave before the client has sent any.
"""

from typing import Final

from vpnprobe.evidence.checks import ESP
from vpnprobe.observations.schema import Direction
from vpnprobe.probes.context import FIRST_TRIALS, Job, Path, Settings, WantedPort, gather_all
from vpnprobe.probes.gre import unsolicited


class EspPassthrough:
    """The probe `esp`, check `passthrough`."""

    name: Final = "esp"

    def ports(self, _: Settings) -> list[WantedPort]:
        return []

    async def run(self, path: Path) -> None:
        if path.raw is None:
            path.skip(ESP, path.no_raw, Direction.C2S, Direction.S2C)
            return
        raw = path.raw.esp

        async def send(count: int, spacing_s: float) -> None:
            await path.burst(lambda: path.sender.esp(raw, path.peer_address), count, spacing_s=spacing_s)

        if path.peer is None or path.one_sided(ESP):
            await send(FIRST_TRIALS, 0.05)
            return
        peer = path.peer

        async def send_back(count: int, spacing_s: float) -> None:
            await peer.send(Job.ESP, count=count, spacing_s=spacing_s)

        await unsolicited(path, peer, Job.ESP)
        await gather_all([path.until_sure(ESP, Direction.C2S, send), path.after_client(ESP, send_back)])
