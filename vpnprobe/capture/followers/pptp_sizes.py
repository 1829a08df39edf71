"""PPTP's control connection by the lengths of its segments alone: a guess, and told as one.

Each control message has a length of its own (RFC 2637 section 2) and is sent in one segment. What is in a reply is not known: that it
agrees is part of the guess. On other ports nothing is guessed.
"""

from collections.abc import Iterable

from vpnprobe.capture.followers.base import BY_PORT, CapturedMessage, Flow, HostPort, always, captured
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.pptp import PptpTracker, State, describe
from vpnprobe.evidence.checks import PPTP_CONTROL
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.pptp import (
    PORT,
    ControlMessage,
    OutgoingCallReply,
    OutgoingCallRequest,
    StartControlConnectionReply,
    StartControlConnectionRequest,
)


class SizedControlConnection:
    """One TCP connection to port 1723."""

    def __init__(self, source: HostPort, destination: HostPort, _length: int) -> None:
        self.flow = Flow("pptp", Transport.TCP, source, destination)
        self.may_be = PORT in (source[1], destination[1])
        """Whether it is on PPTP's port."""
        self._client = source if destination[1] == PORT else destination
        self._tracker = PptpTracker()
        self._names: list[str] = []

    def take_unseen(self, frame: Frame, sender: HostPort, length: int) -> Iterable[CapturedMessage]:
        """What a segment shows. `length`: of its payload."""
        message = self._message(length, from_client=sender == self._client)
        if message is None:
            return
        self._tracker.saw(Sender.INITIATOR if sender == self._client else Sender.RESPONDER, message, now=frame.at)
        name, detail = describe(message)
        if name not in self._names:
            self._names.append(name)
            key = f"from-{self._client[1] or 0}"
            yield captured(frame, always(PPTP_CONTROL), key, name, detail=detail, from_client=sender == self._client, recurs=True)

    @staticmethod
    def _message(length: int, *, from_client: bool) -> ControlMessage | None:
        match length, from_client:
            case (156, True):
                return StartControlConnectionRequest()
            case (156, False):
                return StartControlConnectionReply()
            case (168, True):
                return OutgoingCallRequest(call_id=0)
            case (32, False):
                return OutgoingCallReply(call_id=0, peer_call_id=0)
        return None

    def summary(self) -> ConversationSummary:
        """The conversation so far."""
        self.flow.client = self._client
        stage = self._tracker.table.stage(State.MIDSTREAM) if self._tracker.state is State.IDLE else self._tracker.stage
        return self.flow.summary(stage, {"messages": self._names, "guessed_from": "sizes"}, [BY_PORT.format("PPTP")])
