"""An error bound that holds under any pattern of loss: it rests on the order that the sender drew, and on nothing else."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from evidence_support import C2S, CLIENT, RECEIVED, S2C, SENT, SERVER

from vpnprobe.evidence import checks
from vpnprobe.evidence.comparison import (
    BLOCK_S,
    CONTROLS,
    PERIOD_S,
    SPARE_BLOCKS,
    Block,
    Control,
    alone_bound,
    blocks,
    blocks_needed,
    error_bound,
    fates_follow_flows,
    of_passing_flows,
)
from vpnprobe.evidence.comparison import controls as fates_of
from vpnprobe.evidence.departures import Departure
from vpnprobe.evidence.departures import departures as left_at
from vpnprobe.evidence.judging.base import BY_FLOW, Judge
from vpnprobe.evidence.judging.packets import packets
from vpnprobe.evidence.packet_records import Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Direction, Outcome, Transport
from vpnprobe.wire.nonce import ANSWER, BLOCK_SHIFT, PURPOSE_MASK, PURPOSE_SHIFT, NoncePayload, Purpose, of_key

ONE = 1 / (CONTROLS + 1)
"""The factor of a block of which ours alone is lost."""
REACH = checks.udp_reach(53)


def key(block: int, number: int, *, answer: bool = False) -> str:
    head = Purpose.CONTROL << PURPOSE_SHIFT | block << BLOCK_SHIFT | (ANSWER if answer else 0)
    return NoncePayload(7, head | number + 1).key


def record(vantage: Vantage, movement: Movement, at: float, name: str) -> PacketRecord:
    return PacketRecord(vantage, movement, at, REACH, name, purpose=Purpose.CONTROL)


def controls(block: int, *, lost: int = 0, at: float = 0.0, back: int = 0) -> tuple[list[PacketRecord], list[PacketRecord]]:
    """Both ends' records of one block: of its controls the first `lost` do not arrive, and of the answers to the rest the first `back`."""
    client, server = [], []
    for number in range(CONTROLS):
        when = at + number * BLOCK_S / CONTROLS
        client.append(record(CLIENT, SENT, when, key(block, number)))
        if number >= lost:
            server += [record(SERVER, RECEIVED, when, key(block, number)), record(SERVER, SENT, when, key(block, number, answer=True))]
            if number >= lost + back:
                client.append(record(CLIENT, RECEIVED, when, key(block, number, answer=True)))
    return client, server


def both(*parts: tuple[list[PacketRecord], list[PacketRecord]]) -> tuple[EndRecord, EndRecord]:
    return tuple(EndRecord(tuple(row for part in parts for row in part[end])) for end in (0, 1))  # type: ignore[return-value]


def between(sender: EndRecord, receiver: EndRecord) -> tuple[Block, ...]:
    return blocks(fates_of(sender, receiver, sender))


class TestBlocks:
    def test_of_each_direction_and_of_both(self) -> None:
        client, server = both(controls(0, lost=1), controls(1, at=PERIOD_S, back=2))
        assert [block.lost for block in between(client, server)] == [1, 0]
        assert [(block.controls, block.lost) for block in between(server, client)] == [(CONTROLS - 1, 0), (CONTROLS, 2)]
        assert [block.lost for block in between(client, client)] == [1, 2]

    def test_on_the_clients_clock(self) -> None:
        client, server = both(controls(0))
        (ahead,) = between(EndRecord(server.packet_records, ahead_s=100.0), client)
        assert ahead.first == pytest.approx(-100)

    def test_without_controls_there_are_none(self) -> None:
        rows = [PacketRecord(CLIENT, SENT, 0.0, REACH, NoncePayload(7, 1).key)]
        assert between(EndRecord(tuple(rows)), EndRecord()) == ()


class TestErrorBound:
    AMONG = tuple(Block(number * PERIOD_S, number * PERIOD_S + BLOCK_S, CONTROLS, 0) for number in range(12))

    def test_each_block_counts_once(self) -> None:
        assert error_bound(left_at([block.first + 0.01 for block in self.AMONG[:10]]), self.AMONG) == pytest.approx(ONE**10)
        assert error_bound(left_at([0.01, 0.02, 0.03]), self.AMONG) == pytest.approx(ONE)

    def test_outside_of_blocks_nothing_counts(self) -> None:
        assert error_bound(left_at([-1.0, BLOCK_S + 0.03, 99.0]), self.AMONG) is None
        assert error_bound(left_at([]), self.AMONG) is None
        assert error_bound(left_at([0.0]), ()) is None

    def test_a_block_that_lost_all_says_nothing(self) -> None:
        silent = Block(0.0, BLOCK_S, CONTROLS, CONTROLS)
        assert error_bound(left_at([0.01]), (silent,)) == 1.0
        assert error_bound(left_at([0.01, PERIOD_S + 0.01]), (silent, self.AMONG[1])) == pytest.approx(ONE)

    def test_the_more_the_controls_lose_the_less_it_says(self) -> None:
        found = [error_bound(left_at([0.01]), (Block(0.0, BLOCK_S, CONTROLS, lost),)) for lost in range(CONTROLS + 1)]
        assert found == pytest.approx([(lost + 1) * ONE for lost in range(CONTROLS + 1)])

    def test_what_bears_the_number_of_its_block_is_of_that_one_whenever_it_left(self) -> None:
        among = (Block(0.0, BLOCK_S, CONTROLS, 0, 7), Block(PERIOD_S, PERIOD_S + BLOCK_S, CONTROLS, CONTROLS, 8))
        assert error_bound([Departure(99.0, 7)], among) == pytest.approx(ONE)
        assert error_bound([Departure(0.01, 8)], among) == 1.0
        assert error_bound([Departure(0.01, 9)], among) is None
        assert error_bound([Departure(0.01, 7), Departure(0.02)], among) == pytest.approx(ONE), "one packet a block counts"

    def test_a_limit_that_was_chosen_afterwards_costs_as_many_times(self) -> None:
        times = left_at([block.first for block in self.AMONG[:6]])
        assert error_bound(times, self.AMONG, thresholds=50) == pytest.approx(50 * ONE**6)
        assert error_bound(times[:1], self.AMONG, thresholds=50) == 1.0

    @pytest.mark.parametrize(("bound", "needed"), [(1.0, 8), (ONE**8, 0), (1e-6, 0), (2e-6, 1), (ONE**3, 5)])
    def test_how_many_more(self, bound: float, needed: int) -> None:
        assert blocks_needed(bound, 1e-6) == needed


def independent(rng: random.Random, rate: float) -> Iterator[bool]:
    while True:
        yield rng.random() < rate


def in_bursts(rng: random.Random) -> Iterator[bool]:
    """Gilbert-Elliott: 2 % are lost in the good state, 95 % in the bad one."""
    bad = False
    while True:
        bad = rng.random() > 0.1 if bad else rng.random() < 0.05
        yield rng.random() < (0.95 if bad else 0.02)


def in_an_outage(rng: random.Random) -> Iterator[bool]:
    begin, number = rng.randrange(60), 0
    while True:
        yield begin <= number < begin + 30
        number += 1


def policed(rng: random.Random) -> Iterator[bool]:
    """The second half of each group of eight is lost."""
    number = rng.randrange(8)
    while True:
        number += 1
        yield number % 8 >= 4


@pytest.mark.parametrize(
    "path",
    [lambda rng: independent(rng, 0.4), lambda rng: independent(rng, 0.85), in_bursts, in_an_outage, policed],
    ids=["40 %", "85 %", "bursts", "an outage", "a policer"],
)
def test_what_is_treated_as_the_controls_is_claimed_as_seldom_as_the_bound_says(path: Callable[[random.Random], Iterator[bool]]) -> None:
    runs = 4000
    rng = random.Random(1)
    claimed = {0.2: 0, 0.05: 0, 0.01: 0}
    for _ in range(runs):
        lost, among, at = path(rng), list[Block](), list[float]()
        least = 1.0
        for number in range(30):
            begin = number * PERIOD_S
            moments = sorted((begin + rng.uniform(0, BLOCK_S), place == 0) for place in range(CONTROLS + 1))
            fates = [(moment, ours, next(lost)) for moment, ours in moments]
            times = [moment for moment, ours, _ in fates if not ours]
            among.append(Block(times[0], times[-1], CONTROLS, sum(gone for _, ours, gone in fates if not ours)))
            moment, gone = next((moment, gone) for moment, ours, gone in fates if ours)
            if not gone:
                break
            at.append(moment)
            least = min(least, error_bound(left_at(at), among) or 1.0)
        for bound in claimed:
            claimed[bound] += least <= bound
    for bound, times in claimed.items():
        assert times / runs <= bound + 4 * (bound / runs) ** 0.5


def on_links(rng: random.Random, *, bad: int, of: int, loss: float = 0.0) -> Callable[[int], bool]:
    """A balanced path: whether a packet of that flow is lost."""
    link = {}
    return lambda flow: link.setdefault(flow, rng.randrange(of)) < bad or rng.random() < loss


def in_blocks(lost: Callable[[int], bool], count: int, times: Callable[[int], bool] = lambda _: False) -> list[Control]:
    """Controls with a flow each and a second packet in the block after; `times`: blocks that lose everything."""
    flows = [(number, number * CONTROLS + place) for number in range(count) for place in range(CONTROLS)]
    return [
        Control(number * PERIOD_S, number, not (times(number) or lost(flow)), repeat=not (times(number + 1) or lost(flow)))
        for number, flow in flows
    ]


class TestFlows:
    @pytest.mark.parametrize(("of", "loss", "count"), [(2, 0.0, 12), (3, 0.0, 12), (4, 0.1, 20), (2, 0.2, 30), (2, 0.35, 45)])
    def test_a_bad_link_of_a_balanced_path_shows(self, of: int, loss: float, count: int) -> None:
        """`count`: blocks without which nothing would be claimed there."""
        found = sum(fates_follow_flows(in_blocks(on_links(random.Random(seed), bad=1, of=of, loss=loss), count)) for seed in range(100))
        assert found >= 97

    @pytest.mark.parametrize("rate", [0.05, 0.2, 0.4, 0.7])
    def test_loss_that_is_the_same_to_all_flows_does_not(self, rate: float) -> None:
        found = 0
        for seed in range(100):
            rng = random.Random(seed)
            found += fates_follow_flows(in_blocks(lambda _, rng=rng: rng.random() < rate, 20))  # type: ignore[misc]
        assert found <= 6

    def test_nor_does_an_outage(self) -> None:
        assert not fates_follow_flows(in_blocks(lambda _: False, 20, times=lambda number: 5 <= number < 15))

    def test_without_second_packets_nothing_is_known(self) -> None:
        assert not fates_follow_flows([Control(0.0, 0, came) for came in (True, False, False)])


@pytest.mark.parametrize(
    "path",
    [lambda rng: independent(rng, 0.2), lambda rng: independent(rng, 0.6), in_bursts, in_an_outage, policed],
    ids=["20 %", "60 %", "bursts", "an outage", "a policer"],
)
def test_what_loses_as_much_as_the_controls_is_seldom_said_to_lose_more(path: Callable[[random.Random], Iterator[bool]]) -> None:
    runs, rng = 3000, random.Random(2)
    least = []
    for _ in range(runs):
        lost, among, fates, bounds = path(rng), list[Block](), list[tuple[Departure, bool]](), [1.0]
        for number in range(25):
            ours = rng.randrange(CONTROLS + 1)
            gone = [next(lost) for _ in range(CONTROLS + 1)]
            fates.append((Departure(float(number), number), not gone.pop(ours)))
            among.append(Block(number, number, CONTROLS, sum(gone), number))
            bounds.append(alone_bound(fates, among) or 1.0)
        least.append(min(bounds))
    for bound in (0.2, 0.05, 0.01):
        assert sum(one <= bound for one in least) / runs <= bound + 4 * (bound / runs) ** 0.5


def test_a_kind_that_loses_much_beside_controls_that_lose_little_is_told() -> None:
    among = [Block(number, number, CONTROLS, int(number % 10 == 0), number) for number in range(60)]
    fates = [(Departure(float(number), number), number % 3 > 0) for number in range(60)]
    found = alone_bound(fates, among)
    assert found is not None
    assert found < 1e-6
    assert alone_bound(fates, ()) is None
    assert alone_bound([(Departure(0.0), False)], among) is None


class TestTheJudge:
    CHECK = checks.udp_reach(1194)
    FACTS = PathFacts(
        ports={(Transport.UDP, 53): PortState.OURS, (Transport.UDP, 1194): PortState.OURS},
        background={C2S: Background(0, 2000), S2C: Background(0, 2000)},
    )

    def judge(self, *parts: tuple[list[PacketRecord], list[PacketRecord]], joined: bool = True) -> Judge:
        client, server = both(*parts)
        return Judge(client, server, PathFacts(self.FACTS.ports, self.FACTS.background, joined=joined))

    def test_controls_decide_where_there_are_any(self) -> None:
        judge = self.judge(*(controls(number, at=number * PERIOD_S) for number in range(5)))
        times = [number * PERIOD_S + 0.02 for number in range(5)]
        assert judge.bound(C2S, left_at(times), judge.loss[C2S]) == pytest.approx(ONE**5)
        assert judge.trials_needed(C2S, left_at(times), comparable=True) == 3 + SPARE_BLOCKS

    def test_where_none_left_beside_the_controls_that_there_are_nothing_is_shown(self) -> None:
        judge = self.judge(controls(0))
        assert judge.bound(C2S, left_at([5.0] * 4), judge.loss[C2S]) == 1.0
        assert judge.bound(C2S, left_at([0.01, 5.0]), judge.loss[C2S]) == pytest.approx(ONE)

    def test_without_controls_the_loss_of_the_path_is_all_there_is(self) -> None:
        judge = self.judge()
        assert judge.bound(C2S, left_at([0.0] * 4), judge.loss[C2S]) == judge.loss[C2S].chance_of_losing_all(4)
        assert judge.trials_needed(C2S, left_at([0.0] * 4), comparable=False) is None
        assert judge.trials_needed(C2S, left_at([0.0] * 4), comparable=True) == 8 + SPARE_BLOCKS
        assert judge.bound(C2S, left_at([0.0]), Background()) is None

    def test_captures_of_two_attempts_have_no_blocks(self) -> None:
        assert set(self.judge(controls(0), joined=False).blocks.values()) == {()}

    def test_each_direction_has_its_own(self) -> None:
        judge = self.judge(controls(0, back=3))
        assert {way: [block.lost for block in found] for way, found in judge.blocks.items()} == {
            C2S: [0],
            S2C: [3],
            Direction.BOTH: [3],
        }

    def test_what_has_only_one_flow_is_not_compared_where_fates_follow_flows(self) -> None:
        fates = in_blocks(on_links(random.Random(1), bad=1, of=2), 12)
        judge = self.judge()
        judge.blocks[C2S], judge.by_flow[C2S] = blocks(fates), fates_follow_flows(fates)
        lost = [Departure(0.0, number) for number in range(12)]
        assert judge.by_flow[C2S]
        assert judge.bound(C2S, lost, Background(), one_flow=True) == 1.0
        assert judge.trials_needed(C2S, lost, comparable=True, one_flow=True) == 0
        assert (judge.bound(C2S, lost, Background()) or 1.0) < 0.01

    def test_a_row_says_that_fates_follow_flows(self) -> None:
        gre = [PacketRecord(CLIENT, SENT, 0.1 * number, checks.GRE_BARE, f"{number}") for number in range(12)]
        client, server = EndRecord(tuple(gre)), EndRecord()
        judge = Judge(client, server, self.FACTS)
        judge.by_flow[C2S] = True
        (row,) = packets(judge, checks.GRE_BARE)
        assert (row.outcome, row.detail["reason"]) == (Outcome.NO_ANSWER, BY_FLOW)


class TestRepeats:
    def test_a_second_packet_belongs_to_the_control_of_its_flow(self) -> None:
        client, server = controls(0), ([], [])
        first = of_key(key(0, 0))
        assert first is not None
        again = replace(first, number=first.number & ~PURPOSE_MASK | Purpose.REPEAT << PURPOSE_SHIFT).key
        client[0].append(replace(record(CLIENT, SENT, PERIOD_S, again), purpose=Purpose.REPEAT))
        found = list(fates_of(*(ends := both(client, server)), ends[0]))
        assert (len(found), [one.repeat for one in found]) == (CONTROLS, [False, *[None] * (CONTROLS - 1)])

    def test_connections_as_controls_are_known_to_the_client_alone(self) -> None:
        rows = []
        for number in range(CONTROLS):
            one = replace(record(CLIENT, SENT, 0.0, key(3, number)), check=checks.tcp_reach(443))
            rows += [one, replace(one, movement=RECEIVED, key=key(3, number, answer=True))] if number else [one]
        client, server = EndRecord(tuple(rows)), EndRecord()
        assert [(block.controls, block.lost) for block in blocks(fates_of(client, server, client))] == [(CONTROLS, 1)]
        assert blocks(fates_of(server, client, client)) == ()


def test_flows_that_pass_are_told_by_their_second_packets_alone() -> None:
    """Of a flow that may be dead the first packet says nothing of one that is known to get through."""
    found = [
        Control(0.0, 1, came=True, repeat=True),
        Control(0.0, 1, came=False, repeat=True),
        Control(0.0, 1, came=False, repeat=False),
        Control(0.0, 1, came=True, repeat=None),
        Control(0.1, 2, came=False, repeat=False),
    ]
    [block] = of_passing_flows(found)
    assert (block.number, block.controls, block.lost) == (1, 2, 1)


def test_a_conversation_that_some_flows_lose_whole_makes_losses_without_controls_no_independent_trials() -> None:
    reset, silent = checks.openvpn_reset(Transport.UDP, 1194), checks.udp_reach(1194)
    answers = [PacketRecord(SERVER, SENT, 1.0, reset, f"{n:016x}", "P_CONTROL_HARD_RESET_SERVER_V2") for n in range(7)]
    requests = [
        replace(one, vantage=vantage, movement=movement, message="P_CONTROL_HARD_RESET_CLIENT_V2")
        for one in answers
        for vantage, movement in ((CLIENT, SENT), (SERVER, RECEIVED))
    ]
    lost = [PacketRecord(SERVER, SENT, 1.0, silent, NoncePayload(7, ANSWER | number).key) for number in range(12)]
    background = {way: Background(0, 1000) for way in (C2S, S2C)}

    def bound(heard: int) -> float | None:
        came = [replace(one, vantage=CLIENT, movement=RECEIVED) for one in answers[:heard]]
        client = EndRecord((*(one for one in requests if one.vantage is CLIENT), *came), sees_closed_ports=True)
        server = EndRecord((*(one for one in requests if one.vantage is SERVER), *answers, *lost), sees_closed_ports=True)
        facts = PathFacts(background=background, ports={(Transport.UDP, 1194): PortState.OURS})
        judge = Judge(client, server, facts)
        return judge.bound(S2C, judge.counts(silent).total(S2C).lost_at, judge.loss[S2C])

    of_seven, of_four = bound(7), bound(4)
    assert of_seven is not None
    assert of_seven < 1e-6
    assert of_four == 1.0
