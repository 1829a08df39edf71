"""Data packets of VPN sessions: what one end's capture proves of them, and which of them two captures can say something about.

These are the records of checks called `data`, one a packet, known by its session and its number, whatever the protocol is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.capture.followers.base import FOLLOWS
from vpnprobe.evidence.packet_counts import session_part
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import Direction

LEAST_ANSWERS: Final = 4
"""Seeming answers in a session from which on its packets to the server are held to have come."""


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


def while_watched(record: EndRecord, other: EndRecord, watched: tuple[float, float] | None, ahead_s: float | None) -> EndRecord:
    """The record without data packets that left while the other end did not capture: nobody knows what became of them.

    `watched`: when the other end did, on its own clock; None: all the time. `ahead_s`: how far that clock is ahead of this record's, in
    seconds; None: not known, so that nobody can say either whether it captured then.
    """
    if watched is None:
        return record
    came = {(s.check, s.key) for s in other.packet_records if s.check.name == "data" and s.movement is Movement.RECEIVED}
    missing = [s for s in record.packet_records if s.check.name == "data" and s.movement is Movement.SENT and (s.check, s.key) not in came]
    gone = {id(s) for s in missing if ahead_s is None or not watched[0] <= s.at + ahead_s <= watched[1]}
    return replace(record, packet_records=tuple(s for s in record.packet_records if id(s) not in gone)) if gone else record


def _session(packet_record: PacketRecord) -> tuple[Check, str]:
    return (packet_record.check, session_part(packet_record.key))


def _sent_data(packet_records: Sequence[PacketRecord]) -> list[PacketRecord]:
    return [s for s in packet_records if s.check.name == "data" and s.movement is Movement.SENT and s.vantage is Vantage.CLIENT]


def _received(packet_record: PacketRecord) -> PacketRecord:
    return replace(packet_record, vantage=Vantage.SERVER, movement=Movement.RECEIVED)
