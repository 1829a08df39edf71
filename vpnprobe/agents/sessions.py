"""What the server agent knows of one client: who it is, what it asked for, and what was seen of it.

Responders and raw sockets are shared by all clients. A packet finds its session by the tag in our own payload, else by its source
address; two clients behind one address both get the row, and each keeps what carries its own nonces.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.evidence.records import PortState
from vpnprobe.evidence.sightings import Vantage
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.call import Call
from vpnprobe.probes.keeping import Keeper, Scope
from vpnprobe.probes.recorder import Recorder
from vpnprobe.probes.sending import Nonces, PacketSender
from vpnprobe.transports.door import Address, Closable, Door, Endpoint

MOST_SESSIONS: Final = 64
MOST_ANSWERS: Final = 512
"""Answers kept for requests that come twice."""


@dataclass(slots=True)
class Session:
    """One client."""

    door: Door
    name: str
    """The session's name, chosen by the client: 32 hex digits."""
    address: Address
    """The client's address as it is seen here."""
    tag: int
    recorder: Recorder
    ports: dict[tuple[Transport, int], PortState] = field(default_factory=dict)
    endpoints: dict[int, Endpoint] = field(default_factory=dict)
    """By server UDP port: where the client's payloads came from last."""
    calls: list[Call] = field(default_factory=list)
    keeper: Keeper = field(default_factory=Keeper)
    capture: Closable | None = None
    answers: dict[int, "asyncio.Future[dict[str, object]]"] = field(default_factory=dict)
    """By request number: what was answered, or is being worked on."""
    connections: int = 0
    heard: float = 0.0
    """When the client last asked for anything, on the door's clock."""
    packed: bytes | None = None
    """The capture as it is handed over."""
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def sender(self) -> PacketSender:
        return PacketSender(self.recorder, Nonces(self.door, self.tag))

    @property
    def sees_wire(self) -> bool:
        return self.capture is not None

    def scope(self) -> Scope:
        """Which captured packets belong to this client's probes."""
        calls = {call_id for call in self.calls for call_id in (call.call_id, call.peer_call_id)}
        return Scope(str(self.address), frozenset(self.ports), None, frozenset(calls))

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        if self.capture is not None:
            self.capture.close()
            self.capture = None


class Sessions:
    """All clients of one server agent."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._by_name: dict[str, Session] = {}

    def get(self, name: str) -> Session | None:
        return self._by_name.get(name)

    @property
    def full(self) -> bool:
        return len(self._by_name) >= MOST_SESSIONS

    def begin(self, name: str, address: Address, tag: int) -> Session:
        """A new session."""
        session = Session(self._door, name, address, tag, Recorder(self._door, Vantage.SERVER), heard=self._door.now())
        self._by_name[name] = session
        return session

    def end(self, session: Session) -> None:
        self._by_name.pop(session.name, None)
        session.close()

    def of(self, address: Address, tag: int | None = None) -> list[Session]:
        """The sessions that a packet from `address` with our payload's `tag` belongs to."""
        everybody = list(self._by_name.values())
        if tag is not None:
            return [session for session in everybody if session.tag == tag]
        return [session for session in everybody if session.address == address]

    def everybody(self) -> list[Session]:
        return list(self._by_name.values())
