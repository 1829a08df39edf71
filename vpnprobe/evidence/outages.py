"""Moments in which a path lost everything: an outage says nothing of any protocol, so what it took counts for nothing.

What is looked at are packets of kinds that pass otherwise, in one direction, in the order in which they left. A run of losses is an outage
where it is too long for the loss that the path has besides, and where it took what no filter takes together: packets of several IP
protocols, all controls of a block, or sessions that go on after it. Otherwise it may be the end of flows that are cut. Where
anything came over TCP meanwhile, the path was not silent: it lost one kind. When that came tells, and not when it left, since TCP repeats
what is lost. Pure.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod, sqrt
from typing import Final

from vpnprobe.observations.schema import Transport

LEAST_LOST: Final = 6
LEAST_S: Final = 0.02
"""What a full queue drops leaves at one moment."""
WEIGHT: Final = 2
"""So many packets of the whole path count as a kind's own, where its loss is estimated."""
CHANCE: Final = 1e-3
"""Of so long a run of losses anywhere in the record, by the loss that there is besides."""


@dataclass(frozen=True, slots=True)
class Fate:
    """Of one packet."""

    at: float
    """When it left, seconds on the client's clock."""
    came: bool
    transport: Transport
    block: int | None = None
    """The number of its block; None: it is no control."""
    flow: str = ""
    """The session that it is one packet of; empty: it is a packet by itself."""
    kind: str = ""
    """What is lost alike, since a filter or a policer takes it alike: the check, or empty for what is not told apart."""


@dataclass(frozen=True, slots=True, order=True)
class Outage:
    """From the first packet to the last that it took, seconds on the client's clock."""

    from_s: float
    to_s: float
    lost: int
    transports: frozenset[Transport] = field(default=frozenset(), compare=False)
    """What it took packets of."""

    def takes(self, at: float) -> bool:
        return self.from_s <= at <= self.to_s


def outages(fates: Iterable[Fate], came_at: Sequence[float] = ()) -> tuple[Outage, ...]:
    """In the order of time. `fates`: of packets of kinds that pass, in one direction.

    `came_at`: for packets over TCP that came that way, when a packet left that came at the same moment without being repeated.
    """
    ordered = sorted(fates, key=lambda fate: fate.at)
    blocks: dict[int, list[bool]] = {}
    for fate in ordered:
        if fate.block is not None:
            blocks.setdefault(fate.block, []).append(fate.came)
    silent = {number for number, came in blocks.items() if not any(came)}
    last = {fate.flow: fate.at for fate in ordered if fate.came}
    runs = [run for run in _runs_of_losses(ordered) if _is_together(run, silent, last)]
    besides = _loss_besides(ordered)
    long = (run for run in runs if len(ordered) * prod(besides[fate.kind] for fate in run) <= CHANCE)
    found = (run for run in long if not any(run[0].at < at < run[-1].at for at in came_at))
    return tuple(_outage(run) for run in found)


def _outage(run: Sequence[Fate]) -> Outage:
    return Outage(run[0].at, run[-1].at, len(run), frozenset(fate.transport for fate in run))


def _loss_besides(ordered: Sequence[Fate]) -> Mapping[str, float]:
    """The share that is lost of each kind without an outage: of what left right after a packet that came.

    However long a run of losses is, only its first packet is among these, and where each packet is lost by itself they are like all others.
    Of a kind with few of them the path's share stands in. A standard error is added,
    so that an estimate that is too low by chance makes no outage of what is lost anyway.
    """
    asked: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for before, fate in pairwise(ordered):
        if before.came:
            asked[fate.kind] += 1
            lost[fate.kind] += not fate.came
    everywhere = (lost.total() + 1) / (asked.total() + 2)
    found = {}
    for kind in {fate.kind for fate in ordered}:
        packets = asked[kind] + WEIGHT
        share = (lost[kind] + WEIGHT * everywhere) / packets
        found[kind] = min(1.0, share + sqrt(share * (1 - share) / packets))
    return found


def shared(fates: Iterable[Fate], came_at: Sequence[float], elsewhere: Iterable[Outage]) -> tuple[Outage, ...]:
    """What outages of the other direction took of this one too: the longest run of losses in each, be it of one protocol alone."""
    ordered = sorted(fates, key=lambda fate: fate.at)
    found = []
    for outage in elsewhere:
        run = max(_runs_of_losses([fate for fate in ordered if outage.takes(fate.at)]), key=len, default=[])
        if len(run) > 1 and not any(run[0].at < at < run[-1].at for at in came_at):
            found.append(_outage(run))
    return tuple(found)


def _runs_of_losses(ordered: Sequence[Fate]) -> Iterator[list[Fate]]:
    run: list[Fate] = []
    for fate in ordered:
        if not fate.came:
            run.append(fate)
            continue
        if run:
            yield run
        run = []
    if run:
        yield run


def _is_together(run: Sequence[Fate], silent: set[int], last: Mapping[str, float]) -> bool:
    """Whether it lasted, and took what no filter takes together. `last`: by session, when the last packet left that came."""
    if len(run) < LEAST_LOST or run[-1].at - run[0].at < LEAST_S:
        return False
    lost = Counter(fate.flow for fate in run if fate.flow)
    go_on = [flow for flow, count in lost.items() if count > 1 and last.get(flow, run[0].at) > run[-1].at]
    return len({fate.transport for fate in run}) > 1 or any(fate.block in silent for fate in run) or len(go_on) > 1
