"""What tc is told of links, and what no kernel can show."""

import pytest

from vpnprobe.lab.scenario import load, names
from vpnprobe.lab.shaping import needs_tc, shapers, unavailable
from vpnprobe.transports.topology import (
    BurstLoss,
    Clock,
    Filtering,
    Link,
    Mapping,
    Nat,
    Per,
    Recutting,
    Topology,
)


def told(link: Link, *, number: int = 1) -> list[str]:
    """What the routers at both ends of a link between routers are told."""
    links = tuple(link if place == number else Link() for place in range(4))
    return [f"{one.host} {one.interface} {' '.join(one.words)}" for one in shapers(Topology(links=links))]


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (Link(delay_s=0.02), "root netem delay 20000us"),
        (Link(delay_s=0.02, jitter_s=0.005), "root netem delay 20000us 5000us"),
        (Link(reorder=0.1, reorder_s=0.015), "root netem delay 15000us reorder 90%"),
        (Link(duplicate=0.2), "root netem duplicate 20%"),
        (Link(burst_loss=BurstLoss(0.01, 0.25)), "root netem loss gemodel 1% 25% 100% 0%"),
        (Link(burst_loss=BurstLoss(0.01, 0.25, loss_bad=0.5, loss_good=0.001)), "root netem loss gemodel 1% 25% 50% 0.1%"),
        (Link(rate_bit_s=1e6), "root tbf rate 1000000bit burst 3028b latency 100ms"),
        (Link(rate_bit_s=1e6, queue_s=0.3), "root tbf rate 1000000bit burst 3028b latency 300ms"),
    ],
)
def test_both_ends_of_a_link_are_told(link: Link, words: str) -> None:
    assert told(link) == [f"r1 to-server {words}", f"r2 to-client {words}"]


def test_a_rate_stands_behind_a_delay() -> None:
    assert told(Link(delay_s=0.02, rate_bit_s=1e6))[:2] == [
        "r1 to-server root handle 1: netem delay 20000us",
        "r1 to-server parent 1:1 handle 10: tbf rate 1000000bit burst 3028b latency 100ms",
    ]


def test_each_direction_is_told_its_own() -> None:
    assert told(Link(s2c=Link(duplicate=0.5))) == ["r2 to-client root netem duplicate 50%"]


def test_plain_links_need_no_tc() -> None:
    assert not needs_tc(Topology())
    assert not needs_tc(Topology(links=(Link(loss=0.5),) * 4))
    assert needs_tc(Topology(links=(Link(),) * 3 + (Link(s2c=Link(rate_bit_s=1e6)),)))


def test_what_the_kernel_lacks_is_named() -> None:
    (shaper, *_) = shapers(Topology(links=(Link(), Link(burst_loss=BurstLoss(0.1, 0.2)), Link(), Link())))
    assert shaper.needs.startswith("links[1].burst_loss needs the kernel's netem, which is not to be had here")


def between(link: Link) -> Topology:
    return Topology(links=(Link(), link, Link(), Link()))


@pytest.mark.parametrize(
    ("topology", "lack"),
    [
        (between(Link(burst_loss=BurstLoss(1, 2, per=Per.SECOND))), "links[1]: netem changes the state of a link by packets"),
        (between(Link(reorder=0.1, delay_s=0.02)), "links[1]: netem reorders by delaying"),
        (between(Link(s2c=Link(mtu=1400))), "links[1]: a pair of interfaces has one MTU"),
        (Topology(links=(Link(duplicate=0.1),) + (Link(),) * 3), "links[0]: what netem does on the link of an end"),
        (Topology(links=(Link(),) * 3 + (Link(s2c=Link(reorder=0.1)),)), "links[3]: what netem does on the link of an end"),
        (Topology(nats=(Nat("r1", mapping=Mapping.ENDPOINT),)), "nats[0]: Linux has no NAT"),
        (Topology(nats=(Nat("r1", filtering=Filtering.ADDRESS),)), "nats[0]: Linux has no NAT"),
        (Topology(recuttings=(Recutting("r1", 100),)), "recuttings: "),
        (Topology(clocks=(Clock("server", 1.0),)), "clocks: "),
    ],
)
def test_what_no_kernel_can_show(topology: Topology, lack: str) -> None:
    assert unavailable(topology).startswith(lack)


def test_the_rest_can_be_had() -> None:
    assert unavailable(between(Link(duplicate=0.1, burst_loss=BurstLoss(0.1, 0.2), rate_bit_s=1e6, delay_s=0.1, jitter_s=0.01))) == ""


@pytest.mark.parametrize("name", names())
def test_scenarios_say_themselves_what_cannot_be_had(name: str) -> None:
    scenario = load(name)
    assert scenario.simulated_only == unavailable(scenario.topology).partition(": ")[2]
