"""One run, from pairing to the judged observations: the client agent.

`Run.measure` takes a door and, when there is a server agent, a way to open control connections to it. It never judges a protocol: that is
for the rules. An interrupted run, or one whose peer vanished, still gives what it has, marked as incomplete.
"""

import asyncio
import platform
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vpnprobe import __version__
from vpnprobe.agents.control import Channel, Connector, FrameReader, Message, encode_frame
from vpnprobe.agents.peer import RemotePeer, hello
from vpnprobe.agents.tracing import trace_both_ways
from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.evidence import identify, questions
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.records import EndRecord, PathFacts, Refusal, RefusalKind
from vpnprobe.evidence.sightings import Vantage
from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport
from vpnprobe.probes.catalogue import Probe, chosen, ports_of
from vpnprobe.probes.context import Path, RawPorts, Settings, WantedPort
from vpnprobe.probes.keeping import Keeper, Scope
from vpnprobe.probes.pcap import encode_pcap
from vpnprobe.probes.recorder import Recorder
from vpnprobe.probes.sending import Nonces
from vpnprobe.probes.stepping import IcmpTap, question_of
from vpnprobe.transports.door import Address, Closable, Datagram, Door, TcpStream
from vpnprobe.wire.icmp import Quote

OnProgress = Callable[[str], None]
SecondOpinion = Callable[[Sequence[WantedPort]], Coroutine[Any, Any, list[Observation]]]
"""Another program's word on ports, asked while our own last steps run and cancelled once the verdict is there."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run found."""

    observations: tuple[Observation, ...]
    captures: dict[str, bytes]
    """`client.pcap` and `server.pcap`; one that could not be taken is not there."""
    client: dict[str, Any]
    server: dict[str, Any] | None
    complete: bool = True
    problem: str = ""
    """Why it is not complete, one line."""
    peer_lost: bool = False


class Greeter:
    """Opens control connections that all begin with the hello of one session."""

    def __init__(self, connect: Connector, session: str, tag: int, credentials: Callable[[], Message]) -> None:
        self._connect = connect
        self._credentials = credentials
        self._hello = hello(session, tag)
        self.about: Message = {}
        """What the server said of itself, last."""

    async def __call__(self) -> TcpStream:
        """Raises CannotRun where the peer refuses or is no vpnprobe, ConnectError where it cannot be reached."""
        stream = await self._connect()
        await stream.send(encode_frame({**self._hello, **self._credentials()}))
        reader = FrameReader()
        try:
            while chunk := await stream.receive():
                if messages := reader.feed(chunk):
                    return self._greeted(stream, messages[0])
        except DecodeError:
            raise CannotRun("what answers on the peer's control port is no vpnprobe: is the port right?") from None
        raise CannotRun("the peer closed the connection: its token differs from ours; copy the token file of the server again")

    def _greeted(self, stream: TcpStream, answer: Message) -> TcpStream:
        if "error" in answer:
            stream.abort()
            raise CannotRun(f"the peer refuses: {answer['error']}")
        self.about = answer
        return stream


@dataclass(slots=True)
class Run:
    """One run under way."""

    door: Door
    peer_address: Address
    settings: Settings
    connect: Connector | None
    """Opens an authenticated control connection; None: `--solo`."""
    tell: OnProgress
    credentials: Callable[[], Message] = dict
    """What proves the secret, in the first message of each control connection."""
    second_opinion: SecondOpinion | None = None
    keeper: Keeper = field(default_factory=Keeper)
    failures: list[Observation] = field(default_factory=list)
    closables: list[Closable] = field(default_factory=list)
    sees_wire: bool = False
    no_capture: str = ""
    opinions: "asyncio.Task[list[Observation]] | None" = None
    tap: IcmpTap | None = None

    async def measure(self) -> Measured:
        """Raises CannotRun (NO_PEER) where no pairing comes about; afterwards whatever happens is told in the result."""
        tag = int.from_bytes(self.door.entropy(4), "big")
        peer = await self._pair(self.connect, tag) if self.connect is not None else None
        path = self._path(peer, tag)
        problem, lost = "", False
        try:
            await self._probe(path, peer)
        except asyncio.CancelledError:
            problem = "interrupted"
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
        except CannotRun as error:
            problem, lost = str(error), True
        try:
            return await self._finish(path, peer, problem, lost=lost)
        finally:
            self._close(path)

    async def _pair(self, connect: Connector, tag: int) -> RemotePeer:
        greeter = Greeter(connect, self.door.entropy(16).hex(), tag, self.credentials)
        channel = Channel(greeter)
        began = self.door.now()
        await channel.open()
        channel.rtt_s = self.door.now() - began
        peer = RemotePeer(channel)
        peer.about = greeter.about
        return peer

    def _path(self, peer: RemotePeer | None, tag: int) -> Path:
        recorder = Recorder(self.door, Vantage.CLIENT)
        path = Path(self.door, self.peer_address, self.settings, recorder, Nonces(self.door, tag), peer, None)
        self._open_raw(path)
        self._begin_capture(path)
        own = str(self.door.source_address(self.peer_address))
        path.facts = PathFacts(client_address=own, client_seen_as=peer.seen_as if peer else None)
        path.server_record = EndRecord(witness=peer is not None, sees_closed_ports=bool(peer and peer.captures))
        return path

    def _open_raw(self, path: Path) -> None:
        """Opens GRE, ESP and ICMP for the whole run: without a raw socket the kernel refuses the protocol to the peer."""

        def gre_came(datagram: Datagram) -> None:
            if datagram.source.address == self.peer_address:
                for listener in path.gre_listeners:
                    listener(datagram)

        def esp_came(datagram: Datagram) -> None:
            if datagram.source.address == self.peer_address:
                path.recorder.arrived([identify.esp(questions.ESP, datagram.data)], datagram)

        def unreachable(quote: Quote, source: Address, kind: RefusalKind) -> None:
            question = question_of(quote, server_port=lambda _, server: server)
            if question is not None and quote.destination == self.peer_address:
                path.recorder.refused(Refusal(question, Direction.C2S, kind, str(source)))

        try:
            path.raw = RawPorts(self.door.raw(47, gre_came), self.door.raw(50, esp_came))
            self.tap = IcmpTap(self.door, unreachable)
            self.closables += [*path.raw, self.tap]
        except CannotRun as error:
            path.raw, path.no_raw = None, str(error)

    def _begin_capture(self, path: Path) -> None:
        try:
            self.closables.append(self.door.capture(self.peer_address, self.keeper))
            path.client_sees_wire = self.sees_wire = True
        except CannotRun as error:
            self.no_capture = str(error)

    async def _probe(self, path: Path, peer: RemotePeer | None) -> None:
        probes = chosen(self.settings)
        wanted = ports_of(probes, self.settings)
        if peer is not None:
            ports = await peer.open(wanted)
            path.facts = replace(path.facts, ports=ports, background=peer.background())
        self.tell(f"probing {self.peer_address} with {', '.join(probe.name for probe in probes)}")
        measuring = [] if peer is None else [peer.measure_background()]
        await asyncio.gather(*(self._guarded(probe, path) for probe in probes), *measuring)
        if self.second_opinion is not None:
            self.opinions = asyncio.get_running_loop().create_task(self.second_opinion(wanted))
        if self.tap is not None:
            self.tell("tracing where packets vanish")
            await trace_both_ways(path, self.tap)

    async def _guarded(self, probe: Probe, path: Path) -> None:
        """A probe that fails by itself is an observation of its own; the others go on. A lost peer ends the run."""
        try:
            await probe.run(path)
        except CannotRun as error:
            if error.status is ExitStatus.NO_PEER:
                raise
            self.failures.append(_failure(probe.name, str(error)))
        except OSError as error:
            self.failures.append(_failure(probe.name, f"{type(error).__name__}: {error}"))

    async def _finish(self, path: Path, peer: RemotePeer | None, problem: str, *, lost: bool) -> Measured:
        captures: dict[str, bytes] = {}
        if peer is not None and not lost:
            try:
                path.server_record = replace(await peer.refresh(), sees_closed_ports=peer.captures)
                if (server_capture := await peer.capture()) is not None:
                    captures["server.pcap"] = server_capture
                await peer.bye()
            except CannotRun as error:
                problem, lost = problem or str(error), True
        if self.sees_wire:
            captures["client.pcap"] = encode_pcap(self.keeper.within(self._scope(path)))
        if peer is not None:
            path.facts = replace(path.facts, background=peer.background())
            await peer.channel.close()
        facts = replace(path.facts, skips=tuple(path.skips))
        observations = judge(path.recorder.record(sees_closed_ports=self.sees_wire), path.server_record, facts)
        opinions = await self._opinions()
        return Measured(
            observations=(*observations, *self.failures, *opinions),
            captures=captures,
            client=self._about_client(path),
            server=_about_server(peer, self.peer_address),
            complete=not problem,
            problem=problem,
            peer_lost=lost,
        )

    async def _opinions(self) -> list[Observation]:
        """What the second opinion has come to by now; it is not waited for."""
        if self.opinions is None:
            return []
        if not self.opinions.done():
            self.opinions.cancel()
            await asyncio.wait([self.opinions])
        if self.opinions.cancelled() or self.opinions.exception() is not None:
            return []
        return self.opinions.result()

    def _scope(self, path: Path) -> Scope:
        ports = frozenset((port.transport, port.port) for port in ports_of(chosen(self.settings), self.settings))
        call_ids = {s.detail["call_id"] for s in path.recorder.sightings if "call_id" in s.detail}
        return Scope(str(self.peer_address), ports, frozenset(path.flows), frozenset(int(call_id) for call_id in call_ids))

    def _about_client(self, path: Path) -> dict[str, Any]:
        return {
            "address": path.facts.client_address,
            "version": __version__,
            "platform": platform.system(),
            "capabilities": sorted(self.door.capabilities),
            "capture": "client.pcap" if self.sees_wire else f"none: {self.no_capture}",
            **({"no_raw": path.no_raw} if path.no_raw else {}),
        }

    def _close(self, path: Path) -> None:
        path.close()
        for closable in self.closables:
            closable.close()


def _about_server(peer: RemotePeer | None, address: Address) -> dict[str, Any]:
    if peer is None:
        return {"address": str(address)}
    told = {name: peer.about[name] for name in ("version", "platform", "capabilities", "no_raw", "seen_as") if peer.about.get(name)}
    capture = "server.pcap" if peer.captures else f"none: {peer.about.get('no_raw') or 'the server agent may not capture'}"
    return {"address": str(address), "rtt_ms": round(1000 * peer.rtt_s, 3), "capture": capture, **told}


def _failure(name: str, reason: str) -> Observation:
    return Observation(
        id=f"{name}-error",
        probe=name,
        check="run",
        direction=Direction.BOTH,
        transport=Transport.IP,
        outcome=Outcome.ERROR,
        detail={"reason": reason},
    )
