"""WireGuard in captures, by the form of its messages (whitepaper section 5.4): type, three zero bytes, and fixed sizes.

Handshake messages alone make a conversation; data messages do once several name the same receiver with counters that go up.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from vpnprobe.capture.followers.base import FLOWS_LIMIT, End, Flow, ends_of, pair
from vpnprobe.capture.frames import Frame
from vpnprobe.observations.schema import ConversationSummary, Transport

DATA_LEAST_BYTES: Final = 32
MIDSTREAM_LEAST: Final = 3
"""Data messages alone are taken for WireGuard from so many on."""


class MessageType(IntEnum):
    INITIATION = 1
    RESPONSE = 2
    COOKIE = 3
    DATA = 4


SIZES: Final = {MessageType.INITIATION: 148, MessageType.RESPONSE: 92, MessageType.COOKIE: 64}


def message_type(payload: bytes, length: int) -> MessageType | None:
    """The message's type; `length`: bytes of the payload on the wire. None: no WireGuard."""
    if len(payload) < 16 or payload[1:4] != bytes(3) or not 1 <= payload[0] <= 4:
        return None
    kind = MessageType(payload[0])
    if kind is MessageType.DATA:
        return kind if length >= DATA_LEAST_BYTES and length % 16 == 0 else None
    return kind if SIZES[kind] == length else None


@dataclass(slots=True)
class _Tunnel:
    flow: Flow
    counts: dict[tuple[End, MessageType], int] = field(default_factory=dict)
    rising: int = 0
    """Data messages whose counter is above the last one's for the same receiver."""
    last: dict[tuple[End, bytes], int] = field(default_factory=dict)

    def total(self, kind: MessageType) -> int:
        return sum(count for (_, of), count in self.counts.items() if of is kind)

    @property
    def believed(self) -> bool:
        handshake = self.total(MessageType.INITIATION) + self.total(MessageType.RESPONSE)
        return handshake > 0 or self.rising >= MIDSTREAM_LEAST

    @property
    def stage(self) -> str:
        senders = {end for (end, kind) in self.counts if kind is MessageType.DATA}
        prefix = "" if self.total(MessageType.INITIATION) or self.total(MessageType.RESPONSE) else "midstream-"
        if senders:
            return f"{prefix}data-{'both-ways' if len(senders) > 1 else 'one-way'}"
        return "handshake-complete" if self.total(MessageType.RESPONSE) else "initiation-unanswered"


class WireguardFollower:
    """All WireGuard of a capture."""

    def __init__(self) -> None:
        self._tunnels: dict[object, _Tunnel] = {}

    def take(self, frame: Frame, payload: bytes, length: int) -> bool:
        """Counts a datagram; whether it has the form of a WireGuard message."""
        kind = message_type(payload, length)
        if kind is None:
            return False
        source, destination = ends_of(frame)
        slot = pair(source, destination)
        tunnel = self._tunnels.get(slot)
        if tunnel is None:
            if len(self._tunnels) >= FLOWS_LIMIT:
                return False
            tunnel = self._tunnels[slot] = _Tunnel(Flow("wireguard", Transport.UDP, source, destination))
        self._count(tunnel, frame, source, kind, payload)
        return True

    def _count(self, tunnel: _Tunnel, frame: Frame, source: End, kind: MessageType, payload: bytes) -> None:
        tunnel.flow.count(frame, source)
        tunnel.counts[source, kind] = tunnel.counts.get((source, kind), 0) + 1
        if kind is MessageType.INITIATION and tunnel.flow.client is None:
            tunnel.flow.client = source
        elif kind is MessageType.RESPONSE and tunnel.flow.client is None:
            tunnel.flow.client = tunnel.flow.other(source)
        elif kind is MessageType.DATA:
            receiver, counter = (source, payload[4:8]), int.from_bytes(payload[8:16], "little")
            tunnel.rising += counter > tunnel.last.get(receiver, -1) and counter < 1 << 48
            if len(tunnel.last) < 64 or receiver in tunnel.last:
                tunnel.last[receiver] = counter

    def summaries(self) -> Iterable[ConversationSummary]:
        for tunnel in self._tunnels.values():
            if tunnel.believed:
                detail = {kind.name.lower(): tunnel.total(kind) for kind in MessageType}
                yield tunnel.flow.summary(tunnel.stage, detail)
