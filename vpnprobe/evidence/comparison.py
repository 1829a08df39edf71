"""How sure it is that what is lost is treated otherwise than what leaves beside it, under any pattern of loss.

Real loss comes in bursts, outages and policers, so n losses in a row are no n independent trials. What depends on no model is the order,
because the sender draws it: a block is a short moment in which a few controls (payloads of ours to a port that passes, each in a flow of
its own) and one packet of each kind under test leave in random order. Where the path treats a kind as it treats the controls, each of the
packets that a block lost is as likely as another to be the kind's own: it is among `lost` of `controls + 1` with probability
lost / (controls + 1). The product of the reciprocals over the blocks, as long as the kind's own is lost in each, has the expectation 1 at
most; so it ever exceeds 1 / p with probability p at most (Ville's inequality), and its reciprocal is an error bound that holds whenever
one stops. A block that lost everything has the factor 1: an outage says nothing. Pure.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Final

from vpnprobe.evidence.packet_counts import answered_key
from vpnprobe.evidence.packet_records import Movement
from vpnprobe.evidence.records import EndRecord
from vpnprobe.wire.nonce import Purpose, block_of

CONTROLS: Final = 5
"""In a block, as it is sent: eight blocks of which no control is lost reach one in a million."""
BLOCK_S: Final = 0.05
"""In which the packets of a block leave."""
PERIOD_S: Final = 0.1
"""From the beginning of a block to that of the next: between two there is as long a pause, so that captures show which is which."""

SLACK_S: Final = 0.02
"""A timer may be as late."""


@dataclass(frozen=True, slots=True)
class Block:
    """The controls of one block, in one direction."""

    first: float
    """When its first control left, seconds on the client's clock."""
    last: float
    controls: int
    lost: int
    """Of the controls."""

    @property
    def begins(self) -> float:
        """The earliest moment that may belong to it: packets of a block leave within BLOCK_S."""
        return self.last - BLOCK_S - SLACK_S

    @property
    def ends(self) -> float:
        return self.first + BLOCK_S + SLACK_S


@dataclass(frozen=True, slots=True)
class Control:
    """The fate of one, in one direction."""

    at: float
    """When it left, seconds on the client's clock."""
    block: int
    came: bool


def controls(sender: EndRecord, receiver: EndRecord) -> Iterator[Control]:
    """Those of one direction, as both ends recorded them.

    Sender and receiver the same end: those of both directions, which are lost where no answer to them came.
    """
    left: dict[str, tuple[float, int]] = {}
    for record in sender.packet_records:
        if record.purpose is Purpose.CONTROL and record.movement is Movement.SENT and (number := block_of(record.key)) is not None:
            left.setdefault(record.key, (record.at - sender.ahead_s, number))
    came = {r.key for r in receiver.packet_records if r.purpose is Purpose.CONTROL and r.movement is Movement.RECEIVED} if left else set()
    if sender is receiver:
        came = {answered_key(key) for key in came}
    for key, (at, number) in left.items():
        yield Control(at, number, key in came)


def blocks(found: Iterable[Control]) -> tuple[Block, ...]:
    """Those of one direction, in the order of time."""
    by_number: dict[int, list[Control]] = {}
    for control in found:
        by_number.setdefault(control.block, []).append(control)
    made = (
        Block(min(one.at for one in some), max(one.at for one in some), len(some), sum(not one.came for one in some))
        for some in by_number.values()
    )
    return tuple(sorted(made, key=lambda block: block.begins))


def error_bound(lost_at: Iterable[float], among: Sequence[Block]) -> float | None:
    """The probability at most of losing all of these, were they treated as the controls are; None: none of them left in a block.

    `lost_at`: when packets of one kind left that never came, none of which came, on the clock of `among`. One packet a block counts.
    """
    begins = [block.begins for block in among]
    wealth, used = 1.0, set[int]()
    for at in sorted(lost_at):
        place = bisect_right(begins, at) - 1
        if place < 0 or place in used or at > among[place].ends:
            continue
        used.add(place)
        block = among[place]
        wealth *= (block.controls + 1) / (block.lost + 1)
    return 1 / wealth if used else None


def blocks_needed(bound: float, wanted: float) -> int:
    """How many more blocks, of which no control is lost, bring a bound down to the wanted one; 0: none."""
    return max(0, ceil(log(bound / wanted) / log(CONTROLS + 1) - 1e-9)) if bound > wanted else 0
