"""L2TP (RFC 2661) in captures: the tracker of `vpnprobe.conversations.l2tp` on each pair of ports with 1701 at an end.

Data messages are known by the LCP packet or the digest of the frame in them, and count where the tunnel's beginning is in the capture: both
ends' captures then call the tunnel by the same name.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from vpnprobe.capture.account import Account
from vpnprobe.capture.followers.base import FLOWS_LIMIT, CapturedMessage, PacketFollower, always, captured, ends_of, pair, seems_ttl_limited
from vpnprobe.capture.followers.data_packets import DataPackets
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.followers.l2tp_sizes import SizedTunnels
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations.contract import OF_SESSION, Sender
from vpnprobe.conversations.l2tp import IMPLIED, L2tpTracker, State, data_name, describe
from vpnprobe.conversations.one_direction import OneDirection
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.checks import L2TP_CONTROL, L2TP_DATA
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.l2tp import (
    PORT,
    TYPE_BIT,
    VERSION,
    ControlMessage,
    DataMessage,
    of_whole_avps,
    version_of,
)

L2TP_V3: Final = 3
MESSAGES_KEPT: Final = 100
STEPS: Final = frozenset(("SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN"))
"""Messages that ask and answer in turn."""
RESERVED_BITS: Final = 0x34F0
"""Section 3.1: must be zero."""


class L2tpConversation:
    """The tunnels between two ends, one after another, which count as one."""

    def __init__(self, source: HostPort, destination: HostPort) -> None:
        self.flow = Flow("l2tp", Transport.UDP, source, destination)
        self.client = destination if source[1] == PORT and destination[1] != PORT else source
        self.tracker = L2tpTracker()
        self.account = Account()
        self._alone = OneDirection(self.tracker.table, IMPLIED)
        """What the messages prove, if only one end's were captured."""
        self.names: list[str] = []
        self.data = 0
        self._data = DataPackets(begun=True)
        self._seen: set[tuple[HostPort, str, str, bool]] = set()

    def take(self, frame: Frame, source: HostPort, payload: bytes) -> Iterable[CapturedMessage]:
        """One captured message for each control message that is new, and for each data message of a tunnel whose beginning was seen."""
        sender = Sender.INITIATOR if source == self.client else Sender.RESPONDER
        before = self.tracker.state
        message = self.tracker.saw_datagram(sender, payload, now=frame.at)
        if not isinstance(message, DecodeError):
            name, data = describe(message)[0], isinstance(message, DataMessage)
            # A request in a tunnel leaves its state as it is.
            moved_on = self.tracker.state is not before or (name in STEPS and not self.account.has_said(sender, name))
            self.account.saw(sender, name, frame, size=len(payload), moved_on=moved_on, data=data)
        self._alone.saw(sender, self.tracker.kind(sender, message))
        if isinstance(message, DataMessage):
            self.data += 1
            if self.tracker.key:
                yield from self._of_data(frame, sender, message, len(payload))
        elif isinstance(message, ControlMessage):
            name, detail = describe(message)
            if len(self.names) < MESSAGES_KEPT:
                self.names.append(name)
            kind = (source, name, self.tracker.key, seems_ttl_limited(frame))
            if kind not in self._seen:
                self._seen.add(kind)
                from_client = source == self.client if self.flow.client is not None else None
                yield captured(frame, always(L2TP_CONTROL), self.tracker.key, name, detail=detail, from_client=from_client)

    def _of_data(self, frame: Frame, sender: Sender, message: DataMessage, size: int) -> Iterable[CapturedMessage]:
        name = data_name(message)
        key = f"{self.tracker.key}{OF_SESSION}{name}"
        detail = self._data.take(sender, number=int(name, 16), key=key, carries=bool(message.payload), at=frame.at)
        if detail is not None:
            yield replace(captured(frame, always(L2TP_DATA), key, describe(message)[0], detail=detail), size=size)

    @property
    def stage(self) -> str:
        """Of a tunnel that was captured in one direction, what the messages prove."""
        return self.tracker.stage if self.flow.both_ways else self._alone.stage

    def opened_by(self, source: HostPort, payload: bytes) -> None:
        """An SCCRQ shows who the client is, an SCCRP who is not."""
        if self.flow.client is not None or len(payload) < 20 or payload[12:18] != b"\x80\x08\x00\x00\x00\x00":
            return
        number = int.from_bytes(payload[18:20], "big")
        if number == 1:
            self.client = self.flow.client = source
        elif number == 2:
            self.client = self.flow.client = self.flow.other(source)


class L2tpFollower(PacketFollower):
    """All L2TP of a capture."""

    def __init__(self) -> None:
        self._tunnels: dict[object, L2tpConversation] = {}
        self._version_3: dict[object, Flow] = {}
        self._sized = SizedTunnels()

    def take_unseen(self, frame: Frame, length: int) -> Iterable[CapturedMessage]:
        self._sized.take(frame, length)
        return ()

    def take_datagram(self, frame: Frame, payload: bytes, length: int) -> Iterable[CapturedMessage] | None:
        """A datagram with port 1701 at an end."""
        source, destination = ends_of(frame)
        slot = pair(source, destination)
        try:
            version = version_of(payload)
        except DecodeError:
            return None
        if (version == L2TP_V3 and payload[0] & TYPE_BIT >> 8) or slot in self._version_3:
            self._version_3.setdefault(slot, Flow("l2tpv3", Transport.UDP, source, destination)).count(frame, source)
            return ()
        if version != VERSION or int.from_bytes(payload[:2], "big") & RESERVED_BITS:
            return None
        tunnel = self._tunnels.get(slot)
        if tunnel is None:
            if len(self._tunnels) >= FLOWS_LIMIT:
                return ()
            tunnel = self._tunnels[slot] = L2tpConversation(source, destination)
        tunnel.opened_by(source, payload)
        tunnel.flow.count(frame, source)
        if not payload[0] & TYPE_BIT >> 8:
            payload += bytes(length - len(payload))  # Zeros stand for what the capture cut: LCP is at the beginning.
        elif frame.cut:
            payload = of_whole_avps(payload)
        return tunnel.take(frame, source, payload)

    def receipts(self) -> Iterable[int]:
        return (number for tunnel in self._tunnels.values() for number in tunnel.account.receipts())

    def summaries(self) -> Iterable[ConversationSummary]:
        for tunnel in self._tunnels.values():
            if tunnel.tracker.state is not State.IDLE:
                tunnel.account.refused = tunnel.tracker.refused
                detail = {"messages": tunnel.names, "data_messages": tunnel.data}
                yield tunnel.flow.summary(tunnel.stage, detail, account=tunnel.account)
        for flow in self._version_3.values():
            yield flow.summary("other")
        if not self._tunnels:
            # Where some of its messages can be read, what was not is no conversation of its own.
            yield from self._sized.summaries()
