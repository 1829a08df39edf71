"""The data packets of one OpenVPN session in a capture: which of them are kept, under which keys, and which may be answers.

A capture may hold millions. Of a session that begins in it the first thousand of each direction are kept, and later ones by their packet
ID alone, so that the captures of both ends keep the same. What is encrypted is not read: that a larger packet follows one of the other
direction within a second is noted, and counts for something only where nobody captured at the other end (`with_answers`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Final

from vpnprobe.conversations.contract import Sender
from vpnprobe.evidence.messages import data_suffix
from vpnprobe.evidence.packet_counts import session_part
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import Direction
from vpnprobe.wire.openvpn import DataV1, DataV2
from vpnprobe.wire.openvpn_data import packet_number

FIRST: Final = 1000
"""Packets of each direction that are kept whatever their packet ID, of a session whose beginning is in the capture."""
EVERY: Final = 1024
"""Of those after them, every so many-th packet ID is kept."""
EVERY_MIDSTREAM: Final = 4
"""The same where the beginning is not there."""
MOST: Final = 2000
"""Packets of each direction that are kept in all."""
PING_BYTES: Final = 40
"""Of the whole packet, with an AEAD cipher: what is larger carries something."""
ANSWER_WITHIN_S: Final = 1.0
LEAST_ANSWERS: Final = 4
"""Seeming answers in a session from which on its packets to the server are held to have come."""
FOLLOWS: Final = "follows"
"""Key in a packet record's detail: packet ID of the packet that it seems to answer."""


class DataPackets:
    """Both directions of one session."""

    def __init__(self, *, begun: bool) -> None:
        self._every = EVERY if begun else EVERY_MIDSTREAM
        self._first = FIRST if begun else 0
        self._kept: dict[Sender, set[str]] = {sender: set() for sender in Sender}
        self._asked: tuple[float, int] | None = None
        """Time and packet ID of the client's last larger packet that nothing has followed yet."""

    def take(self, sender: Sender, packet: DataV1 | DataV2, *, size: int, at: float) -> tuple[str, dict[str, int | str]] | None:
        """What its key has behind that of the session, and its detail; None: it is not kept. `size`: bytes of the packet."""
        number = packet_number(packet.encode()) or 0
        follows = self._follows(sender, number, size=size, at=at)
        suffix, kept = data_suffix(packet.key_id, number), self._kept[sender]
        wanted = len(kept) < self._first or number % self._every == 0
        if suffix in kept or not wanted or len(kept) >= MOST:
            return None
        kept.add(suffix)
        return suffix, {} if follows is None else {FOLLOWS: follows}

    def _follows(self, sender: Sender, number: int, *, size: int, at: float) -> int | None:
        if size <= PING_BYTES:
            return None
        if sender is Sender.INITIATOR:
            self._asked = (at, number)
            return None
        asked, self._asked = self._asked, None
        return asked[1] if asked is not None and 0 <= at - asked[0] <= ANSWER_WITHIN_S else None


def with_answers(record: EndRecord) -> EndRecord:
    """What the server has, as far as the client's own capture shows it: the data packets of sessions in which answers in kind came.

    At least LEAST_ANSWERS packets of the server, larger than a ping, each follow one of the client's within a second. All that the client
    sent in such a session then counts as received: none of it is shown to be lost either. Not `recorded`: its silence says nothing.
    """
    answers: Counter[tuple[Check, str]] = Counter(
        (s.check, session_part(s.key)) for s in record.packet_records if FOLLOWS in s.detail and s.direction is Direction.S2C
    )
    proven = {session for session, count in answers.items() if count >= LEAST_ANSWERS}
    return EndRecord(packet_records=tuple(_received(s) for s in _sent_data(record.packet_records) if _session(s) in proven), recorded=False)


def while_watched(record: EndRecord, other: EndRecord, watched: tuple[float, float] | None) -> EndRecord:
    """The record without data packets that left while the other end did not capture: nobody knows what became of them.

    `watched`: when the other end did, on its own clock; what came there tells how far the two clocks are apart. None: all the time.
    """
    if watched is None:
        return record
    came = {(s.check, s.key): s.at for s in other.packet_records if s.check.name == "data" and s.movement is Movement.RECEIVED}
    sent = [s for s in record.packet_records if s.check.name == "data" and s.movement is Movement.SENT]
    apart = [came[s.check, s.key] - s.at for s in sent if (s.check, s.key) in came]
    offset = median(apart) if apart else 0.0
    gone = {id(s) for s in sent if (s.check, s.key) not in came and not watched[0] <= s.at + offset <= watched[1]}
    return replace(record, packet_records=tuple(s for s in record.packet_records if id(s) not in gone)) if gone else record


def _session(packet_record: PacketRecord) -> tuple[Check, str]:
    return (packet_record.check, session_part(packet_record.key))


def _sent_data(packet_records: Sequence[PacketRecord]) -> list[PacketRecord]:
    return [s for s in packet_records if s.check.name == "data" and s.movement is Movement.SENT and s.vantage is Vantage.CLIENT]


def _received(packet_record: PacketRecord) -> PacketRecord:
    return replace(packet_record, vantage=Vantage.SERVER, movement=Movement.RECEIVED)
