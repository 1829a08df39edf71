"""The control channel's messages: JSON objects behind a 4-byte length, over any stream.

The client asks, the server answers; each request has a number, and a request that is sent twice (over a second connection, because the
first one stalled) is carried out once and answered the same. A frame's length is checked before anything is read: MOST_BYTES.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from vpnprobe.agents.answer_times import AnswerTimes
from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.transports.stack import ConnectError, TcpStream

VERSION: Final = 8
"""Of this protocol; both ends must speak the same."""
MOST_BYTES: Final = 4 << 20
STRANGER_BYTES: Final = 4096
"""Of the first message of a connection, before its sender has proved anything."""
STALLED_S: Final = 0.4
"""Least time without an answer after which a request is repeated over another connection: twice TCP's least retransmission time-out."""
LONGEST_PATIENCE_S: Final = 3.0
MOST_CONNECTIONS: Final = 16
"""Opened in one run, one after another."""
OPEN_DEADLINE_S: Final = 8.0
"""For the first connection: who waits is to be told within 10 s."""
OPENING_S: Final = 0.8
"""Without a connection after which another attempt races the first."""
REQUEST_DEADLINE_S: Final = 30.0
SILENT_FLIGHTS: Final = 20  # Round trips that are waited for besides.
MOST_SILENT_S: Final = 120.0
"""Less than the server keeps a session of which it hears nothing."""
LONGEST_DEADLINES: Final = 4
"""Times that, though others are answered: a busy peer is not gone."""

LOSSY: Final = 0.05
"""Share of segments that had to be sent again from which a single connection waits most of the time."""
LEAST_AGAIN: Final = 3
"""Segments that were sent again before that is believed."""
COPIES: Final = 3
"""Connections over which a request goes at once there: one of them mostly loses nothing."""
MOST_SEGMENTS: Final = 1 << 40
"""More than any connection of a run carries."""
SINGLE: Final = frozenset({"capture", "payloads", "ping"})
"""Requests of which no copies go out there: parts of long answers keep all connections busy, and with pings the line is measured."""
QUICK: Final = frozenset({"ping", "rows"})
"""Requests that take the other end no time to speak of: how long their answers take says how busy it is, and the path."""

Message = Mapping[str, Any]


def encode_frame(message: Message) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    return len(body).to_bytes(4, "big") + body


class FrameReader:
    """Takes chunks, gives whole messages."""

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        """A longer message ends the stream; a stranger is not given much."""
        self._buffer = b""

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that are complete now. Raises DecodeError for a length or a body that is not one of ours."""
        self._buffer += chunk
        messages: list[Message] = []
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > self.most_bytes:
                raise DecodeError("length", 0, f"{length} bytes are more than a control message can have")
            if len(self._buffer) < 4 + length:
                break
            messages.append(_object(self._buffer[4 : 4 + length]))
            self._buffer = self._buffer[4 + length :]
        return messages


def _object(body: bytes) -> Message:
    try:
        message = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise DecodeError("body", 4, "is not JSON") from None
    if not isinstance(message, dict):
        raise DecodeError("body", 4, "is not an object")
    return message


def _no_number(name: str) -> NoReturn:
    """NaN and Infinity are none of JSON (RFC 8259 section 6), and no clock can be set by them."""
    raise ValueError(name)


Connector = Callable[[], Awaitable[TcpStream]]
"""Opens and authenticates one connection of the control channel."""


@dataclass(slots=True)
class _Request:
    """One that waits for its answer."""

    asked: Message
    answer: asyncio.Future[Message]
    over: TcpStream | None = None
    """The connection over which it was answered."""


class Channel:
    """The client's end: requests with answers, over as many connections as it takes.

    The connection that answered last is used first. Where an answer is late, another connection is opened and the request repeated there.
    """

    def __init__(self, connect: Connector, *, deadline_s: float = REQUEST_DEADLINE_S) -> None:
        self._connect = connect
        self._deadline_s = deadline_s
        self._streams: list[TcpStream] = []
        self._readers: dict[TcpStream, asyncio.Task[None]] = {}
        self._waiting: dict[int, _Request] = {}
        """By request number."""
        self._number = 0
        self._opened = 0
        self._opening: asyncio.Task[None] | None = None
        self._widening: set[asyncio.Task[None]] = set()
        self._copying: set[asyncio.Task[None]] = set()
        self._past = (0, 0)
        self._of_peer: dict[TcpStream, tuple[int, int]] = {}
        """Segments that the other end says it has sent over each connection, and of those sent again."""
        self._heard: dict[TcpStream, float] = {}
        """When anything came over each connection last."""
        self.rtt_s = 0.0
        """Least time between a request and its answer, seconds; 0 before the first."""
        self.wide = False
        """Whether the line is known to have room for copies of requests."""
        self.times = AnswerTimes()
        """How fast it answers what takes it no time."""

    @property
    def ports(self) -> tuple[int, int] | None:
        """Of the connection that answered last: this host's port and the other's; None: none is open."""
        return (self._streams[0].local.port, self._streams[0].remote.port) if self._streams else None

    async def open(self) -> None:
        """Opens the first connection; where it takes long, others race it. Raises what the connector raises once none is left."""
        attempts: set[asyncio.Task[TcpStream]] = set()
        loop = asyncio.get_running_loop()
        error: BaseException | None = None
        ends, pause_s = loop.time() + OPEN_DEADLINE_S, OPENING_S
        try:
            while loop.time() < ends:
                attempts.add(loop.create_task(_connected(self._connect)))
                # Ever later: a busy server agent has a handshake to do for each.
                until, pause_s = min(ends, loop.time() + pause_s), 1.5 * pause_s
                while attempts and not self._streams and loop.time() < until:
                    done, attempts = await asyncio.wait(attempts, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED)
                    error = self._settle(done) or error
                if self._streams or not attempts:
                    break
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
        if not self._streams:
            raise error or CannotRun(
                "the peer did not answer on its control port: is `vpnprobe serve` running there, and is the port open?"
            )

    def _settle(self, attempts: Iterable[asyncio.Task[TcpStream]]) -> BaseException | None:
        """Takes over the connections of attempts that have ended; returns why the last of the others failed."""
        error: BaseException | None = None
        for attempt in attempts:
            if (problem := attempt.exception()) is None:
                self._adopt(attempt.result())
            else:
                error = problem
        return error

    def _adopt(self, stream: TcpStream) -> None:
        self._opened += 1
        self._streams.append(stream)
        self._readers[stream] = asyncio.get_running_loop().create_task(self._read(stream))

    async def _read(self, stream: TcpStream) -> None:
        reader = FrameReader()
        try:
            while chunk := await stream.receive():
                self._heard[stream] = asyncio.get_running_loop().time()
                for message in reader.feed(chunk):
                    self._of_peer[stream] = max(self._of_peer.get(stream, (0, 0)), segments_told(message))
                    request = self._waiting.get(int(message.get("answers", -1)))
                    if request is not None and not request.answer.done():
                        request.over = stream
                        request.answer.set_result(message)
                        self._streams.sort(key=lambda s: s is not stream)
        except (ConnectError, DecodeError, ValueError, TypeError, OverflowError):
            pass
        self._drop(stream)

    def _drop(self, stream: TcpStream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
            self._count_past(stream)
        self._heard.pop(stream, None)
        reader = self._readers.pop(stream, None)
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()
        stream.abort()

    async def request(self, kind: str, *, expect_s: float = 0.0, place: int = 0, **arguments: object) -> Message:
        """Asks and awaits the answer.

        `expect_s`: how long the peer is busy with it. `place`: among requests that are under way at a time; each takes another of the
        connections that are open. Raises CannotRun where the peer is gone or says that it cannot.
        """
        loop = asyncio.get_running_loop()
        self._number += 1
        number = self._number
        began, repetition = loop.time(), 0
        patience = max(STALLED_S, 4 * self.rtt_s, self.times.patience_s) + expect_s
        again = self.segments()[1]
        asked = {"number": number, "ask": kind, **arguments}
        answer: asyncio.Future[Message] = loop.create_future()
        request = self._waiting[number] = _Request(asked, answer)
        try:
            while not answer.done():
                stream = await self._send(asked, repetition, place)
                if not repetition and self.lossy and self.wide and kind not in SINGLE:
                    self._send_copies(asked, stream)
                await self._wait(answer, stream, patience, ends=began + LONGEST_DEADLINES * (self._silent_s + expect_s))
                repetition, patience = repetition + 1, min(1.5 * patience, LONGEST_PATIENCE_S + expect_s)
                if not answer.done() and not expect_s and self.segments()[1] == again:
                    self.times.waiting(loop.time() - began)
                if not answer.done() and self._is_over(began, expect_s):
                    raise CannotRun(f"the peer stopped answering ({kind}): was it stopped, or the control port closed on the way?")
        finally:
            del self._waiting[number]
        result = answer.result()
        took = loop.time() - _asked_at(result, began)
        self.rtt_s = min(self.rtt_s or took, took)
        if kind in QUICK:
            self.times.heard(took, at=loop.time(), over=request.over, repeated=segments_told(result)[1], again=self.segments()[1] != again)
        if "error" in result:
            # It is there and answers: only this it cannot.
            raise CannotRun(f"the peer cannot {kind}: {result['error']}", status=ExitStatus.MISSING)
        return result

    @property
    def _silent_s(self) -> float:
        """How long nothing may be heard: TCP waits in round trips, and longer where it loses. A peer that is gone counts no losses."""
        sent, again = self._of_peer_in_all()
        times = 2.0 if again >= LEAST_AGAIN and again > LOSSY * sent else 1.0
        return min(max(MOST_SILENT_S, self._deadline_s), times * (self._deadline_s + SILENT_FLIGHTS * self.rtt_s))

    def _is_over(self, began: float, expect_s: float) -> bool:
        """Whether an answer is waited for no longer: nothing was heard for so long, or others came all the time and this one never did."""
        now, patience_s = asyncio.get_running_loop().time(), self._silent_s + expect_s
        heard = max(self._heard.values(), default=began)
        return now - max(began, heard) > patience_s or now - began > LONGEST_DEADLINES * patience_s

    async def _wait(self, answer: asyncio.Future[Message], stream: TcpStream, patience_s: float, *, ends: float) -> None:
        """Waits for an answer until nothing has come over its connection for so long: on a slow line a long one takes its time.

        `ends`: no longer than until then, on the loop's clock, whatever else comes.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        while not answer.done() and until > loop.time():
            await asyncio.wait([answer], timeout=until - loop.time())
            if stream in self._heard:
                until = min(ends, max(until, self._heard[stream] + patience_s))

    async def _send(self, asked: Message, repetition: int, place: int) -> TcpStream:
        """Sends over the connection that answered last; each repetition over the next one, while a further one is opened."""
        if not self._streams:
            await self._reconnect()
        elif repetition:
            self._reinforce()
        stream = self._streams[(place + repetition) % len(self._streams)]
        try:
            await stream.send(_copy_of(asked))
        except ConnectError:
            self._drop(stream)
        return stream

    def _send_copies(self, asked: Message, but: TcpStream) -> None:
        """Sends over further connections too, and has them opened: on a path that loses packets one of several mostly loses none.

        Nobody waits for a connection that takes nothing more.
        """
        self.widen(COPIES)
        for stream in [stream for stream in self._streams if stream is not but][: COPIES - 1]:
            copying = asyncio.get_running_loop().create_task(self._send_copy(asked, stream))
            self._copying.add(copying)
            copying.add_done_callback(self._copying.discard)

    async def _send_copy(self, asked: Message, stream: TcpStream) -> None:
        try:
            await stream.send(_copy_of(asked))
        except ConnectError:
            self._drop(stream)

    async def _reconnect(self) -> None:
        """The last connection is gone: raises CannotRun where no other can be had."""
        try:
            async with asyncio.timeout(self._deadline_s / 3):
                self._adopt(await self._connect())
        except (ConnectError, CannotRun, TimeoutError) as error:
            raise CannotRun("the peer is gone: was `vpnprobe serve` stopped there?") from error

    def _reinforce(self) -> None:
        """Opens one more connection in the background, unless that is under way."""
        if self._opened < MOST_CONNECTIONS and (self._opening is None or self._opening.done()):
            self._opening = asyncio.get_running_loop().create_task(self._open_another())

    async def _open_another(self, *, again: bool = True) -> None:
        """`again`: what still waits goes out once more over the new connection: the others may have died without a word."""
        try:
            stream = await self._connect()
            self._adopt(stream)
            for request in list(self._waiting.values()) if again else ():
                if not request.answer.done():
                    await stream.send(_copy_of(request.asked))
        except (ConnectError, CannotRun):
            return  # The others go on being tried.

    def widen(self, count: int) -> None:
        """Opens connections in the background until there are so many: where packets are lost, each by itself waits most of the time."""
        under_way = len(self._widening) + (self._opening is not None and not self._opening.done())
        missing = min(count - len(self._streams), MOST_CONNECTIONS - self._opened) - under_way
        for _ in range(missing):
            opening = asyncio.get_running_loop().create_task(self._open_another(again=False))
            self._widening.add(opening)
            opening.add_done_callback(self._widening.discard)

    def _count_past(self, stream: TcpStream) -> None:
        """Keeps what a connection that is given up has counted: the stalled ones are where the loss was."""
        if (counted := stream.segments()) is not None:
            self._past = (self._past[0] + counted[0], self._past[1] + counted[1])

    def segments(self) -> tuple[int, int]:
        """Segments that this end sent, and of those sent again, over all connections of the run."""
        known = [counted for stream in self._streams if (counted := stream.segments()) is not None]
        return self._past[0] + sum(sent for sent, _ in known), self._past[1] + sum(again for _, again in known)

    def _of_peer_in_all(self) -> tuple[int, int]:
        return sum(sent for sent, _ in self._of_peer.values()), sum(again for _, again in self._of_peer.values())

    @property
    def lossy(self) -> bool:
        """Whether the path loses so much, either way, that a single connection waits most of the time."""
        return any(again >= LEAST_AGAIN and again > LOSSY * sent for sent, again in (self.segments(), self._of_peer_in_all()))

    async def close(self) -> None:
        opening = [*self._widening, *self._copying, *([self._opening] if self._opening is not None else [])]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for stream in list(self._streams):
            reader = self._readers.pop(stream, None)
            if reader is not None:
                reader.cancel()
            await stream.close()
        self._streams.clear()


def _copy_of(asked: Message) -> bytes:
    """A request as it goes out now: the answer says by the time in it which copy it answers (as RFC 7323 section 3 has it)."""
    return encode_frame({**asked, "asked": asyncio.get_running_loop().time()})


def _asked_at(answer: Message, began: float) -> float:
    """When the copy went out that is answered; where the other end does not say, the first did."""
    asked = answer.get("asked")
    return max(began, asked) if isinstance(asked, float) and asked <= asyncio.get_running_loop().time() else began


def segments_told(answer: Message) -> tuple[int, int]:
    """Segments that the other end says it has sent, and sent again; 0: it does not say, or what cannot be."""
    segments = answer.get("segments")
    if not (isinstance(segments, list) and len(segments) == 2 and all(type(one) is int for one in segments)):
        return 0, 0
    sent, again = segments
    return (sent, again) if 0 <= again <= sent < MOST_SEGMENTS else (0, 0)


async def _connected(connect: Connector) -> TcpStream:
    return await connect()


@contextlib.contextmanager
def readable(kind: str) -> Iterator[None]:
    """Whatever is wrong with an answer is one line, and the peer's fault."""
    try:
        yield
    except (DecodeError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise CannotRun(f"the peer answered {kind} with something that cannot be read: {error}") from error
