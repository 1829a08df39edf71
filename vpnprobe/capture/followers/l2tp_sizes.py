"""L2TP by its port and the sizes of its messages alone: a guess, and told as one.

A ZLB has 12 bytes and an SCCCN 20 or more (RFC 2661 sections 5.8 and 6.3); an SCCRQ and its answer carry a host name and hardly come to
less than 60. In the order in which a tunnel and its call are set up, each message is known by who sends it and how long it is.
"""

from collections.abc import Iterable
from typing import Final

from vpnprobe.capture.followers.base import BY_PORT, FLOWS_LIMIT, ends_of, pair
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.l2tp import L2tpTracker, State
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.l2tp import (
    CONTROL_HEADER,
    PORT,
    ControlMessage,
    DataMessage,
    Hello,
    IncomingCallConnected,
    IncomingCallReply,
    IncomingCallRequest,
    StartControlConnectionConnected,
    StartControlConnectionReply,
    StartControlConnectionRequest,
)

START_LEAST: Final = 60
"""Bytes of an SCCRQ or SCCRP."""
CONTROL_BYTES: Final = (CONTROL_HEADER, 20)
"""Of a ZLB and of a Hello, which are what passes between the calls of a tunnel."""
ORDER: Final[tuple[tuple[bool, int, type[ControlMessage]], ...]] = (
    (True, START_LEAST, StartControlConnectionRequest),
    (False, START_LEAST, StartControlConnectionReply),
    (True, 20, StartControlConnectionConnected),
    (True, 36, IncomingCallRequest),
    (False, 28, IncomingCallReply),
    (True, 36, IncomingCallConnected),
)
"""Whether the client sends it, its least size in bytes, and the message: in the order in which they come."""


class SizedTunnel:
    """One pair of addresses and ports."""

    def __init__(self, source: HostPort, destination: HostPort, length: int) -> None:
        self.flow = Flow("l2tp", Transport.UDP, source, destination)
        self._client = destination if source[1] == PORT and destination[1] != PORT else source
        self._begins = source == self._client and length >= START_LEAST
        self._first = length
        self._tracker = L2tpTracker()
        self._next = 0
        """Place in `ORDER` of the message that is due."""

    def take(self, frame: Frame, source: HostPort, length: int) -> None:
        """What a datagram of that size shows."""
        self.flow.count(frame, source)
        if not self._begins or self._next >= len(ORDER) or length <= CONTROL_HEADER:
            return
        from_client, least, kind = ORDER[self._next]
        if (source == self._client) == from_client and length >= least:
            self._next += 1
            sender = Sender.INITIATOR if from_client else Sender.RESPONDER
            self._tracker.saw(sender, kind(0, 0, 0, 0, ()), now=frame.at)

    def summary(self) -> ConversationSummary:
        """The conversation so far."""
        if self._tracker.state is State.IDLE:
            first = Hello(0, 0, 0, 0, ()) if self._first in CONTROL_BYTES else DataMessage(0, 0, b"")
            self._tracker.saw(Sender.INITIATOR, first, now=self.flow.first_at)
        self.flow.client = self._client if self._begins else None
        return self.flow.summary(self._tracker.stage, {"guessed_from": "ports"}, [BY_PORT.format("L2TP")])


class SizedTunnels:
    """All of a capture."""

    def __init__(self) -> None:
        self._tunnels: dict[object, SizedTunnel] = {}

    def take(self, frame: Frame, length: int) -> None:
        """What a datagram of that size on port 1701 shows."""
        source, destination = ends_of(frame)
        slot = pair(source, destination)
        tunnel = self._tunnels.get(slot)
        if tunnel is None:
            if len(self._tunnels) >= FLOWS_LIMIT:
                return
            tunnel = self._tunnels[slot] = SizedTunnel(source, destination, length)
        tunnel.take(frame, source, length)

    def summaries(self) -> Iterable[ConversationSummary]:
        """Of all tunnels."""
        return (tunnel.summary() for tunnel in self._tunnels.values())
