"""wireguard: whole tunnels with the server agent on each candidate port, handshake and then data both ways.

WireGuard answers nobody whose key it does not know: where another program has the port, or without an agent, nothing can be asked of it
without a profile of its own.
"""

from typing import Final

from vpnprobe.conversations.registry import protocol_named
from vpnprobe.conversations.wireguard_ends import Initiator
from vpnprobe.conversations.wireguard_run_keys import ECHOES as SERVER_ECHOES
from vpnprobe.conversations.wireguard_run_keys import RunKeys
from vpnprobe.evidence.checks import wireguard_data, wireguard_handshake
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.conversing import over_udp
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.probes.tunnel_sessions import SessionOver, TunnelSessions, tried

SPEC: Final = protocol_named("wireguard")
FIRST_ANSWER_S: Final = 1.0
"""How long a response may take that a queue delays beyond the round trip of the control channel."""
SILENT_TO_STRANGERS: Final = "another program has the port, and WireGuard answers nobody whose key it does not know"


class WireguardSessions(TunnelSessions):
    """The tunnels on one port."""

    def __init__(self, context: ProbeContext, keys: RunKeys, port: int) -> None:
        self._handshake = wireguard_handshake(port)
        super().__init__(context, WantedPort(Transport.UDP, port), (self._handshake,), wireguard_data(port))
        self._keys = keys

    async def session(self, echoes: int) -> None:
        context = self.context
        initiator = Initiator(
            self._keys.identity,
            index=context.nonces.conversation(SPEC.identifier_bytes),
            entropy=context.stack.entropy,
            unix_time_at_zero=context.stack.unix_time() - context.stack.now(),
            echoes=echoes,
        )
        initiator.short_replies = True
        # Nothing is repeated within a session: only the answer to the last initiation could be read, and fresh sessions are the trials.
        over = SessionOver(context, initiator, SERVER_ECHOES, stream=False, first_answer_s=FIRST_ANSWER_S)
        await over_udp(context, initiator, self._handshake, until=lambda _: over)


class WireguardProbe:
    """The probe `wireguard`."""

    name: Final = "wireguard"

    def ports(self, settings: Settings) -> list[WantedPort]:
        return [WantedPort(Transport.UDP, port) for port in settings.candidates(SPEC)]

    async def run(self, context: ProbeContext) -> None:
        keys, ports = context.keys.get(SPEC.name), self.ports(context.settings)
        assert keys is None or isinstance(keys, RunKeys)
        ours = [] if keys is None else [wanted for wanted in ports if context.port_state(*wanted) is PortState.OURS]
        for wanted in ports:
            if wanted not in ours:
                _skip(context, wanted)
        if keys is not None and ours:
            await tried(context, [WireguardSessions(context, keys, wanted.port) for wanted in ours])


def _skip(context: ProbeContext, wanted: WantedPort) -> None:
    match context.port_state(*wanted):
        case PortState.DAEMON:
            why = SILENT_TO_STRANGERS
        case PortState.CLOSED:
            why = "the server agent may not open this port"
        case _:
            why = context.lacks_keys(SPEC.name)
    context.skip(wireguard_handshake(wanted.port), why)
    context.skip(wireguard_data(wanted.port), why, Direction.C2S, Direction.S2C)
