"""PPTP's control connection in captures: the tracker of `vpnprobe.conversations.pptp` on a TCP connection's two streams."""

from collections.abc import Iterable
from typing import Any

from vpnprobe.capture.followers.base import CapturedMessage, End, Flow, always, captured
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.streams import Chunk
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.pptp import PptpTracker, State, key_of
from vpnprobe.evidence.checks import PPTP_CONTROL
from vpnprobe.evidence.messages import describe
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.pptp import (
    MAGIC_COOKIE,
    PORT,
    CallClearRequest,
    ControlMessage,
    IncomingCallReply,
    OutgoingCallReply,
    OutgoingCallRequest,
    SetLinkInfo,
    StartControlConnectionReply,
    StartControlConnectionRequest,
)

MESSAGES_KEPT = 100
"""Names of messages in a summary."""
FROM_PNS = (StartControlConnectionRequest, OutgoingCallRequest, IncomingCallReply, SetLinkInfo, CallClearRequest)


def looks_like_pptp(chunk: bytes) -> bool:
    """Whether a stream that begins with `chunk` is a PPTP control connection."""
    return len(chunk) >= 12 and chunk[4:8] == MAGIC_COOKIE.to_bytes(4, "big")


class ControlConnection:
    """One TCP connection that carries, or on port 1723 is meant to carry, PPTP control messages."""

    def __init__(self, source: End, destination: End, *, opener: End | None, fallback_key: str) -> None:
        self.flow = Flow("pptp", Transport.TCP, source, destination)
        self.flow.client = opener
        self.seen = False
        """Whether a control message was seen."""
        self._tracker = PptpTracker()
        self._key = fallback_key
        """What a foreign call is known by: the client's initial sequence number."""
        self._names: list[str] = []
        self._detail: dict[str, Any] = {}
        self._client = opener or self._guess()

    def _guess(self) -> End:
        return next((end for end in self.flow.ends if end[1] != PORT), self.flow.ends[0])

    def take(self, frame: Frame, chunk: Chunk) -> Iterable[CapturedMessage]:
        sender = Sender.INITIATOR if chunk.sender == self._client else Sender.RESPONDER
        for message in self._tracker.saw_chunk(sender, chunk.data, now=chunk.at):
            if isinstance(message, StartControlConnectionRequest | StartControlConnectionReply) and self.flow.client is None:
                asks = isinstance(message, StartControlConnectionRequest)
                self.flow.client = chunk.sender if asks else self.flow.other(chunk.sender)
            yield self._captured(frame, chunk, message)

    def _captured(self, frame: Frame, chunk: Chunk, message: ControlMessage) -> CapturedMessage:
        self.seen = True
        own_key = key_of(message)
        self._key = own_key or self._key
        name, detail = describe(message)
        if len(self._names) < MESSAGES_KEPT:
            self._names.append(name)
        if isinstance(message, OutgoingCallRequest):
            self._detail["call_id"] = message.call_id
        elif isinstance(message, OutgoingCallReply):
            self._detail |= {"server_call_id": message.call_id, "call_id_seen_by_server": message.peer_call_id}
        return captured(
            frame,
            always(PPTP_CONTROL),
            self._key,
            name,
            detail=detail,
            at=chunk.at,
            sender=chunk.sender,
            receiver=self.flow.other(chunk.sender),
            from_client=chunk.sender == self.flow.client if self.flow.client is not None else isinstance(message, FROM_PNS),
            own=bool(own_key),
        )

    @property
    def stage(self) -> str:
        """A connection on port 1723 whose messages were all before the capture is in its middle."""
        state: State = self._tracker.state
        return str((State.MIDSTREAM if state is State.IDLE else state).value)

    def summary(self) -> ConversationSummary:
        if self.flow.client is None:
            self.flow.client = self._client if any(end[1] == PORT for end in self.flow.ends) else None
        broken = [f"the stream of the {sender.value} cannot be read: {error}" for sender, error in self._tracker.broken.items()]
        return self.flow.summary(self.stage, {"messages": self._names, **self._detail}, broken)
