"""wireguard: whole tunnels with the server agent on each candidate port, handshake and then data both ways.

WireGuard answers nobody whose key it does not know: where another program has the port, initiations alone are sent, which the server
agent sees arrive on the wire. Without an agent nothing can be asked of it but with a profile of its own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, assert_never

from vpnprobe.conversations.echo_trains import Place, TrainRun
from vpnprobe.conversations.registry import protocol_named
from vpnprobe.conversations.wireguard_ends import Initiator
from vpnprobe.conversations.wireguard_run_keys import ECHOES as SERVER_ECHOES
from vpnprobe.conversations.wireguard_run_keys import RunKeys
from vpnprobe.endpoint.driver import Driver
from vpnprobe.evidence.checks import wireguard_data, wireguard_handshake
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import ProbeContext, gather_all
from vpnprobe.probes.conversing import Moment, over_udp
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.probes.tunnel_sessions import SessionOver, TunnelSessions, elsewhere, tried, within_the_line
from vpnprobe.probes.wireguard_profile_test import WireguardProfileTest

SPEC: Final = protocol_named("wireguard")
OPENING_BYTES: Final = 200
"""Of an initiation, on the line."""
FIRST_ANSWER_S: Final = 1.0
"""How long a response may take that a queue delays beyond the round trip of the control channel."""
SILENT_TO_STRANGERS: Final = (
    "another program has the port, and WireGuard answers nobody whose key it does not know: its own profile tells more (--profile FILE)"
)


class WireguardSessions(TunnelSessions):
    """The tunnels on one port."""

    def __init__(self, context: ProbeContext, keys: RunKeys, port: int) -> None:
        self._handshake = wireguard_handshake(port)
        super().__init__(context, WantedPort(Transport.UDP, port), (self._handshake,), wireguard_data(port), OPENING_BYTES)
        self._keys = keys

    async def session(self, echoes: int, moment: Moment) -> None:
        initiator = self._initiator(echoes)
        self.at_the_lines_pace(initiator)
        # Nothing is repeated within a session: only the answer to the last initiation could be read, and fresh sessions are the trials.
        further = partial(self.behind_its_end, initiator)
        over = self._over(initiator)
        await over_udp(
            self.context,
            initiator,
            self._handshake,
            until=over,
            moment=moment,
            further=further,
            admitted=OPENING_BYTES,
            whole=lambda: initiator.run.all_answered,
        )

    async def in_trains(self, places: Sequence[Place]) -> tuple[str, TrainRun]:
        initiator = self._initiator(len(places))
        run = TrainRun(initiator.run.identifier, len(places), initiator.run.sizes, places=places)
        initiator.begin_echoes(run)
        await over_udp(self.context, initiator, self._handshake, until=self._over(initiator))
        return initiator.key, run

    def _over(self, initiator: Initiator) -> Callable[[Driver], SessionOver]:
        return lambda _: SessionOver(self.context, initiator, SERVER_ECHOES, stream=False, first_answer_s=FIRST_ANSWER_S)

    def _initiator(self, echoes: int) -> Initiator:
        context = self.context
        initiator = Initiator(
            self._keys.identity,
            index=context.nonces.conversation(SPEC.identifier_bytes),
            entropy=context.stack.entropy,
            unix_time_at_zero=context.stack.unix_time() - context.stack.now(),
            echoes=echoes,
        )
        initiator.short_replies = True
        return initiator


class WireguardProbe:
    """The probe `wireguard`."""

    name: Final = "wireguard"

    def ports(self, settings: Settings) -> list[WantedPort]:
        if settings.only_existing:
            return []
        return [WantedPort(Transport.UDP, port) for port in settings.candidates(SPEC, Transport.UDP)]

    async def run(self, context: ProbeContext) -> None:
        existing = context.settings.existing
        trials = [existing.run(context)] if isinstance(existing, WireguardProfileTest) else []
        await gather_all([self._candidates(context), *trials])

    async def _candidates(self, context: ProbeContext) -> None:
        keys = context.keys.get(SPEC.name)
        assert keys is None or isinstance(keys, RunKeys)
        ours: list[WireguardSessions] = []
        watched: list[WireguardSessions] = []
        for wanted in self.ports(context.settings):
            state = context.port_state(*wanted)
            if keys is not None and state is PortState.OURS:
                ours.append(WireguardSessions(context, keys, wanted.port))
                continue
            why = _why_not(context, state)
            context.skip(wireguard_data(wanted.port), why, Direction.C2S, Direction.S2C)
            if keys is not None and state is PortState.DAEMON and context.server_record.sees_closed_ports:
                watched.append(WireguardSessions(context, keys, wanted.port))
            else:
                context.skip(wireguard_handshake(wanted.port), why)
        await gather_all([self._initiations(sessions) for sessions in watched])
        if not ours or keys is None:
            return
        _, passing = await tried(context, await within_the_line(context, ours))
        if passing:
            return
        own = self.ports(context.settings)
        if (other := elsewhere(context, Transport.UDP, own)) is not None:
            _, passing = await tried(context, [WireguardSessions(context, keys, other.port)])
        if not passing:
            self._tell_not_tried(context, own)

    @staticmethod
    def _tell_not_tried(context: ProbeContext, own: Sequence[WantedPort]) -> None:
        """It lives on any port: where it works on none, one that could not be tried may be the one that passes."""
        for port in context.settings.candidates_over(Transport.UDP):
            wanted = WantedPort(Transport.UDP, port)
            state = context.port_state(*wanted)
            if wanted not in own and state is not PortState.OURS:
                context.skip(wireguard_handshake(port), _why_not(context, state))

    async def _initiations(self, sessions: WireguardSessions) -> None:
        """Initiations that the program there does not answer: whether they arrive shows on the server's wire."""

        async def send(count: int, beside: bool) -> None:
            await sessions.attempts(count, 0, beside=beside)

        await sessions.context.until_sure(sessions.steps[0], Direction.C2S, send)


def _why_not(context: ProbeContext, state: PortState) -> str:
    """Why no tunnel is tried on a port in that state."""
    match state:
        case PortState.DAEMON:
            return SILENT_TO_STRANGERS
        case PortState.CLOSED:
            return "the server agent may not open this port"
        case PortState.OURS | PortState.UNKNOWN:
            return context.lacks_keys(SPEC.name)
        case _:
            assert_never(state)
