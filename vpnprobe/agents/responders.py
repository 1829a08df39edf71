"""What the server agent answers on its probe ports: one universal responder a port, told apart by the first bytes that come.

Nothing is answered to a stranger: only packets of paired sessions are. Each port is opened once, for all clients, on request and for a
bounded time. A port that another program has is left to it and reported. Which protocols may be spoken at a port, and what answers them,
is told by `vpnprobe.conversations.registry`.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from vpnprobe.agents.sessions import ClientSession, ClientSessions
from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.conversations.registry import Host, Opening, ProtocolSpec, at_port
from vpnprobe.conversations.tunnel_echo import TunnelRequests
from vpnprobe.endpoint.driver import Driver, StreamDriver
from vpnprobe.endpoint.pacer import HEADERS
from vpnprobe.endpoint.ppp_call import Call
from vpnprobe.endpoint.recorder import Departures, attempt_key
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.settings import WantedPort
from vpnprobe.transports.stack import (
    Closable,
    ConnectError,
    Datagram,
    Endpoint,
    NetworkStack,
    PortUnavailable,
    RawPort,
    TcpStream,
    UdpPort,
)
from vpnprobe.wire.nonce import MAGIC, PURPOSES_OF_REACH, STREAM_BYTES, NoncePayload, Purpose, of_key

MOST_CONVERSATIONS: Final = 512
"""Under way at one port; the oldest is forgotten."""
STREAM_DEADLINE_S: Final = 120.0


def _host(stack: NetworkStack, spec: ProtocolSpec, owner: ClientSession | None) -> Host:
    """What a responder gets; `owner`: whose conversation it is, None: nobody's here."""
    keys, number = owner.keys_for(spec) if owner is not None else (None, 0)
    return Host(stack.entropy, stack.unix_time() - stack.now(), keys, number)


def _pace(conversation: Conversation, owner: ClientSession) -> None:
    """What it sends through a tunnel by itself goes at the client's pace."""
    if isinstance(conversation, TunnelRequests):
        conversation.run.pace = owner.pacer


class UdpResponder:
    """One UDP port."""

    def __init__(self, stack: NetworkStack, sessions: ClientSessions, number: int) -> None:
        self.stack = stack
        self.sessions = sessions
        self.number = number
        self.port: UdpPort | None = None
        self._under_way: dict[Endpoint, tuple[ClientSession, Driver]] = {}
        """By the client's end: the conversation that is under way there, and whose it is."""

    async def open(self) -> None:
        """Raises PortUnavailable."""
        self.port = await self.stack.udp(self.came, port=self.number)

    def close(self) -> None:
        if self.port is not None:
            self.port.close()
        for _, driver in self._under_way.values():
            driver.close()

    def forget(self, session: ClientSession) -> None:
        """Ends the conversations of a session that has ended."""
        for client in [client for client, (owner, _) in self._under_way.items() if owner is session]:
            self._under_way.pop(client)[1].close()

    def came(self, datagram: Datagram) -> None:
        """Whatever comes; strangers get nothing."""
        identity = identify.datagram(self.number, datagram.data)
        if identity is not None and identity.session_tag is not None:
            self._probe_packet(identity, datagram)
        elif self.sessions.of(datagram.source.address):
            self._converse(datagram)

    def _probe_packet(self, identity: identify.PacketIdentity, datagram: Datagram) -> None:
        """A payload of ours, by itself or encapsulated."""
        for session in self.sessions.of(datagram.source.address, identity.session_tag):
            session.recorder.arrived([identity], datagram)
            if datagram.source.address != session.address:
                continue  # Recorded, but never answered: a forged source address must not make this agent send to a third party.
            if identity.purpose in PURPOSES_OF_REACH:
                session.endpoints[identity.check] = datagram.source
            if self.port is not None:
                self._answer(self.port, session, identity, datagram)

    def _answer(self, port: UdpPort, session: ClientSession, identity: identify.PacketIdentity, datagram: Datagram) -> None:
        payload = of_key(identity.key)
        if payload is None or payload.request is None:
            session.sender.answer(port, datagram.source, identity, datagram.data)
            session.pacer.charge(len(datagram.data) + HEADERS)
        elif (beside := session.beside.get(payload.request)) is not None and not payload.is_answer:
            session.pacer.charge(len(datagram.data) + HEADERS)
            with session.recorder.in_block(payload.block):
                beside.prompted()

    def _converse(self, datagram: Datagram) -> None:
        """Hands a datagram to the conversation that it belongs to, begun where it opens one: the client's port may have been another's."""
        opening = Opening(datagram.data, Transport.UDP, self.number)
        _, known = self._under_way.get(datagram.source, (None, None))
        spec, key = next(((spec, key) for spec in at_port(*opening[1:]) if (key := spec.opening(opening))), (None, ""))
        if spec is not None and (known is None or key != known.conversation.key):
            known = self._begin(spec, key, opening, datagram.source) or known
        if known is not None:
            known.receive(datagram.data)

    def _begin(self, spec: ProtocolSpec, key: str, opening: Opening, client: Endpoint) -> Driver | None:
        """The responder's end of a conversation that one of our clients begins; None: nobody's here, or nothing answers it."""
        owner, port = self.sessions.of_conversation(client.address, key), self.port
        if owner is None or port is None or spec.respond is None:
            return None
        conversation = spec.respond(opening, _host(self.stack, spec, owner))
        if conversation is None:
            return None
        check = Check(spec.probe, spec.checks[0], Transport.UDP, self.number, spec.variant(opening))

        def send(data: bytes) -> bool:
            owner.pacer.charge(len(data) + HEADERS)
            return port.send(data, client)

        driver = Driver(
            self.stack,
            conversation,
            send=send,
            record=lambda departures: owner.recorder.steps(conversation, check, Sender.RESPONDER, departures, remote=client),
        )
        self._keep(client, owner, driver)
        _pace(conversation, owner)
        driver.start()
        return driver

    def under_way(self, session: ClientSession, key: str) -> Driver | None:
        """The conversation of that key that is under way here for a session, else its newest; None: there is none."""
        own = [driver for owner, driver in self._under_way.values() if owner is session]
        return next((driver for driver in own if driver.conversation.key == key), own[-1] if own else None)

    def _keep(self, client: Endpoint, owner: ClientSession, driver: Driver) -> None:
        """Puts a conversation in the place of the one before it from there; where there are too many, the oldest is forgotten."""
        if client not in self._under_way and len(self._under_way) >= MOST_CONVERSATIONS:
            self._under_way.pop(next(iter(self._under_way)))[1].close()
        if (before := self._under_way.pop(client, None)) is not None:
            before[1].close()
        self._under_way[client] = (owner, driver)


class TcpResponder:
    """One TCP port."""

    def __init__(self, stack: NetworkStack, sessions: ClientSessions, number: int, gre: Callable[[], RawPort | None]) -> None:
        self.stack = stack
        self.sessions = sessions
        self.number = number
        self._gre = gre
        self._listener: Closable | None = None
        self._streams: dict[asyncio.Task[None], TcpStream] = {}

    async def open(self) -> None:
        """Raises PortUnavailable."""
        self._listener = await self.stack.listen(self._connected, port=self.number)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for task, stream in self._streams.items():
            task.cancel()
            stream.abort()  # A task that is cancelled before it ran does nothing at all.

    def _connected(self, stream: TcpStream) -> None:
        sessions = self.sessions.of(stream.remote.address)
        if not sessions:
            stream.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(stream))
        self._streams[task] = stream
        task.add_done_callback(lambda done: self._streams.pop(done, None))
        for session in sessions:
            key, check = attempt_key(stream.remote), checks.tcp_reach(self.number)
            session.recorder.received(check, key, message="SYN", source=stream.remote)
            session.recorder.sent(check, key, message="SYN-ACK", to=stream.remote)

    async def _serve(self, stream: TcpStream) -> None:
        try:
            async with asyncio.timeout(STREAM_DEADLINE_S):
                await self._by_first_bytes(stream)
        except (ConnectError, TimeoutError, DecodeError):
            pass
        finally:
            stream.abort()

    async def _by_first_bytes(self, stream: TcpStream) -> None:
        first = await self._first_bytes(stream)
        if not first:
            await stream.close()
        elif first.startswith(MAGIC):
            await self._nonces(stream, first)
        else:
            await self._converse(stream, first)

    async def _first_bytes(self, stream: TcpStream) -> bytes:
        """As many as it takes to tell what is spoken, however the path cuts the stream into segments; fewer where it ends before."""
        first = b""
        while len(first) < self._needed(first) and (chunk := await stream.receive()):
            first += chunk
        return first

    def _needed(self, first: bytes) -> int:
        if not first:
            return 1
        if MAGIC.startswith(first[: len(MAGIC)]):
            return STREAM_BYTES
        return max((spec.stream_needs(first) for spec in at_port(Transport.TCP, self.number)), default=1)

    async def _nonces(self, stream: TcpStream, first: bytes) -> None:
        """Answers one payload of ours, and of a decoy stream all of them."""
        payload = NoncePayload.decode(first[:STREAM_BYTES])
        check = checks.tcp_reach(self.number)
        if payload.purpose is Purpose.STREAM:
            await self._decoy_stream(stream, first)
            return
        for owner in self.sessions.of(stream.remote.address, payload.session_tag):
            owner.recorder.received(check, payload.key, message="payload", size=payload.size, source=stream.remote)
            owner.recorder.sent(check, payload.answer().key, message="payload", size=payload.size, to=stream.remote)
        await stream.send(payload.answer().encode())
        await stream.receive()

    async def _decoy_stream(self, stream: TcpStream, data: bytes) -> None:
        """Answers what comes at once at once, so that answers have its size. Raises DecodeError for anything else than payloads of ours."""
        while data:
            payloads = [NoncePayload.decode(data[at : at + STREAM_BYTES]) for at in range(0, len(data) - STREAM_BYTES + 1, STREAM_BYTES)]
            owners = [self.sessions.of(stream.remote.address, payload.session_tag) for payload in payloads]
            if not all(owners):
                return
            if payloads:
                answers = b"".join(payload.answer().encode() for payload in payloads)
                owners[0][0].pacer.charge(len(answers) + HEADERS)
                await stream.send(answers)
            rest = data[len(payloads) * STREAM_BYTES :]
            data = rest + chunk if (chunk := await stream.receive()) else b""

    async def _converse(self, stream: TcpStream, first: bytes) -> None:
        opening = Opening(first, Transport.TCP, self.number)
        for spec in at_port(Transport.TCP, self.number):
            owner = self.sessions.of_conversation(stream.remote.address, spec.opening(opening))
            conversation = spec.respond(opening, _host(self.stack, spec, owner)) if spec.respond is not None else None
            if conversation is not None:
                await self._carry(stream, spec, conversation, opening)
                return

    async def _carry(self, stream: TcpStream, spec: ProtocolSpec, conversation: Conversation, opening: Opening) -> None:
        """Runs the responder's end until the stream ends. Whose it is may show only with a later message than the first."""
        check = Check(spec.probe, spec.checks[0], Transport.TCP, self.number, spec.variant(opening))
        call: Call | None = None

        def record(departures: Departures) -> None:
            nonlocal call
            owner = self.sessions.of_conversation(stream.remote.address, conversation.key)
            if owner is None:
                return
            _pace(conversation, owner)
            owner.recorder.steps(conversation, check, Sender.RESPONDER, departures, remote=stream.remote)
            if call is None and (call := self._call(owner, spec, conversation, stream)) is not None:
                owner.calls.append(call)

        driver = StreamDriver(self.stack, conversation, stream, record)
        try:
            driver.start(opening.data)
            await driver.finished()
            await driver.drained()
        finally:
            driver.close()

    def _call(self, owner: ClientSession, spec: ProtocolSpec, conversation: Conversation, stream: TcpStream) -> Call | None:
        """The call that a control connection has set up, whose packets go by themselves; None: there is none, or no raw socket."""
        raw, numbers = self._gre(), spec.call_ids(conversation)
        if raw is None or numbers is None:
            return None
        own, peer = numbers
        return Call(owner.recorder, raw, stream.remote.address, Sender.RESPONDER, call_id=own, peer_call_id=peer)


class Responders:
    """All probe ports of one server agent."""

    def __init__(self, stack: NetworkStack, sessions: ClientSessions, gre: Callable[[], RawPort | None]) -> None:
        self._stack = stack
        self._sessions = sessions
        self._gre = gre
        self._open: dict[WantedPort, UdpResponder | TcpResponder] = {}
        self._reserved: set[int] = set()
        self._one_at_a_time = asyncio.Lock()

    def reserve(self, port: int) -> None:
        """The control port: never a probe port."""
        self._reserved.add(port)

    async def open(self, wanted: WantedPort) -> PortState:
        """Opens a port, or finds that it is open, another program's, or not to be had."""
        # Two clients that ask for a port at once must not take each other's for another program's.
        async with self._one_at_a_time:
            return await self._opened(wanted)

    async def _opened(self, wanted: WantedPort) -> PortState:
        if wanted in self._open:
            return PortState.OURS
        if wanted.transport is Transport.TCP and wanted.port in self._reserved:
            return PortState.CLOSED
        responder: UdpResponder | TcpResponder
        if wanted.transport is Transport.UDP:
            responder = UdpResponder(self._stack, self._sessions, wanted.port)
        else:
            responder = TcpResponder(self._stack, self._sessions, wanted.port, self._gre)
        try:
            await responder.open()
        except PortUnavailable as error:
            return PortState.DAEMON if error.in_use else PortState.CLOSED
        self._open[wanted] = responder
        return PortState.OURS

    def udp(self, number: int) -> UdpPort | None:
        """The open UDP port of that number; None: there is none."""
        responder = self._open.get(WantedPort(Transport.UDP, number))
        return responder.port if isinstance(responder, UdpResponder) else None

    def conversation(self, number: int, session: ClientSession, key: str) -> Driver | None:
        """The one of that key that is under way at a UDP port for a session, else the newest; None: there is none."""
        responder = self._open.get(WantedPort(Transport.UDP, number))
        return responder.under_way(session, key) if isinstance(responder, UdpResponder) else None

    def forget(self, session: ClientSession) -> None:
        """Ends what is under way for a session that has ended; its ports may be others' too."""
        for responder in self._open.values():
            if isinstance(responder, UdpResponder):
                responder.forget(session)

    def keep_only(self, wanted: set[WantedPort]) -> None:
        """Closes what no session wants any more."""
        for port in [port for port in self._open if port not in wanted]:
            self._open.pop(port).close()

    def close(self) -> None:
        self.keep_only(set())
