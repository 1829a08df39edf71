"""Classic BPF programs for captures, assembled here: the kernel drops what nobody asked for before it costs a copy.

The machine is that of McCanne and Jacobson (1993) with Linux's extensions (linux/filter.h). Offsets count from the first byte of the
IP header, as AF_PACKET sockets of type SOCK_DGRAM see packets. Pure: addresses in, bytes of `struct sock_filter` out.
"""

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from vpnprobe.transports.stack import Address

WHOLE_PACKET: Final = 0x40000
"""Bytes of a packet that are kept: more than any packet has."""
ACCEPT: Final = "accept"
DROP: Final = "drop"

_ETH_P_IP: Final = 0x0800
_ETH_P_IPV6: Final = 0x86DD
_ICMP: Final = 1
_ICMP6: Final = 58
_PROTOCOL: Final = 0xFFFFF000
"""SKF_AD_OFF + SKF_AD_PROTOCOL: the link layer's protocol."""
_VLAN_TAG: Final = 0xFFFFF000 + 44
"""SKF_AD_OFF + SKF_AD_VLAN_TAG."""
_VLAN_ID: Final = 0x0FFF
_PACKET_TYPE: Final = 0xFFFFF000 + 4
"""SKF_AD_OFF + SKF_AD_PKTTYPE."""
_OUTGOING: Final = 4
"""PACKET_OUTGOING of linux/if_packet.h."""


class Opcode(IntEnum):
    LOAD_BYTE = 0x30
    LOAD_HALF = 0x28
    LOAD_WORD = 0x20
    JUMP_EQUAL = 0x15
    JUMP_SET = 0x45
    """Jumps where any bit of the operand is set in the accumulator."""
    RETURN = 0x06


class Line(NamedTuple):
    """One instruction; a jump names the label it goes to, and falls through where that is empty."""

    opcode: Opcode
    operand: int
    if_true: str = ""
    if_false: str = ""
    label: str = ""
    """What jumps to this line call it; empty: nothing does."""


def assemble(lines: list[Line]) -> bytes:
    """Eight bytes an instruction, in the machine's own byte order. Jumps go forward, over 255 lines at most. KeyError: no such label."""
    places = {line.label: place for place, line in enumerate(lines) if line.label}

    def distance(place: int, label: str) -> int:
        return places[label] - place - 1 if label else 0

    return b"".join(
        struct.pack("=HBBI", line.opcode, distance(place, line.if_true), distance(place, line.if_false), line.operand)
        for place, line in enumerate(lines)
    )


def _equal(operand: int, if_true: str = "", if_false: str = "") -> Line:
    return Line(Opcode.JUMP_EQUAL, operand, if_true, if_false)


def _head(ethernet_protocol: int) -> list[Line]:
    """IP of one version, and once only: a packet of a VLAN is seen on the device below it too, there with its tag."""
    return [
        Line(Opcode.LOAD_HALF, _PROTOCOL),
        _equal(ethernet_protocol, if_false=DROP),
        Line(Opcode.LOAD_WORD, _VLAN_TAG),
        Line(Opcode.JUMP_SET, _VLAN_ID, if_true=DROP),
    ]


_TAIL: Final = [Line(Opcode.RETURN, 0, label=DROP), Line(Opcode.RETURN, WHOLE_PACKET, label=ACCEPT)]


def _words(address: Address) -> list[int]:
    packed = address.packed
    return [int.from_bytes(packed[start : start + 4], "big") for start in range(0, len(packed), 4)]


def _address_at(offset: int, address: Address, *, otherwise: str, label: str) -> list[Line]:
    """Accepts where the address stands at the offset, goes to `otherwise` where it does not."""
    words = _words(address)
    lines: list[Line] = []
    for place, word in enumerate(words):
        last = place == len(words) - 1
        lines.append(Line(Opcode.LOAD_WORD, offset + 4 * place, label=label if place == 0 else ""))
        lines.append(_equal(word, if_true=ACCEPT if last else "", if_false=otherwise))
    return lines


NOTHING: Final = assemble([Line(Opcode.RETURN, 0)])
"""Drops every packet."""


def outgoing_program() -> bytes:
    """Whatever leaves, of all protocols of the link; a packet of a VLAN once only, without its tag."""
    return assemble(
        [
            Line(Opcode.LOAD_WORD, _PACKET_TYPE),
            _equal(_OUTGOING, if_false=DROP),
            Line(Opcode.LOAD_WORD, _VLAN_TAG),
            Line(Opcode.JUMP_SET, _VLAN_ID, if_true=DROP),
            Line(Opcode.RETURN, WHOLE_PACKET),
            Line(Opcode.RETURN, 0, label=DROP),
        ]
    )


EVERYTHING: Final = assemble([Line(Opcode.RETURN, WHOLE_PACKET)])
"""Keeps every packet."""


def peer_program(peer: Address) -> bytes:
    """IP of the peer's version, to or from the peer, and all ICMP of that version (routers quote our packets in it)."""
    ethernet_protocol, next_header_at, icmp, source_at, destination_at = (
        (_ETH_P_IP, 9, _ICMP, 12, 16) if peer.version == 4 else (_ETH_P_IPV6, 6, _ICMP6, 8, 24)
    )
    return assemble(
        [
            *_head(ethernet_protocol),
            Line(Opcode.LOAD_BYTE, next_header_at),
            _equal(icmp, if_true=ACCEPT),
            *_address_at(source_at, peer, otherwise="destination", label=""),
            *_address_at(destination_at, peer, otherwise=DROP, label="destination"),
            *_TAIL,
        ]
    )
