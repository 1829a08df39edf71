"""What the line carries is watched while probes run, and the server agent is told what its own pace is to be."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from vpnprobe.agents.peer import RemotePeer
from vpnprobe.endpoint.pacer import Line
from vpnprobe.errors import CannotRun

TOLD_S: Final = 0.05
"""Between two words to the server agent."""


@contextlib.asynccontextmanager
async def watched(line: Line, peer: RemotePeer | None) -> AsyncIterator[None]:
    """For as long as it lasts. Without a server agent nobody answers, and nothing is watched."""
    if peer is None:
        yield
        return
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    changed.set()
    tasks = [loop.create_task(peer.watch(line)), loop.create_task(_tell(line, peer, changed))]
    line.on_change = changed.set
    try:
        yield
    finally:
        line.on_change = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(line: Line, peer: RemotePeer, changed: asyncio.Event) -> None:
    await line.told.wait()
    while True:
        await changed.wait()
        changed.clear()
        with contextlib.suppress(CannotRun):  # A peer that is gone is told by whoever needs it.
            await peer.pace(line.pacer.bytes_per_s)
        await asyncio.sleep(TOLD_S)
