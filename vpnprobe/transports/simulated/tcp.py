"""A small TCP (RFC 9293): handshake, sequence numbers, cumulative acknowledgments, retransmission, FIN and RST.

Retransmission time-outs are those of RFC 6298 with Linux's minimum of 200 ms; three duplicate acknowledgments make a fast retransmit and
partial acknowledgments carry on with it (RFC 6582). Segments are as large as the host's link carries, and become smaller where a router
says so; a path that says nothing stops them, as with Linux's default (tcp_mtu_probing 0). No SACK, no delayed acknowledgments and no window
probes: the advertised window never closes, since less than that is on its way.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Final

from vpnprobe.transports.simulated.clock import EventQueue, Timer
from vpnprobe.transports.simulated.tcp_sides import HALF, MODULUS, ReceiveSide, RetransmissionTimeout, SendSide
from vpnprobe.transports.stack import ConnectError, ConnectFailure, Endpoint
from vpnprobe.wire.icmp import DestinationUnreachable, TimeExceeded, Unreachable
from vpnprobe.wire.ip import TcpFlag, TcpSegment, mss_option

WINDOW: Final = 65535
_MOST_RETRIES: Final = 15
"""Linux tcp_retries2."""
_LINGER_S: Final = 60.0
"""FIN-WAIT-2 and TIME-WAIT of Linux."""
_SEND_BUFFER: Final = 128 * 1024
_DUPLICATES: Final = 3
_HEADERS: Final = 40

_FIN, _SYN, _RST, _PSH, _ACK = (flag.value for flag in (TcpFlag.FIN, TcpFlag.SYN, TcpFlag.RST, TcpFlag.PSH, TcpFlag.ACK))


class State(Enum):
    """States of RFC 9293 section 3.3.2; which ends have sent FIN stands beside ESTABLISHED."""

    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    CLOSED = "CLOSED"


class TcpConnection:
    """One end of a connection; the `TcpStream` of a simulated network stack."""

    def __init__(
        self,
        local: Endpoint,
        remote: Endpoint,
        events: EventQueue,
        send_segment: Callable[[TcpSegment], None],
        forget: Callable[[], None],
        *,
        initial_sequence: int,
        segment_size: int,
        sends_up_to: int,
    ) -> None:
        """`segment_size`: bytes of payload, at most, that it takes at a time, and says so; `sends_up_to`: that it sends."""
        self._local = local
        self._remote = remote
        self._events = events
        self._send_segment = send_segment
        self._forget = forget
        self._initial = initial_sequence
        self._state = State.CLOSED
        self._segment_size = segment_size
        self._out = SendSide(sends_up_to)
        self._in = ReceiveSide()
        self._timeout = RetransmissionTimeout()
        self._retries = 0
        self._timer: Timer | None = None
        self._linger: Timer | None = None
        self._failure: ConnectFailure | None = None
        self._changed = asyncio.Event()
        self._connected: asyncio.Future[None] | None = None
        self._accepted: Callable[[TcpConnection], None] | None = None

    # What a program does with it

    @property
    def local(self) -> Endpoint:
        return self._local

    @property
    def remote(self) -> Endpoint:
        return self._remote

    def connect(self) -> "asyncio.Future[None]":
        """Sends the SYN; the future ends with the handshake or a ConnectError."""
        self._state = State.SYN_SENT
        self._connected = self._events.loop.create_future()
        self._send_syn()
        return self._connected

    def answer(self, syn: TcpSegment, accepted: "Callable[[TcpConnection], None]") -> None:
        """Answers a SYN; `accepted` is called when the handshake is done."""
        self._state = State.SYN_RECEIVED
        self._accepted = accepted
        self._learn(syn)
        self._send_syn()

    async def send(self, data: bytes) -> None:
        self._raise_failure()
        if self._out.closing or self._closed:
            raise ConnectError(ConnectFailure.RESET, self._remote)
        self._out.queue(data)
        self._push()
        while len(self._out.data) > _SEND_BUFFER and not self._closed:
            await self._change()
        self._raise_failure()

    async def receive(self, limit: int = 65536) -> bytes:
        while not self._in.data and not self._in.ended and not self._closed:
            await self._change()
        if not self._in.data:
            self._raise_failure()
        chunk = bytes(self._in.data[:limit])
        del self._in.data[: len(chunk)]
        return chunk

    def segments(self) -> tuple[int, int] | None:
        """Segments with SYN, data or FIN; plain acknowledgments are not counted."""
        return self._out.sent, self._out.sent_again

    async def close(self) -> None:
        """Sends FIN after what is still to be sent; does not wait for it."""
        if self._state is not State.CLOSED and not self._out.closing:
            self._out.closing = True
            self._push()

    def abort(self) -> None:
        if self._state is State.CLOSED:
            return
        if self._state is not State.SYN_SENT:
            self._transmit(_RST | _ACK, self._out.next)
        self._end(ConnectFailure.RESET)

    def give_up(self) -> None:
        """The program no longer waits for the handshake."""
        if self._state is State.SYN_SENT:
            self._end(ConnectFailure.TIMED_OUT)
        else:
            self.abort()

    @property
    def _closed(self) -> bool:
        return self._state is State.CLOSED

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise ConnectError(self._failure, self._remote)

    # What arrives

    def receive_segment(self, segment: TcpSegment) -> None:
        if self._state is State.SYN_SENT:
            self._receive_syn_sent(segment)
            return
        offset = self._in.offset(segment.sequence)
        in_window = -WINDOW <= offset - self._in.next <= WINDOW
        if segment.has(TcpFlag.RST):
            if in_window and offset >= self._in.next:
                self._end(ConnectFailure.RESET)
        elif segment.has(TcpFlag.SYN) or not in_window:
            self._receive_syn_again()
        elif segment.has(TcpFlag.ACK):
            self._receive_acknowledgment(segment)
            if self._state is State.ESTABLISHED:
                self._receive_data(segment, offset)

    def _receive_syn_sent(self, segment: TcpSegment) -> None:
        acknowledged = segment.has(TcpFlag.ACK) and segment.acknowledgment == self._wire(1)
        if not acknowledged:
            return
        if segment.has(TcpFlag.RST):
            self._end(ConnectFailure.REFUSED)
        elif segment.has(TcpFlag.SYN):
            self._learn(segment)
            self._establish()
            self._acknowledge()

    def _receive_syn_again(self) -> None:
        """Our answer was lost: the SYN-ACK, or the acknowledgment of theirs."""
        if self._state is State.SYN_RECEIVED:
            self._resend(0)
        else:
            self._acknowledge()

    def _receive_acknowledgment(self, segment: TcpSegment) -> None:
        out = self._out
        offset = out.unacknowledged + (segment.acknowledgment - self._wire(out.unacknowledged) + HALF) % MODULUS - HALF
        if offset > out.next:
            return
        if self._state is State.SYN_RECEIVED:
            if offset < 1:
                return
            self._establish()
            if offset == 1:
                return
        if offset > out.unacknowledged:
            self._receive_progress(offset)
        elif offset == out.unacknowledged < out.next and not segment.payload and not segment.has(TcpFlag.FIN):
            out.duplicates += 1
            if out.duplicates == _DUPLICATES and out.recover is None:
                out.lost()
                self._resend(out.unacknowledged)

    def _receive_progress(self, offset: int) -> None:
        out = self._out
        if out.timed is not None and offset > out.timed[0]:
            self._timeout.measured(self._events.now() - out.timed[1])
            out.timed = None
        out.acknowledged(offset)
        self._timeout.backoff = self._retries = 0
        if out.recover is not None:
            self._resend(out.unacknowledged)
        self._set_timer()
        self._push()
        if out.fin_acknowledged and self._in.ended:
            self._end(None)
        elif out.fin_acknowledged:
            self._stay()
        self._changed.set()

    def _receive_data(self, segment: TcpSegment, offset: int) -> None:
        fin = segment.has(TcpFlag.FIN)
        if not segment.payload and not fin:
            return
        if fin:
            self._in.fin = offset + len(segment.payload)
        self._in.take(offset, segment.payload)
        self._acknowledge()
        if self._in.ended and self._out.fin_acknowledged:
            self._stay()
        self._changed.set()

    def receive_error(self, error: DestinationUnreachable | TimeExceeded, sequence: int) -> None:
        """An ICMP error about one of our segments: ends a handshake, is a hint afterwards (RFC 1122 section 4.2.3.9)."""
        offset = self._out.unacknowledged + (sequence - self._wire(self._out.unacknowledged)) % MODULUS
        if offset >= self._out.next:
            return
        if isinstance(error, DestinationUnreachable) and error.code == Unreachable.FRAGMENTATION_NEEDED:
            self._shrink(error.next_hop_mtu - _HEADERS)
        elif self._state is State.SYN_SENT:
            self._end(ConnectFailure.UNREACHABLE)

    def _shrink(self, segment_size: int) -> None:
        if 0 < segment_size < self._out.segment_size and self._state is State.ESTABLISHED:
            self._out.segment_size = segment_size
            self._out.lost()
            self._resend(self._out.unacknowledged)

    # What leaves

    def _wire(self, offset: int) -> int:
        return (self._initial + offset) % MODULUS

    def _transmit(self, flags: int, offset: int, payload: bytes = b"", options: bytes = b"") -> None:
        acknowledgment = (self._in.initial + self._in.next) % MODULUS if flags & _ACK else 0
        ports = self._local.port, self._remote.port
        self._send_segment(TcpSegment(*ports, self._wire(offset), acknowledgment, flags, WINDOW, options, payload))

    def _acknowledge(self) -> None:
        self._transmit(_ACK, self._out.next)

    def _send_syn(self) -> None:
        self._out.next = 1
        self._out.timed = (0, self._events.now())
        self._send_at(0)
        self._set_timer()

    def _send_at(self, offset: int, end: int | None = None) -> int:
        """The segment at `offset`; returns how much of the sequence it takes. `end`: no further than this."""
        self._out.sent += 1
        if offset == 0:
            flags = _SYN if self._state is State.SYN_SENT else _SYN | _ACK
            self._transmit(flags, 0, options=mss_option(self._segment_size))
            return 1
        payload, fin = self._out.chunk(offset, self._out.end if end is None else end)
        self._transmit(_ACK | (_PSH if payload else 0) | (_FIN if fin else 0), offset, payload)
        return len(payload) + fin

    def _resend(self, offset: int) -> None:
        self._out.sent_again += 1
        self._out.timed = None
        self._send_at(offset, self._out.next)
        self._set_timer()

    def _push(self) -> None:
        if self._state is not State.ESTABLISHED:
            return
        out = self._out
        idle = out.next == out.unacknowledged
        while out.window_open():
            if out.timed is None and out.recover is None:
                out.timed = (out.next, self._events.now())
            out.next += self._send_at(out.next)
        if idle and out.next > out.unacknowledged:
            self._set_timer()

    # Its life

    def _learn(self, syn: TcpSegment) -> None:
        self._in.initial = syn.sequence
        self._in.next = 1
        self._out.segment_size = min(self._out.segment_size, syn.maximum_segment_size or self._segment_size)

    def _establish(self) -> None:
        self._state = State.ESTABLISHED
        self._receive_progress(1)
        if self._connected is not None and not self._connected.done():
            self._connected.set_result(None)
        if self._accepted is not None:
            self._accepted(self)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._out.next > self._out.unacknowledged and self._state is not State.CLOSED:
            self._timer = self._events.after(self._timeout.seconds, self._timed_out)

    def _timed_out(self) -> None:
        self._retries += 1
        if self._retries > _MOST_RETRIES:
            self._end(ConnectFailure.TIMED_OUT)
            return
        self._timeout.backoff += 1
        self._out.lost()
        self._resend(self._out.unacknowledged)

    def _stay(self) -> None:
        """Our FIN is acknowledged: stay to answer theirs, should it come again."""
        if self._linger is not None:
            self._linger.cancel()
        self._linger = self._events.after(_LINGER_S, lambda: self._end(None))

    def _end(self, failure: ConnectFailure | None) -> None:
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self._failure = failure
        for timer in (self._timer, self._linger):
            if timer is not None:
                timer.cancel()
        self._forget()
        if self._connected is not None and not self._connected.done() and failure is not None:
            self._connected.set_exception(ConnectError(failure, self._remote))
        self._changed.set()
