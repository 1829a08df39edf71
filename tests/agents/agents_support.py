"""What the tests of the agents share: a client's end of the control channel by hand, and both agents in a simulated network."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from vpnprobe.agents.client import ClientRun, Greeter, Measured
from vpnprobe.agents.control import Channel, FrameReader, Message, encode_frame
from vpnprobe.agents.peer import hello
from vpnprobe.agents.server import Admission, ServerAgent
from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.observations.schema import Feasibility
from vpnprobe.probes.settings import Settings
from vpnprobe.rules import decide, load_default
from vpnprobe.transports.simulated import SimulatedNetwork, SimulatedStack, run_virtual
from vpnprobe.transports.stack import Capability, Closable, ConnectError, Endpoint, TcpStream
from vpnprobe.transports.topology import CLIENT, SERVER, Topology

T = TypeVar("T")
CONTROL_PORT = 7117
FEW_PORTS = Settings((1194, 443, 51820))
SESSION = "ab" * 16
LOW = frozenset({Capability.LOW_PORTS})
RULES = load_default()


def silent(_: str) -> None:
    """Progress that nobody reads."""


def measured(topology: Topology, *, lacking: tuple[str, ...] = (), keeping: frozenset[Capability] = LOW, paired: bool = True) -> Measured:
    """A run in which the ends in `lacking` have the capabilities `keeping` alone."""
    found, _ = measure_simulated(
        topology, seed=1, settings=FEW_PORTS, tell=silent, capabilities={end: keeping for end in lacking}, paired=paired
    )
    return found


def feasibility(found: Measured) -> dict[str, Feasibility]:
    return {v.protocol: v.feasibility for v in decide(found.observations, rules=RULES, ports=FEW_PORTS.candidate_ports).verdicts}


@dataclass
class Agents:
    """A server agent that listens in a simulated network, and the client's network stack."""

    network: SimulatedNetwork
    agent: ServerAgent
    client: SimulatedStack
    server: SimulatedStack
    listener: Closable = field(init=False)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def remote(self) -> Endpoint:
        return Endpoint(self.network.topology.server_address, CONTROL_PORT)

    async def connect(self) -> TcpStream:
        return await self.client.connect(self.remote, deadline_s=12.0)

    async def talk(self, *, session: str = SESSION, tag: int = 1) -> "Talk":
        """A connection of a session that has been greeted."""
        talk = Talk(await self.connect())
        await talk.ask(**hello(session, tag))
        return talk

    def channel(self, *, deadline_s: float = 30.0) -> Channel:
        return Channel(Greeter(self.connect, SESSION, 1, dict), deadline_s=deadline_s)

    def run(self, settings: Settings = FEW_PORTS) -> ClientRun:
        return ClientRun(self.client, self.network.topology.server_address, settings, Greeterless(self.connect), silent)


@dataclass
class Greeterless:
    """A connector by itself: `ClientRun` greets."""

    connect: Callable[[], Awaitable[TcpStream]]

    async def __call__(self) -> TcpStream:
        return await self.connect()


@dataclass
class Talk:
    """One control connection, message by message."""

    stream: TcpStream
    reader: FrameReader = field(default_factory=FrameReader)
    heard: list[Message] = field(default_factory=list)

    async def send(self, **message: object) -> None:
        await self.stream.send(encode_frame(message))

    async def hear(self) -> Message:
        """The next message. Raises EOFError at the end of the stream."""
        while not self.heard:
            chunk = await self.stream.receive()
            if not chunk:
                raise EOFError
            self.heard += self.reader.feed(chunk)
        return self.heard.pop(0)

    async def ask(self, **message: object) -> Message:
        await self.send(**message)
        return await self.hear()


async def until_closed(stream: TcpStream, *, within_s: float = 60.0) -> bytes:
    """All that comes until the other end closes."""
    received = b""
    async with asyncio.timeout(within_s):
        with suppress(ConnectError):
            while chunk := await stream.receive():
                received += chunk
    return received


@asynccontextmanager
async def agents(
    topology: Topology | None = None,
    *,
    seed: int = 1,
    admits: Admission | None = None,
    capabilities: dict[str, frozenset[Capability]] | None = None,
) -> AsyncIterator[Agents]:
    """A server agent behind a control port."""
    network = SimulatedNetwork(topology or Topology(), seed=seed, capabilities=capabilities)
    both = Agents(network, ServerAgent(network.stack(SERVER), admits=admits), network.stack(CLIENT), network.stack(SERVER))

    def connected(stream: TcpStream) -> None:
        task = asyncio.get_running_loop().create_task(both.agent.serve(stream))
        both.tasks.add(task)
        task.add_done_callback(both.tasks.discard)

    both.agent.start()
    both.agent.responders.reserve(CONTROL_PORT)
    both.listener = await both.server.listen(connected, port=CONTROL_PORT)
    try:
        yield both
    finally:
        both.listener.close()
        for task in list(both.tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        both.agent.close()


def simulated(
    story: Callable[[Agents], Coroutine[Any, Any, T]],
    topology: Topology | None = None,
    *,
    seed: int = 1,
    admits: Admission | None = None,
    capabilities: dict[str, frozenset[Capability]] | None = None,
) -> T:
    """Runs the story against a server agent in virtual time."""

    async def main() -> T:
        async with agents(topology, seed=seed, admits=admits, capabilities=capabilities) as both:
            return await story(both)

    return run_virtual(main())


def outcomes(measured: Measured) -> dict[str, str]:
    """Observation to outcome."""
    return {observation.id: observation.outcome.value for observation in measured.observations}


def of_probe(measured: Measured, *probes: str) -> Sequence[str]:
    """The outcomes of some probes' observations, each once."""
    return sorted({observation.outcome.value for observation in measured.observations if observation.probe in probes})
