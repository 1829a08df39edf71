"""What passes only after the server has spoken: a stateful firewall or a NAT at its side lets in what it has asked for, and nothing else.

Held against each other are the client's packets that left before the server's first and those that came after it. What has no ports may be
one flow between two addresses, whatever it carries: there the server's first packet of each kind counts, up to the first arrival.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vpnprobe.evidence.checks import Kind, kind_of
from vpnprobe.evidence.departures import Departure
from vpnprobe.evidence.packet_counts import Count, PacketCounts
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.observations.schema import Direction, Transport


@dataclass(frozen=True, slots=True)
class AfterServer:
    """The client's packets of one kind, of which none came before the server spoke, and some did afterwards."""

    before: Sequence[Departure]
    """When those left that came to nothing."""
    sent: int
    """Afterwards."""
    received: int

    @property
    def detail(self) -> dict[str, dict[str, int]]:
        """As a row tells it."""
        return {"after_server": {"sent": self.sent, "received": self.received}}


def after_server(counted: Mapping[Check, PacketCounts], *, one_clock: bool) -> dict[Check, AfterServer]:
    """By kind that is counted packet by packet: where it is so. `one_clock`: times of both ends can be compared.

    Where they cannot, the server has spoken when the client heard it.
    """
    found = {}
    for check, counts in counted.items():
        if kind_of(check) is not Kind.PACKETS or check.transport is Transport.TCP:
            continue
        count = counts.total(Direction.C2S)
        if count.received and (late := _late(count, _server_began(counted, check, one_clock=one_clock), one_clock=one_clock)) is not None:
            found[check] = late
    return found


def _late(count: Count, began: Iterator[float], *, one_clock: bool) -> AfterServer | None:
    came = min(count.received.values()) if one_clock else min(at for key, at in count.sent.items() if key in count.received)
    spoke = max((at for at in began if at <= came), default=None)
    if spoke is None:
        return None
    before = [left for left in count.lost_at if left.at < spoke]
    return AfterServer(before, len(count.sent) - len(before), len(count.received)) if len(before) >= LEAST_TRIALS else None


def _server_began(counted: Mapping[Check, PacketCounts], check: Check, *, one_clock: bool) -> Iterator[float]:
    """When the first packet of each kind that may be of the same flow left the server, or came to the client, on the client's clock."""
    for other, counts in counted.items():
        if other == check or (check.port is None and other.transport is check.transport):
            count = counts.total(Direction.S2C)
            if times := count.sent if one_clock else count.received:
                yield min(times.values())
