"""TCP lines, of tcpdump 4 and before it, and the PPTP control messages behind them (RFC 2637)."""

import re
import struct
from collections.abc import Mapping
from dataclasses import fields as fields_of
from typing import Final

from vpnprobe.capture.tcpdump_lines.base import NOWHERE, Content, Endpoints, fields, number
from vpnprobe.errors import UsageError
from vpnprobe.wire import pptp
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment

FLAGS: Final = {"S": TcpFlag.SYN, "F": TcpFlag.FIN, "R": TcpFlag.RST, "P": TcpFlag.PSH, ".": TcpFlag.ACK, "U": TcpFlag.URG}
TCP_HEADER_BYTES: Final = 20
FRAME_TYPES: Final = {"A": 1, "S": 2, "E": 3}
BEARER_TYPES: Final = {"A": 1, "D": 2, "Any": 3}

_TCP: Final = re.compile(
    r"Flags \[(?P<flags>[\w.]+)\](?:, cksum [^,]+)?(?:, seq (?P<seq>\d+)(?::\d+)?)?(?:, ack (?P<ack>\d+))?.*?, length (?P<length>\d+)"
)
_OLD_TCP: Final = re.compile(r"(?P<flags>[SFRPUWE.]+) (?:(?P<seq>\d+):\d+\((?P<length>\d+)\) ?)?(?:ack (?P<ack>\d+) ?)?win ")


def tcp(text: str, ends: Endpoints) -> Content | None:
    found = _TCP.match(text)
    return _segment(found, text, ends) if found else None


def old_tcp(text: str, ends: Endpoints) -> Content | None:
    """As tcpdump printed it before version 4."""
    found = _OLD_TCP.match(text)
    return _segment(found, text, ends) if found else None


def _segment(found: re.Match[str], text: str, ends: Endpoints) -> Content:
    flags = sum({FLAGS[letter].value for letter in found["flags"] if letter in FLAGS})
    if found["ack"] is not None:
        flags |= TcpFlag.ACK.value
    length = int(found["length"] or 0)
    message = _pptp(text.partition("pptp ")[2]) if "CTRL_MSGTYPE=" in text else b""
    segment = TcpSegment(
        source_port=ends.source_port,
        destination_port=ends.destination_port,
        sequence=number(found["seq"]) & 0xFFFFFFFF,
        acknowledgment=number(found["ack"]) & 0xFFFFFFFF,
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
    try:
        return message(**arguments).encode()  # type: ignore[arg-type]
    except (struct.error, UsageError):
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
