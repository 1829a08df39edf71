"""pptp/control, pptp/lcp and gre/passthrough in a call: a real PPTP call, as far as it gets without logging in.

The control connection on tcp/1723 is brought up and a call placed (RFC 2637); then LCP goes both ways in enhanced GRE, in several sizes,
with the call's own Call IDs, two different ones that are not zero, as a NAT without a PPTP helper has to be told from a filter. The call
stays up until the run ends, so that its packets can be traced.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.pptp import host_name
from vpnprobe.conversations.pptp_ends import Initiator
from vpnprobe.endpoint.driver import CLOCK_SLACK_S, GoalWithin, StreamDriver
from vpnprobe.endpoint.ppp_call import Call
from vpnprobe.endpoint.probe_packets import in_call
from vpnprobe.evidence.checks import GRE_IN_CALL, PPTP_CONTROL, PPTP_LCP
from vpnprobe.evidence.records import PortState
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import ProbeContext, SendTrials, gather_all
from vpnprobe.probes.conversing import Moment, connected, stream_driver, until_sure
from vpnprobe.probes.order import first_came
from vpnprobe.probes.peer import Job
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.probes.sizes import USUAL, ready_in, sizes_for
from vpnprobe.transports.stack import Datagram

PORT: Final = 1723
DEADLINE_S: Final = 8.0
PPPD_STARTS_S: Final = 2.0
"""A server starts its pppd once the call is up; that one's first Configure-Request comes soon after."""
ENDED: Final = "the server ended the call right after it had come up, before any GRE: its pppd may not start"
HANG_UP_S: Final = 1.0
"""For the server's word on the end of a call: without it the connection is closed all the same."""
LISTENING_S: Final = 0.2
"""Between requests to a pppd that has not been heard: each of its answers is a trial of the way back."""


class PptpProbe:
    """The probe `pptp`."""

    name: Final = "pptp"

    def ports(self, _: Settings) -> list[WantedPort]:
        return [WantedPort(Transport.TCP, PORT)]

    async def run(self, context: ProbeContext) -> None:
        calls = Calls(context)
        passing = asyncio.get_running_loop().create_task(self._pass_lcp(context, calls))
        try:
            await self._set_up(context, calls)
            await passing
        finally:
            passing.cancel()

    async def _set_up(self, context: ProbeContext, calls: "Calls") -> None:
        try:
            await until_sure(context, PPTP_CONTROL, calls.attempt)
            if PPTP_CONTROL not in context.judge().packet_counts:
                context.skip(PPTP_CONTROL, context.unconnected(PORT))
            if context.raw is not None:
                calls.take_late()
        finally:
            calls.settled.set()

    async def _pass_lcp(self, context: ProbeContext, calls: "Calls") -> None:
        await calls.settled.wait()
        if context.raw is None:
            context.skip(GRE_IN_CALL, context.no_raw, Direction.C2S, Direction.S2C)
        elif calls.call is None:
            context.skip(GRE_IN_CALL, "no PPTP call came up", Direction.C2S, Direction.S2C)
        else:
            await calls.pass_lcp(calls.call)


class Calls:
    """Attempts at a call; the first that comes up is kept."""

    def __init__(self, context: ProbeContext) -> None:
        self.context = context
        self.call: Call | None = None
        self.settled = asyncio.Event()
        """Set once there is a call, or it is known that there is none."""
        self._connection: _ControlConnection | None = None
        """The call's."""
        self._late: list[tuple[Initiator, _ControlConnection]] = []
        """Whose call had not come up in time: on a loaded machine it may have since."""

    async def attempt(self, moment: Moment) -> None:
        context = self.context
        name = host_name(context.nonces.conversation().hex())
        conversation = Initiator(name, 1 + int.from_bytes(context.stack.entropy(2), "big") % 0xFFFE)
        stream = await connected(context, PPTP_CONTROL, deadline_s=context.connect_s(DEADLINE_S))
        connection = _ControlConnection(context, conversation, stream_driver(context, conversation, PPTP_CONTROL, stream))
        context.keep(connection)
        context.farewells.append(connection.hang_up)
        with context.recorder.in_block(await moment()):
            connection.driver.start()
        await connection.driver.wait(GoalWithin(connection.driver, PPTP_CONTROL.name, context.stack.now(), context.answer_s))
        if connection.driver.ended:
            await connection.driver.finished()
        if self.call is not None:
            await connection.hang_up()  # Another attempt was faster; one call is enough.
        elif not conversation.reached(PPTP_CONTROL.name):
            self._late.append((conversation, connection))
        elif context.raw is not None:
            self._connection = connection
            self._up(conversation)

    def take_late(self) -> None:
        """Keeps a call that came up after its attempt was given up, where there is no other."""
        for conversation, connection in self._late:
            if self.call is None and conversation.reached(PPTP_CONTROL.name) and not connection.driver.ended:
                self._connection = connection
                self._up(conversation)

    def _up(self, conversation: Initiator) -> None:
        context = self.context
        assert context.raw is not None
        assert conversation.peer_call_id is not None
        call = Call(
            context.recorder,
            context.raw.gre,
            context.peer_address,
            Sender.INITIATOR,
            call_id=conversation.call_id,
            peer_call_id=conversation.peer_call_id,
        )

        def came(datagram: Datagram) -> None:
            call.received(datagram)

        context.gre_listeners.append(came)
        context.copies[GRE_IN_CALL] = partial(in_call, call)
        self.call = call
        self.settled.set()

    async def pass_lcp(self, call: Call) -> None:
        """Sends LCP both ways until it is sure whether it passes.

        To another program's pppd the first requests are small, as any client's: larger ones follow once it has acknowledged one.
        """
        context = self.context
        anothers = context.peer is None or context.port_state(Transport.TCP, PORT) is PortState.DAEMON

        async def send(count: int, beside: bool) -> None:
            small_alone = anothers and not beside and not call.acknowledged
            sizes = [USUAL] * count if small_alone else sizes_for(context, GRE_IN_CALL, Direction.C2S, count, beside=beside)
            await context.trials(ready_in(context, sizes, call.request), count, beside, one_flow=True)

        async def send_back(count: int, beside: bool) -> None:
            if context.peer is None:
                return
            # What another program's pppd sends is small, and so is what is sent beside it.
            sizes = [] if anothers else sizes_for(context, PPTP_LCP, Direction.S2C, count, beside=beside)
            await context.trials_back(Job.IN_CALL_GRE, count, beside, call_id=call.peer_call_id, sizes=sizes)

        forth = asyncio.get_running_loop().create_task(context.until_sure(GRE_IN_CALL, Direction.C2S, send))
        try:
            if anothers:
                await gather_all([forth, self._hear_pppd(call, send_back)])
                if call.acknowledged and not self.ended:
                    await context.until_sure(GRE_IN_CALL, Direction.C2S, send)
            elif not context.one_sided(GRE_IN_CALL, PPTP_LCP):
                # A server's pppd speaks by itself as soon as there is a call. So it need not wait until it is sure that nothing comes.
                lost = not await first_came(context, GRE_IN_CALL, forth, lost=LEAST_TRIALS)
                await context.first_traces.settled(Transport.GRE)
                await context.until_sure(PPTP_LCP, Direction.S2C, send_back, suspected=lost)
            await forth
        finally:
            forth.cancel()

    async def _hear_pppd(self, call: Call, send_back: SendTrials) -> None:
        """Waits for another program's pppd until it was heard and acknowledged us, or ends the call, or its time is over.

        Where the server's wire shows that it speaks and nothing of it comes, the server agent sends beside it in the same call: a pppd
        repeats itself every few seconds, too seldom to be sure by.
        """
        context = self.context
        deadline = context.stack.now() + PPPD_STARTS_S
        while not call.acknowledged and context.stack.now() < deadline:
            if self.ended:
                if not call.heard:
                    context.skip(PPTP_LCP, ENDED, Direction.S2C)
                    context.skip(GRE_IN_CALL, ENDED, Direction.S2C)
                return
            await asyncio.sleep(LISTENING_S)
            call.request()
            if context.peer is None or call.acknowledged:
                continue
            await context.sync()
            if not call.heard and self._seen(Direction.S2C, sent=True):
                await context.until_sure(PPTP_LCP, Direction.S2C, send_back)
                return
            observed = context.judge().would_have_recorded(PPTP_LCP, Direction.C2S)
            if call.heard and observed and not self._seen(Direction.C2S, sent=False):
                return  # Nothing of ours gets there, so there is nothing to acknowledge.
        if context.peer is not None and not call.heard:
            await context.until_sure(PPTP_LCP, Direction.S2C, send_back)  # It has not said a word: what would become of one?

    def _seen(self, way: Direction, *, sent: bool) -> bool:
        """Whether any of the call's LCP is known to have left, or to have come."""
        counted = self.context.judge().packet_counts.get(PPTP_LCP)
        if counted is None:
            return False
        count = counted.total(way)
        return bool(count.sent if sent else count.received)

    @property
    def ended(self) -> bool:
        """Whether the server closed the control connection of the call, and the call with it."""
        return self._connection is not None and self._connection.driver.ended


class _HungUp:
    """The server has answered that the control connection ends, or the time for it is over."""

    def __init__(self, conversation: Initiator, until_s: float) -> None:
        """`until_s`: on the network stack's clock."""
        self._conversation = conversation
        self._until_s = until_s

    def reached(self, now: float) -> bool:
        return self._conversation.finished or now >= self._until_s - CLOCK_SLACK_S / 2

    def due(self) -> float:
        return self._until_s


@dataclass(frozen=True, slots=True)
class _ControlConnection:
    """What must go when the run ends."""

    context: ProbeContext
    conversation: Initiator
    driver: StreamDriver

    async def hang_up(self) -> None:
        """Clears the call and ends the control connection, and waits HANG_UP_S at most for the server's word on it."""
        driver, stack = self.driver, self.context.stack
        if driver.ended or not self.conversation.answered:
            return
        driver.say(self.conversation.hang_up)
        await driver.wait(_HungUp(self.conversation, stack.now() + min(HANG_UP_S, self.context.answer_s())))
        if self.conversation.finished or driver.ended:
            driver.close()
            await driver.stream.close()

    def close(self) -> None:
        self.driver.close()
        self.driver.stream.abort()
