"""What the data packets of OpenVPN sessions show in one direction: a limit on size, a cut after so many packets, or neither.

Over UDP each packet is a trial of its own; over TCP a session is one, since everything behind the first lost segment is lost with it.
Sizes are bytes of the outer IP packet over IPv4: UDP payload and 28, or the packet in the stream and 54 (IPv4 and TCP headers with
timestamps, and the packet's length). Pure.

Invariant: a limit is named only where enough fresh packets are missing to rule out the path's own loss, which is counted on what passes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vpnprobe.evidence.packet_counts import Count, session_part
from vpnprobe.evidence.statistics import ERROR_BOUND, LEAST_TRIALS, Background
from vpnprobe.observations.schema import Cause, Outcome

UDP_CARRIER_BYTES: Final = 28
"""IPv4 and UDP headers."""
TCP_CARRIER_BYTES: Final = 54
"""IPv4 and TCP headers with timestamps, and the packet's length."""
LOSS_WORTH_A_WORD: Final = 0.05
"""Share of lost packets from which on, with at least two of them, what passes is called degraded."""
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


Session = tuple[DataPacket, ...]
"""The packets of one session in the order in which they left."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What the path does to data packets that otherwise pass."""

    outcome: Outcome
    cause: Cause
    error_bound: float
    detail: dict[str, Any]


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
            packet = DataPacket(size + carrier if size else 0, key in count.received)
            grouped.setdefault(session_part(key), []).append((at, place, packet))
        return cls(tuple(tuple(packet for _, _, packet in sorted(rows, key=_by_time)) for rows in grouped.values()), stream)

    @property
    def packets(self) -> list[DataPacket]:
        return [packet for session in self.sessions for packet in session]

    @property
    def trials(self) -> int:
        """Independent trials of whether anything passes at all."""
        return len(self.sessions) if self.stream else len(self.packets)

    @property
    def largest_passing(self) -> int:
        return max((packet.size for packet in self.packets if packet.came), default=0)

    def detail(self) -> dict[str, Any]:
        """`sessions`, and `by_size`: size, or range of sizes, to how many were sent and how many came."""
        return {"sessions": len(self.sessions), "by_size": _by_size(self.packets)}

    def limit(self, path: Background) -> Limit | None:
        """What is shown to limit data, some of which passes; None: nothing is. `path`: the loss of all else in this direction."""
        return self._limit_of_streams(path) if self.stream else self._cut(path) or self._limit_of_size(path)

    @property
    def lossy(self) -> bool:
        """Whether enough is missing to be told, over UDP: TCP repeats what is lost."""
        lost = sum(not packet.came for packet in self.packets)
        return not self.stream and lost >= 2 and lost / len(self.packets) > LOSS_WORTH_A_WORD

    @property
    def all_stalled(self) -> bool:
        """Whether every stream ends with packets that never came: where that is not proven to be a limit, it is no pass either."""
        return self.stream and all(not session[-1].came for session in self.sessions)

    def _limit_of_size(self, path: Background) -> Limit | None:
        largest = self.largest_passing
        larger = [packet.size for packet in self.packets if packet.size > largest]
        bound = (path + _loss_of(packet for packet in self.packets if packet.size <= largest)).chance_of_losing_all(len(larger))
        return _of_size(largest, min(larger), bound) if len(larger) >= LEAST_TRIALS and bound <= ERROR_BOUND else None

    def _cut(self, path: Background) -> Limit | None:
        """Sessions of which the first packets came and none of a size that passes after them, where no session got beyond."""
        passing = [tuple(packet for packet in session if packet.size <= self.largest_passing) for session in self.sessions]
        heads = [_head(session) for session in passing]
        bounds = {
            place: (path + _loss_of(session[: heads[place]])).chance_of_losing_all(len(session) - heads[place])
            for place, session in enumerate(passing)
            if heads[place] and len(session) - heads[place] >= LEAST_BEHIND_A_CUT
        }
        cut = {place: bound for place, bound in bounds.items() if bound <= ERROR_BOUND}
        if not cut:
            return None
        after = max(sum(packet.came for packet in passing[place]) for place in cut)
        beyond = max(heads) > max(heads[place] for place in cut)
        return None if beyond else Limit(Outcome.BLOCKED, Cause.RATE, max(cut.values()), {"cut_after": after})

    def _limit_of_streams(self, path: Background) -> Limit | None:
        """Streams that stall: at the first packet that is too large, or all at about the same place."""
        stalled = [session for session in self.sessions if not session[-1].came]
        bound = path.chance_of_losing_all(len(stalled))
        if len(stalled) < LEAST_TRIALS or bound > ERROR_BOUND:
            return None
        first_lost = [next(packet.size for packet in session if not packet.came) for session in stalled]
        too_large = [size for size in first_lost if size > self.largest_passing]
        if len(too_large) >= MOST_OF_THEM * len(stalled) and len(stalled) == len(self.sessions):
            # One that chance stopped earlier does not change what stops the others.
            return _of_size(self.largest_passing, min(too_large), bound)
        came = [sum(packet.came for packet in session) for session in stalled]
        beyond = any(len(session) > max(came) for session in self.sessions if session[-1].came)
        if beyond or min(came) < SAME_PLACE * max(came):
            return None
        return Limit(Outcome.BLOCKED, Cause.RATE, bound, {"cut_after": max(came)})


def _by_time(row: tuple[float, int, DataPacket]) -> tuple[float, int]:
    return row[:2]


def _head(session: Session) -> int:
    """How many packets left up to the last that came."""
    return max((place for place, packet in enumerate(session, 1) if packet.came), default=0)


def _of_size(largest: int, smallest_lost: int, bound: float) -> Limit:
    return Limit(Outcome.DEGRADED, Cause.SIZE, bound, {"largest_passing": largest, "smallest_lost": smallest_lost})


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
