"""One IP packet as typed fields. Every later step sees frames, whether they come from a capture file or from tcpdump's printed text.

Addresses are text: printed traces have names where addresses were, and only equality matters here. What a capture cut, or a printed line
does not tell, is missing from `data`, and `length` says how long it was.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from vpnprobe.capture.files import CapturedPacket
from vpnprobe.errors import DecodeError
from vpnprobe.wire.ip import IpPacket, IpProtocol, IPv4Packet, TcpSegment, UdpDatagram, decode_ip

IP_IN_IP: Final = frozenset((4, 41))
"""IPv4 (RFC 2003) and IPv6 (RFC 4213) within IP."""
TUNNELS_LIMIT: Final = 4
TCP_DATA_OFFSET_AT: Final = 12
"""Of the byte whose upper half is the length of a TCP header in words of 32 bits (RFC 9293 section 3.1)."""
AH_FIXED_BYTES: Final = 12
"""Of an Authentication Header before the ICV (RFC 4302 section 2)."""


@dataclass(frozen=True)
class Frame:
    """One IP packet."""

    number: int
    """1-based number in its capture, or of its packet line in a printed trace."""
    at: float
    """Unix time, seconds; of a printed trace without dates: since midnight of its first day."""
    source: str
    """Address or name."""
    destination: str
    protocol: int
    """IP protocol number of `data`."""
    data: bytes
    """What follows the IP header, as far as it is known."""
    length: int
    """Bytes that follow the IP header on the wire, at least `len(data)`."""
    ttl: int | None = None
    """None: not known."""
    identification: int | None = None
    """IPv4 identification; None: IPv6, or not known."""
    outgoing: bool | None = None
    """Whether the capturing host sent it; None: the capture does not tell."""
    cut: bool = False
    """The capture holds only its beginning. What a printed line leaves out is not cut."""
    carrier: str | None = None
    """The tunnel that it was in, in words; None: in none."""
    composed: bool = False
    """Its bytes are made of what was printed of them: its checksum says nothing."""
    sum_right: bool | None = None
    """Of such a packet: whether its UDP or TCP checksum was printed as right; None: that was not printed."""

    logged_as_blocked: bool = False
    """It is of a firewall's log, which says that it was stopped."""

    @cached_property
    def tcp(self) -> TcpSegment | None:
        """The segment; None: another protocol, or cut within its header."""
        if self.protocol != IpProtocol.TCP:
            return None
        try:
            return TcpSegment.decode(self.data)
        except DecodeError:
            return None

    @cached_property
    def udp(self) -> UdpDatagram | None:
        """The datagram; None: another protocol, or cut within its header."""
        if self.protocol != IpProtocol.UDP:
            return None
        try:
            return UdpDatagram.decode(self.data)
        except DecodeError:
            return None

    @property
    def tcp_payload_length(self) -> int:
        """Bytes of TCP payload on the wire; 0 where this is no TCP."""
        segment = self.tcp
        if segment is None:
            return 0
        if segment.truncated:
            return max(0, self.length - (self.data[TCP_DATA_OFFSET_AT] >> 4) * 4) if self.cut else 0
        return self.length - len(self.data) + len(segment.payload)

    @property
    def authenticated(self) -> "Frame | None":
        """The packet behind an Authentication Header, which hides nothing (RFC 4302 section 2); None: there is none, or it is not read.

        In tunnel mode it has addresses of its own.
        """
        if self.protocol != IpProtocol.AH or len(self.data) < AH_FIXED_BYTES:
            return None
        header_bytes = (self.data[1] + 2) * 4  # section 2.2: in words of 32 bits, less two
        if header_bytes < AH_FIXED_BYTES or header_bytes >= len(self.data):
            return None
        protocol, data, length = self.data[0], self.data[header_bytes:], self.length - header_bytes
        if protocol not in IP_IN_IP:
            return replace(self, protocol=protocol, data=data, length=length)
        ip = _innermost(data)
        return _frame(ip, self.number, self.at, self.outgoing) if ip is not None else None

    @property
    def ports(self) -> tuple[int | None, int | None]:
        """Source and destination port; None: the protocol has none."""
        header = self.tcp or self.udp
        return (header.source_port, header.destination_port) if header is not None else (None, None)


def frame_of(packet: CapturedPacket) -> Frame | None:
    """The frame of a captured packet; None: later fragments, and what is no IP packet after all."""
    ip = _innermost(packet.data)
    return _frame(ip, packet.number, packet.at, packet.outgoing) if ip is not None else None


def frame_within(outer: Frame, data: bytes, tunnel: str) -> Frame | None:
    """The frame of an IP packet that another one carries; None: it is none. A tunnel keeps its TTL, so that tells nothing.

    `tunnel`: the name of the protocol that carries it.
    """
    ip = _innermost(data)
    if ip is None:
        return None
    carrier = f"{tunnel} between {' and '.join(sorted((outer.source, outer.destination)))}"
    return replace(_frame(ip, outer.number, outer.at, outer.outgoing), ttl=None, carrier=carrier)


def _innermost(data: bytes) -> IpPacket | None:
    """The packet in all tunnels of IP in IP; None: later fragments, and what is no IP packet."""
    try:
        ip = decode_ip(data)
        for _ in range(TUNNELS_LIMIT):
            if ip.protocol not in IP_IN_IP or not ip.first_fragment:
                break
            ip = decode_ip(ip.payload)
    except DecodeError:
        return None
    return ip if ip.first_fragment else None


def _frame(ip: IpPacket, number: int, at: float, outgoing: bool | None) -> Frame:
    return Frame(
        number=number,
        at=at,
        source=str(ip.source),
        destination=str(ip.destination),
        protocol=ip.protocol,
        data=ip.payload,
        length=len(ip.payload) + ip.missing,
        cut=ip.missing > 0,
        ttl=ip.ttl,
        identification=ip.identification if isinstance(ip, IPv4Packet) else None,
        outgoing=outgoing,
    )
