"""IKEv2 (RFC 7296): messages by exchange type, and what IKE_SA_INIT carries: SA, KE, Nonce, NAT detection and notifications.

`decode_ikev2` gives one class per exchange, so that a transition table can name them; an IKE_SA_INIT response without SA payload is a
`SaInitRejection`: NO_PROPOSAL_CHOSEN, INVALID_KE_PAYLOAD, COOKIE and the like, each of which proves that the responder was reached.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.isakmp import (
    INITIATOR_FLAG,
    NO_SPI,
    RESPONSE_FLAG,
    Attribute,
    IsakmpHeader,
    IsakmpMessage,
    Notification,
    Payload,
    encode_sub_chain,
    sub_chain,
)

MAJOR_VERSION: Final = 2
PROTOCOL_IKE: Final = 1
KEY_LENGTH: Final = 14
"""The only attribute, RFC 7296 section 3.3.5; bits."""


class Exchange(IntEnum):
    """Exchange types, RFC 7296 section 3.1 and RFC 9242."""

    IKE_SA_INIT = 34
    IKE_AUTH = 35
    CREATE_CHILD_SA = 36
    INFORMATIONAL = 37
    IKE_INTERMEDIATE = 43


class PayloadType(IntEnum):
    """RFC 7296 section 3.2."""

    SA = 33
    KEY_EXCHANGE = 34
    NONCE = 40
    NOTIFY = 41
    VENDOR_ID = 43
    ENCRYPTED = 46


class TransformType(IntEnum):
    """RFC 7296 section 3.3.2."""

    ENCRYPTION = 1
    PSEUDORANDOM_FUNCTION = 2
    INTEGRITY = 3
    KEY_EXCHANGE = 4


class Encryption(IntEnum):
    """Transform IDs of type 1."""

    AES_CBC = 12


class Prf(IntEnum):
    """Transform IDs of type 2."""

    HMAC_SHA1 = 2
    HMAC_SHA2_256 = 5


class Integrity(IntEnum):
    """Transform IDs of type 3."""

    HMAC_SHA1_96 = 2
    HMAC_SHA2_256_128 = 12


class Group(IntEnum):
    """Diffie-Hellman groups, RFC 7296 section 3.3.2 and RFC 8031."""

    MODP_1024 = 2
    MODP_2048 = 14
    CURVE25519 = 31


PUBLIC_VALUE_BYTES: Final = {Group.MODP_1024: 128, Group.MODP_2048: 256, Group.CURVE25519: 32}


class Notify(IntEnum):
    """Notify message types, RFC 7296 section 3.10.1; below 16384 they are errors."""

    UNSUPPORTED_CRITICAL_PAYLOAD = 1
    INVALID_IKE_SPI = 4
    INVALID_MAJOR_VERSION = 5
    INVALID_SYNTAX = 7
    INVALID_MESSAGE_ID = 9
    INVALID_SPI = 11
    NO_PROPOSAL_CHOSEN = 14
    INVALID_KE_PAYLOAD = 17
    AUTHENTICATION_FAILED = 24
    TEMPORARY_FAILURE = 43
    INITIAL_CONTACT = 16384
    NAT_DETECTION_SOURCE_IP = 16388
    NAT_DETECTION_DESTINATION_IP = 16389
    COOKIE = 16390
    REDIRECT = 16407
    IKEV2_FRAGMENTATION_SUPPORTED = 16430
    SIGNATURE_HASH_ALGORITHMS = 16431


@dataclass(frozen=True, slots=True)
class Transform:
    """One algorithm, RFC 7296 section 3.3.2."""

    type: int
    """1 to 255; `TransformType` has those of an IKE SA."""
    transform_id: int
    """0 to 65535."""
    attributes: tuple[Attribute, ...] = ()

    def encode(self) -> bytes:
        head = bytes([self.type, 0]) + self.transform_id.to_bytes(2, "big")
        return head + b"".join(attribute.encode() for attribute in self.attributes)

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        kind, _ = cursor.u8("Transform Type"), cursor.u8("RESERVED")
        transform_id = cursor.u16("Transform ID")
        return cls(kind, transform_id, Attribute.read_all(cursor))


@dataclass(frozen=True, slots=True)
class Proposal:
    """The algorithms on offer, or those chosen, RFC 7296 section 3.3.1."""

    number: int
    transforms: tuple[Transform, ...]
    """At least 1, at most 255."""
    protocol_id: int = PROTOCOL_IKE
    spi: bytes = b""
    """At most 255 bytes; empty in IKE_SA_INIT."""

    def encode(self) -> bytes:
        head = bytes([self.number, self.protocol_id, len(self.spi), len(self.transforms)]) + self.spi
        return head + encode_sub_chain([transform.encode() for transform in self.transforms], more=3)

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        number, protocol_id = cursor.u8("Proposal Num"), cursor.u8("Protocol ID")
        spi_size, _ = cursor.u8("SPI Size"), cursor.u8("Num Transforms")
        spi = cursor.take(spi_size, "SPI")
        return cls(number, tuple(Transform.read(part) for part in sub_chain(cursor, "Transform")), protocol_id, spi)


@dataclass(frozen=True, slots=True)
class SecurityAssociation:
    """The SA payload, RFC 7296 section 3.3."""

    proposals: tuple[Proposal, ...]
    """At least one."""

    def encode(self) -> bytes:
        return encode_sub_chain([proposal.encode() for proposal in self.proposals], more=2)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        return cls(tuple(Proposal.read(part) for part in sub_chain(Cursor(body), "Proposal")))


@dataclass(frozen=True, slots=True)
class KeyExchange:
    """The KE payload, RFC 7296 section 3.4."""

    group: int
    """0 to 65535."""
    public_value: bytes
    """`PUBLIC_VALUE_BYTES` of the group."""

    def encode(self) -> bytes:
        return self.group.to_bytes(2, "big") + bytes(2) + self.public_value

    @classmethod
    def decode(cls, body: bytes) -> Self:
        cursor = Cursor(body)
        group, _ = cursor.u16("Diffie-Hellman Group Num"), cursor.u16("RESERVED")
        return cls(group, cursor.rest())


OFFERED: Final = SecurityAssociation(
    (
        Proposal(
            1,
            (
                Transform(TransformType.ENCRYPTION, Encryption.AES_CBC, (Attribute(KEY_LENGTH, 256),)),
                Transform(TransformType.ENCRYPTION, Encryption.AES_CBC, (Attribute(KEY_LENGTH, 128),)),
                Transform(TransformType.PSEUDORANDOM_FUNCTION, Prf.HMAC_SHA2_256),
                Transform(TransformType.PSEUDORANDOM_FUNCTION, Prf.HMAC_SHA1),
                Transform(TransformType.INTEGRITY, Integrity.HMAC_SHA2_256_128),
                Transform(TransformType.INTEGRITY, Integrity.HMAC_SHA1_96),
                Transform(TransformType.KEY_EXCHANGE, Group.MODP_2048),
                Transform(TransformType.KEY_EXCHANGE, Group.MODP_1024),
                Transform(TransformType.KEY_EXCHANGE, Group.CURVE25519),
            ),
        ),
    )
)
"""One proposal: AES-CBC with SHA-256 or SHA-1, and three groups, the first of which the KE payload is for."""


@dataclass(frozen=True, slots=True)
class SaInit(IsakmpMessage):
    """IKE_SA_INIT: a request, or a response that chose (it has an SA payload). RFC 7296 section 1.2."""

    name: ClassVar[str] = "IKE_SA_INIT"


@dataclass(frozen=True, slots=True)
class SaInitRejection(IsakmpMessage):
    """IKE_SA_INIT response with notifications alone: an error, or a COOKIE to be returned (section 2.6)."""

    name: ClassVar[str] = "IKE_SA_INIT notify"


@dataclass(frozen=True, slots=True)
class Intermediate(IsakmpMessage):
    """IKE_INTERMEDIATE, RFC 9242: between IKE_SA_INIT and IKE_AUTH."""

    name: ClassVar[str] = "IKE_INTERMEDIATE"


@dataclass(frozen=True, slots=True)
class Auth(IsakmpMessage):
    """IKE_AUTH."""

    name: ClassVar[str] = "IKE_AUTH"


@dataclass(frozen=True, slots=True)
class Informational(IsakmpMessage):
    """INFORMATIONAL: deletions, notifications, liveness checks."""

    name: ClassVar[str] = "INFORMATIONAL"


@dataclass(frozen=True, slots=True)
class OtherExchange(IsakmpMessage):
    """CREATE_CHILD_SA and any other exchange type."""

    name: ClassVar[str] = "other exchange"


def message_class(header: IsakmpHeader, *, has_sa: bool) -> type[IsakmpMessage]:
    """The class that a message belongs to; `has_sa`: an SA payload is among its payloads."""
    match header.exchange_type:
        case Exchange.IKE_SA_INIT:
            return SaInitRejection if header.flags & RESPONSE_FLAG and not has_sa else SaInit
        case Exchange.IKE_INTERMEDIATE:
            return Intermediate
        case Exchange.IKE_AUTH:
            return Auth
        case Exchange.INFORMATIONAL:
            return Informational
        case _:
            return OtherExchange


def decode_ikev2(data: bytes) -> IsakmpMessage:
    """Decodes a message without non-ESP marker. Raises DecodeError, for other major versions too."""
    header = IsakmpHeader.decode(data)
    if header.major_version != MAJOR_VERSION:
        raise DecodeError("Version", 17, f"is {header.major_version}, not {MAJOR_VERSION}")
    message = IsakmpMessage.decode(data)
    return message_class(header, has_sa=bool(message.bodies(PayloadType.SA))).decode(data)


def nat_detection_hash(initiator_spi: bytes, responder_spi: bytes, *, address: bytes, port: int) -> bytes:
    """The data of NAT_DETECTION_*_IP, RFC 7296 section 2.23. `address`: 4 or 16 bytes."""
    return hashlib.sha1(initiator_spi + responder_spi + address + port.to_bytes(2, "big"), usedforsecurity=False).digest()


def notify_payload(notify: int, data: bytes = b"") -> Payload:
    return Payload(PayloadType.NOTIFY, Notification(notify, data).encode())


def sa_init_request(
    initiator_spi: bytes,
    *,
    public_value: bytes,
    nonce: bytes,
    nat_detection: tuple[bytes, bytes] | None = None,
    group: Group = Group.MODP_2048,
    offer: SecurityAssociation = OFFERED,
    cookie: bytes | None = None,
) -> SaInit:
    """An initiator's IKE_SA_INIT.

    `nonce`: 16 to 256 bytes; `nat_detection`: the hashes of source and destination; `cookie`: as the responder sent it, which goes first
    (section 2.6).
    """
    payloads = (
        *(() if cookie is None else (notify_payload(Notify.COOKIE, cookie),)),
        *_sa_init_payloads(offer, KeyExchange(group, public_value), nonce, nat_detection),
    )
    return SaInit(initiator_spi, NO_SPI, Exchange.IKE_SA_INIT, payloads, INITIATOR_FLAG, major_version=MAJOR_VERSION)


def sa_init_response(
    request: SaInit, responder_spi: bytes, *, public_value: bytes, nonce: bytes, nat_detection: tuple[bytes, bytes] | None = None
) -> SaInit:
    """A responder's choice: the first transform of each type, and the request's own group.

    Raises DecodeError where the request's SA or KE payload is not there or cannot be read.
    """
    group = key_exchange(request).group
    chosen = choose(offered(request), group=group)
    payloads = _sa_init_payloads(chosen, KeyExchange(group, public_value), nonce, nat_detection)
    return SaInit(request.initiator_spi, responder_spi, Exchange.IKE_SA_INIT, payloads, RESPONSE_FLAG, major_version=MAJOR_VERSION)


def sa_init_rejection(request: IsakmpMessage, notify: int, data: bytes = b"") -> SaInitRejection:
    """A response with one notification, as a responder sends it that keeps no state: its SPI is zero."""
    payloads = (notify_payload(notify, data),)
    return SaInitRejection(request.initiator_spi, NO_SPI, Exchange.IKE_SA_INIT, payloads, RESPONSE_FLAG, major_version=MAJOR_VERSION)


def _sa_init_payloads(sa: SecurityAssociation, ke: KeyExchange, nonce: bytes, hashes: tuple[bytes, bytes] | None) -> tuple[Payload, ...]:
    """SA, KE, Nonce, NAT detection: the order of RFC 7296 section 1.2 and appendix C.1."""
    kinds = (Notify.NAT_DETECTION_SOURCE_IP, Notify.NAT_DETECTION_DESTINATION_IP)
    detection = () if hashes is None else tuple(notify_payload(kind, value) for kind, value in zip(kinds, hashes, strict=True))
    return (
        Payload(PayloadType.SA, sa.encode()),
        Payload(PayloadType.KEY_EXCHANGE, ke.encode()),
        Payload(PayloadType.NONCE, nonce),
        *detection,
    )


def choose(offer: SecurityAssociation, *, group: int) -> SecurityAssociation:
    """The first proposal, cut down to the first transform of each type; of the key exchanges, the one of `group` where it is offered."""
    first = offer.proposals[0]
    by_type: dict[int, Transform] = {}
    for transform in first.transforms:
        if transform.type not in by_type or (transform.type, transform.transform_id) == (TransformType.KEY_EXCHANGE, group):
            by_type[transform.type] = transform
    return SecurityAssociation((Proposal(first.number, tuple(by_type.values()), first.protocol_id, first.spi),))


def offered(message: IsakmpMessage) -> SecurityAssociation:
    """The message's first SA payload. Raises DecodeError where there is none or it cannot be read."""
    return SecurityAssociation.decode(_first(message, PayloadType.SA))


def key_exchange(message: IsakmpMessage) -> KeyExchange:
    """The message's first KE payload. Raises DecodeError where there is none or it cannot be read."""
    return KeyExchange.decode(_first(message, PayloadType.KEY_EXCHANGE))


def _first(message: IsakmpMessage, kind: PayloadType) -> bytes:
    bodies = message.bodies(kind)
    if not bodies:
        raise DecodeError(f"{kind.name} payload", 28, "is not there")
    return bodies[0]


def notifications(message: IsakmpMessage) -> list[Notification]:
    """The notifications in clear; those that cannot be read are left out."""
    found = []
    for body in message.bodies(PayloadType.NOTIFY):
        try:
            found.append(Notification.read(Cursor(body)))
        except DecodeError:
            continue
    return found
