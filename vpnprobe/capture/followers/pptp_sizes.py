"""PPTP's control messages by their sizes alone, where a snap length left nothing of them but the headers before.

Every message has one size (RFC 2637 section 2), and those that bring a call up have sizes that no other message from the same end has. A
reply that refuses is as long as one that grants: it is taken to grant, and the conversation says what is known of it.
"""

from collections.abc import Mapping
from typing import Final

from vpnprobe.wire.pptp import (
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
