"""Moments in which a path lost everything: an outage says nothing of any protocol, so what it took counts for nothing.

What is looked at are packets of kinds that pass otherwise, in one direction, in the order in which they left. A run of losses is an outage
where it is too long for the loss that the path has besides, and where it took what no filter takes together: packets of several IP
protocols, all controls of a block, or sessions that go on after it. Otherwise it may be the end of flows that are cut. Where
anything came over TCP meanwhile, the path was not silent: it lost one kind. When that came tells, and not when it left, since TCP repeats
what is lost. Pure.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.observations.schema import Transport

LEAST_LOST: Final = 6
LEAST_S: Final = 0.02
"""What a full queue drops leaves at one moment."""
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


@dataclass(frozen=True, slots=True, order=True)
class Outage:
    """From the first packet to the last that it took, seconds on the client's clock."""

    from_s: float
    to_s: float
    lost: int

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
    everything, in_runs = sum(not fate.came for fate in ordered), sum(map(len, runs))
    # Before the loss besides is known, each run is taken for an outage and for none of it.
    besides = (everything - in_runs + 1) / (len(ordered) - in_runs + 2) if ordered else 1.0
    long = (run for run in runs if len(ordered) * besides ** len(run) <= CHANCE)
    found = (run for run in long if not any(run[0].at < at < run[-1].at for at in came_at))
    return tuple(Outage(run[0].at, run[-1].at, len(run)) for run in found)


def shared(fates: Iterable[Fate], came_at: Sequence[float], elsewhere: Iterable[Outage]) -> tuple[Outage, ...]:
    """What outages of the other direction took of this one too: the longest run of losses in each, be it of one protocol alone."""
    ordered = sorted(fates, key=lambda fate: fate.at)
    found = []
    for outage in elsewhere:
        run = max(_runs_of_losses([fate for fate in ordered if outage.takes(fate.at)]), key=len, default=[])
        if len(run) > 1 and not any(run[0].at < at < run[-1].at for at in came_at):
            found.append(Outage(run[0].at, run[-1].at, len(run)))
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
