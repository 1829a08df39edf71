"""Decoy streams (`evidence.decoy_streams`) on a port of the server agent's, beside attempts at a conversation over TCP that fail there.

They are begun at random moments of the time in which the attempts are, so that what the path does for a while does not fall on one of the
two alone. Where nothing fails none is made.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

from vpnprobe.endpoint.pacer import HEADERS, Turn
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.checks import tcp_reach
from vpnprobe.evidence.decoy_streams import TURNS, DecoyStream
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.transports.stack import ConnectError, TcpStream
from vpnprobe.wire.nonce import STREAM_BYTES, NoncePayload, Purpose

ONE_BY_ONE: Final = 4
"""Turns that wait for the answer to the one before, as a handshake's do: so a flow that ends after a few packets has some answered."""
GAP_S: Final = 0.02
"""Between the others: each leaves in a packet of its own."""
CONNECT_DEADLINE_S: Final = 8.0
SILENT_LEAST_S: Final = 1.2
"""Nothing more is answered for so long: then it is over."""
SILENT_MOST_S: Final = 6.0
OLDER_PEER: Final = 1
"""Turns that a server agent answers which knows of no decoy streams, before it closes."""


@asynccontextmanager
async def decoys_beside(
    context: ProbeContext, transport: Transport | None, port: int | None, attempts: int, gap_s: float
) -> AsyncIterator[None]:
    """Begins as many as the port still lacks while so many attempts are begun, and waits for the ends of all that are there.

    They are the port's: attempts that are given up leave them to those that go on. None beside few attempts, which nothing is proved by: on
    a lossy path most come up then. None where nobody could answer them.
    """
    possible = transport is Transport.TCP and port is not None and context.peer is not None
    if attempts < LEAST_TRIALS or not possible or context.port_state(Transport.TCP, port or 0) is not PortState.OURS:
        yield
        return
    on = port or 0
    async with context.decoy_streams[on].beside(LEAST_TRIALS, lambda: _begin(context, on, attempts * gap_s)):
        yield


async def _begin(context: ProbeContext, port: int, within_s: float) -> None:
    check = tcp_reach(port)
    await asyncio.sleep(within_s * int.from_bytes(context.stack.entropy(4), "big") / (1 << 32))
    with suppress(ConnectError):
        stream = await _connected(context, check)
        found = await _Stream(context, stream).run()
        if found.closed and found.answered <= OLDER_PEER:
            return
        known = context.facts.decoy_streams
        context.facts = replace(context.facts, decoy_streams={**known, port: (*known.get(port, ()), found)})


async def _connected(context: ProbeContext, check: Check) -> TcpStream:
    return await context.stack.connect(
        context.endpoint(check.port or 0),
        deadline_s=context.connect_s(CONNECT_DEADLINE_S),
        on_bound=lambda local: context.local_ports.add((Transport.TCP, local.port)),
    )


class _Stream:
    """One connection."""

    def __init__(self, context: ProbeContext, stream: TcpStream) -> None:
        self._context = context
        self._stream = stream
        self._wanted = [[context.nonces.fresh(STREAM_BYTES, purpose=Purpose.STREAM) for _ in range(count)] for count in TURNS]
        self._answered = 0
        """Payloads."""
        self._progress = asyncio.Event()

    async def run(self) -> DecoyStream:
        """Sends all turns, and listens until all are answered or none is any more."""
        sending = asyncio.get_running_loop().create_task(self._send())
        try:
            closed = await self._listen()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            self._stream.abort()
        return DecoyStream(turns_in(self._answered), closed)

    async def _send(self) -> None:
        with suppress(ConnectError):
            for number, turn in enumerate(self._wanted):
                while turns_in(self._answered) < min(number, ONE_BY_ONE):
                    self._progress.clear()
                    await self._progress.wait()
                data = b"".join(payload.encode() for payload in turn)
                await self._context.pacer.admit(len(data) + HEADERS, Turn.CONVERSATION)
                await self._stream.send(data)
                await asyncio.sleep(GAP_S)

    async def _listen(self) -> bool:
        """Until the end; returns whether somebody else made it."""
        wanted, waiting = [payload for turn in self._wanted for payload in turn], b""
        while self._answered < len(wanted):
            try:
                async with asyncio.timeout(min(SILENT_MOST_S, max(SILENT_LEAST_S, 8 * self._context.settle_s))):
                    chunk = await self._stream.receive()
            except TimeoutError:
                return False
            except ConnectError:
                return True
            if not chunk:
                return True
            waiting = self._take(wanted, waiting + chunk)
        return False

    def _take(self, wanted: Sequence[NoncePayload], data: bytes) -> bytes:
        """Counts the answers in what came, in their order; returns what is no whole one yet."""
        while len(data) >= STREAM_BYTES and self._answered < len(wanted):
            with suppress(DecodeError):
                self._answered += NoncePayload.decode(data[:STREAM_BYTES]) == wanted[self._answered].answer()
            data = data[STREAM_BYTES:]
        self._progress.set()
        return data


def turns_in(payloads: int) -> int:
    """How many turns so many answered payloads are, from the first on."""
    turns = 0
    for count in TURNS:
        payloads -= count
        if payloads < 0:
            break
        turns += 1
    return turns
