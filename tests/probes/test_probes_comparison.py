"""Blocks of controls in runs in a simulated network: what they are sent to, what they are, and when another port is taken."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import pytest

from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.errors import CannotRun
from vpnprobe.evidence.checks import tcp_reach, udp_reach
from vpnprobe.evidence.comparison import BLOCK_S, CONTROLS, PERIOD_S, controls
from vpnprobe.evidence.packet_records import BLOCK, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord, PortState
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport
from vpnprobe.probes.comparison import MOST_CONTROLS, SILENT_BLOCKS, Comparison
from vpnprobe.probes.context import MOST_SOCKETS, ProbeContext
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.simulated import SimulatedNetwork, SimulatedStack, run_virtual
from vpnprobe.transports.stack import Datagram, Endpoint, TcpStream, UdpPort
from vpnprobe.transports.topology import CLIENT, SERVER, Filter, Topology
from vpnprobe.wire.nonce import NoncePayload, Purpose

T = TypeVar("T")
FACTORS = [(CONTROLS + 1) ** -count for count in range(1, 30)]
"""Error bounds of so many blocks of which no control was lost."""


def rows(topology: Topology, *names: str) -> dict[str, Observation]:
    found, _ = measure_simulated(topology, seed=1, settings=Settings((1194, 443), frozenset(names), control_port=7117), tell=lambda _: None)
    return {row.id: row for row in found.observations}


def is_of_blocks(bound: float | None) -> bool:
    return any(bound == pytest.approx(factor) for factor in FACTORS)


def test_gre_alone_is_compared_with_what_nobody_asked_for() -> None:
    found = rows(Topology(routers=3, filters=(Filter("r2", protocol=47),)), "gre")
    for way in ("c2s", "s2c"):
        row = found[f"gre-passthrough-bare-gre-{way}"]
        assert row.outcome is Outcome.BLOCKED
        assert is_of_blocks(row.error_bound)


def test_where_all_udp_is_blocked_controls_are_connections() -> None:
    found = rows(Topology(routers=3, filters=(Filter("r2", protocol=17),)), "udp")
    row = found["udp-reach-udp-1194-c2s"]
    assert row.outcome is Outcome.BLOCKED
    assert is_of_blocks(row.error_bound)


class Server:
    """Answers payloads of ours at some UDP ports, takes connections at a TCP port, and notes what comes."""

    def __init__(self, stack: SimulatedStack, ports: Sequence[int]) -> None:
        self.stack = stack
        self.wanted = ports
        self.answering = set(ports)
        self.came: list[tuple[float, int, Endpoint, NoncePayload]] = []
        self.connections = 0
        self._ports: list[UdpPort] = []

    async def open(self) -> None:
        for number in self.wanted:
            self._ports.append(await self.stack.udp(self._at(number), port=number))
        await self.stack.listen(self._connected, port=7117)

    def _at(self, number: int) -> Callable[[Datagram], None]:
        def came(datagram: Datagram) -> None:
            payload = NoncePayload.decode(datagram.data)
            self.came.append((self.stack.now(), number, datagram.source, payload))
            if number in self.answering:
                self._ports[self.wanted.index(number)].send(payload.answer().encode(), datagram.source)

        return came

    def _connected(self, stream: TcpStream) -> None:
        self.connections += 1
        stream.abort()

    def of(self, purpose: Purpose) -> list[tuple[float, int, Endpoint, NoncePayload]]:
        return [one for one in self.came if one[3].purpose is purpose]


class Peer:
    rtt_s = answers_in_s = 0.02
    no_raw = ""

    def background(self) -> dict[Direction, Background]:
        return {}


def on_path(story: Callable[[ProbeContext, Server], Awaitable[T]], *ports: int) -> T:
    """The story between a client whose server agent has those UDP ports."""

    async def main() -> T:
        network = SimulatedNetwork(Topology(routers=1), seed=3)
        client, server = network.stack(CLIENT), Server(network.stack(SERVER), ports)
        await server.open()
        settings = Settings((1194,), frozenset({"gre"}), control_port=7117)
        recorder = Recorder(client, Vantage.CLIENT)
        context = ProbeContext(client, network.topology.server_address, settings, recorder, Nonces(client, 7), Peer(), None)  # type: ignore[arg-type]
        context.facts = replace(context.facts, ports={(Transport.UDP, port): PortState.OURS for port in ports})
        try:
            return await story(context, server)
        finally:
            context.close()

    return run_virtual(main())


async def greeted(context: ProbeContext) -> Comparison:
    await context.comparison.greet()
    await asyncio.sleep(0.5)
    return context.comparison


def test_each_control_is_a_flow_of_its_own_and_trials_leave_among_them() -> None:
    async def story(context: ProbeContext, server: Server) -> list[tuple[float, int | None]]:
        comparison = await greeted(context)
        turns = [(context.stack.now(), await comparison.turn(size=300)) for _ in range(6)]
        await asyncio.sleep(1.0)
        found = server.of(Purpose.CONTROL)
        assert len({source for _, _, source, _ in found}) == len(found) == 6 * CONTROLS
        assert {payload.size for *_, payload in found} == {300}
        for number in range(6):
            times = [at for at, _, _, payload in found if payload.block == number]
            assert max(times) - min(times) <= BLOCK_S
        return turns

    turns = on_path(story, 53)
    assert [number for _, number in turns] == list(range(6))
    assert turns[-1][0] - turns[0][0] >= 4 * PERIOD_S


def test_sizes_of_what_waits_take_turns() -> None:
    async def story(context: ProbeContext, server: Server) -> set[int]:
        comparison = await greeted(context)
        await asyncio.gather(comparison.turn(size=100), comparison.turn(size=1000), comparison.turn(size=9000))
        await asyncio.sleep(0.5)
        return {payload.size for *_, payload in server.of(Purpose.CONTROL)}

    assert on_path(story, 53) == {100, 1000, 1200}


def test_controls_beside_what_has_one_flow_get_a_second_packet() -> None:
    async def story(context: ProbeContext, server: Server) -> tuple[list[bool | None], bool]:
        comparison = await greeted(context)
        for _ in range(3):
            await comparison.turn(one_flow=True)
        await comparison.turn()
        await asyncio.sleep(0.5)
        record = EndRecord(tuple(context.recorder.packet_records))
        same = {source for _, _, source, _ in server.of(Purpose.REPEAT)} <= {source for _, _, source, _ in server.of(Purpose.CONTROL)}
        return [control.repeat for control in controls(record, record, record)], same

    fates, same_flows = on_path(story, 53)
    assert fates == [True] * 3 * CONTROLS + [None] * CONTROLS
    assert same_flows


def test_a_prompt_is_one_packet_among_the_controls() -> None:
    async def story(context: ProbeContext, server: Server) -> list[tuple[int | None, int | None]]:
        comparison = await greeted(context)
        request = comparison.new_request()
        for _ in range(3):
            await comparison.prompt(request)
        await asyncio.sleep(0.5)
        assert all(payload.request == request for *_, payload in server.of(Purpose.PROMPT))
        return [(payload.block, payload.request) for *_, payload in server.of(Purpose.PROMPT)]

    assert on_path(story, 53) == [(0, 1), (1, 1), (2, 1)]


def test_where_nothing_passes_a_turn_and_a_prompt_come_all_the_same() -> None:
    async def story(context: ProbeContext, server: Server) -> tuple[list[int | None], int]:
        context.settings = replace(context.settings, control_port=None)
        assert not context.comparison.compares(Direction.C2S)
        found = [await context.comparison.turn()]
        await context.comparison.prompt(1)
        return found, len(server.came)

    assert on_path(story) == ([None], 0)


def test_connections_are_controls_of_what_goes_to_the_server() -> None:
    async def story(context: ProbeContext, server: Server) -> tuple[bool, bool, int, list[bool]]:
        comparison = context.comparison
        turns = [await comparison.turn() for _ in range(2)]
        await comparison.prompt(1)
        await asyncio.sleep(0.5)
        record = EndRecord(tuple(context.recorder.packet_records))
        assert turns == [0, 1]
        assert {row.check for row in record.packet_records} == {tcp_reach(7117)}
        fates = [control.came for control in controls(record, EndRecord(), record)]
        return comparison.compares(Direction.C2S), comparison.compares(Direction.S2C), server.connections, fates

    assert on_path(story) == (True, False, 3 * CONTROLS, [True] * 3 * CONTROLS)


def test_what_goes_wrong_in_a_block_is_told_to_who_waits() -> None:
    async def story(context: ProbeContext, server: Server) -> None:
        comparison = await greeted(context)
        await comparison.turn()
        context.peer = object()  # type: ignore[assignment]
        await comparison.turn()

    with pytest.raises(AttributeError):
        on_path(story, 53)


def test_a_port_on_which_nothing_passes_any_more_is_left() -> None:
    async def story(context: ProbeContext, server: Server) -> tuple[int | None, int | None]:
        comparison = await greeted(context)
        first = comparison.port()
        await comparison.turn()
        server.answering.discard(first or 0)
        for _ in range(SILENT_BLOCKS + 4):
            await comparison.turn()
        return first, comparison.port()

    first, then = on_path(story, 53, 443)
    assert {first, then} == {53, 443}


def test_a_port_is_kept_where_there_is_no_other() -> None:
    async def story(context: ProbeContext, server: Server) -> int | None:
        comparison = await greeted(context)
        server.answering.clear()
        for _ in range(SILENT_BLOCKS + 4):
            await comparison.turn()
        return comparison.port()

    assert on_path(story, 53) == 53


def test_controls_come_to_an_end() -> None:
    async def story(context: ProbeContext, server: Server) -> tuple[bool, int | None]:
        comparison = await greeted(context)
        for _ in range(MOST_CONTROLS // CONTROLS):
            await comparison.turn()
        return comparison.compares(Direction.C2S), await comparison.turn()

    assert on_path(story, 53) == (False, None)


def test_sockets_of_trials_are_closed_in_time_and_the_lasting_ones_kept() -> None:
    async def story(context: ProbeContext, server: Server) -> list[int]:
        came: list[int] = []
        lasting = await context.udp(lambda _: came.append(0), lasting=True)
        ports = [await context.udp(lambda _, number=number: came.append(number)) for number in range(1, MOST_SOCKETS + 3)]  # type: ignore[misc]
        for port in (lasting, *ports[:4]):
            server._ports[0].send(b"late", Endpoint(context.stack.source_address(context.peer_address), port.local.port))
        await asyncio.sleep(0.5)
        return came

    assert on_path(story, 53) == [0, 3, 4]


def test_what_leaves_in_a_block_says_so() -> None:
    async def story(context: ProbeContext, server: Server) -> list[PacketRecord]:
        recorder = context.recorder
        recorder.sent(udp_reach(53), "before")
        with recorder.in_block(4):
            recorder.sent(udp_reach(53), "within", detail={"call_id": 1})
        with recorder.in_block(None):
            recorder.sent(udp_reach(53), "behind")
        return [row for row in recorder.packet_records if row.movement is Movement.SENT]

    assert [dict(row.detail) for row in on_path(story, 53)] == [{}, {"call_id": 1, BLOCK: 4}, {}]


@pytest.mark.parametrize("wanted", [1e-3, 1e-9])
def test_the_wanted_bound_decides_how_many_it_takes(wanted: float) -> None:
    settings = Settings((1194, 443), frozenset({"gre", "udp"}), control_port=7117, error_bound=wanted)
    found, _ = measure_simulated(Topology(routers=3, filters=(Filter("r2", protocol=47),)), seed=1, settings=settings, tell=lambda _: None)
    row = next(row for row in found.observations if row.id == "gre-passthrough-bare-gre-c2s")
    assert row.outcome is Outcome.BLOCKED
    assert row.error_bound is not None
    assert wanted / (CONTROLS + 1) ** 3 < row.error_bound <= wanted
    assert found.client["error_bound"] == wanted


def test_a_policer_of_one_kind_is_told_as_what_that_kind_alone_loses() -> None:
    found = rows(Topology(routers=3, filters=(Filter("r2", protocol=47, packets_per_s=2, burst_packets=2),)), "gre", "udp")
    row = found["gre-passthrough-bare-gre-c2s"]
    assert (row.outcome, row.cause, row.detail["alone"]) == (Outcome.DEGRADED, Cause.LOSS, True)
    assert row.error_bound is not None
    assert row.error_bound <= 1e-6


def test_loss_of_everything_is_nothing_that_one_kind_alone_loses() -> None:
    for seed in range(3):
        settings = Settings((1194, 443), frozenset({"gre", "udp"}), control_port=7117)
        filters = (Filter("r2", probability=0.3),)
        found, _ = measure_simulated(Topology(routers=3, filters=filters), seed=seed, settings=settings, tell=lambda _: None)
        assert not any("alone" in row.detail for row in found.observations)


@pytest.mark.parametrize(("way", "share"), [("c2s", 0.5), ("s2c", 0.7)])
def test_a_bad_link_of_a_balanced_path_blocks_no_protocol(way: str, share: float) -> None:
    """So great a share of the flows is lost: GRE and ESP are one each, and have drawn it."""
    drawn = set()
    for seed in range(6):
        topology = Topology(routers=3, filters=(Filter("r2", direction=way, flow_share=share),))
        settings = Settings((1194, 443), frozenset({"gre", "esp", "udp"}), control_port=7117)
        try:
            found, _ = measure_simulated(topology, seed=seed, settings=settings, tell=lambda _: None)
        except CannotRun:
            continue  # The control connection drew it.
        for row in found.observations:
            if row.probe in ("gre", "esp"):
                assert row.outcome is not Outcome.BLOCKED, (seed, row)
                drawn.add(row.outcome)
    assert Outcome.NO_ANSWER in drawn
