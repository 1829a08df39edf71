"""Blocks: short moments in which what is suspected not to pass leaves in random order with controls that are shown to pass.

What nobody suspects needs none. From the first suspicion on trials wait for their moment (`turn`): it is drawn at random within a block
of `evidence.comparison.BLOCK_S`, as those of the controls are, so that the order is random. Each control has a socket of its own, as the
client's trials over UDP and TCP have: with the same flow for all, one dead link of a balanced pair would look like a filter. Trials of all
kinds share the controls.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

from vpnprobe.endpoint.pacer import Pacer
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import ProbeSender
from vpnprobe.errors import CannotRun
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import udp_reach
from vpnprobe.evidence.comparison import BLOCK_S, CONTROLS, PERIOD_S
from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PathFacts, PortState
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Address, Datagram, Endpoint, NetworkStack, UdpPort


class Surroundings(Protocol):
    """What it takes of a probe's context."""

    @property
    def stack(self) -> NetworkStack: ...
    @property
    def peer_address(self) -> Address: ...
    @property
    def peer(self) -> object | None:
        """None: there is no server agent."""
        ...

    @property
    def recorder(self) -> Recorder: ...
    @property
    def sender(self) -> ProbeSender: ...
    @property
    def facts(self) -> PathFacts: ...
    @property
    def local_ports(self) -> set[tuple[Transport, int]]: ...
    @property
    def pacer(self) -> Pacer: ...
    def judge(self) -> Judge: ...
    def endpoint(self, port: int) -> Endpoint: ...


TRIAL_BYTES: Final = 100
"""About what a control or a trial takes on the line."""
MOST_CONTROLS: Final = 4000
"""Of a run: what is not sure by then stays so."""
MOST_SOCKETS: Final = 100
"""That are open for answers: those of the last few seconds."""


class Comparison:
    """The blocks of one run."""

    def __init__(self, context: Surroundings) -> None:
        self._context = context
        self._waiting: list[asyncio.Future[None]] = []
        self._kept_up = 0
        """Who wants blocks though no trial of theirs waits for one."""
        self._blocks = 0
        self._port: int | None = None
        self._sockets: deque[UdpPort] = deque()
        self._running: asyncio.Task[None] | None = None

    def port(self) -> int | None:
        """A UDP port of the server agent's that passes both ways, for controls; None: none is known to, or no more are sent."""
        if self._blocks * CONTROLS >= MOST_CONTROLS:
            return None
        if self._port is None and self._context.peer is not None:
            self._port = self._best_port()
        return self._port

    def _best_port(self) -> int | None:
        context = self._context
        counts = context.judge().packet_counts
        passing = {
            port: min(len(counts[check].total(way).received) for way in WAYS)
            for (transport, port), state in context.facts.ports.items()
            if transport is Transport.UDP and state is PortState.OURS and (check := udp_reach(port)) in counts
        }
        best = max(passing, key=lambda port: (passing[port], -port), default=None)
        return best if best is not None and passing[best] else None

    async def turn(self) -> None:
        """Returns at the moment of one trial: at random within the next block."""
        moment = asyncio.get_running_loop().create_future()
        self._waiting.append(moment)
        self._run()
        await moment

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Blocks follow one another while this lasts: for trials whose packets leave over some time, or from the other end."""
        self._kept_up += 1
        self._run()
        try:
            yield
        finally:
            self._kept_up -= 1

    def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
        for moment in self._waiting:
            moment.cancel()
        for port in self._sockets:
            port.close()

    def _run(self) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run_blocks())

    async def _run_blocks(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting or self._kept_up:
            await self._context.pacer.admit((CONTROLS + len(self._waiting)) * TRIAL_BYTES)
            began = self._context.stack.now()
            for moment in self._waiting:
                loop.call_later(self._drawn_s(), _resume, moment)
            self._waiting.clear()
            try:
                await self._controls()
            except (CannotRun, OSError):
                await asyncio.sleep(BLOCK_S)  # No way out for a moment, or no socket left: a block without controls says nothing.
            await asyncio.sleep(max(0.0, began + PERIOD_S - self._context.stack.now()))

    async def _controls(self) -> None:
        """Sends those of one block; none where nothing is known to pass."""
        number, context = self.port(), self._context
        if number is None:
            await asyncio.sleep(BLOCK_S)
            return
        check, began = udp_reach(number), context.stack.now()
        moments = sorted(self._drawn_s() for _ in range(CONTROLS))
        ports = [await self._socket(check) for _ in moments]
        for port, moment in zip(ports, moments, strict=True):
            await asyncio.sleep(max(0.0, began + moment - context.stack.now()))
            context.sender.control(port, context.endpoint(number), check, block=self._blocks)
        self._blocks += 1

    async def _socket(self, check: Check) -> UdpPort:
        """Of one control. Those of long ago are closed, since a process has only so many."""
        context = self._context
        port = await context.stack.udp(self._came(check), address=context.stack.source_address(context.peer_address))
        context.local_ports.add((Transport.UDP, port.local.port))
        self._sockets.append(port)
        if len(self._sockets) > MOST_SOCKETS:
            self._sockets.popleft().close()
        return port

    def _came(self, check: Check) -> Callable[[Datagram], None]:
        context = self._context
        remote = context.endpoint(check.port or 0)

        def came(datagram: Datagram) -> None:
            if datagram.source == remote:
                context.recorder.arrived([identify.nonce(check, datagram.data)], datagram)

        return came

    def _drawn_s(self) -> float:
        """A moment within a block."""
        return BLOCK_S * int.from_bytes(self._context.stack.entropy(4), "big") / (1 << 32)


def _resume(moment: "asyncio.Future[None]") -> None:
    if not moment.done():
        moment.set_result(None)
