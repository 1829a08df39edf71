"""PPTP's control messages of fields as Wireshark names them."""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from vpnprobe.capture.printed.contents.tcp import encoded
from vpnprobe.wire import pptp

_NAMES: Final[Mapping[str, str]] = {
    "peer_call_id": "peer call id",
    "minimum_bps": "minimum bps",
    "maximum_bps": "maximum bps",
    "call_serial_number": "call serial number",
    "receive_window_size": "packet receive window size",
    "processing_delay": "packet processing delay",
    "framing_capabilities": "framing capabilities",
    "bearer_capabilities": "bearer capabilities",
}
"""Of our fields those that have other words there than spaces for underscores make."""
_BY_NUMBER: Final = {message.TYPE: message for message in pptp.MESSAGES}
_NUMBER: Final = re.compile(r"\((\d{1,10})\)|^(\d{1,10})\b")


def pptp_message(shown: Mapping[str, str]) -> bytes:
    """The message; empty for one that there is not, or whose fields are beyond theirs. `shown`: fields by name in small letters."""
    kind = _number(shown.get("control message type", ""))
    message = _BY_NUMBER.get(kind) if kind is not None else None
    if message is None:
        return b""
    arguments: dict[str, int | bytes] = {}
    for field in fields(message):
        value = shown.get(_NAMES.get(field.name, field.name.replace("_", " ")))
        if field.name in ("host_name", "vendor_name"):
            arguments[field.name] = (value or "").encode()[:64]
        elif (told := _number(value or "")) is not None:
            arguments[field.name] = told
        elif field.name in ("call_id", "peer_call_id", "identifier"):
            arguments[field.name] = 0
    return encoded(message, arguments)


def _number(text: str) -> int | None:
    found = _NUMBER.search(text)
    return int(found[1] or found[2]) if found else None
