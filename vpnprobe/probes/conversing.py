"""Carries a sans-I/O conversation over UDP or TCP, recording every message, and repeats it afresh until its outcome is sure."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.evidence.judge import GOALS
from vpnprobe.evidence.records import PortState, Refusal, RefusalKind
from vpnprobe.evidence.sightings import Question
from vpnprobe.evidence.statistics import MOST_TRIALS
from vpnprobe.observations.schema import Direction
from vpnprobe.probes.context import Path, missing
from vpnprobe.probes.recorder import Recorder
from vpnprobe.transports.door import ConnectError, Datagram, Endpoint, TcpStream

FIRST_ATTEMPTS: Final = 2
GAP_S: Final = 0.06
"""Between the starts of two attempts."""
DAEMON_ATTEMPTS: Final = 4
"""Against another program's server: some stop answering a client with many half-open conversations."""
DAEMON_GAP_S: Final = 0.3
MOST_ATTEMPTS: Final = 24
"""Conversations in all, where some messages pass and the end is never reached."""


async def over_udp(path: Path, conversation: Conversation, question: Question, *, finished: Callable[[], bool]) -> None:
    """Runs the initiator against the server's port until `finished` or silence; what comes later is still recorded."""
    assert question.port is not None
    remote = path.endpoint(question.port)
    progress = asyncio.Event()

    def send_all() -> None:
        waiting = conversation.data_to_send(path.door.now())
        path.recorder.steps(conversation, question, Sender.INITIATOR, remote=remote)
        for datagram in waiting:
            port.send(datagram, remote)

    def came(datagram: Datagram) -> None:
        if datagram.source.address == remote.address:
            conversation.receive(datagram.data, path.door.now())
            send_all()
            progress.set()

    def refused(_: Endpoint) -> None:
        path.recorder.refused(Refusal(question, Direction.C2S, RefusalKind.PORT_UNREACHABLE, None, conversation.key))
        progress.set()

    port = await path.udp(came, refused)
    conversation.start(path.door.now())
    send_all()
    while not finished():
        timer = conversation.next_timer()
        patience = path.settle_s if timer is None else max(0.0, timer - path.door.now())
        try:
            await asyncio.wait_for(progress.wait(), patience)
        except TimeoutError:
            if timer is None:
                return
            conversation.handle_timer(path.door.now())
            send_all()
        progress.clear()


async def over_stream(
    recorder: Recorder, stream: TcpStream, conversation: Conversation, question: Question, own: Sender, *, first: bytes = b""
) -> None:
    """Runs one end over a stream until the stream ends; `first`: bytes that were read from it already. The caller bounds the time."""
    door = recorder.door
    conversation.start(door.now())
    chunk = first
    while True:
        if chunk:
            conversation.receive(chunk, door.now())
        waiting = conversation.data_to_send(door.now())
        recorder.steps(conversation, question, own, remote=stream.remote)
        for data in waiting:
            await stream.send(data)
        chunk = await stream.receive()
        if not chunk:
            return


def still_needed(path: Path, question: Question) -> int:
    """How many more fresh conversations it takes to be sure; 0: enough."""
    judgement = path.judge()
    tally = judgement.tallies.get(question)
    if tally is None:
        return 0
    if any(tally.count(Direction.S2C, goal).received for goal in GOALS[question.check]):
        return 0
    tried = max((len(count.sent) for count in tally.counts.values()), default=0)
    lost = [(way, len(c.sent)) for (way, _), c in tally.counts.items() if c.sent and not c.received and judgement.witnesses(question, way)]
    if lost:
        return min(max(missing(judgement.loss[way], sent) for way, sent in lost), MOST_TRIALS - tried)
    progressing = any(count.received for count in tally.counts.values()) and path.peer is not None
    return 2 if progressing and tried < MOST_ATTEMPTS else 0


async def until_sure(path: Path, question: Question, attempt: Callable[[], Awaitable[None]]) -> None:
    """Attempts with fresh nonces until one succeeds, or silence is proven, or it makes no sense to go on."""
    assert question.port is not None
    daemon = path.port_state(question.transport, question.port) is PortState.DAEMON
    gap = DAEMON_GAP_S if daemon else GAP_S
    more, made = FIRST_ATTEMPTS, 0
    while more > 0:
        await _staggered(path, question, attempt, more, gap)
        made += more
        await path.sync()
        more = still_needed(path, question)
        if daemon or path.peer is None:
            more = min(more, DAEMON_ATTEMPTS - made)


async def _staggered(path: Path, question: Question, attempt: Callable[[], Awaitable[None]], count: int, gap_s: float) -> None:
    """Starts attempts one after another without waiting for silence; stops starting once the goal is reached."""
    running: list[asyncio.Task[None]] = []
    goals = GOALS[question.check]
    for number in range(count):
        if number:
            await asyncio.sleep(gap_s)
        if any(s.question == question and s.message in goals and s.peer and s.movement == "received" for s in path.recorder.sightings):
            break
        running.append(asyncio.get_running_loop().create_task(_unless_gone(attempt())))
    await asyncio.gather(*running)


async def _unless_gone(attempt: Awaitable[None]) -> None:
    """A connection that breaks ends its attempt: the record already says how far it got."""
    try:
        await attempt
    except ConnectError:
        return
