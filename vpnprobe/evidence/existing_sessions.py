"""Sessions with an existing server, as a server agent beside it saw them on the wire.

The agent knows a conversation by its key and nothing of whose profile it is: its rows are about the plain check. Before anything is
counted they are put under the check that the client has for the conversation of the same key. Pure.
"""

from collections import defaultdict
from dataclasses import replace

from vpnprobe.conversations.contract import OF_SESSION
from vpnprobe.evidence.checks import is_existing
from vpnprobe.evidence.packet_records import Check, PacketRecord
from vpnprobe.evidence.records import EndRecord

Slot = tuple[Check, str]
"""A check without name and variant, and the key of a conversation."""


def under_clients_checks(client: EndRecord, server: EndRecord) -> EndRecord:
    """The server's record with what it saw of such sessions under the client's checks."""
    existing = {check for check in {row.check for row in client.packet_records} if is_existing(check)}
    if not existing:
        return server
    sessions: dict[Slot, list[PacketRecord]] = defaultdict(list)
    for row in client.packet_records:
        if row.check in existing:
            sessions[_slot(row)].append(row)
    checks = {slot: _checks_of_messages(rows) for slot, rows in sessions.items()}
    variants = {slot: rows[0].check.variant for slot, rows in sessions.items()}

    def placed(row: PacketRecord) -> PacketRecord:
        if (variant := variants.get(slot := _slot(row))) is None:
            return row
        check = row.check._replace(variant=variant)
        # An end with keys knows more of some messages than the agent, and has them under a later check: they are none of this one.
        return replace(row, check=check) if check in checks[slot].get(_unnumbered(row.message), {check}) else row

    return replace(server, packet_records=tuple(map(placed, server.packet_records)))


def _checks_of_messages(rows: list[PacketRecord]) -> dict[str, set[Check]]:
    """By a message's name: what it bears on at the client."""
    found: dict[str, set[Check]] = defaultdict(set)
    for row in rows:
        found[_unnumbered(row.message)].add(row.check)
    return found


def _unnumbered(message: str) -> str:
    """Its name without the part's number that an end with keys puts behind it."""
    return message.partition("[")[0]


def _slot(row: PacketRecord) -> Slot:
    """The conversation itself, whichever of its messages a row is about."""
    return row.check._replace(name="", variant=""), row.key.partition(OF_SESSION)[0]
