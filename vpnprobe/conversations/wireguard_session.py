"""What both ends of a WireGuard tunnel do: handshakes, keys that are renewed, data, keepalives, and cookies (whitepaper sections 5 and 6).

The contract is that of `vpnprobe.conversations.contract.Conversation`, and the table is `wireguard.TABLE`, which captures are followed by.
Either end may begin a handshake, the first one is the initiator's. The peer's packets are never trusted: what does not fit is recorded as
an unexpected step and answered by silence, as real peers do. Nothing grows by what the peer says.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import ClassVar, Final, TypeVar, assert_never

from vpnprobe.conversations.contract import ConversationEnd, Retransmission, Sender
from vpnprobe.conversations.tunnel_echo import UDP_CARRIER_BYTES, EchoRun, TunnelEcho
from vpnprobe.conversations.wireguard import KnownData, WireguardTracker, data_name
from vpnprobe.errors import DecodeError
from vpnprobe.wire.wireguard import (
    BLOCK,
    EMPTY_DATA,
    CookieReply,
    HandshakeInitiation,
    HandshakeResponse,
    TransportData,
    WireguardMessage,
    decode_wireguard,
)
from vpnprobe.wire.wireguard_noise import (
    Handshake,
    Identity,
    TransportSession,
    initiation,
    read_cookie,
    read_initiation,
    read_response,
    response,
    tai64n,
    with_cookie,
)

T = TypeVar("T")
REKEY_AFTER_S: Final = 120.0
"""Who began a session renews it after so long, when it sends."""
REJECT_AFTER_S: Final = 180.0
"""Nothing is sent or taken under older keys."""
REKEY_ATTEMPT_S: Final = 90.0
"""For so long a handshake is tried."""
REKEY_TIMEOUT_S: Final = 5.0
"""Between two initiations."""
KEEPALIVE_S: Final = 10.0
"""Data that came is answered by a keepalive, where nothing else is sent for so long."""
COOKIE_S: Final = 120.0
"""A cookie is good for so long."""
MOST_ATTEMPTS: Final = 8
"""Initiations of one handshake whose responses are still taken, the newest ones."""
MOST_UNREADABLE: Final = 10_000
"""Messages that cannot be read are counted up to here."""
DATA_SIZES: Final = (128, 576, 1200, 1400, 1440, 1480)
"""Bytes of the outer IP packet at the most: what goes in is cut to whole blocks of 16 bytes, but for the last, which is the largest that
WireGuard sends with its default MTU of 1420."""


@dataclass(slots=True)
class Keypair:
    """The keys of one handshake."""

    session: TransportSession
    born: float
    initiated: bool
    """Whether this end began the handshake."""
    confirmed: bool
    """Whether the peer is known to have the keys: who answers sends nothing before it has got something under them."""


@dataclass(slots=True)
class Attempt:
    """A handshake that this end has begun."""

    message: HandshakeInitiation
    state: Handshake
    retransmission: Retransmission = field(repr=False)


class WireguardEnd(ConversationEnd[WireguardTracker], TunnelEcho):
    """One end of a tunnel with one peer."""

    SENDER: ClassVar[Sender]

    def __init__(
        self,
        identity: Identity,
        *,
        entropy: Callable[[int], bytes],
        unix_time_at_zero: float,
        tunnel: tuple[IPv4Address, IPv4Address],
        run: EchoRun,
        retransmit_after_s: float = REKEY_TIMEOUT_S,
    ) -> None:
        """`unix_time_at_zero`: Unix time when the caller's clock shows 0. `tunnel`: this end's address in the tunnel and the peer's."""
        super().__init__(WireguardTracker())
        self.identity = identity
        self.bytes_received = 0
        self.unreadable = 0
        """Messages that do not open, come again, or cannot be read otherwise."""
        self.cookies_received = 0
        self.keepalives_received = 0
        self.data_received = 0
        """Data messages, keepalives among them."""
        self.begin_echoes(run)
        self._entropy = entropy
        self._unix_time_at_zero = unix_time_at_zero
        self._tunnel = tunnel
        self._retransmit_after_s = retransmit_after_s
        self.opened = 0
        """Messages that open with the keys, cookies among them."""
        self._attempts: list[Attempt] = []
        """Initiations of the handshake that is under way, the newest last; empty: none is."""
        self._cookie: tuple[bytes, float] | None = None
        """The peer's, and when it came."""
        self._keypairs: list[Keypair] = []
        """The newest last; no more than two (see `_keep`)."""
        self._latest = b""
        """Timestamp of the peer's last initiation that was taken."""
        self._keepalive_due: float | None = None
        self._unanswered_due: float | None = None
        """When nothing will have come for so long since data was sent that a new handshake is begun."""

    # What the contract asks for.

    @property
    def key(self) -> str:
        """The sender index of the first initiation, 8 hex digits; empty: none was seen."""
        return self.tracker.key

    def receive(self, data: bytes, now: float) -> None:
        """One datagram."""
        self.bytes_received += len(data)
        try:
            self._take(decode_wireguard(data), len(data), now)
        except DecodeError as error:
            self.unreadable = min(MOST_UNREADABLE, self.unreadable + 1)
            self.tracker.saw(self.SENDER.other, error, now=now, size=len(data))

    def next_timer(self) -> float | None:
        again = self._attempts[-1].retransmission.due if self._attempts else None
        timers = (self.run.due, self._keepalive_due, self._unanswered_due, again)
        return min((timer for timer in timers if timer is not None), default=None)

    def handle_timer(self, now: float) -> None:
        if self._attempts and self._attempts[-1].retransmission.again(now):
            self._initiate(now, self._attempts[-1].retransmission, self._attempts[-1].message.sender_index)
        if self._keepalive_due is not None and now >= self._keepalive_due:
            self._keepalive_due = None
            self._send(b"", now)
        if self._unanswered_due is not None and now >= self._unanswered_due:
            self._unanswered_due = None
            self._begin(now)
        self.send_due_echo(now)

    # What goes through the tunnel.

    def tunnel_ends(self) -> tuple[IPv4Address, IPv4Address] | None:
        return self._tunnel

    def room(self, outer_bytes: int) -> int | None:
        """Whole blocks, but for the largest: what is padded must not be larger than the largest either."""
        if self._in_use is None:
            return None
        inner = outer_bytes - UDP_CARRIER_BYTES - EMPTY_DATA
        return inner if outer_bytes == max(self.run.sizes) else inner - inner % BLOCK

    def send_payload(self, payload: bytes, now: float) -> str | None:
        keypair = self._in_use
        if keypair is not None and now - keypair.born >= (REKEY_AFTER_S if keypair.initiated else REJECT_AFTER_S):
            self._begin(now)
        return self._send(payload, now)

    def _send(self, payload: bytes, now: float, *, recorded: bool = True) -> str | None:
        """One data message, and its name; None: there are no keys. `recorded`: it is a trial of whether data passes."""
        keypair = self._in_use
        if keypair is None or now - keypair.born >= REJECT_AFTER_S:
            return None
        self._keepalive_due = None
        if payload and self._unanswered_due is None:
            self._unanswered_due = now + KEEPALIVE_S + REKEY_TIMEOUT_S
        message = keypair.session.seal(payload, largest=max(self.run.sizes) - UDP_CARRIER_BYTES - EMPTY_DATA)
        self._emit(message, now, recorded=recorded)
        return data_name(message)

    @property
    def _in_use(self) -> Keypair | None:
        """The newest keys that the peer is known to have."""
        return next((one for one in reversed(self._keypairs) if one.confirmed), None)

    @property
    def answered(self) -> bool:
        return self.tracker.reached("handshake") or self.cookies_received > 0

    @property
    def failed(self) -> bool:
        """Never: silence is all that a peer says to what it does not take."""
        return False

    # Messages.

    def _emit(self, message: WireguardMessage, now: float, *, recorded: bool = True) -> None:
        data = message.encode()
        if recorded:
            self.tracker.saw(self.SENDER, _head(message), now=now, size=len(data))
        self._outbox.append(data)

    def _take(self, message: WireguardMessage, size: int, now: float) -> None:
        match message:
            case HandshakeInitiation():
                self._initiation_came(message, size, now)
            case HandshakeResponse():
                self._response_came(message, size, now)
            case CookieReply():
                self._cookie_came(message, size, now)
            case TransportData():
                self._data_came(message, size, now)
            case _:
                assert_never(message)

    def _saw(self, message: WireguardMessage, size: int, now: float, *, answers: str | None = None) -> None:
        """Records what the peer is shown to have said."""
        self.opened += 1
        self._unanswered_due = None
        self.tracker.saw(self.SENDER.other, _head(message, answers), now=now, size=size)

    def _begin(self, now: float, index: int | None = None) -> None:
        """Begins a handshake, unless one is under way. `index`: the sender index, fresh where none is given."""
        if not self._attempts or self._attempts[-1].retransmission.due is None:
            copies = max(1, int(REKEY_ATTEMPT_S / REKEY_TIMEOUT_S))
            retransmission = Retransmission(self._retransmit_after_s, copies, factor=1.0)
            retransmission.began(now)
            self._attempts = []
            self._initiate(now, retransmission, self._index() if index is None else index)

    def _initiate(self, now: float, retransmission: Retransmission, index: int) -> None:
        """An initiation with an ephemeral key and a time of its own."""
        ephemeral, timestamp = self._entropy(32), tai64n(now + self._unix_time_at_zero)
        message, state = initiation(self.identity, ephemeral=ephemeral, index=index, timestamp=timestamp)
        if self._cookie is not None and now - self._cookie[1] < COOKIE_S:
            message = with_cookie(message, self._cookie[0])
        self._attempts = [*self._attempts[1 - MOST_ATTEMPTS :], Attempt(message, state, retransmission)]
        self._emit(message, now)

    def _initiation_came(self, message: HandshakeInitiation, size: int, now: float) -> None:
        state = read_initiation(message, self.identity.private)
        if state.peer != self.identity.peer:
            raise DecodeError("static", 40, "is a key that is not known here")
        if state.timestamp <= self._latest:
            raise DecodeError("timestamp", 88, "is not later than that of the last initiation")
        self._latest = state.timestamp
        self._saw(message, size, now)
        answer, state = response(state, self.identity.preshared, ephemeral=self._entropy(32), index=self._index())
        self._keep(state, now, initiated=False, local=answer.sender_index, remote=message.sender_index)
        self._emit(answer, now)

    def _response_came(self, message: HandshakeResponse, size: int, now: float) -> None:
        self._of_handshake(message.receiver_index, 8)
        attempt, state = self._opened_by(lambda attempt: read_response(message, attempt.state, self.identity))
        self._saw(message, size, now)
        newest = self._attempts[-1]
        if attempt is not newest:
            # The round trip is longer than what initiations wait for one another. The peer has the keys of the newest by now.
            if newest.retransmission.interval_s < REKEY_TIMEOUT_S:
                newest.retransmission.interval_s = REKEY_TIMEOUT_S
                newest.retransmission.due = now + REKEY_TIMEOUT_S
            return
        self._attempts = []
        self._keep(state, now, initiated=True, local=message.receiver_index, remote=message.sender_index)
        self._came_up(now)

    def _opened_by(self, read: Callable[[Attempt], T]) -> tuple[Attempt, T]:
        """The initiation that a message answers, and what is read. Raises DecodeError where it answers none that is still kept."""
        for attempt in self._attempts[:-1]:
            with suppress(DecodeError):
                return attempt, read(attempt)
        return self._attempts[-1], read(self._attempts[-1])

    def _of_handshake(self, index: int, offset: int) -> None:
        """Raises DecodeError where no handshake of that sender index is under way."""
        if not self._attempts or index != self._attempts[-1].message.sender_index:
            raise DecodeError("receiver index", offset, "is of no handshake that is under way")

    def _came_up(self, now: float) -> None:
        """The handshake that this end began is complete: the peer sends nothing before it has got something."""
        if self.run.count and not self.run.requests and self.run.due is None:
            self._may_ask(now)
            self.send_due_echo(now)
        else:
            self._send(b"", now)

    def _may_ask(self, now: float) -> None:
        """Echo requests can go through the tunnel from now on."""
        if not self.run.requests and self.run.due is None:
            self.run.begin(now)

    def _keep(self, state: Handshake, now: float, *, initiated: bool, local: int, remote: int) -> None:
        """The keys of a handshake, beside one pair of those before: those in use.

        Where handshakes of both ends cross, each answers the other's before its own is complete, and then uses the keys of its own: who
        began keeps those that it has answered with, which the peer uses.
        """
        own, peers = state.transport_keys() if initiated else state.transport_keys()[::-1]
        session = TransportSession(sending=own, receiving=peers, local_index=local, remote_index=remote)
        crossed = next((one for one in self._keypairs if initiated and not one.confirmed), None)
        kept = crossed or self._in_use
        self._keypairs = [*([kept] if kept is not None else []), Keypair(session, now, initiated, initiated)]

    def _cookie_came(self, message: CookieReply, size: int, now: float) -> None:
        """Is used with the next initiation, which is not hurried."""
        self._of_handshake(message.receiver_index, 4)
        _, cookie = self._opened_by(lambda attempt: read_cookie(message, attempt.message.mac1, self.identity.peer))
        self._cookie = cookie, now
        self.cookies_received += 1
        self._saw(message, size, now)

    def _data_came(self, message: TransportData, size: int, now: float) -> None:
        keypair = next((one for one in self._keypairs if one.session.local_index == message.receiver_index), None)
        if keypair is None or now - keypair.born >= REJECT_AFTER_S:
            raise DecodeError("receiver index", 4, "is of no session that is in use")
        packet = keypair.session.open(message)
        keypair.confirmed = True
        self.data_received += 1
        self._saw(message, size, now, answers=self.answered_by(packet))
        if keypair.initiated and now - keypair.born >= REJECT_AFTER_S - KEEPALIVE_S - REKEY_TIMEOUT_S:
            self._begin(now)
        self._may_ask(now)
        if packet:
            self._keepalive_due = self._keepalive_due or now + KEEPALIVE_S
            self.echo_came(packet, now)
        else:
            self.keepalives_received += 1

    def _index(self) -> int:
        return int.from_bytes(self._entropy(4), "big")


def _head(message: WireguardMessage, answers: str | None = None) -> WireguardMessage:
    """The message as it is recorded: of data the head alone, since nobody reads the rest again."""
    return KnownData(message.receiver_index, message.counter, b"", answers) if isinstance(message, TransportData) else message
