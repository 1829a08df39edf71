"""Whole tunnels with the server agent on one port: sessions with data both ways, until it is sure what passes.

Each attempt is a fresh session. One that comes to its end is enough; where something is missing, further ones follow until it is shown
not to pass, spread in time as all trials are. A session ends when both ends' echo requests are answered, or when nothing comes any more.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from vpnprobe.conversations.echo_trains import Place, TrainRun
from vpnprobe.conversations.tunnel_echo import EchoRun, TunnelRequests
from vpnprobe.endpoint.driver import CLOCK_SLACK_S, Driver
from vpnprobe.endpoint.pacer import Turn
from vpnprobe.evidence.comparison import PERIOD_S, SPARE_BLOCKS, blocks_needed
from vpnprobe.evidence.departures import asked_for
from vpnprobe.evidence.judge import rows_of
from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.judging.data import (
    large_ones_in_doubt,
    longest_session,
    stalled_streams,
    suspected_limit,
    trials_of,
)
from vpnprobe.evidence.judging.data_runs import LEAST_BEHIND_A_CUT, DataPacket
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport
from vpnprobe.probes.context import ProbeContext, gather_all
from vpnprobe.probes.conversing import GAP_S, Moment, MomentsOfOneKind, at_once, still_needed
from vpnprobe.probes.decoy_streams import decoys_beside
from vpnprobe.probes.peer import Job
from vpnprobe.probes.settings import WantedPort

ECHOES: Final = 6
"""Echo requests of each end in a session: one of each size."""
LONG_RUN: Final = 102
"""Those of the client where the port is to be relied on: some networks cut after a number of packets."""
RETRANSMIT_LEAST_S: Final = 0.15
SESSIONS_IN_DOUBT: Final = 4
"""So many, the first included, ask about large packets of which the first session lost a few."""
STALLED_S: Final = 1.2
"""Nothing comes for so long: then a session that had begun ends."""
MOST_SESSIONS: Final = 24
MOST_MISSED: Final = 4
"""Times that a long session is tried again which did not come to its end."""
LEAST_SESSIONS: Final = 2
"""That show a limit before it is called one, or that nothing passes: a flow may lose its way by itself, and a long run be cut before the
first packet that way."""
MOST_AT_ONCE: Final = 8
MOST_LONG_AT_ONCE: Final = 4
"""Sessions before it is asked again what they have shown: long ones take both ends' time."""
SESSION_DEADLINE_S: Final = 20.0
MOST_STALLED_S: Final = 6.0


STRAGGLERS_S: Final = 1.5
"""At least so much longer than the first port took others are waited for: one that loses its handshake may take very long."""
FEW_PORTS: Final = 2
HARDLY_MORE: Final = 0.1
"""A share so much larger than that of all that the path loses is chance, or not felt."""
TOO_SLOW: Final = "the line is so slow that few ports are tried"


class SessionOver:
    """A session is over: both ends' echo requests are answered, it has failed, or nothing comes any more."""

    def __init__(
        self,
        context: ProbeContext,
        client: TunnelRequests,
        server_echoes: int,
        *,
        stream: bool,
        first_answer_s: float = 2 * RETRANSMIT_LEAST_S,
    ) -> None:
        """`first_answer_s`: the server's first answer is waited for so long at the least."""
        self._client = client
        self._first_answer_s = first_answer_s
        self._stream = stream
        self._context = context
        self._server_echoes = server_echoes
        self._began = self._heard = context.stack.now()
        self._bytes = 0

    def reached(self, now: float) -> bool:
        client = self._client
        if client.bytes_received != self._bytes:
            self._bytes, self._heard = client.bytes_received, now
        if client.failed or (client.run.all_answered and client.requests_answered >= self._server_echoes):
            return True
        return now >= self.due() - CLOCK_SLACK_S / 2

    def due(self) -> float:
        return min(self._heard + self._patience_s(), self._began + SESSION_DEADLINE_S)

    def _patience_s(self) -> float:
        """How long nothing may come, as things are right now: little where all is sent and only answers are out."""
        settle_s = self._context.settle_s
        if self._client.run.all_sent and not self._stream:
            return 2 * settle_s
        if not self._client.answered and not self._stream:
            return max(self._first_answer_s, 3 * settle_s)
        return min(MOST_STALLED_S, max(STALLED_S, 8 * settle_s))


SomeSessions = TypeVar("SomeSessions", bound="TunnelSessions")


class TunnelSessions(ABC):
    """The sessions of one protocol, in one form, on one port."""

    def __init__(self, context: ProbeContext, wanted: WantedPort, steps: Sequence[Check], data: Check, opening_bytes: int) -> None:
        """`steps`: the checks that a session comes to before `data`, in order. `opening_bytes`: what it takes on the line until then."""
        self.wanted = wanted
        self.steps = tuple(steps)
        self.data = data
        self.context = context
        self._made = 0
        self._behind = False
        """Whether it is looked behind the end of a session just now."""
        self.opening_bytes = opening_bytes
        context.tunnels.append(self)

    def at_the_lines_pace(self, end: TunnelRequests) -> None:
        """Has an end's echo requests leave as the line carries them."""
        end.run.pace = self.context.pacer
        if self.context.line.slow:
            end.run.full_turns = 1

    @abstractmethod
    async def session(self, echoes: int, moment: Moment) -> None:
        """One fresh session, begun at its moment once it is ready, to its end. `echoes`: the client's echo requests."""

    @abstractmethod
    async def in_trains(self, places: Sequence[Place]) -> tuple[str, TrainRun]:
        """One fresh session over UDP whose echo requests follow a timetable: its conversation's key, and the requests."""

    async def behind_its_end(self, client: TunnelRequests, driver: Driver) -> None:
        """Where nothing more was answered at the end of a session, or no large request: one more of each end in each of some blocks.

        What is old goes beside what is fresh, and what is large beside what is small, in random order: so the end of a session, or of all
        its data, or of all its large packets, shows in it alone. Another session shows meanwhile whether it goes the same way.
        """
        context, run = self.context, client.run
        if context.peer is None or self._behind or not (_in_question(run) or client.hears_small_requests_alone()):
            return
        self._behind = True
        # In captures time alone tells what was asked for, so that a limit costs as many times as there were packets.
        count = blocks_needed(float(len(run.requests)), context.facts.error_bound) + SPARE_BLOCKS
        back = context.trials_back(Job.DATA, count, beside=True, port=self.wanted.port, key=driver.conversation.key)
        try:
            await gather_all([self._one_a_block(client, driver, count), back, self._once_more(client)])
            await asyncio.sleep(context.settle_s)
        finally:
            self._behind = False

    async def _once_more(self, client: TunnelRequests) -> None:
        """A second session: as long, or a short one where nothing at all was answered, which a long one may be cut before."""
        echoes = client.run.count if any(request.answered_at is not None for request in client.run.requests.values()) else ECHOES
        await asyncio.sleep(self.context.settle_s)  # What is to go through the newest session has been asked for by then.
        if self._made < LEAST_SESSIONS:
            self._made += 1
            await self.session(echoes, at_once)

    async def _one_a_block(self, client: TunnelRequests, driver: Driver, count: int) -> None:
        context, moment = self.context, MomentsOfOneKind(self.context)
        for _ in range(count):
            block = await moment()
            if client.failed or not _in_question(client.run):
                return
            with context.recorder.in_block(block):
                client.run.one_more(context.stack.now())
                driver.say(client.send_due_echo)

    async def run(self, *, echoes: int = ECHOES) -> None:
        """Sessions until it is sure what passes."""
        missed = 0
        for check in (*self.steps, self.data):
            self.context.repeats[check, Direction.BOTH] = self.once_more
        await self.attempts(1, echoes, beside=False)
        while True:
            await self.context.sync()
            judgement = self.context.judge()
            more = min(self._more(judgement), MOST_SESSIONS - self._made)
            enough = self._enough(judgement, echoes)
            if more <= 0 and missed < MOST_MISSED and self._is_missing(judgement, echoes):
                missed, more, enough = missed + 1, 1, echoes
            if more <= 0:
                return
            await self.attempts(more if enough <= ECHOES else min(more, MOST_LONG_AT_ONCE), enough, beside=True)

    async def once_more(self) -> None:
        """One short session by itself."""
        await self.attempts(1, ECHOES, beside=False)

    def _is_missing(self, judgement: Judge, echoes: int) -> bool:
        """Whether data passes, and no session was as long as was wanted: on a lossy path a long one may not have come up."""
        return self.passes(judgement) and longest_session(judgement, self.data, Direction.C2S) < echoes

    def passes(self, judgement: Judge, *, without_fault: bool = False) -> bool:
        """Whether data went both ways, and to the end. `without_fault`: without limits, and without more loss than all else has."""
        rows = [row for row in rows_of(judgement, self.data) if row.outcome in (Outcome.PASS, Outcome.DEGRADED)]
        found = [row.direction for row in rows if not without_fault or row.outcome is Outcome.PASS or _loses_as_all(judgement, row)]
        return {Direction.C2S, Direction.S2C} <= set(found)

    async def attempts(self, count: int, echoes: int, *, beside: bool) -> None:
        """So many sessions, one begun after another. `beside`: each in a block, and controls beside all that they say."""
        if not beside:
            await self._attempts(count, echoes, beside=False)
            return
        stuck = None if self.passes(self.context.judge()) else self.wanted.transport
        async with self.context.comparison.beside(), decoys_beside(self.context, stuck, self.wanted.port, count, PERIOD_S):
            await self._attempts(count, echoes, beside=True)

    async def _attempts(self, count: int, echoes: int, *, beside: bool) -> None:
        running: list[asyncio.Task[None]] = []
        moment = MomentsOfOneKind(self.context) if beside else at_once
        try:
            for number in range(count):
                if number:
                    await asyncio.sleep(PERIOD_S if beside else GAP_S)
                if not beside:
                    await self.context.pacer.admit(self.opening_bytes, Turn.TUNNEL)
                self._made += 1
                running.append(asyncio.get_running_loop().create_task(self.session(echoes, moment)))
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _more(self, judgement: Judge) -> int:
        """How many further sessions it takes; 0: enough."""
        for check in self.steps:
            if not any(row.outcome is Outcome.PASS for row in rows_of(judgement, check)):
                return still_needed(self.context, check, self._made)
        if self.data not in judgement.packet_counts:
            # What came up did so when its session had been given up: nothing has been asked of data yet.
            return max(0, SESSIONS_IN_DOUBT - self._made)
        return max(self._more_data(judgement, way) for way in WAYS)

    def _more_data(self, judgement: Judge, way: Direction) -> int:
        counted = judgement.packet_counts.get(self.data)
        count = counted.total(way) if counted is not None else None
        if count is None or not count.sent or not judgement.would_have_recorded(self.data, way):
            return 0
        if not count.received:
            more = self._sessions_needed(judgement, way, trials_of(self.data, count), 1.0, 1)
            return max(more, LEAST_SESSIONS - self._made)
        if (limit := suspected_limit(judgement, self.data, way)) is None:
            if large_ones_in_doubt(self.data, count):
                return max(0, SESSIONS_IN_DOUBT - self._made)
            return max(0, LEAST_TRIALS - stalled) if (stalled := stalled_streams(self.data, count)) else 0
        more = self._sessions_needed(judgement, way, limit.lost, limit.error_bound, limit.thresholds)
        return max(more, (LEAST_TRIALS if limit.undecided else LEAST_SESSIONS) - self._made)

    def _sessions_needed(self, judgement: Judge, way: Direction, lost: Sequence[DataPacket], bound: float, thresholds: int) -> int:
        """One moment of a session is one trial, however many of its packets were lost then. `bound`: where nothing is compared."""
        lost_at, thresholds = asked_for([packet.departure for packet in lost], thresholds, by_time=self.wanted.transport is Transport.TCP)
        more = judgement.trials_needed(way, lost_at, comparable=self.context.comparison.compares(way), thresholds=thresholds)
        if more is not None:
            # Over UDP it is looked behind the end of each, in as many blocks as it takes.
            return min(MOST_AT_ONCE if self.wanted.transport is Transport.TCP else 1, more)
        loss = judgement.loss[way]
        known = loss.chance_of_losing_all(len(lost)) if loss.measured else 0.0
        return 1 if min(bound, known) > judgement.facts.error_bound else 0

    def _enough(self, judgement: Judge, echoes: int) -> int:
        """How many echo requests a further session takes: one long run is enough, but for what is cut after a number of packets."""
        counted = judgement.packet_counts.get(self.data)
        if counted is None:
            return echoes
        limits = [suspected_limit(judgement, self.data, way) for way in WAYS]
        cut = any(limit is not None and "cut_after" in limit.detail for limit in limits)
        if not cut and any(limit is not None and limit.undecided for limit in limits):
            return max(echoes, ECHOES + LEAST_BEHIND_A_CUT)
        stalls = not any(limits) and any(stalled_streams(self.data, counted.total(way)) for way in WAYS)
        return echoes if cut or stalls else min(echoes, ECHOES)


def _loses_as_all(judgement: Judge, row: Observation) -> bool:
    """Whether its data loses about as much as the path does of everything, so that another port would be no better."""
    path = judgement.loss[row.direction]
    if row.cause is not Cause.LOSS or row.detail.get("alone") or not row.sent or row.received is None or not path.measured:
        return False
    return 1 - row.received / row.sent <= path.lost / (path.lost + path.passed) + HARDLY_MORE


def _in_question(run: EchoRun) -> bool:
    """Whether the end of its session, or its large requests, seem not to get through."""
    return run.silent_at_its_end(LEAST_BEHIND_A_CUT) or run.too_large() is not None


async def within_the_line(context: ProbeContext, ports: Sequence[SomeSessions]) -> list[SomeSessions]:
    """Those of some ports, in the order of preference, that are tried: on a line that crawls the first few."""
    await context.line.told.wait()
    few = list(ports[:FEW_PORTS] if context.line.crawling else ports)
    for sessions in ports[len(few) :]:
        for check in sessions.steps:
            context.skip(check, TOO_SLOW)
        context.skip(sessions.data, TOO_SLOW, *WAYS)
    return few


def elsewhere(context: ProbeContext, transport: Transport, but: Sequence[WantedPort]) -> WantedPort | None:
    """A port that passes, of another protocol that lives on any: it is tried where no usual one works. None: there is none.

    What passed only after the server's own packets passes for no client that begins.
    """

    def opened(port: int) -> bool:
        return transport is Transport.UDP and port in context.opened_by_server

    for port in context.settings.candidates_over(transport):
        wanted = WantedPort(transport, port)
        if wanted not in but and _passes(context, wanted) and not opened(port) and context.port_state(*wanted) is PortState.OURS:
            return wanted
    return None


def _passes(context: ProbeContext, wanted: WantedPort) -> bool:
    """Whether anything passes both ways to a port: of single packets, or of another protocol's conversation, which has other flows."""
    counted = context.judge().packet_counts.items()
    of_port = (counts for check, counts in counted if (check.transport, check.port) == (wanted.transport, wanted.port))
    return any(all(counts.total(way).received for way in WAYS) for counts in of_port)


async def _ended(tasks: Sequence["asyncio.Task[None]"], *, within_s: float | None) -> None:
    """Waits for some tasks, so long at the most, and raises what the first of them failed by. None: as long as they take."""
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=within_s)
        for task in done:
            task.result()


async def tried(
    context: ProbeContext, ports: Sequence[TunnelSessions], *, beside_others: Callable[[bool], Awaitable[None]] | None = None
) -> tuple[Judge, list[TunnelSessions]]:
    """Sessions on each of some ports, at least one, in the order of preference: what they come to, and on which data passes.

    The first port is tried with many packets: some networks cut after a number of them. Unless it passes without any fault another may be
    recommended, so that those have to prove as much. Where it does, stragglers among the others are not waited for. `beside_others`: what
    is done once it is known whether the first passes; it waits for the others on a narrow line alone, where more at once would be lost.
    """
    began = context.stack.now()
    others = [asyncio.get_running_loop().create_task(sessions.run()) for sessions in ports[1:]]
    further: list[asyncio.Task[None]] = []
    try:
        await ports[0].run(echoes=LONG_RUN)
        judgement = context.judge()
        narrow = context.line.narrow_bytes_per_s is not None
        first_passes = ports[0].passes(judgement)
        if beside_others is not None and not narrow:
            further.append(asyncio.ensure_future(beside_others(first_passes)))
        enough = ports[0].passes(judgement, without_fault=True) and not context.line.slow
        await _ended(others, within_s=max(STRAGGLERS_S, context.stack.now() - began) if enough else None)
        if beside_others is not None and narrow:
            await beside_others(first_passes)
        judgement = context.judge()
        passing = [sessions for sessions in ports if sessions.passes(judgement)]
        if not ports[0].passes(judgement, without_fault=True):
            await gather_all([sessions.run(echoes=LONG_RUN) for sessions in passing if sessions is not ports[0]])
            judgement = context.judge()
            passing = [sessions for sessions in passing if sessions.passes(judgement)]
        await _ended(further, within_s=None)
    finally:
        for task in (*others, *further):
            task.cancel()
        await asyncio.gather(*others, *further, return_exceptions=True)
    return judgement, passing
