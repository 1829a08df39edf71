"""One run, from pairing to the judged observations: the client agent.

`ClientRun.measure` takes a network stack and, when there is a server agent, a way to open control connections to it. It never judges a
protocol: that is for the rules. An interrupted run, or one whose peer vanished, still gives what it has, marked as incomplete.
"""

import asyncio
import contextlib
import platform
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from vpnprobe import __version__
from vpnprobe.agents.control import Channel, Connector, FrameReader, Message, encode_frame
from vpnprobe.agents.line_watch import measure, watched
from vpnprobe.agents.own_firewalls import ask_firewalls
from vpnprobe.agents.peer import RemotePeer, about_server, hello, known_at_first
from vpnprobe.agents.samples import carried, segments_lost
from vpnprobe.agents.settling import settled
from vpnprobe.agents.taken_record import ask_at_last, found_here
from vpnprobe.agents.tasks import to_its_end, together
from vpnprobe.agents.tracing import trace_before_server, trace_both_ways
from vpnprobe.conversations.registry import registered_ports
from vpnprobe.endpoint.host_firewall import HostFirewall
from vpnprobe.endpoint.lateness_observer import LatenessObserver
from vpnprobe.endpoint.pcap import encode_pcap
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.run_capture import RunCapture, Scope
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.endpoint.socket_log import SocketLog
from vpnprobe.endpoint.syn_observer import SynObserver
from vpnprobe.endpoint.taken_packets import TakenPacketsObserver
from vpnprobe.endpoint.ttl_probe import IcmpTap, check_of
from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.circumstances import note, of_end
from vpnprobe.evidence.clocks import on_one_clock
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.judging.unwatched import told_apart
from vpnprobe.evidence.own_queues import OwnQueue
from vpnprobe.evidence.packet_counts import DECIMALS
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, ProbeError, Refusal, RefusalKind
from vpnprobe.observations.schema import Direction, Observation, Transport
from vpnprobe.probes.catalogue import Probe, chosen, keys_for, ports_of
from vpnprobe.probes.comparison import with_controls
from vpnprobe.probes.context import ProbeContext, RawPorts
from vpnprobe.probes.first_traces import FirstTraces
from vpnprobe.probes.in_quiet import ask_in_quiet
from vpnprobe.probes.rate_trains import tell_rates
from vpnprobe.probes.settings import Settings, WantedPort
from vpnprobe.probes.unsolicited import ask_unsolicited
from vpnprobe.transports.stack import Address, Closable, ConnectError, Datagram, NetworkStack, TcpStream
from vpnprobe.wire.icmp import Quote

LAST_WORDS_S: Final = 5.0
"""How long an interrupted run waits for the server agent's record."""
GOODBYE_S: Final = 1.0
"""How long the last word to the server agent may take."""

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
        reader = FrameReader()
        try:
            await stream.send(encode_frame({**self._hello, **self._credentials()}))
            while chunk := await stream.receive():
                if messages := reader.feed(chunk):
                    return self._greeted(stream, messages[0])
        except DecodeError:
            stream.abort()
            raise CannotRun("what answers on the peer's control port is no vpnprobe: is the port right?") from None
        except ConnectError:
            pass  # Closed without a word, as at the end of the stream.
        except BaseException:
            stream.abort()
            raise
        stream.abort()
        raise CannotRun("the peer closed the connection: its token differs from ours; copy the token file of the server again")

    def _greeted(self, stream: TcpStream, answer: Message) -> TcpStream:
        if "error" in answer:
            stream.abort()
            raise CannotRun(f"the peer refuses: {answer['error']}")
        self.about = answer
        return stream


@dataclass(slots=True)
class ClientRun:
    """One run under way."""

    stack: NetworkStack
    peer_address: Address
    settings: Settings
    connect: Connector | None
    """Opens an authenticated control connection; None: `--solo`."""
    tell: OnProgress
    credentials: Callable[[], Message] = dict
    """What proves the secret, in the first message of each control connection."""
    second_opinion: SecondOpinion | None = None
    run_capture: RunCapture = field(default_factory=RunCapture)
    errors: list[ProbeError] = field(default_factory=list)
    """Probes that failed by themselves."""
    closables: list[Closable] = field(default_factory=list)
    sees_wire: bool = False
    no_capture: str = ""
    opinions: "list[asyncio.Task[list[Observation]]]" = field(default_factory=list)
    """One a transport: closed UDP ports take a scanner long, and must not cost its word on TCP."""
    tap: IcmpTap | None = None
    ended_at: float | None = None
    """When it was interrupted, on the network stack's clock; None: it was not."""
    sockets: SocketLog = field(init=False)
    taken: TakenPacketsObserver | None = None
    """None: the wire is not watched."""

    def __post_init__(self) -> None:
        self.sockets = SocketLog(self.stack)
        self.stack = self.sockets.watched

    async def measure(self) -> Measured:
        """Raises CannotRun (NO_PEER) where no pairing comes about; afterwards whatever happens is told in the result."""
        tag = int.from_bytes(self.stack.entropy(4), "big")
        peer = await self._pair(self.connect, tag) if self.connect is not None else None
        context = self._context(peer, tag)
        problem, lost = "", False
        try:
            await self._probe(context, peer)
        except asyncio.CancelledError:
            problem, self.ended_at = "interrupted", self.stack.now()
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
        except CannotRun as error:
            problem, lost = str(error), True
        try:
            return await to_its_end(self._finish(context, peer, problem, lost=lost))
        finally:
            self._close(context)

    async def _pair(self, connect: Connector, tag: int) -> RemotePeer:
        greeter = Greeter(connect, self.stack.entropy(16).hex(), tag, self.credentials)
        channel = Channel(greeter)
        began = self.stack.now()
        await channel.open()
        channel.rtt_s = self.stack.now() - began
        peer = RemotePeer(channel, self.stack.now)
        peer.about = greeter.about
        return peer

    def _context(self, peer: RemotePeer | None, tag: int) -> ProbeContext:
        recorder = Recorder(self.stack, Vantage.CLIENT)
        context = ProbeContext(self.stack, self.peer_address, self.settings, recorder, Nonces(self.stack, tag), peer, None)
        self.closables.append(self.stack.watch_lateness(recorder.was_late))
        self._open_raw(context)
        self._begin_capture(context)
        own = str(self.stack.source_address(self.peer_address))
        known = known_at_first(peer, client_address=own, server_address=str(self.peer_address))
        context.facts = replace(known, error_bound=self.settings.error_bound)
        context.server_record = peer.record() if peer is not None else EndRecord(recorded=False)
        return context

    def _open_raw(self, context: ProbeContext) -> None:
        """Opens GRE, ESP and ICMP for the whole run: without a raw socket the kernel refuses the protocol to the peer."""

        def gre_came(datagram: Datagram) -> None:
            if datagram.source.address == self.peer_address:
                for listener in context.gre_listeners:
                    listener(datagram)

        def esp_came(datagram: Datagram) -> None:
            if datagram.source.address == self.peer_address:
                context.recorder.arrived([identify.esp(checks.ESP, datagram.data)], datagram)

        def unreachable(quote: Quote, source: Address, kind: RefusalKind) -> None:
            check = check_of(quote, server_port=lambda _, server: server)
            ours = quote.ports is None or (check is not None and (check.transport, quote.ports[0]) in context.local_ports)
            if check is not None and ours and quote.destination == self.peer_address:
                context.recorder.refused(Refusal(check, Direction.C2S, kind, str(source)))

        try:
            context.raw = RawPorts(self.stack.raw(47, gre_came), self.stack.raw(50, esp_came))
            self.tap = IcmpTap(self.stack, unreachable)
            if context.peer is not None:
                context.first_traces = FirstTraces(partial(trace_before_server, context, self.tap, self.run_capture.packets))
            self.closables += [*context.raw, self.tap]
        except CannotRun as error:
            context.raw, context.no_raw = None, str(error)

    def _begin_capture(self, context: ProbeContext) -> None:
        try:
            self.closables.append(self.stack.capture(self.peer_address, self.run_capture))
            context.host_firewall = HostFirewall(Vantage.CLIENT, context.nonces.session_tag)
            self.run_capture.listeners.append(LatenessObserver(context.recorder))
            self.run_capture.listeners.append(SynObserver(context.recorder))
            self.taken = TakenPacketsObserver(context.recorder, self.sockets, self.peer_address, context.nonces.session_tag)
            self.run_capture.listeners += (context.host_firewall, self.taken)
            self.sees_wire = True
        except CannotRun as error:
            self.no_capture = str(error)

    async def _probe(self, context: ProbeContext, peer: RemotePeer | None) -> None:
        probes = chosen(self.settings)
        wanted = with_controls(ports_of(probes, self.settings), self.settings)
        if peer is not None:
            keys = keys_for(self.settings, self.stack.entropy)
            ports = await peer.open(wanted, {name: made.handed_over() for name, made in keys.items()})
            context.keys = {name: made for name, made in keys.items() if name not in peer.no_keys}
            context.no_keys = {name: f"at the server: {why}" for name, why in peer.no_keys.items()}
            context.facts = replace(context.facts, ports=ports, programs=peer.programs, background=peer.background())
        existing = self.settings.existing
        whom = existing.file if existing is not None and self.settings.only_existing else str(self.peer_address)
        self.tell(f"probing {whom} with {', '.join(probe.name for probe in probes)}")
        measuring = [] if peer is None else [measure(context.line, peer), context.comparison.greet()]
        async with watched(context.line, peer):
            await together([*(self._guarded(probe, context) for probe in probes), *measuring])
        if peer is not None:
            peer.prepare_handover()
        await ask_in_quiet(context)
        await tell_rates(context)
        if self.second_opinion is not None:
            by_transport = ([p for p in fit_to_scan(wanted, context) if p.transport is kind] for kind in (Transport.TCP, Transport.UDP))
            self.opinions = [asyncio.get_running_loop().create_task(self.second_opinion(some)) for some in by_transport if some]
        silent = {"silent", "unreachable"} & {name.code for name in context.named_failures}
        if self.tap is not None and (silent or not self.settings.only_existing):
            self.tell("tracing where packets vanish")
            await trace_both_ways(context, self.tap, self.run_capture.packets)
            await ask_unsolicited(context)

    async def _guarded(self, probe: Probe, context: ProbeContext) -> None:
        """A probe that fails by itself is an observation of its own; the others go on. A lost peer ends the run."""
        try:
            await probe.run(context)
        except CannotRun as error:
            if error.status is ExitStatus.NO_PEER:
                raise
            self.errors.append(ProbeError(probe.name, str(error)))
        except OSError as error:
            self.errors.append(ProbeError(probe.name, f"{type(error).__name__}: {error}"))

    async def _finish(self, context: ProbeContext, peer: RemotePeer | None, problem: str, *, lost: bool) -> Measured:
        captures: dict[str, bytes] = {}
        await context.part()
        if peer is not None and not lost:
            try:
                async with asyncio.timeout(LAST_WORDS_S if problem else None):
                    if problem:
                        await asyncio.sleep(context.settle_s)  # What was just sent may still be under way.
                    captures |= await self._last_words(context, peer)
            except (CannotRun, TimeoutError) as error:
                problem, lost = problem or str(error), True
        if peer is None:
            context.recorder.taken = found_here(self.taken)
            await ask_firewalls(context, None)
        if self.sees_wire:
            captures["client.pcap"] = encode_pcap(
                self.run_capture.within(self._scope(context)), note=note(of_end("client", context.client_record(), context.facts))
            )
        if peer is not None:
            context.facts = replace(context.facts, background=peer.background())
            await peer.channel.close()
            if peer.unknown_checks:
                self.tell(f"warning: the peer is newer; set aside, for this version does not know it: {', '.join(peer.unknown_checks)}")
        facts = replace(
            context.facts,
            skips=tuple(context.skips),
            named_failures=tuple(context.named_failures),
            errors=tuple(self.errors),
            samples=(*segments_lost(context.facts), *carried(context.line)),
        )
        client = replace(context.client_record(), queued=self._own_queues(context))
        if lost and peer is not None:
            client = client.until(peer.refreshed_at - context.recorder.began - context.settle_s)
        server = context.server_record
        _, facts = on_one_clock(client, server, facts)
        refreshed_at = None if peer is None else peer.refreshed_at
        asked, ended = (None if at is None else at - context.recorder.began for at in (refreshed_at, self.ended_at))
        times = {"settle_s": context.settle_s, "flight_s": context.flight_s, "ahead_s": facts.clock_offset_s or 0.0}
        client, server = settled(client, server, refreshed_at=asked, ended_at=ended, lost=lost, **times)
        observations = told_apart(judge(client, server, facts), client, server, facts)
        opinions = await self._opinions()
        return Measured(
            observations=(*observations, *opinions),
            captures=captures,
            client=self._about_client(context),
            server={**about_server(peer, self.peer_address), **self._clocks(context, facts, peer)},
            complete=not problem,
            problem=problem,
            peer_lost=lost,
        )

    def _own_queues(self, context: ProbeContext) -> tuple[OwnQueue, ...]:
        carries = context.line.narrow_bytes_per_s
        return self.run_capture.own_queues(carries, began_unix=context.recorder.began_unix) if carries is not None else ()

    def _clocks(self, context: ProbeContext, facts: PathFacts, peer: RemotePeer | None) -> dict[str, float]:
        """How far the server's clock is ahead of the client's, and how sure that is, seconds; empty: not known.

        Records count from when each end began them, and the server has told when that was by its own clock.
        """
        ahead_s, uncertainty_s = facts.clock_offset_s, facts.clock_uncertainty_s
        if ahead_s is None or uncertainty_s is None or peer is None or peer.began is None:
            return {}
        began = context.recorder.began_unix
        return {
            "clock_offset_s": round(ahead_s + peer.began - began, DECIMALS),
            "clock_uncertainty_s": uncertainty_s,
        }

    async def _last_words(self, context: ProbeContext, peer: RemotePeer) -> dict[str, bytes]:
        """The server's final record, and its capture, where it has one."""
        await ask_at_last(context, peer, found_here(self.taken))
        await ask_firewalls(context, peer)
        own = self.run_capture.within(self._scope(context))
        server_capture = await peer.capture(
            None if context.facts.nat else context.local_ports,
            own,
            note=note(of_end("server", context.server_record, context.facts)),
        )
        await self._say_goodbye(peer)
        return {} if server_capture is None else {"server.pcap": server_capture}

    async def _say_goodbye(self, peer: RemotePeer) -> None:
        """Lets the server agent end the session at once; without a word it does so by itself after a while, so nothing depends on it."""
        with contextlib.suppress(CannotRun, TimeoutError):
            await asyncio.wait_for(peer.bye(), GOODBYE_S)

    async def _opinions(self) -> list[Observation]:
        """What the second opinion has come to by now; it is not waited for."""
        unfinished = [opinion for opinion in self.opinions if not opinion.done()]
        for opinion in unfinished:
            opinion.cancel()
        if unfinished:
            await asyncio.wait(unfinished)
        told = (opinion for opinion in self.opinions if not opinion.cancelled() and opinion.exception() is None)
        return [observation for opinion in told for observation in opinion.result()]

    def _scope(self, context: ProbeContext) -> Scope:
        existing = self.settings.existing
        of_profile = {(remote.transport, remote.port) for remote in existing.remotes} if existing is not None else set()
        ports = frozenset({(port.transport, port.port) for port in ports_of(chosen(self.settings), self.settings)} | of_profile)
        return Scope(str(self.peer_address), ports, frozenset(context.local_ports), context.recorder.call_ids)

    def _about_client(self, context: ProbeContext) -> dict[str, Any]:
        return {
            "address": context.facts.client_address,
            "version": __version__,
            "platform": platform.system(),
            "error_bound": self.settings.error_bound,
            "capabilities": sorted(self.stack.capabilities),
            "capture": "client.pcap" if self.sees_wire else f"none: {self.no_capture}",
            **({"no_raw": context.no_raw} if context.no_raw else {}),
        }

    def _close(self, context: ProbeContext) -> None:
        for closable in (context, *self.closables):
            closable.close()


def fit_to_scan(wanted: Sequence[WantedPort], context: ProbeContext) -> list[WantedPort]:
    """The ports that a scanner may ask too: UDP ports that a VPN protocol has for itself only where the server agent answers them.

    A scanner leaves half open what it opens: that counts against us where servers limit it, and some answer nobody any more after it.
    """
    delicate = {WantedPort(Transport.UDP, port) for port in registered_ports(Transport.UDP)}
    return [port for port in wanted if port not in delicate or context.port_state(*port) is PortState.OURS]
