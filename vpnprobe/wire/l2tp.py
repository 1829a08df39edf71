"""L2TP version 2 (RFC 2661): control messages of attribute-value pairs, and the header of data messages.

`decode_l2tp` gives one class per message type, so that a transition table can name them; message types outside the tunnel's and call's
set-up and teardown come back as `OtherControlMessage`. A control message without AVPs is a Zero-Length Body message (section 5.8).
The Message Type AVP, always the first (section 4.4.1), is the class; `avps` holds those after it, in their order on the wire.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, Self

from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor

PORT: Final = 1701
CONTROL_HEADER: Final = 12
"""Bytes of a control message's header, and of a whole ZLB."""
TYPE_BIT: Final = 0x8000
LENGTH_BIT: Final = 0x4000
SEQUENCE_BIT: Final = 0x0800
OFFSET_BIT: Final = 0x0200
PRIORITY_BIT: Final = 0x0100
VERSION_MASK: Final = 0x000F
VERSION: Final = 2
MANDATORY_BIT: Final = 0x8000
HIDDEN_BIT: Final = 0x4000
AVP_LENGTH_MASK: Final = 0x03FF
AVP_HEADER: Final = 6


class AvpType(IntEnum):
    """IETF attribute types (vendor 0) that set-up and teardown use, section 4.4."""

    MESSAGE_TYPE = 0
    RESULT_CODE = 1
    PROTOCOL_VERSION = 2
    FRAMING_CAPABILITIES = 3
    BEARER_CAPABILITIES = 4
    TIE_BREAKER = 5
    FIRMWARE_REVISION = 6
    HOST_NAME = 7
    VENDOR_NAME = 8
    ASSIGNED_TUNNEL_ID = 9
    RECEIVE_WINDOW_SIZE = 10
    CHALLENGE = 11
    CHALLENGE_RESPONSE = 13
    ASSIGNED_SESSION_ID = 14
    CALL_SERIAL_NUMBER = 15
    BEARER_TYPE = 18
    FRAMING_TYPE = 19
    TX_CONNECT_SPEED = 24


class StopResult(IntEnum):
    """Result codes of StopCCN, section 4.4.2."""

    GENERAL_REQUEST = 1
    GENERAL_ERROR = 2
    ALREADY_EXISTS = 3
    NOT_AUTHORIZED = 4
    UNSUPPORTED_VERSION = 5
    SHUTTING_DOWN = 6
    FSM_ERROR = 7


class DisconnectResult(IntEnum):
    """Result codes of CDN, section 4.4.2, as far as this end gives them."""

    ADMINISTRATIVE = 3
    """The call was ended on purpose."""


class MalformedControlMessage(DecodeError):
    """The T bit and the version are those of a control message, the rest is not what it should be."""


@dataclass(frozen=True, slots=True)
class Avp:
    """One attribute-value pair, section 4.1."""

    type: int
    """0 to 65535; the IETF's are in `AvpType`."""
    value: bytes
    """At most 1017 bytes."""
    mandatory: bool = True
    hidden: bool = False
    """The value is hidden with the shared secret (section 4.3) and cannot be read here."""
    vendor_id: int = 0
    """0: IETF; else an SMI enterprise code."""

    def encode(self) -> bytes:
        bits = MANDATORY_BIT * self.mandatory | HIDDEN_BIT * self.hidden | AVP_HEADER + len(self.value)
        return bits.to_bytes(2, "big") + self.vendor_id.to_bytes(2, "big") + self.type.to_bytes(2, "big") + self.value

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        """The next AVP at the cursor."""
        bits = cursor.u16("AVP length")
        length = bits & AVP_LENGTH_MASK
        if length < AVP_HEADER:
            raise cursor.wrong("AVP length", f"{length} is less than {AVP_HEADER}", back=2)
        vendor_id, attribute = cursor.u16("Vendor ID"), cursor.u16("Attribute Type")
        value = cursor.take(length - AVP_HEADER, "Attribute Value")
        return cls(attribute, value, bool(bits & MANDATORY_BIT), bool(bits & HIDDEN_BIT), vendor_id)


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """What all control messages carry, section 3.1."""

    name: ClassVar[str]
    tunnel_id: int
    """The receiver's Tunnel ID; 0 in SCCRQ, before the receiver has assigned one."""
    session_id: int
    """The receiver's Session ID; 0: the message is about the tunnel, or the ID is not known yet (ICRQ)."""
    ns: int
    """0 to 65535, modulo 65536. A ZLB carries the next one without using it up."""
    nr: int
    """The Ns that is expected next: acknowledges all before it."""
    avps: tuple[Avp, ...] = ()
    """Without the Message Type AVP."""

    def encode(self) -> bytes:
        body = b"".join(avp.encode() for avp in (*self._head(), *self.avps))
        bits = TYPE_BIT | LENGTH_BIT | SEQUENCE_BIT | VERSION
        fields = (bits, CONTROL_HEADER + len(body), self.tunnel_id, self.session_id, self.ns, self.nr)
        return b"".join(field.to_bytes(2, "big") for field in fields) + body

    def _head(self) -> tuple[Avp, ...]:
        return (Avp(AvpType.MESSAGE_TYPE, self.type_number.to_bytes(2, "big")),)

    @property
    def type_number(self) -> int:
        """The value of the Message Type AVP, section 3.2."""
        return MESSAGE_NUMBERS[type(self)]

    def value(self, attribute: AvpType) -> bytes | None:
        """The readable value of the first such IETF AVP; None: there is none, or it is hidden."""
        return next((a.value for a in self.avps if a.vendor_id == 0 and a.type == attribute and not a.hidden), None)

    def number(self, attribute: AvpType) -> int | None:
        """The value as a 16-bit number (IDs, Result Code: its first two bytes); None: absent, hidden or shorter."""
        value = self.value(attribute)
        return None if value is None or len(value) < 2 else int.from_bytes(value[:2], "big")


@dataclass(frozen=True, slots=True)
class StartControlConnectionRequest(ControlMessage):
    """SCCRQ, section 6.1: opens the tunnel."""

    name: ClassVar[str] = "SCCRQ"


@dataclass(frozen=True, slots=True)
class StartControlConnectionReply(ControlMessage):
    """SCCRP, section 6.2."""

    name: ClassVar[str] = "SCCRP"


@dataclass(frozen=True, slots=True)
class StartControlConnectionConnected(ControlMessage):
    """SCCCN, section 6.3: the tunnel is up."""

    name: ClassVar[str] = "SCCCN"


@dataclass(frozen=True, slots=True)
class StopControlConnectionNotification(ControlMessage):
    """StopCCN, section 6.4: ends the tunnel and all its sessions."""

    name: ClassVar[str] = "StopCCN"


@dataclass(frozen=True, slots=True)
class Hello(ControlMessage):
    """HELLO, section 6.5: keepalive."""

    name: ClassVar[str] = "HELLO"


@dataclass(frozen=True, slots=True)
class IncomingCallRequest(ControlMessage):
    """ICRQ, section 6.6: opens a session."""

    name: ClassVar[str] = "ICRQ"


@dataclass(frozen=True, slots=True)
class IncomingCallReply(ControlMessage):
    """ICRP, section 6.7."""

    name: ClassVar[str] = "ICRP"


@dataclass(frozen=True, slots=True)
class IncomingCallConnected(ControlMessage):
    """ICCN, section 6.8: the session is up, PPP may flow."""

    name: ClassVar[str] = "ICCN"


@dataclass(frozen=True, slots=True)
class CallDisconnectNotify(ControlMessage):
    """CDN, section 6.12: ends or refuses a session."""

    name: ClassVar[str] = "CDN"


@dataclass(frozen=True, slots=True)
class ZeroLengthBody(ControlMessage):
    """ZLB, section 5.8: a bare acknowledgment."""

    name: ClassVar[str] = "ZLB"

    def _head(self) -> tuple[Avp, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class OtherControlMessage(ControlMessage):
    """Any other message type: OCRQ, WEN, SLI, a vendor's, an unknown one."""

    name: ClassVar[str] = "other"
    message_type: int = 0
    """As on the wire: none of `MESSAGE_NUMBERS`."""

    @property
    def type_number(self) -> int:
        return self.message_type


MESSAGE_NUMBERS: Final[dict[type[ControlMessage], int]] = {
    StartControlConnectionRequest: 1,
    StartControlConnectionReply: 2,
    StartControlConnectionConnected: 3,
    StopControlConnectionNotification: 4,
    Hello: 6,
    IncomingCallRequest: 10,
    IncomingCallReply: 11,
    IncomingCallConnected: 12,
    CallDisconnectNotify: 14,
}
_MESSAGES: Final = {number: message for message, number in MESSAGE_NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class DataMessage:
    """A data message, section 3.1: a PPP frame for one session."""

    name: ClassVar[str] = "data"
    tunnel_id: int
    session_id: int
    payload: bytes
    """The PPP frame, usually from the address and control bytes ff 03 on."""
    sequence: tuple[int, int] | None = None
    """Ns and Nr; None: the S bit is not set."""
    offset_pad: bytes | None = None
    """None: the O bit is not set."""
    priority: bool = False
    has_length: bool = False

    def encode(self) -> bytes:
        bits = VERSION | LENGTH_BIT * self.has_length | SEQUENCE_BIT * (self.sequence is not None)
        bits |= OFFSET_BIT * (self.offset_pad is not None) | PRIORITY_BIT * self.priority
        tail = self.tunnel_id.to_bytes(2, "big") + self.session_id.to_bytes(2, "big")
        for number in self.sequence or ():
            tail += number.to_bytes(2, "big")
        if self.offset_pad is not None:
            tail += len(self.offset_pad).to_bytes(2, "big") + self.offset_pad
        tail += self.payload
        length = (4 + len(tail)).to_bytes(2, "big") if self.has_length else b""
        return bits.to_bytes(2, "big") + length + tail


def version_of(data: bytes) -> int:
    """The Ver field: 2 for RFC 2661, 3 for RFC 3931. Raises DecodeError where there are not two bytes."""
    return Cursor(data).u16("flags and version") & VERSION_MASK


def decode_l2tp(data: bytes) -> ControlMessage | DataMessage:
    """Decodes a UDP payload; bytes beyond the Length field are ignored.

    Raises DecodeError, for other versions too; MalformedControlMessage, which is one, where the T bit is set and the version is 2.
    """
    cursor = Cursor(data)
    bits = cursor.u16("flags and version")
    if bits & VERSION_MASK != VERSION:
        raise cursor.wrong("Ver", f"is {bits & VERSION_MASK}, not {VERSION}", back=2)
    if not bits & TYPE_BIT:
        return _read_data(cursor, bits)
    try:
        return _read_control(cursor, bits)
    except DecodeError as error:
        raise MalformedControlMessage(error.field, error.offset, error.problem) from None


def of_whole_avps(data: bytes) -> bytes:
    """A control message that was cut behind its beginning, as if it ended with the last AVP (section 4.1) that is whole.

    What is whole, has not one AVP to begin with, or is no control message is left as it is.
    """
    if len(data) < CONTROL_HEADER + AVP_HEADER or int.from_bytes(data[2:4], "big") <= len(data):
        return data
    at = CONTROL_HEADER
    while at + AVP_HEADER <= len(data):
        length = int.from_bytes(data[at : at + 2], "big") & AVP_LENGTH_MASK
        if length < AVP_HEADER or at + length > len(data):
            break
        at += length
    return data if at == CONTROL_HEADER else data[:2] + at.to_bytes(2, "big") + data[4:at]


def _read_length(cursor: Cursor, bits: int) -> None:
    """Sets the cursor's end to that of the message, where it has a Length field."""
    if bits & LENGTH_BIT:
        length = cursor.u16("Length")
        if not cursor.offset <= length <= len(cursor.data):
            raise cursor.wrong("Length", f"is {length}, with {len(cursor.data)} bytes at hand", back=2)
        cursor.end = length


def _read_control(cursor: Cursor, bits: int) -> ControlMessage:
    if not bits & LENGTH_BIT or not bits & SEQUENCE_BIT:
        raise DecodeError("flags", 0, "a control message needs the L and S bits")
    _read_length(cursor, bits)
    tunnel_id, session_id = cursor.u16("Tunnel ID"), cursor.u16("Session ID")
    ns, nr = cursor.u16("Ns"), cursor.u16("Nr")
    avps = []
    while cursor.left:
        avps.append(Avp.read(cursor))
    if not avps:
        return ZeroLengthBody(tunnel_id, session_id, ns, nr)
    first = avps[0]
    if (first.vendor_id, first.type, len(first.value), first.hidden) != (0, AvpType.MESSAGE_TYPE, 2, False):
        raise DecodeError("Message Type", CONTROL_HEADER, "is not the first AVP")
    number = int.from_bytes(first.value, "big")
    message = _MESSAGES.get(number)
    if message is None:
        return OtherControlMessage(tunnel_id, session_id, ns, nr, tuple(avps[1:]), number)
    return message(tunnel_id, session_id, ns, nr, tuple(avps[1:]))


def _read_data(cursor: Cursor, bits: int) -> DataMessage:
    _read_length(cursor, bits)
    tunnel_id, session_id = cursor.u16("Tunnel ID"), cursor.u16("Session ID")
    sequence = (cursor.u16("Ns"), cursor.u16("Nr")) if bits & SEQUENCE_BIT else None
    pad = cursor.take(cursor.u16("Offset Size"), "Offset pad") if bits & OFFSET_BIT else None
    return DataMessage(tunnel_id, session_id, cursor.rest(), sequence, pad, bool(bits & PRIORITY_BIT), bool(bits & LENGTH_BIT))


def tunnel_avps(*, host_name: bytes, assigned_tunnel_id: int, receive_window: int = 4) -> tuple[Avp, ...]:
    """The AVPs of SCCRQ and SCCRP, sections 6.1 and 6.2, in the order that xl2tpd sends them."""
    return (
        Avp(AvpType.PROTOCOL_VERSION, b"\x01\x00"),
        Avp(AvpType.FRAMING_CAPABILITIES, (3).to_bytes(4, "big")),
        Avp(AvpType.BEARER_CAPABILITIES, (0).to_bytes(4, "big")),
        Avp(AvpType.FIRMWARE_REVISION, (1).to_bytes(2, "big"), mandatory=False),
        Avp(AvpType.HOST_NAME, host_name),
        Avp(AvpType.VENDOR_NAME, b"vpnprobe", mandatory=False),
        Avp(AvpType.ASSIGNED_TUNNEL_ID, assigned_tunnel_id.to_bytes(2, "big")),
        Avp(AvpType.RECEIVE_WINDOW_SIZE, receive_window.to_bytes(2, "big")),
    )


def call_request_avps(*, assigned_session_id: int, call_serial_number: int) -> tuple[Avp, ...]:
    """The AVPs of ICRQ, section 6.6."""
    return (
        Avp(AvpType.ASSIGNED_SESSION_ID, assigned_session_id.to_bytes(2, "big")),
        Avp(AvpType.CALL_SERIAL_NUMBER, call_serial_number.to_bytes(4, "big")),
        Avp(AvpType.BEARER_TYPE, (0).to_bytes(4, "big")),
    )


def call_reply_avps(*, assigned_session_id: int) -> tuple[Avp, ...]:
    """The AVPs of ICRP, section 6.7."""
    return (Avp(AvpType.ASSIGNED_SESSION_ID, assigned_session_id.to_bytes(2, "big")),)


def call_connected_avps(*, speed_bit_per_s: int = 10_000_000) -> tuple[Avp, ...]:
    """The AVPs of ICCN, section 6.8: connect speed and synchronous framing."""
    return (Avp(AvpType.TX_CONNECT_SPEED, speed_bit_per_s.to_bytes(4, "big")), Avp(AvpType.FRAMING_TYPE, (1).to_bytes(4, "big")))


def stop_avps(*, assigned_tunnel_id: int, result: StopResult = StopResult.GENERAL_REQUEST) -> tuple[Avp, ...]:
    """The AVPs of StopCCN, section 6.4. `assigned_tunnel_id` is the sender's own."""
    return (
        Avp(AvpType.ASSIGNED_TUNNEL_ID, assigned_tunnel_id.to_bytes(2, "big")),
        Avp(AvpType.RESULT_CODE, result.to_bytes(2, "big")),
    )


def disconnect_avps(*, assigned_session_id: int, result: DisconnectResult = DisconnectResult.ADMINISTRATIVE) -> tuple[Avp, ...]:
    """The AVPs of CDN, section 6.12. `assigned_session_id` is the sender's own."""
    return (
        Avp(AvpType.RESULT_CODE, result.to_bytes(2, "big")),
        Avp(AvpType.ASSIGNED_SESSION_ID, assigned_session_id.to_bytes(2, "big")),
    )
