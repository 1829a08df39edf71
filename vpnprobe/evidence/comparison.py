"""How sure it is that what is lost is treated otherwise than what leaves beside it, under any pattern of loss.

Real loss comes in bursts, outages and policers, so n losses in a row are no n independent trials. What depends on no model is the order,
because the sender draws it: a block is a short moment in which a few controls (payloads of ours to a port that passes, each in a flow of
its own) and one packet of each kind under test leave in random order. Where the path treats a kind as it treats the controls, each of the
packets that a block lost is as likely as another to be the kind's own: it is among `lost` of `controls + 1` with probability
lost / (controls + 1). The product of the reciprocals over the blocks, as long as the kind's own is lost in each, has the expectation 1 at
most; so it ever exceeds 1 / p with probability p at most (Ville's inequality), and its reciprocal is an error bound that holds whenever
one stops. A block that lost everything has the factor 1: an outage says nothing.

Kinds without a field that tells flows apart (GRE, ESP) all go the way of one flow. Where the fates of the controls follow their flows, as
on a balanced path with a bad link, that one flow may have drawn the bad link, and nothing is claimed (`fates_follow_flows`). Pure.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log, sqrt
from typing import Final, Self

from vpnprobe.evidence.departures import Departure
from vpnprobe.evidence.packet_counts import answered_key
from vpnprobe.evidence.packet_records import Movement
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.wire.nonce import Purpose, block_of, control_of

CONTROLS: Final = 5
"""In a block, as it is sent: eight blocks of which no control is lost reach one in a million."""
BLOCK_S: Final = 0.05
"""In which the packets of a block leave."""
PERIOD_S: Final = 0.1
"""From the beginning of a block to that of the next: between two there is as long a pause, so that captures show which is which."""

SLACK_S: Final = 0.02
"""A timer may be as late."""
BY_FLOW: Final = 0.5
"""Share of the flows with two fates that there would be by chance; fewer, and fates follow flows."""
DEVIATIONS: Final = 2.5
"""So many standard deviations fewer, likewise."""
COMPARED: Final = frozenset({Purpose.CONTROL, Purpose.REPEAT})
"""What tells the fates of controls and of their flows."""


@dataclass(frozen=True, slots=True)
class Block:
    """The controls of one block, in one direction."""

    first: float
    """When its first control left, seconds on the client's clock."""
    last: float
    controls: int
    lost: int
    """Of the controls."""
    number: int | None = None
    """By which what left in it is known; None: it is known by its time alone."""

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
    transport: Transport = Transport.UDP
    repeat: bool | None = None
    """Whether the second packet of its flow, in the block after, came; None: there was none."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What left in random order beside what is suspected not to pass, by direction; of BOTH with its answers."""

    controls: Mapping[Direction, tuple[Control, ...]]
    blocks: Mapping[Direction, tuple[Block, ...]]
    by_flow: Mapping[Direction, bool]
    """Whether what becomes of a packet follows its flow: then kinds that are all one flow cannot be compared with others."""

    @classmethod
    def of(cls, client: EndRecord, server: EndRecord) -> Self:
        """As both ends recorded it."""
        ends = {Direction.C2S: (client, server), Direction.S2C: (server, client), Direction.BOTH: (client, client)}
        found = {way: tuple(controls(*two, client)) for way, two in ends.items()}
        return cls(
            found, {way: blocks(some) for way, some in found.items()}, {way: fates_follow_flows(some) for way, some in found.items()}
        )


def of_controls(end: EndRecord) -> EndRecord:
    """The record with the packets of controls' flows alone."""
    return replace(end, packet_records=tuple(row for row in end.packet_records if row.purpose in COMPARED))


def controls(sender: EndRecord, receiver: EndRecord, client: EndRecord) -> Iterator[Control]:
    """Those of one direction, as both ends recorded them.

    Sender and receiver the same end: those of both directions, which are lost where no answer to them came. Of controls over TCP, which are
    connections, only that is known, to the client: they are lost in its direction where they did not come up.
    """
    left: dict[str, tuple[float, Transport]] = {}
    for record in sender.packet_records:
        if record.purpose in COMPARED and record.movement is Movement.SENT and record.check.transport is not None:
            left.setdefault(record.key, (record.at - sender.ahead_s, record.check.transport))
    came = _came(receiver) if left else set()
    answered = {answered_key(key) for key in (_came(client) if left and receiver is not client else came)}
    if sender is receiver:
        came = answered
    fates = {key: key in (answered if transport is Transport.TCP else came) for key, (_, transport) in left.items()}
    repeats = {control: fate for key, fate in fates.items() if (control := control_of(key)) is not None}
    for key, (at, transport) in left.items():
        if control_of(key) is None and (number := block_of(key)) is not None:
            yield Control(at, number, fates[key], transport, repeats.get(key))


def _came(end: EndRecord) -> set[str]:
    return {r.key for r in end.packet_records if r.purpose in COMPARED and r.movement is Movement.RECEIVED}


def blocks(found: Iterable[Control]) -> tuple[Block, ...]:
    """Those of one direction, in the order of time."""
    by_number: dict[int, list[Control]] = {}
    for control in found:
        by_number.setdefault(control.block, []).append(control)
    made = (
        Block(min(one.at for one in some), max(one.at for one in some), len(some), sum(not one.came for one in some), number)
        for number, some in by_number.items()
    )
    return tuple(sorted(made, key=lambda block: block.begins))


def of_passing_flows(found: Iterable[Control]) -> tuple[Block, ...]:
    """The blocks of those controls alone whose flow is shown to get through, by its second packet: which says nothing of the first."""
    return blocks(one for one in found if one.repeat)


def fates_follow_flows(found: Iterable[Control]) -> bool:
    """Whether some flows lost both of their packets, and far fewer had two fates than would by chance.

    By chance: as each block, whatever else it lost, lost of all flows alike.
    """
    of_block: dict[int, list[bool]] = {}
    pairs: list[tuple[int, bool, bool]] = []
    for control in found:
        of_block.setdefault(control.block, []).append(control.came)
        if control.repeat is not None:
            of_block.setdefault(control.block + 1, []).append(control.repeat)
            pairs.append((control.block, control.came, control.repeat))
    lost = {block: came.count(False) / len(came) for block, came in of_block.items()}
    dead = sum(not (first or second) for block, first, second in pairs if lost[block] < 1 and lost[block + 1] < 1)
    two_fates = sum(first is not second for _, first, second in pairs)
    by_chance = sum(lost[block] * (1 - lost[block + 1]) + lost[block + 1] * (1 - lost[block]) for block, _, _ in pairs)
    return dead > 0 and two_fates < max(BY_FLOW * by_chance, by_chance - DEVIATIONS * sqrt(by_chance))


def error_bound(lost: Iterable[Departure], among: Sequence[Block], *, thresholds: int = 1) -> float | None:
    """The probability at most of losing all of these, were they treated as the controls are; None: none of them left in a block.

    `lost`: packets of one kind that never came, none of which came, on the clock of `among`. One packet a block counts. `thresholds`: of
    how many kinds that were possible theirs was chosen once it was known what was lost (above which size, from which packet on).
    """
    begins = [block.begins for block in among]
    places = {block.number: place for place, block in enumerate(among) if block.number is not None}
    wealth, used = 1.0, set[int]()
    for one in sorted(lost, key=lambda one: one.at):
        place = places.get(one.block, -1) if one.block is not None else bisect_right(begins, one.at) - 1
        if place < 0 or place in used or (one.block is None and one.at > among[place].ends):
            continue
        used.add(place)
        block = among[place]
        wealth *= (block.controls + 1) / (block.lost + 1)
    return min(1.0, thresholds / wealth) if used else None


BETS: Final = (0.1, 0.3, 0.6)
"""Parts of the wealth that are bet that ours is lost, where any is."""


def alone_bound(fates: Iterable[tuple[Departure, bool]], among: Sequence[Block]) -> float | None:
    """The probability at most of losing so many more than the controls, were these packets of one kind treated as they are.

    `fates`: when each left, and whether it came. None: none of them left in a block. One packet a block counts, the first; the order of
    blocks is that of time, so that the bound holds whenever one stops.
    """
    places = {block.number: block for block in among if block.number is not None}
    wealth, used = dict.fromkeys(BETS, 1.0), set[int]()
    for one, came in sorted(fates, key=lambda fate: fate[0].at):
        block = places.get(one.block) if one.block is not None else None
        if block is None or one.block is None or one.block in used:
            continue
        used.add(one.block)
        lost = block.lost + (not came)
        for bet in BETS if lost else ():
            wealth[bet] *= 1 - bet if came else 1 + bet * ((block.controls + 1) / lost - 1)
    return min(1.0, len(BETS) / sum(wealth.values())) if used else None


SPARE_BLOCKS: Final = 1
"""More than it takes: some lose controls, and captures cannot tell of every trial within which block it left."""


def blocks_needed(bound: float, wanted: float) -> int:
    """How many more blocks, of which no control is lost, bring a bound down to the wanted one; 0: none."""
    return max(0, ceil(log(bound / wanted) / log(CONTROLS + 1) - 1e-9)) if bound > wanted else 0
