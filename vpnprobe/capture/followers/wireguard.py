"""WireGuard in captures: the tracker of `vpnprobe.conversations.wireguard` on whatever has the form of its messages.

A handshake message alone makes a conversation. Data messages, whose form is short, do so once several name the same receiver with counters
that go up.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from vpnprobe.capture.followers.base import (
    FLOWS_LIMIT,
    CapturedMessage,
    Flow,
    HostPort,
    PacketFollower,
    captured,
    ends_of,
    pair,
    seems_ttl_limited,
)
from vpnprobe.capture.followers.data_packets import DataPackets
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.wireguard import WireguardTracker, describe, key_of, opener
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
"""Most receivers of one conversation whose counters are followed."""
HANDSHAKES_LIMIT: Final = 2000
"""Most messages of handshakes of one conversation that are told apart."""
COUNTED: Final = {HandshakeInitiation: "initiation", HandshakeResponse: "response", CookieReply: "cookie", TransportData: "data"}
"""What each kind of message is called in a summary."""


class WireguardConversation:
    """One pair of addresses and ports."""

    def __init__(self, source: HostPort, destination: HostPort, first: WireguardMessage) -> None:
        self.flow = Flow("wireguard", Transport.UDP, source, destination)
        answers = isinstance(first, HandshakeResponse | CookieReply)
        self._initiator = destination if answers else source
        """Of data alone a guess, which is kept: it only has to tell the two ends apart."""
        self._tracker = WireguardTracker(kept_steps=0)
        self._counts: Counter[type[WireguardMessage]] = Counter()
        self._rising = 0
        """Data messages whose counter is above the last one's for the same receiver."""
        self._last: dict[tuple[HostPort, int], int] = {}
        self._data = DataPackets(begun=not isinstance(first, TransportData))
        self._seen: set[tuple[str, str, bool]] = set()

    def take(self, frame: Frame, source: HostPort, message: WireguardMessage, size: int) -> Iterable[CapturedMessage]:
        """One captured message for each of a handshake that is new, and for each data message. `size`: bytes of the message."""
        self.flow.count(frame, source)
        sender = Sender.INITIATOR if source == self._initiator else Sender.RESPONDER
        self._tracker.saw(sender, message, now=frame.at)
        self._counts[type(message)] += 1
        if isinstance(message, TransportData):
            self._count(source, message)
        elif self.flow.client is None and (opened := opener(message, sender)) is not None:
            self.flow.client = source if opened is sender else self.flow.other(source)
        if not self.is_wireguard:
            return
        if isinstance(message, TransportData):
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

    def _count(self, source: HostPort, message: TransportData) -> None:
        receiver = (source, message.receiver_index)
        self._rising += self._last.get(receiver, -1) < message.counter < COUNTER_LIMIT
        if len(self._last) < RECEIVERS_LIMIT or receiver in self._last:
            self._last[receiver] = message.counter

    @property
    def is_wireguard(self) -> bool:
        """Whether enough was seen that other protocols' packets do not look like by chance."""
        handshake = self._counts[HandshakeInitiation] + self._counts[HandshakeResponse]
        return handshake > 0 or self._rising >= MIDSTREAM_LEAST

    def summary(self) -> ConversationSummary:
        return self.flow.summary(self._tracker.stage, {name: self._counts[kind] for kind, name in COUNTED.items()})


class WireguardFollower(PacketFollower):
    """All WireGuard of a capture."""

    def __init__(self) -> None:
        self._conversations: dict[object, WireguardConversation] = {}

    def take_datagram(self, frame: Frame, payload: bytes, length: int) -> Iterable[CapturedMessage] | None:
        """Follows a datagram that has the form of a message. Zeros stand for what the capture cut, behind all that is read."""
        if not 1 <= payload[0] <= MessageType.TRANSPORT_DATA or len(payload) < CLEAR_BYTES:
            return None
        try:
            message = decode_wireguard(payload + bytes(length - len(payload)))
        except DecodeError:
            return None
        source, destination = ends_of(frame)
        slot = pair(source, destination)
        conversation = self._conversations.get(slot)
        if conversation is None:
            if len(self._conversations) >= FLOWS_LIMIT:
                return None
            conversation = self._conversations[slot] = WireguardConversation(source, destination, message)
        return conversation.take(frame, source, message, length)

    def summaries(self) -> Iterable[ConversationSummary]:
        return (conversation.summary() for conversation in self._conversations.values() if conversation.is_wireguard)
