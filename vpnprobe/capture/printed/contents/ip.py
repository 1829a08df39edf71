"""GRE, ESP and AH lines, and the head of LCP packets within GRE and L2TP."""

import re
from typing import Final

from vpnprobe.capture.printed.contents.base import LENGTH_LIMIT, Content, Endpoints, cut, number
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import EnhancedGre, Gre
from vpnprobe.wire.ip import IpProtocol

LCP_CODES: Final = re.compile(r"LCP, [\w-]+ \(0x(?P<code>[0-9a-f]{2})\), id (?P<id>\d+), length (?P<length>\d{1,9})")
LCP_MAGIC: Final = re.compile(r"Magic-Num Option \(0x05\), length 6: 0x(?P<magic>[0-9a-f]{8})")
PPP_OVERHEAD_BYTES: Final = 2
"""tcpdump counts the PPP protocol field to the length of the LCP packet that it prints."""

_GRE_1: Final = re.compile(
    r"GREv1(?:, Flags \[[^\]]*\])?(?:, call (?P<call>\d{1,12}))?(?:, seq (?P<seq>\d{1,12}))?(?:, ack (?P<ack>\d{1,12}))?"
    r"(?:, (?:no-payload|gre-proto-\S+|proto \S+ \(0x\w+\)))*, length (?P<length>\d{1,9})"
)
_GRE_0: Final = re.compile(
    r"GREv0(?:, Flags \[[^\]]*\])?(?:, key=0x(?P<key>[0-9a-f]{1,16}))?(?:, seq(?:uence#)? (?P<seq>\d{1,12}))?"
    r"(?P<more>.{0,200}?), length (?P<length>\d{1,9})"
)
_OLD_GRE: Final = re.compile(r"(?:gre )?call (?P<call>\d{1,9})(?: seq (?P<seq>\d{1,10}))?(?: ack (?P<ack>\d{1,10}))?")
_OLDER_GRE: Final = re.compile(
    r"gre \[(?P<bits>[A-Za-z]{0,8})(?P<version>[v\d]?)[^\]]{0,8}\](?: ID:(?P<call>[0-9a-fA-F]{1,8}))?"
    r"(?: S:(?P<seq>\d{1,10}))?(?: A:(?P<ack>\d{1,10}))?"
)
_BY_NUMBER: Final = re.compile(r"[iI][pP]-proto-(?P<protocol>\d{1,3})(?:,? (?:length:? )?(?P<length>\d{1,9}))?")
_TOLD_LENGTH: Final = re.compile(r"length:? (\d{1,9})")
_GRE_PROTOCOL: Final = re.compile(r"(?:gre-proto-0x|proto [\w-]+ \(0x|unknown \(0x)(?P<protocol>[0-9a-f]{1,4})")
_ESP: Final = re.compile(r"ESP\(spi=0x(?P<spi>[0-9a-f]{1,16}),seq=0x(?P<seq>[0-9a-f]{1,16})\)(?:, length (?P<length>\d{1,9}))?")
_AH: Final = re.compile(r"AH\(.{0,40}?spi=0x(?P<spi>[0-9a-f]{1,16}).{0,40}?seq=0x(?P<seq>[0-9a-f]{1,16})")


def gre_1(text: str, _: Endpoints) -> Content | None:
    found = _GRE_1.match(text)
    if not found or found["call"] is None:
        return None
    return enhanced(found["call"], found["seq"], found["ack"], number(found["length"]), lcp(text))


def enhanced(call: str | None, seq: str | None, ack: str | None, length: int, payload: bytes = b"") -> Content:
    """A packet of a PPTP call, of numbers as they are printed; None: not printed. `length`: of all behind the IP header, bytes."""
    sequence = cut(seq) if seq is not None else None
    acknowledgment = cut(ack) if ack is not None else None
    header_bytes = 8 + 4 * (sequence is not None) + 4 * (acknowledgment is not None)
    length = min(max(length, header_bytes + len(payload)), LENGTH_LIMIT)
    packet = EnhancedGre(cut(call, 0xFFFF), sequence, acknowledgment, payload, length - header_bytes - len(payload))
    return Content(IpProtocol.GRE, packet.encode(), length)


def old_gre(text: str, _: Endpoints) -> Content | None:
    """As tcpdump printed it before version 4, and FortiGate does: with or without the numbers of a call."""
    told = _TOLD_LENGTH.search(text)
    length = number(told[1]) if told else 0
    found = _OLD_GRE.match(text)
    if found:
        return enhanced(found["call"], found["seq"], found["ack"], length, lcp(text))
    found = _OLDER_GRE.match(text)
    if found and (found["version"] == "v" or "ppp" in text or "A" in found["bits"]):
        # The Key holds the payload's length and then the Call ID; either all of it is printed, or the Call ID.
        return enhanced(str(int(found["call"] or "0", 16) & 0xFFFF), found["seq"], found["ack"], length, lcp(text))
    if "ppp" in text.lower() or "880b" in text.lower():
        return enhanced(None, None, None, length)
    return Content(IpProtocol.GRE, Gre(protocol=0x0800).encode(), max(4, min(length, LENGTH_LIMIT)))


def by_number(text: str, _: Endpoints) -> Content | None:
    """A packet of which the protocol's number alone is printed, and its length."""
    found = _BY_NUMBER.match(text)
    if not found or int(found["protocol"]) > 0xFF:
        return None
    return Content(int(found["protocol"]), b"", min(number(found["length"]), LENGTH_LIMIT))


def lcp(text: str) -> bytes:
    """The head of a printed LCP packet with the PPP header before it, and its Magic-Number where `-v` printed it; else empty."""
    found = LCP_CODES.search(text)
    if not found:
        return b""
    length = max(4, number(found["length"]) - PPP_OVERHEAD_BYTES)
    head = b"\xff\x03\xc0\x21" + bytes((int(found["code"], 16), cut(found["id"], 0xFF))) + (length & 0xFFFF).to_bytes(2, "big")
    magic = LCP_MAGIC.search(text)
    return head + (b"\x05\x06" + bytes.fromhex(magic["magic"]) if magic else b"")


def gre_0(text: str, _: Endpoints) -> Content | None:
    found = _GRE_0.match(text)
    if not found:
        return None
    protocol = _GRE_PROTOCOL.search(found["more"])
    length = min(number(found["length"]), LENGTH_LIMIT)
    head = Gre(
        protocol=int(protocol["protocol"], 16) if protocol else 0x0800,
        key=int(found["key"], 16) & 0xFFFFFFFF if found["key"] else None,
        sequence_number=cut(found["seq"]) if found["seq"] else None,
    ).encode()
    return Content(IpProtocol.GRE, head, max(length, len(head)))


def esp(text: str, _: Endpoints) -> Content | None:
    found = _ESP.match(text)
    if not found:
        return None
    head = EspPacket(int(found["spi"], 16) & 0xFFFFFFFF, int(found["seq"], 16) & 0xFFFFFFFF, b"").encode()
    return Content(IpProtocol.ESP, head, max(len(head), min(number(found["length"]), LENGTH_LIMIT)))


def ah(text: str, _: Endpoints) -> Content | None:
    found = _AH.match(text)
    if not found:
        return None
    head = (
        bytes((IpProtocol.UDP, 4, 0, 0))
        + (int(found["spi"], 16) & 0xFFFFFFFF).to_bytes(4, "big")
        + (int(found["seq"], 16) & 0xFFFFFFFF).to_bytes(4, "big")
    )
    return Content(IpProtocol.AH, head, 24)
