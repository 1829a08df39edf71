"""The server agent: serves paired clients until it is stopped. Standard library alone.

It is handed authenticated streams (TLS with a token, or the two pipes of an ssh connection), each of which speaks the control protocol.
What it does for a client: opens probe ports for a bounded time, sends probe packets towards it, traces the way to it, and hands over
what it recorded. One client's trouble never touches another's.
"""

import asyncio
import base64
import contextlib
import platform
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from vpnprobe import __version__
from vpnprobe.agents.control import MOST_BYTES, STRANGER_BYTES, VERSION, FrameReader, Message, encode_frame
from vpnprobe.agents.handover import encode_payloads, summary
from vpnprobe.agents.opened_flows import OpenedFlows
from vpnprobe.agents.outgoing import Outgoing, RawSockets
from vpnprobe.agents.records import lateness_row, packed, packet_record_row, queue_row, refusal_row
from vpnprobe.agents.responders import Responders
from vpnprobe.agents.sessions import MOST_ANSWERS, MOST_LIGHT_ANSWERS, ClientSession, ClientSessions
from vpnprobe.agents.taken_rows import taken_rows
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.session_tag import TAG
from vpnprobe.endpoint.lateness_observer import LatenessObserver
from vpnprobe.endpoint.pacer import FASTEST_BYTES_PER_S, LEAST_BYTES_PER_S
from vpnprobe.endpoint.passive_observer import PassiveObserver
from vpnprobe.endpoint.socket_log import SocketLog
from vpnprobe.endpoint.taken_packets import TakenPacketsObserver
from vpnprobe.endpoint.ttl_probe import IcmpTap, check_of
from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.evidence import checks, identify
from vpnprobe.evidence.check_rows import check_row, read_kept
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PortState, Refusal, RefusalKind
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.settings import WantedPort
from vpnprobe.transports.stack import Address, Capability, Closable, ConnectError, Datagram, LocalPort, NetworkStack, TcpStream
from vpnprobe.wire.icmp import Quote

IDLE_S: Final = 150.0
"""A session that nothing is heard of is kept so long for the client to come back: TCP repeats what is lost after up to a minute."""
LONGEST_OPEN_S: Final = 600.0
"""For which a client may have probe ports opened, from when it was heard of last."""
MOST_AT_ONCE: Final = 64
"""Requests of one client under way; further ones wait unread."""
CHUNK_BYTES: Final = 1 << 12
"""Of a capture in one answer: what even a bad path carries within the time that answers may take."""
LIGHT_S: Final = 0.5
"""Copies of a request that changes nothing get the same answer for so long."""
REPEATABLE: Final = frozenset({"rows", "capture", "payloads", "ping", "firewall"})
"""Requests that change nothing."""
ROWS_A_TIME: Final = 5000
LONGEST_PADDING: Final = 1024
"""Characters of what comes back in an answer to a ping."""
MOST_KINDS_KEPT: Final = 512
"""Of packets, about which a client asks at a time what lets them through the firewall."""
MOST_PORTS: Final = 256
"""Probe ports of one client."""


Admission = Callable[[TcpStream, Message], bool]


class ServerAgent:
    """One server agent on one host."""

    def __init__(self, stack: NetworkStack, *, admits: Admission | None = None) -> None:
        self._sockets = SocketLog(stack)
        self.stack = stack = self._sockets.watched
        self._admits = admits
        """Whether the first message of a connection proves the secret; None: the streams are authenticated already."""
        self.sessions = ClientSessions(stack)
        self._opened = OpenedFlows()
        self._raw = RawSockets()
        self.responders = Responders(stack, self.sessions, lambda: self._raw.gre)
        self._outgoing = Outgoing(stack, self.responders, self._raw, self._opened)
        self._handlers: Mapping[str, Callable[[ClientSession, Message], Awaitable[dict[str, object]]]] = {
            "open": self._open,
            "send": self._outgoing.send,
            "rows": self._rows,
            "firewall": self._firewall,
            "trace": self._outgoing.trace,
            "capture": self._capture,
            "payloads": self._payloads,
            "bye": self._bye,
            "ping": self._ping,
            "pace": self._pace,
        }
        self._watching: Closable | None = None
        self.ended = 0
        """Sessions that came to their end."""

    @property
    def no_raw(self) -> str:
        """Why there are no raw sockets; empty: there are."""
        return self._raw.lack

    def start(self) -> None:
        """Opens the raw sockets, without which the kernel refuses GRE and ESP; where it may not, that is told to every client."""
        self._watching = self.stack.watch_lateness(self._was_late)
        try:
            self._raw.gre = self.stack.raw(47, self._gre_came)
            self._raw.esp = self.stack.raw(50, self._esp_came)
            self._raw.icmp = IcmpTap(self.stack, self._unreachable)
            self._raw.lack = ""
        except CannotRun as error:
            self._raw.lack = str(error)

    def close(self) -> None:
        for session in self.sessions.everybody():
            self.sessions.end(session)
        self.responders.close()
        self._raw.close()
        if self._watching is not None:
            self._watching.close()

    def _was_late(self, from_s: float, to_s: float) -> None:
        """All clients are told what the agent's own lateness may have cost them."""
        for session in self.sessions.everybody():
            session.recorder.was_late(from_s, to_s)

    def _gre_came(self, datagram: Datagram) -> None:
        identities = identify.gre(datagram.data)
        tag = next((i.session_tag for i in identities if i.session_tag is not None), None)
        for session in self.sessions.of(datagram.source.address, tag):
            self._passed(session, Transport.GRE)
            if not any(call.received(datagram) for call in session.calls):
                others = session.observer.in_call(datagram.data, Sender.INITIATOR) if session.observer is not None else ()
                bare = [i for i in identities if i.check == checks.GRE_BARE]
                session.recorder.arrived([*bare, *others], datagram)

    def _esp_came(self, datagram: Datagram) -> None:
        identity = identify.esp(checks.ESP, datagram.data)
        if identity is not None:
            for session in self.sessions.of(datagram.source.address, identity.session_tag):
                session.recorder.arrived([identity], datagram)
                self._passed(session, Transport.ESP)

    def _passed(self, session: ClientSession, protocol: Transport) -> None:
        """A packet without ports has come from a client."""
        self._opened.passed(session.address, protocol, self.stack.now(), opened=protocol in session.spoke_first)

    def _unreachable(self, quote: Quote, source: Address, kind: RefusalKind) -> None:
        check = check_of(quote, server_port=lambda server, _: server)
        if check is not None:
            for session in self.sessions.of(quote.destination):
                if check.port is None or (check.transport, check.port) in session.ports:
                    session.recorder.refused(Refusal(check, Direction.S2C, kind, str(source)))

    async def serve(self, stream: TcpStream) -> None:
        """Speaks with one client over one authenticated stream until it ends."""
        session: ClientSession | None = None
        reader = FrameReader(most_bytes=STRANGER_BYTES)
        try:
            while chunk := await stream.receive():
                for message in reader.feed(chunk):
                    if session is None:
                        session = await self._hello(stream, message)
                        if session is None:
                            return
                        reader.most_bytes = MOST_BYTES
                        session.streams.add(stream)
                    elif self.sessions.get(session.name) is not session:
                        return  # It has ended: nothing is begun for it any more.
                    else:
                        await self._take_on(stream, session, message)
        except (ConnectError, DecodeError, ValueError, TypeError, KeyError, OverflowError):
            pass
        finally:
            stream.abort()
            if session is not None:
                session.forget(stream)

    async def _take_on(self, stream: TcpStream, session: ClientSession, message: Message) -> None:
        """Begins to carry out one request; waits where a client has too many under way."""
        session.heard = self.stack.now()
        task = asyncio.get_running_loop().create_task(self._answer(stream, session, int(message["number"]), message))
        session.tasks.add(task)
        task.add_done_callback(session.tasks.discard)
        if len(session.tasks) >= MOST_AT_ONCE:
            await asyncio.wait(session.tasks, return_when=asyncio.FIRST_COMPLETED)

    def _look_after(self, session: ClientSession) -> None:
        """Ends a session that was not heard of for a while: its client vanished, or came to its end without a word."""
        if self.sessions.get(session.name) is not session:
            return
        silent_s = self.stack.now() - session.heard
        if silent_s >= IDLE_S:
            self._end(session)
            for stream in list(session.streams):
                stream.abort()
        else:
            session.looking = asyncio.get_running_loop().call_later(max(1.0, IDLE_S - silent_s), self._look_after, session)

    def _end(self, session: ClientSession) -> None:
        self.sessions.end(session)
        self.responders.forget(session)
        self.responders.keep_only({WantedPort(*port) for other in self.sessions.everybody() for port in other.ports})
        self.ended += 1

    async def _hello(self, stream: TcpStream, message: Message) -> ClientSession | None:
        """The first message of a connection: begins a session, or joins the one that another connection began."""
        if self._admits is not None and not self._admits(stream, message):
            return None  # Nothing is answered to a stranger.
        number = int(message["number"])
        if message.get("ask") != "hello" or message.get("version") != VERSION:
            problem = f"version mismatch: this is vpnprobe {__version__} (protocol {VERSION}): install the same version at both ends"
            await stream.send(encode_frame({"answers": number, "error": problem, "version": __version__}))
            return None
        name, tag = str(message["session"])[:64], int(message["tag"])
        if not 0 <= tag < 1 << 8 * TAG:
            raise DecodeError("tag", 0, f"{tag} is not one of {TAG} bytes")
        address = stream.remote.address
        session = self.sessions.get(name)
        if session is None:
            if self.sessions.full:
                await stream.send(encode_frame({"answers": number, "error": "too many clients at once: try again in three minutes"}))
                return None
            session = self.sessions.begin(name, address, tag)
            self._begin_capture(session)
            self._look_after(session)
        session.heard = self.stack.now()
        await stream.send(encode_frame({"answers": number, **self._about(session, stream)}))
        return session

    def _begin_capture(self, session: ClientSession) -> None:
        if Capability.CAPTURE in self.stack.capabilities:
            session.taken = TakenPacketsObserver(session.recorder, self._sockets, session.address, session.tag)
            listeners = (LatenessObserver(session.recorder), session.host_firewall, session.own_addresses, session.taken)
            session.run_capture.listeners += listeners
            with contextlib.suppress(CannotRun):
                self.sessions.capture(session)

    def _about(self, session: ClientSession, stream: TcpStream) -> dict[str, object]:
        own = stream.local.address
        return {
            "version": __version__,
            "address": "" if own.is_unspecified else str(own),
            "seen_as": str(session.address),
            "opened": [[protocol, age_s] for protocol, age_s in self._opened.towards(session.address, self.stack.now())],
            "began": session.recorder.began_unix,
            "capabilities": sorted(self.stack.capabilities),
            "no_raw": self._raw.lack,
            "captures": session.sees_wire,
            "platform": platform.system(),
        }

    async def _answer(self, stream: TcpStream, session: ClientSession, number: int, message: Message) -> None:
        """Carries a request out once, however often it comes, and answers over the connection that it came on."""
        if str(message.get("ask")) in REPEATABLE:
            await self._answer_lightly(stream, session, number, message)
            return
        answer = session.answers.get(number)
        if answer is None:
            answer = asyncio.get_running_loop().create_future()
            session.answers[number] = answer
            while len(session.answers) > MOST_ANSWERS:
                session.answers.pop(next(iter(session.answers)))
            answer.set_result(await self._carry_out(session, message))
        await self._reply(stream, session, message, await asyncio.shield(answer))

    async def _answer_lightly(self, stream: TcpStream, session: ClientSession, number: int, message: Message) -> None:
        """What changes nothing is carried out again where it comes again, for more may be known then; not for copies that come at once."""
        now, (made_at, answer) = self.stack.now(), session.light_answers.get(number, (-LIGHT_S, {}))
        if now - made_at >= LIGHT_S:
            answer = await self._carry_out(session, message)
            session.light_answers[number] = (now, answer)
            while len(session.light_answers) > MOST_LIGHT_ANSWERS:
                session.light_answers.pop(next(iter(session.light_answers)))
        await self._reply(stream, session, message, answer)

    async def _reply(self, stream: TcpStream, session: ClientSession, message: Message, answer: Mapping[str, object]) -> None:
        at = self.stack.now() - session.recorder.began
        head = {"answers": int(message["number"]), "asked": message.get("asked"), "segments": stream.segments(), "at": at}
        with contextlib.suppress(ConnectError):
            await session.write(stream, encode_frame({**head, **answer}))

    async def _carry_out(self, session: ClientSession, message: Message) -> dict[str, object]:
        handler = self._handlers.get(str(message.get("ask")))
        if handler is None:
            return {"error": f"unknown request {str(message.get('ask'))[:40]!r}"}
        try:
            return await handler(session, message)
        except (CannotRun, DecodeError, OSError) as error:
            return {"error": str(error)}
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
            return {"error": f"request {message.get('ask')} does not fit: {error!r}"}
        except Exception as error:  # A bug of ours must reach the one who can report it, and nobody else.
            return {"error": f"internal error: {type(error).__name__}: {error}; this is a bug"}

    async def _open(self, session: ClientSession, message: Message) -> dict[str, object]:
        seconds = float(message["seconds"])
        if not seconds >= 0:  # NaN too: a timer without a moment would disorder those of all clients.
            raise DecodeError("seconds", 0, f"{seconds} is no time")
        wanted = [WantedPort(Transport(transport), int(number)) for transport, number in list(message["ports"])]
        if impossible := [port.port for port in wanted if not 0 < port.port < 65536]:
            raise DecodeError("port", 0, f"{impossible[0]} is none")
        if len(session.ports.keys() | set(wanted)) > MOST_PORTS:
            raise DecodeError("ports", 0, f"are more than the {MOST_PORTS} that one client may have")
        # Before the first is open, so that none stays open where another cannot be opened.
        session.open_s = min(seconds, LONGEST_OPEN_S)
        self._keep_open(session)
        if session.observer is None:
            session.observer = PassiveObserver(session.recorder, session.ports)
            session.run_capture.listeners.append(session.observer)
        states = []
        for port in wanted:
            session.ports[port] = await self.responders.open(port)
            states.append([port.transport.value, port.port, session.ports[port].value])
        programs = await self._programs(session, wanted)
        return {"ports": states, "no_keys": session.accept_keys(message.get("keys")), "programs": programs}

    async def _programs(self, session: ClientSession, wanted: Sequence[WantedPort]) -> list[list[object]]:
        """Transport, port and name of each program that has one of these ports, as far as this host shows it."""
        taken = [port for port in wanted if session.ports[port] is PortState.DAEMON]
        local = {LocalPort(port.port, tcp=port.transport is Transport.TCP): port for port in taken}
        found = await self.stack.holders(list(local)) if local else {}
        return [[local[port].transport.value, port.port, name] for port, name in found.items()]

    async def _firewall(self, session: ClientSession, message: Message) -> dict[str, object]:
        """Who manages this host's own firewall, and for each kind of packets that is asked about what lets it through."""
        kept = [read_kept(row) for row in list(message["kept"])[:MOST_KINDS_KEPT]]
        found = await self.stack.own_firewall(kept, session.address)
        return {"manager": found.manager, "commands": [list(found.commands.get(one, ())) for one in kept]}

    def _keep_open(self, session: ClientSession) -> None:
        """The time that the client asked for begins: on a slow line a run takes longer, and says all the time that it goes on."""
        if session.closing is not None:
            session.closing.cancel()
        session.closing = asyncio.get_running_loop().call_later(session.open_s, self._close_ports, session)

    def _close_ports(self, session: ClientSession) -> None:
        """The time that the client asked for is over."""
        session.ports.clear()
        self.responders.keep_only({WantedPort(*port) for other in self.sessions.everybody() for port in other.ports})

    async def _rows(self, session: ClientSession, message: Message) -> dict[str, object]:
        recorder, since, refused = session.recorder, int(message["since"]), int(message["refused"])
        if session.ports:
            self._keep_open(session)
        rows = recorder.packet_records[since : since + ROWS_A_TIME]
        refusals = recorder.refusals[refused : refused + ROWS_A_TIME]
        return {
            "rows": packed([packet_record_row(packet_record) for packet_record in rows]),
            "refusals": [refusal_row(refusal) for refusal in refusals],
            "more": since + len(rows) < len(recorder.packet_records) or refused + len(refusals) < len(recorder.refusals),
            "dropped": recorder.dropped,
            "addresses": session.own_addresses.by_transport(),
            "dropped_on_input": [check_row(check) for check in self._dropped_on_input(session)],
            "dropped_on_output": [check_row(check) for check in self._dropped_on_output(session)],
            **taken_rows(session, message.get("unnamed")),
            "late": [lateness_row(lateness) for lateness in recorder.late],
            "queued": [queue_row(queue) for queue in session.own_queues(message.get("carries"))],
        }

    def _dropped_on_output(self, session: ClientSession) -> Collection[Check]:
        """What was sent from here and never seen on this host's wire, or refused at once."""
        if not session.sees_wire:
            return session.recorder.refused_to_send
        return session.host_firewall.dropped_on_output(session.recorder.packet_records) | session.recorder.refused_to_send

    def _dropped_on_input(self, session: ClientSession) -> Collection[Check]:
        """What came to this host's wire and never to the agent's sockets, while it had one for it and could still record what comes."""
        if session.recorder.dropped or self.no_raw:
            return ()
        kept = session.host_firewall.dropped_on_input(session.recorder.packet_records, session.own_call_ids)
        return [check for check in kept if check.port is None or (check.transport, check.port) in session.ports]

    async def _capture(self, session: ClientSession, message: Message) -> dict[str, object]:
        if session.packed is None:
            told = message.get("client_ports")
            ports = None if told is None else frozenset((Transport(transport), int(port)) for transport, port in told)
            session.packed, session.payloads = summary(session.run_capture.within(session.scope(ports)))
        offset = int(message["offset"])
        chunk = session.packed[offset : offset + CHUNK_BYTES]
        return {"data": base64.b64encode(chunk).decode(), "total": len(session.packed), "kept": session.sees_wire}

    async def _payloads(self, session: ClientSession, message: Message) -> dict[str, object]:
        """Payloads of the capture that the client does not have."""
        digests = base64.b64decode(str(message["digests"]), validate=True)
        return {"data": base64.b64encode(encode_payloads(digests, session.payloads)).decode()}

    async def _ping(self, _: ClientSession, message: Message) -> dict[str, object]:
        """What it is padded with comes back, so that both directions take as long."""
        return {"padding": str(message["padding"])[:LONGEST_PADDING]} if "padding" in message else {}

    async def _pace(self, session: ClientSession, message: Message) -> dict[str, object]:
        """The client has seen what the line carries."""
        session.pacer.bytes_per_s = min(FASTEST_BYTES_PER_S, max(LEAST_BYTES_PER_S, float(message["bytes_per_s"])))
        return {}

    async def _bye(self, session: ClientSession, _: Message) -> dict[str, object]:
        asyncio.get_running_loop().call_later(0.5, self._end_once, session)
        return {}

    def _end_once(self, session: ClientSession) -> None:
        if self.sessions.get(session.name) is session:
            self._end(session)
