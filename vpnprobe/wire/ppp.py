"""PPP as it travels inside enhanced GRE (RFC 1661, RFC 1662 section 3.1, RFC 2637 section 4.4) and its Link Control Protocol.

A frame in GRE has no flags and no FCS; Address and Control (`ff 03`) may be left out and the Protocol field may be compressed to one byte,
and what was there is kept. LCP codes and options that are not named here are kept raw; so is a named option of another size than its
own. Bytes behind the LCP Length are padding and ignored (RFC 1661 section 5).
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor

PROTOCOL_LCP: Final = 0xC021
PROTOCOL_IPV4: Final = 0x0021
ADDRESS_AND_CONTROL: Final = b"\xff\x03"


@dataclass(frozen=True, slots=True)
class PppFrame:
    """One PPP frame."""

    protocol: int
    """0 to 65535; its high byte is even and its low byte odd in every assigned number."""
    information: bytes = b""
    address_and_control: bool = True
    """Whether `ff 03` stands before the protocol."""
    compressed_protocol: bool = False
    """Whether the protocol, then 1 to 255 and odd, takes one byte (RFC 1661 section 6.5)."""

    def encode(self) -> bytes:
        protocol = self.protocol.to_bytes(1 if self.compressed_protocol else 2, "big")
        return (ADDRESS_AND_CONTROL if self.address_and_control else b"") + protocol + self.information

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises DecodeError where the protocol is not there."""
        present = data.startswith(ADDRESS_AND_CONTROL)
        cursor = Cursor(data, len(ADDRESS_AND_CONTROL) if present else 0)
        compressed = cursor.left > 0 and data[cursor.offset] % 2 == 1
        protocol = cursor.u8("Protocol") if compressed else cursor.u16("Protocol")
        return cls(protocol, cursor.rest(), present, compressed)


@dataclass(frozen=True, slots=True)
class MaximumReceiveUnit:
    """Option 1, section 6.1."""

    TYPE: ClassVar[int] = 1
    SIZE: ClassVar[int] = 2

    mru_bytes: int

    @property
    def value(self) -> bytes:
        return self.mru_bytes.to_bytes(self.SIZE, "big")


@dataclass(frozen=True, slots=True)
class AsyncControlCharacterMap:
    """Option 2, RFC 1662 section 7.1."""

    TYPE: ClassVar[int] = 2
    SIZE: ClassVar[int] = 4

    accm: int

    @property
    def value(self) -> bytes:
        return self.accm.to_bytes(self.SIZE, "big")


@dataclass(frozen=True, slots=True)
class AuthenticationProtocol:
    """Option 3, section 6.2."""

    TYPE: ClassVar[int] = 3

    protocol: int
    """0xc223 is CHAP, 0xc023 is PAP."""
    data: bytes = b""
    """For CHAP one byte, the algorithm: 0x81 is MS-CHAPv2."""

    @property
    def value(self) -> bytes:
        return self.protocol.to_bytes(2, "big") + self.data


@dataclass(frozen=True, slots=True)
class MagicNumber:
    """Option 5, section 6.4."""

    TYPE: ClassVar[int] = 5
    SIZE: ClassVar[int] = 4

    magic_number: int

    @property
    def value(self) -> bytes:
        return self.magic_number.to_bytes(self.SIZE, "big")


@dataclass(frozen=True, slots=True)
class ProtocolFieldCompression:
    """Option 7, section 6.5."""

    TYPE: ClassVar[int] = 7
    value: ClassVar[bytes] = b""


@dataclass(frozen=True, slots=True)
class AddressAndControlFieldCompression:
    """Option 8, section 6.6."""

    TYPE: ClassVar[int] = 8
    value: ClassVar[bytes] = b""


@dataclass(frozen=True, slots=True)
class RawOption:
    """An option that is not named here, or not of its own size."""

    type: int
    """0 to 255."""
    value: bytes = b""
    """At most 253 bytes."""


LcpOption = (
    MaximumReceiveUnit
    | AsyncControlCharacterMap
    | AuthenticationProtocol
    | MagicNumber
    | ProtocolFieldCompression
    | AddressAndControlFieldCompression
    | RawOption
)


def encode_options(options: tuple[LcpOption, ...]) -> bytes:
    encoded = b""
    for option in options:
        kind = option.type if isinstance(option, RawOption) else option.TYPE
        encoded += bytes((kind, 2 + len(option.value))) + option.value
    return encoded


def decode_options(data: bytes, *, offset: int = 0) -> tuple[LcpOption, ...]:
    """All of `data`, from `offset` on, as options. Raises DecodeError where a length is below 2 or beyond the end."""
    cursor = Cursor(data, offset)
    options: list[LcpOption] = []
    while cursor.left:
        kind = cursor.u8("option Type")
        if (length := cursor.u8("option Length")) < 2:
            raise cursor.wrong("option Length", f"{length} is below 2", back=1)
        options.append(_typed_option(kind, cursor.take(length - 2, "option Data")))
    return tuple(options)


def _typed_option(kind: int, value: bytes) -> LcpOption:
    number = int.from_bytes(value, "big")
    match kind, len(value):
        case MaximumReceiveUnit.TYPE, MaximumReceiveUnit.SIZE:
            return MaximumReceiveUnit(number)
        case AsyncControlCharacterMap.TYPE, AsyncControlCharacterMap.SIZE:
            return AsyncControlCharacterMap(number)
        case AuthenticationProtocol.TYPE, size if size >= 2:
            return AuthenticationProtocol(int.from_bytes(value[:2], "big"), value[2:])
        case MagicNumber.TYPE, MagicNumber.SIZE:
            return MagicNumber(number)
        case ProtocolFieldCompression.TYPE, 0:
            return ProtocolFieldCompression()
        case AddressAndControlFieldCompression.TYPE, 0:
            return AddressAndControlFieldCompression()
        case _:
            return RawOption(kind, value)


@dataclass(frozen=True, slots=True)
class _Configure:
    """What the four Configure packets share."""

    NAME: ClassVar[str]
    CODE: ClassVar[int]

    identifier: int
    """0 to 255."""
    options: tuple[LcpOption, ...] = ()

    @property
    def magic_number(self) -> int | None:
        """Of its Magic-Number option; None: it has none."""
        return next((option.magic_number for option in self.options if isinstance(option, MagicNumber)), None)

    def encode(self) -> bytes:
        return _packet(self.CODE, self.identifier, encode_options(self.options))


@dataclass(frozen=True, slots=True)
class ConfigureRequest(_Configure):
    """Section 5.1."""

    NAME: ClassVar[str] = "Configure-Request"
    CODE: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class ConfigureAck(_Configure):
    """Section 5.2: carries exactly the options of the request, so also its Magic-Number."""

    NAME: ClassVar[str] = "Configure-Ack"
    CODE: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class ConfigureNak(_Configure):
    """Section 5.3."""

    NAME: ClassVar[str] = "Configure-Nak"
    CODE: ClassVar[int] = 3


@dataclass(frozen=True, slots=True)
class ConfigureReject(_Configure):
    """Section 5.4."""

    NAME: ClassVar[str] = "Configure-Reject"
    CODE: ClassVar[int] = 4


@dataclass(frozen=True, slots=True)
class _Terminate:
    NAME: ClassVar[str]
    CODE: ClassVar[int]

    identifier: int
    data: bytes = b""

    def encode(self) -> bytes:
        return _packet(self.CODE, self.identifier, self.data)


@dataclass(frozen=True, slots=True)
class TerminateRequest(_Terminate):
    """Section 5.5."""

    NAME: ClassVar[str] = "Terminate-Request"
    CODE: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class TerminateAck(_Terminate):
    """Section 5.5."""

    NAME: ClassVar[str] = "Terminate-Ack"
    CODE: ClassVar[int] = 6


@dataclass(frozen=True, slots=True)
class _Echo:
    NAME: ClassVar[str]
    CODE: ClassVar[int]

    identifier: int
    magic_number: int = 0
    """The sender's own; 0 where none was negotiated."""
    data: bytes = b""

    def encode(self) -> bytes:
        return _packet(self.CODE, self.identifier, self.magic_number.to_bytes(4, "big") + self.data)


@dataclass(frozen=True, slots=True)
class EchoRequest(_Echo):
    """Section 5.8."""

    NAME: ClassVar[str] = "Echo-Request"
    CODE: ClassVar[int] = 9


@dataclass(frozen=True, slots=True)
class EchoReply(_Echo):
    """Section 5.8."""

    NAME: ClassVar[str] = "Echo-Reply"
    CODE: ClassVar[int] = 10


@dataclass(frozen=True, slots=True)
class RawLcp:
    """A packet of a code that is not named here: Code-Reject, Protocol-Reject, Discard-Request, and what is unknown."""

    NAME: ClassVar[str] = "LCP"

    code: int
    identifier: int
    data: bytes = b""

    def encode(self) -> bytes:
        return _packet(self.code, self.identifier, self.data)


Configure = ConfigureRequest | ConfigureAck | ConfigureNak | ConfigureReject
LcpPacket = Configure | TerminateRequest | TerminateAck | EchoRequest | EchoReply | RawLcp

_CONFIGURE: Final[dict[int, type[Configure]]] = {
    kind.CODE: kind for kind in (ConfigureRequest, ConfigureAck, ConfigureNak, ConfigureReject)
}
_TERMINATE: Final[dict[int, type[TerminateRequest | TerminateAck]]] = {kind.CODE: kind for kind in (TerminateRequest, TerminateAck)}
_ECHO: Final[dict[int, type[EchoRequest | EchoReply]]] = {kind.CODE: kind for kind in (EchoRequest, EchoReply)}


def decode_lcp(data: bytes) -> LcpPacket:
    """The LCP packet that is the information of a PPP frame. Raises DecodeError; offsets count from the packet's Code."""
    cursor = Cursor(data)
    code, identifier, length = cursor.u8("Code"), cursor.u8("Identifier"), cursor.u16("Length")
    if not 4 <= length <= len(data):
        raise DecodeError("Length", 2, f"{length} is outside 4 to {len(data)}")
    cursor.end = length
    if code in _CONFIGURE:
        return _CONFIGURE[code](identifier, decode_options(data[:length], offset=cursor.offset))
    if code in _TERMINATE:
        return _TERMINATE[code](identifier, cursor.rest())
    if code in _ECHO:
        return _ECHO[code](identifier, cursor.u32("Magic-Number"), cursor.rest())
    return RawLcp(code, identifier, cursor.rest())


_NAMES: Final[dict[int, str]] = {code: kind.NAME for code, kind in (*_CONFIGURE.items(), *_TERMINATE.items(), *_ECHO.items())}


def lcp_name(information: bytes) -> str:
    """The standard's name of an LCP packet, which its Code tells even where the rest is cut off; `LCP` where that is not named here."""
    return _NAMES.get(information[0], RawLcp.NAME) if information else RawLcp.NAME


def lcp_frame(packet: LcpPacket) -> bytes:
    """The packet as the payload of enhanced GRE: `ff 03 c0 21` before it."""
    return PppFrame(PROTOCOL_LCP, packet.encode()).encode()


def _packet(code: int, identifier: int, data: bytes) -> bytes:
    return bytes((code, identifier)) + (4 + len(data)).to_bytes(2, "big") + data
