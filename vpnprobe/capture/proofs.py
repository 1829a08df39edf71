"""What a capture lost itself and its end is proved to have got all the same, where both ends captured. Pure.

A capture program that does not keep up drops packets, and so does a switch's mirror port: their absence at the end that they went to would
pass for the path's loss. What that end says later proves them: acknowledgments, answers, the next step of a conversation.
"""

from dataclasses import replace

from vpnprobe.capture.sides import Side
from vpnprobe.evidence.checks import Kind, kind_of
from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord


def with_proofs(record: EndRecord, other: Side, sent_by: Vantage, ahead_s: float) -> EndRecord:
    """The record with what its end got and its own capture lacks.

    Only where that capture shows the end to have answered it itself: a proxy may have done so in its name.
    `other`: the captures of the end `sent_by`, which sent it. `ahead_s`: how far the record's clock is ahead of theirs.
    """
    if other.ends is None:
        return record
    held = {_known_by(one) for one in record.packet_records if one.movement is Movement.RECEIVED}
    said = {found for one in record.packet_records if one.movement is Movement.SENT for found in ((one.check, one.key), one.check)}
    found: dict[tuple[Check, str, str], PacketRecord] = {}
    for one in (one for decoder in other.decoders for one in decoder.receipts(other.ends, sent_by)):
        # Data is counted by its numbers, within the time that both watched. Of single packets none is the answer's own.
        kind = kind_of(one.check)
        spoken_for = kind is not Kind.DATA and (one.check if kind is Kind.PACKETS else (one.check, one.key)) in said
        if _known_by(one) not in held and spoken_for:
            found.setdefault(_known_by(one), replace(one, at=one.at + ahead_s, local=None))
    return replace(record, packet_records=(*record.packet_records, *found.values())) if found else record


def _known_by(one: PacketRecord) -> tuple[Check, str, str]:
    return one.check, one.message, one.key


def about_lost_by_captures(sides: tuple[Side, Side], captured: tuple[EndRecord, EndRecord], proved: tuple[EndRecord, EndRecord]) -> str:
    """What is told of packets that the client's or the server's capture lacks; empty: neither lacks any.

    What came before a capture began, or after it ended, it has not lost.
    """
    counts = (_lost(*of_end) for of_end in zip(sides, captured, proved, strict=True))
    return " ".join(
        f"The {end}'s capture lacks {count} packet{'s' * (count > 1)} that the {end} is proved to have got: "
        f"{'they were' if count > 1 else 'it was'} not lost on the path, but left out of the capture."
        for end, count in zip(("client", "server"), counts, strict=True)
        if count
    )


def _lost(side: Side, captured: EndRecord, proved: EndRecord) -> int:
    began, ended = side.watched or (0.0, 0.0)
    return sum(began <= one.at <= ended for one in proved.packet_records[len(captured.packet_records) :])
