"""What the line carries is watched while probes run, and the server agent is told what its own pace is to be.

Small requests over the control channel, in pairs. Where nothing else passes, the channel's own loss and delay are also all there is to
compare with.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import count
from typing import Final

from vpnprobe.agents.peer import RemotePeer
from vpnprobe.endpoint.pacer import NARROW_BYTES_PER_S, Line, Turn
from vpnprobe.errors import CannotRun

FIRST_PAIRS: Final = 10
FIRST_SPACING_S: Final = 0.02
PADDING: Final = 400
"""Bytes of what makes a request long enough to tell what a line carries, and short enough for one segment."""
PING_BYTES: Final = 120
"""Of a request without padding on the line, about."""
SPACING_S: Final = 0.1
"""Between two pairs afterwards."""
PAIRS_UNDER_WAY: Final = 4
ONE_LONG_OF: Final = 4
"""Pairs, where packets are lost: one that tells what the line carries."""
PATIENCE_S: Final = 0.5
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
    tasks = [loop.create_task(_watch(line, peer)), loop.create_task(_tell(line, peer, changed))]
    line.on_change = changed.set
    try:
        yield
    finally:
        line.on_change = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def measure(line: Line, peer: RemotePeer) -> None:
    """The first pairs, whether or not those before were answered; none is waited for longer than PATIENCE_S. Raises CannotRun."""
    pairs: list[asyncio.Task[None]] = []
    try:
        for _ in range(FIRST_PAIRS):
            padding = "." * (PADDING if line.wants_pairs else 0)
            await line.pacer.admit(2 * (len(padding) + PING_BYTES), Turn.LINE)
            pairs.append(asyncio.get_running_loop().create_task(_pair(line, peer, padding)))
            await asyncio.sleep(FIRST_SPACING_S)
        await asyncio.wait(pairs, timeout=PATIENCE_S)
    finally:
        line.told.set()
        for pair in pairs:
            pair.cancel()
        answers = await asyncio.gather(*pairs, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, CannotRun):
            raise answer


async def _watch(line: Line, peer: RemotePeer) -> None:
    """Goes on asking, for as long as it is not cancelled, where the line is not known to be wide. A pair that waits holds up few others."""
    pairs: set[asyncio.Task[None]] = set()
    try:
        for number in count():
            await asyncio.sleep(SPACING_S)
            if line.pacer.bytes_per_s < NARROW_BYTES_PER_S and len(pairs) < PAIRS_UNDER_WAY:
                # Where packets are lost a wide line may have been taken for a narrow one.
                padding = "." * (PADDING if peer.lossy and not line.agreed and not number % ONE_LONG_OF else 0)
                await line.pacer.admit(2 * (len(padding) + PING_BYTES), Turn.LINE)
                pair = asyncio.get_running_loop().create_task(_pair_if_there(line, peer, padding))
                pairs.add(pair)
                pair.add_done_callback(pairs.discard)
    finally:
        for pair in list(pairs):
            pair.cancel()
        await asyncio.gather(*pairs, return_exceptions=True)


async def _pair_if_there(line: Line, peer: RemotePeer, padding: str) -> None:
    with contextlib.suppress(CannotRun):  # A peer that is gone is told by whoever needs it.
        await _pair(line, peer, padding)


async def _pair(line: Line, peer: RemotePeer, padding: str) -> None:
    """Two requests that leave together.

    Where either end had to send anything again they tell of the line only if they were fast, and nothing of the pace, which may be what
    loses them.
    """
    loop, sent_again = asyncio.get_running_loop(), peer.sent_again
    left_at = loop.time()
    came_at: list[float] = []

    async def ping() -> None:
        await peer.ping(padding)
        came_at.append(loop.time())
        if not padding and peer.sent_again == sent_again:
            line.answered(left_at)

    pings = [loop.create_task(ping()) for _ in range(2)]
    try:
        await asyncio.gather(*pings)
    finally:
        for one in pings:
            one.cancel()
    if padding:
        again = peer.sent_again != sent_again
        line.paired(len(padding) + PING_BYTES, came_at[1] - came_at[0], took_s=came_at[1] - left_at, again=again)
        peer.channel.wide = line.told.is_set() and line.narrow_bytes_per_s is None


async def _tell(line: Line, peer: RemotePeer, changed: asyncio.Event) -> None:
    await line.told.wait()
    while True:
        await changed.wait()
        changed.clear()
        with contextlib.suppress(CannotRun):
            await peer.pace(line.pacer.bytes_per_s)
        await asyncio.sleep(TOLD_S)
