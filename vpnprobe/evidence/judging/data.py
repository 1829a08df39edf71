"""Streams of data packets, each direction by itself: a limit on size, a cut after so many packets, or neither.

Over UDP each packet is a trial of its own; over TCP a session is one, since everything behind the first lost segment is lost with it.
Sizes are bytes of the outer IP packet over IPv4: UDP payload and 28, or the packet in the stream and 54 (IPv4 and TCP headers with
timestamps, and the packet's length). Pure.

Invariant: a limit is named only where enough fresh packets are missing to rule out the path's own loss, which is counted on what passes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from vpnprobe.evidence.judging.base import WAYS, Judge
from vpnprobe.evidence.judging.packets import LOSS_WORTH_A_WORD
from vpnprobe.evidence.naming import form_detail
from vpnprobe.evidence.packet_counts import Count, session_part
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.statistics import ERROR_BOUND, LEAST_TRIALS, Background
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport

UDP_CARRIER_BYTES: Final = 28
"""IPv4 and UDP headers."""
TCP_CARRIER_BYTES: Final = 54
"""IPv4 and TCP headers with timestamps, and the packet's length."""
LEAST_BEHIND_A_CUT: Final = 8
"""Packets of sizes that pass which must be missing at the end of a session before it is called cut."""
MOST_OF_THEM: Final = 0.6
"""Share of the stalled streams whose first missing packet must be too large."""
SAME_PLACE: Final = 0.7
"""Streams that a filter cuts end after about as many packets; the least of them after this share of the most. Chance is not so even."""
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


Bound = Callable[[Sequence[DataPacket], Background], float]
"""How likely at most these are all lost where the path treats them as others; the second: how many of their own kind were lost or came."""
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


@dataclass(frozen=True, slots=True)
class DataRun:
    """The data packets of all sessions in one direction."""

    sessions: tuple[Session, ...]
    stream: bool
    """Over TCP."""

    @classmethod
    def of(cls, count: Count, *, stream: bool) -> "DataRun":
        """The packets by their sessions, in the order in which they left. `stream`: over TCP."""
        carrier = TCP_CARRIER_BYTES if stream else UDP_CARRIER_BYTES
        grouped: dict[str, list[tuple[float, int, DataPacket]]] = {}
        for place, (key, at) in enumerate((count.received | count.sent).items()):
            size = count.sizes.get(key, 0)
            packet = DataPacket(size + carrier if size else 0, key in count.received, at)
            grouped.setdefault(session_part(key), []).append((at, place, packet))
        return cls(tuple(tuple(packet for _, _, packet in sorted(rows, key=_by_time)) for rows in grouped.values()), stream)

    @property
    def packets(self) -> list[DataPacket]:
        return [packet for session in self.sessions for packet in session]

    @property
    def trials(self) -> list[DataPacket]:
        """Trials of whether anything passes at all."""
        return [session[0] for session in self.sessions] if self.stream else self.packets

    @property
    def largest_passing(self) -> int:
        return max((packet.size for packet in self.packets if packet.came), default=0)

    def detail(self, *, left: bool, came: bool) -> dict[str, Any]:
        """`sessions`, and `by_size`: size, or range of sizes, to how many were sent and how many came.

        `left`, `came`: whether anybody could count them; None stands for what nobody could.
        """
        sizes = {size: [one if left else None, other if came else None] for size, (one, other) in _by_size(self.packets).items()}
        return {"sessions": len(self.sessions), "by_size": sizes}

    def limit(self, bound: Bound, least: float = ERROR_BOUND) -> DataLimit | None:
        """What is shown to limit data, some of which passes; None: nothing is. `least`: the bound that it takes."""
        found = self._limit_of_streams(bound) if self.stream else self._cut(bound) or self._limit_of_size(bound)
        return found if found is not None and found.error_bound <= least else None

    @property
    def lossy(self) -> bool:
        """Whether enough is missing to be told, over UDP: TCP repeats what is lost."""
        lost = sum(not packet.came for packet in self.packets)
        return not self.stream and lost >= 2 and lost / len(self.packets) > LOSS_WORTH_A_WORD

    @property
    def all_too_large(self) -> bool:
        """Whether all that is missing is larger than all that came: chance does not lose so, though it may be too few for a proof."""
        return all(packet.came or packet.size > self.largest_passing for packet in self.packets)

    @property
    def all_stalled(self) -> bool:
        """Whether every stream ends with packets that never came: where that is not proven to be a limit, it is no pass either."""
        return self.stream and all(not session[-1].came for session in self.sessions)

    def _limit_of_size(self, bound: Bound) -> DataLimit | None:
        largest = self.largest_passing
        larger = tuple(packet for packet in self.packets if packet.size > largest)
        if len(larger) < LEAST_TRIALS:
            return None
        return _of_size(largest, larger, bound(larger, _loss_of(packet for packet in self.packets if packet.size <= largest)))

    def _cut(self, bound: Bound) -> DataLimit | None:
        """Sessions of which the first packets came and none of a size that passes after them, where no session got beyond."""
        largest = self.largest_passing
        passing = [tuple(packet for packet in session if packet.size <= largest) for session in self.sessions]
        heads = [_head(session) for session in passing]
        cut = [place for place, session in enumerate(passing) if heads[place] and len(session) - heads[place] >= LEAST_BEHIND_A_CUT]
        if not cut or max(heads) > max(heads[place] for place in cut):
            return None
        came = [packet for place in cut for packet in passing[place][: heads[place]]]
        lost = tuple(packet for place in cut for packet in passing[place][heads[place] :])
        after = max(sum(packet.came for packet in passing[place]) for place in cut)
        return DataLimit(Outcome.BLOCKED, Cause.RATE, bound(lost, _loss_of(came)), {"cut_after": after}, lost)

    def _limit_of_streams(self, bound: Bound) -> DataLimit | None:
        """Streams that stall: at the first packet that is too large, or all at about the same place."""
        stalled = [session for session in self.sessions if not session[-1].came]
        if len(stalled) < LEAST_TRIALS:
            return None
        lost = tuple(next(packet for packet in session if not packet.came) for session in stalled)
        largest, found = self.largest_passing, bound(lost, Background())
        too_large = tuple(packet for packet in lost if packet.size > largest)
        if len(too_large) >= MOST_OF_THEM * len(stalled) and len(stalled) == len(self.sessions):
            # One that chance stopped earlier does not change what stops the others.
            return _of_size(largest, too_large, found)
        came = [sum(packet.came for packet in session) for session in stalled]
        beyond = any(len(session) > max(came) for session in self.sessions if session[-1].came)
        if beyond or min(came) < SAME_PLACE * max(came):
            return None
        return DataLimit(Outcome.BLOCKED, Cause.RATE, found, {"cut_after": max(came)}, lost)


def data(judge: Judge, check: Check) -> Iterator[Observation]:
    """One observation a direction in which anything left or came."""
    for way in WAYS:
        count = judge.counts(check).total(way)
        if count.sent or count.received:
            yield _one_way(judge, check, way, count)


def _one_way(judge: Judge, check: Check, way: Direction, count: Count) -> Observation:
    """Passes, with loss, up to a size (degraded), cut after some packets, or nothing of it came (blocked).

    Where nobody kept a record at the receiving end, a packet came if it was answered: what is missing may then be the answer
    (`detail.round_trip`).
    """
    run = DataRun.of(count, stream=check.transport is Transport.TCP)
    witnessed = judge.would_have_recorded(check, way)
    counted = judge.counted(check, way, count)
    detail = {**form_detail(check), **run.detail(left=counted.sent is not None, came=counted.received is not None)}
    detail |= {"round_trip": True} if count.sent and not witnessed else {}
    found = judge.blank(check, way, replace(counted, sent=len(run.packets)) if counted.sent is not None else counted, detail)
    if not count.received:
        return judge.not_received(found, check, way, [trial.at for trial in run.trials])
    limit = None if judge.kept_by_host(check, way) else run.limit(_bound(judge, way))
    unproven = limit is not None and limit.outcome is Outcome.BLOCKED and not witnessed
    if unproven or (limit is None and run.all_stalled):
        return found
    if limit is None:
        cause = Cause.UNKNOWN if run.all_too_large and not _is_lossy(judge.loss[way]) else Cause.LOSS
        return replace(found, outcome=Outcome.DEGRADED, cause=cause) if run.lossy else replace(found, outcome=Outcome.PASS)
    detail = {**found.detail, **limit.detail}
    return replace(found, outcome=limit.outcome, cause=limit.cause, error_bound=limit.error_bound, detail=detail)


def _is_lossy(path: Background) -> bool:
    """Whether the path loses enough of everything to be told."""
    return path.lost > LOSS_WORTH_A_WORD * (path.lost + path.passed)


def trials_of(check: Check, count: Count) -> list[DataPacket]:
    """Trials of whether anything passes at all: packets, or over TCP the first of each session."""
    return DataRun.of(count, stream=check.transport is Transport.TCP).trials


def stalled_streams(check: Check, count: Count) -> int:
    """How many sessions over TCP ended with packets that never came, where all of them did; 0: not all of them, or there are none."""
    run = DataRun.of(count, stream=check.transport is Transport.TCP)
    return len(run.sessions) if run.all_stalled else 0


def _bound(judge: Judge, way: Direction) -> Bound:
    def bound(lost: Sequence[DataPacket], own: Background) -> float:
        found = judge.bound(way, [packet.at for packet in lost], judge.loss[way] + own, len(lost))
        return 1.0 if found is None else found

    return bound


def suspected_limit(judge: Judge, check: Check, way: Direction) -> DataLimit | None:
    """What would limit data that way, were its bound small enough; None: nothing looks so."""
    return DataRun.of(judge.counts(check).total(way), stream=check.transport is Transport.TCP).limit(_bound(judge, way), 1.0)


def _by_time(row: tuple[float, int, DataPacket]) -> tuple[float, int]:
    return row[:2]


def _head(session: Session) -> int:
    """How many packets left up to the last that came."""
    return max((place for place, packet in enumerate(session, 1) if packet.came), default=0)


def _of_size(largest: int, larger: tuple[DataPacket, ...], bound: float) -> DataLimit:
    detail = {"largest_passing": largest, "smallest_lost": min(packet.size for packet in larger)}
    return DataLimit(Outcome.DEGRADED, Cause.SIZE, bound, detail, larger)


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
