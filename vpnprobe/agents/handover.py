"""Hands the server's capture over in little space: the client has seen most of these packets itself.

First come the heads of all packets with a digest of what follows each head; then the payloads that the client does not have: what was lost
on the way to it. On a path that loses every fifth packet that is a tenth of the whole, and the path is what the run is about.
Standard library alone. What comes in is from the peer, which may be broken or hostile: what does not fit raises DecodeError.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.agents.records import inflated
from vpnprobe.errors import DecodeError
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.fingerprint import DIGEST_BYTES, digest, split

INLINE: Final = 16
"""Payloads up to so many bytes stand in the summary themselves."""
MOST_AT_A_TIME: Final = 4_000
"""Bytes of payloads that are asked for at a time."""
MOST_UNIX_TIME: Final = 1 << 32
"""What a capture file has room for."""
MOST_CUT: Final = 1 << 20
"""Bytes: more than any packet has, those that a network card cuts to size included."""
_ENTRY: Final = struct.Struct(">dBIBH")
"""Unix time, whether it left, bytes that are cut, bytes of the head, bytes of the payload."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One packet of the summary."""

    at: float
    outgoing: bool
    cut: int
    head: bytes
    size: int
    """Bytes of the payload."""
    payload: bytes
    """The payload itself up to INLINE bytes, otherwise its digest."""

    @property
    def is_digest(self) -> bool:
        return self.size > INLINE


def summary(packets: Iterable[Packet]) -> tuple[bytes, dict[bytes, bytes]]:
    """The compressed summary, and the payloads by digest."""
    pieces, payloads = [], {}
    for packet in packets:
        head, payload = split(packet.data)
        told = payload
        if len(payload) > INLINE:
            told = digest(payload)
            payloads[told] = payload
        pieces += [_ENTRY.pack(packet.at, packet.outgoing, packet.cut, len(head), len(payload)), head, told]
    return zlib.compress(b"".join(pieces), 9), payloads


def read_summary(data: bytes, *, most_bytes: int) -> list[Entry]:
    """Raises DecodeError."""
    cursor, entries = Cursor(inflated(data, most_bytes=most_bytes)), []
    while cursor.left:
        at, outgoing, cut, head, size = _ENTRY.unpack(cursor.take(_ENTRY.size, "packet"))
        if not 0 <= at < MOST_UNIX_TIME or cut > MOST_CUT:
            raise DecodeError("packet", cursor.offset, f"was seen at {at}, cut by {cut} bytes: no capture holds that")
        heads = cursor.take(head, "head")
        entries.append(
            Entry(at, bool(outgoing), cut, heads, size, cursor.take(min(size, DIGEST_BYTES) if size > INLINE else size, "payload"))
        )
    return entries


def known_payloads(packets: Iterable[Packet]) -> dict[bytes, bytes]:
    """The payloads of this end's own capture, by digest."""
    payloads = (split(packet.data)[1] for packet in packets)
    return {digest(payload): payload for payload in payloads if len(payload) > INLINE}


def missing(entries: Iterable[Entry], known: Mapping[bytes, bytes]) -> list[list[bytes]]:
    """The digests of payloads that are not known here, each once, in parts of about MOST_AT_A_TIME bytes of payload."""
    sizes = {entry.payload: entry.size for entry in entries if entry.is_digest and entry.payload not in known}
    parts: list[list[bytes]] = []
    room = 0
    for one, size in sizes.items():
        if not parts or size > room:
            parts.append([])
            room = MOST_AT_A_TIME
        parts[-1].append(one)
        room -= size
    return parts


def encode_payloads(digests: bytes, payloads: Mapping[bytes, bytes]) -> bytes:
    """The payloads of these digests, one after another: what is not there is empty."""
    found = [payloads.get(digests[at : at + DIGEST_BYTES], b"") for at in range(0, len(digests), DIGEST_BYTES)]
    return zlib.compress(b"".join(len(payload).to_bytes(2, "big") + payload for payload in found), 9)


def read_payloads(data: bytes, digests: Sequence[bytes], *, most_bytes: int) -> dict[bytes, bytes]:
    """By digest. Raises DecodeError where one is not what its digest says."""
    cursor, found = Cursor(inflated(data, most_bytes=most_bytes)), {}
    for expected in digests:
        payload = cursor.take(cursor.u16("payload length"), "payload")
        if digest(payload) != expected:
            raise DecodeError("payload", cursor.offset, "is not the one that was asked for")
        found[expected] = payload
    return found


def restored(entries: Iterable[Entry], payloads: Mapping[bytes, bytes]) -> list[Packet]:
    """The packets. Raises DecodeError where a payload is missing."""
    packets = []
    for entry in entries:
        payload = payloads.get(entry.payload) if entry.is_digest else entry.payload
        if payload is None:
            raise DecodeError("payload", 0, "was not handed over")
        packets.append(Packet(entry.head + payload, entry.at, entry.outgoing, entry.cut))
    return packets
