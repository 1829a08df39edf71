"""The server agent: serves paired clients until it is stopped. Standard library alone.

It is handed authenticated streams (TLS with a token, or the two pipes of an ssh connection), each of which speaks the control protocol.
What it does for a client: opens probe ports for a bounded time, sends probe packets towards it, traces the way to it, and hands over
what it recorded. One client's trouble never touches another's.
"""

import asyncio
import base64
import contextlib
import platform
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from vpnprobe import __version__
from vpnprobe.agents.control import MOST_BYTES, STRANGER_BYTES, VERSION, FrameReader, Message, encode_frame
from vpnprobe.agents.records import question_row, read_question, refusal_row, sighting_row, trace_row
from vpnprobe.agents.responders import Responders
from vpnprobe.agents.sessions import MOST_ANSWERS, Session, Sessions
from vpnprobe.conversations.contract import Sender
from vpnprobe.errors import CannotRun, DecodeError
from vpnprobe.evidence import identify, questions
from vpnprobe.evidence.records import PortState, Refusal, RefusalKind, Trace
from vpnprobe.evidence.sightings import Movement, Question
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.call import Call
from vpnprobe.probes.context import Job, WantedPort
from vpnprobe.probes.crafting import Crafter
from vpnprobe.probes.keeping import never_left
from vpnprobe.probes.pcap import encode_pcap
from vpnprobe.probes.sending import BesidePort, bare_gre, esp
from vpnprobe.probes.stepping import HIGHEST_TTL, IcmpTap, question_of
from vpnprobe.probes.witnessing import Witness
from vpnprobe.transports.door import Address, Capability, ConnectError, Datagram, Door, Endpoint, RawPort, TcpStream, UdpPort
from vpnprobe.wire.icmp import Quote
from vpnprobe.wire.nonce import SHORTEST

IDLE_S: Final = 60.0
"""A session that nothing is heard of is kept so long for the client to come back."""
LONGEST_OPEN_S: Final = 600.0
"""For which a client may have probe ports opened at a time."""
MOST_AT_ONCE: Final = 64
"""Requests of one client under way; further ones wait unread."""
CHUNK_BYTES: Final = 1 << 18
REPEATABLE: Final = frozenset({"rows", "capture", "ping"})
"""Requests that change nothing."""
MOST_PACKETS: Final = 200
"""Of one request to send."""
ROWS_A_TIME: Final = 5000
MOST_PORTS: Final = 256
"""Probe ports of one client."""


Admission = Callable[[TcpStream, Message], bool]


class ServerAgent:
    """One server agent on one host."""

    def __init__(self, door: Door, *, admits: Admission | None = None) -> None:
        self.door = door
        self._admits = admits
        """Whether the first message of a connection proves the secret; None: the streams are authenticated already."""
        self.sessions = Sessions(door)
        self.responders = Responders(door, self.sessions, lambda: self._gre)
        self._gre: RawPort | None = None
        self._esp: RawPort | None = None
        self._icmp: IcmpTap | None = None
        self.no_raw = ""
        """Why there are no raw sockets; empty: there are."""
        self._handlers: Mapping[str, Callable[[Session, Message], Awaitable[dict[str, object]]]] = {
            "open": self._open,
            "send": self._send,
            "rows": self._rows,
            "trace": self._trace,
            "capture": self._capture,
            "bye": self._bye,
            "ping": self._ping,
        }
        self.ended = 0
        """Sessions that came to their end."""

    def start(self) -> None:
        """Opens the raw sockets, without which the kernel refuses GRE and ESP; where it may not, that is told to every client."""
        try:
            self._gre = self.door.raw(47, self._gre_came)
            self._esp = self.door.raw(50, self._esp_came)
            self._icmp = IcmpTap(self.door, self._unreachable)
        except CannotRun as error:
            self.no_raw = str(error)

    def close(self) -> None:
        for session in self.sessions.everybody():
            self.sessions.end(session)
        self.responders.close()
        for closable in (self._gre, self._esp, self._icmp):
            if closable is not None:
                closable.close()

    def _gre_came(self, datagram: Datagram) -> None:
        identities = identify.gre(datagram.data)
        tag = next((i.session_tag for i in identities if i.session_tag is not None), None)
        for session in self.sessions.of(datagram.source.address, tag):
            if not any(call.received(datagram) for call in session.calls):
                others = session.witness.in_call(datagram.data, Sender.INITIATOR) if session.witness is not None else ()
                session.recorder.arrived([*(i for i in identities if i.question == questions.GRE_BARE), *others], datagram)

    def _esp_came(self, datagram: Datagram) -> None:
        identity = identify.esp(questions.ESP, datagram.data)
        if identity is not None:
            for session in self.sessions.of(datagram.source.address, identity.session_tag):
                session.recorder.arrived([identity], datagram)

    def _unreachable(self, quote: Quote, source: Address, kind: RefusalKind) -> None:
        question = question_of(quote, server_port=lambda server, _: server)
        if question is not None:
            for session in self.sessions.of(quote.destination):
                if question.port is None or (question.transport, question.port) in session.ports:
                    session.recorder.refused(Refusal(question, Direction.S2C, kind, str(source)))

    async def serve(self, stream: TcpStream) -> None:
        """Speaks with one client over one authenticated stream until it ends."""
        session: Session | None = None
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
                    else:
                        await self._take_on(stream, session, message)
        except (ConnectError, DecodeError, ValueError, TypeError, KeyError, OverflowError):
            pass
        finally:
            stream.abort()
            if session is not None:
                session.streams.discard(stream)

    async def _take_on(self, stream: TcpStream, session: Session, message: Message) -> None:
        """Begins to carry out one request; waits where a client has too many under way."""
        session.heard = self.door.now()
        task = asyncio.get_running_loop().create_task(self._answer(stream, session, int(message["number"]), message))
        session.tasks.add(task)
        task.add_done_callback(session.tasks.discard)
        if len(session.tasks) >= MOST_AT_ONCE:
            await asyncio.wait(session.tasks, return_when=asyncio.FIRST_COMPLETED)

    def _look_after(self, session: Session) -> None:
        """Ends a session that was not heard of for a while: its client vanished, or came to its end without a word."""
        if self.sessions.get(session.name) is not session:
            return
        silent_s = self.door.now() - session.heard
        if silent_s >= IDLE_S:
            self._end(session)
            for stream in list(session.streams):
                stream.abort()
        else:
            asyncio.get_running_loop().call_later(max(1.0, IDLE_S - silent_s), self._look_after, session)

    def _end(self, session: Session) -> None:
        self.sessions.end(session)
        self.responders.keep_only({WantedPort(*port) for other in self.sessions.everybody() for port in other.ports})
        self.ended += 1

    async def _hello(self, stream: TcpStream, message: Message) -> Session | None:
        """The first message of a connection: begins a session, or joins the one that another connection began."""
        if self._admits is not None and not self._admits(stream, message):
            return None  # Nothing is answered to a stranger.
        number = int(message["number"])
        if message.get("ask") != "hello" or message.get("version") != VERSION:
            problem = f"version mismatch: this is vpnprobe {__version__} (protocol {VERSION}): install the same version at both ends"
            await stream.send(encode_frame({"answers": number, "error": problem, "version": __version__}))
            return None
        name, tag = str(message["session"])[:64], int(message["tag"])
        address = stream.remote.address
        session = self.sessions.get(name)
        if session is None:
            if self.sessions.full:
                await stream.send(encode_frame({"answers": number, "error": "too many clients at once: try again in a minute"}))
                return None
            session = self.sessions.begin(name, address, tag)
            self._begin_capture(session)
            self._look_after(session)
        session.heard = self.door.now()
        await stream.send(encode_frame({"answers": number, **self._about(session)}))
        return session

    def _begin_capture(self, session: Session) -> None:
        if Capability.CAPTURE in self.door.capabilities:
            with contextlib.suppress(CannotRun):
                session.capture = self.door.capture(session.address, session.keeper)

    def _about(self, session: Session) -> dict[str, object]:
        return {
            "version": __version__,
            "seen_as": str(session.address),
            "capabilities": sorted(self.door.capabilities),
            "no_raw": self.no_raw,
            "captures": session.sees_wire,
            "platform": platform.system(),
        }

    async def _answer(self, stream: TcpStream, session: Session, number: int, message: Message) -> None:
        """Carries a request out once, however often it comes, and answers over the connection that it came on."""
        if str(message.get("ask")) in REPEATABLE:
            # Carried out again where they come again: their answers are too large to keep, or too many.
            await self._reply(stream, number, await self._carry_out(session, message))
            return
        answer = session.answers.get(number)
        if answer is None:
            answer = asyncio.get_running_loop().create_future()
            session.answers[number] = answer
            while len(session.answers) > MOST_ANSWERS:
                session.answers.pop(next(iter(session.answers)))
            answer.set_result(await self._carry_out(session, message))
        await self._reply(stream, number, await asyncio.shield(answer))

    async def _reply(self, stream: TcpStream, number: int, answer: Mapping[str, object]) -> None:
        with contextlib.suppress(ConnectError):
            await stream.send(encode_frame({"answers": number, "segments": stream.segments(), **answer}))

    async def _carry_out(self, session: Session, message: Message) -> dict[str, object]:
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

    async def _open(self, session: Session, message: Message) -> dict[str, object]:
        states, seconds = [], min(float(message["seconds"]), LONGEST_OPEN_S)
        for transport, number in list(message["ports"]):
            wanted = WantedPort(Transport(transport), int(number))
            if not 0 < wanted.port < 65536:
                raise DecodeError("port", 0, f"{wanted.port} is none")
            if wanted not in session.ports and len(session.ports) >= MOST_PORTS:
                raise DecodeError("ports", 0, f"are more than the {MOST_PORTS} that one client may have")
            state = await self.responders.open(wanted)
            session.ports[wanted] = state
            states.append([transport, wanted.port, state.value])
        asyncio.get_running_loop().call_later(seconds, self._close_ports, session)
        if not session.keeper.listeners:
            session.witness = Witness(session.recorder, session.ports)
            session.keeper.listeners.append(session.witness)
        return {"ports": states}

    def _close_ports(self, session: Session) -> None:
        """The time that the client asked for is over."""
        session.ports.clear()
        self.responders.keep_only({WantedPort(*port) for other in self.sessions.everybody() for port in other.ports})

    async def _send(self, session: Session, message: Message) -> dict[str, object]:
        job, count = Job(message["job"]), min(int(message["count"]), MOST_PACKETS)
        port, to = int(message["port"]), message.get("to")
        send_one = self._sending(session, job, port, to, call_id=int(message["call_id"]), unsolicited=bool(message["unsolicited"]))
        if send_one is None:
            return {"sent": 0}
        for number in range(count):
            if number:
                await asyncio.sleep(min(1.0, float(message["spacing_s"])))
            send_one()
        return {"sent": count}

    def _sending(
        self,
        session: Session,
        job: Job,
        port: int,
        to: Any,  # noqa: ANN401
        *,
        call_id: int,
        unsolicited: bool,
    ) -> Callable[[], None] | None:
        """What sends one packet of a job; None: it cannot be sent."""
        sender, address = session.sender, session.address
        if job is Job.BARE_GRE and (gre := self._gre) is not None:
            return lambda: sender.bare_gre(gre, address, unsolicited=unsolicited)
        if job is Job.ESP and (raw := self._esp) is not None:
            return lambda: sender.esp(raw, address, unsolicited=unsolicited)
        if job is Job.IN_CALL_GRE and (call := self._call(session, call_id)) is not None:
            return call.request
        told = Endpoint(address, int(to[1])) if to is not None else None
        udp, endpoint = self._udp(session, port), self._endpoint(session, job, port) or told
        if udp is None or endpoint is None:
            return None
        question, known, at = questions.udp_reach(port), endpoint, udp
        if job is Job.UDP:
            return lambda: sender.nonce(at, known, question, size=SHORTEST)
        return (lambda: sender.esp_in_udp(at, known)) if job is Job.ESP_IN_UDP else None

    def _endpoint(self, session: Session, job: Job, port: int) -> Endpoint | None:
        """Where the client's own packets of that kind came from last.

        Only ever the client's own address: nobody else can be sent anything through this agent.
        """
        witnessed = session.witness.endpoints if session.witness is not None else {}
        if job is Job.ESP_IN_UDP:
            return session.esp_in_udp or witnessed.get(questions.ESP_IN_UDP)
        return session.endpoints.get(port) or witnessed.get(questions.udp_reach(port))

    def _udp(self, session: Session, port: int) -> UdpPort | None:
        """What sends from a UDP port: ours, or beside the program that has it. None: neither can be."""
        if (ours := self.responders.udp(port)) is not None:
            return ours
        another = session.ports.get((Transport.UDP, port)) is PortState.DAEMON
        return BesidePort(self.door, port, session.address) if another and not self.no_raw else None

    def _call(self, session: Session, call_id: int | None = None) -> Call | None:
        """The call that a client means, else its newest one; of another program's calls, one to send beside it. None: there is none."""
        if session.calls:
            # A NAT's helper may have changed the number on the way: then the newest call is meant.
            session.calls.sort(key=lambda call: call.call_id == call_id)
            return session.calls[-1]
        others = session.witness.calls if session.witness is not None else []
        if not others or self._gre is None:
            return None
        own, peer = max(others, key=lambda call: call[0] == call_id)
        return Call(session.recorder, self._gre, session.address, Sender.RESPONDER, call_id=own, peer_call_id=peer)

    async def _rows(self, session: Session, message: Message) -> dict[str, object]:
        recorder, since, refused = session.recorder, int(message["since"]), int(message["refused"])
        rows = recorder.sightings[since : since + ROWS_A_TIME]
        refusals = recorder.refusals[refused : refused + ROWS_A_TIME]
        return {
            "rows": [sighting_row(sighting) for sighting in rows],
            "refusals": [refusal_row(refusal) for refusal in refusals],
            "more": since + len(rows) < len(recorder.sightings) or refused + len(refusals) < len(recorder.refusals),
            "dropped": recorder.dropped,
            "unheard": [question_row(question) for question in self._unheard(session)],
            "unsent": [question_row(question) for question in self._unsent(session)],
        }

    def _unsent(self, session: Session) -> Collection[Question]:
        """What was sent from here and never seen on this host's wire."""
        if not session.sees_wire:
            return ()
        return never_left(session.keeper.left, session.recorder.sightings)

    def _unheard(self, session: Session) -> list[Question]:
        """What came to this host's wire for the agent's own ports and never to its sockets."""
        if session.witness is None:
            return []
        received = {s.question for s in session.recorder.sightings if s.movement is Movement.RECEIVED}
        return session.witness.unheard(received)

    async def _trace(self, session: Session, message: Message) -> dict[str, object]:
        question = read_question(message["question"])
        if (to := message.get("to")) is not None and question.port is not None:
            session.endpoints.setdefault(question.port, Endpoint(session.address, int(to[1])))
        craft = self._crafting(session, question)
        if self._icmp is None or craft is None:
            return {"trace": None}
        trace: Trace = await self._icmp.step(
            session.recorder,
            question,
            Direction.S2C,
            craft,
            source=self.door.source_address(session.address),
            destination=session.address,
            highest_ttl=max(1, min(HIGHEST_TTL, int(message["highest_ttl"]))),
            patience_s=min(2.0, float(message["patience_s"])),
        )
        return {"trace": trace_row(trace), "question": question_row(question)}

    def _crafting(self, session: Session, question: Question) -> Crafter | None:
        """What makes one more packet of a kind towards the client; None: it cannot be made."""
        from vpnprobe.probes.crafting import echo, in_call, udp_nonce

        nonces = session.sender.nonces
        if question == questions.GRE_BARE:
            return lambda _: bare_gre(nonces.fresh())
        if question == questions.ESP:
            return lambda _: esp(nonces.fresh(), nonces.spi())
        if question == questions.GRE_IN_CALL and (call := self._call(session)) is not None:
            return in_call(call)
        if question == questions.ICMP_ECHO:
            return echo(nonces)
        if question.probe == "udp" and question.port is not None and (to := self._endpoint(session, Job.UDP, question.port)) is not None:
            return udp_nonce(nonces, Endpoint(self.door.source_address(session.address), question.port), to, question)
        return None

    async def _capture(self, session: Session, message: Message) -> dict[str, object]:
        if session.packed is None:
            told = message.get("client_ports")
            ports = None if told is None else frozenset((Transport(transport), int(port)) for transport, port in told)
            session.packed = encode_pcap(session.keeper.within(session.scope(ports)))
        offset = int(message["offset"])
        chunk = session.packed[offset : offset + CHUNK_BYTES]
        return {"data": base64.b64encode(chunk).decode(), "total": len(session.packed), "kept": session.sees_wire}

    async def _ping(self, _: Session, __: Message) -> dict[str, object]:
        return {}

    async def _bye(self, session: Session, _: Message) -> dict[str, object]:
        asyncio.get_running_loop().call_later(0.5, self._end_once, session)
        return {}

    def _end_once(self, session: Session) -> None:
        if self.sessions.get(session.name) is session:
            self._end(session)
