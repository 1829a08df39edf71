"""A limit on the size of GRE and ESP packets: shown by large ones that are all lost beside controls and small ones that come."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from evidence_support import C2S, CLIENT, RECEIVED, S2C, SENT, SERVER, ends, facts_with, judged, keys, trip

from vpnprobe.evidence import checks
from vpnprobe.evidence.comparison import CONTROLS, PERIOD_S
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.judging.packets import COMPARED_AT_ONCE, more_of_what_passes
from vpnprobe.evidence.judging.sizes import (
    ASKED_AT_ONCE,
    MOST_ASKED,
    doubted,
    error_bound,
    in_question,
    limit_of_size,
    more_to_tell_size,
    untried,
)
from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.packet_counts import Count
from vpnprobe.evidence.packet_records import BLOCK, Check, PacketRecord
from vpnprobe.evidence.records import EndRecord
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport
from vpnprobe.wire.nonce import ANSWER, BLOCK_SHIFT, PURPOSE_SHIFT, Purpose

HEADERS = {Transport.GRE: 20, Transport.ESP: 20, Transport.UDP: 28}
SMALL, MIDDLE, LARGE = 100, 576, 1400
IN_TURN = (LARGE, MIDDLE, SMALL, LARGE, MIDDLE, SMALL)
Passes = Callable[[int], bool]
"""From the outer size to whether it comes."""


class Path:
    """What both ends have recorded so far of one kind in one direction, and of the controls beside it."""

    def __init__(self, check: Check = checks.GRE_IN_CALL, way: Direction = C2S, *, control: Callable[[], bool] = lambda: True) -> None:
        self.check, self.way, self.control = check, way, control
        self.rows: list[PacketRecord] = []
        self.at = 0.0
        self.made = 0
        self.blocks = 0

    def _packet(self, check: Check, key: str, size: int, at: float, came: bool, **more: object) -> None:
        sender, receiver = (CLIENT, SERVER) if self.way is C2S else (SERVER, CLIENT)
        row = PacketRecord(sender, SENT, at, check, key, size=size, **more)  # type: ignore[arg-type]
        self.rows.append(row)
        if came:
            self.rows.append(replace(row, vantage=receiver, movement=RECEIVED, at=at + 0.001, detail={}))

    def send(self, outer: int, came: bool, block: int | None = None, at: float = 0.0) -> None:
        self.made += 1
        detail = {} if block is None else {BLOCK: block}
        size = outer - HEADERS[self.check.transport]
        self._packet(self.check, f"{self.made:08x}", size, at or self.at, came, detail=detail)

    def first(self, passes: Passes, sizes: tuple[int, ...] = IN_TURN) -> "Path":
        for outer in sizes:
            self.send(outer, passes(outer))
            self.at += 0.03
        return self

    def beside(self, outer: int, passes: Passes) -> None:
        """One packet in a block of its own, in the middle of its controls."""
        head = Purpose.CONTROL << PURPOSE_SHIFT | self.blocks << BLOCK_SHIFT
        for place in range(CONTROLS):
            at = self.at + 0.005 * place
            key = f"{1:08x}{head | place:016x}"
            arrived = self.control()
            if self.way is S2C:
                # What goes back answers a control that came.
                self.rows.append(PacketRecord(CLIENT, SENT, at, checks.udp_reach(53), key, purpose=Purpose.CONTROL))
                self.rows.append(PacketRecord(SERVER, RECEIVED, at, checks.udp_reach(53), key, purpose=Purpose.CONTROL))
                key = f"{1:08x}{head | place | ANSWER:016x}"
            self._packet(checks.udp_reach(53), key, 56, at, arrived, purpose=Purpose.CONTROL)
        self.send(outer, passes(outer), self.blocks, self.at + 0.012)
        self.blocks += 1
        self.at += PERIOD_S

    def asked(self, passes: Passes, count: int, *, small: int | None = None, size: int = LARGE) -> "Path":
        for place in range(count):
            self.beside(size, passes)
            if small is None or place < small:
                self.beside(SMALL, passes)
        return self

    def judge(self) -> Judge:
        return Judge(*ends(self.rows), facts_with(background={}))

    def count(self) -> Count:
        return self.judge().counts(self.check).total(self.way)

    def row(self) -> Observation:
        return judged(self.rows, facts_with(background={}))[identifier(self.check, self.way)]

    def more(self) -> int:
        judge = self.judge()
        return more_to_tell_size(judge, self.check, self.way, judge.counts(self.check).total(self.way))


def small_alone(outer: int) -> bool:
    return outer <= MIDDLE


KINDS = [checks.GRE_IN_CALL, checks.ESP, checks.ESP_IN_UDP]


@pytest.mark.parametrize("check", KINDS, ids=[f"{check.probe}-{check.name}" for check in KINDS])
@pytest.mark.parametrize("way", [C2S, S2C])
def test_large_packets_that_are_all_lost_beside_what_passes_are_a_limit_on_size(check: Check, way: Direction) -> None:
    path = Path(check, way).first(small_alone).asked(small_alone, 10)
    row = path.row()
    assert (row.outcome, row.cause) == (Outcome.DEGRADED, Cause.SIZE)
    assert (row.detail["largest_passing"], row.detail["smallest_lost"], row.detail["largest_passed"]) == (MIDDLE, LARGE, MIDDLE)
    assert row.error_bound is not None
    assert row.error_bound <= 1e-6
    assert path.more() == 0
    # The loss of these is none of the path's, and no reason to send more.
    judge = path.judge()
    assert judge.loss[way].lost == 0
    assert more_of_what_passes(judge, check, way, path.count(), comparable=True) == 0


def test_what_passes_in_all_sizes_says_how_far() -> None:
    path = Path().first(lambda _: True)
    row = path.row()
    assert (row.outcome, row.detail["largest_passed"]) == (Outcome.PASS, LARGE)
    assert "largest_passing" not in row.detail
    assert path.more() == 0


def test_a_few_that_are_lost_are_asked_about_and_no_limit_yet() -> None:
    path = Path().first(small_alone)
    assert path.more() == 2 * ASKED_AT_ONCE
    assert path.row().cause is Cause.LOSS
    path.asked(small_alone, ASKED_AT_ONCE)
    more = path.more()
    assert more > 2 * ASKED_AT_ONCE
    assert path.row().cause is Cause.UNKNOWN, "chance hardly loses the large ones alone"
    path.asked(small_alone, more // 2)
    assert path.row().cause is Cause.SIZE, "so many suffice"


def test_one_that_comes_ends_the_doubt() -> None:
    path = Path().first(small_alone).asked(small_alone, 3).asked(lambda _: True, 1)
    assert path.more() == 0
    assert path.row().cause is Cause.LOSS


def test_one_lost_packet_is_no_doubt() -> None:
    path = Path().first(small_alone, (LARGE, MIDDLE, SMALL, MIDDLE, SMALL, SMALL))
    assert (path.more(), path.row().outcome) == (0, Outcome.PASS)


def test_large_ones_that_were_set_aside_are_sent_again_and_not_for_ever() -> None:
    """An end was late when they were lost: whether they pass is not known then."""
    path = Path().first(small_alone)
    judge, count = path.judge(), path.count()
    for key in count.too_large:
        del count.sent[key]
    assert doubted(checks.GRE_IN_CALL, count) is None
    assert in_question(checks.GRE_IN_CALL, count) == LARGE
    assert more_to_tell_size(judge, checks.GRE_IN_CALL, C2S, count) == 2 * ASKED_AT_ONCE
    count.sizes.update({f"{number:08x}": LARGE - 20 for number in range(100, 100 + MOST_ASKED)})
    assert more_to_tell_size(judge, checks.GRE_IN_CALL, C2S, count) == 0


def test_the_size_that_is_asked_about_is_the_smallest_lost() -> None:
    path = Path().first(lambda outer: outer < MIDDLE)
    limit = doubted(checks.GRE_IN_CALL, path.count())
    assert limit is not None
    assert (limit.largest_passing, limit.smallest_lost, limit.asked) == (SMALL, MIDDLE, 0)


def test_a_size_between_that_was_not_sent_is_asked_about_first() -> None:
    """A slow line is sent the largest alone."""
    kind, sent = checks.GRE_IN_CALL, (LARGE, SMALL, SMALL, LARGE, SMALL, SMALL)
    path = Path().first(small_alone, sent)
    assert in_question(kind, path.count()) == MIDDLE
    path.asked(small_alone, ASKED_AT_ONCE, size=MIDDLE)
    assert in_question(kind, path.count()) == LARGE
    assert path.more() == 2 * ASKED_AT_ONCE
    path.asked(small_alone, ASKED_AT_ONCE)
    path.asked(small_alone, path.more() // 2)
    row = path.row()
    assert (row.cause, row.detail["largest_passing"], row.detail["smallest_lost"]) == (Cause.SIZE, MIDDLE, LARGE)
    lower = Path().first(lambda outer: outer == SMALL, sent).asked(lambda outer: outer == SMALL, 12, size=MIDDLE)
    row = lower.row()
    assert (row.cause, row.detail["largest_passing"], row.detail["smallest_lost"]) == (Cause.SIZE, SMALL, MIDDLE)


def test_each_size_that_was_asked_about_might_have_been_the_limit() -> None:
    one = Path().first(small_alone).asked(small_alone, 10)
    two = Path().first(small_alone).asked(small_alone, 1, size=MIDDLE).asked(small_alone, 10)
    limits = [doubted(path.check, path.count()) for path in (one, two)]
    assert [limit.asked_about for limit in limits if limit is not None] == [1, 2]
    assert limits[1] is not None
    bound = error_bound(two.judge(), two.check, C2S, limits[1])
    assert bound == pytest.approx(2 * error_bound(two.judge(), two.check, C2S, replace(limits[1], asked_about=1)))


@pytest.mark.parametrize(("sizes", "expected"), [((), True), ((SMALL, MIDDLE), True), ((SMALL, LARGE), False)])
def test_what_is_sent_in_answer_may_lack_the_largest_size(sizes: tuple[int, ...], expected: bool) -> None:
    assert untried(checks.ESP_IN_UDP, Path(checks.ESP_IN_UDP, S2C).first(small_alone, sizes).count()) is expected
    assert not untried(checks.ICMP_ECHO, Path(checks.ICMP_ECHO).count())


def test_where_nothing_small_comes_behind_large_ones_it_may_be_a_cut() -> None:
    path = Path().first(lambda _: True, (SMALL, MIDDLE, SMALL, MIDDLE)).asked(lambda _: False, 12, small=0)
    assert path.row().cause is not Cause.SIZE


def test_large_ones_lost_where_controls_are_lost_as_well_show_nothing() -> None:
    path = Path(control=lambda: False).first(small_alone).asked(small_alone, 12)
    assert path.row().cause is Cause.UNKNOWN


def test_a_kind_that_loses_much_itself_is_not_limited_in_size() -> None:
    """Controls that come say nothing of a kind that is lost for what it is."""
    lot = iter([True, False, False] * 20)
    path = Path().first(small_alone).asked(lambda outer: outer == SMALL and next(lot), 10)
    assert path.row().cause is Cause.LOSS


def test_a_limit_that_stays_unsure_is_not_asked_about_for_ever() -> None:
    lot = iter([False, False, False, True] * 20)
    path = Path().first(small_alone).asked(lambda outer: outer == SMALL and next(lot), MOST_ASKED)
    assert path.more() == 0
    assert path.row().cause is Cause.LOSS


def test_without_controls_few_packets_show_nothing_and_many_do() -> None:
    few = Path().first(small_alone, IN_TURN * 2)
    assert few.row().cause is Cause.LOSS
    many = Path().first(small_alone, IN_TURN * 12)
    assert many.row().cause is Cause.SIZE


def test_a_kind_that_is_tried_in_one_size_has_no_limit() -> None:
    path = Path(checks.udp_reach(4444)).first(small_alone).asked(small_alone, 12)
    assert path.more() == 0
    assert path.row().cause is Cause.LOSS


def test_one_flow_on_a_path_that_loses_whole_flows_is_compared_with_its_own_small_packets() -> None:
    """The controls are other flows, which may have another fate."""

    def limit(path: Path) -> tuple[object, int]:
        judge = path.judge()
        judge.by_flow[C2S] = True
        count = judge.counts(checks.GRE_IN_CALL).total(C2S)
        return limit_of_size(judge, checks.GRE_IN_CALL, C2S, count), more_to_tell_size(judge, checks.GRE_IN_CALL, C2S, count)

    none, more = limit(Path().first(small_alone).asked(small_alone, 8))
    assert none is None
    assert more > 0
    shown, more = limit(Path().first(small_alone).asked(small_alone, 30))
    assert shown is not None
    assert more == 0
    unordered, _ = limit(Path().first(small_alone, (SMALL,) * 30).asked(lambda _: False, 15))
    assert unordered is None, "small packets outside of blocks have no random order with the large ones"


def test_what_the_hosts_own_firewall_keeps_is_not_asked_about() -> None:
    path = Path().first(small_alone).asked(small_alone, 12)
    client, server = ends(path.rows, sees=True)
    judge = Judge(client, replace(server, dropped_on_input=frozenset({checks.GRE_IN_CALL})), facts_with(background={}))
    count = judge.counts(checks.GRE_IN_CALL).total(C2S)
    assert limit_of_size(judge, checks.GRE_IN_CALL, C2S, count) is None
    assert more_to_tell_size(judge, checks.GRE_IN_CALL, C2S, count) == 0


def test_nobody_who_saw_it_come_has_no_word_on_sizes() -> None:
    path = Path().first(small_alone).asked(small_alone, 12)
    client, _ = ends(path.rows)
    judge = Judge(client, EndRecord(recorded=False), facts_with(background={}, joined=False))
    assert limit_of_size(judge, checks.GRE_IN_CALL, C2S, judge.counts(checks.GRE_IN_CALL).total(C2S)) is None


def test_what_is_lost_of_all_sizes_is_compared_as_before() -> None:
    path = Path().first(lambda _: True)
    for place in range(6):
        path.beside(SMALL, lambda _, place=place: place % 2 == 0)  # type: ignore[misc]
    path.rows += trip(checks.udp_reach(53), C2S, keys(50), keys(50))
    judge, count = path.judge(), path.count()
    assert path.more() == 0
    assert more_of_what_passes(judge, checks.GRE_IN_CALL, C2S, count, comparable=True) == COMPARED_AT_ONCE
    assert more_of_what_passes(judge, checks.GRE_IN_CALL, C2S, count, comparable=False) == 0


WANTED = 0.01
"""The error bound that claims are counted at: by chance there may be as many."""


def claims(path: Path, passes: Passes) -> bool:
    """Whether a limit is ever claimed, by who asks as long as it takes."""
    facts = replace(facts_with(background={}), error_bound=WANTED)
    path.first(passes)
    for _ in range(8):
        judge = Judge(*ends(path.rows), facts)
        count = judge.counts(path.check).total(path.way)
        if not count.received:
            return False
        if limit_of_size(judge, path.check, path.way, count) is not None:
            return True
        if not (more := more_to_tell_size(judge, path.check, path.way, count)):
            return False
        path.asked(passes, more // 2)
    return False


def losing(rng: random.Random, share: float) -> Iterator[bool]:
    while True:
        yield rng.random() >= share


@pytest.mark.parametrize("loss", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("alone", [False, True], ids=["everything is lost alike", "the kind is lost more than the rest"])
def test_losses_by_chance_do_not_become_a_limit_of_size(loss: float, alone: bool) -> None:
    runs, found = 300, 0
    for seed in range(runs):
        came = losing(random.Random(seed), loss)
        control = (lambda: True) if alone else (lambda came=came: next(came))  # type: ignore[misc]
        found += claims(Path(control=control), lambda _, came=came: next(came))  # type: ignore[misc]
    assert found <= 2 * WANTED * runs
