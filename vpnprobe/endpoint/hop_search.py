"""Between which two hops kinds of packets vanish, by TTL-limited copies of each beside a kind that passes, in one direction.

A router that answers for a copy was reached by that kind. A router that does not is no evidence by itself: copies and answers get lost, and
routers answer about six copies in a burst and then one a second for each asker (Linux). So silence counts only where that router answers
two copies at once of a kind that passes, right behind the silent ones, and only so much of it that the path's own loss explains it with
ERROR_BOUND at most.

What passes is traced once for all kinds. Where one kind is lost the others are looked for next, with copies for that hop and the one behind
it alone: the silent ones cost no router an answer. A kind that is lost elsewhere is traced by itself. Kinds for which the routers have no
answers left when the time is over keep the wider place that is shown by then.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vpnprobe.endpoint.pacer import Pacer
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.ttl_probe import Copied, Copy, IcmpTap
from vpnprobe.evidence.records import TtlTrace
from vpnprobe.evidence.statistics import ERROR_BOUND, Background
from vpnprobe.observations.schema import Direction
from vpnprobe.transports.stack import Address

PACE_S: Final = 0.002
COPY_BYTES: Final = 100
"""About what a copy takes on the line; what a larger one takes beyond that is waited for behind it."""
LONGEST_S: Final = 6.0
"""Of a search: after the routers' burst each kind waits for an answer, which comes once a second."""
LONGEST_BLANK_S: Final = 15.0
"""The same for kinds of which nothing is known by then."""
MOST_SUSPECTS: Final = 64
"""Kinds of one search."""
FEW_KINDS: Final = 3
"""So many are traced at once in full: with what passes they stay below the routers' burst."""
ROUNDS_TO_HEAR: Final = 3
"""In which routers are asked again that have answered nothing so far; under loss the answers come late."""
STARVED_ROUNDS: Final = 10
"""The same where routers have spent their answers on refusing us."""
MOST_TRIES: Final = 2
"""Copies for the hop where others are lost, before a kind is traced by itself."""
AT_ONCE: Final = 8
"""Copies for one hop in the first round; in later ones twice as many as were answered, and FEWEST at least."""
FEWEST: Final = 2
DRY_S: Final = 2.5
"""After which a router that had no answer left has two again, at one a second."""
WAITING_S: Final = 0.25
"""Before the next round where the last one told nothing: routers gather answers meanwhile."""
REFERENCES: Final = 2
MORE_REFERENCES: Final = 4
"""The same where any may be lost."""
LITTLE_LOSS: Final = 0.02
ENOUGH_REFERENCES: Final = 2
"""Answers at once that show that the router had one to give for the copies before them: gathering one takes it longer than a group."""
LARGEST_GROUP: Final = 64
"""Silent copies between references."""
LONGEST_GROUP_S: Final = 0.4
"""From a silent copy to the references behind it; what takes longer on a busy machine counts for nothing."""


class Wanted(NamedTuple):
    """A copy to be sent."""

    kind: Copied
    ttl: int
    group: int = 0
    """Of silent copies and their references; 0: of none."""
    reference: bool = False
    """It is known to be answered where the router has an answer to give."""


@dataclass(eq=False, slots=True)
class _Place:
    """What is known of one kind."""

    kind: Copied
    quiet: Counter[int] = field(default_factory=Counter)
    """By TTL: silent copies that count."""
    silent: set[int] = field(default_factory=set)
    """TTLs of routers that are shown not to be reached."""
    tries: Counter[int] = field(default_factory=Counter)
    swept: bool = False

    @property
    def last(self) -> int:
        """The TTL of the last router that is shown to be reached; 0: none is."""
        return max(self.kind.answered, default=0)

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known of it at all."""
        return not (self.last or self.silent or self.kind.refused)

    def beyond(self, end: int) -> int:
        """The TTL of the first router that is shown not to be reached; `end`: that of the other end."""
        return min((ttl for ttl in (*self.silent, *self.kind.refused) if ttl > self.last), default=end)


@dataclass(slots=True)
class HopSearch:
    """One search in one direction."""

    tap: IcmpTap
    recorder: Recorder
    direction: Direction
    source: Address
    destination: Address
    highest_ttl: int
    """Hops to the other end, as far as it is known: its own TTL."""
    patience_s: float
    """How long an answer may take."""
    loss: Background
    """Of what is answered: on the way there and back together."""
    pacer: Pacer
    starved: bool = False
    """Routers have refused us, and may have no answers left for a moment."""
    _passing: Copied = field(init=False)
    _places: list[_Place] = field(init=False, default_factory=list)
    _dry_at: dict[int, float] = field(init=False, default_factory=dict)
    """By TTL: when the router had no answer left, last."""
    _groups: int = field(init=False, default=0)
    """Groups of silent copies so far."""
    _answers: Counter[int] = field(init=False, default_factory=Counter)
    """By TTL: how many copies were answered in the last round."""
    _rounds: int = field(init=False, default=0)
    _began: float = field(init=False, default=0.0)

    async def run(self, passing: Copied, kinds: Sequence[Copied]) -> list[TtlTrace]:
        """Traces of what passes and of each kind."""
        self._passing = passing
        self._places = [_Place(kind) for kind in kinds]
        self._began = self.tap.stack.now()
        first = self._places if len(self._places) <= FEW_KINDS else self._places[:1]
        await self._ask(
            [Wanted(passing, ttl) for ttl in range(1, self.highest_ttl + 1)] + [one for place in first for one in self._sweep(place)]
        )
        while (open_places := self._open()) or self._unheard():
            known = self._known()
            await self._ask(self._next(open_places))
            if self._known() == known:
                await asyncio.sleep(WAITING_S)
        return [
            TtlTrace(passing.check, self.direction, self._hops(passing, set()), passing.reached, passes=True),
            *(
                TtlTrace(
                    place.kind.check,
                    self.direction,
                    self._hops(place.kind, place.silent),
                    place.kind.reached,
                    silent=frozenset(ttl for ttl in place.silent if ttl > place.last),
                    refused=dict(sorted(place.kind.refused.items())),
                )
                for place in self._places
            ),
        ]

    @property
    def _speaking(self) -> dict[int, str]:
        """By TTL: routers that have answered for anything."""
        found = dict(self._passing.answered)
        for place in self._places:
            found |= place.kind.answered
        return found

    def _between(self, place: _Place) -> list[int]:
        """TTLs of routers that speak, of which it is not known whether they are reached."""
        return sorted(ttl for ttl in self._speaking if place.last < ttl < place.beyond(self.highest_ttl))

    def _open(self) -> list[_Place]:
        """Those of which more can be known, and for which there is time; those first of which the least is."""
        took_s = self.tap.stack.now() - self._began
        found = [p for p in self._places if self._between(p) and took_s < (LONGEST_BLANK_S if p.is_blank else LONGEST_S)]
        return sorted(found, key=lambda place: (not place.is_blank, sum(place.tries.values())))

    def _next(self, open_places: Sequence[_Place]) -> list[Wanted]:
        """The copies of the next round."""
        self._rounds += 1
        wanted, asked = self._unheard(), Counter[int]()
        quiet: dict[int, list[_Place]] = defaultdict(list)
        for place in open_places:
            between = self._between(place)
            guess = self._guess(place)
            if guess in between and place.tries[guess] < MOST_TRIES:
                behind = [ttl for ttl in between if ttl > guess]
                # Where it has no turn there, an earlier router that has answers left tells at least so much.
                turn = next((ttl for ttl in reversed(between) if ttl <= guess and asked[ttl] < self._most_at(ttl)), None)
                if turn is not None:
                    asked[turn] += 1
                    place.tries[turn] += 1
                    wanted.append(Wanted(place.kind, turn))
                if behind and not self._is_dry(behind[0]):
                    quiet[behind[0]].append(place)
            elif not place.swept:
                wanted += self._sweep(place)
            else:
                dry = self._is_dry(between[0])
                wanted += self._one_more(place, between if dry else between[1:], asked)
                if not dry:
                    quiet[between[0]].append(place)
        return wanted + self._silences(quiet)

    def _is_dry(self, ttl: int) -> bool:
        """Whether the router may not have answers enough for references by now."""
        return self.tap.stack.now() - self._dry_at.get(ttl, -DRY_S) < DRY_S

    def _one_more(self, place: _Place, ttls: Sequence[int], asked: Counter[int]) -> list[Wanted]:
        """One copy more for each of some routers: any that answers tells more than silence."""
        found = []
        for ttl in ttls:
            if asked[ttl] < self._most_at(ttl):
                asked[ttl] += 1
                found.append(Wanted(place.kind, ttl))
        return found

    def _sweep(self, place: _Place) -> list[Wanted]:
        """One copy for each router before the place where it is lost."""
        place.swept = True
        return [Wanted(place.kind, ttl) for ttl in range(place.last + 1, min(self.highest_ttl, place.beyond(self.highest_ttl)))]

    def _guess(self, place: _Place) -> int:
        """Where most others are lost, those of the same transport before others; 0: nothing is known of any."""
        known = [other for other in self._places if other is not place and (other.swept or not self._between(other)) and other.last]
        same = [other for other in known if other.kind.check.transport is place.kind.check.transport]
        found = Counter(other.last for other in same or known).most_common(1)
        return found[0][0] if found else 0

    def _most_at(self, ttl: int) -> int:
        return AT_ONCE if self._rounds <= 2 else max(FEWEST, 2 * self._answers[ttl])

    def _unheard(self) -> list[Wanted]:
        """What passes, for routers that may speak and have not: where the answer is not lost they are silent."""
        if self._rounds > (STARVED_ROUNDS if self.starved else ROUNDS_TO_HEAR):
            return []
        end = self._passing.reached or self.highest_ttl
        within = [(place.last, place.beyond(end)) for place in self._places]
        speaking = self._speaking
        missing = [ttl for ttl in range(1, end) if ttl not in speaking and any(low < ttl < high for low, high in within)]
        return [Wanted(self._passing, ttl) for ttl in missing]

    def _silences(self, quiet: dict[int, list[_Place]]) -> list[Wanted]:
        """Copies that are expected to stay without an answer, and behind each group of them a few of what that router answers for."""
        wanted: list[Wanted] = []
        each_s = max(PACE_S, self.pacer.takes_s(COPY_BYTES))
        largest = max(1, min(LARGEST_GROUP, int(LONGEST_GROUP_S / each_s) - MORE_REFERENCES))
        for ttl, places in quiet.items():
            silent = [place.kind for place in places for _ in range(self._copies_needed(place, ttl))]
            silent.sort(key=lambda _: self.tap.stack.entropy(4))
            for start in range(0, len(silent), largest):
                self._groups += 1
                wanted += [Wanted(kind, ttl, self._groups) for kind in silent[start : start + largest]]
                references = MORE_REFERENCES if self._loses else REFERENCES
                wanted += [Wanted(self._passing_at(ttl), ttl, self._groups, reference=True)] * references
        return wanted

    @property
    def _loses(self) -> bool:
        """Whether the path loses so much that references are lost too."""
        return self.loss.lost > LITTLE_LOSS * (self.loss.lost + self.loss.passed)

    def _passing_at(self, ttl: int) -> Copied:
        """A kind that the router has answered for."""
        others = [place.kind for place in self._places if ttl in place.kind.answered]
        return self._passing if ttl in self._passing.answered or not others else others[0]

    def _copies_needed(self, place: _Place, ttl: int) -> int:
        """How many more silent copies rule out the path's own loss."""
        needed = (self.loss + Background(0, len(self._passing.answered))).trials_needed(ERROR_BOUND)
        return max(0, needed - place.quiet[ttl])

    async def _ask(self, wanted: Sequence[Wanted]) -> None:
        """Sends copies, waits for answers, and takes what they tell."""
        ends = {"source": self.source, "destination": self.destination}
        copies: list[Copy] = []
        for kind, ttl, _, _ in wanted:
            await self.pacer.admit(COPY_BYTES)
            copies.append(self.tap.send(self.recorder, kind, ttl=ttl, **ends))
            self.pacer.charge(max(0, copies[-1].size - COPY_BYTES))
            await asyncio.sleep(PACE_S)
        if copies:
            await asyncio.sleep(self.patience_s)
        self.tap.forget(copies)
        self._answers = Counter(copy.ttl for copy in copies if copy.answered)
        references = Counter(one.ttl for one, copy in zip(wanted, copies, strict=True) if one.reference and copy.answered)
        now = self.tap.stack.now()
        self._dry_at |= {one.ttl: now for one in wanted if one.reference and references[one.ttl] < ENOUGH_REFERENCES}
        self._take_silences(list(zip(wanted, copies, strict=True)))

    def _take_silences(self, sent: Sequence[tuple[Wanted, Copy]]) -> None:
        """Counts silent copies where the router had answers to give: it answered two references at once right behind them."""
        references: dict[int, list[Copy]] = defaultdict(list)
        for wanted, copy in sent:
            if wanted.reference:
                references[wanted.group].append(copy)
        places = {place.kind: place for place in self._places}
        for wanted, copy in sent:
            behind = references[wanted.group]
            if wanted.reference or sum(reference.answered for reference in behind) < ENOUGH_REFERENCES:
                continue
            if behind[0].at - copy.at <= LONGEST_GROUP_S:
                places[copy.of].quiet[copy.ttl] += 1
        for place in self._places:
            place.silent |= {ttl for ttl in place.quiet if ttl not in place.kind.answered and not self._copies_needed(place, ttl)}

    def _known(self) -> list[tuple[int, int]]:
        return [(place.last, place.beyond(self.highest_ttl)) for place in self._places]

    @staticmethod
    def _hops(kind: Copied, silent: Iterable[int]) -> dict[int, str | None]:
        """By TTL that a copy was sent with."""
        return {ttl: kind.answered.get(ttl) for ttl in sorted({*kind.sent, *silent})}
