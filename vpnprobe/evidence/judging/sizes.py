"""Fresh packets of one kind in several sizes: whether the path drops those above some size, though smaller ones of the same kind pass.

Two comparisons have to rule out chance. One is with the controls that left beside the large packets in random order: the path loses no more
at that moment. The other is with the small packets of the kind itself: a kind that loses many packets loses some large ones in a row too.
Sizes are bytes of the outer IP packet over IPv4. Pure.
"""

from dataclasses import dataclass
from typing import Final

from vpnprobe.evidence.checks import is_raw, spec_of
from vpnprobe.evidence.comparison import blocks_needed
from vpnprobe.evidence.departures import Departure, asked_for
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.packet_counts import Count
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.statistics import LEAST_TRIALS, Background
from vpnprobe.observations.schema import Direction, Transport

HEADERS_BYTES: Final = {Transport.GRE: 20, Transport.ESP: 20, Transport.UDP: 28}
"""IPv4, and UDP where it carries the rest."""
LEAST_DOUBTED: Final = 2
"""Lost packets larger than any that came from which on it is asked whether their size is why."""
ASKED_AT_ONCE: Final = 4
"""Large packets that are sent again before more than chance is seen in it, and as many small ones."""
SPARE_LARGE: Final = 4
"""More large ones than it takes: on a narrow line some count for nothing once it is known what was queued there."""
MOST_ASKED: Final = 24
"""Large packets of a kind in blocks: what is not sure by then stays so."""
MOST_SMALL: Final = 16
"""Small packets beside them at once."""


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """Above which size nothing of a kind came."""

    largest_passing: int
    smallest_lost: int
    lost: tuple[Departure, ...]
    """The larger ones, of which none came."""
    own: Background
    """What became of those that are not larger."""
    in_blocks: Background
    """The same of those that left in blocks, whose order with the larger ones is random."""
    goes_on: bool
    """Whether one that is not larger came behind one of these, so that it was no cut."""
    sizes: int
    """How many sizes there are above which none might pass."""
    asked_about: int = 1
    """Of how many of these it was asked in blocks, one after another."""

    @property
    def asked(self) -> int:
        """How many of the larger ones left in blocks."""
        return sum(one.block is not None for one in self.lost)

    @property
    def detail(self) -> dict[str, int]:
        """As a row tells it."""
        return {"largest_passing": self.largest_passing, "smallest_lost": self.smallest_lost}


def outer_bytes(check: Check, size: int) -> int:
    """Of the IP packet that carries so many bytes behind its headers."""
    return size + HEADERS_BYTES[check.transport]


def doubted(check: Check, count: Count) -> SizeLimit | None:
    """What may be limited in size: several packets are missing that are larger than all that came. None: it does not look so."""
    spec = spec_of(check)
    too_large = count.too_large
    if spec is None or not spec.sizes or len(too_large) < LEAST_DOUBTED:
        return None
    sizes = [count.sizes[key] for key in too_large]
    lost = tuple(count.departure(key) for key in too_large)
    first = min(one.at for one in lost)
    goes_on = any(count.departure(key).at > first for key in count.received)
    own = Background(count.lost - len(lost), len(count.received))
    beside = (count.sent.keys() & count.blocks.keys()) - set(too_large)
    in_blocks = Background(len(beside - count.received.keys()), len(beside & count.received.keys()))
    different = len({size for size in count.sizes.values() if size})
    largest = max(count.sizes.get(key, 0) for key in count.received)
    asked_about = {count.sizes[key] for key in count.blocks if outer_bytes(check, count.sizes.get(key, 0)) in spec.sizes}
    smallest = outer_bytes(check, min(sizes))
    return SizeLimit(outer_bytes(check, largest), smallest, lost, own, in_blocks, goes_on, different - 1, max(1, len(asked_about)))


def in_question(check: Check, count: Count) -> int | None:
    """The smallest size above which nothing is known to have come, though several were sent; None: there is none.

    That may be one that was not sent yet: on a slow line the largest alone is, and what passes may be far below it. Those count too that
    were set aside because an end was late: they have to be sent again before the size is known to pass.
    """
    spec, unknown = spec_of(check), _not_come(count)
    if spec is None or not spec.sizes or len(unknown) < LEAST_DOUBTED:
        return None
    lost, largest = outer_bytes(check, min(unknown)), outer_bytes(check, max(count.sizes.get(key, 0) for key in count.received))
    return min((lost, *(size for size in spec.sizes if largest < size < lost)))


def untried(check: Check, count: Count) -> bool:
    """Whether none of the largest size left: what the other end sends in answer is as large as what came there."""
    spec = spec_of(check)
    largest = max((count.sizes.get(key, 0) for key in (*count.sent, *count.received)), default=0)
    return spec is not None and bool(spec.sizes) and outer_bytes(check, largest) < max(spec.sizes)


def _not_come(count: Count) -> list[int]:
    """The sizes of those that did not come and are larger than all that came."""
    largest = max((count.sizes.get(key, 0) for key in count.received), default=0)
    return [size for key, size in count.sizes.items() if key not in count.received and size > largest] if largest else []


def error_bound(judge: Judge, check: Check, way: Direction, limit: SizeLimit) -> float:
    """How likely at most all of these are lost where the path treats them as it treats others, and as it treats the small ones."""
    if len(limit.lost) < LEAST_TRIALS or not limit.goes_on:
        return 1.0
    asked, thresholds = asked_for(list(limit.lost), limit.sizes, by_time=not judge.numbered)
    thresholds = max(thresholds, limit.asked_about)  # Each of these sizes might have become the limit.
    found = judge.bound(way, asked, judge.loss[way], one_flow=is_raw(check), thresholds=thresholds)
    own = min(1.0, thresholds * limit.own.chance_of_losing_all(len(asked)))
    if is_raw(check) and judge.by_flow[way]:
        # All of it is one flow, which other flows' fates say nothing of; its small packets are of it.
        return min(1.0, thresholds * limit.in_blocks.chance_of_losing_all(limit.asked))
    return 1.0 if found is None else max(found, own)


def limit_of_size(judge: Judge, check: Check, way: Direction, count: Count) -> tuple[SizeLimit, float] | None:
    """The limit that is shown, and its error bound; None: none is."""
    limit = doubted(check, count)
    if limit is None or judge.kept_by_host(check, way):
        return None
    bound = error_bound(judge, check, way, limit)
    return (limit, bound) if bound <= judge.facts.error_bound else None


def more_to_tell_size(judge: Judge, check: Check, way: Direction, count: Count) -> int:
    """How many more packets it takes, half of them large, where large ones are in doubt; 0: they are not, it is shown, or no use."""
    if in_question(check, count) is None or judge.kept_by_host(check, way):
        return 0
    if (limit := doubted(check, count)) is None:
        return 2 * ASKED_AT_ONCE if len(_not_come(count)) < MOST_ASKED else 0
    if limit.asked >= MOST_ASKED:
        return 0
    wanted, bound = judge.facts.error_bound, error_bound(judge, check, way, limit)
    if bound <= wanted:
        return 0
    if limit.asked < ASKED_AT_ONCE:
        return 2 * ASKED_AT_ONCE
    asked, _ = asked_for(list(limit.lost), limit.sizes, by_time=False)
    beside = judge.bound(way, asked, judge.loss[way], thresholds=limit.asked_about)
    large = blocks_needed(1.0 if beside is None else beside, wanted) + SPARE_LARGE
    return 2 * max(large, _small_needed(limit, limit.asked + large, wanted))


def _small_needed(limit: SizeLimit, large: int, wanted: float) -> int:
    """How many more small ones have to pass before the loss of so many large ones is no chance."""
    own = limit.own
    return next(
        (more for more in range(MOST_SMALL) if Background(own.lost, own.passed + more).chance_of_losing_all(large) <= wanted), MOST_SMALL
    )
