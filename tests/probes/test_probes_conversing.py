"""Conversations over real timers and slow connections: nothing spins, nothing is given up for one lost SYN."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.conversations.contract import Sender, Step
from vpnprobe.conversations.openvpn_reset import Responder
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import Outcome, Transport
from vpnprobe.probes.context import ProbeContext, Settings
from vpnprobe.probes.conversing import over_stream, over_udp
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Endpoint, TcpStream
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Topology
from vpnprobe.wire.openvpn import HardResetClientV2, Reliable

UDP = checks.openvpn_reset(Transport.UDP, 1194)


@dataclass
class Ticking:
    """A conversation that only wants its timer handled, a little after it says, ever again."""

    due: float
    ticks: int = 0
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

    def events(self) -> Sequence[Step]:
        return ()


def test_a_clock_that_wakes_a_hair_too_early_does_not_stop_time() -> None:
    """Event loops run what is due within their clock's resolution: by that clock the timer is not due yet, and never gets to be."""

    async def main() -> int:
        network = SimulatedNetwork(Topology(), seed=1)
        stack = network.stack(CLIENT)
        path = ProbeContext(stack, Topology().server_address, Settings(()), Recorder(stack, Vantage.CLIENT), Nonces(stack, 1), None, None)
        ticking = Ticking(stack.now() + 5e-10)
        asked = 0

        def finished() -> bool:
            nonlocal asked
            asked += 1
            assert asked < 1000, "the same timer over and over"
            return False

        await over_udp(path, ticking, UDP, finished=finished)
        path.close()
        return ticking.ticks

    assert run_virtual(main()) == 50


@pytest.mark.parametrize("cut", [1, 2, 5, 16, 100])
def test_a_stream_in_whatever_pieces(cut: int) -> None:
    """The server's end, byte by byte: what was read already comes first."""
    check = checks.openvpn_reset(Transport.TCP, 1194)

    async def main() -> tuple[list[str], bytes]:
        network = SimulatedNetwork(Topology(), seed=1)
        client, server = network.stack(CLIENT), network.stack(SERVER)
        recorder = Recorder(server, Vantage.SERVER)
        tasks = []

        async def serve(stream: TcpStream) -> None:
            first = await stream.receive(1)
            await over_stream(recorder, stream, Responder(session_id=b"s" * 8, stream=True), check, Sender.RESPONDER, first=first)

        def connected(stream: TcpStream) -> None:
            tasks.append(asyncio.get_running_loop().create_task(serve(stream)))

        await server.listen(connected, port=1194)
        stream = await client.connect(Endpoint(Topology().server_address, 1194), deadline_s=5)
        reset = HardResetClientV2.plain(b"c" * 8, Reliable()).encode()
        framed = len(reset).to_bytes(2, "big") + reset
        for start in range(0, len(framed), cut):
            await stream.send(framed[start : start + cut])
            await asyncio.sleep(0.01)
        answer = await stream.receive()
        await stream.close()
        await asyncio.gather(*tasks)
        return [row.message for row in recorder.packet_records], answer

    messages, answer = run_virtual(main())
    assert messages == ["P_CONTROL_HARD_RESET_CLIENT_V2", "P_CONTROL_HARD_RESET_SERVER_V2"]
    assert answer[2] >> 3 == 8


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
