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
        self._settled: dict[Transport, asyncio.Event] = {}

    def expect(self, check: Check) -> None:
        """A kind is tried, and traced if it seems to be lost: until `leave`, or the end of its trace, `settled` waits."""
        self._settled[check.transport] = asyncio.Event()

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
        task.add_done_callback(lambda _: self._settle(check.transport))

    async def _together(self, trace: Trace) -> None:
        await asyncio.sleep(TOGETHER_S)
        gathered, self._gathering = self._gathering, []
        await trace(gathered)

    def leave(self, check: Check) -> None:
        """It is not lost, or nobody asks any more: its trace ends, unless it is another kind's too."""
        task = self._under_way.pop(check.transport, None)
        if task is not None and task not in self._under_way.values():
            self._gathering = []
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
