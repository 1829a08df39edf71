"""IKEv1 (RFC 2408, RFC 2409): messages by exchange type, the security association of main mode, notifications and vendor IDs.

`decode_ikev1` gives one class per exchange, so that a transition table can name them; of main and aggressive mode, one class for the
messages that propose or choose (with an SA payload) and others for what follows. The transforms offered are those that L2TP/IPsec servers
take, with a preshared key. The RFC 3947 vendor ID is always offered: some servers stay silent to an initiator without NAT traversal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.isakmp import (
    ENCRYPTION_FLAG,
    NO_SPI,
    Attribute,
    IsakmpHeader,
    IsakmpMessage,
    Notification,
    Payload,
    encode_sub_chain,
    sub_chain,
)

IPSEC_DOI: Final = 1
IDENTITY_ONLY: Final = 1
"""The situation, RFC 2407 section 4.2.1."""
KEY_IKE: Final = 1
"""Transform ID of phase 1, RFC 2407 section 4.4.2."""
PROTOCOL_ISAKMP: Final = 1


class Exchange(IntEnum):
    """Exchange types, RFC 2408 section 3.1 and RFC 2409 appendix A."""

    MAIN = 2
    AUTHENTICATION_ONLY = 3
    AGGRESSIVE = 4
    INFORMATIONAL = 5
    TRANSACTION = 6
    QUICK = 32
    NEW_GROUP = 33


class PayloadType(IntEnum):
    """RFC 2408 section 3.1, RFC 3947 section 3.2."""

    SA = 1
    KEY_EXCHANGE = 4
    HASH = 8
    NONCE = 10
    NOTIFICATION = 11
    DELETE = 12
    VENDOR_ID = 13
    NAT_D = 20


class AttributeType(IntEnum):
    """Phase 1 attributes, RFC 2409 appendix A."""

    ENCRYPTION = 1
    HASH = 2
    AUTHENTICATION = 3
    GROUP = 4
    LIFE_TYPE = 11
    LIFE_DURATION = 12
    KEY_LENGTH = 14


class Encryption(IntEnum):
    """Values of attribute 1."""

    TRIPLE_DES_CBC = 5
    AES_CBC = 7


class Hash(IntEnum):
    """Values of attribute 2."""

    SHA1 = 2
    SHA2_256 = 4


class Group(IntEnum):
    """Values of attribute 4."""

    MODP_1024 = 2
    MODP_2048 = 14


PRESHARED_KEY: Final = 1
LIFE_IN_SECONDS: Final = 1
LIFETIME_S: Final = 28800


class Notify(IntEnum):
    """Notify message types, RFC 2408 section 3.14.1 and RFC 3706."""

    INVALID_PAYLOAD_TYPE = 1
    DOI_NOT_SUPPORTED = 2
    SITUATION_NOT_SUPPORTED = 3
    INVALID_COOKIE = 4
    INVALID_MAJOR_VERSION = 5
    INVALID_MINOR_VERSION = 6
    INVALID_EXCHANGE_TYPE = 7
    INVALID_FLAGS = 8
    INVALID_MESSAGE_ID = 9
    INVALID_PROTOCOL_ID = 10
    INVALID_SPI = 11
    INVALID_TRANSFORM_ID = 12
    ATTRIBUTES_NOT_SUPPORTED = 13
    NO_PROPOSAL_CHOSEN = 14
    BAD_PROPOSAL_SYNTAX = 15
    PAYLOAD_MALFORMED = 16
    INVALID_KEY_INFORMATION = 17
    INVALID_ID_INFORMATION = 18
    INVALID_CERT_ENCODING = 19
    INVALID_CERTIFICATE = 20
    CERT_TYPE_UNSUPPORTED = 21
    INVALID_CERT_AUTHORITY = 22
    INVALID_HASH_INFORMATION = 23
    AUTHENTICATION_FAILED = 24
    INVALID_SIGNATURE = 25
    ADDRESS_NOTIFICATION = 26
    NOTIFY_SA_LIFETIME = 27
    CERTIFICATE_UNAVAILABLE = 28
    UNSUPPORTED_EXCHANGE_TYPE = 29
    UNEQUAL_PAYLOAD_LENGTHS = 30
    CONNECTED = 16384
    INITIAL_CONTACT = 24578
    R_U_THERE = 36136
    R_U_THERE_ACK = 36137


class VendorId:
    """Vendor IDs: which extensions a peer knows."""

    NAT_T_RFC_3947: Final = bytes.fromhex("4a131c81070358455c5728f20e95452f")
    NAT_T_DRAFT_02: Final = bytes.fromhex("90cb80913ebb696e086381b5ec427b1f")
    """draft-ietf-ipsec-nat-t-ike-02 with a line feed, as Windows and macOS send it."""
    DEAD_PEER_DETECTION: Final = bytes.fromhex("afcad71368a1f1c96b8696fc77570100")
    """RFC 3706 section 5.1."""


NAT_T_VENDOR_IDS: Final = (VendorId.NAT_T_RFC_3947, VendorId.NAT_T_DRAFT_02, VendorId.DEAD_PEER_DETECTION)


@dataclass(frozen=True, slots=True)
class Transform:
    """One way to protect phase 1, RFC 2408 section 3.6."""

    number: int
    """1 to 255, rising within a proposal."""
    attributes: tuple[Attribute, ...]
    transform_id: int = KEY_IKE

    def encode(self) -> bytes:
        return bytes([self.number, self.transform_id, 0, 0]) + b"".join(attribute.encode() for attribute in self.attributes)

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        number, transform_id = cursor.u8("Transform #"), cursor.u8("Transform-Id")
        cursor.u16("RESERVED2")
        return cls(number, Attribute.read_all(cursor), transform_id)

    @classmethod
    def phase_1(cls, number: int, encryption: Encryption, hash_: Hash, group: Group, *, key_bits: int | None = None) -> Self:
        """A transform with a preshared key and a life of 8 hours; `key_bits` None: the cipher has one key length only."""
        length = () if key_bits is None else (Attribute(AttributeType.KEY_LENGTH, key_bits),)
        return cls(
            number,
            (
                Attribute(AttributeType.ENCRYPTION, encryption),
                *length,
                Attribute(AttributeType.HASH, hash_),
                Attribute(AttributeType.GROUP, group),
                Attribute(AttributeType.AUTHENTICATION, PRESHARED_KEY),
                Attribute(AttributeType.LIFE_TYPE, LIFE_IN_SECONDS),
                Attribute(AttributeType.LIFE_DURATION, LIFETIME_S),
            ),
        )


@dataclass(frozen=True, slots=True)
class Proposal:
    """Transforms for one protocol, RFC 2408 section 3.5."""

    number: int
    transforms: tuple[Transform, ...]
    """At least 1, at most 255."""
    protocol_id: int = PROTOCOL_ISAKMP
    spi: bytes = b""
    """At most 255 bytes; empty in phase 1 as a rule."""

    def encode(self) -> bytes:
        head = bytes([self.number, self.protocol_id, len(self.spi), len(self.transforms)]) + self.spi
        return head + encode_sub_chain([transform.encode() for transform in self.transforms], more=3)

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        number, protocol_id = cursor.u8("Proposal #"), cursor.u8("Protocol-Id")
        spi_size, _ = cursor.u8("SPI Size"), cursor.u8("# of Transforms")
        spi = cursor.take(spi_size, "SPI")
        return cls(number, tuple(Transform.read(part) for part in sub_chain(cursor, "Transform")), protocol_id, spi)


@dataclass(frozen=True, slots=True)
class SecurityAssociation:
    """The SA payload, RFC 2408 section 3.4, in the IPsec DOI and the situation 'identity only'."""

    proposals: tuple[Proposal, ...]
    """At least one."""

    def encode(self) -> bytes:
        head = IPSEC_DOI.to_bytes(4, "big") + IDENTITY_ONLY.to_bytes(4, "big")
        return head + encode_sub_chain([proposal.encode() for proposal in self.proposals], more=2)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Raises DecodeError, for another DOI or situation too."""
        cursor = Cursor(body)
        for field, known in (("DOI", IPSEC_DOI), ("Situation", IDENTITY_ONLY)):
            if (found := cursor.u32(field)) != known:
                raise cursor.wrong(field, f"is {found}, not {known}", back=4)
        return cls(tuple(Proposal.read(part) for part in sub_chain(cursor, "Proposal")))


OFFERED_TRANSFORMS: Final = (
    Transform.phase_1(1, Encryption.AES_CBC, Hash.SHA2_256, Group.MODP_2048, key_bits=256),
    Transform.phase_1(2, Encryption.AES_CBC, Hash.SHA1, Group.MODP_2048, key_bits=256),
    Transform.phase_1(3, Encryption.AES_CBC, Hash.SHA1, Group.MODP_1024, key_bits=256),
    Transform.phase_1(4, Encryption.AES_CBC, Hash.SHA1, Group.MODP_1024, key_bits=128),
    Transform.phase_1(5, Encryption.TRIPLE_DES_CBC, Hash.SHA1, Group.MODP_2048),
    Transform.phase_1(6, Encryption.TRIPLE_DES_CBC, Hash.SHA1, Group.MODP_1024),
)
"""Strong first, down to what old L2TP/IPsec servers take."""


@dataclass(frozen=True, slots=True)
class MainModeSa(IsakmpMessage):
    """The first exchange of main mode: the initiator's proposals, or the responder's choice."""

    name: ClassVar[str] = "main mode SA"


@dataclass(frozen=True, slots=True)
class MainModeKeys(IsakmpMessage):
    """The second exchange of main mode: key exchange and nonces, in clear."""

    name: ClassVar[str] = "main mode KE"


@dataclass(frozen=True, slots=True)
class MainModeAuth(IsakmpMessage):
    """The third exchange of main mode, encrypted: identities and proof."""

    name: ClassVar[str] = "main mode ID"


@dataclass(frozen=True, slots=True)
class AggressiveModeSa(IsakmpMessage):
    """The first two messages of aggressive mode: proposals, or the choice."""

    name: ClassVar[str] = "aggressive mode SA"


@dataclass(frozen=True, slots=True)
class AggressiveModeAuth(IsakmpMessage):
    """The last message of aggressive mode, the initiator's proof; encrypted or not."""

    name: ClassVar[str] = "aggressive mode HASH"


@dataclass(frozen=True, slots=True)
class Informational(IsakmpMessage):
    """Notifications and deletions; in clear while there are no keys."""

    name: ClassVar[str] = "informational"


@dataclass(frozen=True, slots=True)
class QuickMode(IsakmpMessage):
    """Phase 2, always encrypted."""

    name: ClassVar[str] = "quick mode"


@dataclass(frozen=True, slots=True)
class OtherExchange(IsakmpMessage):
    """Any other exchange type: transaction, new group, an unknown one."""

    name: ClassVar[str] = "other exchange"


def message_class(header: IsakmpHeader, *, has_sa: bool) -> type[IsakmpMessage]:
    """The class that a message belongs to; `has_sa`: an SA payload is among its payloads in clear."""
    encrypted = bool(header.flags & ENCRYPTION_FLAG)
    match header.exchange_type:
        case Exchange.MAIN:
            return MainModeAuth if encrypted else MainModeSa if has_sa else MainModeKeys
        case Exchange.AGGRESSIVE:
            return AggressiveModeSa if has_sa else AggressiveModeAuth
        case Exchange.INFORMATIONAL:
            return Informational
        case Exchange.QUICK:
            return QuickMode
        case _:
            return OtherExchange


def decode_ikev1(data: bytes) -> IsakmpMessage:
    """Decodes a message without non-ESP marker. Raises DecodeError, for other major versions too."""
    header = IsakmpHeader.decode(data)
    if header.major_version != 1:
        raise DecodeError("Version", 17, f"is {header.major_version}, not 1")
    message = IsakmpMessage.decode(data)
    return message_class(header, has_sa=bool(message.bodies(PayloadType.SA))).decode(data)


def main_mode_request(
    initiator_spi: bytes,
    *,
    transforms: Sequence[Transform] = OFFERED_TRANSFORMS,
    vendor_ids: Sequence[bytes] = NAT_T_VENDOR_IDS,
) -> MainModeSa:
    """An initiator's first message, RFC 2409 section 5. `initiator_spi`: 8 bytes, not zero."""
    sa = SecurityAssociation((Proposal(1, tuple(transforms)),))
    payloads = (Payload(PayloadType.SA, sa.encode()), *(Payload(PayloadType.VENDOR_ID, vendor_id) for vendor_id in vendor_ids))
    return MainModeSa(initiator_spi, NO_SPI, Exchange.MAIN, payloads)


def main_mode_reply(request: MainModeSa, responder_spi: bytes, *, vendor_ids: Sequence[bytes] = NAT_T_VENDOR_IDS) -> MainModeSa:
    """A responder's answer, which takes the first transform of the first proposal. Raises DecodeError where the request offers none."""
    first = offered(request).proposals[0]
    chosen = SecurityAssociation((Proposal(first.number, first.transforms[:1], first.protocol_id, first.spi),))
    payloads = (Payload(PayloadType.SA, chosen.encode()), *(Payload(PayloadType.VENDOR_ID, vendor_id) for vendor_id in vendor_ids))
    return MainModeSa(request.initiator_spi, responder_spi, Exchange.MAIN, payloads)


def notify_message(initiator_spi: bytes, responder_spi: bytes, notify: Notify, *, message_id: int) -> Informational:
    """A notification in clear, RFC 2408 section 4.8."""
    notification = Notification(notify, protocol_id=PROTOCOL_ISAKMP)
    payload = Payload(PayloadType.NOTIFICATION, IPSEC_DOI.to_bytes(4, "big") + notification.encode())
    return Informational(initiator_spi, responder_spi, Exchange.INFORMATIONAL, (payload,), message_id=message_id)


def offered(message: IsakmpMessage) -> SecurityAssociation:
    """The message's first SA payload. Raises DecodeError where there is none or it cannot be read."""
    bodies = message.bodies(PayloadType.SA)
    if not bodies:
        raise DecodeError("SA payload", 28, "is not there")
    return SecurityAssociation.decode(bodies[0])


def notifications(message: IsakmpMessage) -> list[Notification]:
    """The notifications in clear; those that cannot be read are left out."""
    found = []
    for body in message.bodies(PayloadType.NOTIFICATION):
        cursor = Cursor(body)
        try:
            cursor.u32("DOI")
            found.append(Notification.read(cursor))
        except DecodeError:
            continue
    return found
