"""l2tp: bare L2TP tunnels and calls on udp/1701, from SCCRQ to ICCN (RFC 2661), and PPP LCP both ways in their data messages.

With the server agent's own end each session is one of `tunnel_sessions`. Where another program has the port its pppd answers, and starts
only once the call is up: its first answer is waited for, and what is sent until then is one trial, repeated as PPP repeats it.

Says nothing about L2TP over IPsec, whose 1701 is only inside ESP; and many servers drop bare 1701 on purpose, so no SCCRP is not 'blocked'
unless the server agent itself would have answered.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from vpnprobe.conversations.echo_trains import Place, TrainRun
from vpnprobe.conversations.l2tp_ends import OUTER_BYTES, REQUESTS, Initiator
from vpnprobe.conversations.tunnel_echo import EchoRun
from vpnprobe.endpoint.driver import CLOCK_SLACK_S, Driver
from vpnprobe.evidence.checks import L2TP_CONTROL, L2TP_DATA
from vpnprobe.evidence.judge import rows_of
from vpnprobe.evidence.judging.base import WAYS
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Direction, Outcome, Transport
from vpnprobe.probes.context import FIRST_TRIALS, MOST_ROUNDS, ProbeContext
from vpnprobe.probes.conversing import Moment, over_udp, until_sure
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.probes.sizes import in_doubt, in_turn, ready_in
from vpnprobe.probes.tunnel_sessions import SessionOver, TunnelSessions

PORT: Final = 1701
RETRANSMIT_AFTER_S: Final = 0.4
"""The longest; the copies after the first follow at twice the time each."""
COPIES: Final = 4
"""Of a message that is not acknowledged."""
OPENING_BYTES: Final = 1000
"""Of a tunnel and a call until data goes through it, on the line."""
PPPD_STARTS_S: Final = 2.0
"""A server starts its pppd once the call is up; that one answers soon after."""
LISTENING_S: Final = 0.2
"""Between repetitions of a request that a pppd has not answered yet."""
NO_CALL: Final = "no L2TP call came up"
TOO_LATE: Final = "the call came up when it had been given up"
ENDED: Final = "the server ended the call right after it had come up, before any data: its pppd may not start"
NOT_A_WORD: Final = "the server said nothing in the call: its pppd may not start"


class L2tpProbe:
    """The probe `l2tp`."""

    name: Final = "l2tp"

    def ports(self, _: Settings) -> list[WantedPort]:
        return [WantedPort(Transport.UDP, PORT)]

    async def run(self, context: ProbeContext) -> None:
        if context.port_state(Transport.UDP, PORT) is PortState.OURS:
            await L2tpSessions(context).run(echoes=REQUESTS)
        else:
            await AnothersServer(context).run()
        if L2TP_DATA not in context.judge().packet_counts and not any(skip.check == L2TP_DATA for skip in context.skips):
            up = any(row.outcome is Outcome.PASS for row in rows_of(context.judge(), L2TP_CONTROL))
            context.skip(L2TP_DATA, TOO_LATE if up else NO_CALL, *WAYS)


def _initiator(context: ProbeContext, requests: int) -> Initiator:
    """`requests`: Configure-Requests once the call is up."""
    tunnel_id, session_id = (1 + int.from_bytes(context.stack.entropy(2), "big") % 65535 for _ in range(2))
    return Initiator(
        nonce=context.nonces.conversation().hex(),
        tunnel_id=tunnel_id,
        session_id=session_id,
        retransmit_after_s=min(context.settle_s, RETRANSMIT_AFTER_S),
        entropy=context.stack.entropy,
        attempts=COPIES,
        requests=requests,
    )


class L2tpSessions(TunnelSessions):
    """Tunnels with the server agent, each with one call."""

    def __init__(self, context: ProbeContext) -> None:
        super().__init__(context, WantedPort(Transport.UDP, PORT), (L2TP_CONTROL,), L2TP_DATA, OPENING_BYTES)

    async def session(self, echoes: int, moment: Moment) -> None:
        initiator = _initiator(self.context, echoes)
        self.at_the_lines_pace(initiator)
        await self._carry(initiator, moment)

    async def in_trains(self, places: Sequence[Place]) -> tuple[str, TrainRun]:
        initiator = _initiator(self.context, len(places))
        run = TrainRun(0, len(places), initiator.run.sizes, places=places)
        initiator.begin_echoes(run)
        await self._carry(initiator, None)
        return initiator.key, run

    async def _carry(self, initiator: Initiator, moment: Moment | None) -> None:
        further = partial(self._data, initiator)
        await over_udp(
            self.context,
            initiator,
            L2TP_CONTROL,
            closing=initiator.close,
            moment=moment,
            further=further,
            admitted=OPENING_BYTES,
            whole=lambda: initiator.run.all_answered,
        )

    async def _data(self, initiator: Initiator, driver: Driver) -> None:
        """Until both ends' requests are answered, or nothing comes any more."""
        if initiator.in_call:
            await driver.wait(SessionOver(self.context, initiator, REQUESTS, stream=False))
            if not isinstance(initiator.run, TrainRun):
                await self.behind_its_end(initiator, driver)


class Answered:
    """All that was asked so far is answered, the call has ended, or the time is over."""

    def __init__(self, initiator: Initiator, until_s: float) -> None:
        """`until_s`: on the network stack's clock."""
        self._initiator = initiator
        self._until_s = until_s

    def reached(self, now: float) -> bool:
        return self._initiator.run.all_answered or self._initiator.failed or now >= self._until_s - CLOCK_SLACK_S / 2

    def due(self) -> float:
        return self._until_s


class AnothersServer:
    """Tunnels with another program, whose pppd is heard in the first call that comes up."""

    def __init__(self, context: ProbeContext) -> None:
        self.context = context
        self._heard = False
        """Whether a call's data is looked at, or has been: one is enough."""
        self._ended = False
        """Whether a call had ended before its data could be looked at."""

    async def run(self) -> None:
        await until_sure(self.context, L2TP_CONTROL, self._attempt)
        if self._ended and not self._heard:
            self.context.skip(L2TP_DATA, ENDED, Direction.S2C)

    async def _attempt(self, moment: Moment) -> None:
        initiator = _initiator(self.context, 1)
        initiator.begin_echoes(EchoRun(0, 1, OUTER_BYTES[:1]))  # As any client's: until it is answered nothing rests on padding.
        further = partial(self._data, initiator)
        await over_udp(self.context, initiator, L2TP_CONTROL, closing=initiator.close, moment=moment, further=further)

    async def _data(self, initiator: Initiator, driver: Driver) -> None:
        self._ended |= initiator.failed
        if self._heard or not initiator.in_call:
            return
        self._heard = True
        context = self.context
        await self._hear_pppd(initiator, driver)
        if not initiator.requests_answered and not initiator.run.all_answered and not await self._speaks():
            context.skip(L2TP_DATA, ENDED if initiator.failed else NOT_A_WORD, Direction.S2C)
            return
        await self._ask(initiator, driver, in_turn(OUTER_BYTES[1:], FIRST_TRIALS - 1, slow=context.line.slow), beside=False)
        await driver.wait(Answered(initiator, context.stack.now() + context.settle_s))
        for _ in range(MOST_ROUNDS if context.peer is not None else 0):
            more = max([await context.needed(L2TP_DATA, way) for way in WAYS])
            if not more or initiator.failed:
                return
            await self._ask(initiator, driver, in_doubt(context, L2TP_DATA, Direction.C2S, more), beside=True)

    async def _hear_pppd(self, initiator: Initiator, driver: Driver) -> None:
        """Repeats the first request until it is answered, the call ends, or the time that a pppd takes to start is over."""
        stack = self.context.stack
        deadline = stack.now() + PPPD_STARTS_S
        while not (initiator.run.all_answered or initiator.failed) and stack.now() < deadline:
            await driver.wait(Answered(initiator, stack.now() + LISTENING_S))
            if not initiator.run.all_answered:
                driver.say(initiator.ask_again)

    async def _speaks(self) -> bool:
        """Whether the server's wire shows that its pppd has said anything, though nothing came."""
        await self.context.sync()
        counted = self.context.judge().packet_counts.get(L2TP_DATA)
        return counted is not None and bool(counted.total(Direction.S2C).sent)

    async def _ask(self, initiator: Initiator, driver: Driver, sizes: Sequence[int], *, beside: bool) -> None:
        """Fresh requests in these sizes, one after another, or, `beside`, one in each of as many blocks."""

        def one_more(size: int) -> None:
            initiator.run.one_more(self.context.stack.now(), size or OUTER_BYTES[0])
            driver.say(initiator.send_due_echo)

        await self.context.trials(ready_in(self.context, sizes, one_more), len(sizes), beside)
