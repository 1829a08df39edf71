"""The packet within a tunnel whose wrapping hides nothing: GRE (RFC 2784), PPTP's GRE and L2TP with plain PPP in them (RFC 2637, RFC 2661),
VXLAN (RFC 7348) and Geneve (RFC 8926). What is compressed or encrypted in there is not read.

A VPN within a tunnel is a conversation of its own, beside the tunnel's.
"""

from typing import Final

from vpnprobe.capture.frames import Frame, frame_within
from vpnprobe.capture.linktypes import ip_packet
from vpnprobe.errors import DecodeError
from vpnprobe.wire.gre import EnhancedGre, Gre, decode_gre
from vpnprobe.wire.ip import IpProtocol
from vpnprobe.wire.l2tp import PORT as L2TP_PORT
from vpnprobe.wire.l2tp import DataMessage, decode_l2tp

VXLAN_PORT: Final = 4789
GENEVE_PORT: Final = 6081
HEADER_BYTES: Final = 8
"""Of VXLAN, and of Geneve without its options."""
VNI_GIVEN: Final = 0x08
"""VXLAN's flag I, without which nothing else is valid (RFC 7348 section 5)."""
IP_ETHERTYPES: Final = frozenset((0x0800, 0x86DD))
BRIDGED_ETHERNET: Final = 0x6558
ETHERNET: Final = 1
PPP: Final = 9
"""Link types (tcpdump.org/linktypes.html)."""
NO_TUNNEL: Final = ("", b"")


def within(frame: Frame) -> Frame | None:
    """The packet within a frame of a tunnel; None: it is of none, or what is in it cannot be read."""
    try:
        tunnel, data = _packet_in(frame)
    except DecodeError:
        return None
    return frame_within(frame, data, tunnel) if data else None


def _packet_in(frame: Frame) -> tuple[str, bytes]:
    """The name of the tunnel, and the bytes of the inner IP packet; empty: there is none. Raises DecodeError."""
    if frame.protocol == IpProtocol.GRE:
        packet = decode_gre(frame.data)
        if isinstance(packet, EnhancedGre):
            return "GRE", _in_ppp(packet.payload)
        return "GRE", _of_ethertype(packet.protocol, packet.payload) if isinstance(packet, Gre) else b""
    datagram = frame.udp
    if datagram is None:
        return NO_TUNNEL
    payload, ports = datagram.payload, (datagram.source_port, datagram.destination_port)
    if datagram.destination_port == VXLAN_PORT and len(payload) > HEADER_BYTES and payload[0] == VNI_GIVEN:
        return "VXLAN", _of_ethertype(BRIDGED_ETHERNET, payload[HEADER_BYTES:])
    if datagram.destination_port == GENEVE_PORT and len(payload) > HEADER_BYTES and not payload[0] >> 6:
        options_bytes = (payload[0] & 0x3F) * 4
        return "Geneve", _of_ethertype(int.from_bytes(payload[2:4], "big"), payload[HEADER_BYTES + options_bytes :])
    if L2TP_PORT in ports:
        message = decode_l2tp(payload)
        return "L2TP", _in_ppp(message.payload) if isinstance(message, DataMessage) else b""
    return NO_TUNNEL


def _of_ethertype(ethertype: int, data: bytes) -> bytes:
    if ethertype in IP_ETHERTYPES:
        return data
    return ip_packet(ETHERNET, data) or b"" if ethertype == BRIDGED_ETHERNET else b""


def _in_ppp(payload: bytes) -> bytes:
    return ip_packet(PPP, payload) or b"" if payload else b""
