"""Data packets of VPN sessions: what one end's capture proves of them, and which of them two captures can say something about.

These are the records of checks called `data`, one a packet, known by its session and its number, whatever the protocol is.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from vpnprobe.capture.followers.base import FOLLOWS, MIDSTREAM
from vpnprobe.capture.followers.data_packets import EVERY, EVERY_MIDSTREAM, FIRST
from vpnprobe.conversations.contract import OF_SESSION
from vpnprobe.evidence.checks import Kind, kind_of
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
    answers = Counter((s.check, s.detail[FOLLOWS]) for s in record.packet_records if FOLLOWS in s.detail and s.direction is Direction.S2C)
    proven = {session for session, count in answers.items() if count >= LEAST_ANSWERS}
    return EndRecord(packet_records=tuple(_received(s) for s in _sent_data(record) if _session(s) in proven), recorded=False)


def said_by_the_other(record: EndRecord) -> Iterable[PacketRecord]:
    """What came of conversations as the other end's, which must have said it, though nobody captured there. Of packets that are counted
    nobody knows how many left."""
    vantages = {Vantage.CLIENT: Vantage.SERVER, Vantage.SERVER: Vantage.CLIENT}
    came = (one for one in record.packet_records if one.movement is Movement.RECEIVED)
    told = (one for one in came if kind_of(one.check) in (Kind.CONNECTION, Kind.CONVERSATION))
    return (replace(one, vantage=vantages[one.vantage], movement=Movement.SENT, peer=None, local=None, ttl=None) for one in told)


def while_watched(record: EndRecord, other: EndRecord, watched: tuple[float, float] | None, ahead_s: float | None) -> EndRecord:
    """The record without data packets that left while the other end did not capture, or of which it keeps none: nobody knows what became
    of them.

    `watched`: when the other end did, on its own clock; None: all the time. `ahead_s`: how far that clock is ahead of this record's, in
    seconds; None: not known, so that nobody can say either whether it captured then.
    """
    if watched is None:
        return record
    kept = KeptData(other)
    missing = [s for s in _data(record) if s.movement is Movement.SENT and not kept.holds(s)]
    gone = {id(s) for s in missing if ahead_s is None or not watched[0] <= s.at + ahead_s <= watched[1] or not kept.would_hold(s)}
    return replace(record, packet_records=tuple(s for s in record.packet_records if id(s) not in gone)) if gone else record


class KeptData:
    """What one end's capture keeps of the data that came there, and so what its silence is about."""

    def __init__(self, record: EndRecord) -> None:
        rows = _data(record)
        self._midstream = {_port(s) for s in rows if MIDSTREAM in s.detail}
        self._nameless = {_port(s) for s in rows if _is_nameless(s)}
        received = [s for s in rows if s.movement is Movement.RECEIVED]
        self._keys = {(s.check, s.key) for s in received}
        self._counts = Counter(_session(s) for s in received)
        self._dense = _last_numbers(received)

    def holds(self, sent: PacketRecord) -> bool:
        """Whether the packet came."""
        return (sent.check, sent.key) in self._keys

    def would_hold(self, sent: PacketRecord) -> bool:
        """Whether the packet would be among those kept, had it come: `capture.followers.data_packets` has the rule."""
        if (_is_nameless(sent) or _port(sent) in self._nameless) and not self._counts[_session(sent)]:
            return False
        number = _number(sent)
        if number % EVERY == 0:
            return True
        if _port(sent) in self._midstream and number % EVERY_MIDSTREAM:
            return False
        return self._counts[_session(sent)] < FIRST or number <= self._dense.get(_series(sent), -1)


def _last_numbers(received: Iterable[PacketRecord]) -> dict[tuple[Check, str], int]:
    """By series of numbers, the last that is kept one after another."""
    last: dict[tuple[Check, str], int] = {}
    for row in received:
        if _number(row) % EVERY:
            last[_series(row)] = max(_number(row), last.get(_series(row), -1))
    return last


def _port(packet_record: PacketRecord) -> Check:
    """Its check without the variant, which only a session's beginning tells."""
    return packet_record.check._replace(variant="")


def _is_nameless(packet_record: PacketRecord) -> bool:
    """Whether it is of a session whose name went by before the capture began: the other end may know it by that name."""
    return not session_part(packet_record.key).strip("0")


def _series(packet_record: PacketRecord) -> tuple[Check, str]:
    """Packets that are numbered together: of one session, under one key."""
    return (packet_record.check, packet_record.key.rpartition(OF_SESSION)[0])


def _number(packet_record: PacketRecord) -> int:
    """What its sender counted it by: the last part of its key."""
    return int(packet_record.key.rpartition(OF_SESSION)[2], 16)


def _session(packet_record: PacketRecord) -> tuple[Check, str]:
    return (packet_record.check, session_part(packet_record.key))


def _data(record: EndRecord) -> list[PacketRecord]:
    return [s for s in record.packet_records if s.check.name == "data"]


def _sent_data(record: EndRecord) -> list[PacketRecord]:
    return [s for s in _data(record) if s.movement is Movement.SENT and s.vantage is Vantage.CLIENT]


def _received(packet_record: PacketRecord) -> PacketRecord:
    return replace(packet_record, vantage=Vantage.SERVER, movement=Movement.RECEIVED)
