"""Blocks: short moments in which what is suspected not to pass leaves in random order with controls that are shown to pass.

What nobody suspects needs none. From the first suspicion on trials are made ready and then wait for their moment (`turn`): it is drawn at
random within a block of `evidence.comparison.BLOCK_S`, as those of the controls are, so that the order is random. Each control has a socket
of its own, as the client's trials over UDP and TCP have: with the same flow for all, one dead link of a balanced pair would look like a
filter. Trials of all kinds share the controls, which have their sizes in turn. What the server is to send goes in the place of an answer:
one packet of the block, sent as a control is, prompts it. Where no UDP port passes, controls are TCP connections; of these only it is known
whether they came up.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from vpnprobe.endpoint.pacer import HEADERS, Pacer
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import PAYLOAD_BYTES, ProbeSender
from vpnprobe.errors import CannotRun
from vpnprobe.evidence import identify
from vpnprobe.evidence.checks import tcp_reach, udp_reach
from vpnprobe.evidence.comparison import BLOCK_S, CONTROLS, PERIOD_S
from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.packet_counts import PacketCounts
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PathFacts, PortState
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.transports.stack import Address, ConnectError, Datagram, Endpoint, NetworkStack, UdpPort
from vpnprobe.wire.nonce import MOST_REQUESTS, SHORTEST, NoncePayload, Purpose, block_of


class Surroundings(Protocol):
    """What it takes of a probe's context."""

    @property
    def stack(self) -> NetworkStack: ...
    @property
    def peer_address(self) -> Address: ...
    @property
    def peer(self) -> object | None:
        """None: there is no server agent."""
        ...

    @property
    def recorder(self) -> Recorder: ...
    @property
    def sender(self) -> ProbeSender: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def facts(self) -> PathFacts: ...
    @property
    def settle_s(self) -> float: ...
    @property
    def local_ports(self) -> set[tuple[Transport, int]]: ...
    @property
    def opened_by_server(self) -> set[int]: ...
    @property
    def pacer(self) -> Pacer: ...
    def judge(self) -> Judge: ...
    def endpoint(self, port: int) -> Endpoint: ...


MOST_CONTROLS: Final = 2500
"""Of a run, each of which is a flow to a carrier's NAT that grants a line so many: what is not sure by then stays so."""
MOST_SOCKETS: Final = 100
"""That are open for answers: those of the last few seconds."""
LARGEST_CONTROL: Final = 1200
"""Bytes of UDP payload: what any path carries whole."""
UDP: Final = "udp"
"""The probe that asks which UDP ports pass."""
GREETED: Final = 3
"""Ports that are asked whether they pass, where no probe asks."""
GREETINGS: Final = 2
SILENT_BLOCKS: Final = 4
"""In a row of which no control was answered: then another port is taken."""
ANSWER_TIMES: Final = 4
"""How many settling times an answer may take."""
CONNECTED_S: Final = 0.9
"""Before the SYN of a control is repeated (RFC 6298 section 2): one that is lost is a control that is lost."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A trial that waits for its moment."""

    moment: "asyncio.Future[int | None]"
    size: int
    """Bytes that controls beside it have."""
    one_flow: bool
    request: int | None = None
    """A prompt is sent at its moment; None: whoever waits sends by itself."""


@dataclass(slots=True)
class _Answered:
    """What became of the controls of one block."""

    at: float
    port: int
    any: bool = False


@dataclass(slots=True)
class _Slot:
    """What one block sends at one moment by itself."""

    send: Callable[[int], None]
    moment: float = field(default=0.0)


def with_controls(wanted: list[WantedPort], settings: Settings) -> list[WantedPort]:
    """The ports that probes want, and where none is of UDP some for controls."""
    if any(port.transport is Transport.UDP for port in wanted):
        return wanted
    return [*wanted, *(WantedPort(Transport.UDP, port) for port in settings.candidates_over(Transport.UDP)[:GREETED])]


class Comparison:
    """The blocks of one run."""

    def __init__(self, context: Surroundings) -> None:
        self._context = context
        self._waiting: list[_Waiting] = []
        self._kept_up = 0
        """Who wants blocks though no trial of theirs waits for one."""
        self._blocks = 0
        self._requests = 0
        self._port: int | None = None
        self._left: set[int] = set()
        """Ports on which nothing passes any more."""
        self._greeted: set[int] = set()
        """Ports that answered a greeting."""
        self._answered: dict[int, _Answered] = {}
        """By block."""
        self._sockets: deque[UdpPort] = deque()
        self._repeats: list[tuple[UdpPort, Endpoint, Check, NoncePayload]] = []
        """Controls of the block before whose flows get a second packet."""
        self._connecting: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None

    def compares(self, way: Direction) -> bool:
        """Whether there is something that trials that way can be compared with."""
        return self.port() is not None or (way is not Direction.S2C and self._tcp_port() is not None)

    def port(self) -> int | None:
        """A UDP port of the server agent's that passes both ways, for controls; None: none is known to, or no more are sent."""
        if self._blocks * CONTROLS >= MOST_CONTROLS or self._context.peer is None:
            return None
        if self._port is not None and self._is_silent(self._port):
            self._left.add(self._port)
            self._port = self._best_port() or self._port
        if self._port is None:
            self._port = self._best_port()
        return self._port

    def _best_port(self) -> int | None:
        context = self._context
        counts = context.judge().packet_counts
        passing = {
            port: max(int(port in self._greeted), _answered_on(counts.get(udp_reach(port))))
            for (transport, port), state in context.facts.ports.items()
            if transport is Transport.UDP and state is PortState.OURS and port not in self._left and port not in context.opened_by_server
        }
        best = max(passing, key=lambda port: (passing[port], -port), default=None)
        return best if best is not None and passing[best] else None

    def _is_silent(self, port: int) -> bool:
        """Whether none of the last few controls on it that could have been answered by now was."""
        by = self._context.stack.now() - ANSWER_TIMES * self._context.settle_s
        last = [block.any for block in self._answered.values() if block.port == port and block.at < by][-SILENT_BLOCKS:]
        return len(last) == SILENT_BLOCKS and not any(last)

    def _tcp_port(self) -> int | None:
        """A TCP port that connections come up to; None: none is known, or no more are made."""
        context = self._context
        if context.peer is None or self._blocks * CONTROLS >= MOST_CONTROLS:
            return None
        if context.settings.control_port is not None:
            return context.settings.control_port
        counts = context.judge().packet_counts
        ours = [port for (transport, port), state in context.facts.ports.items() if (transport, state) == (Transport.TCP, PortState.OURS)]
        return next((port for port in ours if tcp_reach(port) in counts and counts[tcp_reach(port)].total(Direction.S2C).received), None)

    async def greet(self) -> None:
        """Asks some ports whether they pass, where no probe does."""
        context = self._context
        if context.settings.wants(UDP):
            return
        ours = [port for (transport, port), state in context.facts.ports.items() if (transport, state) == (Transport.UDP, PortState.OURS)]
        for number in ours[:GREETED]:
            port, check = await self._socket(udp_reach(number)), udp_reach(number)
            for _ in range(GREETINGS):
                context.sender.nonce(port, context.endpoint(number), check, size=SHORTEST, purpose=Purpose.GREETING)

    async def turn(self, *, size: int = PAYLOAD_BYTES, one_flow: bool = False) -> int | None:
        """Returns at the moment of one trial that is ready to leave: at random within the next block, whose number it returns.

        None: that block has no controls. `size`: bytes of the trial's payload, which controls beside it have too. `one_flow`: all trials of
        the kind are of one flow, so that it is asked whether fates follow flows.
        """
        return await self._its_moment(size, one_flow, None)

    async def prompt(self, request: int, *, one_flow: bool = False) -> None:
        """Has the server send one packet of a request's kind, in the place of an answer to a control of the next block."""
        await self._its_moment(PAYLOAD_BYTES, one_flow, request)

    async def _its_moment(self, size: int, one_flow: bool, request: int | None) -> int | None:
        moment: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(moment, max(SHORTEST, min(size, LARGEST_CONTROL)), one_flow, request))
        self._run()
        return await moment

    def new_request(self) -> int:
        """A number for what the server is to be prompted to send."""
        self._requests += 1
        return self._requests % MOST_REQUESTS

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Blocks follow one another while this lasts: for trials whose packets leave over some time."""
        self._kept_up += 1
        self._run()
        try:
            yield
        finally:
            self._kept_up -= 1

    def close(self) -> None:
        for task in (self._running, *self._connecting):
            if task is not None:
                task.cancel()
        for waiting in self._waiting:
            waiting.moment.cancel()
        for port in self._sockets:
            port.close()

    def _run(self) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run_blocks())
            self._running.add_done_callback(self._ended)

    def _ended(self, running: "asyncio.Task[None]") -> None:
        """What goes wrong in the blocks goes wrong for those that wait for them."""
        if running.cancelled() or (error := running.exception()) is None:
            return
        for one in self._waiting:
            if not one.moment.done():
                one.moment.set_exception(error)

    async def _run_blocks(self) -> None:
        while self._waiting or self._kept_up or self._repeats:
            size = HEADERS + max((one.size for one in self._waiting), default=PAYLOAD_BYTES)
            await self._context.pacer.admit((CONTROLS + len(self._waiting) + len(self._repeats)) * size)
            began = self._context.stack.now()
            waiting = list(self._waiting)
            try:
                slots = await self._slots(waiting)
            except (CannotRun, OSError):
                slots = []  # No way out for a moment, or no socket left: a block without controls says nothing.
            await self._block(waiting, slots)
            self._waiting = [one for one in self._waiting if one not in waiting]
            await asyncio.sleep(max(0.0, began + PERIOD_S - self._context.stack.now()))

    async def _block(self, waiting: Sequence[_Waiting], slots: Sequence[_Slot]) -> None:
        """Everything of one block at its moment: all are ready, and all moments are drawn alike."""
        loop, began = asyncio.get_running_loop(), self._context.stack.now()
        number, self._blocks = (self._blocks, self._blocks + 1) if slots else (None, self._blocks)
        for one in waiting:
            if one.request is None or number is None:
                loop.call_later(self._drawn_s(), _resume, one.moment, number)
        for slot in slots:
            slot.moment = self._drawn_s()
        for slot in sorted(slots, key=lambda slot: slot.moment):
            await asyncio.sleep(max(0.0, began + slot.moment - self._context.stack.now()))
            slot.send(number or 0)
        for one in waiting:
            if one.request is not None:
                _resume(one.moment, None)  # Where nothing passes that could prompt, nothing is sent.
        await asyncio.sleep(max(0.0, began + BLOCK_S - self._context.stack.now()))

    async def _slots(self, waiting: Sequence[_Waiting]) -> list[_Slot]:
        """Controls, prompts and second packets of one block, ready to leave; none where nothing is known to pass."""
        repeats, self._repeats = [_Slot(self._repeating(*one)) for one in self._repeats], []
        wanted = bool(waiting or self._kept_up)
        if (number := self.port()) is None:
            port = self._tcp_port() if wanted else None
            return repeats + ([_Slot(self._connecting_to(port)) for _ in range(CONTROLS)] if port is not None else [])
        sizes = sorted({one.size for one in waiting}) or [PAYLOAD_BYTES]
        again = any(one.one_flow for one in waiting)
        found = [_Slot(self._prompting(one, await self._socket(udp_reach(number)), number)) for one in waiting if one.request is not None]
        for place in range(CONTROLS if wanted else 0):
            size = sizes[(self._blocks + place) % len(sizes)]
            found.append(_Slot(self._controlling(await self._socket(udp_reach(number)), number, size, again=again)))
        return found + repeats

    def _controlling(self, port: UdpPort, number: int, size: int, *, again: bool) -> Callable[[int], None]:
        def send(block: int) -> None:
            remote, check = self._context.endpoint(number), udp_reach(number)
            self._answered.setdefault(block, _Answered(self._context.stack.now(), number))
            payload = self._context.sender.control(port, remote, check, block=block, size=size)
            if again:
                self._repeats.append((port, remote, check, payload))

        return send

    def _repeating(self, port: UdpPort, remote: Endpoint, check: Check, control: NoncePayload) -> Callable[[int], None]:
        return lambda _: self._context.sender.repeat(port, remote, check, control)

    def _prompting(self, waiting: _Waiting, port: UdpPort, number: int) -> Callable[[int], None]:
        def send(block: int) -> None:
            if not waiting.moment.done():
                self._context.sender.prompt(
                    port, self._context.endpoint(number), udp_reach(number), block=block, request=waiting.request or 0
                )
                waiting.moment.set_result(block)

        return send

    def _connecting_to(self, number: int) -> Callable[[int], None]:
        def send(block: int) -> None:
            task = asyncio.get_running_loop().create_task(self._connect(number, block))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

        return send

    async def _connect(self, number: int, block: int) -> None:
        """One control over TCP: a connection that comes up, or does not in time."""
        context, check, remote = self._context, tcp_reach(number), self._context.endpoint(number)
        payload = context.sender.nonces.control(block)

        def bound(local: Endpoint) -> None:
            context.recorder.sent(check, payload.key, to=remote, purpose=Purpose.CONTROL)

        try:
            stream = await context.stack.connect(remote, deadline_s=CONNECTED_S, on_bound=bound)
        except ConnectError:
            return
        context.recorder.received(check, payload.answer().key, source=remote, purpose=Purpose.CONTROL)
        stream.abort()

    async def _socket(self, check: Check) -> UdpPort:
        """Of one control. Those of long ago are closed, since a process has only so many."""
        context = self._context
        port = await context.stack.udp(self._came(check), address=context.stack.source_address(context.peer_address))
        context.local_ports.add((Transport.UDP, port.local.port))
        self._sockets.append(port)
        if len(self._sockets) > MOST_SOCKETS:
            self._sockets.popleft().close()
        return port

    def _came(self, check: Check) -> Callable[[Datagram], None]:
        context = self._context
        remote = context.endpoint(check.port or 0)

        def came(datagram: Datagram) -> None:
            identity = identify.nonce(check, datagram.data)
            if datagram.source != remote or identity is None:
                return
            context.recorder.arrived([identity], datagram)
            if identity.purpose is Purpose.GREETING:
                self._greeted.add(remote.port)
            elif (block := self._answered.get(block_of(identity.key) or 0)) is not None:
                block.any = True

        return came

    def _drawn_s(self) -> float:
        """A moment within a block."""
        return BLOCK_S * int.from_bytes(self._context.stack.entropy(4), "big") / (1 << 32)


def _resume(moment: "asyncio.Future[int | None]", number: int | None) -> None:
    if not moment.done():
        moment.set_result(number)


def _answered_on(counts: PacketCounts | None) -> int:
    """How many packets of a port's passed, the way of which fewer did."""
    return min(len(counts.total(way).received) for way in WAYS) if counts is not None else 0
