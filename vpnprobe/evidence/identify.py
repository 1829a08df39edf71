"""What a packet is to us: the check that it belongs to, its key and its message's name.

Live recorders at the sockets and the decoder of captures read packets through these functions, so both give the same packet records.
Total: bytes that are none of ours, or broken, give nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vpnprobe.conversations.lcp import ANSWERS, REQUEST
from vpnprobe.errors import DecodeError
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Check
from vpnprobe.wire import fingerprint
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import EnhancedGre, Gre, decode_gre
from vpnprobe.wire.nonce import NoncePayload, Purpose
from vpnprobe.wire.ppp import (
    PROTOCOL_LCP,
    LcpPacket,
    PppFrame,
    decode_lcp,
)

BARE_PROTOCOL: Final = 0x88B5
"""EtherType of our bare GRE packets: local experimental EtherType 1 (RFC 9542 appendix B)."""

LCP_REQUEST: Final = REQUEST
LCP_ANSWERS: Final = ANSWERS


@dataclass(frozen=True, slots=True)
class PacketIdentity:
    """What one packet is."""

    check: Check
    key: str
    message: str = ""
    detail: Mapping[str, int | str] = field(default_factory=dict)
    session_tag: int | None = None
    """Of our own payload; None: the packet has none of ours."""
    purpose: Purpose = Purpose.REACH
    """Of our own payload; REACH where the packet has none."""


def nonce(check: Check, data: bytes) -> PacketIdentity | None:
    """A payload of ours that asks `check`; None: not ours."""
    try:
        payload = NoncePayload.decode(data)
    except DecodeError:
        return None
    return PacketIdentity(check, payload.key, session_tag=payload.session_tag, purpose=payload.purpose)


def datagram(port: int, data: bytes) -> PacketIdentity | None:
    """A payload of ours that came to or from a server's UDP port, by itself or as what is encapsulated there (RFC 3948); None: not ours."""
    found = nonce(checks.udp_reach(port), data)
    if found is None and port == checks.ESP_IN_UDP.port:
        found = esp(checks.ESP_IN_UDP, data)
    return found


def gre(data: bytes) -> tuple[PacketIdentity, ...]:
    """A GRE packet: bare with our payload, or of a call. LCP in a call answers two checks at once. Empty: foreign or broken."""
    try:
        packet = decode_gre(data)
    except DecodeError:
        return ()
    if isinstance(packet, Gre):
        ours = nonce(checks.GRE_BARE, packet.payload) if packet.protocol == BARE_PROTOCOL else None
        return (ours,) if ours is not None else ()
    return in_call(packet)


def in_call(packet: EnhancedGre) -> tuple[PacketIdentity, ...]:
    """A packet of a call: known by the Magic-Number of its LCP packet, else by its fingerprint."""
    detail = {"call_id": packet.call_id}
    lcp = lcp_of(packet)
    if lcp is None:
        if packet.sequence_number is None:
            return ()
        return (PacketIdentity(checks.GRE_IN_CALL, fingerprint.of_enhanced_gre(packet), "", detail),)
    name, magic = lcp.NAME, getattr(lcp, "magic_number", None)
    key = f"{magic:08x}" if magic else fingerprint.of_enhanced_gre(packet)
    return tuple(PacketIdentity(check, key, name, detail) for check in checks.LCP_ANSWERS_BOTH)


def lcp_of(packet: EnhancedGre) -> LcpPacket | None:
    """The LCP packet in a call's GRE packet; None: it carries none."""
    try:
        frame = PppFrame.decode(packet.payload)
        return decode_lcp(frame.information) if frame.protocol == PROTOCOL_LCP else None
    except DecodeError:
        return None


def esp(check: Check, data: bytes) -> PacketIdentity | None:
    """An ESP packet, by itself or in UDP; None: broken, or a reserved SPI."""
    try:
        packet = EspPacket.decode(data)
    except DecodeError:
        return None
    if packet.reserved:
        return None
    ours = nonce(check, packet.rest)
    key = fingerprint.of_esp(packet)
    return PacketIdentity(check, key) if ours is None else replace(ours, key=key)
