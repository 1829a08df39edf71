"""tcp/reach: does a TCP connection to a port come up, and does a payload of ours get through it and back?

Fresh connections, each from a port of its own, are started one after another and the first that comes up ends the check. Where none
does, the server's record says whether their SYNs arrived.
"""

import asyncio
from typing import Final

from vpnprobe.conversations.registry import registered_ports
from vpnprobe.evidence.attempts import SYN
from vpnprobe.evidence.checks import tcp_reach
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState, Refusal, RefusalKind
from vpnprobe.evidence.statistics import LEAST_TRIALS, MOST_TRIALS, round_trip
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import ProbeContext, gather_all
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.transports.stack import ConnectError, ConnectFailure, Endpoint, TcpStream
from vpnprobe.wire.nonce import STREAM_BYTES, NoncePayload

GAP_S: Final = 0.08
"""Between the starts of two connections."""
ATTEMPT_BYTES: Final = 300
"""Of a connection that comes up, on the line: its beginning, our payload, and its end."""
CONNECT_DEADLINE_S: Final = 8.0
REFUSALS_ENOUGH: Final = 4


class TcpReach:
    """The probe `tcp`, check `reach`."""

    name: Final = "tcp"

    def ports(self, settings: Settings) -> list[WantedPort]:
        ports = (*registered_ports(Transport.TCP), *settings.candidates_over(Transport.TCP))
        return [WantedPort(Transport.TCP, port) for port in dict.fromkeys(ports)]

    async def run(self, context: ProbeContext) -> None:
        await gather_all([ConnectionAttempts(context, tcp_reach(wanted.port)).run() for wanted in self.ports(context.settings)])


class ConnectionAttempts:
    """All connections to one port."""

    def __init__(self, context: ProbeContext, check: Check) -> None:
        assert check.port is not None
        self.context = context
        self.check = check
        self.remote = context.endpoint(check.port)
        self.up = asyncio.Event()
        """Set once a connection came up, or enough were refused."""
        self.refusals = 0
        self.made = 0

    async def run(self) -> None:
        running: list[asyncio.Task[None]] = []
        more = LEAST_TRIALS
        try:
            while more > 0 and not self.up.is_set():
                running += await self._start(more)
                if not self.up.is_set():
                    await self._wait(self.context.settle_s)
                await self.context.sync()
                more = self._missing()
            if self.up.is_set():
                await asyncio.wait(running, timeout=max(0.5, 4 * self.context.settle_s))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _start(self, count: int) -> list[asyncio.Task[None]]:
        started: list[asyncio.Task[None]] = []
        beside = self.made > 0
        for _ in range(count):
            block = await self.context.comparison.turn() if beside else None
            if not beside:
                await self.context.pacer.admit(ATTEMPT_BYTES)
            started.append(asyncio.get_running_loop().create_task(self._attempt(block)))
            self.made += 1
            if not beside:
                await self._wait(max(GAP_S, self.context.settle_s if self.context.peer is None else 0.0))
            if self.up.is_set():
                break
        return started

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.up.wait(), seconds)
        except TimeoutError:
            return

    def _missing(self) -> int:
        judgement = self.context.judge()
        if not judgement.would_have_recorded(self.check, Direction.C2S):
            return 0
        both = round_trip(judgement.loss[Direction.C2S], judgement.loss[Direction.S2C])
        counted = judgement.packet_counts.get(self.check)
        if counted is None:
            return 0
        there = counted.count(Direction.C2S, SYN)
        lost_at = judgement.timely(there.departure(key) for key in there.sent)
        if not lost_at:
            return min(LEAST_TRIALS, MOST_TRIALS - self.made)  # An end was late all the time: nothing is known yet.
        return min(self.context.still_needed(judgement, Direction.BOTH, lost_at, both), MOST_TRIALS - self.made)

    async def _attempt(self, block: int | None) -> None:
        context, key = self.context, ""

        def bound(local: Endpoint) -> None:
            nonlocal key
            context.local_ports.add((Transport.TCP, local.port))
            with context.recorder.in_block(block):
                key = context.recorder.attempted(self.check, local, to=self.remote)

        try:
            stream = await context.stack.connect(self.remote, deadline_s=CONNECT_DEADLINE_S, on_bound=bound)
        except ConnectError as error:
            context.recorder.attempts_over.add((self.check, key))
            self._failed(error, key)
            return
        except asyncio.CancelledError:
            context.recorder.attempts_over.add((self.check, key))
            raise
        context.recorder.received(self.check, key, message="SYN-ACK", source=self.remote)
        self.up.set()
        try:
            if context.port_state(Transport.TCP, self.remote.port) is PortState.OURS:
                await self._exchange(stream)
        except ConnectError:
            return
        finally:
            await stream.close()

    def _failed(self, error: ConnectError, key: str) -> None:
        kinds = {ConnectFailure.REFUSED: RefusalKind.RST, ConnectFailure.UNREACHABLE: RefusalKind.UNREACHABLE}
        kind = kinds.get(error.failure)
        if kind is None:
            return
        self.context.recorder.refused(Refusal(self.check, Direction.C2S, kind, None, key))
        self.refusals += 1
        if self.refusals >= REFUSALS_ENOUGH:
            self.up.set()

    async def _exchange(self, stream: TcpStream) -> None:
        """Sends a payload of ours through the connection and awaits the answer."""
        payload = self.context.nonces.fresh(STREAM_BYTES)
        self.context.recorder.sent(self.check, payload.key, message="payload", size=payload.size, to=self.remote)
        await stream.send(payload.encode())
        answer = b""
        while len(answer) < STREAM_BYTES and (chunk := await stream.receive()):
            answer += chunk
        if answer == payload.answer().encode():
            received = NoncePayload.decode(answer)
            self.context.recorder.received(self.check, received.key, message="payload", size=received.size, source=self.remote)
