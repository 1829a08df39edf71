"""IKE (RFC 2408, RFC 7296) in captures: the trackers of `vpnprobe.conversations.ikev1` and `ikev2`, one conversation an initiator SPI.

A conversation may move from port 500 to 4500; its endpoints are those of its first message.
"""

from collections.abc import Iterable, Mapping
from typing import Final
from zlib import crc32

from vpnprobe.capture.account import Account
from vpnprobe.capture.followers.base import FLOWS_LIMIT, CapturedMessage, CheckOfPort, PacketFollower, captured, ends_of, seems_ttl_limited
from vpnprobe.capture.followers.flows import Flow, HostPort
from vpnprobe.capture.followers.ike_sizes import SizedNegotiations
from vpnprobe.capture.followers.ipsec import encapsulated
from vpnprobe.capture.frames import Frame
from vpnprobe.conversations import ikev1, ikev2
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.isakmp import header_sender
from vpnprobe.conversations.one_direction import OneDirection
from vpnprobe.errors import DecodeError
from vpnprobe.evidence.checks import ikev1_main, ikev2_init
from vpnprobe.observations.schema import ConversationSummary, Transport
from vpnprobe.wire.isakmp import HEADER, NAT_T_PORT, NO_SPI, IsakmpHeader, MalformedPayloads, UdpEncapsulated

LENGTH_LIMIT: Final = 65_535
STEPS: Final = ("main", "aggressive", "quick-mode", "sa_init", "auth")
"""How the names of messages begin that ask and answer in turn."""
MOST_IN_ONE_PACKET: Final = 1472
"""Bytes of a datagram that passes an Ethernet in one piece."""
SEVERAL: Final = frozenset(("notify", "informational", "other"))
"""Messages of which an end may say several that are not copies, under one Message ID or none."""
QUICK_MODE: Final = "quick-mode"
"""Its exchange has three messages, two of them the initiator's and of one Message ID, and is repeated as long as the tunnel lasts."""
NUMBER_AT: Final = {53: slice(HEADER + 4, HEADER + 6), 132: slice(HEADER + 6, HEADER + 7)}
"""Where a message that its sender fragmented has the fragment's number, from 1 on: RFC 7383 section 2.5, and what vendors made of IKEv1."""
FLAGS_BYTES: Final = 20
"""Of the header up to its Flags, all that moves a conversation."""
LENGTH_BYTES: Final = 4


def whole_header(payload: bytes, length: int) -> bytes:
    """A message of which a snap length left the header as far as its Flags: what behind them tells its length is known all the same.

    `length`: bytes of the message on the wire.
    """
    if not FLAGS_BYTES <= len(payload) < HEADER <= length:
        return payload
    return payload[: HEADER - LENGTH_BYTES].ljust(HEADER - LENGTH_BYTES, b"\0") + length.to_bytes(LENGTH_BYTES, "big")


def readable_header(payload: bytes) -> IsakmpHeader | None:
    """The header of what may be an ISAKMP message; None: it is none."""
    try:
        header = IsakmpHeader.decode(payload)
    except DecodeError:
        return None
    fits = HEADER <= header.length <= LENGTH_LIMIT and header.initiator_spi != NO_SPI
    return header if fits and 1 <= header.major_version <= 3 else None


def _fragment(header: IsakmpHeader, payload: bytes) -> int:
    """The number of a fragment of a message; 0: it is whole, or too little of it is known."""
    place = NUMBER_AT.get(header.next_payload)
    return int.from_bytes(payload[place], "big") if place is not None and len(payload) >= place.stop else 0


class IkeConversation:
    def __init__(self, frame: Frame, header: IsakmpHeader) -> None:
        source, destination = ends_of(frame)
        self.version = header.major_version
        name = {1: "ikev1", 2: "ikev2"}.get(self.version, "isakmp-other")
        self.flow = Flow(name, Transport.UDP, source, destination)
        self.tracker: ikev1.Ikev1Tracker | ikev2.Ikev2Tracker = ikev1.Ikev1Tracker() if self.version == 1 else ikev2.Ikev2Tracker()
        self.account = Account()
        self._alone: OneDirection[ikev1.State] | OneDirection[ikev2.State] = (
            OneDirection(ikev1.TABLE, ikev1.IMPLIED) if self.version == 1 else OneDirection(ikev2.TABLE, ikev2.IMPLIED)
        )
        """What the messages prove, if only one end's were captured."""
        self.client = source
        self.exchanges: dict[str, int] = {}
        self.natted = False
        self._quick_mode = 0
        """Message ID of the last quick mode; 0: there was none yet."""
        self._seen: set[tuple[Sender, str, HostPort, bool]] = set()

    def _end_of(self, frame: Frame) -> HostPort:
        """The flow's end that sent the frame, whatever its port is by now."""
        source, _ = ends_of(frame)
        if source in self.flow.ends or self.flow.ends[0][0] == self.flow.ends[1][0]:
            return source if source in self.flow.ends else self.flow.ends[0]
        return self.flow.ends[0] if frame.source == self.flow.ends[0][0] else self.flow.ends[1]

    def take(self, frame: Frame, header: IsakmpHeader, payload: bytes) -> Iterable[CapturedMessage]:
        end = self._end_of(frame)
        sender = header_sender(header)
        if sender is not None and self.flow.client is None:
            self.client = self.flow.client = end if sender is Sender.INITIATOR else self.flow.other(end)
        sender = sender or (Sender.INITIATOR if end == self.client else Sender.RESPONDER)
        self.flow.count(frame, end)
        self.natted |= NAT_T_PORT in frame.ports
        label = f"{header.exchange_type}/{sender.value}"
        self.exchanges[label] = self.exchanges.get(label, 0) + 1
        if self.version not in (1, 2) or header.major_version != self.version:
            return
        before = self.tracker.state
        message = self.tracker.saw_datagram(sender, payload, now=frame.at)
        kind = self.tracker.kind(sender, message)
        if frame.cut or len(payload) > HEADER:  # Of a printed line the header alone is known, and which message it is only guessed.
            self._alone.saw(sender, kind)
        name, detail = _described(message, self.version)
        told = self.tracker.table.name_of(sender, kind) if isinstance(message, MalformedPayloads) else name
        self._account(frame, header, payload, sender, told, moved_on=self.tracker.state is not before)
        slot = (sender, name, ends_of(frame)[1 if sender is Sender.INITIATOR else 0], seems_ttl_limited(frame))
        if slot not in self._seen:
            self._seen.add(slot)
            check_of: CheckOfPort = ikev1_main if self.version == 1 else ikev2_init
            yield captured(frame, check_of, header.initiator_spi.hex(), name, detail=detail, from_client=self._from_client(sender))

    def _account(self, frame: Frame, header: IsakmpHeader, payload: bytes, sender: Sender, told: str, *, moved_on: bool) -> None:
        """Several steps of an exchange leave the state as it is; each can only be taken by who has got the one before."""
        if _fragment(header, payload) > 1:
            return  # Its first fragment stands for the message; the others are no copies of it.
        key, proves = f"{header.message_id:08x}", True
        if told == QUICK_MODE:
            key = f"{key}-{header.length}-{crc32(payload):08x}"  # A copy is the same byte by byte.
            # Either end may begin the next one, whether or not it has the last message of the one before.
            proves = self._quick_mode in (0, header.message_id)
            self._quick_mode = header.message_id
        step = told.startswith(STEPS) and not self.account.has_said(sender, told, key)
        fragmented = len(payload) < header.length and header.length > min(frame.length, MOST_IN_ONE_PACKET)
        self.account.saw(
            sender,
            told,
            frame,
            size=header.length,
            moved_on=step or moved_on,
            proves=proves,
            fragmented=fragmented,
            key=key,
            many=told in SEVERAL,
        )

    def _from_client(self, sender: Sender) -> bool | None:
        return sender is Sender.INITIATOR if self.flow.client is not None else None

    def summary(self, spi: bytes) -> ConversationSummary:
        stage = self._alone.stage if not self.flow.both_ways and self._alone.begun else self.tracker.stage
        stage = stage if self.version in (1, 2) else "other"
        detail = {"initiator_spi": spi.hex(), "udp_4500": self.natted, "exchanges": self.exchanges}
        return self.flow.summary(stage, detail, account=self.account)


class IkeFollower(PacketFollower):
    """All IKE of a capture."""

    def __init__(self) -> None:
        self._conversations: dict[tuple[bytes, frozenset[str]], IkeConversation] = {}
        self._sized = SizedNegotiations()

    def take_unseen(self, frame: Frame, length: int) -> Iterable[CapturedMessage]:
        self._sized.take(frame, length)
        return ()

    def take_datagram(self, frame: Frame, payload: bytes, length: int) -> Iterable[CapturedMessage] | None:
        """A datagram of port 500, or of 4500 where the non-ESP marker stands before it."""
        message = payload
        if NAT_T_PORT in frame.ports:
            kind, message = encapsulated(payload)
            if kind is not UdpEncapsulated.IKE:
                return None
        if frame.cut:
            message = whole_header(message, length - (len(payload) - len(message)))
        header = readable_header(message)
        if header is None:
            return None
        slot = (header.initiator_spi, frozenset((frame.source, frame.destination)))
        conversation = self._conversations.get(slot)
        if conversation is None:
            if len(self._conversations) >= FLOWS_LIMIT:
                return ()
            conversation = self._conversations[slot] = IkeConversation(frame, header)
        return conversation.take(frame, header, message)

    def receipts(self) -> Iterable[int]:
        return (number for conversation in self._conversations.values() for number in conversation.account.receipts())

    def summaries(self) -> Iterable[ConversationSummary]:
        for (spi, _), conversation in self._conversations.items():
            yield conversation.summary(spi)
        if not self._conversations:
            # Where some of its messages can be read, what was not is no conversation of its own.
            yield from self._sized.summaries()


def _described(message: object, version: int) -> tuple[str, Mapping[str, int | str]]:
    if isinstance(message, DecodeError):
        return "unreadable", {"problem": str(message)}
    return ikev1.describe(message) if version == 1 else ikev2.describe(message)
