"""What goes through a tunnel to show that data passes: ICMP echo requests (RFC 792) of several sizes, paced, and their answers.

A real server's kernel answers them at its tunnel address; our own responder answers in its place. Sizes are those of the outer IP packet,
so a run shows which sizes the path carries. Payloads do not compress and follow from identifier and sequence number.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final, Protocol

from vpnprobe.errors import DecodeError
from vpnprobe.wire.icmp import EchoReply, EchoRequest, decode_icmp
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, decode_ip
from vpnprobe.wire.nonce import padding

OUTER_SIZES: Final = (128, 576, 1200, 1400, 1450, 1492)
"""Bytes of the outer IP packet; the last is the largest that VPN programs send with their defaults, as on lines with PPPoE."""
STREAM_SIZES: Final = (128, 576, 1400)
"""Over TCP, whose segments are the system's to cut, sizes tell less."""
STREAM_TURNS: Final = (STREAM_SIZES, (128, 128, 576, 576, 1400, 1400), STREAM_SIZES[::-1])
"""Orders in which sizes take turns over TCP. Nothing comes behind a packet that is too large: another session's has to be at another place,
or it is as if streams were cut there."""
FULL_TURNS: Final = 4
"""How often the sizes take turns; the rest of a longer run is of the first size, for those who count packets."""
LEAST_ABOVE: Final = 2
"""Requests above some size, of which none is answered, that put their size into question."""
SHORT_REPLY: Final = 8
"""Bytes of the request's data that a short reply returns."""
SPACING_S: Final = 0.003
"""Between two requests."""
INNER_HEADERS: Final = 28
"""Bytes of the IPv4 and ICMP headers inside."""
HOPS: Final = 64
UDP_CARRIER_BYTES: Final = 28
"""IPv4 and UDP headers."""
TCP_CARRIER_BYTES: Final = 54
"""IPv4 and TCP headers with timestamps, and the packet's length in two bytes."""
MOST_ECHOES: Final = 20_000
"""Echo requests that an end answers in one session."""


class Pace(Protocol):
    """How fast an end may send."""

    def slot(self, size: int, now: float) -> float:
        """When `size` bytes may leave, `now` at the earliest; they count as sent from now on."""
        ...


@dataclass(slots=True)
class Request:
    """One echo request."""

    outer_bytes: int
    sent_at: float
    carried_by: str | None = None
    """The name of the data packet, as `data_name` has it."""
    answered_at: float | None = None


@dataclass(slots=True)
class EchoRun:
    """A run of requests from one end. Nothing leaves before `begin`."""

    identifier: int
    """0 to 65535."""
    count: int
    """How many in all."""
    sizes: tuple[int, ...] = OUTER_SIZES
    """From the smallest to the largest."""
    requests: dict[int, Request] = field(default_factory=dict)
    """By sequence number."""
    due: float | None = None
    """When the next is to be sent; None: not begun, or all are sent."""
    further_bytes: int | None = None
    """The size of those that are asked for beyond those that were wanted; None: none was."""
    pace: Pace | None = None
    """The pace of all that this end sends; None: SPACING_S alone."""
    full_turns: int = FULL_TURNS
    """How often the sizes take turns: less often where the line is slow."""
    turn: tuple[int, ...] = ()
    """One turn; empty: the largest first. What is small and comes behind what is too large shows that nothing has been cut."""

    def __post_init__(self) -> None:
        self.turn = self.turn or self.sizes[::-1]

    def begin(self, now: float) -> None:
        self.due = self._paced(now) if self.count else None

    def one_more(self, now: float, outer_bytes: int | None = None) -> None:
        """One that is due now, beyond those that were wanted. `outer_bytes`: its size; None: that which is in question."""
        self.further_bytes, self.count, self.due = outer_bytes or self.too_large() or self.sizes[0], len(self.requests) + 1, now

    def too_large(self) -> int | None:
        """The smallest size above which nothing was answered, though it was asked several times; None: none, or all are silent."""
        some = self.requests.values()
        largest = max((request.outer_bytes for request in some if request.answered_at is not None), default=None)
        above = [request.outer_bytes for request in some if largest is not None and request.outer_bytes > largest]
        return min(above) if len(above) >= LEAST_ABOVE else None

    def silent_at_its_end(self, least: int) -> bool:
        """Whether of at least `least` requests at its end of sizes that pass, or of all, none was answered."""
        some = [self.requests[number] for number in sorted(self.requests)]
        largest = max((request.outer_bytes for request in some if request.answered_at is not None), default=self.sizes[0])
        fitting = [request.answered_at is not None for request in some if request.outer_bytes <= largest]
        return bool(fitting) and not any(fitting[-least:])

    @property
    def begun(self) -> bool:
        return self.due is not None or bool(self.requests)

    @property
    def all_sent(self) -> bool:
        return len(self.requests) >= self.count

    @property
    def all_answered(self) -> bool:
        return self.all_sent and all(request.answered_at is not None for request in self.requests.values())

    def next(self, now: float) -> tuple[int, int] | None:
        """Sequence number and outer size of the request that is due; None: none is."""
        if self.due is None or now < self.due:
            return None
        number, size = len(self.requests), self._next_size()
        self.requests[number] = Request(size, now)
        # A driver that comes late sends what is due one after another, and not all at once.
        self.due = self._paced(max(now, self.due) + SPACING_S) if not self.all_sent else None
        return number, size

    def _next_size(self) -> int:
        number = len(self.requests)
        if self.further_bytes is not None:
            return self.further_bytes
        full = number < self.full_turns * len(self.turn)
        return self.turn[number % len(self.turn)] if full else self.sizes[0]

    def _paced(self, at: float) -> float:
        """When the next may leave, `at` at the earliest."""
        return at if self.pace is None else self.pace.slot(self._next_size(), at)

    def answered(self, sequence: int, now: float) -> bool:
        """Whether `sequence` is one of ours; the first answer counts."""
        request = self.requests.get(sequence)
        if request is not None and request.answered_at is None:
            request.answered_at = now
        return request is not None


def echo_request(source: IPv4Address, destination: IPv4Address, *, identifier: int, sequence: int, size: int) -> bytes:
    """An IPv4 packet of `size` bytes, at least 28."""
    head = identifier.to_bytes(2, "big") + sequence.to_bytes(2, "big")
    message = EchoRequest(identifier, sequence, padding(head, max(0, size - INNER_HEADERS))).encode()
    return IPv4Packet(source, destination, IpProtocol.ICMP, HOPS, sequence, message).encode()


def read_echo(payload: bytes) -> tuple[IPv4Packet, EchoRequest | EchoReply] | None:
    """The echo message that a tunnel packet carries; None: it carries another thing."""
    try:
        packet = decode_ip(payload)
        if not isinstance(packet, IPv4Packet) or packet.protocol != IpProtocol.ICMP:
            return None
        message = decode_icmp(packet.payload)
    except DecodeError:
        return None
    return (packet, message) if isinstance(message, EchoRequest | EchoReply) else None


def echo_reply(packet: IPv4Packet, request: EchoRequest, *, short: bool = False) -> bytes:
    """What the addressed host answers; `short`: with the beginning of the data alone."""
    message = EchoReply(request.identifier, request.sequence, request.data[:SHORT_REPLY] if short else request.data).encode()
    return IPv4Packet(packet.destination, packet.source, IpProtocol.ICMP, HOPS, packet.identification, message).encode()


class TunnelRequests(ABC):
    """What an end has that sends requests through its tunnel, and answers the peer's. The protocol's own end is its other base."""

    run: EchoRun
    """This end's own."""
    requests_answered: int
    """Requests of the peer's that we answered."""
    largest_request: int
    """Bytes inside the tunnel of the largest of the peer's requests; 0: none came, or all are of one size."""
    bytes_received: int
    """Of all that came from the peer, read or not."""

    @property
    @abstractmethod
    def answered(self) -> bool:
        """Whether the peer has answered at all."""

    @property
    @abstractmethod
    def failed(self) -> bool:
        """Whether nothing more can come of it."""

    def begin_echoes(self, run: EchoRun) -> None:
        """Sets the run up; it starts when the tunnel is configured."""
        self.run = run
        self.requests_answered = self.largest_request = 0

    @abstractmethod
    def send_due_echo(self, now: float) -> None:
        """Sends the request that is due, if one is."""

    @abstractmethod
    def hears_small_requests_alone(self) -> bool:
        """Whether of a peer of our own, whose first requests are of all sizes in turn, all that came but no large ones."""


class TunnelEcho(TunnelRequests):
    """An end whose requests are ICMP echo requests in packets of the tunnel's network."""

    short_replies: bool = False
    """Both ends are ours and keep records, so that answers need not show again which sizes pass."""

    @abstractmethod
    def tunnel_ends(self) -> tuple[IPv4Address, IPv4Address] | None:
        """Our own address in the tunnel and the peer's; None: not known."""

    @abstractmethod
    def room(self, outer_bytes: int) -> int | None:
        """Bytes of the tunnel packet that an outer IP packet of that size carries; None: nothing can be sent."""

    @abstractmethod
    def send_payload(self, payload: bytes, now: float) -> str | None:
        """Sends one tunnel packet and returns its name among those of the session; None: there are no keys yet, and nothing is sent."""

    def carry(self, packet: bytes, now: float) -> str | None:
        """Sends one IPv4 packet through the tunnel, and returns what `send_payload` does."""
        return self.send_payload(packet, now)

    def send_due_echo(self, now: float) -> None:
        ends = self.tunnel_ends()
        if ends is None or self.room(OUTER_SIZES[0]) is None:
            self.run.due = None  # Keys are on their way out; what is due now would be due for ever.
            return
        request = self.run.next(now)
        if request is None:
            return
        sequence, outer_bytes = request
        source, destination = ends
        size = self.room(outer_bytes) or 0
        payload = echo_request(source, destination, identifier=self.run.identifier, sequence=sequence, size=size)
        self.run.requests[sequence].carried_by = self.carry(payload, now)

    def hears_small_requests_alone(self) -> bool:
        rooms = [room for size in self.run.sizes if (room := self.room(size)) is not None]
        too_large = sum(room > self.largest_request for room in rooms)
        return LEAST_ABOVE <= too_large < len(rooms) and self.requests_answered >= len(rooms) - too_large

    def answered_by(self, payload: bytes) -> str | None:
        """The name of the packet of ours that a tunnel packet answers; None: it answers none."""
        echo = read_echo(payload)
        if echo is None or not isinstance(echo[1], EchoReply) or echo[1].identifier != self.run.identifier:
            return None
        request = self.run.requests.get(echo[1].sequence)
        return request.carried_by if request is not None else None

    def echo_came(self, payload: bytes, now: float) -> None:
        """A tunnel packet: an answer of ours is noted, a request of the peer's is answered, and anything else is left alone."""
        echo = read_echo(payload)
        if echo is None:
            return
        packet, message = echo
        if isinstance(message, EchoReply):
            if message.identifier == self.run.identifier:
                self.run.answered(message.sequence, now)
        elif self.requests_answered < MOST_ECHOES:
            self.requests_answered += 1
            self.largest_request = max(self.largest_request, len(payload))
            self.carry(echo_reply(packet, message, short=self.short_replies), now)
