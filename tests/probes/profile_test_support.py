"""Existing OpenVPN servers in a simulated network, and trials of them with a profile."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, TypeVar

from vpnprobe.conversations.openvpn_ends import Server
from vpnprobe.conversations.openvpn_session import Negotiation, Wrapping
from vpnprobe.conversations.openvpn_session_keys import SessionKeys, make_session_keys
from vpnprobe.conversations.openvpn_tls import server_context
from vpnprobe.endpoint.driver import Driver, StreamDriver
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.named_failures import NamedFailure
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import Observation, Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.openvpn_profile_test import ProfileProbe, ProfileTest
from vpnprobe.probes.settings import Settings
from vpnprobe.profiles.model import Profile, Remote, TlsMaterial
from vpnprobe.profiles.model import Wrapping as ProfileWrapping
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Address, Datagram, Endpoint, NetworkStack, TcpStream, UdpPort
from vpnprobe.transports.topology import CLIENT, SERVER, Topology
from vpnprobe.wire.openvpn_messages import AuthFailed, PushReply
from vpnprobe.wire.openvpn_wrap import Wrap

T = TypeVar("T")
PORT: Final = 1194
HOST: Final = "vpn.example.net"
DATA_OPCODE: Final = 9
Loses = Callable[[bytes, bool], bool]
"""Whether a datagram is lost: its bytes, and whether it is for the server."""


@cache
def session_keys() -> SessionKeys:
    """Certificates and keys of a server and of its client, made once."""
    return make_session_keys(random.Random(7).randbytes)


class ChoosyServer(Server):
    """A server that asks for a name and a password."""

    def _push(self, negotiation: Negotiation) -> None:
        assert negotiation.peer is not None
        assert negotiation.tls is not None
        if (negotiation.peer.username, negotiation.peer.password) == ("alice", "sesame"):
            super()._push(negotiation)
        else:
            negotiation.tls.write(AuthFailed().encode())


class TellingServer(Server):
    """A server whose refusal says what it was told."""

    def _push(self, negotiation: Negotiation) -> None:
        assert negotiation.peer is not None
        assert negotiation.tls is not None
        negotiation.tls.write(AuthFailed(f"no {negotiation.peer.username} / {negotiation.peer.password}").encode())


class SilentServer(Server):
    """A server that does not answer the client's key message."""

    def _keys_came(self, negotiation: Negotiation, now: float) -> None:
        pass


class NamelessServer(Server):
    """A server that tells no address of its own in the tunnel."""

    def _push(self, negotiation: Negotiation) -> None:
        assert negotiation.tls is not None
        options = ("topology subnet", "ifconfig 10.8.0.2 255.255.255.0", f"peer-id {self.peer_id}", f"cipher {self.cipher}")
        negotiation.tls.write(PushReply(options).encode())
        self._pushed = True


@dataclass
class Servers:
    """One program's OpenVPN servers on a simulated host: a session for each client."""

    stack: NetworkStack
    wrapping: Wrapping = field(default_factory=Wrapping)
    kind: type[Server] = Server
    loses: Loses = lambda data, inward: False
    begun: list[Server] = field(default_factory=list)
    _port: UdpPort | None = None
    _by_client: dict[tuple[Endpoint, bytes], Driver] = field(default_factory=dict)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def server(self, *, stream: bool) -> Server:
        half = session_keys().server
        made = self.kind(
            session_id=self.stack.entropy(8),
            stream=stream,
            wrapping=self.wrapping,
            context=server_context(half.identity, clients_pem=half.client_certificate_pem.decode()),
            entropy=self.stack.entropy,
            unix_time_at_zero=self.stack.unix_time() - self.stack.now(),
            echoes=0,
            peer_id=5,
        )
        self.begun.append(made)
        return made

    async def over_udp(self, port: int = PORT) -> None:
        self._port = await self.stack.udp(self._came, port=port)

    async def over_tcp(self, port: int = PORT) -> None:
        def connected(stream: TcpStream) -> None:
            task = asyncio.get_running_loop().create_task(self._serve(stream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        await self.stack.listen(connected, port=port)

    def _came(self, datagram: Datagram) -> None:
        if self.loses(datagram.data, True):
            return
        opcode = datagram.data[0] >> 3
        slot = (datagram.source, datagram.data[1:9])
        if opcode == DATA_OPCODE:
            driver = [driver for (client, _), driver in self._by_client.items() if client == datagram.source][-1]
        elif slot in self._by_client:
            driver = self._by_client[slot]
        else:
            driver = self._by_client[slot] = self._driver(datagram.source)
            driver.start()
        driver.receive(datagram.data)

    def _driver(self, client: Endpoint) -> Driver:
        def send(data: bytes) -> bool:
            assert self._port is not None
            return self.loses(data, False) or self._port.send(data, client)

        return Driver(self.stack, self.server(stream=False), send=send, record=lambda _: None)

    async def _serve(self, stream: TcpStream) -> None:
        driver = StreamDriver(self.stack, self.server(stream=True), stream, record=lambda _: None)
        driver.start()
        try:
            await driver.finished()
        finally:
            driver.close()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for driver in self._by_client.values():
            driver.close()


def remote(transport: Transport = Transport.UDP, *, port: int = PORT, wrapping: ProfileWrapping | None = None, host: str = HOST) -> Remote:
    return Remote(host, port, transport, wrapping=wrapping or ProfileWrapping())


def profile(*remotes: Remote) -> Profile:
    """One that fits the servers, but for what it says of its remotes."""
    made = session_keys()
    tls = TlsMaterial(ca=made.server.identity.certificate_pem, cert=made.identity.certificate_pem, key=made.identity.key_pem)
    return Profile("some.ovpn", remotes or (remote(),), tls, ProfileWrapping())


def profile_wrapping(kind: Wrap) -> ProfileWrapping:
    """What a fitting profile says of a wrap."""
    if kind is Wrap.NONE:
        return ProfileWrapping()
    return ProfileWrapping(kind, session_keys().client_key if kind is Wrap.TLS_CRYPT_V2 else session_keys().server.tls_crypt)


@dataclass
class Tried:
    """What a trial found."""

    path: ProbeContext
    seconds: float
    """Of virtual time."""
    begun: int
    """Sessions at the server."""

    @property
    def named(self) -> list[NamedFailure]:
        return self.path.named_failures

    @property
    def codes(self) -> list[tuple[str, str]]:
        """Check and code of each name that tells a failure."""
        return [(name.check.name, name.code) for name in self.named if name.code]

    @property
    def said(self) -> str:
        """The words of the only failure."""
        (said,) = [name.said for name in self.named if name.code]
        return said

    @property
    def rows(self) -> dict[str, Observation]:
        facts = replace(self.path.facts, skips=tuple(self.path.skips), named_failures=tuple(self.named))
        return {row.id: row for row in judge(self.path.client_record(), EndRecord(recorded=False), facts)}

    @property
    def outcomes(self) -> dict[str, str]:
        return {name.removeprefix("openvpn-"): row.outcome.value for name, row in self.rows.items()}


Setting = Callable[[SimulatedNetwork, Servers], Coroutine[Any, Any, object]]


async def server_over_udp(_: SimulatedNetwork, servers: Servers) -> None:
    await servers.over_udp()


async def server_over_tcp(_: SimulatedNetwork, servers: Servers) -> None:
    await servers.over_tcp()


async def nobody(_: SimulatedNetwork, __: Servers) -> None:
    """No program listens."""


def tried(
    setting: Setting,
    used: Profile | None = None,
    *,
    wrapping: Wrapping | None = None,
    kind: type[Server] = Server,
    loses: Loses = lambda data, inward: False,
    addresses: Sequence[Address] | None = None,
    topology: Topology | None = None,
    username: str = "",
    password: str = "",
    echoes: int = 12,
) -> Tried:
    """Tries the profile against what `setting` puts on the simulated server."""

    async def main() -> Tried:
        network = SimulatedNetwork(topology or Topology(), seed=1)
        stack, server = network.stack(CLIENT), network.stack(SERVER)
        servers = Servers(server, wrapping or Wrapping(), kind, loses)
        await setting(network, servers)
        there = network.topology.server_address

        async def resolve(host: str, family: str) -> Sequence[Address]:
            return (there,) if addresses is None else addresses

        profile_test = ProfileTest(used or profile(), resolve, username, password, echoes=echoes)
        path = ProbeContext(
            stack,
            there,
            Settings((), existing=profile_test, only_existing=True),
            Recorder(stack, Vantage.CLIENT),
            Nonces(stack, 9),
            None,
            None,
        )
        began = stack.now()
        await ProfileProbe(path, profile_test).run()
        took = stack.now() - began
        path.close()
        servers.close()
        return Tried(path, took, len(servers.begun))

    return run_virtual(main())
