"""Whole OpenVPN sessions with the server agent: reset, TLS, keys, and data both ways, in one wrap on one port.

Each attempt is a fresh session. One that comes to its end is enough; where something is missing, further ones follow until it is shown
not to pass, spread in time as all trials are. A session ends when both ends' echo requests are answered, or when nothing comes any more.
"""

import asyncio
from typing import Final

from vpnprobe import __version__
from vpnprobe.conversations.openvpn_ends import Client, ClientOffer
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session import Stage
from vpnprobe.conversations.openvpn_session_keys import SessionKeys
from vpnprobe.conversations.openvpn_tls import certificate_fingerprint, client_context
from vpnprobe.endpoint.driver import CLOCK_SLACK_S
from vpnprobe.evidence.checks import openvpn_data, openvpn_handshake, openvpn_reset
from vpnprobe.evidence.judge import rows_of
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.packet_counts import session_part
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.statistics import LEAST_TRIALS, MOST_TRIALS
from vpnprobe.observations.schema import Direction, Outcome, Transport
from vpnprobe.probes.context import ProbeContext, WantedPort, missing
from vpnprobe.probes.conversing import GAP_S, connected, over_stream, over_udp, still_needed
from vpnprobe.transports.stack import ConnectError
from vpnprobe.wire.openvpn_wrap import Wrap

ECHOES: Final = 6
"""Echo requests of each end in a session: one of each size."""
LONG_RUN: Final = 102
"""Those of the client where the port is to be relied on: some networks cut after a number of packets."""
CONNECT_DEADLINE_S: Final = 8.0
RETRANSMIT_LEAST_S: Final = 0.15
STALLED_S: Final = 1.2
"""Nothing comes for so long: then a session that had begun ends."""
MOST_SESSIONS: Final = 24
SESSION_DEADLINE_S: Final = 20.0
MOST_STALLED_S: Final = 6.0


class SessionOver:
    """A session is over: both ends' echo requests are answered, it has failed, or nothing comes any more."""

    def __init__(self, context: ProbeContext, client: Client, server_echoes: int) -> None:
        self._client = client
        self._settle_s = context.settle_s
        self._server_echoes = server_echoes
        self._began = self._heard = context.stack.now()
        self._bytes = 0

    def reached(self, now: float) -> bool:
        client = self._client
        if client.bytes_received != self._bytes:
            self._bytes, self._heard = client.bytes_received, now
        if client.failure is not None or (client.run.all_answered and client.requests_answered >= self._server_echoes):
            return True
        return now >= self.due() - CLOCK_SLACK_S / 2

    def due(self) -> float:
        return min(self._heard + self._patience_s(), self._began + SESSION_DEADLINE_S)

    def _patience_s(self) -> float:
        """How long nothing may come: little where all is sent and only answers are out."""
        if self._client.run.all_sent and not self._client.stream:
            return 2 * self._settle_s
        if self._client.stage < Stage.ANSWERED and not self._client.stream:
            return max(2 * RETRANSMIT_LEAST_S, 3 * self._settle_s)
        return min(MOST_STALLED_S, max(STALLED_S, 8 * self._settle_s))


class OpenvpnSessions:
    """The sessions on one port, in one wrap."""

    def __init__(self, context: ProbeContext, session_keys: SessionKeys, wanted: WantedPort, wrap: Wrap = Wrap.NONE) -> None:
        form = "" if wrap is Wrap.NONE else wrap.value
        self.wanted = wanted
        self.wrap = wrap
        self.reset = openvpn_reset(wanted.transport, wanted.port, form)
        self.handshake = openvpn_handshake(wanted.transport, wanted.port, form)
        self.data = openvpn_data(wanted.transport, wanted.port, form)
        self._context = context
        self._session_keys = session_keys
        self._tls_context = client_context(ca_pem=None, identity=session_keys.identity)
        self._made = 0

    async def run(self, *, echoes: int = ECHOES) -> None:
        """Sessions until it is sure what passes."""
        more, gap_s = 1, GAP_S
        while more > 0:
            await self._attempts(more, gap_s, echoes)
            await self._context.sync()
            judgement = self._context.judge()
            more = min(self._more(judgement), MOST_SESSIONS - self._made)
            if self.wanted.transport is Transport.UDP and self.data in judgement.packet_counts:
                echoes = min(echoes, ECHOES)  # One long run is enough: what is still to be shown takes sessions, and each packet counts.
            gap_s = max(GAP_S, 1.0 / more) if more > 1 else GAP_S

    def passes(self, judgement: Judge) -> bool:
        """Whether data went both ways, and to the end."""
        found = [row.direction for row in rows_of(judgement, self.data) if row.outcome in (Outcome.PASS, Outcome.DEGRADED)]
        return {Direction.C2S, Direction.S2C} <= set(found)

    async def _attempts(self, count: int, gap_s: float, echoes: int) -> None:
        running: list[asyncio.Task[None]] = []
        try:
            for number in range(count):
                if number:
                    await asyncio.sleep(gap_s)
                self._made += 1
                attempt = self._over_udp(echoes) if self.wanted.transport is Transport.UDP else self._over_tcp(echoes)
                running.append(asyncio.get_running_loop().create_task(attempt))
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _client(self, echoes: int) -> Client:
        context = self._context
        pinned = self._session_keys.server.identity.fingerprint

        def check(certificate: bytes) -> Failure | None:
            fits = certificate_fingerprint(certificate) == pinned
            return None if fits else Failure(FailureCode.CERTIFICATE_WRONG_FINGERPRINT)

        client = Client(
            session_id=context.nonces.conversation(),
            stream=self.wanted.transport is Transport.TCP,
            wrapping=self._session_keys.wrapping(self.wrap),
            context=self._tls_context,
            entropy=context.stack.entropy,
            unix_time_at_zero=context.stack.unix_time() - context.stack.now(),
            offer=ClientOffer(program=f"vpnprobe {__version__}", echoes=echoes, check_certificate=check),
            retransmit_after_s=max(RETRANSMIT_LEAST_S, 1.5 * context.settle_s),
        )
        client.short_replies = True
        return client

    async def _over_udp(self, echoes: int) -> None:
        client = self._client(echoes)
        over = SessionOver(self._context, client, ECHOES)
        await over_udp(self._context, client, self.reset, until=lambda _: over, closing=client.goodbye)

    async def _over_tcp(self, echoes: int) -> None:
        try:
            stream = await connected(self._context, self.reset, deadline_s=self._context.connect_s(CONNECT_DEADLINE_S))
        except ConnectError:
            return
        client = self._client(echoes)
        over = SessionOver(self._context, client, ECHOES)
        await over_stream(self._context, client, self.reset, stream, lambda _: over)

    def _more(self, judgement: Judge) -> int:
        """How many further sessions it takes; 0: enough."""
        for check in (self.reset, self.handshake):
            if not any(row.outcome is Outcome.PASS for row in rows_of(judgement, check)):
                return still_needed(self._context, check, self._made)
        return max(self._more_data(judgement, way) for way in (Direction.C2S, Direction.S2C))

    def _more_data(self, judgement: Judge, way: Direction) -> int:
        counted = judgement.packet_counts.get(self.data)
        count = counted.total(way) if counted is not None else None
        if count is None or not count.sent or not judgement.would_have_recorded(self.data, way):
            return 0
        if self.wanted.transport is Transport.TCP:
            sessions = {session_part(key) for key in count.sent}
            lost = {session_part(key) for key in count.sent.keys() - count.received.keys()}
            wanted = min(max(judgement.loss[way].trials_needed(), LEAST_TRIALS), MOST_TRIALS)
            return max(0, wanted - len(sessions)) if lost == sessions else 0
        if not count.received:
            return -(-missing(judgement.loss[way], count) // ECHOES)
        return self._more_of_a_size(judgement, way)

    def _more_of_a_size(self, judgement: Judge, way: Direction) -> int:
        """Sessions that it takes to tell whether packets above some size are lost by chance."""
        counted = judgement.packet_counts[self.data].total(way)
        largest = max((counted.sizes.get(key, 0) for key in counted.received), default=0)
        above = sum(1 for key in counted.sent if counted.sizes.get(key, 0) > largest)
        if not above:
            return 0
        wanted = min(max(judgement.loss[way].trials_needed(), LEAST_TRIALS), MOST_TRIALS)
        return max(0, wanted - above)


def checks_of(wanted: WantedPort) -> tuple[Check, Check]:
    """Handshake and data of a port, plain."""
    return openvpn_handshake(*wanted), openvpn_data(*wanted)
