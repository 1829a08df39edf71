"""Counts of fresh packets, by check, message and direction: what left one end and what of it came at the other.

A packet counts as received only where the sending end's record has its key (joined records), so a forged, reflected or foreign row adds
nothing. Copies with the same key count once. TTL-limited copies count for nothing, and so do messages that the protocol's table does not
have: a newer peer may know more of them than this end could have recognised. A payload that says itself that it is for another question
than reach (a large packet, one of a fast train, one after a pause, a copy whose sender's record is not there) counts for nothing either.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import median
from typing import Final

from vpnprobe.conversations.contract import OF_SESSION
from vpnprobe.conversations.registry import UNREADABLE, protocol_of
from vpnprobe.evidence.checks import Kind, kind_of
from vpnprobe.evidence.departures import Departure
from vpnprobe.evidence.identify import LCP_ANSWERS, LCP_REQUEST
from vpnprobe.evidence.packet_records import BLOCK, Check, Movement, PacketRecord
from vpnprobe.evidence.records import EndRecord
from vpnprobe.evidence.statistics import LEAST_TRIALS, Background
from vpnprobe.observations.schema import Direction
from vpnprobe.wire.nonce import ANSWER, KEY_DIGITS, PURPOSES_OF_REACH

DECIMALS: Final = 6
"""Of times: microseconds, as rows of records carry them."""


@dataclass(slots=True)
class Count:
    """Fresh packets of one kind in one direction."""

    sent: dict[str, float] = field(default_factory=dict)
    """Key to the time it left, seconds on the client's clock, as far as the offset to it is known."""
    received: dict[str, float] = field(default_factory=dict)
    """Key to the time it came, likewise."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Key to bytes, where they are known."""
    blocks: dict[str, int] = field(default_factory=dict)
    """Key to the number of the block within which it left, where it left within one."""
    proven: set[str] = field(default_factory=set)
    """Keys that count as received for their answers alone: the receiving end has no record of them."""

    @property
    def answered(self) -> int:
        """How many of those received are known by their answers alone."""
        return len(self.proven)

    def prove(self, key: str, at: float) -> None:
        """Counts a sent packet as received for its answer, which came at `at`."""
        if key in self.sent and key not in self.received:
            self.received[key] = at
            self.proven.add(key)

    @property
    def lost_at(self) -> list[Departure]:
        """When those left that did not come."""
        return [self.departure(key) for key in self.sent if key not in self.received]

    def departure(self, key: str) -> Departure:
        """When it left; where that is not known, when it came."""
        return Departure(self.sent[key] if key in self.sent else self.received[key], self.blocks.get(key))

    @property
    def lost(self) -> int:
        return max(0, len(self.sent) - len(self.received))

    @property
    def too_large(self) -> list[str]:
        """Keys of what is lost and larger than all that came; none where no size is known of what came."""
        largest = max((self.sizes.get(key, 0) for key in self.received), default=0)
        return [key for key in self.sent if key not in self.received and self.sizes.get(key, 0) > largest] if largest else []

    def fitting(self) -> "Count":
        """Without these, where they are LEAST_TRIALS at least: it may be their size that is limited."""
        too_large = set(self.too_large)
        if len(too_large) < LEAST_TRIALS:
            return self
        return replace(self, sent={key: at for key, at in self.sent.items() if key not in too_large})

    def background(self) -> Background:
        """What this kind says of the path's loss: nothing, unless some of it passes."""
        return Background(self.fitting().lost, len(self.received)) if self.received else Background()


@dataclass(slots=True)
class PacketCounts:
    """All counts of one check."""

    counts: dict[tuple[Direction, str], Count] = field(default_factory=lambda: defaultdict(Count))
    """By direction and message name."""
    details: dict[tuple[Direction, str], PacketRecord] = field(default_factory=dict)
    """The last packet record at the receiving end of each."""
    late: Counter[Direction] = field(default_factory=Counter)
    """What was lost and left out since an end was late, by direction."""
    unheard: Counter[Direction] = field(default_factory=Counter)
    """What was lost and left out since the client listened no more, by direction."""

    @property
    def set_aside(self) -> Counter[Direction]:
        """What was lost and left out, for whatever of the two."""
        return self.late + self.unheard

    def total(self, direction: Direction) -> Count:
        """All messages in one direction together; not to be changed."""
        of_way = [count for (way, _), count in self.counts.items() if way is direction]
        if len(of_way) == 1:
            return of_way[0]
        whole = Count()
        for count in of_way:
            whole.sent.update(count.sent)
            whole.received.update(count.received)
            whole.sizes.update(count.sizes)
            whole.blocks.update(count.blocks)
            whole.proven.update(count.proven)
        return whole

    def provable(self, direction: Direction) -> Count:
        """All messages in one direction that something could show to have come where nobody records it there: answers are not answered."""
        found, whole = self.total(direction), Count()
        answers = {key for message in LCP_ANSWERS for key in self.count(direction, message).sent}
        if not answers:
            return found
        whole.sent = {key: at for key, at in found.sent.items() if key in found.received or key not in answers}
        whole.received, whole.sizes, whole.blocks, whole.proven = found.received, found.sizes, found.blocks, found.proven
        return whole

    def pass_over(self, direction: Direction, takes: Callable[[str, float], bool]) -> int:
        """What was lost and is to be left out, by its key and by when it left, counts as if it had not left; how many these are."""
        found = 0
        for (way, _), count in self.counts.items():
            if way is direction:
                for key in [key for key, at in count.sent.items() if key not in count.received and takes(key, at)]:
                    del count.sent[key]
                    found += 1
        return found

    def messages(self, direction: Direction) -> list[str]:
        """Message names seen in one direction."""
        return [message for way, message in self.counts if way is direction]

    def count(self, direction: Direction, message: str) -> Count:
        found = self.counts.get((direction, message))
        return Count() if found is None else found

    def copy(self) -> "PacketCounts":
        """Counts for who passes something over: what was sent is their own, and all else is shared."""
        copied = PacketCounts(details=self.details)
        for slot, one in self.counts.items():
            copied.counts[slot] = Count(dict(one.sent), one.received, one.sizes, one.blocks, one.proven)
        return copied


@dataclass(frozen=True, slots=True)
class CountedRecords:
    """What one check was counted from, and what came of it."""

    of_client: Sequence[PacketRecord]
    of_server: Sequence[PacketRecord]
    how: tuple[object, ...]
    """Everything else that the counts depend on."""
    counts: PacketCounts | None
    """None: none of the records counts."""


@lru_cache(maxsize=1024)
def _is_known(probe: str, name: str, message: str) -> bool:
    """Whether the table of the check's protocol has the message; a part's number behind a name does not matter."""
    spec = protocol_of(probe, name)
    return spec is None or message == UNREADABLE or spec.table.knows(message.partition("[")[0])


def count_packets(
    client: EndRecord,
    server: EndRecord,
    *,
    joined: bool,
    trusted: frozenset[Check] = frozenset(),
    before: dict[Check, CountedRecords] | None = None,
    own: bool = True,
) -> dict[Check, PacketCounts]:
    """Counts by check.

    `trusted`: checks whose server-side packets come from another program than ours, so that the server agent has no record of sending
    them: what the client received counts there without a join. `before`: what earlier calls counted, brought up to date; a check of which
    both ends have the same records as then is not counted again. `own`: the caller takes something out of the counts, which are its own.
    """
    of_client, of_server = by_check(client.packet_records), by_check(server.packet_records)
    result: dict[Check, PacketCounts] = {}
    for check in of_client | of_server:
        ours, theirs = of_client.get(check, []), of_server.get(check, [])
        how = (joined, check in trusted, client.recorded, client.ahead_s, server.recorded, server.ahead_s)
        known = before.get(check) if before is not None else None
        if known is None or known.how != how or known.of_client != ours or known.of_server != theirs:
            counts = _counted(check, ours, theirs, client, server, joined=joined, trusted=check in trusted)
            known = CountedRecords(ours, theirs, how, counts)
            if before is not None:
                before[check] = known
        if known.counts is not None:
            result[check] = known.counts.copy() if own and before is not None else known.counts
    return result


def by_check(packet_records: Iterable[PacketRecord]) -> dict[Check, list[PacketRecord]]:
    """In their order."""
    found: dict[Check, list[PacketRecord]] = defaultdict(list)
    for packet_record in packet_records:
        found[packet_record.check].append(packet_record)
    return found


def _counted(
    check: Check,
    of_client: Sequence[PacketRecord],
    of_server: Sequence[PacketRecord],
    client: EndRecord,
    server: EndRecord,
    *,
    joined: bool,
    trusted: bool,
) -> PacketCounts | None:
    """The counts of one check's records; None: none of them counts. `client`, `server`: the records that they are from."""
    at_server = _begun_by(of_client, of_server) if joined and client.recorded and kind_of(check) is Kind.CONVERSATION else of_server
    everything = [(s, s.direction, _at(s, end)) for some, end in ((of_client, client), (at_server, server)) for s in some if _counts(s)]
    if not everything:
        return None
    counted = PacketCounts()
    keys_sent: dict[Direction, set[str]] = {Direction.C2S: set(), Direction.S2C: set()}
    for packet_record, way, at in everything:
        if packet_record.movement is Movement.SENT:
            count = counted.counts[way, packet_record.message]
            count.sent.setdefault(packet_record.key, at)
            if isinstance(number := packet_record.detail.get(BLOCK), int):
                count.blocks.setdefault(packet_record.key, number)
            keys_sent[way].add(session_part(packet_record.key))
            if packet_record.size:
                count.sizes[packet_record.key] = packet_record.size
    answers: list[tuple[PacketRecord, float]] = []
    for packet_record, way, at in everything:
        if packet_record.movement is Movement.SENT:
            continue
        alone = way is Direction.C2S and not client.recorded  # Nobody kept a record at the client: what came from there was sent there.
        if joined and not alone and not (trusted and way is Direction.S2C) and not _was_sent(packet_record, way, keys_sent, server):
            continue
        count = counted.counts[way, packet_record.message]
        count.received.setdefault(packet_record.key, at)
        counted.details[way, packet_record.message] = packet_record
        if packet_record.size:
            count.sizes[packet_record.key] = packet_record.size
        if "answers" in packet_record.detail:
            answers.append((packet_record, at))
    for answer, at in answers:
        _count_answered(counted, answer, at)
    _count_acknowledged(counted)
    return counted


def _counts(packet_record: PacketRecord) -> bool:
    check = packet_record.check
    of_reach = not packet_record.ttl_limited and packet_record.purpose in PURPOSES_OF_REACH
    return of_reach and _is_known(check.probe, check.name, packet_record.message)


def _at(packet_record: PacketRecord, end: EndRecord) -> float:
    """When it was, on the client's clock."""
    return round(packet_record.at - end.ahead_s, DECIMALS) if end.ahead_s else packet_record.at


def _begun_by(of_client: Iterable[PacketRecord], of_server: Iterable[PacketRecord]) -> list[PacketRecord]:
    """The server's packet records without those of conversations that the client never began: a scanner's beside us, another user's."""
    began = {s.key for s in of_client if s.movement is Movement.SENT}
    return [s for s in of_server if s.key in began]


def _count_acknowledged(of_check: PacketCounts) -> None:
    """An answer with the Magic-Number of a Configure-Request proves that the request came, whoever kept a record there."""
    for way in (Direction.C2S, Direction.S2C):
        back = Direction.S2C if way is Direction.C2S else Direction.C2S
        some = [count for name in LCP_ANSWERS if (count := of_check.counts.get((back, name))) is not None]
        answered = {key: at for count in some for key, at in count.received.items()}
        for key, at in answered.items():
            of_check.count(way, LCP_REQUEST).prove(key, at)


def _count_answered(of_check: PacketCounts, answer: PacketRecord, at: float) -> None:
    """An answer that only the holder of the session's keys can make proves that the packet it answers came."""
    key = f"{session_part(answer.key)}{OF_SESSION}{answer.detail['answers']}"
    other = Direction.S2C if answer.direction is Direction.C2S else Direction.C2S
    for (way, _), count in of_check.counts.items():
        if way is other:
            count.prove(key, at)


def answered_key(key: str) -> str:
    """The key of the payload of ours that an answer of ours belongs to; other keys stay as they are."""
    try:
        return f"{key[:8]}{int(key[8:], 16) & ~ANSWER:016x}" if len(key) == KEY_DIGITS else key
    except ValueError:
        return key


def session_part(key: str) -> str:
    """The key of the conversation that a packet belongs to; a key without parts is its own."""
    return key.partition(OF_SESSION)[0]


def _was_sent(packet_record: PacketRecord, way: Direction, keys_sent: Mapping[Direction, set[str]], server: EndRecord) -> bool:
    key = session_part(packet_record.key)
    if key in keys_sent[way]:
        return True
    # An answer carries the key of the conversation that the client began: where nobody recorded it at the server, that key proves it.
    unrecorded = not server.recorded or bool(packet_record.message)
    return way is Direction.S2C and unrecorded and key in keys_sent[Direction.C2S]


def background(packet_counts: Iterable[PacketCounts], direction: Direction) -> Background:
    """Loss of all that passes in one direction."""
    return sum((t.total(direction).background() for t in packet_counts), Background())


def round_trip_ms(there: Count, back: Count, *, answers: Mapping[str, str] | None = None) -> float | None:
    """Median of the times between sending a key and receiving its answer at the same end, milliseconds; None: no pair.

    `answers`: from the key of an answer to the key that it answers, where they differ.
    """
    times = [
        at - there.sent[asked]
        for key, at in back.received.items()
        if (asked := (answers or {}).get(key, key)) in there.sent and at >= there.sent[asked]
    ]
    return round(1000 * median(times), 3) if times else None
