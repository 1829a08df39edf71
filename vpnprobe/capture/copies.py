"""Packets that a capture holds more than once, as behind a mirror port (SPAN) that sees both sides of a switch or a router, or with several
interfaces in one file. Each packet is to count once.

A copy has the same bytes from the IP header on, within a few milliseconds, but for what is changed on the way: a lower TTL where it was
routed in between (RFC 791 section 3.2), checksums that a network card was still to fill in, and options of a SYN, whose MSS routers clamp.
What an end sends again comes later, since it waits for an answer first. Copies with a small TTL, which traces send, are told apart by
nothing else, so they are none here.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from vpnprobe.capture.followers.base import SMALL_TTL
from vpnprobe.capture.frames import Frame
from vpnprobe.wire.ip import IpProtocol, TcpFlag

WITHIN_S: Final = 0.005
"""Between two copies."""
REMEMBERED: Final = 1024
"""Packets that a packet is held against: so many, each with those that are like it."""
KEY_BYTES: Final = 20
"""Of a packet, that it is looked up by: they hold what counts the packets of most flows."""
LIKE_LIMIT: Final = 8
"""Packets alike in that which are remembered."""
ROUTERS_LIMIT: Final = 8
"""Most routers between the places that copies were taken at."""
LEAST_BYTES: Final = 8
"""Of what follows the IP header: of packets that were cut before, nothing is told apart."""
MANY: Final = 4
"""One packet in so many twice is called a mirror port's doing."""
_TCP_FLAGS_AT: Final = 13
_TCP_CHECKSUM: Final = slice(16, 18)
_UDP_CHECKSUM: Final = slice(6, 8)
_TCP_FIXED_BYTES: Final = 16
"""Of a TCP header before the checksum."""

_Key = tuple[str, str, int, int | None, int, bytes]


@dataclass(frozen=True, slots=True)
class _Packet:
    at: float
    ttl: int | None
    compared: bytes


class Copies:
    """Finds copies among the frames of one capture, in bounded memory."""

    def __init__(self) -> None:
        self.count = 0
        """Copies so far."""
        self.routed = 0
        """Those among them with another TTL."""
        self._recent: dict[_Key, deque[_Packet]] = {}
        self._order: deque[_Key] = deque()

    def is_copy(self, frame: Frame) -> bool:
        """Whether an equal packet was seen a moment ago."""
        if len(frame.data) < min(LEAST_BYTES, frame.length) or not frame.data or (frame.ttl or SMALL_TTL) <= SMALL_TTL:
            return False
        packet = _Packet(frame.at, frame.ttl, _compared(frame))
        key = (frame.source, frame.destination, frame.protocol, frame.identification, _length(frame), packet.compared[:KEY_BYTES])
        like = next((one for one in self._recent.get(key, ()) if _is_like(packet, one)), None)
        if like is None:
            self._remember(key, packet)
            return False
        self.count += 1
        self.routed += like.ttl != packet.ttl
        return True

    def _remember(self, key: _Key, packet: _Packet) -> None:
        if key not in self._recent:
            self._order.append(key)
        self._recent.setdefault(key, deque(maxlen=LIKE_LIMIT)).append(packet)
        if len(self._order) > REMEMBERED:
            del self._recent[self._order.popleft()]

    def told(self, frames: int) -> str | None:
        """What there is to say of them, of a capture of so many frames; None: nothing."""
        if not self.count:
            return None
        mirrored = ", as behind a mirror port (SPAN) or with several interfaces" if self.count * MANY >= frames else ""
        lower = " (copies with a lower TTL were routed in between)" if self.routed else ""
        return f"{self.count} of its {frames} packets are copies of others in it{mirrored}{lower}: each packet counts once"


def _compared(frame: Frame) -> bytes:
    """What copies have in common, behind the fields of the key."""
    data = frame.data
    if frame.protocol == IpProtocol.TCP:
        syn = len(data) > _TCP_FLAGS_AT and data[_TCP_FLAGS_AT] & TcpFlag.SYN
        return data[:_TCP_FIXED_BYTES] if syn else data[: _TCP_CHECKSUM.start] + data[_TCP_CHECKSUM.stop :]
    if frame.protocol == IpProtocol.UDP:
        return data[: _UDP_CHECKSUM.start] + data[_UDP_CHECKSUM.stop :]
    return data


def _length(frame: Frame) -> int:
    """Bytes behind the IP header on the wire. Those of a TCP header's options may be others in a copy of a SYN, in number too."""
    data = frame.data
    syn = frame.protocol == IpProtocol.TCP and len(data) > _TCP_FLAGS_AT and data[_TCP_FLAGS_AT] & TcpFlag.SYN
    return 0 if syn else frame.length


def _is_like(packet: _Packet, other: _Packet) -> bool:
    """Whether two packets with the same key are copies. A tag before one leaves less of it where packets are cut."""
    shorter, longer = sorted((packet.compared, other.compared), key=len)
    near = abs(packet.at - other.at) <= WITHIN_S and abs((packet.ttl or 0) - (other.ttl or 0)) <= ROUTERS_LIMIT
    return near and longer.startswith(shorter)
