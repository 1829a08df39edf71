"""How many packets it takes to be sure: more where the path loses some, spread in time, and never without end."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from vpnprobe.endpoint.probe_packets import Suspect
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, Refusal, RefusalKind, TtlTrace
from vpnprobe.evidence.statistics import MOST_TRIALS, Background
from vpnprobe.evidence.trials import SPREAD_S, SURE_TRIALS
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.context import (
    FIRST_TRIALS,
    MOST_ROUNDS,
    Job,
    ProbeContext,
    Settings,
    gather_all,
)
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.topology import CLIENT, Topology

C2S = Direction.C2S
CLEAR = Background(0, 500)


class Peer:
    """A server agent that says what it is told to say."""

    rtt_s = 0.01
    answers_in_s = 0.015
    no_raw = ""

    def clock(self, began: float) -> tuple[float, float] | None:
        return None

    def __init__(self) -> None:
        self.rows: list[PacketRecord] = []
        self.refreshed = 0
        self.loss = {C2S: CLEAR, Direction.S2C: CLEAR}

    async def send(
        self,
        job: Job,
        *,
        count: int,
        spacing_s: float,
        port: int = 0,
        to: tuple[str, int] | None = None,
        call_id: int = 0,
        beside: bool = False,
    ) -> None:
        return

    async def refresh(self) -> EndRecord:
        self.refreshed += 1
        await asyncio.sleep(self.rtt_s)
        return EndRecord(tuple(self.rows))

    def own_addresses(self, target: str) -> Mapping[Transport, str]:
        return {}

    def background(self) -> Mapping[Direction, Background]:
        return self.loss

    @property
    def control_ports(self) -> tuple[int, int] | None:
        return None

    async def trace(
        self, passing: Check, suspects: Sequence[Suspect], *, highest_ttl: int, loss: Background, starved: bool
    ) -> list[TtlTrace]:
        return []


def path_with(peer: Peer | None) -> ProbeContext:
    stack = SimulatedNetwork(Topology(), seed=1).stack(CLIENT)
    recorder = Recorder(stack, Vantage.CLIENT)
    facts = PathFacts(background=peer.background()) if peer is not None else PathFacts()
    path = ProbeContext(stack, Topology().server_address, Settings(()), recorder, Nonces(stack, 1), peer, None, facts=facts)
    if peer is not None:
        path.server_record = EndRecord()
    return path


class Asking:
    """Packets of one check, sent as `until_sure` asks for them."""

    def __init__(self, path: ProbeContext) -> None:
        self.path = path
        self.bursts: list[int] = []

    async def send(self, trials: int, spacing_s: float) -> None:
        self.bursts.append(trials)

        def one() -> None:
            self.path.recorder.sent(checks.udp_reach(53), self.path.nonces.fresh().key)

        await self.path.burst(one, trials, spacing_s=spacing_s)


def asked(peer: Peer | None, *, arrive: int | None = None) -> tuple[list[int], float]:
    """The bursts it took, and how long; `arrive`: the number of the packet that comes through."""

    async def main() -> tuple[list[int], float]:
        path = path_with(peer)
        asking = Asking(path)
        began = path.stack.now()

        async def deliver() -> None:
            while arrive is not None and peer is not None:
                await asyncio.sleep(0.001)
                rows = path.recorder.packet_records
                if len(rows) > arrive:
                    peer.rows.append(PacketRecord(Vantage.SERVER, Movement.RECEIVED, 0.0, checks.udp_reach(53), rows[arrive].key))
                    return

        delivering = asyncio.get_running_loop().create_task(deliver())
        await path.until_sure(checks.udp_reach(53), C2S, asking.send)
        delivering.cancel()
        path.close()
        return asking.bursts, path.stack.now() - began

    return run_virtual(main())


def test_what_comes_through_ends_the_check() -> None:
    bursts, took = asked(Peer(), arrive=0)
    assert bursts == [FIRST_TRIALS]
    assert took < 0.5


def test_one_that_comes_late_ends_it_too() -> None:
    bursts, _ = asked(Peer(), arrive=FIRST_TRIALS + 1)
    assert len(bursts) == 2


def test_silence_is_proven_over_a_second() -> None:
    bursts, took = asked(Peer())
    assert sum(bursts) >= SURE_TRIALS
    assert SPREAD_S <= took < 3 * SPREAD_S


def test_a_lossy_path_takes_more() -> None:
    peer = Peer()
    peer.loss = {C2S: Background(30, 70), Direction.S2C: CLEAR}
    lossy, _ = asked(peer)
    clear, _ = asked(Peer())
    assert sum(lossy) > sum(clear)
    assert sum(lossy) <= MOST_TRIALS


def test_without_an_agent_nobody_can_say_more() -> None:
    bursts, _ = asked(None)
    assert bursts == [FIRST_TRIALS]


def test_a_peer_that_does_not_send_what_it_is_asked_to_keeps_nobody() -> None:
    async def main() -> int:
        path, rounds = path_with(Peer()), 0
        path.recorder.received(checks.GRE_BARE, "x")

        async def send(_: int, __: float) -> None:
            nonlocal rounds
            rounds += 1

        await path.until_sure(checks.GRE_BARE, Direction.S2C, send)
        return rounds

    assert run_virtual(main()) <= MOST_ROUNDS + 1


def test_those_who_ask_at_the_same_time_share_one_answer() -> None:
    async def main() -> int:
        peer = Peer()
        path = path_with(peer)
        await asyncio.gather(*(path.sync() for _ in range(20)))
        await path.sync()
        return peer.refreshed

    assert run_virtual(main()) == 2


def test_a_lost_peer_is_told_to_all_who_ask() -> None:
    from vpnprobe.errors import CannotRun

    class Lost(Peer):
        async def refresh(self) -> EndRecord:
            raise CannotRun("the peer is gone")

    async def main() -> list[BaseException | None]:
        path = path_with(Lost())
        return await asyncio.gather(*(path.sync() for _ in range(3)), return_exceptions=True)

    assert [str(error) for error in run_virtual(main())] == ["the peer is gone"] * 3


@pytest.mark.parametrize(
    ("kinds", "words"),
    [((), "no TCP connection"), ((RefusalKind.RST,), "nothing listens"), ((RefusalKind.UNREACHABLE,), "was refused")],
)
def test_why_nothing_was_said_over_tcp(kinds: tuple[RefusalKind, ...], words: str) -> None:
    async def main() -> str:
        path = path_with(Peer())
        for kind in kinds:
            path.recorder.refused(Refusal(checks.tcp_reach(80), C2S, kind, None))
        return path.unconnected(80)

    assert words in run_virtual(main())


def test_where_a_connection_came_up_before_somebody_listens() -> None:
    async def main() -> str:
        path = path_with(Peer())
        path.recorder.sent(checks.tcp_reach(80), "port-5000", message="SYN")
        path.recorder.received(checks.tcp_reach(80), "port-5000", message="SYN-ACK")
        path.recorder.refused(Refusal(checks.tcp_reach(80), C2S, RefusalKind.RST, None))
        return path.unconnected(80)

    assert run_virtual(main()) == "the connection was refused"


def test_a_refusal_where_the_server_agent_listens_is_not_for_want_of_a_listener() -> None:
    async def main() -> str:
        path = path_with(Peer())
        path.facts = replace(path.facts, ports={(Transport.TCP, 80): PortState.OURS})
        path.recorder.refused(Refusal(checks.tcp_reach(80), C2S, RefusalKind.RST, None))
        return path.unconnected(80)

    assert run_virtual(main()) == "the connection was refused"


def test_everything_runs_to_its_end_before_the_first_failure_is_told() -> None:
    async def main() -> bool:
        ended = False

        async def fails() -> None:
            raise OSError("first")

        async def ends() -> None:
            nonlocal ended
            await asyncio.sleep(1)
            ended = True

        with pytest.raises(OSError, match="first"):
            await gather_all([fails(), ends()])
        return ended

    assert run_virtual(main())


def test_what_the_user_chose() -> None:
    assert Settings(()).wants("gre")
    assert not Settings((), frozenset({"udp"})).wants("gre")


def test_sockets_are_open_until_the_run_ends() -> None:
    async def main() -> tuple[set[tuple[Transport, int]], bool]:
        path = path_with(Peer())
        port = await path.udp(lambda _: None)
        flows = set(path.local_ports)
        path.close()
        again = await path.stack.udp(lambda _: None, port=port.local.port)
        again.close()
        return flows, True

    flows, reopened = run_virtual(main())
    assert len(flows) == 1
    assert reopened
