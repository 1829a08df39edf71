"""Both agents in a simulated network: the same agents and probes as in a live run, without privilege or peer.

The control channel is a TCP connection of the simulated network to CONTROL_PORT, so filters and loss on the path meet it too; it
carries no TLS, since nobody but the two ends is there.
"""

import asyncio
import contextlib
from collections.abc import Mapping

from vpnprobe.agents.client import ClientRun, Measured, OnProgress
from vpnprobe.agents.pairing import why_not
from vpnprobe.agents.server import ServerAgent
from vpnprobe.errors import CannotRun
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Capability, ConnectError, Endpoint, TcpStream
from vpnprobe.transports.tls import SEGMENT_BYTES
from vpnprobe.transports.topology import CLIENT, SERVER, Topology

CONTROL_PORT = 7117
CONNECT_DEADLINE_S = 7.5


def measure_simulated(
    topology: Topology,
    *,
    seed: int,
    settings: Settings,
    tell: OnProgress,
    capabilities: Mapping[str, frozenset[Capability]] | None = None,
    paired: bool = True,
    stop_after_s: float | None = None,
) -> tuple[Measured, float]:
    """What a run over this network finds, and how long it took there, seconds of virtual time. The same seed gives the same run.

    `stop_after_s`: when it is interrupted; None: it is not.
    """
    network = SimulatedNetwork(topology, seed=seed, capabilities=capabilities)
    measuring = _measure(network, topology, settings, tell, paired=paired, stop_after_s=stop_after_s)
    return run_virtual(measuring, loop_factory=network.loop_factory)


async def _measure(
    network: SimulatedNetwork, topology: Topology, settings: Settings, tell: OnProgress, *, paired: bool, stop_after_s: float | None
) -> tuple[Measured, float]:
    client, server = network.stack(CLIENT), network.stack(SERVER)
    agent = ServerAgent(server)
    address = topology.public_address(SERVER)
    serving: set[asyncio.Task[None]] = set()

    def connected(stream: TcpStream) -> None:
        task = asyncio.get_running_loop().create_task(agent.serve(stream))
        serving.add(task)
        task.add_done_callback(serving.discard)

    async def connect() -> TcpStream:
        remote = Endpoint(address, CONTROL_PORT)
        try:
            return await client.connect(remote, deadline_s=CONNECT_DEADLINE_S, segment_bytes=SEGMENT_BYTES)
        except ConnectError as error:
            raise CannotRun(why_not(remote, error.failure)) from error

    async def serve() -> None:
        agent.start()
        await server.listen(connected, port=CONTROL_PORT, segment_bytes=SEGMENT_BYTES)
        agent.responders.reserve(CONTROL_PORT)

    loop = asyncio.get_running_loop()
    if paired:
        await loop.create_task(serve(), context=network.context(SERVER))
    began = client.now()
    run = ClientRun(client, address, settings, connect if paired else None, tell)
    measuring = loop.create_task(run.measure(), context=network.context(CLIENT))
    if stop_after_s is not None:
        loop.call_later(stop_after_s, measuring.cancel)
    measured = await measuring
    took = client.now() - began
    for task in list(serving):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    agent.close()
    return measured, took
