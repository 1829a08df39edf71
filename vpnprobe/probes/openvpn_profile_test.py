"""An existing OpenVPN server, tried with the user's own profile: how far a session gets, and the name of what stops it.

Each remote of the profile is tried: its name is resolved, a whole session is begun, and echo requests of several sizes go to the server's
address in the tunnel. The server is another program, so nobody but its answers tells what came there. What fails is told by name
(`NamedFailure`), beside the observations of the same checks that every other OpenVPN session has.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from vpnprobe import __version__
from vpnprobe.conversations.openvpn_ends import Client, ClientOffer
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session import Stage, Wrapping
from vpnprobe.endpoint.driver import Until
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.errors import CannotRun
from vpnprobe.evidence.checks import openvpn_data, openvpn_handshake, openvpn_reset
from vpnprobe.evidence.named_failures import PORT_REFUSED, UNREACHABLE, NamedFailure
from vpnprobe.evidence.packet_records import Check, Vantage
from vpnprobe.evidence.records import Refusal, RefusalKind
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.conversing import connected, over_stream, over_udp
from vpnprobe.probes.existing_server import (
    ECHOES,
    MOST_REMOTES,
    REFUSED_PATIENCE_S,
    TAIL_S,
    RemoteSessionOver,
    RemoteTest,
    form_of,
    in_turn,
)
from vpnprobe.probes.openvpn_findings import CLOSED_AT, client_certificate_failure, data_failure, told_of
from vpnprobe.probes.settings import Resolve
from vpnprobe.profiles.model import Profile, Remote
from vpnprobe.profiles.verification import certificate_check, tls_context
from vpnprobe.transports.stack import ConnectError, ConnectFailure
from vpnprobe.wire.ciphers import lacking
from vpnprobe.wire.openvpn_keys import ClientKeyV2, KeyDirection, StaticKey
from vpnprobe.wire.openvpn_wrap import Wrap

RESET_PATIENCE_S: Final = 4.0
"""The reset is sent four times by then."""
PATIENCE_S: Final = 8.0
"""Silence after which a session that had begun is given up: its packets were repeated several times by then."""
PING_PATIENCE_S: Final = 12.0
"""How long a server's own keep-alive is waited for where no echo comes back."""
CONNECT_DEADLINE_S: Final = 8.0
TLS_AUTH_DIGESTS: Final = ("SHA1", "SHA256", "SHA512")
RETRANSMIT_AFTER_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ProfileTest:
    """What is tried."""

    PROBE: ClassVar[str] = "openvpn"

    profile: Profile
    resolve: Resolve
    username: str = ""
    password: str = field(default="", repr=False)
    passphrase: str | None = field(default=None, repr=False)
    """Of the private key."""
    echoes: int = ECHOES

    @property
    def file(self) -> str:
        return self.profile.file

    @property
    def probe(self) -> str:
        return self.PROBE

    @property
    def protocols(self) -> tuple[str, ...]:
        return tuple(f"{self.PROBE}-{remote.transport}" for remote in self.remotes)

    @property
    def remotes(self) -> tuple[Remote, ...]:
        return self.profile.remotes[:MOST_REMOTES]

    def tls_context(self) -> ssl.SSLContext:
        """Raises ProfileError."""
        return tls_context(self.profile, passphrase=self.passphrase)


class ProfileProbe:
    """Tries one profile's remotes."""

    def __init__(self, context: ProbeContext, profile_test: ProfileTest) -> None:
        self._context = context
        self._profile_test = profile_test
        self._tls_context = profile_test.tls_context()
        # What the ciphers load must not be loaded between two packets, whose times are told.
        lacking()

    async def run(self) -> None:
        """Never raises for what the network or the server does."""
        remotes = enumerate(self._profile_test.remotes)
        await in_turn([OpenvpnRemote(self._context, self._profile_test, self._tls_context, remote, form_of(n)) for n, remote in remotes])


class OpenvpnRemote(RemoteTest):
    """One remote. All of a profile have its identity."""

    def __init__(self, context: ProbeContext, profile_test: ProfileTest, tls_context: ssl.SSLContext, remote: Remote, form: str) -> None:
        self.reset = openvpn_reset(remote.transport, remote.port, form)
        self.handshake = openvpn_handshake(remote.transport, remote.port, form)
        super().__init__(context, profile_test, remote, (self.reset, self.handshake), openvpn_data(remote.transport, remote.port, form))
        self._profile_test = profile_test
        self._tls_context = tls_context
        self._remote = remote  # With its wrapping.
        self._not_begun: tuple[str, str] | None = None
        """By name, why no session could be begun, and what there is to say of it; None: one could."""

    def not_to_be_tried(self) -> bool:
        if not self._profile_test.profile.credentials.static_challenge:
            return False
        self.name(self.handshake, FailureCode.CHALLENGE_WANTED, "the profile has a static-challenge")
        self.context.skip(self.reset, "a login without the second factor would count as a failed one")
        return True

    async def attempt(self) -> bool:
        self._not_begun = None
        self._client = client = self._new_client(self._tls_context)
        try:
            await self._converse(client)
        except (CannotRun, OSError) as error:
            self._not_begun = UNREACHABLE, str(error)
        return client.stage >= Stage.ANSWERED

    async def conclude(self) -> None:
        if self._not_begun is not None:
            self.name(self._reached(), *self._not_begun)
            return
        client, failure = self._client, self._client.stalled()
        if failure is not None and failure.code is FailureCode.CLOSED_BY_PEER and client.stage in CLOSED_AT:
            failure = Failure(CLOSED_AT[client.stage], "the server closed the connection")
        if failure is not None:
            failure = await self._closer_look(client, failure)
        left_out = self._profile_test.profile.ciphers.unsupported
        if failure is not None and failure.code is FailureCode.NO_COMMON_DATA_CIPHER and left_out:
            failure = replace(failure, detail=f"{failure.detail}; not tried, since vpnprobe cannot do them: {', '.join(left_out)}")
        self._tell(failure)

    async def _converse(self, client: Client) -> None:
        self._over = over = _SessionOver(self.context, client)
        if client.stream:
            await self._over_tcp(self.context, client, over)
        else:

            def closing(now: float) -> None:
                client.goodbye(now)
                if client.gateway is None:
                    client.events()  # Where there was nobody to ask, the goodbye alone must not count as data without an answer.

            await over_udp(self.context, client, self.reset, until=lambda _: over, closing=closing)
            if over.was_refused and client.stage < Stage.ANSWERED:
                self._not_begun = PORT_REFUSED, ""

    def _new_client(self, tls_context: ssl.SSLContext, *, wrapping: Wrapping | None = None, echoes: int | None = None) -> Client:
        context, profile = self.context, self._profile_test.profile
        kept = profile.ciphers.offered or ClientOffer().ciphers
        return Client(
            session_id=context.stack.entropy(8),  # Not of this run's tag: our own server agent is not to answer it.
            stream=self._remote.transport is Transport.TCP,
            wrapping=wrapping or _wrapping(self._remote, profile),
            context=tls_context,
            entropy=context.stack.entropy,
            unix_time_at_zero=context.stack.unix_time() - context.stack.now(),
            offer=ClientOffer(
                ciphers=kept,
                auth=profile.auth,
                username=self._profile_test.username,
                password=self._profile_test.password,
                tun_mtu=profile.data.tun_mtu or 1500,
                program=f"vpnprobe {__version__}",
                echoes=self._profile_test.echoes if echoes is None else echoes,
                check_certificate=certificate_check(profile.checks),
            ),
            retransmit_after_s=RETRANSMIT_AFTER_S,
        )

    async def _over_tcp(self, context: ProbeContext, client: Client, until: Until) -> None:
        try:
            stream = await connected(context, self.reset, deadline_s=CONNECT_DEADLINE_S)
        except ConnectError as error:
            if error.failure is ConnectFailure.REFUSED:
                context.recorder.refused(Refusal(self.reset, Direction.C2S, RefusalKind.RST, str(context.peer_address)))
                self._not_begun = PORT_REFUSED, ""
            else:
                self._not_begun = UNREACHABLE, "no TCP connection came up"
            return
        driver = await over_stream(context, client, self.reset, stream, lambda _: until)
        if driver.was_reset:
            client.closed_by_peer(context.stack.now())

    async def _closer_look(self, client: Client, failure: Failure) -> Failure:
        """What further attempts and the profile itself tell of a failure that a silence left open."""
        tls = self._profile_test.profile.checks
        match failure.code:
            case FailureCode.SILENT | FailureCode.CLOSED_AT_ONCE if self._remote.wrapping.kind is Wrap.TLS_AUTH:
                return await self._other_wraps(failure)
            case FailureCode.TLS_SILENT if tls.tls_version_max and await self._tls_begins():
                return Failure(
                    FailureCode.TLS_VERSION, f"the profile allows TLS {tls.tls_version_max} at most, and without that limit it begins"
                )
            case FailureCode.KEYS_UNANSWERED:
                return self._why_no_keys(client) or failure
            case _:
                return failure

    async def _other_wraps(self, failure: Failure) -> Failure:
        """Whether the server answers where the control channel is wrapped otherwise: without tls-auth, with another direction or digest."""
        own = _wrapping(self._remote, self._profile_test.profile)
        ways = [replace(own, direction=way, digest=digest) for digest in TLS_AUTH_DIGESTS for way in KeyDirection]
        others = [replace(own, kind=Wrap.NONE), *(other for other in ways if other != own)]
        found = await asyncio.gather(*(self._answers(other) for other in others))
        for other, answers in zip(others, found, strict=True):
            if answers:
                return Failure(FailureCode.WRONG_WRAP, told_of(other))
        return failure

    async def _answers(self, wrapping: Wrapping) -> bool:
        """Whether a reset in another wrap is answered."""
        client = self._new_client(self._tls_context, wrapping=wrapping, echoes=0)
        await self._aside(client, lambda: client.answered)
        return client.answered

    async def _tls_begins(self) -> bool:
        """Whether TLS begins without the profile's limit of the version."""
        checks = replace(self._profile_test.profile.checks, tls_version_max="")
        unlimited = replace(self._profile_test, profile=replace(self._profile_test.profile, checks=checks))
        client = self._new_client(unlimited.tls_context(), echoes=0)
        await self._aside(client, lambda: client.stage >= Stage.TLS_BEGUN)
        return client.stage >= Stage.TLS_BEGUN

    async def _aside(self, client: Client, enough: Callable[[], bool]) -> None:
        """Runs a session that counts for none of the profile's own checks."""
        aside = replace(self.context, recorder=Recorder(self.context.stack, Vantage.CLIENT))
        until = _SessionOver(aside, client, enough)
        if client.stream:
            await self._over_tcp(aside, client, until)
        else:
            await over_udp(aside, client, self.reset, until=lambda _: until)

    def _why_no_keys(self, client: Client) -> Failure | None:
        """Why a server that speaks TLS does not answer our key message, as far as can be told; None: unknown."""
        if not self._profile_test.username and not client.stream and client.certificate_acknowledged:
            return Failure(FailureCode.CREDENTIALS_WANTED, "it took the certificate, and fell silent where no user name came")
        return client_certificate_failure(self._profile_test.profile)

    def _reached(self) -> Check:
        """The check that the session has come to."""
        if self._client.stage >= Stage.CONFIGURED:
            return self.data
        return self.reset if self._client.stage < Stage.ANSWERED else self.handshake

    def _tell(self, failure: Failure | None) -> None:
        """Puts the failure beside the check that it belongs to, and says why the later ones were not tried."""
        client, over = self._client, self._over
        if failure is not None:
            self.name(self._reached(), failure.code, failure.detail)
            return
        facts: dict[str, str | float] = {"cipher": str(client.cipher), "tls": client.tls_version}
        if over.first_data_s is not None:
            facts["first_data_ms"] = round(1000 * over.first_data_s, 1)
        asked = client.renegotiations_asked
        self.context.named_failures.append(
            NamedFailure(self.handshake, "renegotiation-asked" if asked else "", f"{asked} times" if asked else "", facts)
        )
        data = data_failure(client)
        if data is not None:
            self.context.named_failures.append(NamedFailure(self.data, data.code, data.detail))
        elif client.gateway is None:
            why = "the server pushes no address of its own in the tunnel, so there is nobody to ask"
            self.context.skip(self.data, why, Direction.C2S, Direction.S2C)


class _SessionOver(RemoteSessionOver[Client]):
    """A session that has failed is over too."""

    def __init__(self, context: ProbeContext, client: Client, enough: Callable[[], bool] = lambda: False) -> None:
        """`enough`: what ends it before."""
        super().__init__(context, client)
        self._enough = enough

    @property
    def came(self) -> int:
        return self._client.bytes_received

    @property
    def data_came(self) -> bool:
        return self._client.stage is Stage.DATA

    @property
    def finished(self) -> bool:
        client = self._client
        return self._enough() or client.failure is not None or (client.stage >= Stage.CONFIGURED and client.run.all_answered)

    def given_up_at(self) -> float:
        nobody_to_ask = self._client.stage >= Stage.CONFIGURED and self._client.gateway is None
        return self._heard + (TAIL_S if nobody_to_ask else self._patience_s())

    def _patience_s(self) -> float:
        client = self._client
        if client.stage < Stage.ANSWERED:
            return RETRANSMIT_AFTER_S + REFUSED_PATIENCE_S if self.was_refused else RESET_PATIENCE_S
        if not client.run.all_sent or client.stage < Stage.CONFIGURED:
            return PATIENCE_S
        answered = any(request.answered_at is not None for request in client.run.requests.values())
        if answered or client.pings_received or client.push is None or client.push.ping_s is None:
            return TAIL_S
        return min(PING_PATIENCE_S, client.push.ping_s + 2.0)


def _wrapping(remote: Remote, profile: Profile) -> Wrapping:
    key = remote.wrapping.key
    return Wrapping(
        remote.wrapping.kind,
        key=key if isinstance(key, StaticKey) else None,
        direction=remote.wrapping.direction,
        digest=profile.auth,
        client_key=key if isinstance(key, ClientKeyV2) else None,
    )
