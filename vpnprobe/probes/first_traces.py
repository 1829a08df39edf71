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
        self._gathering: list[Check] = []
        self._under_way: dict[Transport, asyncio.Task[None]] = {}

    def begin(self, check: Check) -> None:
        """Traces a kind that seems to be lost."""
        if self._trace is None:
            return
        if not self._gathering:
            self._gathering = [check]
            task = asyncio.get_running_loop().create_task(self._together(self._trace))
        else:
            self._gathering.append(check)
            task = next(reversed(self._under_way.values()))
        self._under_way[check.transport] = task

    async def _together(self, trace: Trace) -> None:
        await asyncio.sleep(TOGETHER_S)
        gathered, self._gathering = self._gathering, []
        await trace(gathered)

    def leave(self, check: Check) -> None:
        """It is not lost after all: the trace ends, unless it is another kind's too."""
        task = self._under_way.pop(check.transport, None)
        if task is not None and task not in self._under_way.values():
            self._gathering = []
            task.cancel()

    async def done(self, transport: Transport) -> None:
        """Waits for the one that is under way; raises what it has raised."""
        if (task := self._under_way.get(transport)) is not None:
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
