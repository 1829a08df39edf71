"""What passes only after the server has spoken: a stateful firewall or a NAT at its side lets in what it has asked for, and nothing else.

Held against each other are the client's packets that left before the server's first and those that came after it. What has no ports may be
one flow between two addresses, whatever it carries: there the server's first packet of each kind counts, up to the first arrival.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.evidence.checks import IN_CALL
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.packet_counts import Count
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Cause, Direction

DOUBTFUL: Final = 1e-3
"""What is lost before by bad luck alone with a probability below this is no evidence that it passes by itself."""


@dataclass(frozen=True, slots=True)
class AfterServer:
    """The client's packets of one kind, of which none came before the server spoke, and some did afterwards."""

    before: Sequence[float]
    """When those left that came to nothing, seconds on the client's clock."""
    sent: int
    """Afterwards."""
    received: int
    bound: float | None
    """The probability at most of losing those before by bad luck; None: there is nothing to compare with."""

    @property
    def detail(self) -> dict[str, dict[str, int]]:
        return {"after_server": {"sent": self.sent, "received": self.received}}


def only_after_server(judge: Judge, check: Check, count: Count) -> AfterServer | None:
    """Of packets of the client's; None: it is not so, or cannot be told."""
    if not judge.facts.joined or not count.received or not judge.would_have_recorded(check, Direction.C2S):
        return None
    came = min(count.received.values())
    spoke = max((at for at in _server_began(judge, check) if at <= came), default=None)
    if spoke is None:
        return None
    before = [at for at in count.lost_at if at < spoke]
    if len(before) < LEAST_TRIALS:
        return None
    bound = judge.bound(Direction.C2S, before, judge.loss[Direction.C2S], len(before))
    if bound is not None and bound > DOUBTFUL:
        return None
    return AfterServer(before, len(count.sent) - len(before), len(count.received), bound)


def begins_by_itself(check: Check) -> bool:
    """Whether a server of this kind speaks as soon as the client has asked for a call, so that it need not be the client that begins."""
    return check.variant == IN_CALL


def cause(judge: Judge) -> Cause:
    """Why it is so."""
    return Cause.NAT if judge.facts.server_nat else Cause.STATE


def _server_began(judge: Judge, check: Check) -> Iterator[float]:
    """When the first packets left the server of each kind that may be of the same flow, on the client's clock."""
    for other, counts in judge.packet_counts.items():
        sent = counts.total(Direction.S2C).sent
        if sent and (other == check or (check.port is None and other.transport is check.transport)):
            yield min(sent.values())
