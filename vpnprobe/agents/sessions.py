"""What the server agent knows of one client: who it is, what it asked for, and what was seen of it.

Responders and raw sockets are shared by all clients, and several may be behind one address. A packet finds its session by the tag in our
own payload, a conversation by its key, which carries the tag. What has neither (a SYN) is told to every session of its source address,
and each client keeps what carries its own nonces.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.agents.beside import BesideControls
from vpnprobe.conversations.registry import PROTOCOLS, ProtocolSpec
from vpnprobe.conversations.session_tag import key_carries
from vpnprobe.endpoint.host_firewall import HostFirewall
from vpnprobe.endpoint.own_addresses import OwnAddresses
from vpnprobe.endpoint.pacer import FASTEST_BYTES_PER_S, FIRST_BYTES_PER_S, LEAST_BYTES_PER_S, Pacer
from vpnprobe.endpoint.passive_observer import PassiveObserver
from vpnprobe.endpoint.ppp_call import Call
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.run_capture import RunCapture, Scope
from vpnprobe.endpoint.sending import Nonces, ProbeSender
from vpnprobe.endpoint.taken_packets import TakenPacketsObserver
from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.evidence.own_queues import OwnQueue
from vpnprobe.evidence.packet_records import Check, Vantage
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Address, Closable, Endpoint, NetworkStack, Packet, TcpStream

MOST_SESSIONS: Final = 64
MOST_DEBT_S: Final = 0.5
"""For which what a session has said at once may hold up its echo requests: a client that never tells a pace must be served all the same."""
PIECE_BYTES: Final = 1024
"""Of an answer that leaves at a time."""
MOST_WITH_KEYS: Final = 1024
"""Conversations of one client and protocol that get the keys which it handed over."""
MOST_ANSWERS: Final = 512
"""Answers kept for requests that come twice."""
MOST_LIGHT_ANSWERS: Final = 2
"""Likewise, of requests that change nothing."""


@dataclass(slots=True)
class ClientSession:
    """One client."""

    stack: NetworkStack
    name: str
    """The session's name, chosen by the client: 32 hex digits."""
    address: Address
    """The client's address as it is seen here."""
    tag: int
    recorder: Recorder
    ports: dict[tuple[Transport, int], PortState] = field(default_factory=dict)
    endpoints: dict[Check, Endpoint] = field(default_factory=dict)
    """By check on UDP: where the client's payloads came from last."""
    beside: dict[int, BesideControls] = field(default_factory=dict)
    """By the number of the client's request: what is to be sent beside the answers to its controls."""
    calls: list[Call] = field(default_factory=list)
    run_capture: RunCapture = field(default_factory=RunCapture)
    host_firewall: HostFirewall = field(init=False)
    taken: TakenPacketsObserver | None = None
    """What this host takes of what comes; None: the wire is not watched."""
    pacer: Pacer = field(init=False)
    """The pace of what its conversations say, as the client has told it."""
    observer: PassiveObserver | None = None
    """Reads from the wire what is for ports of other programs; None: no port was asked for yet."""
    spoke_first: set[Transport] = field(default_factory=set)
    """Protocols without ports whose packets were sent to it before any had come."""
    own_addresses: OwnAddresses = field(default_factory=OwnAddresses)
    capture: Closable | None = None
    answers: dict[int, "asyncio.Future[dict[str, object]]"] = field(default_factory=dict)
    """By request number: what was answered, or is being worked on."""
    light_answers: dict[int, tuple[float, dict[str, object]]] = field(default_factory=dict)
    """By request number: the last answers to requests that change nothing, with when they were made."""
    streams: set[TcpStream] = field(default_factory=set)
    """Its control connections."""
    writing: dict[TcpStream, asyncio.Lock] = field(default_factory=dict)
    """By control connection: who is writing an answer."""
    heard: float = 0.0
    """When the client last asked for anything, on the network stack's clock."""
    keys: dict[str, object] = field(default_factory=dict)
    """By protocol: what the client handed over to let its conversations come up."""
    begun: Counter[str] = field(default_factory=Counter)
    """By protocol: conversations with those keys so far."""
    open_s: float = 0.0
    """For which its probe ports are to stay open, from when the client was heard of last."""
    closing: asyncio.TimerHandle | None = None
    """Closes its probe ports when the time that it asked for is over."""
    looking: asyncio.TimerHandle | None = None
    """Looks whether anything was heard of it."""
    packed: bytes | None = None
    """The capture's summary as it is handed over."""
    payloads: dict[bytes, bytes] = field(default_factory=dict)
    """What the summary has by digest alone."""
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.host_firewall = HostFirewall(Vantage.SERVER, self.tag)
        self.pacer = Pacer(self.stack.now, FIRST_BYTES_PER_S, most_debt_s=MOST_DEBT_S)

    @property
    def own_call_ids(self) -> frozenset[int]:
        """The server's, of all calls of this client."""
        others = (own for own, _ in self.observer.calls) if self.observer is not None else ()
        return frozenset((*(call.call_id for call in self.calls), *others))

    def own_queues(self, carries: object) -> tuple[OwnQueue, ...]:
        """When what was sent to it stood in a queue before a line that carries so much, bytes a second; empty: it is not told."""
        if carries is None:
            return ()
        bytes_per_s = min(FASTEST_BYTES_PER_S, max(LEAST_BYTES_PER_S, float(carries)))  # type: ignore[arg-type]
        return self.run_capture.own_queues(bytes_per_s, began_unix=self.recorder.began_unix)

    @property
    def sender(self) -> ProbeSender:
        return ProbeSender(self.recorder, Nonces(self.stack, self.tag))

    @property
    def sees_wire(self) -> bool:
        return self.capture is not None

    def scope(self, client_ports: frozenset[tuple[Transport, int]] | None) -> Scope:
        """Which captured packets belong to this client's probes.

        `client_ports`: those that the client says it used; None: a NAT may have changed them, and those count that its probes came from.
        """
        if client_ports is None:
            peers = {(s.check.transport, s.peer[1]) for s in self.recorder.packet_records if s.peer is not None}
            client_ports = frozenset((transport, port) for transport, port in peers if port is not None)
        return Scope(str(self.address), frozenset(self.ports), client_ports, self.call_ids)

    @property
    def call_ids(self) -> frozenset[int]:
        """Of both ends, of all calls of this client: the agent's own, and those that another program granted."""
        own = (call_id for call in self.calls for call_id in (call.call_id, call.peer_call_id))
        return frozenset(own) | (self.observer.call_ids if self.observer is not None else frozenset())

    def keys_for(self, spec: ProtocolSpec) -> tuple[object | None, int]:
        """What the client handed over for a protocol, and the number of the conversation that begins.

        None: it handed over nothing, or has had MOST_WITH_KEYS conversations.
        """
        keys = self.keys.get(spec.name)
        if keys is None or self.begun[spec.name] >= MOST_WITH_KEYS:
            return None, 0
        self.begun[spec.name] += 1
        return keys, self.begun[spec.name]

    def accept_keys(self, handed_over: object) -> dict[str, str]:
        """By protocol that takes keys: why its conversations cannot come up here. What is not in it has its keys."""
        told = handed_over if isinstance(handed_over, dict) else {}
        lacking: dict[str, str] = {}
        for spec in PROTOCOLS:
            if spec.accept_keys is None:
                continue
            try:
                if spec.name not in told:
                    raise CannotRun("the client handed over no keys")
                self.keys[spec.name] = spec.accept_keys(told[spec.name])
            except (CannotRun, DecodeError) as error:
                lacking[spec.name] = str(error)
        return lacking

    async def write(self, stream: TcpStream, frame: bytes) -> None:
        """Answers over a control connection. Raises ConnectError.

        One after another, in pieces: on a slow line a long answer at once would take what the probes need.
        """
        if stream not in self.streams:
            return  # It has ended meanwhile.
        async with self.writing.setdefault(stream, asyncio.Lock()):
            for start in range(0, len(frame), PIECE_BYTES):
                if start:
                    await asyncio.sleep(self.pacer.takes_s(PIECE_BYTES))
                piece = frame[start : start + PIECE_BYTES]
                self.pacer.charge(len(piece))
                await stream.send(piece)

    def forget(self, stream: TcpStream) -> None:
        """A control connection has ended."""
        self.streams.discard(stream)
        self.writing.pop(stream, None)

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        for timer in (self.closing, self.looking):
            if timer is not None:
                timer.cancel()
        if self.taken is not None:
            self.taken.close()
        if self.capture is not None:
            self.capture.close()
            self.capture = None


class SharedCapture:
    """One capture of what goes to and from an address, for all sessions that are there: each of its own would be read once more."""

    def __init__(self, stack: NetworkStack, address: Address) -> None:
        """Raises CannotRun where nothing may be captured."""
        self.captures: list[RunCapture] = []
        """Of the sessions; whoever joins sees what comes from then on."""
        self._capture = stack.capture(address, self._came)

    def _came(self, packet: Packet) -> None:
        for capture in self.captures:
            capture(packet)

    def close(self) -> None:
        self._capture.close()


class OwnShare:
    """One session's part in a shared capture, which ends with the last of them."""

    def __init__(self, shared: SharedCapture, capture: RunCapture) -> None:
        self._shared = shared
        self._capture = capture
        shared.captures.append(capture)

    def close(self) -> None:
        if self._shared.captures == [self._capture]:
            self._shared.close()
        self._shared.captures.remove(self._capture)


class ClientSessions:
    """All clients of one server agent."""

    def __init__(self, stack: NetworkStack) -> None:
        self._stack = stack
        self._by_name: dict[str, ClientSession] = {}
        self._captures: dict[Address, SharedCapture] = {}

    def capture(self, session: ClientSession) -> None:
        """Begins to capture for a session. Raises CannotRun where nothing may be captured."""
        shared = self._captures.get(session.address)
        if shared is None or not shared.captures:
            shared = self._captures[session.address] = SharedCapture(self._stack, session.address)
        session.capture = OwnShare(shared, session.run_capture)

    def get(self, name: str) -> ClientSession | None:
        return self._by_name.get(name)

    @property
    def full(self) -> bool:
        return len(self._by_name) >= MOST_SESSIONS

    def begin(self, name: str, address: Address, tag: int) -> ClientSession:
        """A new session."""
        session = ClientSession(self._stack, name, address, tag, Recorder(self._stack, Vantage.SERVER), heard=self._stack.now())
        self._by_name[name] = session
        return session

    def end(self, session: ClientSession) -> None:
        self._by_name.pop(session.name, None)
        session.close()
        self._captures = {address: shared for address, shared in self._captures.items() if shared.captures}

    def of(self, address: Address, tag: int | None = None) -> list[ClientSession]:
        """The sessions that a packet from `address` with our payload's `tag` belongs to."""
        everybody = list(self._by_name.values())
        if tag is not None:
            return [session for session in everybody if session.tag == tag]
        return [session for session in everybody if session.address == address]

    def of_conversation(self, address: Address, key: str) -> ClientSession | None:
        """The session whose client began the conversation of that key, which carries the session's tag; None: nobody's here."""
        return next((session for session in self.of(address) if key_carries(key, session.tag)), None)

    def everybody(self) -> list[ClientSession]:
        return list(self._by_name.values())
