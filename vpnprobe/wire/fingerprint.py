"""What a packet is known by at both ends, whatever the routers between them change: live records, hand-over and captures use the same.

Routers and NATs change addresses, ports, the TTL and checksums, and the helpers of some NATs Call IDs. What they leave alone is

- of a TCP segment its sequence number, flags and length (RFC 9293 section 3.1), so that a connection attempt is known by its initial
  sequence number;
- of UDP and everything else that has no numbers of its own, the payload;
- of ESP its SPI and sequence number (RFC 4303 section 2);
- of enhanced GRE its sequence number and payload (RFC 2637 section 4.1).

A firewall that draws initial sequence numbers anew changes them for the whole connection: then nothing matches, and nothing wrongly.
"""

import hashlib
from typing import Final, NamedTuple, Self

from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ip import IpProtocol, TcpFlag, TcpSegment

DIGEST_BYTES: Final = 8
SEQUENCE_NUMBERS: Final = 1 << 32
"""Sequence numbers of TCP, which wrap around."""
IPV4: Final = 4
IPV4_PROTOCOL_AT: Final = 9
UDP_HEADER: Final = 8
TCP_OFFSET_AT: Final = 12


class TcpFingerprint(NamedTuple):
    """A TCP segment."""

    sequence: int
    length: int
    """Bytes of payload, those that a capture cut off included."""
    flags: int
    identification: int | None
    """Of its IP packet. Most senders give each repetition another one, by which repetitions are told apart; one that does not fragment may
    give all the same (RFC 6864 section 4.1), and then they are not. None: not known."""

    @classmethod
    def of(cls, segment: TcpSegment, *, length: int, identification: int | None) -> Self:
        return cls(segment.sequence, length, segment.flags, identification)


def initial_sequence(segment: TcpSegment) -> int | None:
    """The initial sequence number of the attempt that a SYN makes, a repeated one too, or that a SYN-ACK answers; None: it is neither."""
    if not segment.has(TcpFlag.SYN):
        return None
    return (segment.acknowledgment - 1) % SEQUENCE_NUMBERS if segment.has(TcpFlag.ACK) else segment.sequence


def attempt(initial: int) -> str:
    """The key of a connection attempt: its initial sequence number, 8 hex digits."""
    return f"{initial:08x}"


def digest(payload: bytes) -> bytes:
    """DIGEST_BYTES that stand for a payload (BLAKE2b)."""
    return hashlib.blake2b(payload, digest_size=DIGEST_BYTES).digest()


def of_esp(packet: EspPacket) -> str:
    """SPI and sequence number, 16 hex digits."""
    return f"{packet.spi:08x}{packet.sequence_number:08x}"


def of_enhanced_gre(packet: EnhancedGre) -> str:
    """Sequence number and digest of the payload, 24 hex digits; a packet without sequence number has 0 there.

    The Call ID is left out: a NAT's helper replaces it.
    """
    return f"{packet.sequence_number or 0:08x}{digest(packet.payload).hex()}"


def split(data: bytes) -> tuple[bytes, bytes]:
    """The heads of a packet (IPv4 and TCP or UDP), which routers and NATs change, and what follows them.

    Total: what is no IPv4 is payload, and what is cut short is split where it ends.
    """
    if not data or data[0] >> 4 != IPV4:
        return b"", data
    length = (data[0] & 0x0F) * 4
    protocol = data[IPV4_PROTOCOL_AT] if len(data) > IPV4_PROTOCOL_AT else None
    if protocol == IpProtocol.UDP:
        length += UDP_HEADER
    elif protocol == IpProtocol.TCP and len(data) > length + TCP_OFFSET_AT:
        length += (data[length + TCP_OFFSET_AT] >> 4) * 4
    return data[:length], data[length:]
