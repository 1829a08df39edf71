"""Carries a sans-I/O conversation over UDP or TCP, recording every message, and repeats it afresh until its outcome is sure."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.evidence.checks import tcp_reach
from vpnprobe.evidence.judge import rows_of
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.judging.goals import goals
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState, Refusal, RefusalKind
from vpnprobe.evidence.statistics import MOST_TRIALS
from vpnprobe.observations.schema import Direction, Outcome, Transport
from vpnprobe.probes.context import ProbeContext, missing, spaced
from vpnprobe.transports.stack import ConnectError, Datagram, Endpoint, NetworkStack, TcpStream

CLOCK_SLACK_S: Final = 0.002
"""A timer that is due within this is due."""
FIRST_ATTEMPTS: Final = 2
GAP_S: Final = 0.06
"""Between the starts of two attempts."""
DAEMON_ATTEMPTS: Final = 4
"""Against another program's server: some stop answering a client with many half-open conversations."""
DAEMON_GAP_S: Final = 0.3
MOST_CONNECTIONS: Final = 12
"""TCP connections that are tried for one conversation where none comes up in time."""
MOST_ATTEMPTS: Final = 24
"""Conversations in all, where some messages pass and the end is never reached."""


async def over_udp(
    context: ProbeContext,
    conversation: Conversation,
    check: Check,
    *,
    finished: Callable[[], bool],
    closing: Callable[[float], None] | None = None,
    glance_s: float | None = None,
) -> None:
    """Runs the initiator against the server's port until `finished` or silence; what comes later is still recorded.

    `glance_s`: where given, silence alone ends nothing, and `finished` is asked again so often.
    `closing(now)` has it say goodbye: some servers keep what is left open, and serve nobody any more.
    """
    assert check.port is not None
    remote = context.endpoint(check.port)
    progress = asyncio.Event()

    def send_all() -> None:
        waiting = conversation.data_to_send(context.stack.now())
        context.recorder.steps(conversation, check, Sender.INITIATOR, remote=remote)
        for datagram in waiting:
            port.send(datagram, remote)

    def came(datagram: Datagram) -> None:
        if datagram.source.address == remote.address:
            conversation.receive(datagram.data, context.stack.now())
            send_all()
            progress.set()

    def refused(_: Endpoint) -> None:
        context.recorder.refused(Refusal(check, Direction.C2S, RefusalKind.PORT_UNREACHABLE, None, conversation.key))
        progress.set()

    port = await context.udp(came, refused)
    conversation.start(context.stack.now())
    send_all()
    await _until(context, conversation, finished, progress, send_all, glance_s)
    if closing is not None:
        closing(context.stack.now())
        send_all()


async def _until(
    context: ProbeContext,
    conversation: Conversation,
    finished: Callable[[], bool],
    progress: asyncio.Event,
    send_all: Callable[[], None],
    glance_s: float | None,
) -> None:
    """Waits for `finished`, repeating what is due; returns where nothing more is to be waited for."""
    while not finished():
        timer = conversation.next_timer()
        silence_s = context.settle_s if glance_s is None else glance_s
        patience = silence_s if timer is None else max(0.0, timer - context.stack.now())
        try:
            await asyncio.wait_for(progress.wait(), patience if glance_s is None else min(glance_s, patience))
        except TimeoutError:
            if timer is None and glance_s is None:
                return
            # A clock may wake us a hair too early: then the timer is not due by its reading, for ever.
            if timer is not None and timer - context.stack.now() < CLOCK_SLACK_S:
                conversation.handle_timer(max(timer, context.stack.now()))
                send_all()
        progress.clear()


async def over_stream(
    recorder: Recorder,
    stream: TcpStream,
    conversation: Conversation,
    check: Check,
    own: Sender,
    *,
    first: bytes = b"",
    finished: Callable[[], bool] = lambda: False,
    glance_s: float | None = None,
) -> None:
    """Runs one end over a stream until `finished` or the stream's end; the caller bounds the time.

    `first`: bytes that were read from it already. `glance_s`: `finished` is asked again so often, where nothing else happens.
    """
    stack = recorder.stack
    conversation.start(stack.now())
    chunk: bytes | None = first
    while True:
        if chunk:
            conversation.receive(chunk, stack.now())
        waiting = conversation.data_to_send(stack.now())
        recorder.steps(conversation, check, own, remote=stream.remote)
        for data in waiting:
            await stream.send(data)
        if finished():
            return
        chunk = await _chunk_or_timer(stream, conversation, stack, glance_s)
        if chunk == b"":
            return


async def _chunk_or_timer(stream: TcpStream, conversation: Conversation, stack: NetworkStack, glance_s: float | None) -> bytes | None:
    """The next chunk, empty at the end; None: something was due before, and has been seen to."""
    due = conversation.next_timer()
    pauses = [pause for pause in (None if due is None else due - stack.now(), glance_s) if pause is not None]
    if not pauses:
        return await stream.receive()
    receiving = asyncio.ensure_future(stream.receive())
    try:
        done, _ = await asyncio.wait({receiving}, timeout=max(0.0, min(pauses)))
        if done:
            return receiving.result()
        # A clock may wake us a hair too early: then nothing would be due by its reading.
        if due is not None and due - stack.now() < CLOCK_SLACK_S:
            conversation.handle_timer(max(due, stack.now()))
        return None
    finally:
        receiving.cancel()


def still_needed(context: ProbeContext, check: Check, made: int) -> int:
    """How many more fresh conversations it takes to be sure, `made` having been tried; 0: enough."""
    judgement = context.judge()
    counted = judgement.packet_counts.get(check)
    if counted is None:
        return _connections_needed(context, judgement, check, made)
    if any(counted.count(Direction.S2C, goal).received for goal in goals(check)):
        return 0
    tried = max((len(count.sent) for count in counted.counts.values()), default=0)
    lost = [(way, c) for (way, _), c in counted.counts.items() if c.sent and not c.received and judgement.would_have_recorded(check, way)]
    if lost:
        return min(max(missing(judgement.loss[way], count) for way, count in lost), MOST_TRIALS - tried)
    progressing = any(count.received for count in counted.counts.values()) and context.peer is not None
    return 2 if progressing and tried < MOST_ATTEMPTS else 0


def _connections_needed(context: ProbeContext, judgement: Judge, check: Check, made: int) -> int:
    """No connection came up in time to converse over: bad luck, where the port itself passes or is not yet settled."""
    if context.peer is None or check.transport is not Transport.TCP or check.port is None or made >= MOST_CONNECTIONS:
        return 0
    reach = rows_of(judgement, tcp_reach(check.port))
    unsettled = any(row.outcome in (Outcome.PASS, Outcome.NO_ANSWER) for row in reach)
    return FIRST_ATTEMPTS if unsettled else 0


async def until_sure(context: ProbeContext, check: Check, attempt: Callable[[], Awaitable[None]]) -> None:
    """Attempts with fresh nonces until one succeeds, or silence is proven, or it makes no sense to go on."""
    assert check.port is not None
    daemon = context.port_state(check.transport, check.port) is PortState.DAEMON
    gap = DAEMON_GAP_S if daemon else GAP_S
    more, made = FIRST_ATTEMPTS, 0
    while more > 0:
        await _staggered(context, check, attempt, more, gap)
        made += more
        await context.sync()
        more = still_needed(context, check, made)
        if daemon or context.peer is None:
            more = min(more, DAEMON_ATTEMPTS - made)
        elif more > FIRST_ATTEMPTS:
            gap = spaced(more, GAP_S)


async def _staggered(context: ProbeContext, check: Check, attempt: Callable[[], Awaitable[None]], count: int, gap_s: float) -> None:
    """Starts attempts one after another without waiting for silence; stops starting once the goal is reached."""
    running: list[asyncio.Task[None]] = []
    wanted = goals(check)
    try:
        for number in range(count):
            if number:
                await asyncio.sleep(gap_s)
            if any(
                s.check == check and s.message in wanted and s.peer and s.movement == "received" for s in context.recorder.packet_records
            ):
                break
            running.append(asyncio.get_running_loop().create_task(_unless_gone(attempt())))
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _unless_gone(attempt: Awaitable[None]) -> None:
    """A connection that breaks ends its attempt: the record already says how far it got."""
    try:
        await attempt
    except ConnectError:
        return
