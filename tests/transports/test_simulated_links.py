"""What links do to packets: bursts, jitter, reordering, duplicates, queues, and lines that differ by direction."""

import asyncio
import random
from itertools import groupby, pairwise

import pytest
from simulated_support import Ends, simulate

from vpnprobe.transports.simulated.links import Bursts
from vpnprobe.transports.stack import Datagram
from vpnprobe.transports.topology import BurstLoss, Link, Per, Topology


def across(link: Link, count: int, *, seed: int = 1, every_s: float = 0.0, size: int = 10) -> tuple[list[Datagram], list[Datagram]]:
    """What came of numbered datagrams, and of their echoes: both cross the link, in one direction each."""

    async def story(ends: Ends) -> tuple[list[Datagram], list[Datagram]]:
        there: list[Datagram] = []
        back: list[Datagram] = []
        server = await ends.server.udp(there.append, port=500)
        client = await ends.client.udp(back.append)
        for number in range(count):
            data = b"%d" % number
            client.send(data.ljust(size), ends.at_server(500))
            server.send(data.ljust(size), client.local)
            await asyncio.sleep(every_s)
        await asyncio.sleep(30)
        return there, back

    return simulate(Topology(routers=1, links=(link, Link())), story, seed=seed)


def numbers(datagrams: list[Datagram]) -> list[int]:
    return [int(datagram.data) for datagram in datagrams]


def lost_runs(kept: list[int], count: int) -> list[int]:
    """How many in a row were lost, each time."""
    there = set(kept)
    return [len(list(run)) for lost, run in groupby(number not in there for number in range(count)) if lost]


class TestBursts:
    def test_by_packets(self) -> None:
        """In a bad state every packet is lost, four in a row on average; a fifth of the time is bad."""
        kept = numbers(across(Link(burst_loss=BurstLoss(to_bad=1 / 16, to_good=1 / 4)), 4000)[0])
        runs = lost_runs(kept, 4000)
        assert 0.16 < 1 - len(kept) / 4000 < 0.24
        assert 3.3 < sum(runs) / len(runs) < 4.7

    def test_by_seconds(self) -> None:
        """Bad for 0.1 s on average, every second: packets of every 10 ms are lost ten in a row."""
        kept = numbers(across(Link(burst_loss=BurstLoss(to_bad=1, to_good=10, per=Per.SECOND)), 6000, every_s=0.01)[0])
        runs = lost_runs(kept, 6000)
        assert 0.05 < 1 - len(kept) / 6000 < 0.13
        assert 7 < sum(runs) / len(runs) < 14

    def test_each_direction_has_a_state_of_its_own(self) -> None:
        there, back = across(Link(burst_loss=BurstLoss(to_bad=0.1, to_good=0.1)), 500)
        assert numbers(there) != numbers(back)
        assert 150 < len(there) < 350
        assert 150 < len(back) < 350

    def test_each_state_has_a_share_of_its_own(self) -> None:
        bursts = Bursts(BurstLoss(to_bad=0, to_good=0, loss_good=0.25), random.Random(1))
        assert 200 < sum(bursts.loses(0.0) for _ in range(1000)) < 300
        never = Bursts(BurstLoss(to_bad=1, to_good=0, loss_bad=0), random.Random(1))
        assert not any(never.loses(0.0) for _ in range(100))

    def test_a_state_that_is_never_left(self) -> None:
        bursts = Bursts(BurstLoss(to_bad=1e6, to_good=0, per=Per.SECOND), random.Random(1))
        bursts.loses(0.0)
        assert all(bursts.loses(moment) for moment in (1.0, 2.0, 1e6))


def test_jitter_spreads_arrivals_and_packets_overtake() -> None:
    there, _ = across(Link(delay_s=0.02, jitter_s=0.01), 500)
    taken = [datagram.at for datagram in there]
    assert 0.010 < min(taken) < 0.011
    assert 0.029 < max(taken) < 0.031
    assert sorted(numbers(there)) == list(range(500)) != numbers(there)


def test_no_packet_comes_before_it_was_sent() -> None:
    there, _ = across(Link(delay_s=0, jitter_s=0.01), 100)
    assert min(datagram.at for datagram in there) >= 0.0


def test_a_share_is_overtaken() -> None:
    there, _ = across(Link(reorder=0.1, reorder_s=0.005), 1000, every_s=0.001)
    found = numbers(there)
    assert sorted(found) == list(range(1000))
    late = [earlier for earlier, later in pairwise(found) if earlier - later in (4, 5)]
    assert 60 < len(late) < 140


def test_a_share_comes_twice() -> None:
    found = numbers(across(Link(duplicate=0.2), 1000)[0])
    assert set(found) == set(range(1000))
    assert 1140 < len(found) < 1260


@pytest.mark.parametrize(("queue_s", "kept"), [(0.1, 11), (0.5, 50), (0.0, 1)])
def test_a_queue_is_as_long_as_it_is(queue_s: float, kept: int) -> None:
    """50 packets of 1000 bytes at once, of which the line sends one in 10 ms."""
    there, _ = across(Link(rate_bit_s=800_000, queue_s=queue_s), 50, size=972)
    assert numbers(there) == list(range(kept))


def test_a_line_may_be_faster_one_way() -> None:
    there, back = across(Link(rate_bit_s=800_000, queue_s=9, s2c=Link(rate_bit_s=8_000_000, queue_s=9)), 20, size=972)
    assert there[-1].at - there[0].at == pytest.approx(19 * 0.010)
    assert back[-1].at - back[0].at == pytest.approx(19 * 0.001)


def test_the_same_seed_gives_the_same_packets() -> None:
    link = Link(jitter_s=0.01, reorder=0.1, duplicate=0.1, burst_loss=BurstLoss(0.1, 0.3))
    first, second, other = (across(link, 200, seed=seed)[0] for seed in (3, 3, 4))
    assert first == second != other
