"""What an end's own firewall takes in part, as the server agent tells it, and what either end sent that the other cannot read."""

from collections.abc import Mapping
from typing import Any, Final

from vpnprobe.agents.records import packed, packet_record_row, read_all, read_known, read_packet_record, unpacked
from vpnprobe.agents.sessions import ClientSession
from vpnprobe.evidence.check_rows import fields_of
from vpnprobe.evidence.packet_records import Movement, PacketRecord, Vantage
from vpnprobe.evidence.taken import TakenPackets, read_taken, read_unnamed, taken_row, unnamed_row
from vpnprobe.observations.schema import Transport

MOST_ASKED: Final = 4096
"""Datagrams that are named at once."""
MOST_PARTS: Final = 1024
"""Protocols and ports of which an end tells what its firewall takes."""


def taken_rows(session: ClientSession, unnamed: object) -> dict[str, Any]:
    """The server's part of an answer. `unnamed`: digests of what the client's firewall took, which the server is to name.

    Empty where that is no list: a run asks at its end alone.
    """
    if not isinstance(unnamed, list):
        return {}
    tcp_ports = {port for transport, port in session.ports if transport is Transport.TCP}
    found, recorder = session.taken.found(tcp_ports) if session.taken is not None else TakenPackets(), session.recorder
    known = [(digest, recorder.said_as[digest]) for digest in map(str, unnamed[:MOST_ASKED]) if digest in recorder.said_as]
    return {
        "taken": [taken_row(part) for part in found.parts[:MOST_PARTS]],
        "taken_packets": packed([packet_record_row(one) for one in found.packets]),
        "taken_unnamed": [unnamed_row(one) for one in found.unnamed[:MOST_ASKED]],
        "named": packed([[digest, packet_record_row(sent)] for digest, sent in known]),
    }


def read_taken_rows(answer: Mapping[str, Any], unknown: set[str]) -> tuple[TakenPackets, dict[str, PacketRecord]]:
    """What the server's firewall took, and by digest what the server names: of what it sent itself. Raises DecodeError."""
    parts = {part.slot: part for part in read_all(answer.get("taken", []), read_taken)[:MOST_PARTS]}
    rows = read_known(unpacked(answer.get("taken_packets", [])), read_packet_record, unknown)
    packets = tuple(row for row in rows if row is not None and row.vantage is Vantage.SERVER)
    unnamed = tuple(read_all(answer.get("taken_unnamed", []), read_unnamed)[:MOST_ASKED])
    told = unpacked(answer.get("named", []))
    pairs = [fields_of(pair, "named", 2) for pair in told[:MOST_ASKED]] if isinstance(told, list) else []
    names = read_known([pair[1] for pair in pairs], read_packet_record, unknown)
    sent = ((digest, name) for (digest, _), name in zip(pairs, names, strict=True) if name is not None)
    known = {str(digest): name for digest, name in sent if (name.vantage, name.movement) == (Vantage.SERVER, Movement.SENT)}
    return TakenPackets(tuple(parts.values()), packets, unnamed), known
