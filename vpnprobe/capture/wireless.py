"""802.11 frames (IEEE 802.11-2020 section 9) as monitor mode captures them, with a radiotap header (radiotap.org), a PPI header, or bare.

Only data frames carry packets, behind an LLC/SNAP header (RFC 1042). Those of an encrypted network are protected: nothing of what they
carry can be read, and a capture says how many there are. Aggregates (A-MSDU) and fragments are passed over.
"""

from typing import Final

from vpnprobe.wire.cursor import Cursor

IEEE_802_11: Final = 105
RADIOTAP: Final = 127
PPI: Final = 192
SNAP_HEADERS: Final = frozenset((b"\xaa\xaa\x03\x00\x00\x00", b"\xaa\xaa\x03\x00\x00\xf8"))
"""Logical link control with the organisations of RFC 1042 and of 802.1H; the EtherType follows."""
_TYPE_MASK: Final = 0x0C
_DATA: Final = 0x08
_QOS: Final = 0x80
_NO_DATA: Final = 0x40
"""Bit of the subtype: a null frame."""
_TO_DS: Final = 0x01
_FROM_DS: Final = 0x02
_PROTECTED: Final = 0x40
_HT_CONTROL: Final = 0x80
"""The +HTC bit of a QoS frame."""
_AGGREGATE: Final = 0x80
"""Of the QoS Control field: an A-MSDU is present."""
_FRAGMENT: Final = 0x0F
_HEADER_BYTES: Final = 24
_ADDRESS_4_BYTES: Final = 6
_PRESENT_MORE: Final = 1 << 31
_PRESENT_TSFT: Final = 1 << 0
_PRESENT_FLAGS: Final = 1 << 1
_FLAGS_PADDED: Final = 0x20
"""Radiotap Flags: there is padding between the 802.11 header and what it carries, to a multiple of 4."""


def snap_payload(linktype: int, cursor: Cursor) -> Cursor | None:
    """The cursor of a frame, at the EtherType of what it carries; None: it carries no packet that can be read. Raises DecodeError."""
    padded = _skip_link_header(linktype, cursor)
    start = cursor.offset
    control, flags = cursor.u8("frame control"), cursor.u8("frame control flags")
    if control & _TYPE_MASK != _DATA or control & _NO_DATA or flags & _PROTECTED:
        return None
    cursor.take(_HEADER_BYTES - 4, "802.11 header")
    if cursor.u8("sequence control") & _FRAGMENT:
        return None
    cursor.u8("sequence number")
    if flags & _TO_DS and flags & _FROM_DS:
        cursor.take(_ADDRESS_4_BYTES, "address 4")
    if control & _QOS:
        if cursor.u8("QoS control") & _AGGREGATE:
            return None
        cursor.u8("QoS control")
        if flags & _HT_CONTROL:
            cursor.take(4, "HT control")
    if padded:
        cursor.take(-(cursor.offset - start) % 4, "padding")
    return cursor if cursor.take(6, "LLC header") in SNAP_HEADERS else None


def is_protected(linktype: int, cursor: Cursor) -> bool:
    """Whether a frame is a data frame of an encrypted network. Raises DecodeError."""
    _skip_link_header(linktype, cursor)
    control, flags = cursor.u8("frame control"), cursor.u8("frame control flags")
    return control & _TYPE_MASK == _DATA and not control & _NO_DATA and bool(flags & _PROTECTED)


def _skip_link_header(linktype: int, cursor: Cursor) -> bool:
    """Goes to the 802.11 header; whether what that one carries is padded."""
    if linktype == IEEE_802_11:
        return False
    start = cursor.offset
    cursor.take(2, "version")
    length = int.from_bytes(cursor.take(2, "header length"), "little")
    padded = linktype == RADIOTAP and _is_padded(cursor)
    cursor.take(max(0, length - (cursor.offset - start)), "radio header")
    return padded


def _is_padded(cursor: Cursor) -> bool:
    """Reads the radiotap header as far as its Flags field: fields stand in the order of the bits of the first word, each aligned."""
    present = word = int.from_bytes(cursor.take(4, "present"), "little")
    read = 8
    while word & _PRESENT_MORE:
        word = int.from_bytes(cursor.take(4, "present"), "little")
        read += 4
    if not present & _PRESENT_FLAGS:
        return False
    if present & _PRESENT_TSFT:
        cursor.take(-read % 8 + 8, "TSFT")
    return bool(cursor.u8("flags") & _FLAGS_PADDED)
