"""PPTP control messages: RFC 2637 sections 1.4 and 2, all fifteen of them.

Every message has one fixed size (section 2), so a decoder can fail on the common head alone: Length, PPTP Message Type, Magic Cookie,
Control Message Type. Reserved fields are written as zero and ignored when read, text fields are NUL-padded and read without their
trailing NULs; so `decode(encode(m)) == m` for every message. `split_messages` cuts the TCP stream into messages and never waits for more
than the longest of them.
"""

import struct
from dataclasses import astuple, dataclass
from typing import ClassVar, Final, Self

from vpnprobe.errors import DecodeError, UsageError
from vpnprobe.wire.cursor import Cursor

PORT: Final = 1723
MAGIC_COOKIE: Final = 0x1A2B3C4D
CONTROL_MESSAGE: Final = 1
"""PPTP Message Type; 2, management messages, are not defined by the standard."""
PROTOCOL_VERSION: Final = 0x0100
HEADER_SIZE: Final = 12
"""Bytes: Length to Reserved0."""
LONGEST: Final = 220
"""Bytes of the Incoming-Call-Request, the longest message."""
SUCCESSFUL: Final = 1
"""Result Code of every reply that grants what was asked (sections 2.2, 2.4, 2.6, 2.8; called Connected there and Connect in 2.10)."""
ANY_CAPABILITY: Final = 3
"""Framing and Bearer Capabilities and Types: both bits."""

_HEADER: Final = struct.Struct(">HHIHH")
_COOKIE_BYTES: Final = MAGIC_COOKIE.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class _Control:
    """What all control messages share. Integers outside their field's range raise struct.error, texts too long UsageError."""

    NAME: ClassVar[str]
    TYPE: ClassVar[int]
    BODY: ClassVar[struct.Struct]
    """The fields after the head, in the order of the dataclass; pad bytes stand for reserved fields."""
    TEXT_SIZE: ClassVar[int] = 64
    """Bytes of each of its text fields."""

    @classmethod
    def size(cls) -> int:
        """Bytes of the whole message."""
        return HEADER_SIZE + cls.BODY.size

    def encode(self) -> bytes:
        values = astuple(self)
        for value in values:
            if isinstance(value, bytes) and len(value) > self.TEXT_SIZE:
                raise UsageError(f"{self.NAME}: a text of {len(value)} bytes does not fit {self.TEXT_SIZE}")
        return _HEADER.pack(self.size(), CONTROL_MESSAGE, MAGIC_COOKIE, self.TYPE, 0) + self.BODY.pack(*values)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises DecodeError unless `data` is exactly one message of this type."""
        if (found := _control_message_type(data)) != cls.TYPE:
            raise DecodeError("Control Message Type", 8, f"is {found}, not {cls.TYPE}")
        if len(data) != cls.size():
            raise DecodeError("Length", 0, f"{cls.NAME} has {cls.size()} bytes, not {len(data)}")
        values = cls.BODY.unpack_from(data, HEADER_SIZE)
        return cls(*(value.rstrip(b"\0") if isinstance(value, bytes) else value for value in values))


@dataclass(frozen=True, slots=True)
class StartControlConnectionRequest(_Control):
    """SCCRQ, section 2.1: 156 bytes."""

    NAME: ClassVar[str] = "SCCRQ"
    TYPE: ClassVar[int] = 1
    BODY: ClassVar[struct.Struct] = struct.Struct(">H2xIIHH64s64s")

    protocol_version: int = PROTOCOL_VERSION
    framing_capabilities: int = ANY_CAPABILITY
    bearer_capabilities: int = ANY_CAPABILITY
    maximum_channels: int = 0
    """0 from a PNS."""
    firmware_revision: int = 0
    host_name: bytes = b""
    """At most 64 bytes."""
    vendor_name: bytes = b""
    """At most 64 bytes."""


@dataclass(frozen=True, slots=True)
class StartControlConnectionReply(_Control):
    """SCCRP, section 2.2: 156 bytes."""

    NAME: ClassVar[str] = "SCCRP"
    TYPE: ClassVar[int] = 2
    BODY: ClassVar[struct.Struct] = struct.Struct(">HBBIIHH64s64s")

    protocol_version: int = PROTOCOL_VERSION
    result_code: int = SUCCESSFUL
    error_code: int = 0
    framing_capabilities: int = ANY_CAPABILITY
    bearer_capabilities: int = ANY_CAPABILITY
    maximum_channels: int = 0
    firmware_revision: int = 0
    host_name: bytes = b""
    vendor_name: bytes = b""


@dataclass(frozen=True, slots=True)
class StopControlConnectionRequest(_Control):
    """StopCCRQ, section 2.3: 16 bytes."""

    NAME: ClassVar[str] = "StopCCRQ"
    TYPE: ClassVar[int] = 3
    BODY: ClassVar[struct.Struct] = struct.Struct(">B3x")

    reason: int = 1
    """1: general, 2: protocol version not supported, 3: the sender is being shut down."""


@dataclass(frozen=True, slots=True)
class StopControlConnectionReply(_Control):
    """StopCCRP, section 2.4: 16 bytes."""

    NAME: ClassVar[str] = "StopCCRP"
    TYPE: ClassVar[int] = 4
    BODY: ClassVar[struct.Struct] = struct.Struct(">BB2x")

    result_code: int = SUCCESSFUL
    error_code: int = 0


@dataclass(frozen=True, slots=True)
class EchoRequest(_Control):
    """Echo-Request, section 2.5: 16 bytes."""

    NAME: ClassVar[str] = "ECHORQ"
    TYPE: ClassVar[int] = 5
    BODY: ClassVar[struct.Struct] = struct.Struct(">I")

    identifier: int


@dataclass(frozen=True, slots=True)
class EchoReply(_Control):
    """Echo-Reply, section 2.6: 20 bytes."""

    NAME: ClassVar[str] = "ECHORP"
    TYPE: ClassVar[int] = 6
    BODY: ClassVar[struct.Struct] = struct.Struct(">IBB2x")

    identifier: int
    result_code: int = SUCCESSFUL
    error_code: int = 0


@dataclass(frozen=True, slots=True)
class OutgoingCallRequest(_Control):
    """OCRQ, section 2.7: 168 bytes, from the PNS."""

    NAME: ClassVar[str] = "OCRQ"
    TYPE: ClassVar[int] = 7
    BODY: ClassVar[struct.Struct] = struct.Struct(">HHIIIIHHH2x64s64s")

    call_id: int
    """The sender's Call ID, 0 to 65535: what GRE towards the sender carries. 0 is legal."""
    call_serial_number: int = 0
    minimum_bps: int = 300
    maximum_bps: int = 100_000_000
    bearer_type: int = ANY_CAPABILITY
    framing_type: int = ANY_CAPABILITY
    receive_window_size: int = 64
    """Packets."""
    processing_delay: int = 0
    """Tenths of a second."""
    phone_number_length: int = 0
    phone_number: bytes = b""
    subaddress: bytes = b""


@dataclass(frozen=True, slots=True)
class OutgoingCallReply(_Control):
    """OCRP, section 2.8: 32 bytes, from the PAC."""

    NAME: ClassVar[str] = "OCRP"
    TYPE: ClassVar[int] = 8
    BODY: ClassVar[struct.Struct] = struct.Struct(">HHBBHIHHI")

    call_id: int
    """The sender's Call ID, 0 to 65535: what GRE towards the sender carries. 0 is legal."""
    peer_call_id: int
    """The Call ID of the request as the sender saw it: another number than was sent means that a NAT rewrote it."""
    result_code: int = SUCCESSFUL
    error_code: int = 0
    cause_code: int = 0
    connect_speed: int = 100_000_000
    """Bits a second."""
    receive_window_size: int = 64
    processing_delay: int = 0
    physical_channel_id: int = 0


@dataclass(frozen=True, slots=True)
class IncomingCallRequest(_Control):
    """ICRQ, section 2.9: 220 bytes, from the PAC."""

    NAME: ClassVar[str] = "ICRQ"
    TYPE: ClassVar[int] = 9
    BODY: ClassVar[struct.Struct] = struct.Struct(">HHIIHH64s64s64s")

    call_id: int
    call_serial_number: int = 0
    call_bearer_type: int = ANY_CAPABILITY
    physical_channel_id: int = 0
    dialed_number_length: int = 0
    dialing_number_length: int = 0
    dialed_number: bytes = b""
    dialing_number: bytes = b""
    subaddress: bytes = b""


@dataclass(frozen=True, slots=True)
class IncomingCallReply(_Control):
    """ICRP, section 2.10: 24 bytes, from the PNS."""

    NAME: ClassVar[str] = "ICRP"
    TYPE: ClassVar[int] = 10
    BODY: ClassVar[struct.Struct] = struct.Struct(">HHBBHH2x")

    call_id: int
    peer_call_id: int
    result_code: int = SUCCESSFUL
    error_code: int = 0
    receive_window_size: int = 64
    transmit_delay: int = 0
    """Tenths of a second."""


@dataclass(frozen=True, slots=True)
class IncomingCallConnected(_Control):
    """ICCN, section 2.11: 28 bytes, from the PAC."""

    NAME: ClassVar[str] = "ICCN"
    TYPE: ClassVar[int] = 11
    BODY: ClassVar[struct.Struct] = struct.Struct(">H2xIHHI")

    peer_call_id: int
    connect_speed: int = 100_000_000
    receive_window_size: int = 64
    transmit_delay: int = 0
    framing_type: int = ANY_CAPABILITY


@dataclass(frozen=True, slots=True)
class CallClearRequest(_Control):
    """CCRQ, section 2.12: 16 bytes, from the PNS."""

    NAME: ClassVar[str] = "CCRQ"
    TYPE: ClassVar[int] = 12
    BODY: ClassVar[struct.Struct] = struct.Struct(">H2x")

    call_id: int
    """The sender's own Call ID, not the peer's."""


@dataclass(frozen=True, slots=True)
class CallDisconnectNotify(_Control):
    """CDN, section 2.13: 148 bytes, from the PAC."""

    NAME: ClassVar[str] = "CDN"
    TYPE: ClassVar[int] = 13
    BODY: ClassVar[struct.Struct] = struct.Struct(">HBBH2x128s")
    TEXT_SIZE: ClassVar[int] = 128

    call_id: int
    """The sender's own Call ID."""
    result_code: int = 4
    """1: lost carrier, 2: general error, 3: administrative shutdown, 4: it was requested."""
    error_code: int = 0
    cause_code: int = 0
    call_statistics: bytes = b""
    """At most 128 bytes."""


@dataclass(frozen=True, slots=True)
class WanErrorNotify(_Control):
    """WEN, section 2.14: 40 bytes, from the PAC."""

    NAME: ClassVar[str] = "WEN"
    TYPE: ClassVar[int] = 14
    BODY: ClassVar[struct.Struct] = struct.Struct(">H2xIIIIII")

    peer_call_id: int
    crc_errors: int = 0
    framing_errors: int = 0
    hardware_overruns: int = 0
    buffer_overruns: int = 0
    time_out_errors: int = 0
    alignment_errors: int = 0


@dataclass(frozen=True, slots=True)
class SetLinkInfo(_Control):
    """SLI, section 2.15: 24 bytes, from the PNS."""

    NAME: ClassVar[str] = "SLI"
    TYPE: ClassVar[int] = 15
    BODY: ClassVar[struct.Struct] = struct.Struct(">H2xII")

    peer_call_id: int
    send_accm: int = 0xFFFFFFFF
    receive_accm: int = 0xFFFFFFFF


ControlMessage = (
    StartControlConnectionRequest
    | StartControlConnectionReply
    | StopControlConnectionRequest
    | StopControlConnectionReply
    | EchoRequest
    | EchoReply
    | OutgoingCallRequest
    | OutgoingCallReply
    | IncomingCallRequest
    | IncomingCallReply
    | IncomingCallConnected
    | CallClearRequest
    | CallDisconnectNotify
    | WanErrorNotify
    | SetLinkInfo
)

MESSAGES: Final[tuple[type[ControlMessage], ...]] = (
    StartControlConnectionRequest,
    StartControlConnectionReply,
    StopControlConnectionRequest,
    StopControlConnectionReply,
    EchoRequest,
    EchoReply,
    OutgoingCallRequest,
    OutgoingCallReply,
    IncomingCallRequest,
    IncomingCallReply,
    IncomingCallConnected,
    CallClearRequest,
    CallDisconnectNotify,
    WanErrorNotify,
    SetLinkInfo,
)
"""In the order of their Control Message Types, from 1."""


def decode_message(data: bytes) -> ControlMessage:
    """The one whole message that `data` is. Raises DecodeError for anything else."""
    number = _control_message_type(data)
    if not 1 <= number <= len(MESSAGES):
        raise DecodeError("Control Message Type", 8, f"{number} is none of 1 to {len(MESSAGES)}")
    return MESSAGES[number - 1].decode(data)


def split_messages(buffer: bytes) -> tuple[list[bytes], bytes]:
    """Cuts the front of a TCP stream into whole messages; also returns the bytes left over.

    Raises DecodeError when the stream cannot be read at the front of `buffer` (a Length outside 12 to 220, a wrong Magic Cookie): there is
    no way to find the next message then. Trouble behind whole messages is left in the rest, where the next call finds it.
    """
    messages: list[bytes] = []
    at = 0
    while len(buffer) - at >= 2:
        length, cookie = int.from_bytes(buffer[at : at + 2], "big"), buffer[at + 4 : at + 8]
        if (error := _framing_error(length, cookie)) is not None:
            if messages:
                break
            raise error
        if len(buffer) - at < length:
            break
        messages.append(buffer[at : at + length])
        at += length
    return messages, buffer[at:]


def _framing_error(length: int, cookie: bytes) -> DecodeError | None:
    """What is wrong with a head of which perhaps only the first bytes of the cookie, or none, have come yet."""
    if not HEADER_SIZE <= length <= LONGEST:
        return DecodeError("Length", 0, f"{length} is outside {HEADER_SIZE} to {LONGEST}")
    if not _COOKIE_BYTES.startswith(cookie):
        return DecodeError("Magic Cookie", 4, f"is {cookie.hex()}, not {_COOKIE_BYTES.hex()}")
    return None


def _control_message_type(data: bytes) -> int:
    """Checks the head against the message it stands on."""
    cursor = Cursor(data)
    if (length := cursor.u16("Length")) != len(data):
        raise cursor.wrong("Length", f"says {length}, the message has {len(data)} bytes", back=2)
    if (kind := cursor.u16("PPTP Message Type")) != CONTROL_MESSAGE:
        raise cursor.wrong("PPTP Message Type", f"is {kind}, not {CONTROL_MESSAGE}", back=2)
    if (cookie := cursor.u32("Magic Cookie")) != MAGIC_COOKIE:
        raise cursor.wrong("Magic Cookie", f"is {cookie:08x}, not {MAGIC_COOKIE:08x}", back=4)
    number = cursor.u16("Control Message Type")
    cursor.u16("Reserved0")
    return number
