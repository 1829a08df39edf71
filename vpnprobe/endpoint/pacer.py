"""One pace for all that an end sends in a run, in bytes: a probe must not cause the loss that it measures.

What is to be sent asks for its moment: `Pacer.admit` waits for it, `Pacer.slot` tells when it will be. What follows by itself (answers,
repetitions) leaves at once, and what asks next waits for so much longer: `Pacer.charge`. Nobody waits while there is room, which on a fast
path is always. How fast is told by `Line`, from what the path shows.
"""

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from itertools import count
from typing import Final

FASTEST_BYTES_PER_S: Final = 4_000_000.0
"""From here on the pace is no hindrance."""
AT_ONCE_S: Final = 0.002
"""What may leave in so long leaves at once: finer timers than this cost more than they are worth."""
HEADERS: Final = 28
"""Bytes of the IPv4 and UDP headers."""
PACKET_BYTES: Final = 100
"""About what one packet of ours takes on the line: our payload in GRE, ESP or UDP."""


class Turn(IntEnum):
    """Who goes first of those that wait: what tells of the line, what is small, what is much."""

    LINE = 0
    PACKET = 1
    CONVERSATION = 2
    TUNNEL = 3


class Pacer:
    """Grants moments at `bytes_per_s`, in order of their turns, and within one in the order in which they are asked for."""

    def __init__(self, now: Callable[[], float], bytes_per_s: float = FASTEST_BYTES_PER_S, *, most_debt_s: float = math.inf) -> None:
        """`now`: seconds, the event loop's clock. `most_debt_s`: what left by itself holds others up for no longer."""
        self._now = now
        self._most_debt_s = most_debt_s
        self._bytes_per_s = bytes_per_s
        self._free_at = now()
        """When all that was granted so far has left at this pace."""
        self._waiting: list[tuple[Turn, int, int, asyncio.Future[None]]] = []
        """A heap of what waits: turn, number, size, and its moment."""
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def bytes_per_s(self) -> float:
        return self._bytes_per_s

    @bytes_per_s.setter
    def bytes_per_s(self, bytes_per_s: float) -> None:
        now = self._now()
        if self._free_at > now:
            self._free_at = now + (self._free_at - now) * self._bytes_per_s / bytes_per_s
        self._bytes_per_s = bytes_per_s
        self._arm()

    @property
    def busy(self) -> bool:
        """Whether more is to leave than leaves at once."""
        return bool(self._waiting) or self._free_at > self._now()

    def charge(self, size: int) -> None:
        """So many bytes leave now, whatever the pace: what comes after them waits."""
        now = self._now()
        self._free_at = min(max(self._free_at, now - AT_ONCE_S) + size / self._bytes_per_s, now + self._most_debt_s)

    def takes_s(self, size: int) -> float:
        """How long `size` bytes take at this pace, seconds."""
        return size / self._bytes_per_s

    def slot(self, size: int, now: float) -> float:
        """When `size` bytes may leave, `now` at the earliest; they count as sent from now on."""
        at = max(now, self._free_at)
        self.charge(size)
        return at

    async def admit(self, size: int, turn: Turn = Turn.PACKET) -> None:
        """Returns when `size` bytes may leave."""
        if not self._waiting and self._free_at <= self._now():
            self.charge(size)
            return
        moment = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (turn, next(self._numbers), size, moment))
        self._arm()
        await moment

    def close(self) -> None:
        """Who waits is let go."""
        if self._timer is not None:
            self._timer.cancel()
        for _, _, _, moment in self._waiting:
            moment.cancel()
        self._waiting.clear()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, self._free_at - self._now()), self._grant)

    def _grant(self) -> None:
        self._timer = None
        while self._waiting and self._free_at <= self._now() + AT_ONCE_S / 2:
            _, _, size, moment = heapq.heappop(self._waiting)
            if not moment.done():
                self.charge(size)
                moment.set_result(None)
        self._arm()


FIRST_BYTES_PER_S: Final = 4_000.0
"""What nothing is known of is taken for a slow modem."""
LEAST_BYTES_PER_S: Final = 3_000.0
NARROW_BYTES_PER_S: Final = 250_000.0
"""A line of less is told from a busy end by its pairs: their second packet is late by more than a program's own delays."""
AMPLE_BYTES_PER_S: Final = 1_000_000.0
"""A run takes no longer for it to keep to such a pace."""
SLOW_BYTES_PER_S: Final = 64_000.0
"""On a line of less, full-sized packets are few."""
CRAWLING_BYTES_PER_S: Final = 10_000.0
"""On a line of less, few ports are tried."""
SHARE_OF_NARROW: Final = 0.8
"""Of what such a line carries: the rest is for what is not asked for, acknowledgments and the tail of queues."""
SHARE_OF_WIDE: Final = 0.5
QUEUE_LOW_S: Final = 0.015
QUEUE_HIGH_S: Final = 0.04
"""Delay beyond the least that was seen: less is none, more is a queue, our own until it is known better."""
SAMPLES: Final = 4
"""A queue is what the least of so many samples shows: single ones are late for many reasons (RFC 6817 section 3.2)."""
HELD_S: Final = 0.1
"""Beyond two round trips: answers that come together so late were held back."""
PAIRS: Final = 5
"""The last pairs, from which what the line carries is estimated: by the middle one."""
LEAST_PAIRS: Final = 3
"""That tell what a line carries, where not the first shows it to be wide by coming back as fast as on a wide line alone."""
ALIKE: Final = 1.5
SHORTEST_GAP_S: Final = 1e-4
"""Clocks and programs tell no shorter one."""


class Line:
    """What the path carries, as its round trips show it, and the pace that follows.

    It starts gently and doubles while no queue grows, as in TCP's slow start (RFC 5681 section 3.1). A queue lowers it at once (as LEDBAT
    does, RFC 6817), and it grows by less from then on. Two packets that left together come apart by what the second takes on the slowest
    link: on a narrow line that is a limit before any queue is there.
    """

    def __init__(self, now: Callable[[], float], round_trip_s: float = math.inf) -> None:
        """`round_trip_s`: what one took at most while nothing else was under way."""
        self.pacer = Pacer(now, FIRST_BYTES_PER_S)
        self.on_change: Callable[[], None] | None = None
        """Called when the pace has changed."""
        self._now = now
        self._least_s = round_trip_s
        self._queues: deque[float] = deque(maxlen=SAMPLES)
        self._not_ours_s = 0.0
        """Delay that is there at the least pace too: the path's own, or that of others."""
        self._stayed = False
        """A queue was there at the least pace already, and may have been what had left before."""
        self._changed_at = now()
        self._fell = False
        self._pairs: deque[float] = deque(maxlen=PAIRS)
        self._apart: deque[bool] = deque(maxlen=PAIRS)
        """Which of them had answers that were not read at once."""
        self._least_pair_s = math.inf
        """What a pair took at the least."""
        self._fastest_pair = 0.0
        """What the fastest pair shows: on a line that is wide the others may be late for a program's own delays."""
        self.narrow_bytes_per_s: float | None = None
        """What the line carries where it is narrow; None: it is not known to be."""
        self.told = asyncio.Event()
        """Set once there is an estimate, or none is to be had."""

    def takes_s(self, size: int) -> float:
        """How long others may have to wait for `size` bytes, seconds; nothing to speak of where the line is not known to be narrow."""
        return self.pacer.takes_s(size) if self.narrow_bytes_per_s is not None else 0.0

    @property
    def wants_pairs(self) -> bool:
        """Whether it is not known to be wide enough for any pace, and fewer pairs than could tell it were answered."""
        limits = self.narrow_bytes_per_s is not None or SHARE_OF_NARROW * self._fastest_pair < AMPLE_BYTES_PER_S
        return not self.told.is_set() or (limits and len(self._pairs) < PAIRS)

    @property
    def agreed(self) -> bool:
        """Whether all of the last pairs come to about the same: chance makes no such."""
        return len(self._pairs) == PAIRS and max(self._pairs) <= ALIKE * min(self._pairs)

    @property
    def slow(self) -> bool:
        """Whether it is known to carry less than SLOW_BYTES_PER_S."""
        return self.narrow_bytes_per_s is not None and self.narrow_bytes_per_s < SLOW_BYTES_PER_S

    @property
    def crawling(self) -> bool:
        """Whether it is known to carry less than CRAWLING_BYTES_PER_S."""
        return self.narrow_bytes_per_s is not None and self.narrow_bytes_per_s < CRAWLING_BYTES_PER_S

    def answered(self, left_at: float) -> None:
        """A small packet that left then, on the clock `now`, has just been answered."""
        round_trip_s = self._now() - left_at
        self._least_s = min(self._least_s, round_trip_s)
        self._queues.append(round_trip_s - self._least_s)
        if len(self._queues) == SAMPLES:
            self._not_ours_s = min(self._not_ours_s, max(self._queues))
        queue_s = min(self._queues) - self._not_ours_s
        if left_at < self._changed_at:
            return  # It says nothing of this pace.
        if queue_s > QUEUE_HIGH_S and len(self._queues) == SAMPLES:
            self._fell = True
            self._queues.clear()
            if self.pacer.bytes_per_s <= LEAST_BYTES_PER_S and not self.crawling:
                self._not_ours_s += queue_s if self._stayed else 0.0
                self._stayed = not self._stayed
                return
            self._change(self.pacer.bytes_per_s / 2)
            self.pacer.charge(int(queue_s * self.pacer.bytes_per_s))  # Until the queue is gone.
        elif queue_s < QUEUE_LOW_S and self.pacer.busy:
            self._stayed = False
            self._change(self.pacer.bytes_per_s * (1.25 if self._fell else 2.0))

    def paired(self, size: int, gap_s: float, *, took_s: float = 0.0, again: bool = False) -> None:
        """The answers to two packets of `size` bytes that left together came `gap_s` apart, the last `took_s` after they had left.

        `again`: something was sent again meanwhile. What came back fast did not wait for that, which takes two round trips at the least.
        """
        self._least_pair_s = min(self._least_pair_s, took_s or math.inf)
        # The first round trips may have waited for a lost segment, each of them.
        least_s = min(self._least_s, self._least_pair_s)
        if again and took_s > 1.5 * least_s + QUEUE_LOW_S:
            return
        carried = size / max(gap_s, SHORTEST_GAP_S)
        if carried >= NARROW_BYTES_PER_S and took_s > 2 * least_s + HELD_S:
            return  # Answers behind a segment that was lost come together, however narrow the line.
        self._pairs.append(carried)
        self._apart.append(gap_s > SHORTEST_GAP_S)
        self._fastest_pair = self._fastest(max(self._fastest_pair, carried))
        carried = sorted(self._pairs)[len(self._pairs) // 2]
        # Two answers may be read at once by an end that is late, and the second may have been sent again by the other, which it says later.
        prompt = took_s <= least_s + 4 * size / NARROW_BYTES_PER_S
        if len(self._pairs) < LEAST_PAIRS and not (carried >= NARROW_BYTES_PER_S and prompt):
            return
        wide = sum(pair >= NARROW_BYTES_PER_S for pair in self._pairs)
        known_wide = self.told.is_set() and self.narrow_bytes_per_s is None and wide > 1  # One may be of an end that is late.
        self.narrow_bytes_per_s = carried if carried < NARROW_BYTES_PER_S and not known_wide else None
        least = FIRST_BYTES_PER_S if self.narrow_bytes_per_s is not None else SHARE_OF_WIDE * carried
        self._change(self.pacer.bytes_per_s if self._fell else max(self.pacer.bytes_per_s, least))
        self.told.set()

    def _fastest(self, seen: float) -> float:
        """What the fastest pair shows, `seen`; or what two others agree on, where few answers were read at once.

        On a path that puts packets in another order the second answer may wait for the first, and both are read at once.
        """
        apart = sorted(pair for pair, is_apart in zip(self._pairs, self._apart, strict=True) if is_apart)
        two = apart[-2:]
        return two[1] if len(apart) > 1 and 2 * len(apart) > len(self._pairs) and two[1] <= ALIKE * two[0] else seen

    def _change(self, bytes_per_s: float) -> None:
        carries = self.narrow_bytes_per_s or self._fastest_pair or math.inf
        bytes_per_s = max(LEAST_BYTES_PER_S, min(FASTEST_BYTES_PER_S, SHARE_OF_NARROW * carries, bytes_per_s))
        if bytes_per_s != self.pacer.bytes_per_s:
            self.pacer.bytes_per_s = bytes_per_s
            self._changed_at = self._now()
            if self.on_change is not None:
                self.on_change()
