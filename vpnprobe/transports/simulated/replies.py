"""What routers and hosts send of their own accord: ICMP errors within their rate limit, RSTs and echo replies.

Quotes are as long as Linux makes them, up to 548 bytes, so that the error is at most 576 bytes (RFC 1812 section 4.3.2.3). No error
answers an ICMP error or a later fragment (RFC 1122 section 3.2.2).
"""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Final

from vpnprobe.errors import DecodeError
from vpnprobe.wire.icmp import DestinationUnreachable, EchoReply, EchoRequest, OtherIcmp, Quote, TimeExceeded, Unreachable, decode_icmp
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment, checksum_fits

LONGEST_QUOTE: Final = 548
"""Bytes, IP header included."""
BURST: Final = 6
"""ICMP errors to one asker at once, before the rate limit takes hold (Linux XRLIM_BURST_FACTOR)."""


def quote_of(packet: IPv4Packet) -> Quote:
    kept = packet.payload[: LONGEST_QUOTE - packet.header_length]
    return Quote(replace(packet, payload=kept, missing=packet.missing + len(packet.payload) - len(kept)))


def time_exceeded(packet: IPv4Packet, *, sender: IPv4Address) -> IPv4Packet:
    return _icmp(TimeExceeded(quote_of(packet)), sender, packet.source)


def unreachable(packet: IPv4Packet, code: Unreachable, *, sender: IPv4Address, next_hop_mtu: int = 0) -> IPv4Packet:
    return _icmp(DestinationUnreachable(code, quote_of(packet), next_hop_mtu), sender, packet.source)


def _icmp(message: TimeExceeded | DestinationUnreachable | EchoReply, source: IPv4Address, destination: IPv4Address) -> IPv4Packet:
    return IPv4Packet(source, destination, IpProtocol.ICMP, payload=message.encode())


def may_be_answered(packet: IPv4Packet) -> bool:
    """Whether an ICMP error about this packet is allowed."""
    if not packet.first_fragment or packet.source.is_unspecified or packet.source.is_multicast:
        return False
    if packet.protocol != IpProtocol.ICMP:
        return True
    try:
        message = decode_icmp(packet.payload)
    except DecodeError:
        return False
    return not isinstance(message, TimeExceeded | DestinationUnreachable | OtherIcmp)


def echo_reply(packet: IPv4Packet) -> IPv4Packet | None:
    """The answer to an echo request that was sent to us; None: it is something else."""
    try:
        message = decode_icmp(packet.payload)
    except DecodeError:
        return None
    if not isinstance(message, EchoRequest):
        return None
    return _icmp(EchoReply(message.identifier, message.sequence, message.data), packet.destination, packet.source)


def reset_for(packet: IPv4Packet) -> IPv4Packet | None:
    """The RST that answers a TCP segment in its addressee's name (RFC 9293 section 3.5.2); None: nothing may answer it."""
    try:
        segment = TcpSegment.decode(packet.payload)
    except DecodeError:
        return None
    if segment.has(TcpFlag.RST) or not checksum_fits(packet.source, packet.destination, IpProtocol.TCP, packet.payload):
        return None
    if segment.has(TcpFlag.ACK):
        sequence, acknowledgment, flags = segment.acknowledgment, 0, TcpFlag.RST.value
    else:
        length = len(segment.payload) + segment.has(TcpFlag.SYN) + segment.has(TcpFlag.FIN)
        sequence, acknowledgment, flags = 0, (segment.sequence + length) & 0xFFFFFFFF, TcpFlag.RST.value | TcpFlag.ACK.value
    answer = TcpSegment(segment.destination_port, segment.source_port, sequence, acknowledgment, flags, window=0)
    payload = answer.encode(packet.destination, packet.source)
    return IPv4Packet(packet.destination, packet.source, IpProtocol.TCP, payload=payload, dont_fragment=True)


class ErrorLimit:
    """One sender's token bucket for ICMP errors, per asker."""

    def __init__(self, now: Callable[[], float], *, errors_per_s: float) -> None:
        """`errors_per_s` 0: no limit."""
        self._now = now
        self._rate = errors_per_s
        self._buckets: dict[IPv4Address, tuple[float, float]] = {}

    def allows(self, asker: IPv4Address) -> bool:
        """Whether one more error may go to `asker` now; takes a token."""
        if self._rate == 0:
            return True
        now = self._now()
        tokens, at = self._buckets.get(asker, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - at) * self._rate)
        granted = tokens >= 1
        self._buckets[asker] = (tokens - 1 if granted else tokens, now)
        return granted
