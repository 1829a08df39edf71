"""Which kinds of packets an end's own firewall seems to keep: those about which that end is asked what lets them through.

Asked before the judgement, which says what is so: more kinds than it names do no harm.
"""

from collections.abc import Iterable, Sequence

from vpnprobe.evidence.attempts import SYN, SYN_ACK
from vpnprobe.evidence.packet_records import Check, Movement
from vpnprobe.evidence.records import EndRecord, Refusal, kept_kind
from vpnprobe.firewall.mending import Kept
from vpnprobe.observations.schema import Direction, Transport


def kept_kinds(host: str, record: EndRecord, refusals: Iterable[Refusal], address: str | None) -> list[Kept]:
    """Of one end, `client` or `server`, by its record. `refusals`: those that either end got; `address`: that end's."""
    comes = Direction.S2C if host == "client" else Direction.C2S
    refused = [refusal for refusal in refusals if address is not None and refusal.by == address]
    silent = [*_unanswered(record)] if host == "server" else []
    in_part = [Check("", "", part.transport, part.port) for part in record.taken.parts]
    found = [
        *(kept_kind(host, check, leaving=False, in_part=True) for check in in_part),
        *(kept_kind(host, check, leaving=False) for check in (*_sorted(record.dropped_on_input), *silent)),
        *(kept_kind(host, check, leaving=True) for check in (*_sorted(record.dropped_on_output), *silent)),
        *(kept_kind(host, refusal.check, leaving=refusal.direction is not comes) for refusal in refused),
    ]
    return [kind for kind in dict.fromkeys(found) if kind.protocol != Transport.IP.value]


def _unanswered(server: EndRecord) -> Sequence[Check]:
    """TCP ports to which SYNs came that nothing answered."""
    seen = {(row.check, row.movement, row.message) for row in server.packet_records if row.check.transport is Transport.TCP}
    asked = {check for check, movement, message in seen if (movement, message) == (Movement.RECEIVED, SYN)}
    return _sorted(check for check in asked if (check, Movement.SENT, SYN_ACK) not in seen)


def _sorted(checks: Iterable[Check]) -> list[Check]:
    return sorted(checks, key=lambda check: (check.transport.value, check.port or 0, check.probe, check.name, check.variant))
