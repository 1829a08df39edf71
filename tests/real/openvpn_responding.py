"""Our own server's end of OpenVPN sessions at a port of a lab's server, for real clients; and echo requests from the client's tunnel.

Each new client address over UDP and each TCP connection meets a fresh `Server`, as at a port that many clients use. It runs in a thread of
its own, in the server's namespace.
"""

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import cast

from vpnprobe.conversations.openvpn_ends import CIPHERS, Server
from vpnprobe.conversations.openvpn_session import Wrapping
from vpnprobe.conversations.tunnel_echo import read_echo
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_pki import WrapKeys
from vpnprobe.lab.openvpn_servers import Wrapping as Kind
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.topology import CLIENT, SERVER
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.icmp import EchoReply, EchoRequest
from vpnprobe.wire.nonce import padding
from vpnprobe.wire.openvpn_keys import KeyDirection, ServerKeyV2, StaticKey
from vpnprobe.wire.openvpn_wrap import Wrap

PORT = 1194
START_S = 5.0
ECHO_SIZES = (28, 84, 576, 1200, 1400)
"""Bytes of the packet inside the tunnel."""

Sends = Callable[[bytes], None]


def server_wrapping(kind: Kind, keys: WrapKeys) -> Wrapping:
    """The server's half of what `client_profile` writes into the profile."""
    match kind:
        case Kind.PLAIN:
            return Wrapping()
        case Kind.TLS_CRYPT:
            return Wrapping(Wrap.TLS_CRYPT, key=StaticKey.decode(keys.tls_crypt.read_text()))
        case Kind.TLS_CRYPT_V2 | Kind.TLS_CRYPT_V2_COOKIE:
            return Wrapping(Wrap.TLS_CRYPT_V2, server_key=ServerKeyV2.decode(keys.tls_crypt_v2_server.read_text()))
        case _:
            key = StaticKey.decode(keys.tls_auth.read_text())
            return Wrapping(Wrap.TLS_AUTH, key=key, direction=KeyDirection.NORMAL, digest=str(kind.digest))


class Responder:
    """What listens, and its sessions in the order in which they began."""

    def __init__(
        self,
        *,
        transport: Transport,
        wrapping: Wrapping,
        context: ssl.SSLContext,
        ciphers: tuple[Cipher, ...] = CIPHERS,
        ask_for_key_again: bool = False,
        echoes: int = 12,
    ) -> None:
        self.transport = transport
        self.sessions: list[Server] = []
        self._wrapping = wrapping
        self._context = context
        self._ciphers = ciphers
        self._ask_for_key_again = ask_for_key_again
        self._echoes = echoes

    def session(self) -> Server:
        """A fresh one."""
        server = Server(
            session_id=os.urandom(8),
            stream=self.transport is Transport.TCP,
            wrapping=self._wrapping,
            context=self._context,
            entropy=os.urandom,
            unix_time_at_zero=time.time() - time.monotonic(),
            ciphers=self._ciphers,
            echoes=self._echoes,
            peer_id=len(self.sessions),
            ask_for_key_again=self._ask_for_key_again,
        )
        self.sessions.append(server)
        return server

    @contextmanager
    def listening(self, lab: Lab) -> Iterator[None]:
        """On PORT of the lab's server, until the block ends."""
        loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

        def serve() -> None:
            with lab.inside(SERVER), asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._serve(str(lab.topology.server_address), ready, over))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert ready.wait(START_S)
            yield
        finally:
            if thread.is_alive():
                loop.call_soon_threadsafe(over.set)
            thread.join(START_S)

    async def _serve(self, address: str, ready: threading.Event, over: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        flows: list[_Flow] = []

        def begun(send: Sends) -> _Flow:
            flows.append(_Flow(loop, self.session(), send))
            return flows[-1]

        listener: asyncio.Server | asyncio.DatagramTransport
        if self.transport is Transport.TCP:
            listener = await loop.create_server(lambda: _Connection(begun), address, PORT)
        else:
            listener, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(begun), (address, PORT))
        ready.set()
        await over.wait()
        for flow in flows:
            flow.end()
        listener.close()


class _Flow:
    """One session and its timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server, send: Sends) -> None:
        self.server = server
        self.close: Callable[[], None] = lambda: None
        self._loop = loop
        self._send = send
        self._timer: asyncio.TimerHandle | None = None
        server.start(loop.time())

    def came(self, data: bytes) -> None:
        self.server.receive(data, self._loop.time())
        self._send_all()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.close()

    def _send_all(self) -> None:
        for data in self.server.data_to_send(self._loop.time()):
            self._send(data)
        if self._timer is not None:
            self._timer.cancel()
        due = self.server.next_timer()
        self._timer = None if due is None else self._loop.call_at(due, self._fell_due, due)

    def _fell_due(self, due: float) -> None:
        self.server.handle_timer(max(due, self._loop.time()))
        self._send_all()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, begun: Callable[[Sends], _Flow]) -> None:
        self._begun = begun
        self._flows: dict[tuple[str, int], _Flow] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Up to Python 3.11 the system's own class does not derive from it.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr not in self._flows:
            self._flows[addr] = self._begun(lambda answer: self._transport.sendto(answer, addr))
        self._flows[addr].came(data)


class _Connection(asyncio.Protocol):
    def __init__(self, begun: Callable[[Sends], _Flow]) -> None:
        self._begun = begun

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._flow = self._begun(transport.write)
        self._flow.close = transport.abort

    def data_received(self, data: bytes) -> None:
        self._flow.came(data)


def echoes_answered(lab: Lab, address: IPv4Address, *, count: int, patience_s: float, sizes: Sequence[int] = ECHO_SIZES) -> int:
    """How many ICMP echo requests from the client's namespace come back whole; the sizes in turn."""
    with lab.inside(CLIENT):
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    # Not the process id: that of a program elsewhere on the machine may be the same.
    identifier = int.from_bytes(os.urandom(2), "big")
    waiting = {number: padding(number.to_bytes(2, "big"), sizes[number % len(sizes)] - 28) for number in range(count)}
    deadline = time.monotonic() + patience_s
    with opened:
        for number, data in waiting.items():
            opened.sendto(EchoRequest(identifier, number, data).encode(), (str(address), 0))
        while waiting and (left := deadline - time.monotonic()) > 0:
            opened.settimeout(left)
            try:
                echo = read_echo(opened.recv(2000))
            except TimeoutError:
                break
            if echo is not None and _fits(echo[1], identifier, waiting):
                del waiting[echo[1].sequence]
    return count - len(waiting)


def _fits(message: EchoRequest | EchoReply, identifier: int, waiting: Mapping[int, bytes]) -> bool:
    return isinstance(message, EchoReply) and message.identifier == identifier and waiting.get(message.sequence) == message.data
