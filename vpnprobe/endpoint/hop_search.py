"""Between which two hops kinds of packets vanish, by TTL-limited copies of each beside a kind that passes, in one direction.

A router that answers for a copy was reached by that kind. A router that does not is no evidence by itself: copies and answers get lost, and
routers answer about six copies in a burst and then one a second for each asker (Linux). So silence counts only between two answers of that
router for a kind that passes there, and only so many silent copies that the path's own loss explains them with ERROR_BOUND at most.

What passes is traced once for all kinds. Where one kind is lost the others are looked for next, with copies for that hop and the one behind
it alone: the silent ones cost no router an answer. A kind that is lost elsewhere is traced by itself. Kinds for which the routers have no
answers left when the time is over keep the wider place that is shown by then.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.ttl_probe import Copied, Copy, IcmpTap
from vpnprobe.evidence.records import TtlTrace
from vpnprobe.evidence.statistics import ERROR_BOUND, Background
from vpnprobe.observations.schema import Direction
from vpnprobe.transports.stack import Address

PACE_S: Final = 0.004
LONGEST_S: Final = 8.0
"""Of a search: after the routers' burst each kind waits for an answer, which comes once a second."""
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
WAITING_S: Final = 0.25
"""Before the next round where the last one told nothing: routers gather answers meanwhile."""
FRESH_S: Final = 1.5
"""A router's answer shows so long that it has answers to give."""
REFERENCES: Final = 2
"""Copies of what passes behind silent ones: one of them may be lost."""


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
    starved: bool = False
    """Routers have refused us, and may have no answers left for a moment."""
    longest_s: float = LONGEST_S
    _passing: Copied = field(init=False)
    _places: list[_Place] = field(init=False, default_factory=list)
    _heard_at: dict[int, float] = field(init=False, default_factory=dict)
    """By TTL: when the router answered for what passes, last."""
    _answers: Counter[int] = field(init=False, default_factory=Counter)
    """By TTL: how many copies were answered in the last round."""
    _rounds: int = field(init=False, default=0)

    async def run(self, passing: Copied, kinds: Sequence[Copied]) -> list[TtlTrace]:
        """Traces of what passes and of each kind."""
        self._passing = passing
        self._places = [_Place(kind) for kind in kinds]
        deadline = self.tap.stack.now() + self.longest_s
        first = self._places if len(self._places) <= FEW_KINDS else self._places[:1]
        await self._ask([(passing, ttl) for ttl in range(1, self.highest_ttl + 1)] + [one for place in first for one in self._sweep(place)])
        while (wanted := self._next()) and self.tap.stack.now() < deadline:
            known = self._known()
            await self._ask(wanted)
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

    def _next(self) -> list[tuple[Copied, int]]:
        """The copies of the next round; empty: all is known, or cannot be."""
        self._rounds += 1
        open_places = [place for place in self._places if self._between(place)]
        wanted, asked = self._unheard(), Counter[int]()
        quiet: dict[int, list[_Place]] = defaultdict(list)
        for place in sorted(open_places, key=lambda place: sum(place.tries.values())):
            between = self._between(place)
            guess = self._guess(place)
            if guess in between and place.tries[guess] < MOST_TRIES:
                behind = [ttl for ttl in between if ttl > guess]
                if asked[guess] < self._most_at(guess):
                    asked[guess] += 1
                    place.tries[guess] += 1
                    wanted.append((place.kind, guess))
                if behind:
                    quiet[behind[0]].append(place)
            elif not place.swept:
                wanted += self._sweep(place)
            else:
                wanted += self._one_more(place, between, asked)
                quiet[between[0]].append(place)
        return wanted + self._silences(quiet)

    def _one_more(self, place: _Place, between: Sequence[int], asked: Counter[int]) -> list[tuple[Copied, int]]:
        """Once more for the routers behind the next one: any of them that answers tells more than silence."""
        found = []
        for ttl in between[1:]:
            if asked[ttl] < self._most_at(ttl):
                asked[ttl] += 1
                found.append((place.kind, ttl))
        return found

    def _sweep(self, place: _Place) -> list[tuple[Copied, int]]:
        """One copy for each router before the place where it is lost."""
        place.swept = True
        return [(place.kind, ttl) for ttl in range(place.last + 1, min(self.highest_ttl, place.beyond(self.highest_ttl)))]

    def _guess(self, place: _Place) -> int:
        """Where most others are lost, those of the same transport before others; 0: nothing is known of any."""
        known = [other for other in self._places if other is not place and (other.swept or not self._between(other)) and other.last]
        same = [other for other in known if other.kind.check.transport is place.kind.check.transport]
        found = Counter(other.last for other in same or known).most_common(1)
        return found[0][0] if found else 0

    def _most_at(self, ttl: int) -> int:
        return AT_ONCE if self._rounds <= 2 else max(FEWEST, 2 * self._answers[ttl])

    def _unheard(self) -> list[tuple[Copied, int]]:
        """What passes, for routers that may speak and have not: where the answer is not lost they are silent."""
        if self._rounds > (STARVED_ROUNDS if self.starved else ROUNDS_TO_HEAR):
            return []
        end = self._passing.reached or self.highest_ttl
        within = [(place.last, place.beyond(end)) for place in self._places]
        speaking = self._speaking
        missing = [ttl for ttl in range(1, end) if ttl not in speaking and any(low < ttl < high for low, high in within)]
        return [(self._passing, ttl) for ttl in missing]

    def _silences(self, quiet: dict[int, list[_Place]]) -> list[tuple[Copied, int]]:
        """Copies that are expected to stay without an answer, between two answers of that router for what passes."""
        wanted: list[tuple[Copied, int]] = []
        now = self.tap.stack.now()
        for ttl, places in quiet.items():
            if now - self._heard_at.get(ttl, -FRESH_S) < FRESH_S:
                wanted += [(place.kind, ttl) for place in places for _ in range(self._copies_needed(place, ttl))]
        order = sorted(wanted, key=lambda _: self.tap.stack.entropy(4))
        return order + [(self._passing_at(ttl), ttl) for ttl in quiet for _ in range(REFERENCES if self.loss.lost else 1)]

    def _passing_at(self, ttl: int) -> Copied:
        """A kind that the router has answered for."""
        others = [place.kind for place in self._places if ttl in place.kind.answered]
        return self._passing if ttl in self._passing.answered or not others else others[0]

    def _copies_needed(self, place: _Place, ttl: int) -> int:
        """How many more silent copies rule out the path's own loss."""
        needed = (self.loss + Background(0, len(self._passing.answered))).trials_needed(ERROR_BOUND)
        return max(0, needed - place.quiet[ttl])

    async def _ask(self, wanted: Sequence[tuple[Copied, int]]) -> None:
        """Sends copies, waits for answers, and takes what they tell."""
        ends = {"source": self.source, "destination": self.destination}
        copies: list[Copy] = []
        for kind, ttl in wanted:
            copies.append(self.tap.send(self.recorder, kind, ttl=ttl, **ends))
            await asyncio.sleep(PACE_S)
        await asyncio.sleep(self.patience_s)
        self.tap.forget(copies)
        self._answers = Counter(copy.ttl for copy in copies if copy.answered)
        self._take_silences(copies)
        for copy in copies:
            if copy.answered:
                self._heard_at[copy.ttl] = self.tap.stack.now()

    def _take_silences(self, copies: Sequence[Copy]) -> None:
        """Counts silent copies for a router which had answered before them and answered for a later one."""
        heard: dict[int, int] = {copy.ttl: number for number, copy in enumerate(copies) if copy.answered}
        now = self.tap.stack.now()
        answering = {ttl for ttl, at in self._heard_at.items() if now - at < 2 * FRESH_S + self.patience_s}
        for place in self._places:
            for number, copy in enumerate(copies):
                if copy.of is place.kind and copy.ttl in answering and number < heard.get(copy.ttl, -1):
                    place.quiet[copy.ttl] += 1
            for ttl in place.quiet:
                if ttl not in place.kind.answered and not self._copies_needed(place, ttl):
                    place.silent.add(ttl)

    def _known(self) -> list[tuple[int, int]]:
        return [(place.last, place.beyond(self.highest_ttl)) for place in self._places]

    @staticmethod
    def _hops(kind: Copied, silent: Iterable[int]) -> dict[int, str | None]:
        """By TTL that a copy was sent with."""
        return {ttl: kind.answered.get(ttl) for ttl in sorted({*kind.sent, *silent})}
