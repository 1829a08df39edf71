"""What the server agent answers on its probe ports: one universal responder a port, told apart by the first bytes that come.

Nothing is answered to a stranger: only packets of paired sessions are. Each port is opened once, for all clients, on request and for a
bounded time. A port that another program has is left to it and reported.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from vpnprobe.agents import openvpn_responder
from vpnprobe.agents.sessions import ClientSessions, OwnersRecorder
from vpnprobe.conversations import ikev1, ikev2, l2tp, openvpn, pptp
from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.endpoint.ppp_call import Call
from vpnprobe.endpoint.recorder import attempt_key
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.context import WantedPort
from vpnprobe.probes.conversing import over_stream
from vpnprobe.transports.stack import Closable, ConnectError, Datagram, Endpoint, NetworkStack, PortUnavailable, RawPort, TcpStream, UdpPort
from vpnprobe.wire.isakmp import NON_ESP_MARKER
from vpnprobe.wire.nonce import MAGIC, NoncePayload

MOST_CONVERSATIONS: Final = 512
"""Under way at one port; the oldest is forgotten."""
STREAM_DEADLINE_S: Final = 120.0
L2TP_PORT: Final = 1701
PPTP_PORT: Final = 1723
IKE_PORTS: Final = (500, 4500)
NAT_T_PORT: Final = 4500
FRAME_LENGTH: Final = 2
"""Bytes of length before each OpenVPN packet over TCP."""


class UdpResponder:
    """One UDP port."""

    def __init__(self, stack: NetworkStack, sessions: ClientSessions, number: int) -> None:
        self.stack = stack
        self.sessions = sessions
        self.number = number
        self.port: UdpPort | None = None
        self._conversations: dict[Endpoint, tuple[Conversation, Check]] = {}
        self._timers: dict[Endpoint, asyncio.TimerHandle] = {}

    async def open(self) -> None:
        """Raises PortUnavailable."""
        self.port = await self.stack.udp(self.came, port=self.number)

    def close(self) -> None:
        if self.port is not None:
            self.port.close()
        for timer in self._timers.values():
            timer.cancel()

    def came(self, datagram: Datagram) -> None:
        """Whatever comes; strangers get nothing."""
        if self._nonce(datagram):
            return
        if self.number == NAT_T_PORT and not datagram.data.startswith(NON_ESP_MARKER):
            self._esp(datagram)
            return
        if self.sessions.of(datagram.source.address):
            self._converse(datagram)

    def _nonce(self, datagram: Datagram) -> bool:
        identity = identify.nonce(checks.udp_reach(self.number), datagram.data)
        if identity is None:
            return False
        for session in self.sessions.of(datagram.source.address, identity.session_tag):
            session.recorder.arrived([identity], datagram)
            if datagram.source.address != session.address:
                continue  # Recorded, but never answered: a forged source address must not make this agent send to a third party.
            session.endpoints[self.number] = datagram.source
            if self.port is not None and not NoncePayload.decode(datagram.data).is_answer:
                session.sender.answer(self.port, datagram.source, identity.check, datagram.data)
        return True

    def _esp(self, datagram: Datagram) -> None:
        """ESP with our own payload; what a scanner at the same address sends is none of ours."""
        identity = identify.esp(checks.ESP_IN_UDP, datagram.data)
        if identity is None or identity.session_tag is None:
            return
        for session in self.sessions.of(datagram.source.address, identity.session_tag):
            session.recorder.arrived([identity], datagram)
            if datagram.source.address == session.address and self.port is not None:
                session.esp_in_udp = datagram.source
                session.sender.esp_in_udp(self.port, datagram.source)

    def _converse(self, datagram: Datagram) -> None:
        found = self._of(datagram)
        if found is None or self.port is None:
            return
        found[0].receive(datagram.data, self.stack.now())
        self._carry_on(datagram.source, *found)

    def _carry_on(self, client: Endpoint, conversation: Conversation, check: Check) -> None:
        """Sends what a conversation has to say, and wakes it when something is due."""
        owner = self.sessions.of_conversation(client.address, conversation.key)
        if owner is None or self.port is None:
            return
        waiting = conversation.data_to_send(self.stack.now())
        owner.recorder.steps(conversation, check, Sender.RESPONDER, remote=client)
        for data in waiting:
            self.port.send(data, client)
        if (timer := self._timers.pop(client, None)) is not None:
            timer.cancel()
        if (due := conversation.next_timer()) is not None:
            pause_s = max(0.0, due - self.stack.now())
            self._timers[client] = asyncio.get_running_loop().call_later(pause_s, self._due, client, conversation, check, due)

    def _due(self, client: Endpoint, conversation: Conversation, check: Check, due: float) -> None:
        """A timer that another conversation from the same end has not taken over."""
        self._timers.pop(client, None)
        if self._conversations.get(client) == (conversation, check):
            # A clock may wake us a hair too early: then nothing would be due by its reading.
            conversation.handle_timer(max(due, self.stack.now()))
            self._carry_on(client, conversation, check)

    def _of(self, datagram: Datagram) -> tuple[Conversation, Check] | None:
        """The conversation that a datagram belongs to, begun where it opens one."""
        known = self._conversations.get(datagram.source)
        key = self._opens(datagram.data)
        if known is not None and key in ("", known[0].key):
            return known
        begun = self._begin(datagram)
        if begun is not None:
            if len(self._conversations) >= MOST_CONVERSATIONS:
                self._conversations.pop(next(iter(self._conversations)))
            self._conversations[datagram.source] = begun
        return begun or known

    def _opens(self, data: bytes) -> str:
        """The key of the conversation that a datagram begins; empty: it begins none. A client's port may have been another's before."""
        if self.number == L2TP_PORT:
            return l2tp.opening(data)
        if self.number in IKE_PORTS:
            marker = self.number == NAT_T_PORT
            return ikev1.opening(data, non_esp_marker=marker) or ikev2.opening(data, non_esp_marker=marker)
        return openvpn.session_of(data) if openvpn_responder.wrap_of(data) is not None else ""

    def _begin(self, datagram: Datagram) -> tuple[Conversation, Check] | None:
        entropy, data = self.stack.entropy, datagram.data
        if self.number == L2TP_PORT and l2tp.Responder.claims(data):
            numbers = [1 + int.from_bytes(entropy(2), "big") % 65535 for _ in range(2)]
            return l2tp.Responder(tunnel_id=numbers[0], session_id=numbers[1], retransmit_after_s=1.0), checks.L2TP_CONTROL
        if self.number in IKE_PORTS:
            marker = self.number == NAT_T_PORT
            if ikev1.Responder.claims(data, non_esp_marker=marker):
                return ikev1.Responder(entropy=entropy(ikev1.ENTROPY_BYTES), non_esp_marker=marker), checks.ikev1_main(self.number)
            if ikev2.Responder.claims(data, non_esp_marker=marker):
                return ikev2.Responder(entropy=entropy(ikev2.ENTROPY_BYTES), non_esp_marker=marker), checks.ikev2_init(self.number)
            return None
        owner = self.sessions.of_conversation(datagram.source.address, openvpn.session_of(data))
        if owner is not None and (begun := openvpn_responder.begin(self.stack, owner, data, transport=Transport.UDP, port=self.number)):
            return begun
        if openvpn.Responder.claims(data):
            return openvpn.Responder(session_id=entropy(8), stream=False), checks.openvpn_reset(Transport.UDP, self.number)
        return None


class TcpResponder:
    """One TCP port."""

    def __init__(self, stack: NetworkStack, sessions: ClientSessions, number: int, gre: Callable[[], RawPort | None]) -> None:
        self.stack = stack
        self.sessions = sessions
        self.number = number
        self._gre = gre
        self._listener: Closable | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Raises PortUnavailable."""
        self._listener = await self.stack.listen(self._connected, port=self.number)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for task in self._tasks:
            task.cancel()

    def _connected(self, stream: TcpStream) -> None:
        sessions = self.sessions.of(stream.remote.address)
        if not sessions:
            stream.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
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
        recorder = OwnersRecorder(self.sessions, self.stack, stream.remote.address)
        first = await stream.receive()
        if not first:
            await stream.close()
        elif first.startswith(MAGIC):
            await self._nonce(stream, first)
            await stream.receive()
        elif self.number == PPTP_PORT:
            await self._pptp(stream, recorder, first)
        else:
            await self._openvpn(stream, recorder, first)

    async def _openvpn(self, stream: TcpStream, recorder: OwnersRecorder, first: bytes) -> None:
        packet = first[FRAME_LENGTH:]
        check = checks.openvpn_reset(Transport.TCP, self.number)
        owner = self.sessions.of_conversation(stream.remote.address, openvpn.session_of(packet))
        begun: tuple[Conversation, Check] | None = None
        if owner is not None:
            begun = openvpn_responder.begin(self.stack, owner, packet, transport=Transport.TCP, port=self.number)
        if begun is None and openvpn.Responder.claims(packet):
            begun = openvpn.Responder(session_id=self.stack.entropy(8), stream=True), check
        if begun is not None:
            await over_stream(recorder, stream, *begun, Sender.RESPONDER, first=first)

    async def _nonce(self, stream: TcpStream, first: bytes) -> None:
        payload = NoncePayload.decode(first)
        check = checks.tcp_reach(self.number)
        for owner in self.sessions.of(stream.remote.address, payload.session_tag):
            owner.recorder.received(check, payload.key, message="payload", size=payload.size, source=stream.remote)
            owner.recorder.sent(check, payload.answer().key, message="payload", size=payload.size, to=stream.remote)
        await stream.send(payload.answer().encode())

    async def _pptp(self, stream: TcpStream, recorder: OwnersRecorder, first: bytes) -> None:
        raw, client = self._gre(), stream.remote.address
        conversation = pptp.Responder(1 + int.from_bytes(self.stack.entropy(2), "big") % 0xFFFE)

        def watch() -> None:
            if raw is not None and conversation.state is pptp.State.CALL_UP and conversation.peer_call_id is not None:
                numbers = {"call_id": conversation.call_id, "peer_call_id": conversation.peer_call_id}
                if (owner := self.sessions.of_conversation(client, conversation.key)) is not None:
                    owner.calls.append(Call(owner.recorder, raw, client, Sender.RESPONDER, **numbers))
            elif not task.done():
                asyncio.get_running_loop().call_later(0.002, watch)

        task = asyncio.get_running_loop().create_task(
            over_stream(recorder, stream, conversation, checks.PPTP_CONTROL, Sender.RESPONDER, first=first)
        )
        watch()
        try:
            await task
        finally:
            task.cancel()


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

    def keep_only(self, wanted: set[WantedPort]) -> None:
        """Closes what no session wants any more."""
        for port in [port for port in self._open if port not in wanted]:
            self._open.pop(port).close()

    def close(self) -> None:
        self.keep_only(set())
