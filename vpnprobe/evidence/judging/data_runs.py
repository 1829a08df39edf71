"""What the packets of data sessions show of a limit: on size, on their number, or none. Counting alone; what is said of it is `data`'s.

Over UDP each packet is a trial of its own; over TCP a session is one, since everything behind the first lost segment is lost with it.
Sizes are bytes of the outer IP packet over IPv4: UDP payload and 28, or the packet in the stream and 54 (IPv4 and TCP headers with
timestamps, and the packet's length). Pure.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from vpnprobe.evidence.departures import Departure
from vpnprobe.evidence.judging.packets import LOSS_WORTH_A_WORD
from vpnprobe.evidence.packet_counts import Count, session_part
from vpnprobe.evidence.statistics import LEAST_TRIALS, Background
from vpnprobe.observations.schema import Cause, Outcome

UDP_CARRIER_BYTES: Final = 28
"""IPv4 and UDP headers."""
TCP_CARRIER_BYTES: Final = 54
"""IPv4 and TCP headers with timestamps, and the packet's length."""
LEAST_BEHIND_A_CUT: Final = 8
"""Packets of sizes that pass which must be missing at the end of a session before it is called cut."""
MOST_OF_THEM: Final = 0.6
"""Share of the stalled streams whose first missing packet must be too large."""
BEYOND: Final = 1.25
"""A session that got so many times further than those that are cut shows that there is no cut: flows are counted with their handshake,
which takes more packets where some are lost."""
AS_LONG: Final = 0.8
"""A session of so great a share of the packets of one that is cut would have been cut as well."""
SAME_PLACE: Final = 0.7
"""Streams that a filter cuts end after about as many packets; the least of them after this share of the most. Chance is not so even."""
UNDECIDED: Final = 1.0
"""The error bound of a limit on size that a cut would explain as well."""
MOST_SIZES: Final = 10
"""More sizes than that are told as ranges."""
RANGES: Final = (128, 576, 1200, 1400, 1450, 1500)
"""Upper ends of the ranges, bytes of the outer IP packet."""


@dataclass(frozen=True, slots=True)
class DataPacket:
    """One data packet."""

    size: int
    """Bytes of the outer IP packet; 0: not known."""
    came: bool
    at: float = 0.0
    """When it left, seconds on the client's clock; where it is not known, when it came."""
    block: int | None = None
    """The number of the block within which it left; None: within none that is known."""

    @property
    def departure(self) -> Departure:
        return Departure(self.at, self.block)


Bound = Callable[[Sequence[DataPacket], Background, int], float]
"""How likely at most these are all lost where the path treats them as others.

The second: how many of their own kind were lost or came. The third: of how many that were possible this limit was chosen, once it was known
what was lost.
"""
Session = tuple[DataPacket, ...]
"""The packets of one session in the order in which they left."""


@dataclass(frozen=True, slots=True)
class DataLimit:
    """What the path does to data packets that otherwise pass."""

    outcome: Outcome
    cause: Cause
    error_bound: float
    detail: dict[str, Any]
    lost: tuple[DataPacket, ...] = ()
    """The trials that show it."""
    thresholds: int = 1
    """Of how many limits that were possible it was chosen, once it was known what was lost."""

    @property
    def undecided(self) -> bool:
        """Whether it may be a cut as well."""
        return self.cause is Cause.SIZE and self.error_bound >= UNDECIDED


@dataclass(frozen=True, slots=True)
class DataRun:
    """The data packets of all sessions in one direction."""

    sessions: tuple[Session, ...]
    stream: bool
    """Over TCP."""
    names: tuple[str, ...] = ()
    """Of the sessions."""

    @classmethod
    def of(cls, count: Count, *, stream: bool) -> "DataRun":
        """The packets by their sessions, in the order in which they left. `stream`: over TCP."""
        carrier = TCP_CARRIER_BYTES if stream else UDP_CARRIER_BYTES
        grouped: dict[str, list[tuple[float, int, DataPacket]]] = {}
        for place, (key, at) in enumerate((count.received | count.sent).items()):
            size = count.sizes.get(key, 0)
            packet = DataPacket(size + carrier if size else 0, key in count.received, at, count.blocks.get(key))
            grouped.setdefault(session_part(key), []).append((at, place, packet))
        sessions = tuple(tuple(packet for _, _, packet in sorted(rows, key=_by_time)) for rows in grouped.values())
        return cls(sessions, stream, tuple(grouped))

    @property
    def ends(self) -> dict[str, float]:
        """Of sessions that end with packets that never came: when the last left that did, by the session's name."""
        told = ((name, session, _head(session)) for name, session in zip(self.names, self.sessions, strict=True))
        return {name: session[head - 1].at for name, session, head in told if 0 < head < len(session)}

    @property
    def packets(self) -> list[DataPacket]:
        return [packet for session in self.sessions for packet in session]

    @property
    def to_its_end(self) -> "DataRun":
        """Without what was under way when a stream was closed: what is behind the last packet that came, since TCP repeats what is lost."""
        return replace(self, sessions=tuple(session[: _head(session)] for session in self.sessions)) if self.stream else self

    @property
    def trials(self) -> list[DataPacket]:
        """Trials of whether anything passes at all."""
        return [session[0] for session in self.sessions] if self.stream else self.packets

    @property
    def largest_passing(self) -> int:
        return max((packet.size for packet in self.packets if packet.came), default=0)

    def detail(self, *, left: bool, came: bool) -> dict[str, Any]:
        """`sessions`, and `by_size`: size, or range of sizes, to how many were sent and how many came.

        Besides the largest packet that passed (`largest_passed`), and how far the session came that came furthest: `longest_packets` and
        `longest_s`, up to its last packet that came.

        `left`, `came`: whether anybody could count them; None stands for what nobody could.
        """
        sizes = {size: [one if left else None, other if came else None] for size, (one, other) in _by_size(self.packets).items()}
        return {"sessions": len(self.sessions), "by_size": sizes, **(self._furthest if came else {})}

    @property
    def _furthest(self) -> dict[str, Any]:
        heads = [session[: _head(session)] for session in self.sessions]
        packets = max((sum(packet.came for packet in head) for head in heads), default=0)
        seconds = max((head[-1].at - head[0].at for head in heads if head), default=0.0)
        told = {"longest_packets": packets, "longest_s": round(seconds, 3), "largest_passed": self.largest_passing}
        return {name: value for name, value in told.items() if value}

    def limit(self, bound: Bound, least: float) -> DataLimit | None:
        """What is shown to limit data, some of which passes; None: nothing is. `least`: the bound that it takes."""
        found = self._limit_of_streams(bound) if self.stream else self._cut(bound) or self._limit_of_size(bound)
        return found if found is not None and found.error_bound <= least else None

    @property
    def lost(self) -> int:
        """How many never came."""
        return sum(not packet.came for packet in self.packets)

    @property
    def lossy(self) -> bool:
        """Whether enough is missing to be told, over UDP: TCP repeats what is lost."""
        return not self.stream and self.lost >= 2 and self.lost / len(self.packets) > LOSS_WORTH_A_WORD

    @property
    def all_too_large(self) -> bool:
        """Whether all that is missing is larger than all that came: chance does not lose so, though it may be too few for a proof."""
        return all(packet.came or packet.size > self.largest_passing for packet in self.packets)

    @property
    def sizes_around_the_largest(self) -> dict[str, Any]:
        """The largest size that passed, and the smallest of those that were lost above it; empty: none was."""
        larger = [packet for packet in self.packets if packet.size > self.largest_passing]
        return _around(self.largest_passing, larger) if larger else {}

    @property
    def all_at_the_end(self) -> bool:
        """Whether all that is missing is behind the last packet of its session that came, in several or many: chance does not lose so."""
        ended = sum(not session[-1].came for session in self.sessions)
        return (ended > 1 or self.lost >= LEAST_BEHIND_A_CUT) and all(
            packet.came for session in self.sessions for packet in session[: _head(session)]
        )

    @property
    def stalls(self) -> bool:
        """Whether most of the streams that might have got there stall at some place: not proven to be a limit, it is no pass either.

        A shorter session that passes is no word about what a longer one is cut by.
        """
        if not self.stream:
            return False
        ends = [(len(session), _head(session)) for session in self.sessions]
        stalled = {end for end in ends if end[1] < end[0]}
        return any(2 * sum(head <= end[1] for _, head in others) > len(others) for end in stalled if (others := _as_long(ends, end)))

    @property
    def stalled(self) -> int:
        """How many sessions end with a packet that never came."""
        return sum(not session[-1].came for session in self.sessions)

    def _limit_of_size(self, bound: Bound) -> DataLimit | None:
        """Where no packet behind a large one came either, a session may have been cut there: then nothing is shown."""
        largest = self.largest_passing
        larger = tuple(packet for packet in self.packets if packet.size > largest)
        if len(larger) < LEAST_TRIALS:
            return None
        if not any(_goes_on(session, largest) for session in self.sessions):
            return self._of_size(largest, larger, UNDECIDED)
        own = _loss_of(packet for packet in self.packets if packet.size <= largest)
        return self._of_size(largest, larger, bound(larger, own, self._sizes))

    @property
    def _sizes(self) -> int:
        """How many sizes there are above which none might pass."""
        return max(1, len({packet.size for packet in self.packets}) - 1)

    @property
    def _places(self) -> int:
        """How many places there are behind which a session might be cut."""
        return max((len(session) for session in self.sessions), default=1)

    def _of_size(self, largest: int, larger: tuple[DataPacket, ...], bound: float) -> DataLimit:
        return DataLimit(Outcome.DEGRADED, Cause.SIZE, bound, _around(largest, larger), larger, self._sizes)

    def _cut(self, bound: Bound) -> DataLimit | None:
        """Sessions of which the first packets came and none of a size that passes after them, where none as long got beyond.

        A shorter one may: it may be packets of both directions that are counted, or bytes, or seconds.
        """
        largest = self.largest_passing
        passing = [tuple(packet for packet in session if packet.size <= largest) for session in self.sessions]
        heads = [_head(session) for session in passing]
        cut = [place for place, session in enumerate(passing) if len(session) - heads[place] >= LEAST_BEHIND_A_CUT]
        if not cut:
            return None
        furthest, least = BEYOND * max(heads[place] for place in cut), AS_LONG * min(len(passing[place]) for place in cut)
        if any(heads[place] > furthest and len(session) >= least for place, session in enumerate(passing)):
            return None
        came = [packet for place in cut for packet in passing[place][: heads[place]]]
        lost = tuple(packet for place in cut for packet in passing[place][heads[place] :])
        after = max(sum(packet.came for packet in session) for session in passing)
        found = bound(lost, _loss_of(came), self._places)
        return DataLimit(Outcome.BLOCKED, Cause.PACKETS, found, {"cut_after": after}, lost, self._places)

    def _limit_of_streams(self, bound: Bound) -> DataLimit | None:
        """Streams that stall: at the first packet that is too large, or all at about the same place."""
        stalled = [session for session in self.sessions if not session[-1].came]
        if len(stalled) < LEAST_TRIALS:
            return None
        lost = tuple(next(packet for packet in session if not packet.came) for session in stalled)
        largest = self.largest_passing
        too_large = tuple(packet for packet in lost if packet.size > largest)
        came = [sum(packet.came for packet in session) for session in stalled]
        at_one_place = min(came) >= SAME_PLACE * max(came)
        if len(too_large) >= MOST_OF_THEM * len(stalled):
            # One that chance stopped earlier does not change what stops the others.
            return self._of_size(largest, too_large, UNDECIDED if at_one_place else bound(lost, Background(), self._sizes))
        beyond = any(len(session) > max(came) for session in self.sessions if session[-1].came)
        if beyond or not at_one_place:
            return None
        found = bound(lost, Background(), self._places)
        return DataLimit(Outcome.BLOCKED, Cause.PACKETS, found, {"cut_after": max(came)}, lost, self._places)


def _around(largest: int, larger: Iterable[DataPacket]) -> dict[str, Any]:
    return {"largest_passing": largest, "smallest_lost": min(packet.size for packet in larger)}


def _goes_on(session: Session, largest: int) -> bool:
    """Whether a packet that may pass came behind one that is too large."""
    first = next((place for place, packet in enumerate(session) if packet.size > largest), len(session))
    return any(packet.came for packet in session[first:])


def _by_time(row: tuple[float, int, DataPacket]) -> tuple[float, int]:
    return row[:2]


def _head(session: Session) -> int:
    """How many packets left up to the last that came."""
    return max((place for place, packet in enumerate(session, 1) if packet.came), default=0)


def _as_long(ends: Iterable[tuple[int, int]], stalled: tuple[int, int]) -> list[tuple[int, int]]:
    """Those of some sessions, each with its length and its head, that what stalled one would have stalled too."""
    return [(length, head) for length, head in ends if length > stalled[1] and length >= AS_LONG * stalled[0]]


def _loss_of(packets: Iterable[DataPacket]) -> Background:
    came = [packet.came for packet in packets]
    return Background(came.count(False), came.count(True))


def _by_size(packets: Sequence[DataPacket]) -> dict[str, list[int]]:
    sizes = sorted({packet.size for packet in packets if packet.size})
    found: dict[str, list[int]] = {}
    for packet in sorted(packets, key=lambda packet: packet.size):
        if packet.size:
            counts = found.setdefault(str(packet.size) if len(sizes) <= MOST_SIZES else _range(packet.size), [0, 0])
            counts[0] += 1
            counts[1] += packet.came
    return found


def _range(size: int) -> str:
    upper = next((end for end in RANGES if size <= end), None)
    if upper is None:
        return f"over {RANGES[-1]}"
    lower = max((end for end in RANGES if end < size), default=0)
    return f"{lower + 1}-{upper}"
