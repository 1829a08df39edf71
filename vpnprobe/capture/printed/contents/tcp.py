"""TCP lines, of tcpdump 4 and before it, and the PPTP control messages behind them (RFC 2637)."""

import re
import struct
from collections.abc import Mapping
from dataclasses import fields as fields_of
from typing import Final

from vpnprobe.capture.printed.contents.base import LENGTH_LIMIT, NOWHERE, Content, Endpoints, cut, fields, number
from vpnprobe.errors import UsageError
from vpnprobe.wire import pptp
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment

FLAGS: Final = {"S": TcpFlag.SYN, "F": TcpFlag.FIN, "R": TcpFlag.RST, "P": TcpFlag.PSH, ".": TcpFlag.ACK, "U": TcpFlag.URG}
TCP_HEADER_BYTES: Final = 20
FRAME_TYPES: Final = {"A": 1, "S": 2, "E": 3}
BEARER_TYPES: Final = {"A": 1, "D": 2, "Any": 3}

_FLAGS: Final = re.compile(r"Flags \[(?P<flags>[\w.]{1,12})\]")
_SEQUENCE: Final = re.compile(r", seq (?P<seq>\d{1,12})(?::(?P<end>\d{1,12}))?")
_ACKNOWLEDGMENT: Final = re.compile(r", ack (?P<ack>\d{1,12})")
_LENGTH: Final = re.compile(r", length (?P<length>\d{1,9})")
_OPTIONS: Final = re.compile(r", options \[[^\]]*\]")
_OLD_TCP: Final = re.compile(
    r"(?P<flags>[SFRPUWE.]{1,8}) (?:(?P<seq>\d{1,12}):\d{1,12}\((?P<length>\d{1,9})\) ?)?(?:ack (?P<ack>\d{1,12}) ?)?(?:win |urg |\[|<|$)"
)
_LENGTH_ALONE: Final = re.compile(r"tcp (?P<length>\d{1,9})\b")
_FORTIGATE: Final = re.compile(r"(?P<flags>(?:syn|psh|fin|rst)?)(?: ?(?P<seq>\d{1,12}))?(?: ?ack (?P<ack>\d{1,12}))?\s*(?:\(|$)")
_FORTIGATE_FLAGS: Final = {"syn": TcpFlag.SYN, "psh": TcpFlag.PSH, "fin": TcpFlag.FIN, "rst": TcpFlag.RST}


def tcp(text: str, ends: Endpoints) -> Content | None:
    found = _FLAGS.match(text)
    if found is None:
        return None
    # Options have numbers with the same names in them, and what stands behind the length is the payload's.
    head = _OPTIONS.sub("", text[:2048], count=1)
    length = _LENGTH.search(head)
    head = head[: length.start()] if length else head
    sequence, acknowledgment = _SEQUENCE.search(head), _ACKNOWLEDGMENT.search(head)
    size = number(length["length"]) if length else 0
    if not length and sequence and sequence["end"]:
        size = max(0, int(sequence["end"]) - int(sequence["seq"]))
    flags = sum({FLAGS[letter].value for letter in found["flags"] if letter in FLAGS})
    numbers = sequence["seq"] if sequence else None, acknowledgment["ack"] if acknowledgment else None
    return _segment(flags, numbers, size, text, ends)


def old_tcp(text: str, ends: Endpoints) -> Content | None:
    """As tcpdump printed it before version 4."""
    found = _OLD_TCP.match(text)
    if found is None:
        return None
    flags = sum({FLAGS[letter].value for letter in found["flags"] if letter in FLAGS and letter != "."})
    return _segment(flags, (found["seq"], found["ack"]), number(found["length"]), text, ends)


def fortigate(text: str, ends: Endpoints) -> Content | None:
    """As FortiGate's sniffer prints it: one flag, and no length."""
    found = _FORTIGATE.match(text)
    if found is None:
        return None
    flags = _FORTIGATE_FLAGS[found["flags"]].value if found["flags"] else 0
    return _segment(flags, (found["seq"], found["ack"]), 0, text, ends)


def length_alone(text: str, ends: Endpoints) -> Content | None:
    """As `tcpdump -q` prints it: its numbers are 0, and `Streams` puts such segments in order."""
    found = _LENGTH_ALONE.match(text)
    return _segment(TcpFlag.ACK.value, (None, None), number(found["length"]), "", ends) if found else None


def _segment(flags: int, numbers: tuple[str | None, str | None], length: int, text: str, ends: Endpoints) -> Content:
    """`numbers`: sequence and acknowledgment, as printed."""
    if numbers[1] is not None:
        flags |= TcpFlag.ACK.value
    length = min(length, LENGTH_LIMIT)
    message = _pptp(text.partition("pptp ")[2]) if "CTRL_MSGTYPE=" in text else b""
    segment = TcpSegment(
        source_port=ends.source_port,
        destination_port=ends.destination_port,
        sequence=cut(numbers[0]),
        acknowledgment=cut(numbers[1]),
        flags=flags,
        payload=message[:length],
    )
    return Content(IpProtocol.TCP, segment.encode(NOWHERE, NOWHERE), TCP_HEADER_BYTES + length)


_PPTP_FIELDS: Final[Mapping[str, str]] = {
    "result_code": "RESULT_CODE",
    "error_code": "ERR_CODE",
    "framing_capabilities": "FRAME_CAP",
    "bearer_capabilities": "BEARER_CAP",
    "maximum_channels": "MAX_CHAN",
    "firmware_revision": "FIRM_REV",
    "host_name": "HOSTNAME",
    "vendor_name": "VENDOR",
    "reason": "REASON",
    "identifier": "ID",
    "call_id": "CALL_ID",
    "peer_call_id": "PEER_CALL_ID",
    "call_serial_number": "CALL_SER_NUM",
    "minimum_bps": "MIN_BPS",
    "maximum_bps": "MAX_BPS",
    "bearer_type": "BEARER_TYPE",
    "framing_type": "FRAME_TYPE",
    "receive_window_size": "RECV_WIN",
    "processing_delay": "PROC_DELAY",
    "cause_code": "CAUSE_CODE",
    "connect_speed": "CONN_SPEED",
    "physical_channel_id": "PHY_CHAN_ID",
    "send_accm": "SEND_ACCM",
    "receive_accm": "RECV_ACCM",
}
"""Fields of our messages and the names under which tcpdump prints them."""
_PPTP_MESSAGES: Final = {message.NAME.upper(): message for message in pptp.MESSAGES} | {
    "STOPCCRQ": pptp.StopControlConnectionRequest,
    "STOPCCRP": pptp.StopControlConnectionReply,
    "ECHORQ": pptp.EchoRequest,
    "ECHORP": pptp.EchoReply,
}


def _pptp(text: str) -> bytes:
    """The control message; empty for one whose fields are not all printed as they should be."""
    kind = re.search(r"CTRL_MSGTYPE=(\w+)", text)
    message = _PPTP_MESSAGES.get(kind[1].upper()) if kind else None
    if message is None:
        return b""
    printed = fields(text)
    arguments: dict[str, int | bytes] = {}
    for field in fields_of(message):
        value = printed.get(_PPTP_FIELDS.get(field.name, ""))
        if value is not None:
            arguments[field.name] = _pptp_value(field.name, value)
        elif field.name in ("call_id", "peer_call_id", "identifier"):
            arguments[field.name] = 0
    return encoded(message, arguments)


def encoded(message: type[pptp.ControlMessage], arguments: Mapping[str, int | bytes]) -> bytes:
    """The message with these fields; empty where one of them is beyond its field."""
    try:
        return message(**arguments).encode()  # type: ignore[arg-type]
    except (struct.error, UsageError, TypeError):
        return b""


def _pptp_value(name: str, value: str) -> int | bytes:
    if name in ("host_name", "vendor_name"):
        return value.encode()[:64]
    if name.endswith("_capabilities"):
        return ("A" in value) * 1 | ("S" in value or "D" in value) * 2
    if name == "framing_type":
        return FRAME_TYPES.get(value, 0)
    if name == "bearer_type":
        return BEARER_TYPES.get(value, 0)
    return number(value)
