"""A conversation by script, for the tests of drivers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vpnprobe.conversations.contract import Step
from vpnprobe.transports.stack import Endpoint
from vpnprobe.transports.topology import Topology

PORT = 1194
THERE = Endpoint(Topology().server_address, PORT)
GOAL = "goal"


@dataclass
class Scripted:
    """A conversation that answers each message in capitals, has timers when it is told to, and whose goal is the message `goal`."""

    dues: list[float] = field(default_factory=list)
    """When something is due, in order."""
    last_words: bytes = b""
    """What it says when the peer has ended the stream."""
    key: str = "k"
    happened: list[tuple[str, float]] = field(default_factory=list)
    outbox: list[bytes] = field(default_factory=list)

    def start(self, now: float) -> None:
        self.happened.append(("start", now))

    def receive(self, data: bytes, now: float) -> None:
        if data == b"broken":
            raise AssertionError("a bug")
        self.happened.append((data.decode(), now))
        self.outbox.append(data.upper())

    def closed_by_peer(self, now: float) -> None:
        self.happened.append(("closed", now))
        self.outbox += [self.last_words] if self.last_words else []

    def data_to_send(self, now: float) -> Sequence[bytes]:
        outbox, self.outbox = self.outbox, []
        return outbox

    def next_timer(self) -> float | None:
        return self.dues[0] if self.dues else None

    def handle_timer(self, now: float) -> None:
        if now >= self.dues[0]:
            self.happened.append(("timer", now))
            self.outbox.append(b"timer")
            del self.dues[0]

    def reached(self, check: str) -> bool:
        return check in (name for name, _ in self.happened)

    def events(self) -> Sequence[Step]:
        return ()

    def times(self, name: str) -> list[float]:
        return [at for happened, at in self.happened if happened == name]
