"""WireGuard servers of their own in a simulated network, as programs beside the server agent, and profiles that fit them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, ip_interface
from typing import Final

from agents_support import Agents
from wireguard_under_load import LoadedResponder

from vpnprobe.conversations.tunnel_echo import echo_request, read_echo
from vpnprobe.conversations.wireguard_ends import Initiator
from vpnprobe.endpoint.driver import Driver
from vpnprobe.probes.settings import Resolve
from vpnprobe.profiles.wireguard_model import WireguardPeer, WireguardProfile
from vpnprobe.transports.stack import Address, Datagram, Endpoint, NetworkStack, UdpPort
from vpnprobe.wire.icmp import EchoReply
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, UdpDatagram
from vpnprobe.wire.wireguard import HandshakeInitiation, TransportData
from vpnprobe.wire.wireguard_noise import NO_MAC, NO_PRESHARED_KEY, Identity, public_key

PORT: Final = 51820
HOST: Final = "vpn.example.net"
CLIENT_KEY, SERVER_KEY, PRESHARED, STRANGER = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34)), bytes(range(3, 35))
GATEWAY: Final = IPv4Address("10.8.0.1")
DATA: Final = 4


class Gateway(LoadedResponder):
    """Its tunnel ends at one address, which answers pings or does not."""

    answers_pings = True
    pings_at_once = 1

    def echo_came(self, payload: bytes, now: float) -> None:
        echo = read_echo(payload)
        if echo is not None and (isinstance(echo[1], EchoReply) or (self.answers_pings and echo[0].destination == GATEWAY)):
            super().echo_came(payload, now)


class OnePingASecond(Gateway):
    """It answers one ping a second, after `pings_at_once`."""

    _left, _since = 0.0, float("-inf")

    def echo_came(self, payload: bytes, now: float) -> None:
        self._left, self._since = min(self.pings_at_once, self._left + now - self._since), now
        if self._left >= 1:
            self._left -= 1
            super().echo_came(payload, now)


class OnlyCookies(Gateway):
    """It answers each initiation with a cookie, whatever the initiation brings."""

    def _initiation_came(self, message: HandshakeInitiation, size: int, now: float) -> None:
        super()._initiation_came(replace(message, mac2=NO_MAC), size, now)


@dataclass
class WireguardServer:
    """One program's WireGuard interface with one peer."""

    stack: NetworkStack
    private: bytes = SERVER_KEY
    client: bytes = CLIENT_KEY
    """The private key whose public key it knows."""
    preshared: bytes = NO_PRESHARED_KEY
    kind: type[Gateway] = Gateway
    wants_cookie: bool = False
    answers_pings: bool = True
    pings_at_once: int = 1
    outage: tuple[float, float] = (0.0, 0.0)
    """From when to when nothing comes and nothing leaves, seconds after it began to listen."""
    drops_data: bool = False
    answers_from: int | None = None
    """Another port than that it listens on."""
    largest: int = 1500
    """Bytes of a datagram; larger ones it does not get."""
    heard: list[Endpoint] = field(default_factory=list)
    """Where datagrams came from."""
    followed: list[Endpoint] = field(default_factory=list)
    """Those that came to where it answers from."""
    _drivers: dict[Endpoint, Driver] = field(default_factory=dict)
    _ports: list[UdpPort] = field(default_factory=list)
    _began: float = 0.0

    async def listen(self, port: int = PORT) -> "WireguardServer":
        self._began = self.stack.now()
        self._ports.append(await self.stack.udp(self._came, port=port))
        if self.answers_from is not None:
            self._ports.append(await self.stack.udp(self._came_after, port=self.answers_from))
        return self

    def _came_after(self, datagram: Datagram) -> None:
        self.followed.append(datagram.source)
        self._came(datagram)

    def _came(self, datagram: Datagram) -> None:
        self.heard.append(datagram.source)
        if self._is_out():
            return
        if len(datagram.data) > self.largest or (self.drops_data and datagram.data[0] == DATA):
            return
        if datagram.source not in self._drivers:
            self._drivers[datagram.source] = self._driver(datagram.source)
        self._drivers[datagram.source].receive(datagram.data)

    def _driver(self, client: Endpoint) -> Driver:
        end = self.kind(
            Identity(self.private, public_key(self.client), self.preshared),
            entropy=self.stack.entropy,
            unix_time_at_zero=self.stack.unix_time() - self.stack.now(),
            echoes=0,
            wants_cookie=self.wants_cookie,
        )
        end.answers_pings, end.pings_at_once = self.answers_pings, self.pings_at_once
        return Driver(self.stack, end, send=lambda data: self._send(data, client), record=lambda _: None)

    def _send(self, data: bytes, client: Endpoint) -> bool:
        return self._is_out() or self._ports[-1].send(data, client)

    def _is_out(self) -> bool:
        return self.outage[0] <= self.stack.now() - self._began < self.outage[1]


STRANGERS_ADDRESS: Final = IPv4Address("198.51.100.7")
ELSEWHERE: Final = Endpoint(STRANGERS_ADDRESS, 4000)


class RoamingServer(WireguardServer):
    """It answers where it heard the key last, whatever the port, as real ones do; another device may use the same key from ELSEWHERE."""

    _end: Driver | None = None
    _where: Endpoint | None = None
    _other: Initiator | None = None

    def restart(self) -> None:
        """It forgets all sessions."""
        self._end = self._driver(ELSEWHERE)

    def other_device(self) -> None:
        """Another device comes up with the key, and is content."""
        entropy, now = self.stack.entropy, self.stack.now()
        identity = Identity(self.client, public_key(self.private), self.preshared)
        unix_time = self.stack.unix_time() - now
        self._other = Initiator(identity, index=entropy(4), entropy=entropy, unix_time_at_zero=unix_time, echoes=1)
        self._other.start(now)
        self._from_other_device()

    def _from_other_device(self) -> None:
        assert self._other is not None
        for data in self._other.data_to_send(self.stack.now()):
            self._came(Datagram(data, ELSEWHERE, self.stack.now()))

    def _came(self, datagram: Datagram) -> None:
        self.heard.append(datagram.source)
        if self._end is None:
            self.restart()
        assert self._end is not None
        before, known = self._opened(), self._where
        self._where = datagram.source
        self._end.receive(datagram.data)
        if self._opened() == before:
            self._where = known

    def _opened(self) -> int:
        assert self._end is not None
        assert isinstance(self._end.conversation, Gateway)
        return self._end.conversation.opened

    def _send(self, data: bytes, client: Endpoint) -> None:
        assert self._where is not None
        if self._where != ELSEWHERE:
            super()._send(data, self._where)
        elif self._other is not None:
            self._other.receive(data, self.stack.now())
            self._from_other_device()


class RenumberedServer(RoamingServer):
    """It stands behind a NAT that gives the client another port each 20 datagrams: what is sent to an old one is lost."""

    @classmethod
    def made(cls, both: Agents) -> WireguardServer:
        return cls(both.server)

    def _came(self, datagram: Datagram) -> None:
        self._true = datagram.source
        super()._came(replace(datagram, source=Endpoint(datagram.source.address, self._port)))

    @property
    def _port(self) -> int:
        """Of the client, as the server sees it now."""
        return 5000 + len(self.heard) // 20

    def _send(self, data: bytes, client: Endpoint) -> None:
        assert self._where is not None
        if self._where.port == self._port:
            WireguardServer._send(self, data, self._true)


class ForgedServer(WireguardServer):
    """A stranger at another address answers each datagram with one for a session that nobody has."""

    def _came(self, datagram: Datagram) -> None:
        super()._came(datagram)
        to, forged = datagram.source, TransportData(0x0A0B0C0D, len(self.heard), bytes(32)).encode()
        assert isinstance(to.address, IPv4Address)
        udp = UdpDatagram(ELSEWHERE.port, to.port, forged).encode(STRANGERS_ADDRESS, to.address)
        self.stack.send_packet(IPv4Packet(STRANGERS_ADDRESS, to.address, IpProtocol.UDP, payload=udp).encode())


@dataclass
class SlowServer(WireguardServer):
    """Its answers leave when the next initiation is under way, until it is quick enough."""

    quick_after_s: float = 99.0
    most: int = 99
    """Answers."""
    answers_pings: bool = False

    def _send(self, data: bytes, client: Endpoint) -> None:
        self.most -= 1
        if self.most >= 0:
            delay_s = 5.5 if self.stack.now() - self._began < self.quick_after_s else 2.5
            asyncio.get_running_loop().call_later(delay_s, super()._send, data, client)


@dataclass
class TalkativeServer(RoamingServer):
    """It pings its client all the time."""

    every_s: float = 1.0
    times: list[float] = field(default_factory=list)
    """When datagrams came."""

    def _came(self, datagram: Datagram) -> None:
        self.times.append(self.stack.now())
        super()._came(datagram)

    def restart(self) -> None:
        super().restart()
        asyncio.get_running_loop().call_later(self.every_s, self._ping)

    def _ping(self) -> None:
        assert self._end is not None
        end = self._end.conversation
        assert isinstance(end, Gateway)
        packet = echo_request(GATEWAY, IPv4Address("10.8.0.2"), identifier=77, sequence=1, size=900)
        self._end.say(lambda now: void(end.send_payload(packet, now)))
        asyncio.get_running_loop().call_later(self.every_s, self._ping)


def void(_: object) -> None:
    """Nothing is made of it."""


def peer(**changed: object) -> WireguardPeer:
    usual = WireguardPeer(public_key(SERVER_KEY), host=HOST, port=PORT, allowed_ips=(IPv4Network("0.0.0.0/0"),))
    return replace(usual, **changed)  # type: ignore[arg-type]


def profile(
    *peers: WireguardPeer, address: str = "10.8.0.2/24", mtu: int | None = None, obfuscation: Sequence[str] = ()
) -> WireguardProfile:
    return WireguardProfile("wg0.conf", CLIENT_KEY, (ip_interface(address),), (), mtu, peers or (peer(),), tuple(obfuscation))


def resolving(*addresses: Address) -> Resolve:
    async def resolve(host: str, family: str) -> Sequence[Address]:
        return addresses

    return resolve
