"""Whole OpenVPN sessions with the server agent: reset, TLS, keys, and data both ways, in one wrap on one port."""

import ssl
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import count
from typing import Final

from vpnprobe import __version__
from vpnprobe.conversations.echo_trains import Place, TrainRun
from vpnprobe.conversations.openvpn_ends import Client, ClientOffer
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session_keys import SessionKeys
from vpnprobe.conversations.openvpn_tls import Identity, certificate_fingerprint, client_context
from vpnprobe.conversations.tunnel_echo import STREAM_TURNS
from vpnprobe.endpoint.driver import Driver
from vpnprobe.evidence.checks import openvpn_data, openvpn_handshake, openvpn_reset
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.conversing import Moment, connected, over_stream, over_udp
from vpnprobe.probes.settings import WantedPort
from vpnprobe.probes.tunnel_sessions import ECHOES, RETRANSMIT_LEAST_S, SessionOver, TunnelSessions
from vpnprobe.transports.stack import ConnectError
from vpnprobe.wire.openvpn_wrap import Wrap

CONNECT_DEADLINE_S: Final = 8.0
OPENING_BYTES: Final = 3000
"""Of reset, TLS and key exchange, one way."""


class OpenvpnSessions(TunnelSessions):
    """The sessions on one port, in one wrap."""

    def __init__(self, context: ProbeContext, session_keys: SessionKeys, wanted: WantedPort, wrap: Wrap = Wrap.NONE) -> None:
        form = "" if wrap is Wrap.NONE else wrap.value
        self.wrap = wrap
        self.reset = openvpn_reset(wanted.transport, wanted.port, form)
        handshake, data = openvpn_handshake(wanted.transport, wanted.port, form), openvpn_data(wanted.transport, wanted.port, form)
        super().__init__(context, wanted, (self.reset, handshake), data, OPENING_BYTES)
        self._session_keys = session_keys
        self._streams = count()
        """Sessions over TCP so far."""
        self._tls_context = _context_of(session_keys.identity)

    async def session(self, echoes: int, moment: Moment) -> None:
        await (self._over_udp(echoes, moment) if self.wanted.transport is Transport.UDP else self._over_tcp(echoes, moment))

    def _client(self, echoes: int) -> Client:
        context = self.context
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
            retransmit_after_s=max(RETRANSMIT_LEAST_S, 1.5 * context.settle_s) + context.line.takes_s(OPENING_BYTES),
        )
        client.short_replies = True
        if client.stream:
            client.run.turn = STREAM_TURNS[next(self._streams) % len(STREAM_TURNS)]
        self.at_the_lines_pace(client)
        return client

    async def _over_udp(self, echoes: int, moment: Moment) -> None:
        client = self._client(echoes)
        further = partial(self.behind_its_end, client)
        over, goodbye = self._over(client), client.goodbye
        await over_udp(
            self.context,
            client,
            self.reset,
            until=over,
            closing=goodbye,
            moment=moment,
            further=further,
            admitted=OPENING_BYTES,
            whole=lambda: client.run.all_answered,
        )

    async def in_trains(self, places: Sequence[Place]) -> tuple[str, TrainRun]:
        client = self._client(len(places))
        run = TrainRun(client.run.identifier, len(places), client.run.sizes, places=places)
        client.begin_echoes(run)
        await over_udp(self.context, client, self.reset, until=self._over(client), closing=client.goodbye)
        return client.key, run

    def _over(self, client: Client) -> Callable[[Driver], SessionOver]:
        return lambda _: SessionOver(self.context, client, ECHOES, stream=client.stream)

    async def _over_tcp(self, echoes: int, moment: Moment) -> None:
        try:
            stream = await connected(self.context, self.reset, deadline_s=self.context.connect_s(CONNECT_DEADLINE_S))
        except ConnectError:
            return
        client = self._client(echoes)
        await over_stream(self.context, client, self.reset, stream, self._over(client), moment=moment)


@lru_cache(maxsize=4)
def _context_of(identity: Identity) -> ssl.SSLContext:
    """One for all sessions of a run: loading a key takes longer than a handshake does."""
    return client_context(ca_pem=None, identity=identity)


def checks_of(wanted: WantedPort) -> tuple[Check, Check]:
    """Handshake and data of a port, plain."""
    return openvpn_handshake(*wanted), openvpn_data(*wanted)
