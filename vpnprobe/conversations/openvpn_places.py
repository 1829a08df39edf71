"""Where OpenVPN's packets begin in a stretch of a TCP stream that may begin within one.

Over TCP each packet has its length before it in two bytes, and no mark. So a place counts only where several packets follow each other from
it and fit together: opcodes that both ends send in the middle of a session, lengths that such packets have, the same session ID in all
control packets, the same first bytes in all data packets. What fits by chance is the rarer the more of them there are.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vpnprobe.wire.openvpn import OPCODE_SHIFT, SESSION_ID, Opcode

LENGTH_BYTES: Final = 2
CONTROL_LEAST: Final = 14
"""Opcode, session ID, ack count and packet ID: the shortest control packet, and the shortest acknowledgment is longer."""
DATA_LEAST: Final = 5
"""First byte and packet ID; ciphers and digests come to that, where they are not `none`."""
LONGEST: Final = 4095
"""Longest packet that is looked for: what a tunnel of usual size sends is shorter, and each further bit would let more fit by chance."""
PEER_ID_BYTES: Final = 3
PACKET_ID_BYTES: Final = 4
STEP_LIMIT: Final = 64
"""Packet IDs of an AEAD cipher go up by one; some packets may not have been seen."""
LINKS_IN_KNOWN: Final = 1
"""Links (`_Row.links`) that show the place again in a stream which is known to be OpenVPN's."""
LINKS_IN_UNKNOWN: Final = 2
"""Links that show a stream to be OpenVPN's."""
ALIKE_IN_KNOWN: Final = 4
"""Packets in a row that do so where no link is to be had: P_DATA_V1 with a CBC cipher has nothing in clear but its first byte."""
ALIKE_IN_UNKNOWN: Final = 5
_CONTROL: Final = frozenset((Opcode.SOFT_RESET_V1, Opcode.CONTROL_V1, Opcode.ACK_V1))
_DATA: Final = frozenset((Opcode.DATA_V1, Opcode.DATA_V2))
_CANDIDATES: Final = re.compile(
    # A length below 4096 and the first byte of a packet of the middle of a session; looked ahead, since candidates may overlap.
    rb"(?=[\x00-\x0f][\x00-\xff][\x18-\x37\x48-\x4f])",
    re.DOTALL,
)


@dataclass(slots=True)
class _Row:
    """Packets that follow each other from one place."""

    count: int = 0
    links: int = 0
    """Packets that have four bytes or more in common with one before: session ID, peer ID, or a packet ID that goes on."""
    fits: bool = True
    ended: bool = False
    """The stretch ends within the row, so that more may follow."""

    def shows_place(self, *, known: bool) -> bool:
        """Whether that can be no chance. `known`: the stream is OpenVPN's, and only the place is looked for."""
        links, alike = (LINKS_IN_KNOWN, ALIKE_IN_KNOWN) if known else (LINKS_IN_UNKNOWN, ALIKE_IN_UNKNOWN)
        return self.links >= links or self.count >= alike


def find_packets(stretch: bytes) -> tuple[bool, int]:
    """`Delimiting.find` for a stream that is known to be OpenVPN's."""
    return _find(stretch, known=True)


def shows_openvpn(stretch: bytes) -> bool:
    """Whether the packets in a stretch of a stream, the beginning of which was not seen, show it to be OpenVPN's."""
    return _find(stretch, known=False)[0]


def is_whole_packets(chunk: bytes) -> bool:
    """Whether a chunk is one packet or more from its first byte to its last: that hardly happens by chance."""
    row = _row(chunk, 0)
    return row.fits and not row.ended and row.count > 0


def _find(stretch: bytes, *, known: bool) -> tuple[bool, int]:
    pending: int | None = None
    for candidate in _CANDIDATES.finditer(stretch):
        row = _row(stretch, candidate.start())
        if row.fits and row.shows_place(known=known):
            return True, candidate.start()
        if row.fits and pending is None:
            pending = candidate.start()
    return False, max(0, len(stretch) - LENGTH_BYTES) if pending is None else pending


def _row(stretch: bytes, at: int) -> _Row:
    """The row of packets that begins at a place, as far as it shows what it is."""
    row, session, data = _Row(), b"", b""
    for packet in _packets(stretch, at, row):
        if packet[0] >> OPCODE_SHIFT in _CONTROL:
            row.fits = session in (b"", packet[1 : 1 + SESSION_ID])
            row.links += row.fits and bool(session)
            session = packet[1 : 1 + SESSION_ID]
        else:
            row.fits = not data or _is_like(packet, data)
            row.links += row.fits and bool(data) and _goes_on(packet, data)
            data = packet
        row.count += row.fits
        if not row.fits or row.count >= ALIKE_IN_UNKNOWN:
            break
    return row


def _packets(stretch: bytes, at: int, row: _Row) -> Iterator[bytes]:
    """Packet after packet; says in the row whether the stretch ended, or something else came."""
    while len(stretch) - at > LENGTH_BYTES:
        length, opcode = int.from_bytes(stretch[at : at + LENGTH_BYTES], "big"), stretch[at + LENGTH_BYTES] >> OPCODE_SHIFT
        least = CONTROL_LEAST if opcode in _CONTROL else DATA_LEAST if opcode in _DATA else LONGEST + 1
        if not least <= length <= LONGEST:
            row.fits = False
            return
        at += LENGTH_BYTES + length
        if at > len(stretch):
            break
        yield stretch[at - length : at]
    row.ended = at != len(stretch)


def _is_like(packet: bytes, before: bytes) -> bool:
    """Whether a data packet begins as the one before: with the same opcode and key ID, and the same peer ID where it has one."""
    size = 1 + PEER_ID_BYTES if packet[0] >> OPCODE_SHIFT == Opcode.DATA_V2 else 1
    return packet[:size] == before[:size]


def _goes_on(packet: bytes, before: bytes) -> bool:
    """Whether a data packet has more than its first byte in common with the one before: its peer ID, or the next packet ID."""
    if packet[0] >> OPCODE_SHIFT == Opcode.DATA_V2:
        return True
    number, last = (int.from_bytes(one[1 : 1 + PACKET_ID_BYTES], "big") for one in (packet, before))
    return 0 < number - last <= STEP_LIMIT
