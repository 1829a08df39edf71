"""VPN messages of what is known of them: the kind and some fields, where a program names those and prints no bytes.

What is not known is zero, or made up from the addresses where readers need it to tell conversations apart. Sizes are those on the wire.
"""

import hashlib
from typing import Final

from vpnprobe.capture.printed.contents.base import LENGTH_LIMIT, Content, Endpoints, datagram
from vpnprobe.wire import l2tp
from vpnprobe.wire.isakmp import NON_ESP_MARKER
from vpnprobe.wire.openvpn import OPCODE_SHIFT, SESSION_ID, Opcode
from vpnprobe.wire.wireguard import (
    SIZES,
    CookieReply,
    HandshakeInitiation,
    HandshakeResponse,
    MessageType,
    TransportData,
)

SA_LEAST: Final = 150
"""Bytes from which on an answer to IKE_SA_INIT has a proposal in it: a refusal or a cookie is shorter, RFC 7296 section 2.6."""
OPENVPN_OPCODES: Final = {
    f"P_{opcode.name}" if not opcode.name.startswith("HARD") and not opcode.name.startswith("SOFT") else f"P_CONTROL_{opcode.name}": opcode
    for opcode in Opcode
}
"""By the names of OpenVPN's source, which all programs print."""
_PLAIN_RESET: Final = 14
_TLS_CRYPT_RESET: Final = 54
_RESETS: Final = (Opcode.HARD_RESET_CLIENT_V1, Opcode.HARD_RESET_CLIENT_V2)
_FIRST_PACKET: Final = b"\x00\x00\x00\x01"


def session_id(ends: Endpoints) -> bytes:
    """Stands for OpenVPN's session ID of the sender, where that is not printed."""
    return hashlib.sha256(f"{ends.source} {ends.source_port} {ends.destination} {ends.destination_port}".encode()).digest()[:SESSION_ID]


def openvpn(opcode: Opcode, size: int, session: bytes, *, key_id: int = 0, number: int = 0) -> bytes:
    """An OpenVPN packet of `size` bytes, in the form that a packet of that kind and size has. `number`: its packet ID."""
    head = bytes([opcode << OPCODE_SHIFT | (key_id & 7)])
    if opcode in (Opcode.DATA_V1, Opcode.DATA_V2):
        peer = bytes(3) if opcode is Opcode.DATA_V2 else b""
        return (head + peer + (number & 0xFFFFFFFF).to_bytes(4, "big")).ljust(min(size, LENGTH_LIMIT), b"\0")
    body = b"\0" + (number & 0xFFFFFFFF).to_bytes(4, "big")
    if opcode in _RESETS and size == _TLS_CRYPT_RESET:
        body = _FIRST_PACKET
    packet = head + session + body
    if opcode is Opcode.HARD_RESET_CLIENT_V3 and size > len(packet) + 2:
        # It ends with the wrapped key, whose length is behind it.
        return (
            packet.ljust(_TLS_CRYPT_RESET, b"\0")
            + bytes(max(0, size - _TLS_CRYPT_RESET - 2))
            + max(2, size - _TLS_CRYPT_RESET).to_bytes(2, "big")
        )
    return packet.ljust(min(max(size, _PLAIN_RESET), LENGTH_LIMIT), b"\0")


def wireguard(kind: int, size: int, *, sender: int = 0, receiver: int = 0, counter: int = 0) -> bytes:
    """A WireGuard message; empty for a kind that there is not."""
    sender, receiver, counter = sender & 0xFFFFFFFF, receiver & 0xFFFFFFFF, counter & 0xFFFFFFFFFFFFFFFF
    if kind == MessageType.HANDSHAKE_INITIATION:
        return HandshakeInitiation(sender, bytes(32), bytes(48), bytes(28), bytes(16), bytes(16)).encode()
    if kind == MessageType.HANDSHAKE_RESPONSE:
        return HandshakeResponse(sender, receiver, bytes(32), bytes(16), bytes(16), bytes(16)).encode()
    if kind == MessageType.COOKIE_REPLY:
        return CookieReply(receiver, bytes(24), bytes(32)).encode()
    if kind == MessageType.TRANSPORT_DATA:
        least = SIZES[MessageType.COOKIE_REPLY] // 2
        return TransportData(receiver, counter, bytes(max(16, min(size, LENGTH_LIMIT - least) - 16))).encode()
    return b""


def ike(spis: bytes, version: int, exchange: int, flags: int, message_id: int, *, length: int = 28, next_payload: int = 0) -> bytes:
    """An ISAKMP header. `spis`: both, 16 bytes. `version`: major in the upper four bits. `length`: of the whole message, bytes."""
    head = spis + bytes((next_payload & 0xFF, version & 0xFF, exchange & 0xFF, flags & 0xFF))
    return head + (message_id & 0xFFFFFFFF).to_bytes(4, "big") + min(max(28, length), LENGTH_LIMIT).to_bytes(4, "big")


def made_up_spis(ends: Endpoints, *, initiator: bool, opening: bool) -> bytes:
    """Stand for IKE's SPIs where those are not printed: the same for both ways of two hosts, another for the next two.

    The port moves from 500 to 4500 within one conversation, so those two do not tell it from another.
    """
    there, back = (ends.source, str(ends.source_port)), (ends.destination, str(ends.destination_port))
    pair = (*there, back[0]) if initiator else (*back, there[0])
    made_up = hashlib.sha256(" ".join(part for part in pair if part not in ("500", "4500", "0")).encode()).digest()
    return made_up[:8] + (bytes(8) if opening else made_up[8:16])


def ike_datagram(head: bytes, length: int, ends: Endpoints, *, marked: bool) -> Content:
    """An ISAKMP message as a datagram. `marked`: behind the non-ESP marker, RFC 3948 section 2.2."""
    marker = NON_ESP_MARKER if marked else b""
    return datagram(marker + head, len(marker) + max(length, len(head)), ends)


L2TP_MESSAGES: Final = {kind.name.upper(): kind for kind in l2tp.MESSAGE_NUMBERS}
L2TP_BY_NUMBER: Final = {number: kind for kind, number in l2tp.MESSAGE_NUMBERS.items()}


def l2tp_control(name: str, tunnel: int, session: int, ns: int, nr: int, avps: tuple[l2tp.Avp, ...] = ()) -> bytes:
    """A control message; empty for one that has no name of ours. A zero-length body has the name `ZLB`."""
    kind = l2tp.ZeroLengthBody if name.upper() == "ZLB" else L2TP_MESSAGES.get(name.upper())
    return b"" if kind is None else kind(tunnel & 0xFFFF, session & 0xFFFF, ns & 0xFFFF, nr & 0xFFFF, avps).encode()


LCP_CODES: Final = {
    "configuration request": 1,
    "configuration ack": 2,
    "configuration nak": 3,
    "configuration reject": 4,
    "termination request": 5,
    "termination ack": 6,
    "code reject": 7,
    "protocol reject": 8,
    "echo request": 9,
    "echo reply": 10,
}


def lcp_frame(code: int, identifier: int, length: int, magic: int | None = None) -> bytes:
    """The head of an LCP packet behind PPP's, RFC 1661 section 5; with its Magic-Number where that is known."""
    head = b"\xff\x03\xc0\x21" + bytes((code & 0xFF, identifier & 0xFF)) + (max(4, length) & 0xFFFF).to_bytes(2, "big")
    return head if magic is None else head + b"\x05\x06" + (magic & 0xFFFFFFFF).to_bytes(4, "big")
