"""Packets that came to an end's wire and never to its programs: a capture sees what the host's own firewall drops behind it.

A PPP peer answers every Configure-Request that it gets (RFC 1661 section 5.1). One that sends its own and answers none of several has not
got them, though the capture at its end holds them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from vpnprobe.evidence.checks import GRE_IN_CALL, PPTP_LCP
from vpnprobe.evidence.packet_records import Movement, Vantage
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome

LEAST_REQUESTS: Final = 4
"""Unanswered requests from which on the end is held to be deaf."""
REQUEST: Final = "Configure-Request"
ANSWERS: Final = frozenset(("Configure-Ack", "Configure-Nak", "Configure-Reject"))
IN_CALL: Final = (GRE_IN_CALL, PPTP_LCP)


def dropped_on_input(record: EndRecord) -> int:
    """How many Configure-Requests came that this end's PPP did not get; 0: it got them, or nothing shows that it did not."""
    lcp = [s for s in record.packet_records if s.check == PPTP_LCP and not s.ttl_limited]
    sent = {s.message for s in lcp if s.movement is Movement.SENT}
    came = {s.key for s in lcp if s.movement is Movement.RECEIVED and s.message == REQUEST}
    deaf = REQUEST in sent and not sent & ANSWERS and len(came) >= LEAST_REQUESTS
    return len(came) if deaf else 0


def heard(record: EndRecord) -> EndRecord:
    """The record without the packets of the call that did not come to the end's programs."""
    if not dropped_on_input(record):
        return record
    kept = (s for s in record.packet_records if s.check not in IN_CALL or s.movement is Movement.SENT)
    return replace(record, packet_records=tuple(kept))


def with_host_firewall(observations: Iterable[Observation], client: EndRecord, server: EndRecord) -> Sequence[Observation]:
    """Names the end's own firewall as the cause where its wire saw what it did not get; `client` and `server`: the records as captured."""
    deaf = {Direction.C2S: (Vantage.SERVER, dropped_on_input(server)), Direction.S2C: (Vantage.CLIENT, dropped_on_input(client))}
    return [_named(observation, *deaf.get(observation.direction, (Vantage.CLIENT, 0))) for observation in observations]


def _named(observation: Observation, end: Vantage, came: int) -> Observation:
    of_the_call = any((observation.probe, observation.check) == (check.probe, check.name) for check in IN_CALL)
    if not came or not of_the_call or observation.detail.get("form") != GRE_IN_CALL.variant or observation.outcome is not Outcome.BLOCKED:
        return observation
    detail = {**observation.detail, "arrived_at_wire": came, "dropped_at": end.value}
    return replace(observation, cause=Cause.HOST_FIREWALL, location=None, detail=detail)
