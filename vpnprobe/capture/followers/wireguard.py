"""WireGuard in captures: the tracker of `vpnprobe.conversations.wireguard` on whatever has the form of its messages.

A handshake message alone makes a conversation. Data messages, whose form is short, do so once several name the same receiver with counters
that go up.

Either end's address or port may change within a session (whitepaper section 2.1). What it sends names the other end's index of the session
all the same, which that end has chosen: a message from elsewhere to the same receiver at the same place, that goes on with its counters,
is of the same conversation, which has moved. Indices of two hosts may be equal, so what went to a moved end shows nothing before it spoke.
An initiation names no index that was seen before: one from elsewhere begins a conversation, until data of an earlier session comes from
there too.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from vpnprobe.capture.account import Account
from vpnprobe.capture.followers.base import FLOWS_LIMIT, CapturedMessage, PacketFollower, captured, ends_of, pair, seems_ttl_limited
from vpnprobe.capture.followers.data_packets import DataPackets
from vpnprobe.capture.followers.flows import Flow, HostPort, Moved
from vpnprobe.capture.followers.sized import SizedConversations
from vpnprobe.capture.followers.wireguard_sizes import sized_session
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.numbering import NUMBERED_LIMIT
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.wireguard import WireguardTracker, answers_of, describe, index_of, key_of, opener
from vpnprobe.conversations.wireguard_session import REJECT_AFTER_S
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.checks import wireguard_data, wireguard_handshake
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.wireguard import (
    CLEAR_BYTES,
    EMPTY_DATA,
    CookieReply,
    HandshakeInitiation,
    HandshakeResponse,
    MessageType,
    TransportData,
    WireguardMessage,
    decode_wireguard,
)

MIDSTREAM_LEAST: Final = 3
"""Data messages alone are taken for WireGuard from so many on."""
COUNTER_LIMIT: Final = 1 << 48
"""No session comes to that many packets."""
RECEIVERS_LIMIT: Final = 64
"""Most receivers of one conversation whose counters are followed: the latest."""
NEXT: Final = 8
"""Counters above the last one that go on with it where nothing else shows two ends to be the same."""
HANDSHAKES_LIMIT: Final = 2000
"""Most messages of handshakes of one conversation that are told apart."""
SESSIONS_LIMIT: Final = 200_000
"""Most indices of all conversations by which moves are found."""
Answer = HandshakeResponse | CookieReply | TransportData
"""What names the index of its receiver."""
COUNTED: Final = {HandshakeInitiation: "initiation", HandshakeResponse: "response", CookieReply: "cookie", TransportData: "data"}
"""What each kind of message is called in a summary."""


@dataclass(slots=True)
class Receiver:
    """A session as one end calls it: what was sent to it."""

    at: float
    """When it was last heard of."""
    last: int = -1
    """Counter of the last data message; -1: none was seen."""
    highest: int = -1
    answered: bool = False
    """Whether the response to its initiation was seen."""


class WireguardConversation:
    """Two ends, at the addresses and ports of the beginning and wherever they moved to."""

    def __init__(self, source: HostPort, destination: HostPort, first: WireguardMessage) -> None:
        self.flow = Flow("wireguard", Transport.UDP, source, destination)
        answers = isinstance(first, HandshakeResponse | CookieReply)
        self._initiator = destination if answers else source
        """Of data alone a guess, which is kept: it only has to tell the two ends apart."""
        self._tracker = WireguardTracker(kept_steps=0)
        self._account = Account(keepalive_bytes=EMPTY_DATA)
        self._counts: Counter[type[WireguardMessage]] = Counter()
        self._first: dict[tuple[HostPort, type[WireguardMessage]], WireguardMessage] = {}
        """Of each end and kind, the first: all that the tracker's state rests on."""
        self._rising = 0
        """Data messages whose counter is above the last one's for the same receiver."""
        self._receivers: dict[tuple[HostPort, int], Receiver] = {}
        """By end and its index."""
        self._heard: dict[HostPort, tuple[float, float]] = {}
        """When each end was heard first and last."""
        self._data = DataPackets(begun=not isinstance(first, TransportData))
        self._seen: set[tuple[str, str, bool]] = set()
        self.joined_to: WireguardConversation | None = None
        """The earlier one that this turned out to be; None: none."""

    def take(self, frame: Frame, source: HostPort, message: WireguardMessage, size: int) -> Iterable[CapturedMessage]:
        """One captured message for each of a handshake that is new, and for each data message. `size`: bytes of the message."""
        source = self.flow.end(source)
        self.flow.count(frame, source)
        sender, before = self._sender(source), self._tracker.state
        self._tracker.saw(sender, message, now=frame.at)
        moved_on, data = self._tracker.state is not before, isinstance(message, TransportData)
        self._account.saw(
            sender, describe(message)[0], frame, size=size, moved_on=moved_on, data=data, key=index_of(message), answers=answers_of(message)
        )
        self._counts[type(message)] += 1
        self._first.setdefault((source, type(message)), message)
        self._heard[source] = (self._heard.get(source, (frame.at, 0.0))[0], frame.at)
        self._note(source, message, frame.at)
        if self.flow.client is None and (opened := opener(message, sender)) is not None:
            self.flow.client = source if opened is sender else self.flow.other(source)
        if not self.is_wireguard:
            return
        if isinstance(message, TransportData):
            self.flow.numbered(source, message.receiver_index, message.counter, frame)
            key = key_of(message)
            detail = self._data.take(sender, number=message.counter, key=key, carries=size > EMPTY_DATA, at=frame.at)
            if detail is not None:
                yield replace(self._captured(frame, source, message, size), detail=detail)
            return
        found = self._captured(frame, source, message, size)
        kind = (found.message, found.key, seems_ttl_limited(frame))
        if kind not in self._seen and len(self._seen) < HANDSHAKES_LIMIT:
            self._seen.add(kind)
            yield found

    def _captured(self, frame: Frame, source: HostPort, message: WireguardMessage, size: int) -> CapturedMessage:
        check_of = wireguard_data if isinstance(message, TransportData) else wireguard_handshake
        from_client = source == self.flow.client if self.flow.client is not None else None
        return replace(captured(frame, check_of, key_of(message), describe(message)[0], from_client=from_client), size=size)

    def _sender(self, end: HostPort) -> Sender:
        return Sender.INITIATOR if end == self._initiator else Sender.RESPONDER

    def _note(self, source: HostPort, message: WireguardMessage, at: float) -> None:
        """Notes which receivers there are, and what went to them."""
        if isinstance(message, HandshakeInitiation | HandshakeResponse):
            self._receiver(source, message.sender_index, at)
        if isinstance(message, HandshakeInitiation):
            return
        receiver = self._receiver(self.flow.other(source), message.receiver_index, at)
        receiver.at = max(receiver.at, at)
        if isinstance(message, TransportData):
            self._rising += receiver.last < message.counter < COUNTER_LIMIT
            receiver.last, receiver.highest = message.counter, max(message.counter, receiver.highest)
        receiver.answered = receiver.answered or isinstance(message, HandshakeResponse)

    def _receiver(self, end: HostPort, index: int, at: float) -> Receiver:
        found = self._receivers.get((end, index))
        if found is None:
            if len(self._receivers) >= RECEIVERS_LIMIT:
                del self._receivers[next(iter(self._receivers))]
            found = self._receivers[end, index] = Receiver(at)
        return found

    def knows(self, place: HostPort, index: int) -> bool:
        """Whether the end that is at a place is known to call a session so."""
        return (self.flow.end(place), index) in self._receivers

    def goes_on(self, place: HostPort, message: Answer, at: float) -> bool:
        """Whether a message to an end of this conversation goes on with one of its sessions, which is alive, and is no copy."""
        receiver = self._receivers.get((self.flow.end(place), message.receiver_index))
        if receiver is None or at - receiver.at > REJECT_AFTER_S:
            return False
        if isinstance(message, TransportData):
            return receiver.highest < message.counter < COUNTER_LIMIT
        return not receiver.answered

    def is_followed_by(self, later: "WireguardConversation", place: HostPort, message: Answer, at: float) -> bool:
        """Whether the end at `place`, which alone was heard here, sends on to somebody who was heard there.

        Its next counters go to the same index then. Two other ends may have chosen the same one: where the one here was heard, it has to be
        heard elsewhere itself before it is held to have moved.
        """
        other, there = self.flow.other(self.flow.end(place)), later.flow.other(later.flow.end(place))
        receiver = self._receivers.get((other, message.receiver_index))
        if receiver is None or self.flow.counts[other] or not later.flow.counts[there] or not isinstance(message, TransportData):
            return False
        return at - receiver.at <= REJECT_AFTER_S and 0 < message.counter - receiver.highest <= NEXT

    def indices(self, place: HostPort) -> list[int]:
        """What the end at a place calls its sessions."""
        end = self.flow.end(place)
        return [index for whose, index in self._receivers if whose == end]

    def _was_over_before(self, later: "WireguardConversation", known: HostPort) -> bool:
        """Whether the other end than the one at `known` was heard here for the last time before it was heard in `later`."""
        heard = self._heard.get(self.flow.other(self.flow.end(known)))
        there = later._heard.get(later.flow.other(later.flow.end(known)))
        return heard is None or there is None or heard[1] <= there[0]

    def join(self, later: "WireguardConversation", known: HostPort) -> bool:
        """Takes over a conversation that turned out to be this one after a move of the other end than the one at `known`.

        False: that end was heard here and there by turns, as where each packet was captured twice, or has moved too often to be followed.
        """
        same = later.flow.end(known)
        ends = {same: self.flow.end(known), later.flow.other(same): self.flow.other(self.flow.end(known))}
        if not self._was_over_before(later, known) or not self.flow.join(later.flow, known):
            return False
        for (end, kind), message in later._first.items():
            self._first.setdefault((ends[end], kind), message)
            self._tracker.saw(self._sender(ends[end]), message, now=later.flow.first_at)
        for end, (first, last) in later._heard.items():
            known_first, known_last = self._heard.get(ends[end], (first, last))
            self._heard[ends[end]] = (min(first, known_first), max(last, known_last))
        for (end, index), receiver in later._receivers.items():
            self._receivers[ends[end], index] = receiver
        self._counts.update(later._counts)
        self._rising += later._rising
        self._seen |= later._seen
        later.joined_to = self
        return True

    @property
    def is_wireguard(self) -> bool:
        """Whether enough was seen that other protocols' packets do not look like by chance."""
        handshake = self._counts[HandshakeInitiation] + self._counts[HandshakeResponse]
        return handshake > 0 or self._rising >= MIDSTREAM_LEAST

    def receipts(self) -> Iterable[int]:
        """As of `PacketFollower`."""
        return self._account.receipts()

    def summary(self) -> ConversationSummary:
        counts = {name: self._counts[kind] for kind, name in COUNTED.items()}
        return self.flow.summary(self._tracker.stage, counts, account=self._account)


class WireguardFollower(PacketFollower):
    """All WireGuard of a capture."""

    def __init__(self) -> None:
        self._conversations: dict[object, WireguardConversation] = {}
        """By pair of addresses and ports; one that has moved stands under all of its pairs."""
        self._to: dict[tuple[HostPort, int], WireguardConversation] = {}
        """By place of a receiver and its index: which conversation it was last seen in."""
        self._from: dict[tuple[HostPort, int], WireguardConversation] = {}
        """By place of a sender and the index that its messages name."""
        self._moved: dict[WireguardConversation, None] = {}
        self._sized = SizedConversations(sized_session)

    def take_datagram(self, frame: Frame, payload: bytes, length: int) -> Iterable[CapturedMessage] | None:
        """Follows a datagram that has the form of a message. Zeros stand for what the capture cut, behind all that is read."""
        if not 1 <= payload[0] <= MessageType.TRANSPORT_DATA or len(payload) < CLEAR_BYTES:
            return None
        try:
            message = decode_wireguard(payload + bytes(length - len(payload)))
        except DecodeError:
            return None
        source, destination = ends_of(frame)
        conversation = self._conversation(frame, source, destination, message)
        return None if conversation is None else conversation.take(frame, source, message, length)

    def take_unseen(self, frame: Frame, length: int) -> Iterable[CapturedMessage]:
        return self._sized.take(frame, length)

    def _conversation(
        self, frame: Frame, source: HostPort, destination: HostPort, message: WireguardMessage
    ) -> WireguardConversation | None:
        """The one that a message belongs to, if need be a new one; None: there are too many."""
        slot = pair(source, destination)
        here = _root(self._conversations.get(slot))
        if here is None and len(self._conversations) >= FLOWS_LIMIT:
            return None
        if not isinstance(message, HandshakeInitiation):
            known = here is not None and here.knows(destination, message.receiver_index)
            if known and isinstance(message, TransportData):
                return here
            if not known:
                here = self._moved_here(here, frame, source, destination, message) or here
        if here is None:
            here = WireguardConversation(source, destination, message)
            here.flow.counts_numbers = len(self._conversations) < NUMBERED_LIMIT
        self._conversations[slot] = here
        if isinstance(message, HandshakeInitiation | HandshakeResponse):
            _remember(self._to, (source, message.sender_index), here)
        if not isinstance(message, HandshakeInitiation):
            _remember(self._to, (destination, message.receiver_index), here)
            _remember(self._from, (source, message.receiver_index), here)
        return here

    def _moved_here(
        self, here: WireguardConversation | None, frame: Frame, source: HostPort, destination: HostPort, message: Answer
    ) -> WireguardConversation | None:
        """The conversation that a message shows to have moved to this pair; None: none. `here`: what is known of the pair so far."""
        earlier, known = _root(self._to.get((destination, message.receiver_index))), destination
        if earlier is None or earlier is here or not earlier.goes_on(known, message, frame.at):
            earlier, known = _root(self._from.get((source, message.receiver_index))), source
            if earlier is None or here is None or earlier is here or not earlier.is_followed_by(here, known, message, frame.at):
                return None
        if here is None:
            return earlier if self._move(earlier, frame, source, destination) else None
        first, later = sorted((earlier, here), key=lambda one: one.flow.first_frame)
        if not first.join(later, known):
            return None
        self._moved[first] = None
        return first

    def _move(self, earlier: WireguardConversation, frame: Frame, source: HostPort, destination: HostPort) -> bool:
        """Its end that was at another place is at the source of a message now; whether it is followed there."""
        if not earlier.flow.move(source, destination, frame.number):
            return False
        self._moved[earlier] = None
        for index in earlier.indices(source):
            _remember(self._to, (source, index), earlier)
        return True

    def moved(self) -> Iterable[Moved]:
        return (moved for one in self._moved if one.joined_to is None and (moved := one.flow.moved) is not None)

    def receipts(self) -> Iterable[int]:
        found = dict.fromkeys(_root(one) for one in self._conversations.values())
        return (number for one in found if one is not None and one.is_wireguard for number in one.receipts())

    def summaries(self) -> Iterable[ConversationSummary]:
        found = dict.fromkeys(_root(one) for one in self._conversations.values())
        yield from (one.summary() for one in found if one is not None and one.is_wireguard)
        yield from self._sized.summaries()


def _root(conversation: WireguardConversation | None) -> WireguardConversation | None:
    """The conversation that one turned out to be, if it turned out to be another."""
    while conversation is not None and conversation.joined_to is not None:
        conversation = conversation.joined_to
    return conversation


def _remember(
    table: dict[tuple[HostPort, int], WireguardConversation], key: tuple[HostPort, int], conversation: WireguardConversation
) -> None:
    if key not in table and len(table) >= SESSIONS_LIMIT:
        del table[next(iter(table))]
    table[key] = conversation
