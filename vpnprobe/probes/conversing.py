"""Carries a client's conversation over UDP or TCP until its check is answered, and repeats it afresh until the outcome is sure."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.conversations.registry import decoy_bytes
from vpnprobe.endpoint.driver import Driver, GoalOrSilence, StreamDriver, Until
from vpnprobe.endpoint.pacer import HEADERS, Turn
from vpnprobe.endpoint.recorder import Departures
from vpnprobe.endpoint.sending import PAYLOAD_BYTES
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import tcp_reach, udp_reach
from vpnprobe.evidence.comparison import PERIOD_S
from vpnprobe.evidence.identify import PacketIdentity
from vpnprobe.evidence.judge import rows_of
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.judging.goals import goals
from vpnprobe.evidence.packet_records import Check, Movement
from vpnprobe.evidence.records import PortState, Refusal, RefusalKind
from vpnprobe.evidence.statistics import LEAST_TRIALS, MOST_TRIALS, Background
from vpnprobe.observations.schema import Direction, Outcome, Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.decoy_streams import decoys_beside
from vpnprobe.transports.stack import ConnectError, Datagram, Endpoint, TcpStream, UdpPort
from vpnprobe.wire.nonce import SHORTEST, Purpose

FIRST_ATTEMPTS: Final = 2
OPENING_BYTES: Final = 60
"""Of a conversation's beginning: the headers of a SYN, or of what is counted when it is sent."""
GAP_S: Final = 0.06
"""Between the starts of two attempts."""
DAEMON_ATTEMPTS: Final = 4
"""Against another program's server: some stop answering a client with many half-open conversations."""
DAEMON_GAP_S: Final = 0.3
BEHIND_GAP_S: Final = 0.02
"""Between payloads behind a conversation: a moment's loss need not take them all."""
LAST_WORDS_S: Final = 1.0
"""For what a conversation has said to leave, before its connection is closed."""
LEAST_LOST: Final = 3
"""Packets that a path has lost before its loss is believed."""
MOST_CONNECTIONS: Final = 12
"""TCP connections that are tried for one conversation where none comes up in time."""
MOST_ATTEMPTS: Final = 24
"""Conversations in all, where some messages pass and the end is never reached."""


Moment = Callable[[], Awaitable[int | None]]
"""Returns when the first packet of a trial is to leave: the number of its block; None: at any moment, outside of blocks."""
Attempt = Callable[[Moment], Awaitable[None]]
"""Makes one fresh conversation ready, waits for its moment, and carries it to its end."""


async def at_once() -> None:
    """The moment of who need not wait."""


class MomentsOfOneKind:
    """Moments in blocks, for trials of one kind: no two of them in the same block."""

    def __init__(self, context: ProbeContext, size: int = PAYLOAD_BYTES) -> None:
        """`size`: bytes of what leaves, which controls beside it have too."""
        self._context = context
        self._size = size
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self) -> int | None:
        async with self._one_at_a_time:
            return await self._context.comparison.turn(size=self._size)


class Roaming(Protocol):
    """A conversation that is followed to wherever its peer's messages come from."""

    from_peer: bool
    """Whether what is received next comes from the address at which the peer was heard last, or was looked for first."""

    @property
    def authenticated(self) -> int:
        """How many messages came that only the peer can have sent."""
        ...


async def over_udp(
    context: ProbeContext,
    conversation: Conversation,
    check: Check,
    *,
    until: Callable[[Driver], Until] | None = None,
    closing: Callable[[float], None] | None = None,
    roaming: Roaming | None = None,
    moment: Moment | None = None,
    further: Callable[[Driver], Awaitable[None]] | None = None,
    admitted: int = 0,
    whole: Callable[[], bool] | None = None,
) -> Endpoint:
    """Runs the initiator against the server's port; what comes later is still recorded. Returns where it was sent to at last.

    `until`: what is waited for; None: the check's goal, or silence. `closing(now)` has it say goodbye, also where the run is broken off:
    some servers keep what is left open, and serve nobody any more. `roaming`: the conversation, where it follows its peer; None: it stays
    with the server's address. `moment`: when all is ready, that of the first message is waited for; None: it leaves at once. `further`:
    what is asked of the conversation once that is reached. `admitted`: bytes that the pace has granted to it already. `whole`: whether
    all that it asked was answered; where it was not, payloads of ours ask behind it whether its flow passes at all.
    """
    assert check.port is not None
    remote = asked = context.endpoint(check.port)

    def came(datagram: Datagram) -> None:
        nonlocal remote
        if (identity := _behind(asked.port, datagram)) is not None:
            context.recorder.arrived([identity], datagram)
            return
        if roaming is None:
            if datagram.source.address == asked.address:
                driver.receive(datagram.data)
            return
        before, known = roaming.authenticated, remote
        roaming.from_peer = datagram.source.address == known.address
        remote = datagram.source  # What it is answered with goes there.
        driver.receive(datagram.data)
        remote = remote if roaming.authenticated > before else known

    def refused(_: Endpoint) -> None:
        context.recorder.refused(Refusal(check, Direction.C2S, RefusalKind.PORT_UNREACHABLE, None, conversation.key))
        driver.wake()

    def send(data: bytes) -> bool:
        nonlocal admitted
        left = port.send(data, remote)
        if admitted <= 0:
            context.pacer.charge(len(data) + HEADERS)
        admitted -= len(data) + HEADERS
        return left

    port = await context.udp(came, refused)
    driver = Driver(
        context.stack,
        conversation,
        send=send,
        record=lambda departures: context.recorder.steps(conversation, check, Sender.INITIATOR, departures, remote=remote),
    )
    try:
        with context.recorder.in_block(await moment() if moment is not None else None):
            driver.start()
        await driver.wait(until(driver) if until is not None else GoalOrSilence(driver, check.name, lambda: context.settle_s))
        if further is not None:
            await further(driver)
        if whole is not None and not whole() and context.peer is not None:
            await _ask_behind(context, port, remote)
    finally:
        if closing is not None:
            driver.say(closing)
        driver.rest()  # A run that was broken off sends nothing more.
    return remote


async def _ask_behind(context: ProbeContext, port: UdpPort, remote: Endpoint) -> None:
    """Payloads of ours in the flow of a conversation that was not answered whole."""
    for _ in range(LEAST_TRIALS):
        context.pacer.charge(SHORTEST + HEADERS)
        context.sender.nonce(port, remote, udp_reach(remote.port), size=SHORTEST, purpose=Purpose.BEHIND)
        await asyncio.sleep(BEHIND_GAP_S)


def _behind(port: int, datagram: Datagram) -> PacketIdentity | None:
    """The answer to a payload that was sent behind a conversation; None: it is none."""
    identity = identify.nonce(udp_reach(port), datagram.data)
    return identity if identity is not None and identity.purpose is Purpose.BEHIND else None


async def connected(context: ProbeContext, check: Check, *, deadline_s: float) -> TcpStream:
    """A connection to the check's port, whose local port is known to be the probes'. Raises ConnectError."""
    assert check.port is not None

    def bound(local: Endpoint) -> None:
        context.local_ports.add((Transport.TCP, local.port))

    return await context.stack.connect(context.endpoint(check.port), deadline_s=deadline_s, on_bound=bound)


def stream_driver(context: ProbeContext, conversation: Conversation, check: Check, stream: TcpStream) -> StreamDriver:
    """The initiator's driver over a connection."""

    def record(departures: Departures) -> None:
        context.recorder.steps(conversation, check, Sender.INITIATOR, departures, remote=stream.remote)

    return StreamDriver(context.stack, conversation, stream, record)


async def over_stream(
    context: ProbeContext,
    conversation: Conversation,
    check: Check,
    stream: TcpStream,
    until: Callable[[Driver], Until],
    *,
    moment: Moment | None = None,
) -> StreamDriver:
    """Runs the initiator over a connection until what is waited for is reached or the stream ends, and closes it.

    `moment`: as in `over_udp`.
    """
    driver = stream_driver(context, conversation, check, stream)
    try:
        with context.recorder.in_block(await moment() if moment is not None else None):
            driver.start()
        await driver.wait(until(driver))
        driver.rest()
        if driver.ended:
            await driver.finished()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):  # A server that reads nothing must not hold what we send.
                await driver.drained()
        return driver
    finally:
        context.recorder.gave_up(conversation, answer_s=context.settle_s)
        driver.close()
        await stream.close()


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
        more = min(max(context.still_needed(judgement, way, count.lost_at) for way, count in lost), MOST_TRIALS - max(tried, made))
        by_chance = all(_may_be_chance(judgement.loss[way], len(count.sent)) for way, count in lost)
        return min(more, FIRST_ATTEMPTS) if by_chance else more
    progressing = any(count.received for count in counted.counts.values()) or counted.set_aside.total() > 0
    return FIRST_ATTEMPTS if progressing and context.peer is not None and max(tried, made) < MOST_ATTEMPTS else 0


def _may_be_chance(loss: Background, trials: int) -> bool:
    """Whether a path loses so much that all of some trials are lost now and then: a few more mostly settle it, without a proof."""
    return loss.measured and loss.lost >= LEAST_LOST and loss.may_lose_all(trials)


def _connections_needed(context: ProbeContext, judgement: Judge, check: Check, made: int) -> int:
    """No connection came up in time to converse over: bad luck, where the port itself passes or is not yet settled."""
    if context.peer is None or check.transport is not Transport.TCP or check.port is None or made >= MOST_CONNECTIONS:
        return 0
    reach = rows_of(judgement, tcp_reach(check.port))
    unsettled = any(row.outcome in (Outcome.PASS, Outcome.DEGRADED, Outcome.NO_ANSWER) for row in reach)
    return FIRST_ATTEMPTS if unsettled else 0


async def until_sure(context: ProbeContext, check: Check, attempt: Attempt) -> None:
    """Attempts with fresh nonces until one succeeds, or silence is proven, or it makes no sense to go on."""
    assert check.port is not None
    daemon = context.port_state(check.transport, check.port) is PortState.DAEMON
    gap = DAEMON_GAP_S if daemon else GAP_S
    more, made = FIRST_ATTEMPTS, 0
    context.repeats[check, Direction.BOTH] = lambda: _unless_gone(attempt(at_once))
    while more > 0:
        beside = made > 0 and context.peer is not None
        await _staggered(context, check, attempt, more, max(gap, PERIOD_S) if beside else gap, beside=beside)
        made += more
        await context.sync()
        more = still_needed(context, check, made)
        if context.peer is None or (daemon and _reaches(context, check)):
            more = min(more, DAEMON_ATTEMPTS - made)


def _reaches(context: ProbeContext, check: Check) -> bool:
    """Whether any conversation is known to reach the server, or nobody could say."""
    judgement = context.judge()
    counted = judgement.packet_counts.get(check)
    seen = counted is not None and bool(counted.total(Direction.C2S).received)
    return seen or not judgement.would_have_recorded(check, Direction.C2S)


async def _staggered(context: ProbeContext, check: Check, attempt: Attempt, count: int, gap_s: float, *, beside: bool) -> None:
    """Starts attempts one after another without waiting for silence; stops starting once the goal is reached.

    `gap_s`: between two. `beside`: each in a block, beside controls.
    """
    size = decoy_bytes(check.port or 0, context.settings.named_ports) if check.transport is Transport.UDP else None
    moment = MomentsOfOneKind(context, size or PAYLOAD_BYTES) if beside else at_once
    if not beside:
        await _started_one_after_another(context, check, attempt, count, gap_s, moment)
        return
    async with context.comparison.beside(), decoys_beside(context, check.transport, check.port, count, gap_s):
        await _started_one_after_another(context, check, attempt, count, gap_s, moment)


async def _started_one_after_another(
    context: ProbeContext, check: Check, attempt: Attempt, count: int, gap_s: float, moment: Moment
) -> None:
    running: list[asyncio.Task[None]] = []
    wanted = goals(check)
    try:
        for number in range(count):
            if number:
                await asyncio.sleep(gap_s)
            if moment is at_once:
                await context.pacer.admit(OPENING_BYTES, Turn.CONVERSATION)
            records = context.recorder.packet_records
            if any(r.check == check and r.message in wanted and r.peer and r.movement is Movement.RECEIVED for r in records):
                break
            running.append(asyncio.get_running_loop().create_task(_unless_gone(attempt(moment))))
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
