"""What the conversations of IKEv1 and IKEv2 share: the tracker of messages, and the ends of a first exchange.

A conversation is known by the initiator's SPI (RFC 7296 section 2.6; IKEv1 calls it the initiator cookie). It may begin on port 500 and
move to 4500, where a message stands behind the non-ESP marker: trackers take messages without it, live ends are told whether to add it.
A message whose payloads cannot be read moves the tracker by its header alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Final, Generic

from vpnprobe.conversations.contract import ConversationEnd, Retransmission, Sender, StateT, Tracker, TransitionTable
from vpnprobe.conversations.observing import MessageSeen
from vpnprobe.errors import DecodeError
from vpnprobe.wire import ikev1, ikev2
from vpnprobe.wire.isakmp import (
    INITIATOR_FLAG,
    NO_SPI,
    RESPONSE_FLAG,
    IsakmpHeader,
    IsakmpMessage,
    MalformedPayloads,
    Notification,
    UdpEncapsulated,
    unwrap,
    with_marker,
)

RETRANSMIT_AFTER_S: Final = 1.0
"""Seconds to the first repetition, where a caller wants one and does not say when."""

Decode = Callable[[bytes], IsakmpMessage]


def header_sender(header: IsakmpHeader) -> Sender | None:
    """Who sent a message, as far as its header shows it; None: either may have. The initiator is the end that opened the IKE SA.

    In IKEv2 the exchanges that open it are asked by the initiator, of others a flag tells. In IKEv1 a message without responder cookie is
    the initiator's, and one with it that begins with an SA payload is the responder's choice; informational exchanges show nothing.
    """
    if header.major_version == ikev2.MAJOR_VERSION:
        opens = header.exchange_type in (ikev2.Exchange.IKE_SA_INIT, ikev2.Exchange.IKE_AUTH, ikev2.Exchange.IKE_INTERMEDIATE)
        initiator = not header.flags & RESPONSE_FLAG if opens else header.flags & INITIATOR_FLAG
        return Sender.INITIATOR if initiator else Sender.RESPONDER
    if header.exchange_type not in (ikev1.Exchange.MAIN, ikev1.Exchange.AGGRESSIVE):
        return None
    if header.responder_spi == NO_SPI:
        return Sender.INITIATOR
    return Sender.RESPONDER if header.next_payload == ikev1.PayloadType.SA else None


def describe(message: object, name_of: Callable[[Sender, type], str]) -> tuple[str, Mapping[str, int | str]]:
    """The name of a decoded message, by its kind and whether it answers, and its exchange type."""
    if not isinstance(message, IsakmpMessage):
        return type(message).__name__, {}
    answers = message.responder_spi != NO_SPI or bool(message.flags & RESPONSE_FLAG)
    name = name_of(Sender.RESPONDER if answers else Sender.INITIATOR, type(message))
    return name, {"exchange_type": message.exchange_type}


class IsakmpTracker(Tracker[StateT], Generic[StateT]):
    """Follows the messages of one initiator SPI, both directions."""

    def __init__(self, table: TransitionTable[StateT], decode: Decode) -> None:
        super().__init__(table)
        self._decode = decode
        self.key = ""
        """The initiator's SPI, 16 hex digits; empty: no message could be read."""

    def saw(self, sender: Sender, message: object, *, now: float, size: int = 0) -> bool:
        match message:
            case IsakmpMessage(initiator_spi=spi) | MalformedPayloads(header=IsakmpHeader(initiator_spi=spi)):
                self.key = self.key or spi.hex()
            case _:
                pass
        return super().saw(sender, message, now=now, size=size)

    def saw_datagram(self, sender: Sender, data: bytes, *, now: float) -> IsakmpMessage | DecodeError:
        """Records what a message (without non-ESP marker) is, or why it cannot be read."""
        message = read(data, self._decode)
        self.saw(sender, message, now=now)
        return message


def read(data: bytes, decode: Decode) -> IsakmpMessage | DecodeError:
    try:
        return decode(data)
    except DecodeError as error:
        return error


def bare(datagram: bytes, *, non_esp_marker: bool) -> bytes:
    """The ISAKMP message in a datagram; raises DecodeError where a marker is due and what is behind it is no ISAKMP."""
    if not non_esp_marker:
        return datagram
    kind, message = unwrap(datagram)
    if kind is not UdpEncapsulated.IKE:
        raise DecodeError("non-ESP marker", 0, f"is not there: {kind.value}")
    return message


class IsakmpObserver:
    """One client port's IKE of one version as the wire shows it, by the initiator's SPI."""

    def __init__(
        self, check: str, decode: Decode, described: Callable[[object], tuple[str, Mapping[str, int | str]]], *, non_esp_marker: bool
    ) -> None:
        self._check = check
        self._decode = decode
        self._described = described
        self._marker = non_esp_marker

    def saw(self, _: Sender, data: bytes, *, gap: int = 0) -> Iterator[MessageSeen]:
        try:
            message = self._decode(bare(data, non_esp_marker=self._marker))
        except DecodeError:
            return
        yield MessageSeen(self._check, message.key, *self._described(message))

    def closed(self, _: Sender) -> Iterator[MessageSeen]:
        """Datagrams do not end."""
        yield from ()


class IsakmpEnd(ConversationEnd[IsakmpTracker[StateT]], ABC, Generic[StateT]):
    """What both ends share."""

    def __init__(self, tracker: IsakmpTracker[StateT], decode: Decode, *, non_esp_marker: bool) -> None:
        super().__init__(tracker)
        self.non_esp_marker = non_esp_marker
        """Whether datagrams have the non-ESP marker in front: port 4500."""
        self.notifications: tuple[Notification, ...] = ()
        """What the peer notified us of in clear, in its order."""
        self._decode = decode

    @property
    def state(self) -> StateT:
        return self.tracker.state

    @property
    def key(self) -> str:
        """The initiator's SPI, 16 hex digits; empty while unknown."""
        return self.tracker.key

    def receive(self, data: bytes, now: float) -> None:
        """One datagram."""
        message = self._readable(data)
        self.tracker.saw(self.SENDER.other, message, now=now)
        if isinstance(message, IsakmpMessage):
            self._answer(message, now)

    @abstractmethod
    def _answer(self, message: IsakmpMessage, now: float) -> None:
        """Acts on a message of this conversation."""

    def _readable(self, data: bytes) -> IsakmpMessage | DecodeError:
        """The message; of another conversation's, only that it is one, so that it proves nothing about ours."""
        try:
            message = read(bare(data, non_esp_marker=self.non_esp_marker), self._decode)
        except DecodeError as error:
            return error
        match message:
            case IsakmpMessage(initiator_spi=spi) | MalformedPayloads(header=IsakmpHeader(initiator_spi=spi)) if self.key not in (
                "",
                spi.hex(),
            ):
                return DecodeError("Initiator SPI", 0, f"is {spi.hex()}, another conversation's")
            case _:
                return message

    def _send(self, message: IsakmpMessage, now: float) -> None:
        self.tracker.saw(self.SENDER, message, now=now)
        data = message.encode()
        self._outbox.append(with_marker(data) if self.non_esp_marker else data)


class RequestingEnd(IsakmpEnd[StateT]):
    """An initiator that sends one request, and repeats it where it was told to."""

    SENDER: ClassVar[Sender] = Sender.INITIATOR

    def __init__(
        self,
        tracker: IsakmpTracker[StateT],
        decode: Decode,
        request: IsakmpMessage,
        *,
        non_esp_marker: bool,
        attempts: int,
        retransmit_after_s: float,
    ) -> None:
        super().__init__(tracker, decode, non_esp_marker=non_esp_marker)
        self.tracker.key = request.key
        self._request = request
        self._timer = Retransmission(retransmit_after_s, attempts)

    def start(self, now: float) -> None:
        self._send(self._request, now)
        self._timer.began(now)

    def next_timer(self) -> float | None:
        return self._timer.due

    def handle_timer(self, now: float) -> None:
        if self._timer.again(now):
            self._send(self._request, now)

    CHECK: ClassVar[str]
    """Its goal: the responder was heard, with a choice or with a refusal; either proves both directions."""

    @property
    def answered(self) -> bool:
        """Whether the responder was heard."""
        return self.reached(self.CHECK)

    def _answer(self, message: IsakmpMessage, now: float) -> None:
        self.notifications += tuple(self._notifications(message))
        if self.answered:
            self._timer.stop()

    @abstractmethod
    def _notifications(self, message: IsakmpMessage) -> Sequence[Notification]:
        """The notifications in a message."""
