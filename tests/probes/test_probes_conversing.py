"""Conversations over real timers and slow connections: nothing spins, nothing is given up for one lost SYN."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.conversations.contract import Step
from vpnprobe.endpoint.driver import GoalWithin
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import Outcome, Transport
from vpnprobe.probes.context import ProbeContext
from vpnprobe.probes.conversing import connected, over_stream, over_udp
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import TcpStream
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Topology

UDP = checks.openvpn_reset(Transport.UDP, 1194)


@dataclass
class Ticking:
    """A conversation that only wants its timer handled, a little after it says, ever again."""

    due: float
    ticks: int = 0
    asked: int = 0
    key: str = "k"

    def start(self, now: float) -> None: ...

    def receive(self, data: bytes, now: float) -> None: ...

    def data_to_send(self, now: float) -> Sequence[bytes]:
        return ()

    def next_timer(self) -> float | None:
        return self.due if self.ticks < 50 else None

    def handle_timer(self, now: float) -> None:
        if now >= self.due:
            self.ticks += 1
            self.due = now + 0.1

    def closed_by_peer(self, now: float) -> None: ...

    def reached(self, check: str) -> bool:
        self.asked += 1
        assert self.asked < 1000, "the same timer over and over"
        return False

    def events(self) -> Sequence[Step]:
        return ()


def path_of(network: SimulatedNetwork) -> ProbeContext:
    stack = network.stack(CLIENT)
    return ProbeContext(stack, Topology().server_address, Settings(()), Recorder(stack, Vantage.CLIENT), Nonces(stack, 1), None, None)


def test_a_clock_that_wakes_a_hair_too_early_does_not_stop_time() -> None:
    """Event loops run what is due within their clock's resolution: by that clock the timer is not due yet, and never gets to be."""

    async def main() -> int:
        path = path_of(SimulatedNetwork(Topology(), seed=1))
        ticking = Ticking(path.stack.now() + 5e-10)
        await over_udp(path, ticking, UDP)
        path.close()
        return ticking.ticks

    assert run_virtual(main()) == 50


class Farewell(Ticking):
    """Says something once the server has ended the stream."""

    waiting: Sequence[bytes] = ()

    def closed_by_peer(self, now: float) -> None:
        self.waiting = [b"farewell"]

    def data_to_send(self, now: float) -> Sequence[bytes]:
        waiting, self.waiting = self.waiting, ()
        return waiting


def test_a_server_that_closes_ends_the_conversation_and_gets_its_last_words() -> None:
    check = checks.openvpn_reset(Transport.TCP, 1194)

    async def main() -> tuple[bool, bytes, float]:
        network = SimulatedNetwork(Topology(), seed=1)
        path = path_of(network)
        served: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(stream: TcpStream) -> None:
            await stream.close()
            served.set_result(await stream.receive())

        tasks = []
        await network.stack(SERVER).listen(lambda s: tasks.append(asyncio.get_running_loop().create_task(serve(s))), port=1194)
        stream = await connected(path, check, deadline_s=5)
        driver = await over_stream(
            path, Farewell(due=0.0, ticks=50), check, stream, lambda driver: GoalWithin(driver, check.name, 0.0, lambda: 60.0)
        )
        took = path.stack.now()
        path.close()
        return driver.was_reset, await served, took

    was_reset, last_words, took = run_virtual(main())
    assert (was_reset, last_words) == (False, b"farewell")
    assert took < 1


@pytest.mark.parametrize("seed", range(12))
def test_lost_syns_are_no_reason_to_say_nothing(seed: int) -> None:
    """A SYN in four is lost each way, and TCP repeats it after a second only: the conversation is tried again until it is held."""
    lossy = Topology(filters=(Filter(at="r2", protocol=6, ports=(1723,), probability=0.3),))
    measured, _ = measure_simulated(lossy, seed=seed, settings=Settings((), frozenset({"tcp", "pptp"})), tell=lambda _: None)
    outcomes = {observation.id: observation.outcome for observation in measured.observations}
    assert outcomes["pptp-control-tcp-1723-both"] is Outcome.PASS
    assert outcomes["gre-passthrough-in-call-gre-c2s"] is Outcome.PASS


def test_a_port_that_is_blocked_is_not_tried_without_end() -> None:
    blocked = Topology(filters=(Filter(at="r2", protocol=6, ports=(1723,)),))
    measured, took_s = measure_simulated(blocked, seed=1, settings=Settings((), frozenset({"tcp", "pptp"})), tell=lambda _: None)
    outcomes = {observation.id: observation.outcome for observation in measured.observations}
    assert outcomes["tcp-reach-tcp-1723-both"] is Outcome.BLOCKED
    assert outcomes["pptp-control-tcp-1723-both"] is Outcome.SKIPPED
    assert took_s < 10


class Broken(Ticking):
    def receive(self, data: bytes, now: float) -> None:
        raise AssertionError("a bug")


def test_a_bug_in_a_conversation_over_a_stream_is_not_taken_for_the_server_s_end_of_it() -> None:
    check = checks.openvpn_reset(Transport.TCP, 1194)

    async def main() -> None:
        network = SimulatedNetwork(Topology(), seed=1)
        path = path_of(network)
        tasks = []
        await network.stack(SERVER).listen(lambda s: tasks.append(asyncio.get_running_loop().create_task(s.send(b"hello"))), port=1194)
        stream = await connected(path, check, deadline_s=5)
        with pytest.raises(AssertionError, match="a bug"):
            await over_stream(
                path, Broken(due=60.0, ticks=50), check, stream, lambda driver: GoalWithin(driver, check.name, 0.0, lambda: 60.0)
            )
        path.close()

    run_virtual(main())


def test_a_run_that_is_broken_off_sends_nothing_more() -> None:
    async def main() -> tuple[int, int]:
        path = path_of(SimulatedNetwork(Topology(), seed=1))
        ticking = Ticking(path.stack.now() + 0.1)
        task = asyncio.get_running_loop().create_task(over_udp(path, ticking, UDP))
        await asyncio.sleep(0.35)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        before = ticking.ticks
        await asyncio.sleep(3)
        path.close()
        return before, ticking.ticks

    before, after = run_virtual(main())
    assert before == after > 0
