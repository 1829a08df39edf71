"""Traces of what has no ports, taken before the server speaks.

All packets of such an IP protocol between two addresses may be one flow to a stateful firewall or a NAT, and the server's packets open the
way for it. From then on copies go further than what was lost did.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport

TOGETHER_S: Final = 0.02
"""Kinds that are suspected within so long are traced together, since routers have few answers."""

Trace = Callable[[Sequence[Check]], Awaitable[None]]
"""Traces kinds that the client sends, and keeps what comes of it."""


class FirstTraces:
    """Those of one run: of each such IP protocol, while its packets seem to be lost and nothing of the server's has left yet."""

    def __init__(self, trace: Trace | None = None) -> None:
        """`trace` None: this end cannot trace."""
        self._trace = trace
        self._gathering: list[Check] | None = None
        """Kinds whose trace, the newest, begins in a moment and may be joined; None: there are none."""
        self._newest: asyncio.Task[None] | None = None
        self._under_way: dict[Transport, asyncio.Task[None]] = {}
        self._settled: dict[Transport, asyncio.Event] = {}

    def expect(self, check: Check) -> None:
        """A kind is tried, and traced if it seems to be lost: until `leave`, or the end of its trace, `settled` waits."""
        self._settled[check.transport] = asyncio.Event()

    def begin(self, check: Check) -> None:
        """Traces a kind that seems to be lost."""
        if self._trace is None:
            return
        if self._gathering is None or self._newest is None:
            self._gathering = []
            self._newest = asyncio.get_running_loop().create_task(self._together(self._trace, self._gathering))
            self._newest.add_done_callback(lambda task: None if task.cancelled() else task.exception())  # Where nobody waits, it is none.
        self._gathering.append(check)
        self._under_way[check.transport] = self._newest
        self._newest.add_done_callback(lambda _: self._settle(check.transport))

    async def _together(self, trace: Trace, kinds: list[Check]) -> None:
        await asyncio.sleep(TOGETHER_S)
        self._gathering = None
        await trace(kinds)

    def leave(self, check: Check) -> None:
        """It is not lost, or nobody asks any more: its trace ends, unless it is another kind's too."""
        task = self._under_way.pop(check.transport, None)
        if task is not None and task is self._newest and self._gathering is not None:
            self._gathering.remove(check)
            self._gathering = self._gathering or None
        if task is not None and task not in self._under_way.values():
            task.cancel()
        self._settle(check.transport)

    def _settle(self, transport: Transport) -> None:
        if (settled := self._settled.get(transport)) is not None:
            settled.set()

    async def done(self, check: Check) -> None:
        """Waits for its trace; raises what that has raised."""
        if (task := self._under_way.get(check.transport)) is not None:
            await asyncio.wait([task])
            task.result()

    async def settled(self, transport: Transport) -> None:
        """Waits until the server may speak over an IP protocol."""
        if (settled := self._settled.get(transport)) is not None:
            await settled.wait()
