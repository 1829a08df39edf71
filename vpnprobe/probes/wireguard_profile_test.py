"""An existing WireGuard server, tried with the user's own profile: how far a tunnel gets, and the name of what stops it.

Each peer with an endpoint is tried: a handshake with the profile's keys, and echo requests of several sizes through the tunnel. WireGuard
answers nobody whose key it does not know, so silence has many reasons; a server agent beside it tells some of them apart, since it sees
whether initiations arrive.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import islice
from typing import Any, ClassVar, Final

from vpnprobe.conversations.registry import protocol_named
from vpnprobe.conversations.tunnel_echo import UDP_CARRIER_BYTES
from vpnprobe.conversations.wireguard_client import RETRANSMIT_AFTER_S, TunnelSettings, WireguardClient
from vpnprobe.conversations.wireguard_session import DATA_SIZES, KEEPALIVE_S, REKEY_TIMEOUT_S
from vpnprobe.errors import CannotRun
from vpnprobe.evidence.checks import wireguard_data, wireguard_handshake
from vpnprobe.evidence.named_failures import (
    ANSWERED_FROM_ELSEWHERE,
    DATA_CUT,
    DATA_DEAD,
    DATA_INTERRUPTED,
    DATA_UNANSWERED,
    PORT_REFUSED,
    SILENT,
    UNREACHABLE,
    NamedFailure,
)
from vpnprobe.evidence.packet_records import Movement
from vpnprobe.evidence.records import PortState, Refusal, RefusalKind
from vpnprobe.observations.schema import Direction
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.conversing import over_udp
from vpnprobe.probes.existing_server import (
    ECHOES,
    MOST_REMOTES,
    REFUSED_PATIENCE_S,
    SESSION_DEADLINE_S,
    TAIL_S,
    RemoteSessionOver,
    RemoteTest,
    about_profile,
    form_of,
    in_turn,
)
from vpnprobe.probes.settings import Resolve
from vpnprobe.probes.tunnel_findings import echo_failure
from vpnprobe.profiles.accounts import Told
from vpnprobe.profiles.vendors import unknown_key
from vpnprobe.profiles.wireguard_model import WireguardPeer, WireguardProfile
from vpnprobe.transports.stack import Endpoint
from vpnprobe.wire.ip import MAXIMUM_PACKET
from vpnprobe.wire.wireguard import EMPTY_DATA
from vpnprobe.wire.wireguard_noise import NO_PRESHARED_KEY, Identity, key_text, public_key

SPEC: Final = protocol_named("wireguard")
SILENCE_S: Final = 7.8
"""The initiation is sent eight times by then."""
NO_KEYS_S: Final = 3 * REKEY_TIMEOUT_S + 1.0
"""After the response to an earlier initiation, whose keys the server has left: three further initiations are sent by then."""
KEEPALIVE_PATIENCE_S: Final = KEEPALIVE_S + 2.0
"""After the first data: a server that got it and has nothing to say sends its keepalive by then."""
MOST_ASKED: Final = 4
"""Addresses in the tunnel."""
MOST_CONSIDERED: Final = 16
"""Addresses of this end, and resolvers, that say whom to ask."""
WHOLE_NETWORK: Final = 24
"""Prefix length of the network that a single tunnel address is taken to be of."""
DEFAULT_MTU: Final = DATA_SIZES[-1] - UDP_CARRIER_BYTES - EMPTY_DATA
COOKIE_UNANSWERED: Final = "cookie-unanswered"
WRONG_PRESHARED_KEY: Final = "wrong-preshared-key"
NOT_RUNNING: Final = "not-running"
ARRIVES_UNANSWERED: Final = "arrives-unanswered"
ANSWER_LOST: Final = "answer-lost"
NOT_ARRIVED: Final = "not-arrived"

KEY_SHARED: Final = "key-shared"
REFUSED_BY_ROUTER: Final = {
    RefusalKind.PROHIBITED: "administratively prohibited",
    RefusalKind.UNREACHABLE: "destination unreachable",
}
STOPPED: Final = (DATA_CUT, DATA_DEAD, KEY_SHARED)
"""What a second session may not show again."""
LEAST_FOR_OTHERS: Final = 3
"""Data messages for one other session before another device is named."""
NOBODY_TO_ASK: Final = "the profile has no IPv4 address in the tunnel, or AllowedIPs with nobody of IPv4, so there is nobody to ask"
NO_KEYS: Final = "no keys came into use: the server's answer was to an initiation before the last, and none came to the last one"
OUT_OF_TIME: Final = f"keys came into use when the session's {SESSION_DEADLINE_S:g} s were nearly over, so nothing was asked"


@dataclass(frozen=True, slots=True)
class WireguardProfileTest:
    """What is tried."""

    PROBE: ClassVar[str] = "wireguard"

    profile: WireguardProfile
    resolve: Resolve
    echoes: int = ECHOES

    @property
    def file(self) -> str:
        return self.profile.file

    @property
    def probe(self) -> str:
        return self.PROBE

    @property
    def protocols(self) -> tuple[str, ...]:
        return (self.PROBE,)

    @property
    def remotes(self) -> tuple[WireguardPeer, ...]:
        return self.profile.peers[:MOST_REMOTES]

    def about(self) -> dict[str, Any]:
        """What the run's document says of the profile: each key that is not applied."""
        told = [Told(one.line, one.option, unknown_key(one.option)) for one in self.profile.unknown]
        return about_profile(self.profile.file, told, self.profile.notes)

    async def run(self, context: ProbeContext) -> None:
        """Never raises for what the network or the servers do."""
        await in_turn([WireguardRemote(context, self, peer, form_of(number)) for number, peer in enumerate(self.remotes)])


class WireguardRemote(RemoteTest):
    """One peer. What a server knows of the profile's key is its own, so that different servers are tried at once."""

    _client: WireguardClient
    """That of the session that is told about."""
    _over: "_SessionOver"
    _sent_to: Endpoint

    def __init__(self, context: ProbeContext, profile_test: WireguardProfileTest, peer: WireguardPeer, form: str) -> None:
        self.handshake = wireguard_handshake(peer.port, form)
        super().__init__(context, profile_test, peer, (self.handshake,), wireguard_data(peer.port, form))
        self.identity = peer.public_key.hex()
        self._host = context.peer_address
        self._profile = profile_test.profile
        self._peer = peer
        self._echoes = profile_test.echoes
        self._stopped: NamedFailure | None = None
        """What stopped the data of the session before; None: nothing did."""

    def not_to_be_tried(self) -> bool:
        names = ", ".join(self._profile.obfuscation)
        if names:
            self.skip_from(self.handshake, f"AmneziaWG's keys are not supported ({names}): they change WireGuard's own messages")
        return bool(names)

    async def attempt(self) -> bool:
        """Where data stops a second session follows: an outage, a restart of the server or another device stops one alone."""
        self._stopped = None
        answered = await self._session()
        stopped = self._data_failure()
        if stopped is None or stopped.code not in STOPPED:
            return answered
        first = self._client, self._over, self._sent_to
        await self._session()
        if self._client.run.requests:
            self._stopped = stopped
        else:
            self._client, self._over, self._sent_to = first  # It says more than a session in which nothing was asked.
        return True

    async def _session(self) -> bool:
        """One session to its end; whether the server has answered."""
        context, profile = self.context, self._profile
        self._unreachable = ""
        self._client = client = WireguardClient(
            Identity(profile.private_key, self._peer.public_key, self._peer.preshared_key or NO_PRESHARED_KEY),
            TunnelSettings(_own_address(profile), asked_in_tunnel(profile, self._peer), sizes_of(profile.mtu), self._echoes),
            index=context.stack.entropy(SPEC.identifier_bytes),  # Not of this run's tag: our own server agent is not to answer it.
            entropy=context.stack.entropy,
            unix_time_at_zero=context.stack.unix_time() - context.stack.now(),
        )
        self._over = over = _SessionOver(context, client)
        self._sent_to = context.endpoint(self._peer.port)
        try:
            self._sent_to = await over_udp(context, client, self.handshake, until=lambda _: over, roaming=client)
        except (CannotRun, OSError) as error:
            self._unreachable = str(error)
        return client.answered or client.response_unopened

    async def conclude(self) -> None:
        client = self._client
        if not client.reached("handshake"):
            self.name(self.handshake, *await self._why_no_handshake())
            return
        self._tell_of_handshake()
        if why := self._why_nothing_asked():
            self.context.skip(self.data, why, Direction.C2S, Direction.S2C)
        elif (found := self._of_both_sessions()) is not None:
            self.context.named_failures.append(found)

    def _why_nothing_asked(self) -> str:
        """Why no echo request went through the tunnel; empty: some did."""
        client = self._client
        if not client.can_ask:
            return NOBODY_TO_ASK
        if not client.up:
            return NO_KEYS
        return "" if client.run.requests else OUT_OF_TIME

    async def _why_no_handshake(self) -> tuple[str, str]:
        """The name of what stops it, and what there is to say of it."""
        client = self._client
        if self._unreachable:
            return UNREACHABLE, self._unreachable
        if client.response_unopened:
            return WRONG_PRESHARED_KEY, ""
        if client.cookies_received:
            return COOKIE_UNANSWERED, f"{client.cookies_received} of its answers were cookies"
        if self._over.was_refused:
            return PORT_REFUSED, ""
        if (refusal := self._refused_on_the_way()) is not None:
            return UNREACHABLE, f"{refusal.by or 'a router'} answers: {REFUSED_BY_ROUTER[refusal.kind]}"
        return await self._why_silent()

    def _refused_on_the_way(self) -> Refusal | None:
        """Another ICMP error about the port; None: there was none. Those of the run's own server are listened for, and no others'."""
        if self.context.peer_address != self._host:
            return None
        slot = self._peer.transport, self._peer.port
        return next(
            (r for r in self.context.recorder.refusals if (r.check.transport, r.check.port) == slot and r.kind in REFUSED_BY_ROUTER), None
        )

    async def _why_silent(self) -> tuple[str, str]:
        """What the server agent on the same host knows of it."""
        own_key = f"this profile's public key is {key_text(public_key(self._profile.private_key))}"
        beside = self.context.peer is not None and self.context.peer_address == self._host
        if not beside:
            return SILENT, own_key
        if self.context.port_state(self._peer.transport, self._peer.port) is PortState.OURS:
            return NOT_RUNNING, ""
        await self.context.sync()
        rows = self.context.server_record.packet_records
        came, left = (
            sum(row.key == self._client.key and row.movement is way for row in rows) for way in (Movement.RECEIVED, Movement.SENT)
        )
        if left:
            return ANSWER_LOST, f"{came} came there, and {left} answers left"
        return (ARRIVES_UNANSWERED, f"{came} came; {own_key}") if came else (NOT_ARRIVED, "")

    def _tell_of_handshake(self) -> None:
        client, asked = self._client, self.context.endpoint(self._peer.port)
        facts: dict[str, str | float] = {"cookies": client.cookies_received} if client.cookies_received else {}
        if client.found is not None:
            facts["answers_in_tunnel"] = str(client.found)
        if self._over.first_data_s is not None:
            facts["first_data_ms"] = round(1000 * self._over.first_data_s, 1)
        moved = self._sent_to != asked
        said = f"{_shown(self._sent_to)} answers for {_shown(asked)}" if moved else ""
        self.context.named_failures.append(NamedFailure(self.handshake, ANSWERED_FROM_ELSEWHERE if moved else "", said, facts))

    def _of_both_sessions(self) -> NamedFailure | None:
        """What stops data, where it is no more than one session's."""
        stopped, found = self._stopped, self._data_failure()
        if stopped is None:
            return found
        if found is None:
            return NamedFailure(self.data, DATA_INTERRUPTED, stopped.said)
        return stopped if stopped.code != DATA_DEAD and found.code in (DATA_DEAD, DATA_UNANSWERED) else found

    def _data_failure(self) -> NamedFailure | None:
        """What the last session shows of data; None: nothing, or nothing was asked."""
        client = self._client
        if not client.run.requests:
            return None
        asked = str(client.found) if client.found is not None else " or ".join(map(str, client.settings.asked))
        failure = echo_failure(client.run, asked, stream=False)
        if failure is None:
            return None
        if failure.code in (DATA_CUT, DATA_DEAD) and client.for_others >= LEAST_FOR_OTHERS:
            return NamedFailure(self.data, KEY_SHARED, f"{client.for_others} messages came for another session with this key")
        if failure.code == DATA_DEAD and client.found is not None:
            return NamedFailure(
                self.data, DATA_CUT, f"the first echo request was answered, and none of the {len(client.run.requests)} that followed"
            )
        if failure.code == DATA_DEAD and client.data_received:
            return NamedFailure(self.data, DATA_UNANSWERED, f"the server's keepalive answers what was sent, and {asked} does not")
        return NamedFailure(self.data, failure.code, failure.detail)


class _SessionOver(RemoteSessionOver[WireguardClient]):
    """Of messages those count that open. Data is what comes beside keepalives."""

    def __init__(self, context: ProbeContext, client: WireguardClient) -> None:
        super().__init__(context, client)
        self._up: float | None = None
        """When keys came into use; None: they did not."""

    @property
    def came(self) -> int:
        return self._client.opened

    @property
    def data_came(self) -> bool:
        return self._client.data_received > self._client.keepalives_received

    @property
    def finished(self) -> bool:
        client = self._client
        return client.response_unopened or (client.run.count > 0 and client.run.all_answered)

    def reached(self, now: float) -> bool:
        if self._client.up and self._up is None:
            self._up = now
        return super().reached(now)

    def given_up_at(self) -> float:
        client = self._client
        if self._up is None:
            silence_s = NO_KEYS_S if client.reached("handshake") else SILENCE_S
            return self._heard + (RETRANSMIT_AFTER_S + REFUSED_PATIENCE_S if self.was_refused else silence_s)
        if not client.can_ask:
            return self._heard + TAIL_S
        if not client.run.over:
            return self._began + SESSION_DEADLINE_S  # The run itself knows when it is.
        # Whatever else comes, users' traffic for one, is no reason to wait.
        requests = client.run.requests.values()
        last, answered = max(r.sent_at for r in requests), [r.answered_at for r in requests if r.answered_at is not None]
        tail = max(last + client.run.patience_s, max([last, *answered]) + TAIL_S)
        # Where nobody answers, a keepalive still shows that data arrived.
        return tail if answered or client.keepalives_received else max(tail, self._up + KEEPALIVE_PATIENCE_S)


def _shown(endpoint: Endpoint) -> str:
    return f"{endpoint.address}:{endpoint.port}"


def sizes_of(mtu: int | None) -> tuple[int, ...]:
    """Bytes of the outer IP packets that are tried in a tunnel of that MTU, the largest that it makes last. None: WireGuard's default."""
    largest = min((mtu or DEFAULT_MTU) + UDP_CARRIER_BYTES + EMPTY_DATA, MAXIMUM_PACKET)
    return (*(size for size in DATA_SIZES if size < largest), largest)


def _own_address(profile: WireguardProfile) -> IPv4Address | None:
    """This end's first IPv4 address in the tunnel; None: it has none."""
    return next((address.ip for address in profile.addresses if isinstance(address, IPv4Interface)), None)


def asked_in_tunnel(profile: WireguardProfile, peer: WireguardPeer) -> tuple[IPv4Address, ...]:
    """Whom of the tunnel echo requests can go to, the likeliest first; none that the peer's AllowedIPs leave out.

    The first address of this end's network is the server's by custom; AllowedIPs may name the server alone; a resolver is there to be
    asked; an address without a network is taken to be of one as large as most have.
    """
    own = [address for address in profile.addresses if isinstance(address, IPv4Interface)][:MOST_CONSIDERED]
    allowed = [network for network in peer.allowed_ips if isinstance(network, IPv4Network)]
    resolvers = [address for address in profile.dns if isinstance(address, IPv4Address)][:MOST_CONSIDERED]
    found = [
        *(_first(address.network) for address in own if address.network.prefixlen < 31),
        *(network.network_address for network in allowed if network.prefixlen == 32),
        *(address for address in resolvers if address.is_private),
        *(_first(IPv4Network((address.ip, WHOLE_NETWORK), strict=False)) for address in own),
        *(_first(network) for network in allowed if 0 < network.prefixlen < 31),
        *(address for address in resolvers if not address.is_private),
    ]
    mine = {address.ip for address in own}
    usable = (address for address in dict.fromkeys(found) if address not in mine and any(address in network for network in allowed))
    return tuple(islice(usable, MOST_ASKED))


def _first(network: IPv4Network) -> IPv4Address:
    """The first address that a host can have."""
    return network.network_address + 1
