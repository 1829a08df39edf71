"""From a link-layer frame to the IP packet within it: the link types of tcpdump.org/linktypes.html that VPN captures come in.

`ip_packet` gives None for what is not IP (ARP, LLDP, ...). Ethernet carries any stack of 802.1Q and 802.1ad tags, MPLS labels
(RFC 3032) and PPPoE sessions (RFC 2516); SLL is what `tcpdump -i any` writes. Wireless captures are in `capture.wireless`.
"""

from collections.abc import Callable, Mapping
from typing import Final

from vpnprobe.capture import wireless
from vpnprobe.errors import DecodeError
from vpnprobe.wire.cursor import Cursor

IPV4: Final = 0x0800
IPV6: Final = 0x86DD
VLAN_TAGS: Final = frozenset((0x8100, 0x88A8, 0x9100))
MPLS: Final = frozenset((0x8847, 0x8848))
PPPOE_SESSION: Final = 0x8864
PPP_IPV4: Final = 0x0021
PPP_IPV6: Final = 0x0057
AF_INET: Final = 2
AF_INET6: Final = frozenset((10, 23, 24, 28, 30))
"""What the operating systems number it: Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS."""
TAGS_LIMIT: Final = 16
LINUX_SLL: Final = 113
LINUX_SLL2: Final = 276
SENT_BY_US: Final = 4
"""Packet type of SLL: PACKET_OUTGOING."""
SENT_TO_US: Final = 0
"""Packet type of SLL: PACKET_HOST."""


def _by_ethertype(ethertype: int, cursor: Cursor) -> bytes | None:
    for _ in range(TAGS_LIMIT):
        if ethertype not in VLAN_TAGS:
            break
        cursor.u16("tag control information")
        ethertype = cursor.u16("EtherType")
    if ethertype in (IPV4, IPV6):
        return cursor.rest()
    if ethertype in MPLS:
        for _ in range(TAGS_LIMIT):
            if cursor.u32("label stack entry") & 0x100:
                return _raw(cursor)
    if ethertype == PPPOE_SESSION:
        cursor.take(6, "PPPoE header")
        return _by_ppp_protocol(cursor)
    return None


def _by_ppp_protocol(cursor: Cursor) -> bytes | None:
    if cursor.data[cursor.offset : cursor.offset + 2] in (b"\xff\x03", b"\x0f\x00", b"\x8f\x00"):
        cursor.u16("address and control")
    protocol = cursor.u8("protocol")
    if not protocol & 1:  # RFC 1661 section 6.5: the first byte of two is even
        protocol = protocol << 8 | cursor.u8("protocol")
    return cursor.rest() if protocol in (PPP_IPV4, PPP_IPV6) else None


def _raw(cursor: Cursor) -> bytes | None:
    version = cursor.data[cursor.offset] >> 4 if cursor.left else 0
    return cursor.rest() if version in (4, 6) else None


def _ethernet(cursor: Cursor) -> bytes | None:
    cursor.take(12, "addresses")
    return _by_ethertype(cursor.u16("EtherType"), cursor)


def _by_family(family: int, cursor: Cursor) -> bytes | None:
    return cursor.rest() if family == AF_INET or family in AF_INET6 else None


def _null(cursor: Cursor) -> bytes | None:
    family = cursor.take(4, "address family")  # in the byte order of the host that captured
    return _by_family(int.from_bytes(family, "little" if family[0] else "big"), cursor)


def _loop(cursor: Cursor) -> bytes | None:
    return _by_family(cursor.u32("address family"), cursor)


def _cooked(cursor: Cursor) -> bytes | None:
    cursor.take(14, "SLL header")
    return _by_ethertype(cursor.u16("protocol type"), cursor)


def _cooked_2(cursor: Cursor) -> bytes | None:
    protocol = cursor.u16("protocol type")
    cursor.take(18, "SLL2 header")
    return _by_ethertype(protocol, cursor)


def _pppoe(cursor: Cursor) -> bytes | None:
    cursor.take(6, "PPPoE header")
    return _by_ppp_protocol(cursor)


def _cisco_hdlc(cursor: Cursor) -> bytes | None:
    cursor.take(2, "address and control")
    return _by_ethertype(cursor.u16("protocol"), cursor)


def _wireless(linktype: int) -> Callable[[Cursor], bytes | None]:
    def packet(cursor: Cursor) -> bytes | None:
        behind = wireless.snap_payload(linktype, cursor)
        return None if behind is None else _by_ethertype(behind.u16("EtherType"), behind)

    return packet


_DECODERS: Final[Mapping[int, tuple[str, Callable[[Cursor], bytes | None]]]] = {
    0: ("NULL", _null),
    1: ("ETHERNET", _ethernet),
    9: ("PPP", _by_ppp_protocol),
    12: ("RAW", _raw),  # DLT_RAW of most systems, and of OpenBSD: written by mistake into files
    14: ("RAW", _raw),
    50: ("PPP_HDLC", _by_ppp_protocol),
    51: ("PPP_ETHER", _pppoe),
    101: ("RAW", _raw),
    104: ("C_HDLC", _cisco_hdlc),
    108: ("LOOP", _loop),
    wireless.IEEE_802_11: ("IEEE802_11", _wireless(wireless.IEEE_802_11)),
    LINUX_SLL: ("LINUX_SLL", _cooked),
    wireless.RADIOTAP: ("IEEE802_11_RADIOTAP", _wireless(wireless.RADIOTAP)),
    wireless.PPI: ("PPI", _wireless(wireless.PPI)),
    228: ("IPV4", _raw),
    229: ("IPV6", _raw),
    LINUX_SLL2: ("LINUX_SLL2", _cooked_2),
}


def name(linktype: int) -> str:
    """The name of the LINKTYPE_ list, or its number where we do not read it."""
    return _DECODERS[linktype][0] if linktype in _DECODERS else f"LINKTYPE {linktype}"


def is_known(linktype: int) -> bool:
    return linktype in _DECODERS


def ip_packet(linktype: int, frame: bytes) -> bytes | None:
    """The bytes from the IP header on; None: not IP, too short, or a link type that is not known."""
    if linktype not in _DECODERS:
        return None
    try:
        return _DECODERS[linktype][1](Cursor(frame))
    except DecodeError:
        return None


def is_protected(linktype: int, frame: bytes) -> bool:
    """Whether a frame's content is encrypted, as in a wireless network with a password."""
    if linktype not in (wireless.IEEE_802_11, wireless.RADIOTAP, wireless.PPI):
        return False
    try:
        return wireless.is_protected(linktype, Cursor(frame))
    except DecodeError:
        return False


def is_outgoing(linktype: int, frame: bytes) -> bool | None:
    """Whether the capturing host sent the frame; None: it was neither sent by it nor to it, or the link type does not tell."""
    if linktype == LINUX_SLL and len(frame) >= 2:
        kind = int.from_bytes(frame[:2], "big")
    elif linktype == LINUX_SLL2 and len(frame) >= 11:
        kind = frame[10]
    else:
        return None
    return {SENT_BY_US: True, SENT_TO_US: False}.get(kind)
