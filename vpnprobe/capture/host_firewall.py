"""Packets that came to an end's wire and never to its programs: a capture sees what the host's own firewall drops behind it.

How an end's silence shows that is its protocol's matter (`kept_from_program` of `followers.registry`). What follows from it the judge says.
"""

from dataclasses import replace

from vpnprobe.capture.followers.registry import FOLLOWERS
from vpnprobe.evidence.checks import plain_on_port, same_packets
from vpnprobe.evidence.packet_records import Check, Movement
from vpnprobe.evidence.records import EndRecord


def as_heard(record: EndRecord) -> EndRecord:
    """The record as the end's programs would have written it, with the checks named whose packets did not come to them."""
    rules = (spec.kept_from_program for spec in FOLLOWERS if spec.kept_from_program is not None)
    kept = record.dropped_on_input.union(*(rule(record) for rule in rules))
    if not kept:
        return record
    heard = tuple(s for s in record.packet_records if s.movement is Movement.SENT or kept.isdisjoint(_kinds(s.check)))
    return replace(record, packet_records=heard, dropped_on_input=kept)


def _kinds(check: Check) -> set[Check]:
    """The checks of all packets that a firewall cannot tell from these."""
    return {kind for kind in (check, plain_on_port(check), same_packets(check)) if kind is not None}
