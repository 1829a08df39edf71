"""PPTP's control connection in captures: the tracker of `vpnprobe.conversations.pptp` on a TCP connection's two streams."""

from collections.abc import Iterable
from typing import Any, Self

from vpnprobe.capture.account import Account
from vpnprobe.capture.followers.base import CapturedMessage, always, captured
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.followers.pptp_sizes import BY_SIZES, message_of_size
from vpnprobe.capture.frames import Frame
from vpnprobe.capture.streams import StreamChunk, TcpConnection, TcpEnd
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.one_direction import OneDirection
from vpnprobe.conversations.pptp import COOKIE, HEAD_BYTES, IMPLIED, PptpTracker, State, describe, find_message, key_of
from vpnprobe.evidence.checks import PPTP_CONTROL
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.pptp import (
    CONTROL_MESSAGE,
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
CALLS_KEPT = 16
"""Call IDs in a summary, of each end."""
FROM_PNS = (StartControlConnectionRequest, OutgoingCallRequest, IncomingCallReply, SetLinkInfo, CallClearRequest)


def begins_pptp(head: bytes, missing: int) -> bool | None:
    """Whether a stream that begins with `head` is a PPTP control connection (RFC 2637 section 2): by Length, PPTP Message Type and Magic
    Cookie; None: more bytes tell. `missing`: bytes behind them that were cut off.
    """
    marks = b"\0" + head[1:2] + CONTROL_MESSAGE.to_bytes(2, "big") + COOKIE
    if not marks.startswith(head[: len(marks)]):
        return False
    if len(head) >= len(marks):
        return True
    return False if missing else None


def goes_on_as_pptp(stretch: bytes) -> bool:
    """Whether a part of a stream holds the head of a control message."""
    return find_message(stretch)[0]


class ControlConnection:
    """One TCP connection that carries, or on port 1723 is meant to carry, PPTP control messages."""

    def __init__(self, source: HostPort, destination: HostPort, *, opener: HostPort | None, key: str, recurs: bool) -> None:
        """`key`: what a foreign call is known by. `recurs`: whether that may be the key of another attempt as well."""
        self.flow = Flow("pptp", Transport.TCP, source, destination)
        self.flow.client = opener
        self.seen = False
        """Whether a control message was seen."""
        self._sized = False
        """Of some of them only the size."""
        self._tracker = PptpTracker()
        self.account = Account()
        self._opened = opener is not None
        self._key = key
        self._recurs = recurs
        self._alone = OneDirection(self._tracker.table, IMPLIED)
        """What the messages prove, if only one end's were captured."""
        self._names: list[str] = []
        self._detail: dict[str, Any] = {}
        self._client = opener or self._guess()

    @classmethod
    def begun(cls, connection: TcpConnection, _sender: TcpEnd, number: int, _head: bytes) -> Self:
        """The follower of a connection. A foreign one is known by the client's initial sequence number, where its SYN was captured."""
        opener = connection.opener
        first = connection.directions[opener].first_sequence if opener is not None else None
        key = f"{first:08x}" if first is not None else f"from-{number}"
        return cls(*connection.ends, opener=opener, key=key, recurs=first is None)

    def _guess(self) -> HostPort:
        return next((end for end in self.flow.ends if end[1] != PORT), self.flow.ends[0])

    def take(self, frame: Frame, chunk: StreamChunk) -> Iterable[CapturedMessage]:
        sender = Sender.INITIATOR if chunk.sender == self._client else Sender.RESPONDER
        before = self._tracker.state
        for message in self._tracker.messages(sender, chunk.data, now=chunk.at, gap=chunk.gap, missing=chunk.missing):
            moved_on, before = self._tracker.state is not before, self._tracker.state
            size = len(message.encode())
            self.account.saw(sender, describe(message)[0], frame, size=size, moved_on=moved_on, at=chunk.at)
            if isinstance(message, StartControlConnectionRequest | StartControlConnectionReply) and self.flow.client is None:
                asks = isinstance(message, StartControlConnectionRequest)
                self.flow.client = chunk.sender if asks else self.flow.other(chunk.sender)
            self._alone.saw(sender, self._tracker.kind(sender, message))
            yield self._captured(frame, chunk, message)

    def _captured(self, frame: Frame, chunk: StreamChunk, message: ControlMessage) -> CapturedMessage:
        self.seen = True
        own_key = key_of(message)
        if own_key:
            self._key, self._recurs = own_key, False
        name, detail = describe(message)
        if len(self._names) < MESSAGES_KEPT:
            self._names.append(name)
        if isinstance(message, OutgoingCallRequest):
            self._detail["call_id"] = message.call_id
            self._announced("call_ids", message.call_id)
        elif isinstance(message, OutgoingCallReply):
            self._detail |= {"server_call_id": message.call_id, "call_id_seen_by_server": message.peer_call_id}
            self._announced("server_call_ids", message.call_id)
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
            recurs=self._recurs,
            own=bool(own_key),
        )

    def _announced(self, name: str, call_id: int) -> None:
        known = self._detail.setdefault(name, [])
        if call_id not in known and len(known) < CALLS_KEPT:
            known.append(call_id)

    def after(self, frame: Frame, connection: TcpConnection) -> Iterable[CapturedMessage]:
        """A message of which a snap length left no more than its size. The end of the connection says nothing."""
        segment = frame.tcp
        if not frame.cut or segment is None or len(segment.payload) >= HEAD_BYTES:
            return
        from_client = (frame.source, segment.source_port) == self._client
        message = message_of_size(frame.tcp_payload_length, from_client=from_client)
        if message is None:
            return
        self.seen = self._sized = True
        name, _ = describe(message)
        if len(self._names) < MESSAGES_KEPT:
            self._names.append(name)
        sender = Sender.INITIATOR if from_client else Sender.RESPONDER
        self._tracker.saw(sender, message, now=frame.at)
        self._alone.saw(sender, self._tracker.kind(sender, message))
        yield captured(frame, always(PPTP_CONTROL), self._key, name, from_client=from_client, recurs=self._recurs)

    @property
    def stage(self) -> str:
        """A connection on port 1723 whose messages were all before the capture is in its middle.

        Of one that was captured in one direction, from its beginning on, what the messages prove counts.
        """
        if not self.flow.both_ways and self._opened and self._alone.state is not State.IDLE:
            return self._alone.stage
        return self._tracker.table.stage(State.MIDSTREAM) if self._tracker.state is State.IDLE else self._tracker.stage

    def receipts(self) -> Iterable[int]:
        """As of `StreamFollower`."""
        return self.account.receipts()

    def summary(self) -> ConversationSummary | None:
        if not self.seen and self.flow.client is not None:
            return None
        if self.flow.client is None:
            self.flow.client = self._client if any(end[1] == PORT for end in self.flow.ends) else None
        self.account.refused = self._tracker.refused
        broken = [f"the stream of the {sender.value} cannot be read: {error}" for sender, error in self._tracker.broken.items()]
        sized = [BY_SIZES] if self._sized else []
        guessed = {"guessed_from": "sizes"} if self._sized else {}
        detail = {"messages": self._names, **self._detail, **guessed}
        return self.flow.summary(self.stage, detail, [*broken, *sized], account=self.account)
