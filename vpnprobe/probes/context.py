"""What a probe is given: the path to one peer, the other end's help, and how much more is needed to be sure.

`ProbeContext` is the client's view. A probe sends its fresh packets and asks `needed` how many more it takes: none once something came
through, none once silence is proven, and never more than MOST_TRIALS.
"""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from vpnprobe.conversations.registry import ClientKeys
from vpnprobe.endpoint.host_firewall import HostFirewall
from vpnprobe.endpoint.pacer import FASTEST_BYTES_PER_S, PACKET_BYTES, Line, Pacer
from vpnprobe.endpoint.probe_packets import ProbePacketMaker
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import PAYLOAD_BYTES, Nonces, ProbeSender
from vpnprobe.evidence.checks import is_raw, tcp_reach
from vpnprobe.evidence.comparison import SPARE_BLOCKS, blocks_needed
from vpnprobe.evidence.departures import Departure
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.judging.packets import more_of_what_passes
from vpnprobe.evidence.judging.remembered import Remembered
from vpnprobe.evidence.named_failures import NamedFailure
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, RefusalKind, Skip
from vpnprobe.evidence.statistics import ERROR_BOUND, MOST_TRIALS, Background
from vpnprobe.evidence.trials import missing, spaced
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes import patience
from vpnprobe.probes.comparison import Comparison
from vpnprobe.probes.first_traces import FirstTraces
from vpnprobe.probes.peer import ONE_FLOW, Job, Peer
from vpnprobe.probes.settings import Settings
from vpnprobe.probes.shared_tasks import SharedTasks
from vpnprobe.probes.tunnel import Tunnel
from vpnprobe.transports.stack import Address, Closable, Datagram, Endpoint, NetworkStack, RawPort, UdpPort

FIRST_TRIALS: Final = 6
"""Fresh packets of each kind before anybody asks whether they came."""
SUSPECTED_TRIALS: Final = blocks_needed(1.0, ERROR_BOUND) + SPARE_BLOCKS
"""The same where it is suspected that none comes: as many as it takes to be sure of it on a path that loses nothing else."""
SPACING_S: Final = 0.03
"""Between packets of one kind: loss comes in bursts."""
MOST_SOCKETS: Final = 400
"""Of trials that are open for late answers: a process may often have no more than 1024."""
MOST_ROUNDS: Final = 8
"""Of asking for more: a peer that does not send what it is asked to must not keep a run from ending."""


SendTrials = Callable[[int, bool], Awaitable[None]]
"""Sends so many fresh packets of one kind; True: each in a block, beside controls."""
SendOne = Callable[[], None]
Ready = Callable[[], Awaitable[tuple[int, SendOne]]]
"""Makes one fresh packet ready to leave: its payload's bytes, and what sends it."""


class Opener(NamedTuple):
    """A socket of the client's, and what sends a packet from it that opens the way for the server's."""

    local: Endpoint
    send: SendOne


class RawPorts(NamedTuple):
    """Raw sockets of the client, open for the whole run: without one the kernel refuses the protocol."""

    gre: RawPort
    esp: RawPort


class _Judged(NamedTuple):
    """A judgement, and what it rests on."""

    known: tuple[object, ...]
    """How much is in the client's record."""
    server: EndRecord
    facts: PathFacts
    judgement: Judge


@dataclass(slots=True)
class ProbeContext:
    """The path to one peer, for as long as a run takes."""

    stack: NetworkStack
    peer_address: Address
    settings: Settings
    recorder: Recorder
    nonces: Nonces
    peer: Peer | None
    raw: RawPorts | None
    """None: no privilege; `no_raw` says why."""
    no_raw: str = ""
    facts: PathFacts = field(default_factory=PathFacts)
    server_record: EndRecord = field(default_factory=lambda: EndRecord(recorded=False))
    host_firewall: HostFirewall | None = None
    """What the client's wire shows beside its sockets; None: no capture runs."""
    skips: list[Skip] = field(default_factory=list)
    gre_listeners: list[Callable[[Datagram], None]] = field(default_factory=list)
    """Called with every GRE packet that comes from the peer."""
    local_ports: set[tuple[Transport, int]] = field(default_factory=set)
    """Local ports that probes use: what is captured is kept by them."""
    copies: dict[Check, Callable[[int], ProbePacketMaker]] = field(default_factory=dict)
    """Makers of TTL-limited copies, of so many bytes, that only the probe of a check has what it takes for."""
    keys: Mapping[str, ClientKeys] = field(default_factory=dict)
    """By protocol: the keys of this run, whose server's half the server agent has."""
    no_keys: Mapping[str, str] = field(default_factory=dict)
    """By protocol: why there are none."""
    named_failures: list[NamedFailure] = field(default_factory=list)
    """Failures that a probe knows by name."""
    udp_locals: dict[int, Endpoint] = field(default_factory=dict)
    """By server port: the local end that `udp/reach` uses."""
    opened_by_server: set[int] = field(default_factory=set)
    """UDP ports of the server at which nothing came of the client's before the server itself had sent from there."""
    comparison: Comparison = field(init=False)
    """What suspected kinds are compared with."""
    farewells: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """What ends a conversation that stays up until the run's end, in the protocol's own words: a server may keep what is left open."""
    repeats: dict[tuple[Check, Direction], Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """One trial more of a kind, in a flow of its own (`probes.in_quiet`)."""
    first_traces: FirstTraces = field(default_factory=FirstTraces)
    """Of what has no ports, before the server speaks."""
    tunnels: list[Tunnel] = field(default_factory=list)
    """All that are tried, in order."""
    decoy_streams: defaultdict[int, SharedTasks] = field(default_factory=lambda: defaultdict(SharedTasks))
    """By port of the server (`probes.decoy_streams`)."""
    line: Line = field(init=False)
    """What the path carries, and the pace of all that is sent."""
    _open: list[Closable] = field(default_factory=list)
    _sockets: deque[UdpPort] = field(default_factory=deque)
    """Of trials that have a flow of their own, the oldest first."""
    _sync: asyncio.Task[None] | None = None
    _judged: "_Judged | None" = None
    _remembered: Remembered = field(default_factory=Remembered)

    def __post_init__(self) -> None:
        self.comparison = Comparison(self)
        self.line = Line(self.stack.now, self.peer.rtt_s if self.peer is not None else math.inf)
        if self.peer is None:
            self.line.told.set()
            self.pacer.bytes_per_s = FASTEST_BYTES_PER_S  # A few packets each, and nobody whose answers would tell what the line carries.

    @property
    def pacer(self) -> Pacer:
        """The one pace of all that this end sends."""
        return self.line.pacer

    @property
    def sender(self) -> ProbeSender:
        return ProbeSender(self.recorder, self.nonces)

    @property
    def settle_s(self) -> float:
        """How long what was just sent may still be under way, seconds."""
        return patience.settle_s(self.peer, self.line)

    @property
    def flight_s(self) -> float:
        """How long it may be on the path, seconds, however busy the two ends are."""
        return patience.flight_s(self.peer, self.line)

    def connect_s(self, most_s: float) -> float:
        """How long a TCP connection of a conversation may take, seconds; at most `most_s`."""
        return patience.connect_s(self.peer, self.line, most_s)

    def answer_s(self) -> float:
        """How long the answer to the first message over a TCP connection may take, seconds, as things are right now."""
        return patience.answer_s(self.peer, self.line)

    def lacks_keys(self, protocol: str) -> str:
        """Why there are no keys for a protocol."""
        return self.no_keys.get(protocol, "there is no server agent")

    def unconnected(self, port: int) -> str:
        """Why a conversation over TCP was not begun."""
        reach = tcp_reach(port)
        kinds = {refusal.kind for refusal in self.recorder.refusals if refusal.check == reach}
        counted = self.judge().packet_counts.get(reach)
        answered = counted is not None and bool(counted.total(Direction.S2C).received)
        if RefusalKind.RST in kinds and not answered and self.port_state(Transport.TCP, port) is not PortState.OURS:
            return "the connection was refused: nothing listens there"
        return "the connection was refused" if kinds else "no TCP connection to this port came up"

    def endpoint(self, port: int) -> Endpoint:
        return Endpoint(self.peer_address, port)

    def port_state(self, transport: Transport, port: int) -> PortState:
        return self.facts.port_state(transport, port)

    def sends_from(self, port: int) -> bool:
        """Whether the server agent can send UDP from a port, its own or another program's, and see what comes there."""
        if self.peer is None:
            return False
        state = self.port_state(Transport.UDP, port)
        beside = state is PortState.DAEMON and self.server_record.sees_closed_ports and not self.peer.no_raw
        return state is PortState.OURS or beside

    def skip(self, check: Check, reason: str, *ways: Direction) -> None:
        self.skips.extend(Skip(check, way, reason) for way in ways or (Direction.BOTH,))

    def one_sided(self, *checks: Check) -> bool:
        """Whether no agent at the server can send or see GRE and ESP; where there is one, what it lacks is told."""
        if self.peer is None:
            return True
        if self.peer.no_raw:
            for check in checks:
                self.skip(check, f"at the server: {self.peer.no_raw}", Direction.S2C)
        return bool(self.peer.no_raw)

    def keep(self, closable: Closable) -> None:
        """Leaves a socket open until the run ends, so that late answers are not refused."""
        self._open.append(closable)

    async def udp(
        self, on_datagram: Callable[[Datagram], None], on_refused: Callable[[Endpoint], None] | None = None, *, lasting: bool = False
    ) -> UdpPort:
        """A UDP port of its own, kept until MOST_SOCKETS more have been opened; `lasting`: until the run ends."""
        port = await self.stack.udp(on_datagram, address=self.stack.source_address(self.peer_address), on_refused=on_refused)
        self.local_ports.add((Transport.UDP, port.local.port))
        if lasting:
            self.keep(port)
            return port
        self._sockets.append(port)
        if len(self._sockets) > MOST_SOCKETS:
            self._sockets.popleft().close()
        return port

    async def part(self) -> None:
        """Ends in their own words all conversations that stayed up; each takes a bounded time."""
        farewells, self.farewells = self.farewells, []
        await asyncio.gather(*(farewell() for farewell in farewells), return_exceptions=True)

    def close(self) -> None:
        self.comparison.close()
        self.pacer.close()
        for closable in (*self._open, *self._sockets):
            closable.close()
        self._open.clear()
        self._sockets.clear()
        if self._sync is not None:
            self._sync.cancel()

    def client_record(self) -> EndRecord:
        """The client's own record so far, with what its own firewall keeps."""
        record, wire = self._records(), self.host_firewall
        if wire is None or self.recorder.dropped:
            return record
        rows = record.packet_records
        came, left = wire.dropped_on_input(rows, self.recorder.own_call_ids), wire.dropped_on_output(rows)
        return replace(record, dropped_on_input=came, dropped_on_output=left | record.dropped_on_output)

    def _records(self) -> EndRecord:
        """Without what its wire shows: while a run lasts counts are what is asked for, and often."""
        record = self.recorder.record(sees_closed_ports=self.host_firewall is not None, sees_raw=self.raw is not None)
        return replace(record, dropped_on_output=self.recorder.refused_to_send)

    def judge(self) -> Judge:
        """The judgement of what both ends have recorded so far; the same one until anything is added."""
        known = (len(self.recorder.packet_records), len(self.recorder.refusals), self.recorder.withheld.total(), self.recorder.late)
        judged = self._judged
        if judged is None or judged.known != known or judged.server is not self.server_record or judged.facts is not self.facts:
            judgement = Judge(self._records(), self.server_record, self.facts, times=False, remembered=self._remembered)
            self._judged = judged = _Judged(known, self.server_record, self.facts, judgement)
        return judged.judgement

    async def sync(self) -> None:
        """Waits until what was sent can have arrived, then gets the server's record. Callers at about the same time share one request."""
        waiting = asyncio.get_running_loop().create_task(asyncio.sleep(self.settle_s))
        await waiting
        if self.peer is None:
            return
        if self._sync is None or self._sync.done():
            self._sync = asyncio.get_running_loop().create_task(self._refresh())
            self._sync.add_done_callback(lambda task: None if task.cancelled() else task.exception())  # Where nobody waits, it is none.
        await asyncio.shield(self._sync)

    async def _refresh(self) -> None:
        assert self.peer is not None
        self.server_record = await self.peer.refresh()
        clock, own = self.peer.clock(self.recorder.began), self.peer.own_addresses(str(self.peer_address))
        self.facts = replace(self.facts, background=self.peer.background(), control_clock=clock, server_own_addresses=own)

    async def burst(self, send_one: Callable[[], Awaitable[None] | None], count: int, *, spacing_s: float = SPACING_S) -> None:
        """Sends `count` fresh packets, spaced in time."""
        for number in range(count):
            if number:
                await asyncio.sleep(spacing_s)
            await self.pacer.admit(PACKET_BYTES)
            if (sending := send_one()) is not None:
                await sending

    async def needed(self, check: Check, way: Direction) -> int:
        """How many more fresh packets of this kind it takes to be sure; 0: enough. Asks the server first what it got."""
        await self.sync()
        judgement = self.judge()
        counted = judgement.packet_counts.get(check)
        count = counted.total(way) if counted is not None else None
        if counted is None or count is None or not judgement.would_have_recorded(check, way):
            return 0
        if count.received:
            return more_of_what_passes(judgement, check, way, count, comparable=self.comparison.compares(way))
        if not count.sent and (set_aside := counted.set_aside[way]):
            return max(0, min(FIRST_TRIALS, MOST_TRIALS - set_aside))  # An end was late all the time: nothing is known yet.
        return self.still_needed(judgement, way, count.lost_at, one_flow=is_raw(check))

    def still_needed(
        self, judgement: Judge, way: Direction, lost_at: Sequence[Departure], loss: Background | None = None, *, one_flow: bool = False
    ) -> int:
        """How many more fresh trials it takes where those that left then were all lost; 0: enough, or no use.

        `loss`: that of the path, for where nothing passes that they could be compared with; None: that of `way`. `one_flow`: all trials
        of the kind are of one flow.
        """
        more = judgement.trials_needed(way, lost_at, comparable=self.comparison.compares(way), one_flow=one_flow)
        if more is None:
            times = [one.at for one in lost_at]
            return missing(judgement.loss[way] if loss is None else loss, times, wanted=judgement.facts.error_bound)
        return max(0, min(more, MOST_TRIALS - len(lost_at))) if lost_at else 0

    async def until_sure(self, check: Check, way: Direction, send: SendTrials, *, suspected: bool = False) -> None:
        """First trials, then as many more as it takes, beside controls. `send` sends them in the given direction.

        `suspected`: it is known already that they may not pass, and the first ones leave beside controls too.
        """
        self.repeats[check, way] = lambda: send(1, False)
        await send(SUSPECTED_TRIALS if suspected else FIRST_TRIALS, suspected)
        for _ in range(MOST_ROUNDS):
            if not (more := await self.needed(check, way)):
                return
            await send(more, True)

    async def trials(self, ready: Ready, count: int, beside: bool, *, one_flow: bool = False) -> None:
        """Sends `count` fresh packets: one after another, or, `beside`, one in each of as many blocks.

        `ready`: makes one ready, and returns its size and what sends it. `one_flow`: all of the kind are of one flow.
        """

        async def at_once() -> None:
            _, send_one = await ready()
            send_one()

        if not beside:
            await self.burst(at_once, count)
            return
        for _ in range(count):
            size, send_one = await ready()
            with self.recorder.in_block(await self.comparison.turn(size=size, one_flow=one_flow)):
                send_one()

    async def trials_back(
        self,
        job: Job,
        count: int,
        beside: bool,
        *,
        port: int = 0,
        call_id: int = 0,
        key: str = "",
        openers: Sequence["Opener"] = (),
        sizes: Sequence[int] = (),
    ) -> None:
        """Has the server send `count` fresh packets, likewise. `openers`: open the way for one of them each, or in turn.

        `key`: of the conversation that they are to belong to. `sizes`: of the IP packets, one after another; none: as small as they are.
        """
        assert self.peer is not None
        compared = beside and self.comparison.port() is not None
        spacing_s = spaced(count, SPACING_S) if beside else SPACING_S
        to = [(str(opener.local.address), opener.local.port) for opener in openers]
        if not compared:
            for opener in openers:
                opener.send()
            await self.peer.send(job, count=count, spacing_s=spacing_s, port=port, to=to, call_id=call_id, key=key, sizes=sizes)
            return
        request = self.comparison.new_request()
        await self.peer.send(job, count=count, spacing_s=0.0, port=port, to=to, call_id=call_id, key=key, beside=request, sizes=sizes)
        for number in range(count):
            for opener in openers[number : number + 1]:
                opener.send()
            await self.comparison.prompt(request, one_flow=job in ONE_FLOW)


def ready(send_one: SendOne) -> Ready:
    """Of packets that nothing has to be made ready for, of the usual size."""

    async def made() -> tuple[int, SendOne]:
        return PAYLOAD_BYTES, send_one

    return made


async def gather_all(tasks: Sequence[Awaitable[None]]) -> None:
    """Runs all to their end; the first failure is raised once all have ended."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
