"""Sessions with an existing server, as a server agent beside it saw them on the wire.

The agent knows a conversation by its key and nothing of whose profile it is: its rows are about the plain check. Before anything is
counted they are put under the check that the client has for the conversation of the same key. Pure.
"""

from dataclasses import replace

from vpnprobe.conversations.contract import OF_SESSION
from vpnprobe.evidence.checks import is_existing
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import EndRecord

Slot = tuple[Check, str]
"""A check without name and variant, and the key of a conversation."""


def under_clients_checks(client: EndRecord, server: EndRecord) -> EndRecord:
    """The server's record with what it saw of such sessions under the client's checks."""
    variants = {_slot(row.check, row.key): row.check.variant for row in client.packet_records if is_existing(row.check)}
    if not variants:
        return server
    rows = tuple(
        row if (variant := variants.get(_slot(row.check, row.key))) is None else replace(row, check=row.check._replace(variant=variant))
        for row in server.packet_records
    )
    return replace(server, packet_records=rows)


def _slot(check: Check, key: str) -> Slot:
    """The conversation itself, whichever of its messages a row is about."""
    return check._replace(name="", variant=""), key.partition(OF_SESSION)[0]
