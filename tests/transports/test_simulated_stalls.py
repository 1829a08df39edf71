"""Ends whose programs stand still: their hosts go on, packets and timers come to them late and in order."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from simulated_support import ignore

from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.simulated.stack import BUFFERED
from vpnprobe.transports.simulated.stalls import Program
from vpnprobe.transports.stack import Datagram, Endpoint, Packet, TcpStream
from vpnprobe.transports.topology import CLIENT, SERVER, Stall, Topology

T = TypeVar("T")
LATE = Stall(SERVER, 1.0, 2.9)


def played(stalls: tuple[Stall, ...], story: Callable[[SimulatedNetwork], Coroutine[Any, Any, T]]) -> T:
    network = SimulatedNetwork(Topology(stalls=stalls), seed=1)
    return run_virtual(story(network), loop_factory=network.loop_factory)


async def at_server(network: SimulatedNetwork, work: Coroutine[Any, Any, T]) -> T:
    return await asyncio.get_running_loop().create_task(work, context=network.context(SERVER))


@pytest.mark.parametrize(
    ("stall", "at", "resumes"),
    [
        (LATE, 0.99, 0.99),
        (LATE, 1.0, 2.9),
        (LATE, 2.89, 2.9),
        (LATE, 2.9, 2.9),
        (Stall(SERVER, 1.0, 1.2, every_s=0.5), 0.5, 0.5),
        (Stall(SERVER, 1.0, 1.2, every_s=0.5), 1.1, 1.2),
        (Stall(SERVER, 1.0, 1.2, every_s=0.5), 1.3, 1.3),
        (Stall(SERVER, 1.0, 1.2, every_s=0.5), 7.6, 7.7),
    ],
)
@pytest.mark.parametrize("origin", [0.0, 0.1, 123.456])
def test_when_a_program_runs_again(stall: Stall, at: float, resumes: float, origin: float) -> None:
    assert Program((stall,), lambda: origin).resumes(origin + at) == pytest.approx(origin + resumes)


def test_stalls_that_touch_are_one() -> None:
    assert Program((Stall(SERVER, 2, 3), Stall(SERVER, 1, 2)), lambda: 0.0).resumes(1.5) == 3.0


def test_datagrams_are_read_late_and_in_order_and_the_capture_has_their_times() -> None:
    async def story(network: SimulatedNetwork) -> tuple[list[tuple[bytes, float]], list[float], list[float]]:
        read: list[tuple[bytes, float]] = []
        wire: list[Packet] = []
        told: list[float] = []
        client, server = network.stack(CLIENT), network.stack(SERVER)

        def on_packet(packet: Packet) -> None:
            wire.append(packet)
            told.append(server.now())

        await server.udp(lambda datagram: read.append((datagram.data, datagram.at)), port=500)
        server.capture(network.topology.client_address, on_packet)
        port = await client.udp(ignore)
        for number in range(8):
            port.send(b"%d" % number, Endpoint(network.topology.server_address, 500))
            await asyncio.sleep(0.5)
        began = wire[0].at
        return read, [packet.at - began for packet in wire], told

    read, wire, told = played((LATE,), story)
    assert [data for data, _ in read] == [b"%d" % number for number in range(8)]
    assert [at for _, at in read] == pytest.approx([0.0, 0.5, 2.9, 2.9, 2.9, 2.9, 3.0, 3.5], abs=0.001)
    assert wire == pytest.approx([number * 0.5 for number in range(8)], abs=1e-6)
    assert told == pytest.approx([at for _, at in read])


def test_timers_fire_late_in_their_order_and_the_other_ends_in_time() -> None:
    async def story(network: SimulatedNetwork) -> tuple[list[tuple[str, float]], float]:
        fired: list[tuple[str, float]] = []
        loop = asyncio.get_running_loop()
        network.events.now()

        async def program() -> None:
            for name, due in (("b", 2.0), ("a", 1.5), ("d", 4.0), ("c", 2.95), ("early", 0.5)):
                loop.call_at(due, lambda name=name: fired.append((name, loop.time())))
            await asyncio.sleep(1.2)
            fired.append(("slept", loop.time()))

        async def other() -> float:
            await asyncio.sleep(1.2)
            return loop.time()

        task = loop.create_task(other(), context=network.context(CLIENT))
        await at_server(network, program())
        await asyncio.sleep(3)
        return fired, await task

    fired, other = played((LATE,), story)
    assert [name for name, _ in fired] == ["early", "a", "b", "slept", "c", "d"]
    assert [at for _, at in fired] == pytest.approx([0.5, 2.9, 2.9, 2.9, 2.95, 4.0], abs=1e-5)
    assert other == pytest.approx(1.2)


def test_tcp_of_its_host_acknowledges_while_the_program_stands_still() -> None:
    async def story(network: SimulatedNetwork) -> tuple[float, float, float, tuple[int, int] | None]:
        client, server = network.stack(CLIENT), network.stack(SERVER)
        accepted: list[tuple[TcpStream, float]] = []
        read: list[float] = []

        async def serve() -> None:
            await server.listen(lambda stream: accepted.append((stream, server.now())), port=443)
            while not accepted:
                await asyncio.sleep(0.01)
            await accepted[0][0].receive()
            read.append(server.now())

        serving = asyncio.get_running_loop().create_task(serve(), context=network.context(SERVER))
        await asyncio.sleep(1.5)
        stream = await client.connect(Endpoint(network.topology.server_address, 443), deadline_s=3)
        connected = client.now()
        await stream.send(b"hello")
        await serving
        return connected, accepted[0][1], read[0], stream.segments()

    connected, accepted, read, segments = played((LATE,), story)
    assert connected == pytest.approx(1.5, abs=0.01)
    assert (accepted, read) == pytest.approx((2.9, 2.9), abs=0.02)
    assert segments == (2, 0)


def test_again_and_again() -> None:
    async def story(network: SimulatedNetwork) -> list[float]:
        got: list[Datagram] = []
        server = network.stack(SERVER)
        server.raw(50, got.append)
        raw = network.stack(CLIENT).raw(50, ignore)
        for _ in range(10):
            raw.send(b"esp-esp-", network.topology.server_address)
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        return [datagram.at for datagram in got]

    late = played((Stall(SERVER, 0.05, 0.25, every_s=0.3),), story)
    assert late == pytest.approx([0.0, 0.25, 0.25, 0.3, 0.55, 0.55, 0.6, 0.85, 0.85, 0.9], abs=0.001)


def test_a_socket_that_nobody_reads_holds_so_many() -> None:
    async def story(network: SimulatedNetwork) -> list[bytes]:
        got: list[bytes] = []
        await network.stack(SERVER).udp(lambda datagram: got.append(datagram.data), port=500)
        client = await network.stack(CLIENT).udp(ignore)
        network.events.now()
        for at_s, name in ((1.1, b"waits"), (3.0, b"comes")):
            await asyncio.sleep(at_s - network.events.elapsed())
            for _ in range(BUFFERED + 10):
                client.send(name, Endpoint(network.topology.server_address, 500))
        await asyncio.sleep(1)
        return got

    assert played((LATE,), story) == [b"waits"] * BUFFERED + [b"comes"] * (BUFFERED + 10)


def test_what_was_cancelled_does_not_run() -> None:
    async def story(network: SimulatedNetwork) -> list[str]:
        ran: list[str] = []
        loop, context = asyncio.get_running_loop(), network.context(SERVER)
        network.events.now()
        await asyncio.sleep(1.5)
        loop.call_soon(ran.append, "held", context=context)
        loop.call_soon(ran.append, "cancelled", context=context).cancel()
        loop.call_later(0.1, ran.append, "timer", context=context).cancel()
        await asyncio.sleep(3)
        return ran

    assert played((LATE,), story) == ["held"]


def test_without_stalls_nothing_stands_between() -> None:
    network = SimulatedNetwork(Topology(), seed=1)
    assert network.loop_factory.__name__ == "VirtualEventLoop"
    assert played((), lambda network: network.stack(CLIENT).udp(ignore)).local.port > 0
