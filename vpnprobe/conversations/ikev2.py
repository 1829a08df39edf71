"""IKEv2's IKE_SA_INIT (RFC 7296 section 1.2) on UDP port 500, or 4500 behind the non-ESP marker: one table, three riders.

The live ends speak IKE_SA_INIT only: it needs no keys and shows that both directions pass. A rejection (NO_PROPOSAL_CHOSEN,
INVALID_KE_PAYLOAD, ...) and a COOKIE are answers too, and are not followed by another request. The tracker follows captures further, by
their exchange types. States are the published stages, and a state is the furthest point that the messages show.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import ClassVar, Final

from vpnprobe.conversations import isakmp
from vpnprobe.conversations.contract import Sender, TransitionTable
from vpnprobe.conversations.isakmp import RETRANSMIT_AFTER_S, IsakmpEnd, IsakmpObserver, IsakmpTracker, RequestingEnd, bare
from vpnprobe.conversations.one_direction import Implied
from vpnprobe.errors import DecodeError
from vpnprobe.wire.ikev2 import (
    PUBLIC_VALUE_BYTES,
    Auth,
    Group,
    Informational,
    Intermediate,
    Notify,
    OtherExchange,
    PayloadType,
    SaInit,
    SaInitRejection,
    decode_ikev2,
    key_exchange,
    message_class,
    nat_detection_hash,
    notifications,
    sa_init_rejection,
    sa_init_request,
    sa_init_response,
)
from vpnprobe.wire.isakmp import NO_SPI, RESPONSE_FLAG, SPI, IsakmpMessage, MalformedPayloads, Notification

PUBLIC_VALUE: Final = PUBLIC_VALUE_BYTES[Group.MODP_2048]
NONCE: Final = 32
"""Bytes: at least half the key size of the PRF, 16 to 256 (RFC 7296 section 2.10)."""
ENTROPY_BYTES: Final = SPI + PUBLIC_VALUE + NONCE
"""What an end needs of randomness: its SPI, a public value (no secret belongs to it: no keys are ever made) and a nonce."""

UdpEndpoint = tuple[bytes, int]
"""Address in 4 or 16 bytes, and port: what NAT detection hashes."""


class State(Enum):
    """How far the IKE SA got."""

    IDLE = "idle"
    INIT_REQUESTED = "sa_init-unanswered"
    INIT_REJECTED = "sa_init-rejected-or-cookie"
    INIT_ANSWERED = "sa_init-answered"
    AUTH_REQUESTED = "auth-request-unanswered"
    AUTH_ANSWERED = "auth-answered"
    MIDSTREAM_INFORMATIONAL = "midstream-informational"
    MIDSTREAM_OTHER = "midstream-other"


_I: Final = Sender.INITIATOR
_R: Final = Sender.RESPONDER
_MIDSTREAM: Final = (State.MIDSTREAM_INFORMATIONAL, State.MIDSTREAM_OTHER)
_BEFORE_ANSWER: Final = (State.IDLE, *_MIDSTREAM, State.INIT_REQUESTED, State.INIT_REJECTED)
_BEFORE_AUTH: Final = (*_BEFORE_ANSWER, State.INIT_ANSWERED)
_LATER: Final = (Intermediate, Informational, OtherExchange)

TRANSITIONS: Final[dict[tuple[State, Sender, type], State]] = {
    # What comes after authentication, or between: it leads nowhere, but is something where there was nothing.
    **{(state, sender, kind): state for state in State for sender in Sender for kind in _LATER},
    **{(State.IDLE, sender, Informational): State.MIDSTREAM_INFORMATIONAL for sender in Sender},
    **{
        (state, sender, kind): State.MIDSTREAM_OTHER
        for state in (State.IDLE, State.MIDSTREAM_INFORMATIONAL)
        for sender in Sender
        for kind in (Intermediate, OtherExchange)
    },
    (State.IDLE, _R, Auth): State.MIDSTREAM_OTHER,
    # IKE_SA_INIT. After a rejection the initiator may ask again, with a cookie or another group.
    **{(state, _I, SaInit): State.INIT_REQUESTED for state in (State.IDLE, *_MIDSTREAM)},
    (State.INIT_REJECTED, _I, SaInit): State.INIT_REJECTED,
    **{(state, _R, SaInit): State.INIT_ANSWERED for state in _BEFORE_ANSWER},
    **{(state, _R, SaInitRejection): State.INIT_REJECTED for state in _BEFORE_ANSWER},
    (State.INIT_REQUESTED, _R, Informational): State.INIT_REJECTED,
    # IKE_AUTH, several times with EAP. Its request shows that IKE_SA_INIT was answered, seen or not.
    **{(state, _I, Auth): State.AUTH_REQUESTED for state in _BEFORE_AUTH},
    (State.AUTH_REQUESTED, _R, Auth): State.AUTH_ANSWERED,
    (State.AUTH_ANSWERED, _I, Auth): State.AUTH_ANSWERED,
    (State.AUTH_ANSWERED, _R, Auth): State.AUTH_ANSWERED,
}
"""(state, who sent it, kind of message) -> state. The sender is the end that opened the IKE SA, or the other, whoever makes a request."""

IMPLIED: Final[Implied] = {
    (_R, Auth): (_I, Auth),
    **{(_I, kind): (_R, Auth) for kind in (Informational, OtherExchange)},
}
"""What one end's messages show of the other's, where that one's were not captured (RFC 7296 section 1.2)."""

NAMES: Final[Mapping[type, str]] = {
    SaInit: "sa_init",
    SaInitRejection: "notify",
    Intermediate: "intermediate",
    Auth: "auth",
    Informational: "informational",
    OtherExchange: "other",
}


def name_of(sender: Sender, kind: type) -> str:
    """The exchange, and `-answer` behind IKE_SA_INIT's for the responder's choice; its rejection or cookie is a `notify`."""
    answer = "-answer" if kind is SaInit and sender is Sender.RESPONDER else ""
    return NAMES.get(kind, kind.__name__) + answer


def describe(message: object) -> tuple[str, Mapping[str, int | str]]:
    """The message's name and exchange type."""
    return isakmp.describe(message, name_of)


TABLE: Final = TransitionTable(
    State.IDLE,
    TRANSITIONS,
    goals={"ikev2-init": frozenset({State.INIT_REJECTED, State.INIT_ANSWERED, State.AUTH_ANSWERED})},
    name_of=name_of,
)


class Ikev2Tracker(IsakmpTracker[State]):
    """Follows the messages of one initiator SPI, both directions."""

    def __init__(self) -> None:
        super().__init__(TABLE, decode_ikev2)

    def kind(self, sender: Sender, message: object) -> type:
        if isinstance(message, MalformedPayloads):
            return message_class(message.header, has_sa=message.header.next_payload == PayloadType.SA)
        return type(message)


class Initiator(RequestingEnd[State]):
    """The client's end: one IKE_SA_INIT request."""

    CHECK: ClassVar[str] = "ikev2-init"

    def __init__(
        self,
        *,
        entropy: bytes,
        non_esp_marker: bool = False,
        attempts: int = 1,
        retransmit_after_s: float = RETRANSMIT_AFTER_S,
        ends: tuple[UdpEndpoint, UdpEndpoint] | None = None,
    ) -> None:
        """`entropy`: `ENTROPY_BYTES`; `attempts`: of the request, in all; `ends`: source and destination (None: no NAT detection)."""
        spi, public_value, nonce = _split(entropy)
        request = sa_init_request(spi, public_value=public_value, nonce=nonce, nat_detection=_hashes(spi, NO_SPI, ends))
        super().__init__(
            Ikev2Tracker(),
            decode_ikev2,
            request,
            non_esp_marker=non_esp_marker,
            attempts=attempts,
            retransmit_after_s=retransmit_after_s,
        )

    def _notifications(self, message: IsakmpMessage) -> Sequence[Notification]:
        return notifications(message)


class Responder(IsakmpEnd[State]):
    """The server's end, for one initiator SPI: chooses, or refuses a group that it has no value for, and answers a repetition the same."""

    SENDER: ClassVar[Sender] = Sender.RESPONDER

    def __init__(self, *, entropy: bytes, non_esp_marker: bool = False, ends: tuple[UdpEndpoint, UdpEndpoint] | None = None) -> None:
        """`entropy`: `ENTROPY_BYTES`; `ends`: our endpoint and the initiator's as seen here (None: no NAT detection)."""
        super().__init__(Ikev2Tracker(), decode_ikev2, non_esp_marker=non_esp_marker)
        self._spi, self._public_value, self._nonce = _split(entropy)
        self._ends = ends

    def _answer(self, message: IsakmpMessage, now: float) -> None:
        self.notifications += tuple(notifications(message))
        if isinstance(message, SaInit) and not message.flags & RESPONSE_FLAG:
            self._send(self._reply(message), now)

    def _reply(self, request: SaInit) -> IsakmpMessage:
        try:
            size = PUBLIC_VALUE_BYTES[Group(key_exchange(request).group)]
            return sa_init_response(
                request,
                self._spi,
                public_value=self._public_value[:size],
                nonce=self._nonce,
                nat_detection=_hashes(request.initiator_spi, self._spi, self._ends),
            )
        except DecodeError:
            return sa_init_rejection(request, Notify.INVALID_SYNTAX)
        except ValueError:  # Group: none that we have
            return sa_init_rejection(request, Notify.INVALID_KE_PAYLOAD, Group.MODP_2048.to_bytes(2, "big"))


def opening(data: bytes, *, non_esp_marker: bool = False) -> str:
    """The key (initiator SPI, 16 hex digits) of the IKE_SA_INIT request that a datagram is; empty: it is none."""
    try:
        message = decode_ikev2(bare(data, non_esp_marker=non_esp_marker))
    except DecodeError:
        return ""
    return message.key if isinstance(message, SaInit) and not message.flags & RESPONSE_FLAG else ""


def _split(entropy: bytes) -> tuple[bytes, bytes, bytes]:
    return entropy[:SPI], entropy[SPI : SPI + PUBLIC_VALUE], entropy[SPI + PUBLIC_VALUE : ENTROPY_BYTES]


def _hashes(initiator_spi: bytes, responder_spi: bytes, ends: tuple[UdpEndpoint, UdpEndpoint] | None) -> tuple[bytes, bytes] | None:
    if ends is None:
        return None
    (source, source_port), (destination, destination_port) = ends
    return (
        nat_detection_hash(initiator_spi, responder_spi, address=source, port=source_port),
        nat_detection_hash(initiator_spi, responder_spi, address=destination, port=destination_port),
    )


def observer(*, non_esp_marker: bool) -> IsakmpObserver:
    """Reads the messages of this version on the wire."""
    return IsakmpObserver(Initiator.CHECK, decode_ikev2, describe, non_esp_marker=non_esp_marker)
