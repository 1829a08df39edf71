"""Hands the server's capture over in little space: the client has seen most of these packets itself.

First come the heads of all packets with a digest of what follows each head; then the payloads that the client does not have: what was lost
on the way to it. On a path that loses every fifth packet that is a tenth of the whole, and the path is what the run is about.

The summary goes by columns, since the bytes of one field are alike and compress well: times as differences, heads of one length byte by
byte, and checksums that follow from the rest left out. What is left is nearly all digests.

Standard library alone. What comes in is from the peer, which may be broken or hostile: what does not fit raises DecodeError.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from vpnprobe.agents.records import inflated
from vpnprobe.errors import DecodeError
from vpnprobe.transports.stack import Packet
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.fingerprint import IPV4_PROTOCOL_AT, digest, split
from vpnprobe.wire.ip import IpProtocol, checksum_of, internet_checksum

INLINE: Final = 16
"""Payloads up to so many bytes stand in the summary themselves."""
MOST_AT_A_TIME: Final = 4_000
"""Bytes of payloads that are asked for at a time."""
MOST_UNIX_TIME: Final = 1 << 32
"""What a capture file has room for."""
MOST_PACKETS: Final = 200_000
"""Of a capture: far more than a run sends."""
MOST_CUT: Final = 1 << 20
"""Bytes: more than any packet has, those that a network card cuts to size included."""
SHORT_DIGEST: Final = 6
"""Bytes of a digest in the summary: of a hundred thousand payloads two are taken for each other once in fifty thousand runs."""
MICROSECOND: Final = 1e-6
"""To which times are told: a float holds little more of Unix time."""
IPV4_HEADER: Final = 20
IPV4_CHECKSUM_AT: Final = 10
IPV4_FRAGMENT_AT: Final = 6
ANY_FRAGMENT: Final = 0x3FFF
"""More fragments, or an offset (RFC 791 section 3.1): a checksum is that of the whole datagram."""
CHECKSUM_AT: Final[Mapping[int, int]] = {IpProtocol.TCP: 16, IpProtocol.UDP: 6}
"""By protocol: where its checksum stands in its header."""
_TIME_BYTES: Final = 8
_CUT_BYTES: Final = 4
_SIZE_BYTES: Final = 2
_COUNT: Final = struct.Struct(">I")

_OUTGOING: Final = 1
"""Flag of a packet in the summary. Plain numbers: the operators of IntFlag take ten times as long."""
_HEADER_CHECKSUM: Final = 2
"""Its IPv4 header has the checksum that follows from it, and stands with none."""
_CHECKSUM: Final = 4
"""So does its TCP segment or UDP datagram."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One packet of the summary."""

    at: float
    flags: int
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
    entries, payloads = [], {}
    for packet in packets:
        flags, plain = _without_checksums(packet)
        payload = split(packet.data)[1]
        told = payload
        if len(payload) > INLINE:
            told = _short_digest(payload)
            payloads[told] = payload
        head = plain[: len(plain) - len(payload)]
        entries.append(Entry(packet.at, flags, packet.cut, head, len(payload), told))
    return zlib.compress(b"".join(_columns(entries)), 9), payloads


def _columns(entries: Sequence[Entry]) -> Iterator[bytes]:
    yield _COUNT.pack(len(entries))
    times = [round(entry.at / MICROSECOND) for entry in entries]
    yield _planes([now - before for before, now in pairwise([0, *times])], _TIME_BYTES, signed=True)
    yield bytes(entry.flags for entry in entries)
    yield _planes([entry.cut for entry in entries], _CUT_BYTES)
    yield bytes(len(entry.head) for entry in entries)
    yield _planes([entry.size for entry in entries], _SIZE_BYTES)
    for places in _alike([len(entry.head) for entry in entries]).values():
        yield _transposed([entries[at].head for at in places])
    yield from (entry.payload for entry in entries)


def read_summary(data: bytes, *, most_bytes: int) -> list[Entry]:
    """Raises DecodeError. `most_bytes`: of the summary, and of the packets that it stands for."""
    cursor = Cursor(inflated(data, most_bytes=most_bytes))
    count = cursor.u32("number of packets")
    if count > MOST_PACKETS:
        raise DecodeError("number of packets", 0, f"{count} are more than {MOST_PACKETS}")
    times = accumulate(_read_planes(cursor, count, _TIME_BYTES, "times", signed=True))
    flags = cursor.take(count, "flags")
    cuts = _read_planes(cursor, count, _CUT_BYTES, "bytes that are cut")
    lengths = cursor.take(count, "lengths of heads")
    sizes = _read_planes(cursor, count, _SIZE_BYTES, "sizes")
    if sum(lengths) + sum(sizes) > most_bytes:
        raise DecodeError("sizes", cursor.offset, f"the packets have more than {most_bytes} bytes")
    heads: dict[int, bytes] = {}
    for length, places in _alike(lengths).items():
        columns = cursor.take(length * len(places), "heads")
        heads |= {at: columns[place :: len(places)] for place, at in enumerate(places)}
    entries = []
    for number, (time, cut, size) in enumerate(zip(times, cuts, sizes, strict=True)):
        at = time * MICROSECOND
        if not 0 <= at < MOST_UNIX_TIME or cut > MOST_CUT:
            raise DecodeError("packet", cursor.offset, f"was seen at {at}, cut by {cut} bytes: no capture holds that")
        payload = cursor.take(SHORT_DIGEST if size > INLINE else size, "payload")
        entries.append(Entry(at, flags[number], cut, heads[number], size, payload))
    if cursor.left:
        raise DecodeError("summary", cursor.offset, f"{cursor.left} bytes too many")
    return entries


def _planes(numbers: Iterable[int], size: int, *, signed: bool = False) -> bytes:
    """Numbers byte by byte: all first bytes, then all second ones."""
    return _transposed([number.to_bytes(size, "big", signed=signed) for number in numbers])


def _read_planes(cursor: Cursor, count: int, size: int, field: str, *, signed: bool = False) -> list[int]:
    columns = cursor.take(count * size, field)
    return [int.from_bytes(columns[at::count], "big", signed=signed) for at in range(count)]


def _transposed(rows: Sequence[bytes]) -> bytes:
    """Of rows of one length all first bytes, then all second ones."""
    return b"".join(map(bytes, zip(*rows, strict=True)))


def _alike(lengths: Sequence[int]) -> dict[int, list[int]]:
    """The places of what has the same length, in the order in which each length comes first."""
    places: dict[int, list[int]] = {}
    for at, length in enumerate(lengths):
        places.setdefault(length, []).append(at)
    return places


def _short_digest(payload: bytes) -> bytes:
    return digest(payload)[:SHORT_DIGEST]


def _checksums(data: bytes, cut: int) -> tuple[tuple[int, int, int], ...]:
    """Of an IPv4 packet: the flag of a checksum, where it stands, and what it would have to be. Those that nobody can say are left out."""
    head, _ = split(data)
    header = (data[0] & 0x0F) * 4 if head else 0
    if not IPV4_HEADER <= header <= len(head):
        return ()
    found = [(_HEADER_CHECKSUM, IPV4_CHECKSUM_AT, internet_checksum(_zeroed(data[:header], IPV4_CHECKSUM_AT)))]
    offset = CHECKSUM_AT.get(data[IPV4_PROTOCOL_AT])
    whole = not cut and len(head) > header and not int.from_bytes(data[IPV4_FRAGMENT_AT : IPV4_FRAGMENT_AT + 2], "big") & ANY_FRAGMENT
    if offset is not None and whole and len(head) >= header + offset + 2:
        source, destination = int.from_bytes(data[12:16], "big"), int.from_bytes(data[16:20], "big")
        fitting = checksum_of(source, destination, data[IPV4_PROTOCOL_AT], _zeroed(data[header:], offset))
        found.append((_CHECKSUM, header + offset, fitting))
    return tuple(found)


def _zeroed(data: bytes, at: int) -> bytes:
    return data[:at] + b"\0\0" + data[at + 2 :]


def _without_checksums(packet: Packet) -> tuple[int, bytes]:
    """Which checksums of a packet follow from the rest, and the packet with zeros for them."""
    flags, data = _OUTGOING if packet.outgoing else 0, packet.data
    for flag, at, fitting in _checksums(packet.data, packet.cut):
        if int.from_bytes(packet.data[at : at + 2], "big") == fitting:
            flags, data = flags | flag, _zeroed(data, at)
    return flags, data


def _with_checksums(entry: Entry, data: bytes) -> bytes:
    """The other way round."""
    for flag, at, fitting in _checksums(data, entry.cut):
        if flag & entry.flags:
            data = data[:at] + fitting.to_bytes(2, "big") + data[at + 2 :]
    return data


def known_payloads(packets: Iterable[Packet]) -> dict[bytes, bytes]:
    """The payloads of this end's own capture, by digest."""
    payloads = (split(packet.data)[1] for packet in packets)
    return {_short_digest(payload): payload for payload in payloads if len(payload) > INLINE}


def missing(entries: Iterable[Entry], known: Mapping[bytes, bytes]) -> list[dict[bytes, int]]:
    """Digest and size of the payloads that are not known here, each once, in parts of about MOST_AT_A_TIME bytes of payload."""
    sizes = {entry.payload: entry.size for entry in entries if entry.is_digest and entry.payload not in known}
    parts: list[dict[bytes, int]] = []
    room = 0
    for one, size in sizes.items():
        if not parts or size > room:
            parts.append({})
            room = MOST_AT_A_TIME
        parts[-1][one] = size
        room -= size
    return parts


def encode_payloads(digests: bytes, payloads: Mapping[bytes, bytes]) -> bytes:
    """The payloads of these digests, one after another: what is not there is empty."""
    found = [payloads.get(digests[at : at + SHORT_DIGEST], b"") for at in range(0, len(digests), SHORT_DIGEST)]
    return zlib.compress(b"".join(len(payload).to_bytes(2, "big") + payload for payload in found), 9)


def read_payloads(data: bytes, asked: Mapping[bytes, int]) -> dict[bytes, bytes]:
    """By digest. `asked`: digest and size of each. Raises DecodeError where one is not what that says."""
    cursor, found = Cursor(inflated(data, most_bytes=sum(asked.values()) + 2 * len(asked))), {}
    for expected, size in asked.items():
        payload = cursor.take(cursor.u16("payload length"), "payload")
        if _short_digest(payload) != expected or len(payload) != size:
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
        data = _with_checksums(entry, entry.head + payload)
        packets.append(Packet(data, entry.at, bool(entry.flags & _OUTGOING), entry.cut))
    return packets
