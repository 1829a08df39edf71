"""openvpn: whole sessions with the server agent on each candidate port, over UDP and TCP; resets alone where another program answers.

Plain first. The wraps follow on the preferred port, and on others where plain does not pass though the port does: tls-crypt-v2 begins with
another opcode, and both hide what TLS shows. Few resets per port: a 2.6 server answers at most 100 first packets in 10 s, one that wants
its control channel wrapped stays silent over UDP and closes a TCP connection at once.
"""

from collections.abc import Sequence
from typing import Final

from vpnprobe.conversations.openvpn_reset import Initiator
from vpnprobe.conversations.openvpn_session_keys import WRAPS, SessionKeys
from vpnprobe.conversations.registry import protocol_named
from vpnprobe.endpoint.driver import GoalWithin
from vpnprobe.evidence.checks import openvpn_reset, tcp_reach, udp_reach
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import ProbeContext, gather_all
from vpnprobe.probes.conversing import Attempt, Moment, connected, over_stream, over_udp, until_sure
from vpnprobe.probes.openvpn_profile_test import ProfileProbe, ProfileTest
from vpnprobe.probes.openvpn_sessions import OpenvpnSessions, checks_of
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.probes.tunnel_sessions import ECHOES, LONG_RUN, elsewhere, tried, within_the_line

CONNECT_DEADLINE_S: Final = 8.0
MOST_WRAPPED: Final = 3
"""Ports of one transport on which wraps are tried: what looks into sessions looks into them on any port."""
PROTOCOL: Final = "openvpn"
SPEC: Final = protocol_named(PROTOCOL)


def _port_passes(judgement: Judge, wanted: WantedPort) -> bool:
    """Whether anything at all came through to this port."""
    reach = tcp_reach(wanted.port) if wanted.transport is Transport.TCP else udp_reach(wanted.port)
    counted = judgement.packet_counts.get(reach)
    return counted is not None and bool(counted.total(Direction.C2S).received)


def _profile_test(context: ProbeContext) -> ProfileTest | None:
    """The existing OpenVPN server that is tried; None: none is."""
    existing = context.settings.existing
    return existing if isinstance(existing, ProfileTest) else None


class OpenvpnProbe:
    """The probe `openvpn`."""

    name: Final = "openvpn"

    def ports(self, settings: Settings) -> list[WantedPort]:
        return self._candidates(settings)

    def _candidates(self, settings: Settings) -> list[WantedPort]:
        if settings.only_existing:
            return []
        found = [
            WantedPort(transport, port) for transport in (Transport.UDP, Transport.TCP) for port in settings.candidates(SPEC, transport)
        ]
        return sorted(found, key=lambda wanted: settings.candidates(SPEC, Transport.UDP).index(wanted.port))

    async def run(self, context: ProbeContext) -> None:
        profile_test = _profile_test(context)
        await gather_all(
            [self._run_candidates(context), *([ProfileProbe(context, profile_test).run()] if profile_test is not None else [])]
        )

    async def _run_candidates(self, context: ProbeContext) -> None:
        profile_test, session_keys = _profile_test(context), context.keys.get(PROTOCOL)
        assert session_keys is None or isinstance(session_keys, SessionKeys)
        tried = {WantedPort(remote.transport, remote.port) for remote in profile_test.remotes} if profile_test is not None else set()
        # Where the profile's own server listens its own keys tell everything that a bare reset could.
        ports = [w for w in self._candidates(context.settings) if w not in tried or context.port_state(*w) is not PortState.DAEMON]
        ours = [w for w in ports if session_keys is not None and context.port_state(*w) is PortState.OURS]
        await gather_all([self._resets(context, wanted) for wanted in ports if wanted not in ours])
        if session_keys is not None:
            by_transport = [[w for w in ours if w.transport is t] for t in (Transport.UDP, Transport.TCP)]
            await gather_all([self._sessions(context, session_keys, some) for some in by_transport if some])

    async def _sessions(self, context: ProbeContext, session_keys: SessionKeys, ports: list[WantedPort]) -> None:
        """All ports of one transport, at least one, in the order of preference."""
        plain = await within_the_line(context, [OpenvpnSessions(context, session_keys, wanted) for wanted in ports])

        async def wrapped(wanted: Sequence[WantedPort], echoes: int) -> None:
            await gather_all([OpenvpnSessions(context, session_keys, one, wrap).run(echoes=echoes) for one in wanted for wrap in WRAPS])

        async def wrapped_first(passes: bool) -> None:
            # Where plain passes a wrap is a choice; where it does not, the wrap has to prove as much.
            await wrapped([plain[0].wanted], ECHOES if passes else LONG_RUN)

        judgement, passing = await tried(context, plain, beside_others=wrapped_first)
        other = elsewhere(context, plain[0].wanted.transport, ports) if not passing else None
        if other is not None:
            plain.append(OpenvpnSessions(context, session_keys, other))
            judgement, passing = await tried(context, plain[-1:])
        for sessions in plain:
            if sessions.reset not in judgement.packet_counts:
                context.skip(sessions.reset, context.unconnected(sessions.wanted.port))
        failing = [s.wanted for s in plain[1:] if s not in passing and _port_passes(judgement, s.wanted)]
        await wrapped(failing[: MOST_WRAPPED - 1], ECHOES if plain[0] in passing else LONG_RUN)

    async def _resets(self, context: ProbeContext, wanted: WantedPort) -> None:
        """Resets alone: nobody at the other end has keys that fit ours."""
        handshake, data = checks_of(wanted)
        another = context.port_state(*wanted) is PortState.DAEMON
        why = "another program answers there: its own profile tells more (--profile FILE.ovpn)" if another else context.lacks_keys(PROTOCOL)
        context.skip(handshake, why)
        context.skip(data, why, Direction.C2S, Direction.S2C)
        await self._port(context, wanted)

    async def _port(self, context: ProbeContext, wanted: WantedPort) -> None:
        check = openvpn_reset(wanted.transport, wanted.port)
        attempt = self._over_udp if wanted.transport is Transport.UDP else self._over_tcp
        await until_sure(context, check, attempt(context, check))
        if check not in context.judge().packet_counts:
            context.skip(check, context.unconnected(wanted.port))

    def _over_udp(self, context: ProbeContext, check: Check) -> Attempt:
        async def attempt(moment: Moment) -> None:
            conversation = Initiator(session_id=context.nonces.conversation(), stream=False)
            await over_udp(context, conversation, check, moment=moment)

        return attempt

    def _over_tcp(self, context: ProbeContext, check: Check) -> Attempt:
        async def attempt(moment: Moment) -> None:
            stream = await connected(context, check, deadline_s=context.connect_s(CONNECT_DEADLINE_S))
            conversation = Initiator(session_id=context.nonces.conversation(), stream=True)
            within_s = context.answer_s
            await over_stream(
                context,
                conversation,
                check,
                stream,
                lambda driver: GoalWithin(driver, check.name, context.stack.now(), within_s),
                moment=moment,
            )

        return attempt
