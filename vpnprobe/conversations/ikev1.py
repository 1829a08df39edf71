"""IKEv1's main mode (RFC 2409 section 5) on UDP port 500, or 4500 behind the non-ESP marker: one table, three riders.

The live ends speak the first exchange only: the initiator's proposals and the responder's choice, which needs no keys and shows that both
directions pass. The tracker follows captures further, as far as what stands in clear shows it: the exchange types and the encryption flag.
States are the published stages, and a state is the furthest point that the messages show. A refusal in an informational exchange is an
answer too: it is in `notifications`, and leaves the stage at `main-unanswered`.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import ClassVar, Final

from vpnprobe.conversations import isakmp
from vpnprobe.conversations.contract import Sender, TransitionTable
from vpnprobe.conversations.isakmp import RETRANSMIT_AFTER_S, IsakmpEnd, IsakmpObserver, IsakmpTracker, RequestingEnd, bare
from vpnprobe.conversations.one_direction import Implied
from vpnprobe.errors import DecodeError
from vpnprobe.wire.ikev1 import (
    NAT_T_VENDOR_IDS,
    OFFERED_TRANSFORMS,
    AggressiveModeAuth,
    AggressiveModeSa,
    Informational,
    MainModeAuth,
    MainModeKeys,
    MainModeSa,
    Notify,
    OtherExchange,
    PayloadType,
    QuickMode,
    Transform,
    decode_ikev1,
    main_mode_reply,
    main_mode_request,
    message_class,
    notifications,
    notify_message,
)
from vpnprobe.wire.isakmp import NO_SPI, IsakmpMessage, MalformedPayloads, Notification

ENTROPY_BYTES: Final = 8
"""What an end needs of randomness: its SPI (cookie)."""


class State(Enum):
    """How far phase 1 and 2 got."""

    IDLE = "idle"
    MAIN_REQUESTED = "main-unanswered"
    MAIN_NOTIFIED = "main-notified"
    """The responder answered with a notification. As a stage: MAIN_REQUESTED."""
    MAIN_ANSWERED = "main-answered"
    MAIN_COMPLETE = "main-complete"
    MAIN_RESPONSE_ONLY = "main-response-only"
    AGGRESSIVE_REQUESTED = "aggressive-unanswered"
    AGGRESSIVE_ANSWERED = "aggressive-answered"
    AGGRESSIVE_COMPLETE = "aggressive-complete"
    AGGRESSIVE_RESPONSE_ONLY = "aggressive-response-only"
    QUICK_ONE_WAY = "quick-mode-one-way"
    QUICK_ANSWERED = "quick-mode-answered"
    INFORMATIONAL_ONLY = "informational-only"
    OTHER = "other"


class QuickModeBothWays:
    """A kind of message: quick mode from one end, after the other end's."""


_I: Final = Sender.INITIATOR
_R: Final = Sender.RESPONDER
_ASKED: Final = (State.MAIN_REQUESTED, State.MAIN_NOTIFIED)
_BEGINNINGS: Final = (State.IDLE, State.INFORMATIONAL_ONLY, State.OTHER)
_MAIN: Final = (MainModeSa, MainModeKeys, MainModeAuth)
_AGGRESSIVE: Final = (AggressiveModeSa, AggressiveModeAuth)

TRANSITIONS: Final[dict[tuple[State, Sender, type], State]] = {
    # Informational exchanges and unknown ones lead nowhere, but are something where there was nothing.
    **{(state, sender, kind): state for state in State for sender in Sender for kind in (Informational, OtherExchange)},
    **{(State.IDLE, sender, Informational): State.INFORMATIONAL_ONLY for sender in Sender},
    (State.MAIN_REQUESTED, _R, Informational): State.MAIN_NOTIFIED,
    **{(state, sender, OtherExchange): State.OTHER for state in (State.IDLE, State.INFORMATIONAL_ONLY) for sender in Sender},
    # Main mode; a capture may begin with any of its messages.
    **{(state, _I, kind): State.MAIN_REQUESTED for state in _BEGINNINGS for kind in _MAIN},
    **{(state, _R, kind): State.MAIN_RESPONSE_ONLY for state in _BEGINNINGS for kind in _MAIN},
    **{(state, _R, kind): State.MAIN_ANSWERED for state in _ASKED for kind in (MainModeSa, MainModeKeys)},
    **{(State.MAIN_RESPONSE_ONLY, _I, kind): State.MAIN_ANSWERED for kind in (MainModeKeys, MainModeAuth)},
    (State.MAIN_RESPONSE_ONLY, _R, MainModeKeys): State.MAIN_RESPONSE_ONLY,
    (State.MAIN_RESPONSE_ONLY, _R, MainModeAuth): State.MAIN_RESPONSE_ONLY,
    **{(state, _I, kind): state for state in _ASKED for kind in (MainModeKeys, MainModeAuth)},
    **{(state, _R, MainModeAuth): State.MAIN_COMPLETE for state in _ASKED},
    (State.MAIN_ANSWERED, _I, MainModeKeys): State.MAIN_ANSWERED,
    (State.MAIN_ANSWERED, _R, MainModeKeys): State.MAIN_ANSWERED,
    (State.MAIN_ANSWERED, _I, MainModeAuth): State.MAIN_ANSWERED,
    (State.MAIN_ANSWERED, _R, MainModeAuth): State.MAIN_COMPLETE,
    # Aggressive mode.
    **{(state, _I, kind): State.AGGRESSIVE_REQUESTED for state in _BEGINNINGS for kind in _AGGRESSIVE},
    **{(state, _R, kind): State.AGGRESSIVE_RESPONSE_ONLY for state in _BEGINNINGS for kind in _AGGRESSIVE},
    (State.AGGRESSIVE_REQUESTED, _R, AggressiveModeSa): State.AGGRESSIVE_ANSWERED,
    (State.AGGRESSIVE_ANSWERED, _I, AggressiveModeAuth): State.AGGRESSIVE_COMPLETE,
    (State.AGGRESSIVE_RESPONSE_ONLY, _I, AggressiveModeAuth): State.AGGRESSIVE_COMPLETE,
    # Quick mode, which shows that phase 1 was completed, seen or not; either end may begin it.
    **{(state, sender, QuickMode): State.QUICK_ONE_WAY for state in State for sender in Sender if state is not State.QUICK_ANSWERED},
    **{(state, sender, QuickModeBothWays): State.QUICK_ANSWERED for state in State for sender in Sender},
}
"""(state, who sent it, kind of message) -> state."""

IMPLIED: Final[Implied] = {
    (_I, MainModeKeys): (_R, MainModeSa),
    (_I, MainModeAuth): (_R, MainModeKeys),
    (_I, AggressiveModeAuth): (_R, AggressiveModeSa),
}
"""What the initiator's messages show of the responder's, where those were not captured (RFC 2409 section 5)."""

NAMES: Final[Mapping[type, str]] = {
    MainModeSa: "main",
    MainModeKeys: "main-keys",
    MainModeAuth: "main-auth",
    AggressiveModeSa: "aggressive",
    AggressiveModeAuth: "aggressive-auth",
    Informational: "notify",
    QuickMode: "quick-mode",
    QuickModeBothWays: "quick-mode",
    OtherExchange: "other",
}
_ANSWERED_BY_NAME: Final = frozenset((MainModeSa, AggressiveModeSa))


def name_of(sender: Sender, kind: type) -> str:
    """ISAKMP's messages have no names: the exchange, and `-answer` behind it for the responder's choice."""
    answer = "-answer" if kind in _ANSWERED_BY_NAME and sender is Sender.RESPONDER else ""
    return NAMES.get(kind, kind.__name__) + answer


def describe(message: object) -> tuple[str, Mapping[str, int | str]]:
    """The message's name and exchange type."""
    return isakmp.describe(message, name_of)


TABLE: Final = TransitionTable(
    State.IDLE,
    TRANSITIONS,
    goals={
        "ikev1-main": frozenset(
            {
                State.MAIN_NOTIFIED,
                State.MAIN_ANSWERED,
                State.MAIN_COMPLETE,
                State.AGGRESSIVE_ANSWERED,
                State.AGGRESSIVE_COMPLETE,
                State.QUICK_ANSWERED,
            }
        )
    },
    stages={State.MAIN_NOTIFIED: str(State.MAIN_REQUESTED.value)},
    name_of=name_of,
)


class Ikev1Tracker(IsakmpTracker[State]):
    """Follows the messages of one initiator cookie, both directions."""

    def __init__(self) -> None:
        super().__init__(TABLE, decode_ikev1)
        self._quick: set[Sender] = set()

    def saw(self, sender: Sender, message: object, *, now: float, size: int = 0) -> bool:
        if self._plain_kind(message) is QuickMode:
            self._quick.add(sender)
        return super().saw(sender, message, now=now, size=size)

    def kind(self, sender: Sender, message: object) -> type:
        kind = self._plain_kind(message)
        return QuickModeBothWays if kind is QuickMode and sender.other in self._quick else kind

    @staticmethod
    def _plain_kind(message: object) -> type:
        if isinstance(message, MalformedPayloads):
            return message_class(message.header, has_sa=message.header.next_payload == PayloadType.SA)
        return type(message)


class Initiator(RequestingEnd[State]):
    """The client's end: proposals and vendor IDs."""

    CHECK: ClassVar[str] = "ikev1-main"

    def __init__(
        self,
        *,
        entropy: bytes,
        non_esp_marker: bool = False,
        attempts: int = 1,
        retransmit_after_s: float = RETRANSMIT_AFTER_S,
        transforms: Sequence[Transform] = OFFERED_TRANSFORMS,
        vendor_ids: Sequence[bytes] = NAT_T_VENDOR_IDS,
    ) -> None:
        """`entropy`: `ENTROPY_BYTES`, not all zero; `attempts`: sendings of the request in all."""
        super().__init__(
            Ikev1Tracker(),
            decode_ikev1,
            main_mode_request(entropy[:ENTROPY_BYTES], transforms=transforms, vendor_ids=vendor_ids),
            non_esp_marker=non_esp_marker,
            attempts=attempts,
            retransmit_after_s=retransmit_after_s,
        )

    def _notifications(self, message: IsakmpMessage) -> Sequence[Notification]:
        return notifications(message)


class Responder(IsakmpEnd[State]):
    """The server's end, for one initiator cookie: takes the first transform offered, and gives a repeated request the same answer."""

    SENDER: ClassVar[Sender] = Sender.RESPONDER

    def __init__(self, *, entropy: bytes, non_esp_marker: bool = False) -> None:
        """`entropy`: `ENTROPY_BYTES`, not all zero."""
        super().__init__(Ikev1Tracker(), decode_ikev1, non_esp_marker=non_esp_marker)
        self._responder_spi = entropy[:ENTROPY_BYTES]

    def _answer(self, message: IsakmpMessage, now: float) -> None:
        self.notifications += tuple(notifications(message))
        if isinstance(message, MainModeSa) and message.responder_spi == NO_SPI:
            self._send(self._reply(message), now)

    def _reply(self, request: MainModeSa) -> IsakmpMessage:
        try:
            return main_mode_reply(request, self._responder_spi)
        except DecodeError:
            number = int.from_bytes(self._responder_spi[:4], "big")
            return notify_message(request.initiator_spi, self._responder_spi, Notify.PAYLOAD_MALFORMED, message_id=number)


def opening(data: bytes, *, non_esp_marker: bool = False) -> str:
    """The key (initiator cookie, 16 hex digits) of the first message of main mode that a datagram is; empty: it is none."""
    try:
        message = decode_ikev1(bare(data, non_esp_marker=non_esp_marker))
    except DecodeError:
        return ""
    return message.key if isinstance(message, MainModeSa) and message.responder_spi == NO_SPI else ""


def observer(*, non_esp_marker: bool) -> IsakmpObserver:
    """Reads the messages of this version on the wire."""
    return IsakmpObserver(Initiator.CHECK, decode_ikev1, describe, non_esp_marker=non_esp_marker)
