"""GRE, ESP and AH lines, and the head of LCP packets within GRE and L2TP."""

import re
from typing import Final

from vpnprobe.capture.tcpdump_lines.base import Content, Endpoints, number
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import EnhancedGre, Gre
from vpnprobe.wire.ip import IpProtocol

LCP_CODES: Final = re.compile(r"LCP, [\w-]+ \(0x(?P<code>[0-9a-f]{2})\), id (?P<id>\d+), length (?P<length>\d+)")
LCP_MAGIC: Final = re.compile(r"Magic-Num Option \(0x05\), length 6: 0x(?P<magic>[0-9a-f]{8})")
PPP_OVERHEAD_BYTES: Final = 2
"""tcpdump counts the PPP protocol field to the length of the LCP packet that it prints."""

_GRE_1: Final = re.compile(
    r"GREv1(?:, Flags \[[^\]]*\])?(?:, call (?P<call>\d+))?(?:, seq (?P<seq>\d+))?(?:, ack (?P<ack>\d+))?"
    r"(?:, (?:no-payload|gre-proto-\S+|proto \S+ \(0x\w+\)))*, length (?P<length>\d+)"
)
_GRE_0: Final = re.compile(
    r"GREv0(?:, Flags \[[^\]]*\])?(?:, key=0x(?P<key>[0-9a-f]+))?(?:, seq(?:uence#)? (?P<seq>\d+))?(?P<more>.*?), length (?P<length>\d+)"
)
_GRE_PROTOCOL: Final = re.compile(r"(?:gre-proto-0x|proto [\w-]+ \(0x|unknown \(0x)(?P<protocol>[0-9a-f]{1,4})")
_ESP: Final = re.compile(r"ESP\(spi=0x(?P<spi>[0-9a-f]+),seq=0x(?P<seq>[0-9a-f]+)\)(?:, length (?P<length>\d+))?")
_AH: Final = re.compile(r"AH\(.*?spi=0x(?P<spi>[0-9a-f]+).*?seq=0x(?P<seq>[0-9a-f]+)")


def gre_1(text: str, _: Endpoints) -> Content | None:
    found = _GRE_1.match(text)
    if not found or found["call"] is None:
        return None
    length = int(found["length"])
    sequence = int(found["seq"]) if found["seq"] else None
    acknowledgment = int(found["ack"]) if found["ack"] else None
    payload = lcp(text)
    header_bytes = 8 + 4 * (sequence is not None) + 4 * (acknowledgment is not None)
    packet = EnhancedGre(int(found["call"]) & 0xFFFF, sequence, acknowledgment, payload, max(0, length - header_bytes - len(payload)))
    return Content(IpProtocol.GRE, packet.encode(), max(length, header_bytes + len(payload)))


def lcp(text: str) -> bytes:
    """The head of a printed LCP packet with the PPP header before it, and its Magic-Number where `-v` printed it; else empty."""
    found = LCP_CODES.search(text)
    if not found:
        return b""
    length = max(4, int(found["length"]) - PPP_OVERHEAD_BYTES)
    head = b"\xff\x03\xc0\x21" + bytes((int(found["code"], 16), int(found["id"]) & 0xFF)) + (length & 0xFFFF).to_bytes(2, "big")
    magic = LCP_MAGIC.search(text)
    return head + (b"\x05\x06" + bytes.fromhex(magic["magic"]) if magic else b"")


def gre_0(text: str, _: Endpoints) -> Content | None:
    found = _GRE_0.match(text)
    if not found:
        return None
    protocol = _GRE_PROTOCOL.search(found["more"])
    length = int(found["length"])
    head = Gre(
        protocol=int(protocol["protocol"], 16) if protocol else 0x0800,
        key=int(found["key"], 16) & 0xFFFFFFFF if found["key"] else None,
        sequence_number=int(found["seq"]) & 0xFFFFFFFF if found["seq"] else None,
    ).encode()
    return Content(IpProtocol.GRE, head, max(length, len(head)))


def esp(text: str, _: Endpoints) -> Content | None:
    found = _ESP.match(text)
    if not found:
        return None
    head = EspPacket(int(found["spi"], 16) & 0xFFFFFFFF, int(found["seq"], 16) & 0xFFFFFFFF, b"").encode()
    return Content(IpProtocol.ESP, head, max(len(head), number(found["length"])))


def ah(text: str, _: Endpoints) -> Content | None:
    found = _AH.match(text)
    if not found:
        return None
    head = bytes((IpProtocol.UDP, 4, 0, 0)) + int(found["spi"], 16).to_bytes(4, "big") + int(found["seq"], 16).to_bytes(4, "big")
    return Content(IpProtocol.AH, head, 24)
