"""An existing OpenVPN server, tried with the user's own profile: how far a session gets, and the name of what stops it.

Each remote of the profile is tried: its name is resolved, a whole session is begun, and echo requests of several sizes go to the server's
address in the tunnel. The server is another program, so nobody but its answers tells what came there. What fails is told by name
(`NamedFailure`), beside the observations of the same checks that every other OpenVPN session has.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from vpnprobe import __version__
from vpnprobe.conversations.openvpn_ends import Client, ClientOffer
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session import Stage, Wrapping
from vpnprobe.conversations.openvpn_tls import TlsEnd
from vpnprobe.endpoint.driver import Until
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.errors import CannotRun
from vpnprobe.evidence.checks import openvpn_data, openvpn_handshake, openvpn_reset
from vpnprobe.evidence.named_failures import CERTIFICATES, NOT_SUPPORTED, PORT_REFUSED, PROFILE_REFUSED, UNREACHABLE, NamedFailure
from vpnprobe.evidence.packet_records import Check, Vantage
from vpnprobe.evidence.records import Refusal, RefusalKind
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.conversing import connected, over_stream, over_udp
from vpnprobe.probes.existing_server import (
    ECHOES,
    MOST_REMOTES,
    RemoteTest,
    about_profile,
    form_of,
    in_turn,
    randomised,
)
from vpnprobe.probes.openvpn_findings import CLOSED_AT, data_failure, hello_unanswered, suspicion_of_silence, told_of, wrapping_of
from vpnprobe.probes.openvpn_session_over import PATIENCE_S, RETRANSMIT_AFTER_S, OpenvpnSessionOver
from vpnprobe.probes.settings import Resolve
from vpnprobe.profiles.model import Profile, Remote, ServerChecks
from vpnprobe.profiles.tls_lists import outside_of_lists
from vpnprobe.profiles.tunnel import tunnel_settings
from vpnprobe.profiles.verification import (
    RefusedByTls,
    certificate_check,
    certificate_facts,
    tls_context,
    told_certificate,
    unchecked_context,
)
from vpnprobe.transports.stack import ConnectError, ConnectFailure
from vpnprobe.wire.ciphers import lacking
from vpnprobe.wire.openvpn_keys import KeyDirection
from vpnprobe.wire.openvpn_wrap import Wrap, digest_lack

ASIDE_PATIENCE_S: Final = 2.5
"""How long a session goes on though nothing leads on, where only a further look is taken."""
ASIDE_RESET_S: Final = 2.0
"""The same until its reset is answered, which is sent three times by then."""
CONNECT_DEADLINE_S: Final = 6.0
"""A SYN is sent three times by then."""
TLS_AUTH_DIGESTS: Final = ("SHA1", "SHA256", "SHA512")
SILENCES: Final = frozenset({FailureCode.TLS_SILENT, FailureCode.TLS_STALLED, FailureCode.KEYS_UNANSWERED})
"""What the loss of large packets looks like."""
LIMITS: Final[Mapping[str, Mapping[str, Any]]] = {
    "tls-version-max": {"tls_version_max": ""},
    "tls-version-min": {"tls_version_min": ServerChecks().tls_version_min},
    "tls-cipher": {"tls_cipher": ()},
    "tls-groups": {"tls_groups": ()},
    "tls-cert-profile": {"tls_cert_profile": ""},
}
"""Options that restrict TLS, and the checks as they are where a profile does not say them."""
Prepared = tuple[ssl.SSLContext | None, tuple[str, ...]]
"""The context, None where nothing can be tried, and why OpenVPN does not start with the profile."""


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
    def secrets(self) -> tuple[str, ...]:
        """What nobody is to read who reads what a server or OpenVPN says. A login by a name alone has the name for its secret."""
        own = (self.password or self.username, self.passphrase)
        of_profile = (self.profile.credentials.password, self.profile.tls.passphrase)
        return tuple(filter(None, (*own, *of_profile)))

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
        """Raises ProfileError, and of these `RefusedByTls` for what OpenVPN does not start with."""
        return tls_context(self.profile, passphrase=self.passphrase)

    def prepared(self) -> tuple[ssl.SSLContext | None, tuple[str, ...]]:
        """The context, None where nothing can be tried, and why OpenVPN 2.6 does not start with this profile. Raises ProfileError."""
        refused = tuple(f"line {note.line}: {note.text}" if note.line else note.text for note in self.profile.refused)
        if self.profile.unsupported:
            return None, refused
        try:
            return self.tls_context(), refused
        except RefusedByTls as error:
            return None, refused or (error.problem,)

    def about(self) -> dict[str, Any]:
        """What the run's document says of the profile: whose export it is, and each option that is not applied."""
        known = self.profile
        return about_profile(known.file, known.told, known.notes, refused=self.prepared()[1], export=known.export)


class ProfileProbe:
    """Tries one profile's remotes."""

    def __init__(self, context: ProbeContext, profile_test: ProfileTest) -> None:
        self._context = context
        self._profile_test = profile_test
        self._tls_context, self._refused = profile_test.prepared()
        # What the ciphers load must not be loaded between two packets, whose times are told.
        lacking()

    async def run(self) -> None:
        """Never raises for what the network or the server does."""
        remotes = enumerate(self._profile_test.remotes)
        prepared = self._tls_context, self._refused
        await in_turn([OpenvpnRemote(self._context, self._profile_test, prepared, remote, form_of(n)) for n, remote in remotes])


class OpenvpnRemote(RemoteTest):
    """One remote. All of a profile have its identity."""

    def __init__(self, context: ProbeContext, profile_test: ProfileTest, prepared: Prepared, remote: Remote, form: str) -> None:
        self.reset = openvpn_reset(remote.transport, remote.port, form)
        self.handshake = openvpn_handshake(remote.transport, remote.port, form)
        if profile_test.profile.random_hostname:
            remote = replace(remote, host=randomised(remote.host, context.stack.entropy))
        super().__init__(context, profile_test, remote, (self.reset, self.handshake), openvpn_data(remote.transport, remote.port, form))
        self._profile_test = profile_test
        self.secrets = profile_test.secrets
        self._tls_context, self._refused = prepared
        self._remote = remote  # With its wrapping.
        self._not_begun: tuple[str, str] | None = None
        """By name, why no session could be begun, and what there is to say of it; None: one could."""

    def not_to_be_tried(self) -> bool:
        unsupported = self._profile_test.profile.unsupported
        if unsupported:
            self.name(self.reset, NOT_SUPPORTED, "; ".join(note.text for note in unsupported))
        elif self._tls_context is None:
            self.name(self.reset, PROFILE_REFUSED, "; ".join(self._refused))
        elif self._remote.wrapping.kind is Wrap.TLS_AUTH and (lack := digest_lack(self._profile_test.profile.auth)):
            self.name(self.reset, PROFILE_REFUSED if self._refused else NOT_SUPPORTED, "; ".join(self._refused) or lack)
            return True
        return self._tls_context is None

    async def attempt(self) -> bool:
        self._not_begun = None
        assert self._tls_context is not None
        self._client = client = self._new_client(self._tls_context)
        try:
            await self._converse(client)
        except (CannotRun, OSError) as error:
            self._not_begun = UNREACHABLE, str(error)
        return client.stage >= Stage.ANSWERED

    async def conclude(self) -> None:
        await self._conclude()
        if self._refused:
            self.note(self.reset, PROFILE_REFUSED, "; ".join(self._refused))

    async def _conclude(self) -> None:
        if self._not_begun is not None:
            self.name(self._reached(), *self._not_begun)
            return
        client, failure = self._client, self._client.stalled()
        if failure is not None and failure.code is FailureCode.CLOSED_BY_PEER and client.stage in CLOSED_AT:
            failure = Failure(CLOSED_AT[client.stage], "the server closed the connection")
        if failure is not None:
            failure = await self._closer_look(client, failure)
        facts: Mapping[str, str | float] = {}
        if failure is not None and failure.code.startswith(CERTIFICATES):
            facts = await self._certificate_facts(client)
            failure = replace(failure, detail="; ".join(filter(None, (failure.detail, told_certificate(facts)))))
        self._tell(failure, facts)

    async def _converse(self, client: Client) -> None:
        self._over = over = OpenvpnSessionOver(self.context, client)
        if client.stream:
            await self._over_tcp(self.context, client, over)
        else:
            await self._over_udp(self.context, client, over)
            if over.was_refused and client.stage < Stage.ANSWERED:
                self._not_begun = PORT_REFUSED, ""

    async def _over_udp(self, context: ProbeContext, client: Client, until: Until) -> None:
        def closing(now: float) -> None:
            client.goodbye(now)
            if client.gateway is None:
                client.events()  # Where there was nobody to ask, the goodbye alone must not count as data without an answer.

        await over_udp(context, client, self.reset, until=lambda _: until, closing=closing)

    def _check_tls(self, tls: TlsEnd) -> Failure | None:
        agreed = outside_of_lists(self._profile_test.profile.checks, version=tls.version, suite=tls.cipher_suite, group=tls.group)
        return Failure(FailureCode.NOT_SUPPORTED, agreed) if agreed is not None else None

    def _new_client(
        self,
        tls_context: ssl.SSLContext,
        *,
        wrapping: Wrapping | None = None,
        echoes: int | None = None,
        check: Callable[[bytes], Failure | None] | None = None,
    ) -> Client:
        """`check`: of the server's certificate, in place of the profile's own."""
        context, profile = self.context, self._profile_test.profile
        kept = profile.ciphers.offered if profile.ciphers.unsupported else profile.ciphers.offered or ClientOffer().ciphers
        return Client(
            session_id=context.stack.entropy(8),  # Not of this run's tag: our own server agent is not to answer it.
            stream=self._remote.transport is Transport.TCP,
            wrapping=wrapping or wrapping_of(self._remote, profile),
            context=tls_context,
            entropy=context.stack.entropy,
            unix_time_at_zero=context.stack.unix_time() - context.stack.now(),
            offer=ClientOffer(
                ciphers=kept,
                auth=profile.auth,
                username=self._profile_test.username,
                password=self._profile_test.password,
                tunnel=tunnel_settings(profile.data, self._remote),
                asks_options=True,
                other_ciphers=tuple("none" if name == "NONE" else name for name in profile.ciphers.unsupported),
                may_sign_in=profile.credentials.wanted,
                program=f"vpnprobe {__version__}",
                echoes=self._profile_test.echoes if echoes is None else echoes,
                check_certificate=check or certificate_check(profile.checks),
                check_tls=self._check_tls,
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
        if failure.code is FailureCode.TLS_SILENT:
            failure = await self._without_limits(client, failure)
        if failure.code in SILENCES and (lost := client.large_lost()) is not None:
            return Failure(FailureCode.HANDSHAKE_LARGE_LOST, lost)
        match failure.code:
            case FailureCode.SILENT | FailureCode.CLOSED_AT_ONCE | FailureCode.ANSWER_UNREADABLE:
                return await self._other_wraps(failure)
            case FailureCode.KEYS_UNANSWERED:
                return self._why_no_keys(client, failure)
            case _:
                return failure

    async def _other_wraps(self, failure: Failure) -> Failure:
        """Whether the server answers where the control channel is wrapped otherwise: not at all, or with another direction or digest."""
        own = wrapping_of(self._remote, self._profile_test.profile)
        if own.kind is Wrap.NONE:
            return failure  # Whatever the server's wrap is, its key is not in the profile.
        digests = TLS_AUTH_DIGESTS if own.kind is Wrap.TLS_AUTH else ()
        ways = [replace(own, direction=way, digest=digest) for digest in digests for way in KeyDirection]
        others = [Wrapping(Wrap.NONE), *(other for other in ways if other != own)]
        found = await asyncio.gather(*(self._answers(other) for other in others))
        for other, answers in zip(others, found, strict=True):
            if answers:
                return Failure(FailureCode.WRONG_WRAP, told_of(other, own.kind))
        return failure

    async def _answers(self, wrapping: Wrapping) -> bool:
        """Whether a reset in another wrap is answered."""
        assert self._tls_context is not None
        client = self._new_client(self._tls_context, wrapping=wrapping, echoes=0)
        await self._aside(client, lambda: client.answered, patience_s=ASIDE_RESET_S)
        return client.answered

    async def _without_limits(self, client: Client, failure: Failure) -> Failure:
        """Whether TLS begins without what the profile restricts it to, and which of these restrictions it is."""
        checks = self._profile_test.profile.checks
        limits = {
            name: replace(checks, **none)
            for name, none in LIMITS.items()
            if any(getattr(checks, key) != usual for key, usual in none.items())
        }
        if not limits:
            return hello_unanswered(client, failure)
        # Beside them once more with all of them: a server that answers now was away for a moment, and no limit is to blame.
        again, *begins = await asyncio.gather(*(self._tls_begins(one) for one in (checks, *limits.values())))
        if again:
            return hello_unanswered(client, failure)
        found = [name for name, begun in zip(limits, begins, strict=True) if begun]
        if found == ["tls-version-max"]:
            words = f"the profile allows TLS {checks.tls_version_max} at most, and without that limit it begins"
            return Failure(FailureCode.TLS_VERSION, words)
        if found == ["tls-version-min"]:
            return Failure(FailureCode.TLS_VERSION, f"the profile wants TLS {checks.tls_version_min} at least, and without that it begins")
        if found:
            words = f"the profile's {' and '.join(found)} leaves nothing that the server has: without, TLS begins"
            return Failure(FailureCode.TLS_NO_COMMON_CIPHER, words)
        return hello_unanswered(client, failure)

    async def _tls_begins(self, checks: ServerChecks) -> bool:
        """Whether TLS begins with other limits than the profile's."""
        other = replace(self._profile_test, profile=replace(self._profile_test.profile, checks=checks))
        client = self._new_client(other.tls_context(), echoes=0)
        await self._aside(client, lambda: client.stage >= Stage.TLS_BEGUN, patience_s=ASIDE_PATIENCE_S)
        return client.stage >= Stage.TLS_BEGUN

    async def _certificate_facts(self, client: Client) -> Mapping[str, str]:
        """Name, serial number and dates of the certificate that was not accepted, for which a session is begun that says nothing of us."""
        seen = [client.server_certificate] if client.server_certificate is not None else []

        def look(certificate: bytes) -> Failure:
            seen.append(certificate)
            return Failure(FailureCode.CERTIFICATE_REJECTED)

        if not seen:
            other = self._new_client(unchecked_context(self._profile_test.profile.checks), echoes=0, check=look)
            await self._aside(other, lambda: bool(seen), patience_s=ASIDE_PATIENCE_S)
        return certificate_facts(seen[0]) if seen else {}

    async def _aside(self, client: Client, enough: Callable[[], bool], *, patience_s: float = PATIENCE_S) -> None:
        """Runs a session that counts for none of the profile's own checks."""
        aside = replace(self.context, recorder=Recorder(self.context.stack, Vantage.CLIENT))
        until = OpenvpnSessionOver(aside, client, enough, patience_s=patience_s)
        if client.stream:
            await self._over_tcp(aside, client, until)
        else:
            await self._over_udp(aside, client, until)

    def _why_no_keys(self, client: Client, failure: Failure) -> Failure:
        """A server that speaks TLS and does not answer our key message, with what that silence may mean."""
        took_certificate, username = client.certificate_acknowledged, self._profile_test.username
        if not username and took_certificate:
            return Failure(FailureCode.CREDENTIALS_WANTED, "it took the certificate, and fell silent where no user name came")
        suspicion = suspicion_of_silence(self._profile_test.profile, took_certificate=took_certificate, signs_in=bool(username))
        return replace(failure, detail="; ".join(filter(None, (failure.detail, suspicion))))

    def _reached(self) -> Check:
        """The check that the session has come to."""
        if self._client.stage >= Stage.CONFIGURED:
            return self.data
        return self.reset if self._client.stage < Stage.ANSWERED else self.handshake

    def _tell(self, failure: Failure | None, about: Mapping[str, str | float]) -> None:
        """Puts the failure beside the check that it belongs to, and says why the later ones were not tried."""
        client, over = self._client, self._over
        if failure is not None:
            self.name(self._reached(), failure.code, failure.detail, about)
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
            self.note(self.data, data.code, data.detail)
        elif client.gateway is None:
            why = "the server pushes no address of its own in the tunnel, so there is nobody to ask"
            self.context.skip(self.data, why, Direction.C2S, Direction.S2C)
