"""PPTP's control messages by their sizes alone, where a snap length or a printed line left nothing of them but the headers before.

Every message has one size (RFC 2637 section 2), and those that bring a call up have sizes that no other message from the same end has. A
reply that refuses is as long as one that grants: it is taken to grant, and the conversation says what is known of it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from vpnprobe.capture.account import Account
from vpnprobe.capture.followers.base import BY_PORT, CapturedMessage, always, captured
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.pptp import PptpTracker, State, describe
from vpnprobe.evidence.checks import PPTP_CONTROL
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.pptp import (
    PORT,
    CallDisconnectNotify,
    ControlMessage,
    OutgoingCallReply,
    OutgoingCallRequest,
    SetLinkInfo,
    StartControlConnectionReply,
    StartControlConnectionRequest,
)

BY_SIZES: Final = "Of some of its control messages only the sizes are known: replies among them are taken to grant what was asked for."

_FROM_PNS: Final[Mapping[int, ControlMessage]] = {
    message.size(): message for message in (StartControlConnectionRequest(), OutgoingCallRequest(call_id=0), SetLinkInfo(peer_call_id=0))
}
_FROM_PAC: Final[Mapping[int, ControlMessage]] = {
    message.size(): message
    for message in (StartControlConnectionReply(), OutgoingCallReply(call_id=0, peer_call_id=0), CallDisconnectNotify(call_id=0))
}


def message_of_size(size_bytes: int, *, from_client: bool) -> ControlMessage | None:
    """The message that a segment's payload of that size is, its fields at their usual values; None: it may be one of several, or none."""
    return (_FROM_PNS if from_client else _FROM_PAC).get(size_bytes)


class SizedControlConnection:
    """One TCP connection to port 1723."""

    def __init__(self, source: HostPort, destination: HostPort, _length: int) -> None:
        self.flow = Flow("pptp", Transport.TCP, source, destination)
        self.may_be = PORT in (source[1], destination[1])
        """Whether it is on PPTP's port."""
        self._client = source if destination[1] == PORT else destination
        self._tracker = PptpTracker()
        self._account = Account()
        self._names: list[str] = []

    def take_unseen(self, frame: Frame, sender: HostPort, length: int) -> Iterable[CapturedMessage]:
        """What a segment shows. `length`: of its payload."""
        message = message_of_size(length, from_client=sender == self._client)
        if message is None:
            return
        end, before = Sender.INITIATOR if sender == self._client else Sender.RESPONDER, self._tracker.state
        self._tracker.saw(end, message, now=frame.at)
        name, detail = describe(message)
        self._account.saw(end, name, frame, size=length, moved_on=self._tracker.state is not before)
        if name not in self._names:
            self._names.append(name)
            key = f"from-{self._client[1] or 0}"
            yield captured(frame, always(PPTP_CONTROL), key, name, detail=detail, from_client=sender == self._client, recurs=True)

    def summary(self) -> ConversationSummary:
        """The conversation so far."""
        self.flow.client = self._client
        stage = self._tracker.table.stage(State.MIDSTREAM) if self._tracker.state is State.IDLE else self._tracker.stage
        return self.flow.summary(stage, {"messages": self._names, "guessed_from": "sizes"}, [BY_PORT.format("PPTP")], account=self._account)
